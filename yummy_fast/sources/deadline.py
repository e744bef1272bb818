"""Work that may never return, waited for only so long.

Most libraries that fetch a registry have timeouts, but they are for one read each: retries, name resolution, a login,
or a server that sends a byte now and then can take any time. So the work is done in a thread of its own, and whoever
waits gives up. The thread cannot be ended: as long as it goes on, there is no second one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class DeadlineRunner:
    """For one thing at a time. Not for several threads at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._given_up: threading.Thread | None = None
        """Still at it, as far as is known."""

    def wait_for(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Raises TimeoutError when patience ends, with a text for operators."""
        if self._given_up is not None:
            self._given_up.join(self._seconds)
            if self._given_up.is_alive():
                raise self._no_answer()
            self._given_up = None
        outcome: Future[T] = Future()
        # Daemons end with the process, whatever they wait for.
        thread = threading.Thread(target=_work, args=(work, outcome), name="patience", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if thread.is_alive():
            self._given_up = thread
            raise self._no_answer()
        try:
            return outcome.result()
        finally:
            del outcome  # as in `_work`

    def _no_answer(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self._seconds:g} s")


def _work(work: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:
        outcome.set_exception(error)
    finally:
        del outcome  # its error's traceback holds this frame: with a name for it here, neither would go
