"""What the admin process makes of what the supervisor tells it, over a real channel and a supervisor that has a script.

What a worker does, tests/system/test_supervisor.py shows.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.harness import PATIENCE_S
from yummy_fast.server.health import ProbeResult
from yummy_fast.workers import worker
from yummy_fast.workers.channel import ChildEnd, Message, SupervisorEnd
from yummy_fast.workers.worker import SupervisorHealth

REGISTRY = {"version": "7"}


def reload(sent: int, done: int, error: str = "") -> Message:
    return {"sent": sent, "done": done, "error": error, "registry": REGISTRY}


@contextmanager
def script(*views: dict[str, Any] | None) -> Iterator[tuple[SupervisorHealth, list[Message]]]:
    """A supervisor that shows these views, one after the other and then the last one again; and what it got.

    It does not answer where there is None.
    """
    ours, theirs = socket.socketpair()
    end, child, got = SupervisorEnd(ours), ChildEnd(theirs), list[Message]()
    remaining = list(views)

    def supervise() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            while not end.eof:
                selector.select(PATIENCE_S)
                for message in end.receive():
                    got.append(message)
                    if "request" in message and remaining:
                        view = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                        if view is not None:
                            end.reply(message, view)

    child.start({}, on_eof=lambda: None)
    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield SupervisorHealth(child), got
    finally:
        theirs.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)
        ours.close()
        theirs.close()


def test_probes_and_status_are_the_supervisors() -> None:
    view = {"live": [True, []], "ready": [False, ["told to stop"]], "status": {"pid": 7}, "reloads": {}}
    with script(view) as (health, _):
        assert health.live() == ProbeResult(True, [])
        assert health.ready() == ProbeResult(False, ["told to stop"])
        assert health.status() == {"pid": 7}


def test_a_supervisor_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ANSWER_S", 0.01)
    why = "the supervisor has not answered for 0.01 s"
    with script() as (health, _):
        assert health.live() == health.ready() == ProbeResult(False, [why])
        assert health.reload() == (False, {"error": why})


def test_a_reload_is_done_when_each_worker_has_done_it() -> None:
    asked = {"worker 1 (10)": reload(3, 2), "worker 2 (11)": reload(1, 0)}
    views = [
        {"reloads": asked},
        {"reloads": {**asked, "worker 1 (10)": reload(3, 3)}},
        {"reloads": {"worker 1 (10)": reload(3, 3), "worker 2 (11)": reload(2, 1)}},  # somebody else has asked again
        {"reloads": {"worker 1 (10)": reload(3, 3, "too late to count")}},
    ]
    with script(*views) as (health, got):
        assert health.reload() == (True, {"registry": REGISTRY})
        assert [next(iter(message.items())) for message in got] == [("event", "reload"), *[("request", "view")] * 3]


def test_a_supervisor_that_is_busy_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ANSWER_S", 0.1)
    with script({"reloads": {"w": reload(1, 0)}}, None, {"reloads": {"w": reload(1, 1)}}) as (health, _):
        assert health.reload() == (True, {"registry": REGISTRY})


def test_what_went_wrong_is_told_by_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RELOAD_TIMEOUT_S", 0.2)
    asked = {f"worker {number}": reload(1, 0) for number in (1, 2, 3, 4)}
    now = {"worker 1": reload(1, 1), "worker 2": reload(1, 1, "no registry"), "worker 3": reload(1, 0)}
    with script({"reloads": asked}, {"reloads": now}) as (health, _):
        good, detail = health.reload()
    assert (good, detail["registry"]) == (False, REGISTRY)
    assert detail["error"].split("; ") == [
        "worker 2: no registry",
        "worker 3: the reload was not done within 60 s",
        "worker 4: it has ended",
    ]


def test_a_reload_without_workers() -> None:
    with script({"reloads": {}}) as (health, _):
        assert health.reload() == (False, {"error": "there are no workers"})
