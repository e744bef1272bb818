"""`yummy-fast compare` between servers of ours with different data; tests/differential/shadow.py has Feast's own."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.outcomes import in_process, one_line
from tests.harness import Outcome, Server, Valkey, repository

TRIPS = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001, 1002, 9999]}}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the same repository, whose store is empty."""
    folder = tmp_path_factory.mktemp("other")
    with Valkey() as store, Server(repository(folder / "repo", "redis", f"127.0.0.1:{store.port}")) as server:
        yield server


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    return partial(in_process, capsys)


def lines_of(*queries: object) -> str:
    return "".join(f"{json.dumps(query)}\n" for query in queries)


def requests_file(folder: Path, *queries: object) -> Path:
    path = folder / "requests.jsonl"
    path.write_text(lines_of(*queries))
    return path


def test_the_same_data_is_the_same(compare: Callable[..., Outcome], corpus: Path, server: Server) -> None:
    """Without a file: a request for each feature service and view that can be asked without request data."""
    code, out, err = compare("--chdir", corpus, "compare", "--against", server.url)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "not asked: feature service svc_odfv: it wants request data: bonus"
    assert lines[-1].endswith(" the same, 0 different")
    assert int(lines[-1].split()[0]) > 10


def test_other_data_is_different(compare: Callable[..., Outcome], corpus: Path, other: Server, tmp_path: Path) -> None:
    """Of drivers 1001 and 1002 the corpus has trips, of 9999 it has none: two rows of three."""
    asked = ["--chdir", corpus, "compare", requests_file(tmp_path, TRIPS, TRIPS), "--against", other.url]
    code, out, err = compare(*asked)
    assert (code, err) == (1, "")
    assert "DIFFERENT  trips: values differ in 2 of 3 rows: 0, 1\n" in out
    assert "DIFFERENT  trips: event timestamps differ in 2 of 3 rows: 0, 1\n" in out
    assert "in 2 requests, first in " in out
    assert out.endswith("2 requests: 0 the same, 2 different\n")
    assert " here" not in out  # no values
    _, out, _ = compare(*asked, "--values")
    assert "row 1: null from Feast, 1 here" in out
    code, out, _ = compare(*asked, "--json")
    found = json.loads(out)
    assert (code, found["requests"], found["same"], found["different"]) == (1, 2, 0, 2)
    assert {each["part"] for each in found["differences"]} == {"values", "event_timestamps"}
    assert "from_feast" not in out


def test_a_running_server_is_asked(
    compare: Callable[..., Outcome], server: Server, other: Server, tmp_path: Path
) -> None:
    path = requests_file(tmp_path, TRIPS)
    assert compare("compare", "--url", server.url, "--against", server.url, path).code == 0
    assert compare("compare", "--url", server.url, "--against", other.url, path).code == 1


def test_requests_that_are_made_go_to_a_running_server(
    compare: Callable[..., Outcome], corpus: Path, server: Server, other: Server
) -> None:
    """The store of the repository says which entities there are; the server with the empty one has none of them."""
    asked = ["--chdir", corpus, "compare", "--url", other.url, "--json", "--against"]
    code, out, err = compare(*asked, server.url)
    found = json.loads(out)
    assert (code, err) == (1, "")
    assert found["different"] > 0
    assert found["not_asked"] == ["feature service svc_odfv: it wants request data: bonus"]
    code, out, _ = compare(*asked, other.url)
    assert (code, json.loads(out)["different"]) == (0, 0)


def test_requests_from_standard_input(
    compare: Callable[..., Outcome], corpus: Path, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named by their lines, of which the first is empty."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n" + lines_of(TRIPS).encode())))
    code, out, err = compare("--chdir", corpus, "compare", "--against", other.url, "-")
    assert (code, err) == (1, "")
    assert "in 1 request, first in line:2\n" in out
    assert out.endswith("1 request: 0 the same, 1 different\n")


def test_a_standard_input_that_is_closed(corpus: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m yummy_fast -c {shlex.quote(str(corpus))} compare"
    done = subprocess.run(f"{line} --against http://127.0.0.1:1 - <&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "yummy-fast: compare: standard input is closed\n"


def test_what_cannot_be_compared(compare: Callable[..., Outcome], corpus: Path, server: Server, tmp_path: Path) -> None:
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
        ([bad, "--against", server.url, "--url", "http://127.0.0.1:1"], "--url http://127.0.0.1:1: "),
        ([bad, "--against", server.url, "--against-token-file", "/nowhere"], "--against-token-file /nowhere: "),
        ([bad, "--against", server.url, "--url", server.url, "--token-file", "/no"], "--token-file /no: "),
    ):
        outcome = compare("--chdir", corpus, "compare", *arguments)
        one_line(outcome, words)
        assert "secret" not in outcome.err


def test_a_store_that_is_away_is_no_difference(compare: Callable[..., Outcome], server: Server, tmp_path: Path) -> None:
    """With requests of a file the answers are 503; without, no entities are found to ask for."""
    asked = ["--chdir", repository(tmp_path / "repo", "redis", "127.0.0.1:1"), "compare", "--against", server.url]
    one_line(compare(*asked, requests_file(tmp_path, TRIPS)), "compare: 503: ")
    one_line(compare(*asked), "online_store: cannot be reached: ")
