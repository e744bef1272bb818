"""POST /-/explain on the admin listener of a real process, with and without workers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.diagnosis.recorded import Recorded, load
from tests.harness import PATIENCE_S, Server, Valkey
from yummy_fast.server.admin import MAX_QUESTION_BYTES


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """A row that was written with a text for its key, and a value that nobody is to see."""
    with Valkey() as valkey:
        yield load("text_key", tmp_path_factory.mktemp("explaining"), valkey)


@pytest.fixture(scope="module", params=["1", "2"], ids=["alone", "with workers"])
def admin_url(recorded: Recorded, request: pytest.FixtureRequest) -> Iterator[str]:
    with Server(recorded.folder, "--admin", "127.0.0.1:0", "--workers", request.param) as server:
        yield server.wait_for(r"admin on (http://\S+)")[1]


def ask(url: str, body: bytes, path: str = "/-/explain", headers: dict[str, str] | None = None) -> tuple[int, Any]:
    try:
        with urlopen(Request(f"{url}{path}", body, headers or {}, method="POST"), timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def question(**more: object) -> bytes:
    return json.dumps({"about": "stats", "entities": {"driver_id": 1001}, **more}).encode()


def test_the_cause_is_answered_without_values(admin_url: str) -> None:
    status, found = ask(admin_url, question())
    assert (status, found["cause"]) == (200, "join_key_type")
    assert found["sentence"].startswith("The row was written with driver_id as STRING")
    assert [feature["name"] for feature in found["features"]] == ["trips", "rating"]
    assert all("value" not in feature for feature in found["features"])
    assert found["elsewhere"] == [
        {"cause": "join_key_type", "differs": "driver_id as STRING", "db": 0, "has_view": True}
    ]


def test_values_are_answered_to_who_asks_for_them(admin_url: str) -> None:
    _, found = ask(admin_url, question(values=True))
    assert [feature["value"] for feature in found["features"]] == [None, None]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "expected JSON such as"),
        (b"[1]", 400, "expected JSON such as"),
        (b"\xff", 400, "expected JSON such as"),
        (b'{"entities": {}}', 400, "about: expected VIEW or VIEW:FEATURE"),
        (b'{"about": "stats", "entities": [1]}', 400, "entities: expected an object"),
        (b'{"about": "stats", "entities": {"driver_id": 1}, "values": 1}', 400, "values: expected true or false"),
        (b'{"about": "stat"}', 400, "no feature view stat; did you mean stats?"),
        (b'{"about": "stats", "entities": {"driver_id": null}}', 400, "driver_id: expected a value"),
        (b" " * (MAX_QUESTION_BYTES + 1), 413, "Content Too Large"),
    ],
)
def test_a_question_that_cannot_be_answered(admin_url: str, body: bytes, status: int, words: str) -> None:
    assert (found := ask(admin_url, body))[0] == status
    assert words in found[1]["detail"]


@pytest.mark.parametrize(("host", "status"), [("localhost:8001", 200), ("[::1]", 200), ("rebound.example:8001", 403)])
def test_a_site_that_points_its_name_here_reads_nothing(admin_url: str, host: str, status: int) -> None:
    assert ask(admin_url, question(values=True), headers={"Host": host})[0] == status


def test_a_question_is_asked_with_post(admin_url: str) -> None:
    with pytest.raises(HTTPError) as caught:
        urlopen(f"{admin_url}/-/explain", timeout=PATIENCE_S)
    with caught.value as error:
        assert error.code == 405


def test_feasts_metrics_address_takes_no_questions(recorded: Recorded) -> None:
    """It listens on all addresses. The data port takes none either."""
    from yummy_fast.config.settings import Admin
    from yummy_fast.server.app import admin_listener
    from yummy_fast.server.health import ServerHealth

    config = recorded.config
    health = ServerHealth(config.repository, config.store)
    asked: list[str] = []

    def note(message: str, *arguments: object) -> None:
        asked.append(message % arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yummy_fast.server.app.logger.info", note)
        with admin_listener(
            replace(config, admin=Admin("127.0.0.1:0", reload=False)), health, lambda: None, lambda: ""
        ):
            (url,) = re.findall(r"http://\S+", " ".join(asked))
            assert ask(url, question())[0] == 404
    with Server(recorded.folder) as server:
        assert server.ask("/-/explain", json.loads(question())).status == 404
