"""Run blocking calls in threads of their own, and give up on them after a time.

The libraries that fetch a registry have timeouts, but for each single read: retries, name resolution, a login, or a
server that sends a byte now and then may take any time. So the call runs in a thread of its own (`in_daemon_thread`),
and the caller stops waiting (`DeadlineRunner`). Python cannot end the thread, which may wait for ever for a connection
that is dead, while the registry is well again: so it is abandoned, and the next call gets another thread. Of abandoned
threads there are MAX_ABANDONED; as many as that are a registry that never answers, which costs no more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

MAX_ABANDONED = 4
"""Threads that wait for answers which may never come. A source is asked again after each of them."""

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
        self._abandoned: list[Future[Any]] = []
        """The calls that timed out and have not ended yet."""

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Raises TimeoutError after the timeout, with a text for operators."""
        self._abandoned = [one for one in self._abandoned if not one.done()]
        if (
            len(self._abandoned) >= MAX_ABANDONED
            and not wait(self._abandoned, self._timeout_s, return_when=FIRST_COMPLETED).done
        ):
            raise TimeoutError(f"no answer within {self._timeout_s:g} s")
        outcome = in_daemon_thread(call, "deadline")
        try:
            if not wait([outcome], self._timeout_s).done:
                self._abandoned.append(outcome)
                raise TimeoutError(f"no answer within {self._timeout_s:g} s")
            return outcome.result()
        finally:
            del outcome  # as in `_run_into`
