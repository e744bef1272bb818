"""`yummy-fast compare` between servers of ours with different data; tests/differential/shadow.py has Feast's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, Valkey, command_line, repository
from yummy_fast.diagnosis import compare
from yummy_fast.diagnosis.compare import MAX_KINDS, Asked, Tally, read_requests
from yummy_fast.diagnosis.differences import Answer, Comparison, Difference
from yummy_fast.errors import ConfigError

TRIPS = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001, 1002, 9999]}}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the same repository, whose store is empty."""
    folder = tmp_path_factory.mktemp("other")
    with Valkey() as store, Server(repository(folder / "repo", "redis", f"127.0.0.1:{store.port}")) as server:
        yield server


def requests_file(folder: Path, *queries: object) -> Path:
    path = folder / "requests.jsonl"
    path.write_text("".join(f"{json.dumps(query)}\n" for query in queries))
    return path


def test_the_same_data_is_the_same(corpus: Path, server: Server) -> None:
    """Without a file: a request for each feature service and view that can be asked without request data."""
    code, out, err = command_line("--chdir", corpus, "compare", "--against", server.url)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "not asked: feature service svc_odfv: it wants request data: bonus"
    assert lines[-1].endswith(" the same, 0 different")
    assert int(lines[-1].split()[0]) > 10


def test_other_data_is_different(corpus: Path, other: Server, tmp_path: Path) -> None:
    """Of drivers 1001 and 1002 the corpus has trips, of 9999 it has none: two rows of three."""
    asked = ["--chdir", corpus, "compare", requests_file(tmp_path, TRIPS, TRIPS), "--against", other.url]
    code, out, err = command_line(*asked)
    assert (code, err) == (1, "")
    assert "DIFFERENT  trips: values differ in 2 of 3 rows: 0, 1\n" in out
    assert "DIFFERENT  trips: event timestamps differ in 2 of 3 rows: 0, 1\n" in out
    assert "in 2 requests, first in " in out
    assert out.endswith("2 requests: 0 the same, 2 different\n")
    assert " here" not in out  # no values
    _, out, _ = command_line(*asked, "--values")
    assert "row 1: null from Feast, 1 here" in out
    code, out, _ = command_line(*asked, "--json")
    found = json.loads(out)
    assert (code, found["requests"], found["same"], found["different"]) == (1, 2, 0, 2)
    assert {each["part"] for each in found["differences"]} == {"values", "event_timestamps"}
    assert "from_feast" not in out


def test_a_running_server_is_asked(server: Server, other: Server, tmp_path: Path) -> None:
    path = requests_file(tmp_path, TRIPS)
    assert command_line("compare", "--url", server.url, "--against", server.url, path).code == 0
    assert command_line("compare", "--url", server.url, "--against", other.url, path).code == 1


