"""Questions and answers, without the listener: tests/system/test_explaining.py asks a real process.

The rows are those that Feast wrote with a text for a key that is declared INT64: tests/diagnosis/recorded/text_key.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.diagnosis.recorded import Recorded, load
from tests.harness import PATIENCE_S, Valkey
from yummy_fast.errors import ConfigError
from yummy_fast.server.app import open_store
from yummy_fast.server.explaining import Explained, Explaining, read_registry
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.looks import Looks


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with Valkey() as valkey:
        yield load("text_key", tmp_path_factory.mktemp("explaining"), valkey)


@pytest.fixture
def looks(recorded: Recorded) -> list[Looks]:
    """The ways into the store that were opened."""
    return []


@pytest.fixture
def explaining(recorded: Recorded, looks: list[Looks]) -> Explaining:
    def open_looks() -> Looks:
        looks.append(open_store(recorded.config).looks())
        return looks[-1]

    return Explaining(recorded.config, recorded.registry, open_looks)


def question(**more: object) -> bytes:
    return json.dumps({"about": "stats", "entities": {"driver_id": 1001}, **more}).encode()


def test_the_cause(explaining: Explaining) -> None:
    status, found = explaining(question())
    assert (status, found["cause"]) == (200, "join_key_type")
    assert all("value" not in feature for feature in found["features"])
    _, with_values = explaining(question(values=True))
    assert [feature["value"] for feature in with_values["features"]] == [None, None]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "expected JSON such as"),
        (b"[1]", "expected JSON such as"),
        (b"[" * 100_000, "expected JSON such as"),
        (b"\xff", "expected JSON such as"),
        (b'{"entities": {}}', "about: expected VIEW or VIEW:FEATURE"),
        (b'{"about": ""}', "about: expected VIEW or VIEW:FEATURE"),
        (b'{"about": 1}', "about: expected VIEW or VIEW:FEATURE"),
        (b'{"about": "stats", "entities": [1]}', "entities: expected an object"),
        (b'{"about": "stats", "values": 1}', "values: expected true or false"),
        (b'{"about": "stats"}', "the join key driver_id is missing"),
    ],
)
def test_a_question_that_cannot_be_answered(
    explaining: Explaining, looks: list[Looks], body: bytes, words: str
) -> None:
    """The store is not asked."""
    status, found = explaining(body)
    assert status == 400
    assert words in found["detail"]
    assert looks == []


def test_the_connections_of_a_question_are_closed(recorded: Recorded) -> None:
    """Whether it was answered or not. redis-py's clients are kept in no other place."""
    closed: list[bool] = []

    def open_looks() -> Looks:
        looks = open_store(recorded.config).looks()
        close = looks.close

        def close_and_note() -> None:
            closed.append(True)
            close()

        looks.close = close_and_note  # type: ignore[method-assign]
        return looks

    explaining = Explaining(recorded.config, recorded.registry, open_looks)
    assert explaining(question())[0] == 200
    assert closed == [True]


def test_before_there_is_a_registry_it_is_read_from_its_source(recorded: Recorded) -> None:
    explaining = Explaining(recorded.config, lambda: None, lambda: open_store(recorded.config).looks())
    assert explaining(question())[1]["cause"] == "join_key_type"
    assert read_registry(recorded.config) == recorded.registry()


def test_a_registry_that_cannot_be_read(recorded: Recorded, tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text((recorded.folder / "feature_store.yaml").read_text())
    config = load_config(chdir=str(tmp_path), environ={})
    status, found = Explaining(config, lambda: None, lambda: open_store(config).looks())(question())
    assert status == 503
    assert "registry.db" in found["detail"]


def test_a_store_that_cannot_be_looked_into(recorded: Recorded) -> None:
    def refuse() -> Looks:
        raise ConfigError("online_store: sqlite cannot be looked into")

    status, found = Explaining(recorded.config, recorded.registry, refuse)(question())
    assert (status, found) == (400, {"detail": "online_store: sqlite cannot be looked into"})


def test_a_store_that_is_gone(recorded: Recorded, tmp_path: Path) -> None:
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", (recorded.folder / "feature_store.yaml").read_text())
    (tmp_path / "feature_store.yaml").write_text(text)
    config = load_config(chdir=str(tmp_path), environ={})
    explaining = Explaining(config, recorded.registry, lambda: open_store(config).looks())
    for _ in range(2):  # the next question is not refused because of this one
        status, found = explaining(question())
        assert status == 503
        assert found["detail"].startswith("127.0.0.1:1: ")


def test_one_question_at_a_time(recorded: Recorded) -> None:
    """From several threads of the admin listener: the second is refused, and the one after it is answered."""
    asked, may_end = threading.Event(), threading.Event()

    def registry() -> Any:
        asked.set()
        assert may_end.wait(PATIENCE_S)
        return recorded.registry()

    explaining = Explaining(recorded.config, registry, lambda: open_store(recorded.config).looks())
    answers: list[Explained] = []
    thread = threading.Thread(target=lambda: answers.append(explaining(question())))
    thread.start()
    assert asked.wait(PATIENCE_S)
    assert explaining(question()) == (503, {"detail": "another question is being answered; ask again"})
    may_end.set()
    thread.join(PATIENCE_S)
    assert [status for status, _ in answers] == [200]
    assert explaining(question())[0] == 200
