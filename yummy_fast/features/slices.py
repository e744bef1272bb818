"""Large requests in slices: work of many milliseconds, between whose slices the event loop serves others.

While the event loop converts 100,000 keys or writes an answer of 50 MB, no other request is answered. So work that may
take long is a generator (`Steps`) that yields where it can be interrupted, every millisecond or so. `Slices.run` lets
it go on for SLICE_S, and then gives the loop an iteration of its own.

Several large requests share one line: in an iteration of the loop only one of them gets a slice. However many there
are, a small request waits for one slice at most, and the large ones get slices in turn.

    iteration   1          2          3          4
    slice of    A          B          A          B          A and B are large
    besides     c d e      f g        h i j      k l        small requests, reads and writes

It knows the event loop, and nothing of what the work is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TypeVar

from yummy_fast.features.steps import Steps

T = TypeVar("T")

SLICE_S = 0.004
"""How long a slice takes, and a small request waits for it. A step takes more than that only if it cannot be cut."""


class Slices:
    """The line in which large requests wait for their next slices. One per event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def run(self, steps: Steps[T]) -> T:
        """The outcome of work. Awaits Futures only. If its coroutine is closed, so is the work."""
        try:
            while True:
                await self._next_slice()
                ends_at = perf_counter() + SLICE_S
                next(steps)
                while perf_counter() < ends_at:
                    next(steps)
        except StopIteration as done:
            outcome: T = done.value
            return outcome
        finally:
            steps.close()

    def _next_slice(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._give_slice, loop)
        return future

    def _give_slice(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called once per iteration of the loop, as long as work waits: one of it goes on, in the next iteration."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # else its request was given up
                future.set_result(None)
                loop.call_soon(self._give_slice, loop)
                return
        self._scheduled = False
