"""`yummy-fast get`: against the store itself and against a running server, as a table and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.cli.outcomes import in_process
from tests.harness import Outcome, Server
from yummy_fast.diagnosis.differences import Answer

COLUMNS = r"^driver_id  feature  value  status  +event time  +age$"


@pytest.fixture
def get(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    return partial(in_process, capsys)


def test_from_the_store_itself(get: Callable[..., Outcome], corpus: Path) -> None:
    """Driver 1002 has one trip, and 2 is not there: the corpus's own numbers."""
    code, out, err = get(
        "--chdir", corpus, "get", "-e", "driver_id=1002", "-e", "driver_id=2", "-f", "driver_stats:trips"
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert re.search(COLUMNS, lines[0])
    assert re.match(r" +1002  trips +1  PRESENT +20\d\d-\S+Z  \d+ days$", lines[2])
    assert re.match(r" +2  trips +null +NOT_FOUND$", lines[3])


def test_from_a_server_the_same(get: Callable[..., Outcome], corpus: Path, server: Server) -> None:
    asked = ["-e", "driver_id=1002", "-e", "driver_id=2", "-f", "driver_stats:trips", "--json"]
    from_store = json.loads(get("--chdir", corpus, "get", *asked)[1])
    from_server = json.loads(get("get", "--url", server.url, *asked)[1])
    for row in (*from_store, *from_server):
        row["features"]["trips"].pop("age_s")
    assert from_store == from_server
    assert [row["features"]["trips"]["status"] for row in from_server] == ["PRESENT", "NOT_FOUND"]


def test_feasts_statuses(get: Callable[..., Outcome], corpus: Path) -> None:
    asked = ["-e", "driver_id=2", "-f", "driver_stats:trips", "--compat", "feast", "--json"]
    (row,) = json.loads(get("--chdir", corpus, "get", *asked)[1])
    assert row["entities"] == {"driver_id": 2}
    assert row["features"]["trips"] == {"value": None, "status": "PRESENT", "event_time": None, "age_s": None}


def test_a_request_that_is_refused(get: Callable[..., Outcome], corpus: Path) -> None:
    code, out, err = get("--chdir", corpus, "get", "-e", "driver_id=1", "-f", "driver_stats:nope")
    assert (code, out) == (1, "")
    assert "400: features[0]: Feature nope not found in projection driver_stats" in err
    code, out, err = get("--chdir", corpus, "get", "-e", "driver_id=1", "--service", "nope")
    assert (code, out) == (1, "")
    assert "404: Feature service nope does not exist" in err


@pytest.mark.parametrize("answer", [b'{"ok": true}', b"[]", b"1", b'{"metadata": {}, "results": []}'])
def test_another_server_than_one_of_features(
    get: Callable[..., Outcome], answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yummy_fast.diagnosis.ask_server.ask_server", lambda *_: Answer(200, answer))
    code, out, err = get("get", "--url", "http://127.0.0.1:1", "-e", "a=1", "-f", "b:c")
    assert (code, out) == (2, "")
    assert "the answer has no features" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-e", "driver_id=1"], "expected features"),
        (["-e", "driver_id", "-f", "a:b"], "expected JOIN_KEY=VALUE"),
        (["-f", "a:b", "--service", "c"], "expected features"),
        (["-f", "a:b", "--url", "ftp://secret@a"], "--url: expected a URL"),
        (["-f", "a:b", "--url", "http://user:secret@a"], "--url: expected a URL"),
        (["-f", "a:b", "--url", "http://127.0.0.1:1"], "--url http://127.0.0.1:1: "),
        (["-f", "a:b", "--url", "http://127.0.0.1:1", "--token-file", "/nowhere"], "--token-file /nowhere: "),
    ],
)
def test_what_cannot_be_asked(get: Callable[..., Outcome], corpus: Path, arguments: list[str], words: str) -> None:
    code, out, err = get("--chdir", corpus, "get", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "secret" not in err


def test_a_server_with_tokens(get: Callable[..., Outcome], corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("s3cret-token-of-a-client\n")
    asked = ["-e", "driver_id=1002", "-f", "driver_stats:trips"]
    with Server(corpus, "--auth-tokens", str(tmp_path / "tokens")) as server:
        code, _, err = get("get", "--url", server.url, *asked)
        assert (code, "401: Invalid or expired access token" in err) == (1, True)
        assert get("get", "--url", server.url, "--token-file", tmp_path / "tokens", *asked)[0] == 0
