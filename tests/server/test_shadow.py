"""`--shadow`: a share of the requests is compared, off the way of the answers; tests/differential/shadow.py has Feast.

What the shadow asks here is a server of ours with other data, or one that does not answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, Valkey, command_line, eventually, repository, run, silent_server
from yummy_fast.config.settings import Shadow as Options
from yummy_fast.errors import LimitError, RequestError
from yummy_fast.http.http11 import Request, Response
from yummy_fast.server import shadow as module
from yummy_fast.server.app import _wrap
from yummy_fast.server.shadow import MAX_BYTES, MAX_WAITING, Shadow
from yummy_fast.telemetry.metrics import Metrics

REQUEST = Request(b"POST", b"/get-online-features", b"{}", keep_alive=True)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the corpus's repository, whose store is empty."""
    folder = tmp_path_factory.mktemp("empty")
    with Valkey() as store, Server(repository(folder / "repo", "redis", f"127.0.0.1:{store.port}")) as server:
        yield server


def series(server: Server) -> dict[str, float]:
    text = server.ask("/metrics").body.decode()
    return {name: float(value) for name, value in re.findall(r"^(yummy_fast_shadow_\S+) (\S+)$", text, re.MULTILINE)}


def outcome(server: Server, name: str) -> float:
    return series(server).get(f'yummy_fast_shadow_requests_total{{outcome="{name}"}}', 0)


def test_the_same_answers(corpus: Path, server: Server) -> None:
    with Server(corpus, "--shadow", server.url, "--shadow-share", "1") as shadowed:
        for _ in range(3):
            assert shadowed.features([1001, 9999]).status == 200
        assert (
            shadowed.ask("/get-online-features", {"feature_service": "no", "entities": {"driver_id": [1]}}).status
            == 404
        )
        assert shadowed.ask("/health").status == 200
        eventually(lambda: outcome(shadowed, "same") == 4 or None, "four requests are compared")
        assert sum(series(shadowed).values()) == 4  # nothing else was counted


def test_differences_are_counted_and_logged_without_values(corpus: Path, empty: Server) -> None:
    with Server(corpus, "--shadow", empty.url, "--shadow-share", "1") as shadowed:
        for _ in range(3):
            shadowed.features([1001, 1002, 9999])
        eventually(lambda: outcome(shadowed, "different") == 3 or None, "three requests are compared")
        found = series(shadowed)
        assert found['yummy_fast_shadow_differences_total{part="values"}'] == 3
        assert found['yummy_fast_shadow_differences_total{part="event_timestamps"}'] == 3
        assert found['yummy_fast_shadow_differences_total{part="statuses"}'] == 0  # PRESENT, as Feast says
        shadowed.wait_for(r"WARNING shadow: Feast's answer is another one: trips: values differ in 2 of 3 rows: 0, 1")
        log = shadowed.log
        assert log.count("values differ") == 1  # one a minute
        assert "1001" not in re.findall(r"\d+", log)  # a port may be 41001


def test_strict_statuses_are_not_compared(corpus: Path, server: Server) -> None:
    options = ["--shadow", server.url, "--shadow-share", "1", "--compat", "strict"]
    with Server(corpus, *options) as shadowed:
        assert b"NOT_FOUND" in shadowed.features([9999]).body
        eventually(lambda: outcome(shadowed, "same") == 1 or None, "the request is compared")


def test_a_feast_that_is_away_costs_no_answer(corpus: Path) -> None:
    with Server(corpus, "--shadow", "http://127.0.0.1:1", "--shadow-share", "1") as shadowed:
        for _ in range(3):
            assert shadowed.features([1001]).status == 200
        eventually(lambda: outcome(shadowed, "unanswered") == 3 or None, "three requests are given up")
        shadowed.wait_for("WARNING shadow: http://127.0.0.1:1 does not answer: ")


def test_a_feast_that_is_silent_fills_the_queue_and_no_more(corpus: Path) -> None:
    """One request waits for Feast and MAX_WAITING for the thread; the others are dropped, and all are answered."""
    with (
        silent_server() as port,
        Server(corpus, "--shadow", f"http://127.0.0.1:{port}", "--shadow-share", "1") as server,
        server.client() as client,
    ):
        for _ in range(MAX_WAITING + 21):
            body = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001]}}
            assert client.ask("/get-online-features", body).status == 200
        assert 20 <= outcome(server, "dropped") <= 21  # the thread may not have taken its first one yet
        # The end of the server does not wait for Feast: the harness bounds how long it may take.


def test_without_it_there_is_nothing(corpus: Path) -> None:
    with Server(corpus) as server, Server(corpus, "--shadow", "http://127.0.0.1:1", "--shadow-share", "0") as no_share:
        for each in (server, no_share):
            assert each.features([1001]).status == 200
            assert series(each) == {}


def test_a_url_that_is_none(corpus: Path) -> None:
    code, _, err = command_line("--chdir", corpus, "serve", "--port", "0", "--shadow", "ftp://secret@a")
    assert code == 2
    assert "--shadow: expected a URL" in err
    assert "secret" not in err


