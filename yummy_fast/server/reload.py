"""Watch the registry; compile a new catalog and swap it in.

Each source is asked for a sign of change every second, or every five where that costs a request. It is read anyway
every --registry_ttl_sec, on SIGHUP, and when the admin listener is asked to. Looking, reading, compiling, and freeing
the old catalog happen in threads; the swap is one assignment, and requests in flight keep the plan that they hold. A
thread that compiles rests as long as it works, because a reload has time and requests have none. A registry that cannot
be read or makes no sense is logged, once until it can be read again, and the previous catalog stays in use.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from yummy_fast.errors import YummyError
from yummy_fast.feast_format.registry import Throttle
from yummy_fast.features.catalog import Catalog
from yummy_fast.sources.deadline import in_daemon_thread
from yummy_fast.sources.source import Source

logger = logging.getLogger("yummy_fast")

SETTLE_S = 0.05
"""How long a registry must look the same. Feast empties its file and writes it anew, and half a registry parses."""
SWITCH_S = 0.0001
"""sys.setswitchinterval while compiling: how long the loop waits for the interpreter lock. The default is 5 ms."""
WORK_S = 0.0005
"""How long the thread that compiles works before it rests."""
REST_S = 0.1
"""How long it rests at most: what looks like an hour of work is a process that was stopped for an hour."""
NEVER = 1 << 30
"""The cycle collector's threshold, while compiling, for looking at all objects."""
LOOK_S = 1.0
"""A push that must not rely on an old registry has it looked at, unless that was done within this time."""
FAILURES_KEPT = 100
"""Different failures that are remembered, so that each is logged once."""

T = TypeVar("T")


