"""Watch the registry; compile a new catalog and swap it in.

Each source is asked for a sign of change every second, or every five where that costs a request, and read anyway every
--registry_ttl_sec and on SIGHUP. Looking, reading, compiling, and freeing the old catalog happen in a thread; the swap
is one assignment, and requests in flight keep the plan that they hold. The thread rests as long as it works: a reload
has time, and requests have none. A registry that cannot be read or makes no sense is logged, once until it reads
differently, and the catalog that there is stays.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from yummy_fast.errors import YummyError
from yummy_fast.feast_format.registry import Throttle
from yummy_fast.features.catalog import Catalog
from yummy_fast.sources.source import Source

logger = logging.getLogger("yummy_fast")

SETTLE_S = 0.05
"""How long a registry must have looked the same. Feast empties its file and writes it anew: a piece would parse."""
SWITCH_S = 0.0001
"""sys.setswitchinterval while compiling: the loop waits so long at most for the thread that compiles. Usually 5 ms."""
WORK_S = 0.0005
"""How long the thread that compiles works before it rests."""
REST_S = 0.1
"""How long it rests at the most: what seems to be an hour of work is a process that was stopped for an hour."""
NEVER = 1 << 30
"""Of the cycle collector's thresholds: that of a look at all objects, while compiling."""
FAILURES_KEPT = 100

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
        self._waiting: list[Callable[[str], None]] = []
        self._failed: set[str] = set()
        """What has been logged since the last good reading."""
        self.reloads = 0
        self.failures = 0
        self.last_error = ""
        """Of the last attempt; empty if it went well."""
        self.loaded_at = self.checked_at = time.time()
        """When what is served was read; when it was last known to be the newest there is."""

    def reload_now(self, done: Callable[[str], None] | None = None) -> None:
        """Read the registry without waiting for a sign of change. `done` gets what went wrong, or an empty text."""
        if done is not None:
            self._waiting.append(done)
        self._wanted.set()

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
            asked = self._wanted.is_set()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            due = asked or loop.time() - read_at >= self._ttl_s
            try:
                if due or await self._looks_new():
                    read_at = loop.time()
                    await self._reload(asked)
            except YummyError as error:
                self._failure(str(error), asked)
            except Exception as error:
                self._failure(f"{self._source.name}: {error!r}", asked, trace=True)
            for done in waiting:
                done(self.last_error)

    async def _looks_new(self) -> bool:
        seen = await self._ask(self._source.stamp)
        if seen is None or seen != self._stamp:
            return seen is not None
        self.checked_at = time.time()
        return False

    async def _reload(self, asked: bool) -> None:
        stamp, data = await self._read_settled()
        self._stamp = stamp  # whatever comes of it: what does not compile now will not in a second
        if data == self._data:
            if self._failed or asked:
                logger.info("registry unchanged: %s", self._source.name)
        else:
            with _low_priority():
                catalog = await _in_daemon_thread(lambda: self._compile(data, HalfSpeed()))
                self._data = data
                pieces = self._swap(catalog).pieces()
                self.loaded_at = time.time()
                self.reloads += 1
                logger.warning("registry reloaded: %s", describe(catalog))
                await _in_daemon_thread(lambda: _free_gradually(pieces))
        self._failed.clear()
        self.last_error = ""
        self.checked_at = time.time()

    async def _read_settled(self) -> tuple[Hashable, bytes]:
        """The registry and its stamp, when nobody writes it meanwhile."""
        while True:
            stamp = await self._ask(self._source.stamp)
            await asyncio.sleep(SETTLE_S)
            data = await self._ask(self._source.read)
            if await self._ask(self._source.stamp) == stamp:
                return stamp, data

    async def _ask(self, question: Callable[[], T]) -> T:
        try:
            return await _in_daemon_thread(question)
        except Exception:
            self._stamp = object()  # whatever it says when it can be asked again is news
            raise

    def _failure(self, message: str, asked: bool, *, trace: bool = False) -> None:
        self.failures += 1
        self.last_error = message
        if message in self._failed and not asked:
            return
        if len(self._failed) >= FAILURES_KEPT:
            self._failed.clear()
        self._failed.add(message)
        logger.error("registry not reloaded, the one before stays: %s", message, exc_info=trace)


async def _in_daemon_thread(work: Callable[[], T]) -> T:
    """What `work` returns, from a thread that nobody waits for: a slow registry must not hold up the server's end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    outcome: list[tuple[T, None] | tuple[None, Exception]] = []

    def settle() -> None:
        if not done.done():  # or else it was cancelled: the server ends
            done.set_result(None)

    def run() -> None:
        try:
            outcome.append((work(), None))
        except Exception as error:
            outcome.append((None, error))
        except BaseException as error:  # raised in the loop it would end the server; not told at all, be waited for
            outcome.append((None, RuntimeError(repr(error))))
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name="registry", daemon=True).start()
    await done
    result, error = outcome.pop()
    if error is None:
        return result  # type: ignore[return-value]  # beside no error it is a T
    try:
        raise error
    finally:
        del error  # its traceback holds this frame: with a name for it here, neither would go, nor what was read


class HalfSpeed:
    """A Throttle: rest for as long as it has worked, so that the event loop has the core and the interpreter's lock.

    It gets both when it asks, too; but where there is one core, the kernel may let who works finish a slice of 3 ms.
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
    """Free what nobody uses any more, one by one: all at once, it would keep the loop waiting for 30 ms."""
    for _ in HalfSpeed()(range(len(pieces))):
        pieces.pop()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Compile here, and keep what there is at the end.

    The cycle collector would look at all objects again and again while their number grows, and once more some time
    later: 0.1 s for 2,000 views each time. So it looks at young ones only, and never again at what there is in the end:
    a catalog has no cycles, and goes without it. A cycle that is frozen is never freed, so requests and reloads leave
    none (tests/system/test_leftovers.py). Those that other people's code leaves are nearly always young.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], NEVER)
    try:
        yield
        gc.collect(1)
        gc.freeze()
        gc.collect()  # there is nothing left to look at; but it empties Python's free lists, which each catalog fills
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def _low_priority() -> Iterator[None]:
    """Compile here without stopping the loop for long."""
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
