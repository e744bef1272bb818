"""Large requests in slices: work of many milliseconds, between whose slices the event loop serves others.

While the event loop converts 100,000 keys or writes an answer of 50 MB, no other request is answered. So work that may
take long is a generator (`Steps`) that yields where it can be interrupted, every millisecond or so. `Slices.run` lets
it go on for SLICE_S, and then gives the loop an iteration of its own.

Several large requests share one line: in an iteration of the loop only one of them gets a slice. However many there
are, a small request waits for one slice at most, and the large ones get slices in turn.

    iteration   1          2          3          4
    slice of    A          B          A          B          A and B are large
    besides     c d e      f g        h i j      k l        small requests, reads and writes

What is half done takes memory, and 96 answers of 16 MB that are made in turns are all half done at once. So while more
than MAX_HELD_BYTES are held, only the oldest work goes on, and work that holds little.

It knows the event loop, and nothing of what the work is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TypeVar

from yummy_fast.features.steps import Budget, Steps

T = TypeVar("T")

SLICE_S = 0.004
"""How long a slice takes, and a small request waits for it. A step takes more than that only if it cannot be cut."""
MAX_HELD_BYTES = 16 << 20
"""How much unfinished outcomes may hold before only the oldest work goes on."""
LITTLE_BYTES = 256 << 10
"""Work that holds less goes on in any case. An answer for 100 rows of 250 features has about 500 KB."""


class Slices:
    """The line in which large requests wait for their next slices. One per event loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.Future[None], Budget]] = deque()
        self._budgets: dict[Budget, None] = {}
        """Of the work in progress, the oldest first."""
        self._scheduled = False

    async def run(self, steps: Steps[T], budget: Budget | None = None) -> T:
        """The outcome of work. Awaits Futures only. If its coroutine is closed, so is the work.

        `budget` says how much the outcome takes so far; without one, that is little.
        """
        budget = budget or Budget(0, 0)
        self._budgets[budget] = None
        try:
            while True:
                await self._next_slice(budget)
                ends_at = perf_counter() + SLICE_S
                next(steps)
                while perf_counter() < ends_at and not self._has_to_wait(budget, self._held_bytes()):
                    next(steps)
        except StopIteration as done:
            outcome: T = done.value
            return outcome
        finally:
            del self._budgets[budget]
            steps.close()

    def _next_slice(self, budget: Budget) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((future, budget))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._give_slice, loop)
        return future

    def _give_slice(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called once per iteration of the loop, as long as work waits: one of it goes on, in the next iteration."""
        self._waiting = deque(each for each in self._waiting if not each[0].done())  # the others were given up
        if not self._waiting:
            self._scheduled = False
            return
        # The oldest work never has to wait. If it is not in the line (it is being given up), another goes on.
        held = self._held_bytes()
        line = enumerate(self._waiting)
        index = next((index for index, (_, budget) in line if not self._has_to_wait(budget, held)), 0)
        future, _ = self._waiting[index]
        del self._waiting[index]
        future.set_result(None)
        loop.call_soon(self._give_slice, loop)

    def _held_bytes(self) -> int:
        return sum(budget.taken_bytes for budget in self._budgets)

    def _has_to_wait(self, budget: Budget, held: int) -> bool:
        """Whether work has to wait for older work, because too much is held."""
        little = budget.taken_bytes <= LITTLE_BYTES
        return held > MAX_HELD_BYTES and not little and budget is not next(iter(self._budgets))
