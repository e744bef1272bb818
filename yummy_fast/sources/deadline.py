"""Run blocking calls in threads of their own, and give up on them after a time.

The libraries that fetch a registry have timeouts, but for each single read: retries, name resolution, a login, or a
server that sends a byte now and then may take any time. So the call runs in a thread of its own (`in_daemon_thread`),
and the caller stops waiting (`DeadlineRunner`). Python cannot end the thread; while it is running, no second one is
started, so that a registry that never answers costs one thread and not one a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


def in_daemon_thread(call: Callable[[], T], name: str) -> Future[T]:
    """Run `call` in a thread that the process does not wait for when it ends; the Future gets its result or error."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # a caller that gives up does not cancel it
    threading.Thread(target=_run_into, args=(outcome, call), name=name, daemon=True).start()
    return outcome


def _run_into(outcome: Future[T], call: Callable[[], T]) -> None:
    try:
        outcome.set_result(call())
    except Exception as error:
        outcome.set_exception(error)
    except BaseException as error:  # a library's sys.exit(): raised again in an event loop, it would end the server
        outcome.set_exception(RuntimeError(repr(error)))
    finally:
        # A raised error's traceback refers to this frame, and `outcome` to the error. Without this line they would be a
        # cycle (docs/architecture.md, "No cycles").
        del outcome


class DeadlineRunner:
    """Runs blocking calls, each with the same timeout. One thread may use it, for one call at a time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._overdue: Future[Any] | None = None
        """The last call that timed out, until it is known to have ended."""

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Raises TimeoutError after the timeout, with a text for operators."""
        if self._overdue is not None:
            self._wait_for(self._overdue)
            self._overdue = None
        outcome = in_daemon_thread(call, "deadline")
        try:
            self._wait_for(outcome)
            return outcome.result()
        finally:
            del outcome  # as in `_run_into`

    def _wait_for(self, outcome: Future[Any]) -> None:
        if not wait([outcome], self._timeout_s).done:
            self._overdue = outcome
            raise TimeoutError(f"no answer within {self._timeout_s:g} s")
