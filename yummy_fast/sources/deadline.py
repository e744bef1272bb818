"""Run a blocking call, and give up on it after a time.

The libraries that fetch a registry have timeouts, but for each single read: retries, name resolution, a login, or a
server that sends a byte now and then may take any time. So the call runs in a thread of its own, and the caller stops
waiting. Python cannot end the thread; while it is running, no second one is started, so that a registry that never
answers costs one thread and not one a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class DeadlineRunner:
    """Runs blocking calls, each with the same timeout. One thread may use it, for one call at a time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._overdue: threading.Thread | None = None
        """The thread of the last call that timed out, until it is known to have ended."""

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Raises TimeoutError after the timeout, with a text for operators."""
        if self._overdue is not None:
            self._overdue.join(self._timeout_s)
            if self._overdue.is_alive():
                raise self._no_answer()
            self._overdue = None
        outcome: Future[T] = Future()
        # A daemon, because the process does not wait for those when it ends.
        thread = threading.Thread(target=_run_into, args=(outcome, call), name="deadline", daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        if thread.is_alive():
            self._overdue = thread
            raise self._no_answer()
        try:
            return outcome.result()
        finally:
            del outcome  # as in `_run_into`

    def _no_answer(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self._timeout_s:g} s")


def _run_into(outcome: Future[T], call: Callable[[], T]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:
        outcome.set_exception(error)
    finally:
        # A raised error's traceback refers to this frame, and `outcome` to the error. Without this line they would be a
        # cycle, which only the cycle collector frees (server/reload.py, gc_paused).
        del outcome