class Reloader:
    """Keeps a catalog up to date."""

    def __init__(
        self,
        source: Source,
        stamp: Hashable,
        data: bytes,
        compile_catalog: Callable[[bytes, Throttle], Catalog[object]],
        swap: Callable[[Catalog[object]], Catalog[object]],
        ttl_s: int,
    ) -> None:
        """`data` is what the present catalog was compiled from, `stamp` the source's before that was read.

        `compile_catalog` is called in a thread; `swap` returns the catalog that was there before.
        """
        self._source = source
        self._stamp = stamp
        self._data = data
        self._compile = compile_catalog
        self._swap = swap
        self._ttl_s = ttl_s
        self._wanted = asyncio.Event()
        self._asked = False
        """Whether the registry is to be read, whatever its source shows."""
        self._waiting: list[Callable[[str], None]] = []
        self._looking: list[asyncio.Future[None]] = []
        """Who waits for a look at the source."""
        self._looked_at = -math.inf
        """When one began, as time of the event loop."""
        self._failed: set[str] = set()
        """What has been logged since the registry was last read without an error."""
        self.reloads = 0
        self.failures = 0
        self.last_error = ""
        """Why the last attempt failed; empty if it did not."""
        self.loaded_at = self.checked_at = time.time()
        """When the registry that is served was read, and when it was last known to be the newest."""

    def reload_now(self, done: Callable[[str], None] | None = None) -> None:
        """Read the registry without waiting for a sign of change. `done` gets the error, or an empty text."""
        if done is not None:
            self._waiting.append(done)
        self._asked = True
        self._wanted.set()

    def look(self) -> asyncio.Future[None] | None:
        """See whether the registry has changed, and load it if so. None if that was done within LOOK_S.

        The Future gets None in any case: if the registry cannot be read, the one before serves.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._looked_at < LOOK_S and not self._looking:
            return None
        outcome: asyncio.Future[None] = loop.create_future()
        self._looking.append(outcome)
        self._wanted.set()
        return outcome

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        read_at = loop.time()
        pause_s = min(self._source.look_every_s, self._ttl_s) or None
        while True:
            with suppress(TimeoutError):
                # Not wait_for(): in Python 3.11 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
            asked, self._asked = self._asked, False
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            looking, self._looking = self._looking, []
            self._looked_at = loop.time()
            due = asked or loop.time() - read_at >= self._ttl_s
            try:
                if due or await self._looks_new(sure=bool(looking)):
                    read_at = loop.time()
                    await self._reload(asked)
            except YummyError as error:
                self._failure(str(error), asked)
            except Exception as error:
                self._failure(f"{self._source.name}: {error!r}", asked, trace=True)
            for done in waiting:
                done(self.last_error)
            for outcome in looking:
                if not outcome.done():  # else its request was given up
                    outcome.set_result(None)

    async def _looks_new(self, *, sure: bool) -> bool:
        """Whether the source shows a change. One whose stamp is None never does: only the TTL has it read, and who must
        be `sure`.
        """
        seen = await self._ask(self._source.stamp)
        if seen is None or seen != self._stamp:
            return seen is not None or sure
        self.checked_at = time.time()
        return False

    async def _reload(self, asked: bool) -> None:
        stamp, data = await self._read_settled()
        self._stamp = stamp  # before it is compiled: a registry that does not compile now will not in a second
        if data == self._data:
            if self._failed or asked:
                logger.info("registry unchanged: %s", self._source.name)
        else:
            with _low_priority():
                catalog = await _in_thread(lambda: self._compile(data, HalfSpeed()))
                self._data = data
                pieces = self._swap(catalog).pieces()
                self.loaded_at = time.time()
                self.reloads += 1
                logger.info("registry reloaded: %s", describe(catalog))
                await _in_thread(lambda: _free_gradually(pieces))
        self._failed.clear()
        self.last_error = ""
        self.checked_at = time.time()

    async def _read_settled(self) -> tuple[Hashable, bytes]:
        """The registry and its stamp, which did not change from before the read until after it."""
        while True:
            stamp = await self._ask(self._source.stamp)
            await asyncio.sleep(SETTLE_S)
            data = await self._ask(self._source.read)
            if await self._ask(self._source.stamp) == stamp:
                return stamp, data

    async def _ask(self, ask: Callable[[], T]) -> T:
        """What the source answers."""
        try:
            return await _in_thread(ask)
        except Exception:
            self._stamp = object()  # equal to no other: once the source answers again, its registry is read
            raise

    def _failure(self, message: str, asked: bool, *, trace: bool = False) -> None:
        self.failures += 1
        self.last_error = message
        if message in self._failed and not asked:
            return
        if len(self._failed) >= FAILURES_KEPT:
            self._failed.clear()
        self._failed.add(message)
        logger.error("registry not reloaded, the previous one stays in use: %s", message, exc_info=trace)


async def _in_thread(call: Callable[[], T]) -> T:
    """What `call` returns, from a thread that does not hold up the end of the server: a registry may be slow."""
    outcome = asyncio.wrap_future(in_daemon_thread(call, "registry"))
    try:
        return await outcome
    finally:
        del outcome  # an error's traceback refers to this frame: docs/architecture.md, "No cycles"


class HalfSpeed:
    """A Throttle: the thread rests as long as it has worked, and leaves core and interpreter lock to the event loop.

    The loop would get both anyway; but on a single core, the kernel may let the thread finish a slice of 3 ms first.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def __call__(self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            yield item
            worked_s = time.perf_counter() - self._begun
            if worked_s >= WORK_S:
                time.sleep(min(worked_s, REST_S))
                self._begun = time.perf_counter()


def _free_gradually(pieces: list[object]) -> None:
    """Free the parts of an old catalog one by one. All at once, that would stop the loop for 30 ms."""
    for _ in HalfSpeed()(range(len(pieces))):
        pieces.pop()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Compile a catalog inside of this: the cycle collector then looks at young objects only, and later at none of it.

    docs/architecture.md, "No cycles", says why, and what the price is. Cycles that users' functions and libraries leave
    while compiling are nearly always young, and so are collected.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], NEVER)
    try:
        yield
        gc.collect(1)
        gc.freeze()
        gc.collect()  # finds nothing, but empties Python's free lists, which each catalog fills
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def _low_priority() -> Iterator[None]:
    """Compile a catalog inside of this without stopping the loop for long."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        with gc_paused():
            yield
    finally:
        sys.setswitchinterval(interval)


def describe(catalog: Catalog[object]) -> str:
    """A line about a catalog, for the log."""
    registry = catalog.registry
    return f"project {registry.project}, {len(registry.views)} feature views, {len(registry.services)} feature services"