# ----------------------------------------------------------------------------------------------------- in one process


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def shadow(metrics: Metrics) -> Iterator[Shadow]:
    with silent_server() as port:
        made = Shadow(Options(url=f"http://127.0.0.1:{port}", share=1.0), "feast", metrics)
        yield made
        made.close()


def ask(shadow: Shadow, outcome: Response | Exception, request: Request = REQUEST) -> object:
    async def handle(_: Request) -> Response:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def asked() -> object:
        answer = shadow.follow(lambda request: handle(request))(request)
        assert not isinstance(answer, Response)
        try:
            return await answer
        except Exception as error:
            return error

    return run(asked())


def test_answers_and_errors_pass_through(shadow: Shadow) -> None:
    for outcome in (Response(200, b"x", b"", "svc"), RequestError("no"), LimitError(503, "full"), ValueError("a bug")):
        assert ask(shadow, outcome) is outcome


def test_a_busy_store_is_not_compared(shadow: Shadow, metrics: Metrics) -> None:
    for _ in range(MAX_WAITING + 10):
        ask(shadow, LimitError(503, "full"))
    assert sum(metrics.shadow_outcomes.values()) == 0


def test_what_is_large_is_not_compared(shadow: Shadow, metrics: Metrics) -> None:
    ask(shadow, Response(200, b"x" * MAX_BYTES))
    assert metrics.shadow_outcomes["too_large"] == 1


def test_the_queue_is_bounded_by_bytes(shadow: Shadow, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 10_000)
    for _ in range(5):
        ask(shadow, Response(200, b"x" * 4000))
    assert metrics.shadow_outcomes["dropped"] == 3


def test_other_requests_are_passed_on_as_they_are(shadow: Shadow) -> None:
    response = Response(200)
    for request in (REQUEST._replace(method=b"GET"), REQUEST._replace(url=b"/push")):
        assert shadow.follow(lambda _: response)(request) is response


def test_the_end_does_not_wait(shadow: Shadow, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ask(shadow, Response(200, b"{}"))
    shadow.close()
    shadow.close()
    assert not any(thread.name == "shadow" for thread in threading.enumerate())
    assert not caplog.records


def test_a_client_that_leaves_is_not_compared(shadow: Shadow, metrics: Metrics) -> None:
    async def handle(_: Request) -> Response:
        await asyncio.sleep(3600)
        raise AssertionError

    coroutine = shadow.follow(handle)(REQUEST)
    assert not isinstance(coroutine, Response)

    async def leave() -> None:
        task = asyncio.ensure_future(coroutine)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    run(leave())
    assert shadow._put_bytes == 0
    assert sum(metrics.shadow_outcomes.values()) == 0


def test_without_it_requests_reach_the_endpoints_directly() -> None:
    """What is off is not there: the handler of a server without it is the endpoints' own."""

    class Plain:
        def handle(self, _: Request) -> Response:
            return Response(200)

        failed = handle

    endpoints: Any = Plain()
    assert _wrap(endpoints, None, None, 0.0, None)[0] == endpoints.handle


def test_what_is_compared_is_counted_and_logged(
    server: Server, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """With a server that has other trips for driver 1001 than are answered here, or statuses of the other kind."""
    body = b'{"features": ["driver_stats:trips"], "entities": {"driver_id": [1001, 9]}}'
    request = Request(b"POST", b"/get-online-features", body, keep_alive=True)
    right = server.ask("/get-online-features", body).body
    wrong = right.replace(b'"PRESENT"', b'"NOT_FOUND"')
    shadow = Shadow(Options(url=server.url, share=1.0), "feast", metrics)
    try:
        ask(shadow, Response(200, right, service="svc"), request)
        eventually(lambda: metrics.shadow_outcomes["same"] == 1 or None, "the same")
        ask(shadow, Response(200, wrong, service="svc"), request._replace(compat=b"strict"))
        eventually(lambda: metrics.shadow_outcomes["same"] == 2 or None, "statuses of strict answers do not count")
        ask(shadow, Response(200, wrong, service="svc"), request)
        eventually(lambda: metrics.shadow_outcomes["different"] == 1 or None, "different")
        assert metrics.shadow_differences["statuses"] == 1
        eventually(lambda: "feature service svc: " in caplog.text or None, "it is logged")
    finally:
        shadow.close()


def test_a_server_that_is_away_is_counted_and_named(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    shadow = Shadow(Options(url="http://127.0.0.1:1", share=1.0), "feast", metrics)
    try:
        ask(shadow, Response(200, b"{}"))
        eventually(lambda: metrics.shadow_outcomes["unanswered"] == 1 or None, "it is given up")
        eventually(lambda: "shadow: http://127.0.0.1:1 does not answer: " in caplog.text or None, "it is logged")
    finally:
        shadow.close()


def test_an_answer_that_is_too_long_is_counted(
    server: Server, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    shadow = Shadow(Options(url=server.url, share=1.0), "feast", metrics)
    try:
        ask(shadow, Response(200, b"{}"))
        eventually(lambda: metrics.shadow_outcomes["unanswered"] == 1 or None, "it is given up")
        eventually(lambda: "answers more than 10 bytes" in caplog.text or None, "it is logged")
    finally:
        shadow.close()