def test_what_cannot_be_compared(corpus: Path, server: Server, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('\n{"a": 1}\n[1]\n')
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    for arguments, words in (
        ([bad, "--against", server.url], "bad.jsonl:3: expected the body of a request"),
        ([empty, "--against", server.url], "there is no request to compare by"),
        ([tmp_path / "none", "--against", server.url], "none: No such file"),
        ([bad, "--against", "ftp://secret@a"], "--against: expected a URL"),
        ([bad, "--against", "http://a:secret@b"], "--against: expected a URL"),
        ([bad, "--against", "http://a:99999999"], "--against: expected a URL"),
        ([bad, "--against", "http://127.0.0.1:1"], "--against http://127.0.0.1:1: "),
        ([bad, "--against", server.url, "--against-token-file", "/nowhere"], "--against-token-file /nowhere: "),
    ):
        code, out, err = command_line("--chdir", corpus, "compare", *arguments)
        assert (code, out) == (2, ""), arguments
        assert words in err
        assert err.count("\n") == 1
        assert "secret" not in err


def test_a_store_that_is_away_is_no_difference(server: Server, tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", "redis", "127.0.0.1:1")
    path = requests_file(tmp_path, TRIPS)
    code, out, err = command_line("--chdir", folder, "compare", "--against", server.url, path)
    assert (code, out) == (2, "")
    assert "compare: 503: " in err


def test_requests_are_lines() -> None:
    found = list(read_requests(io.BytesIO(b' {"a": 1} \r\n\n{"b": 2}'), "r"))
    assert found == [Asked("r:1", b'{"a": 1}'), Asked("r:3", b'{"b": 2}')]
    for text in (b"x", b"[" * 100_000, b"\xff", b"{}{}"):
        with pytest.raises(ConfigError, match="r:1: expected the body"):
            list(read_requests(io.BytesIO(text), "r"))
    with pytest.raises(ConfigError, match="r:1: longer than"):
        list(read_requests(io.BytesIO(b" " * (compare.MAX_REQUEST_BYTES + 1)), "r"))


def test_kinds_are_bounded() -> None:
    tally = Tally()
    for number in range(MAX_KINDS + 5):
        tally.add(Asked("r:1", b""), Comparison("different", [Difference("values", f"c{number}: x", f"c{number}")]))
    tally.add(Asked("r:2", b""), Comparison("feast_failed"))
    lines = compare.lines(tally, [], values=False)
    assert len(tally.kinds) == MAX_KINDS
    assert lines[-3:] == [
        "DIFFERENT  5 more differences",
        "not compared: 1 request that Feast answered with a 5xx, first r:2",
        f"{MAX_KINDS + 6} requests: 0 the same, {MAX_KINDS + 5} different",
    ]


def test_ours_is_asked_first() -> None:
    asked: list[str] = []

    def ask(name: str) -> Answer:
        asked.append(name)
        return Answer(404, b"")

    tally = compare.compare(
        [Asked("r:1", b"{}")],
        lambda _: ask("Feast"),
        lambda _: ask("here"),
        lambda _, __: Comparison("same"),
    )
    assert (asked, tally.outcomes["same"]) == (["here", "Feast"], 1)


def tally() -> Tally:
    """Of three requests: two that differ alike, one that Feast failed to answer."""
    found = Tally()
    difference = Difference("values", "trips: values differ in 1 of 2 rows: 1", "trips", (1,), (7,), (8,))
    for number in (1, 2):
        found.add(Asked(f"r:{number}", b""), Comparison("different", [difference]))
    found.add(Asked("r:3", b""), Comparison("feast_failed"))
    return found


def test_differences_for_people() -> None:
    end = [
        "           in 2 requests, first in r:1",
        "not compared: 1 request that Feast answered with a 5xx, first r:3",
        "not asked: feature service svc: it wants request data: bonus",
        "3 requests: 0 the same, 2 different",
    ]
    left_out = ["feature service svc: it wants request data: bonus"]
    first = "DIFFERENT  trips: values differ in 1 of 2 rows: 1"
    assert compare.lines(tally(), left_out, values=False) == [first, *end]
    with_values = compare.lines(tally(), left_out, values=True)
    assert with_values == [first, "             row 1: 7 from Feast, 8 here", *end]


def test_differences_for_programs() -> None:
    difference = {
        "part": "values",
        "column": "trips",
        "text": "trips: values differ in 1 of 2 rows: 1",
        "requests": 2,
        "first_in": "r:1",
        "rows": [1],
    }
    whole = {
        "requests": 3,
        "same": 0,
        "different": 2,
        "feast_failed": 1,
        "differences": [difference],
        "more_differences": 0,
        "not_asked": ["x"],
    }
    assert compare.as_json(tally(), ["x"], values=False) == whole
    difference |= {"from_feast": [7], "here": [8]}
    assert compare.as_json(tally(), ["x"], values=True) == whole


def test_requests_are_counted_before_they_are_asked() -> None:
    counts: list[int] = []
    requests = [Asked("r:1", b"a"), Asked("r:2", b"b")]
    assert list(compare.counted(requests, counts.append)) == requests
    assert counts == [0, 1]
