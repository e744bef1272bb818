"""Watching a registry: when it is read, what is kept of it, and what is said, over a source that does as it is told."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
import threading
import weakref
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness import run
from yummy_fast.errors import RegistryError
from yummy_fast.feast_format.registry import Throttle
from yummy_fast.server import reload
from yummy_fast.server.reload import HalfSpeed, Reloader

THRESHOLDS = gc.get_threshold()
"""As they are before anything was reloaded: no test has run when this is imported."""
KEPT = "registry not reloaded, the previous one stays in use: "


class ScriptedSource:
    """A source that gives what a test has put there; an exception for data is raised."""

    name = "scripted"
    look_every_s = 0.001

    def __init__(self, data: bytes | BaseException = b"one") -> None:
        self.data = data
        self.mark: Hashable | BaseException = 1
        self.looks = self.reads = 0

    def put(self, data: bytes | BaseException) -> None:
        self.data, self.mark = data, (self.mark, 1) if not isinstance(self.mark, BaseException) else 1

    def stamp(self) -> Hashable:
        assert threading.current_thread() is not threading.main_thread()
        self.looks += 1
        if isinstance(self.mark, BaseException):
            raise self.mark
        return self.mark

    def read(self) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        self.reads += 1
        if isinstance(self.data, BaseException):
            raise self.data
        return self.data


class Piece:
    """Part of a catalog. Tells when it is freed, which is not to be on the event loop."""

    def __init__(self, freed: list[bytes], data: bytes) -> None:
        self._freed, self._data = freed, data

    def __del__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._freed.append(self._data)


class Watch:
    """A Reloader at work on a ScriptedSource that a catalog was compiled from already."""

    def __init__(self, source: ScriptedSource, ttl_s: int = 1000) -> None:
        self.source = source
        self.swapped: list[Any] = []
        self.let_go: list[bytes] = []
        """The data of the catalogs that were freed."""
        self.failing: BaseException | None = None
        self.compiling: Callable[[], object] = int
        """What happens meanwhile."""
        self.reloader = Reloader(source, 1, b"one", self._compile, self._swap, ttl_s)

    def _compile(self, data: bytes, throttle: Throttle) -> Any:
        assert isinstance(throttle, HalfSpeed)
        assert threading.current_thread() is not threading.main_thread()
        assert sys.getswitchinterval() == pytest.approx(reload.SWITCH_S)
        assert gc.get_threshold()[2] == reload.NEVER
        self.compiling()
        if self.failing:
            raise self.failing
        return self._catalog(data)

    def _catalog(self, data: bytes) -> Any:
        registry = SimpleNamespace(project=data.decode(), views=(), services=())
        return SimpleNamespace(data=data, registry=registry, pieces=lambda: [Piece(self.let_go, data)])

    def _swap(self, catalog: Any) -> Any:
        assert threading.current_thread() is threading.main_thread()
        before = self.swapped[-1] if self.swapped else b"one"
        self.swapped.append(catalog.data)
        return self._catalog(before)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110  # the condition may be of another thread's making
            await asyncio.sleep(0)

    async def looks(self, times: int) -> None:
        """Until the source was asked so many times more."""
        then = self.source.looks + times
        await self.until(lambda: self.source.looks >= then)

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self.reloader.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What has been logged."""
    caplog.set_level(logging.INFO, "yummy_fast")
    monkeypatch.setattr(reload, "SETTLE_S", 0.0)
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_change_is_compiled_and_swapped_in(said: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            await watch.looks(5)
            assert watch.source.reads == 0, "looking is cheaper than reading"
            watch.source.put(b"two")
            await watch.until(lambda: watch.swapped)
            await watch.looks(5)
            assert (watch.swapped, watch.source.reads, watch.reloader.reloads) == ([b"two"], 1, 1)
            await watch.until(lambda: watch.let_go == [b"one"])  # in the thread

    before = sys.getswitchinterval()
    run(scenario())
    assert said() == ["registry reloaded: project two, 0 feature views, 0 feature services"]
    assert sys.getswitchinterval() == before


def test_a_change_back_to_an_older_registry_is_one_like_any_other(said: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            for data in (b"two", b"one"):
                watch.source.put(data)
                await watch.until(lambda data=data: watch.swapped[-1:] == [data])  # type: ignore[misc]

    run(scenario())


def test_who_compiles_rests_for_as_long_as_he_has_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rested = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        rested.append(seconds)
        now += seconds

    monkeypatch.setattr(reload, "time", SimpleNamespace(perf_counter=lambda: now, sleep=sleep))
    throttle, done = HalfSpeed(), []
    for items in ((0.2, 0.2), (0.2, 1.0), (0.5,)):  # what each takes, in units of WORK_S
        for item in throttle(items):
            now += item * reload.WORK_S
            done.append(item)
    assert done == [0.2, 0.2, 0.2, 1.0, 0.5]
    assert rested == pytest.approx([1.6 * reload.WORK_S]), "one clock for all that is gone through"


def test_who_was_stopped_meanwhile_does_not_rest_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    rested: list[float] = []
    monkeypatch.setattr(reload, "time", SimpleNamespace(perf_counter=lambda: now, sleep=rested.append))
    for _ in HalfSpeed()(range(1)):
        now += 3600
    assert rested == [reload.REST_S]


class Cycle:
    """What only the cycle collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_what_dies_meanwhile_does_not_become_permanent(said: Callable[[], list[str]]) -> None:
    died: list[weakref.ref[Cycle]] = []
    alive: list[int] = []

    def compiling() -> None:
        died.extend(weakref.ref(Cycle()) for _ in range(10_000))
        alive.append(sum(each() is not None for each in died))

    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            watch.compiling = compiling
            frozen = gc.get_freeze_count()
            watch.source.put(b"two")
            await watch.until(lambda: gc.get_freeze_count() > frozen)

    run(scenario())
    assert alive[0] < len(died) / 2, "compiling can take seconds"
    assert sum(each() is not None for each in died) < 10, "but for what was in use when the collector came"
    assert gc.get_threshold() == THRESHOLDS


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RegistryError("scripted: the registry is empty"), "scripted: the registry is empty"),
        (KeyError("ours"), "scripted: KeyError('ours')"),
        (SystemExit(7), "scripted: RuntimeError('SystemExit(7)')"),
    ],
)
@pytest.mark.parametrize("where", ["stamp", "read", "compile"])
def test_a_failure_is_said_once_and_the_catalog_stays(
    said: Callable[[], list[str]], where: str, failure: BaseException, message: str
) -> None:
    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            source = watch.source
            if where == "stamp":
                source.mark = failure
            elif where == "read":
                source.put(failure)
            else:
                watch.failing = failure
                source.put(b"two")
            await watch.looks(10)
            assert said() == [KEPT + message]
            assert watch.swapped == []
            assert watch.reloader.last_error == message
            # Another failure is said too, the first not again.
            source.mark = RegistryError("scripted: another")
            await watch.looks(3)
            source.mark = RegistryError(message) if where == "stamp" else 7
            await watch.looks(10)
            assert said() == [KEPT + message, KEPT + "scripted: another"]
            # It is whole again, and the same as before.
            source.put(b"one")
            watch.failing = None
            await watch.until(lambda: len(said()) == 3)
            assert said()[-1] == "registry unchanged: scripted"
            assert watch.reloader.last_error == ""
            # From now on, a failure is news.
            source.mark = RegistryError(message)
            await watch.until(lambda: len(said()) == 4)
            assert said()[-1] == KEPT + message

    run(scenario())


def test_a_failure_goes_without_the_cycle_collector(said: Callable[[], list[str]]) -> None:
    """A registry that cannot be read is asked for every second, and a reload makes permanent what is there."""
    raised: list[weakref.ref[BaseException]] = []

    class Failing(ScriptedSource):
        def stamp(self) -> Hashable:
            self.looks += 1
            error = RegistryError("scripted: gone")
            raised.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

    async def scenario() -> None:
        async with Watch(Failing()) as watch:
            await watch.looks(5)
            assert [each() for each in raised[:3]] == [None] * 3

    gc.disable()
    try:
        run(scenario())
    finally:
        gc.enable()


def test_what_does_not_compile_is_not_compiled_again_before_it_changes(said: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            watch.failing = RegistryError("scripted: bad")
            watch.source.put(b"two")
            await watch.looks(20)
            assert watch.source.reads == 1

    run(scenario())


def test_who_asks_is_always_answered(said: Callable[[], list[str]]) -> None:
    """SIGHUP reads at once, even with a TTL of 0, which never looks; and says what came of it, also what is known."""

    async def scenario() -> None:
        async with Watch(ScriptedSource(), ttl_s=0) as watch:
            for times in (1, 2):
                watch.reloader.reload_now()
                await watch.until(lambda times=times: len(said()) == times)  # type: ignore[misc]
            watch.source.put(RegistryError("scripted: gone"))
            for times in (3, 4):
                watch.reloader.reload_now()
                await watch.until(lambda times=times: len(said()) == times)  # type: ignore[misc]
            watch.source.put(b"two")
            watch.reloader.reload_now()
            await watch.until(lambda: watch.swapped)

    run(scenario())
    assert said() == [
        *["registry unchanged: scripted"] * 2,
        *[KEPT + "scripted: gone"] * 2,
        "registry reloaded: project two, 0 feature views, 0 feature services",
    ]


def test_one_request_is_one_read(said: Callable[[], list[str]]) -> None:
    """After it, the source is only looked at again."""

    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            watch.reloader.reload_now()
            await watch.until(lambda: watch.source.reads)
            await watch.looks(20)
            assert watch.source.reads == 1

    run(scenario())
    assert said() == ["registry unchanged: scripted"]


def test_whoever_asks_gets_the_outcome_of_a_read_that_began_afterwards(said: Callable[[], list[str]]) -> None:
    outcomes: list[str] = []

    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            watch.source.put(RegistryError("scripted: gone"))
            watch.reloader.reload_now(outcomes.append)
            await watch.until(lambda: watch.source.reads)
            watch.reloader.reload_now(outcomes.append)  # while the first is at work
            watch.reloader.reload_now(outcomes.append)
            watch.source.put(b"two")
            await watch.until(lambda: len(outcomes) == 3)
            assert watch.source.reads >= 2

    run(scenario())
    assert outcomes[1:] == ["", ""]


def test_what_gives_no_sign_of_change_is_read_when_its_time_has_come(said: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        source = ScriptedSource()
        source.mark = None
        async with Watch(source, ttl_s=1000) as watch:
            source.data = b"two"
            await watch.looks(10)
            assert source.reads == 0
        async with Watch(source, ttl_s=1) as watch:
            await watch.until(lambda: watch.swapped)
            await watch.looks(20)
            assert (watch.swapped, source.reads) == ([b"two"], 1), "and not again before another second has passed"

    run(scenario())


def test_a_registry_that_is_being_written_is_read_when_it_is_whole(said: Callable[[], list[str]]) -> None:
    class Written(ScriptedSource):
        def read(self) -> bytes:
            super().read()
            if self.reads < 3:  # somebody goes on writing
                self.put(b"piece")
            elif self.reads == 3:
                self.put(b"whole")
            assert isinstance(self.data, bytes)
            return self.data

    async def scenario() -> None:
        async with Watch(Written()) as watch:
            watch.source.put(b"")
            await watch.until(lambda: watch.swapped)
            await watch.looks(3)
            assert (watch.swapped, watch.source.reads) == ([b"whole"], 4)

    run(scenario())


def test_a_source_that_hangs_holds_nobody_up(said: Callable[[], list[str]]) -> None:
    asked, forever = threading.Event(), threading.Event()

    class Hanging(ScriptedSource):
        def stamp(self) -> Hashable:
            asked.set()
            forever.wait()
            return 1

    async def scenario() -> None:
        async with Watch(Hanging()) as watch:
            await watch.until(asked.is_set)

    run(scenario())  # it ends
    forever.set()


def test_a_look_finds_a_change_and_comes_once_a_second(said: Callable[[], list[str]]) -> None:
    """For pushes that must not rely on an old registry."""

    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            await watch.looks(1)
            watch.reloader._looked_at = -math.inf  # as if a second had passed
            watch.source.put(b"two")
            left, *others = [look for _ in range(3) if (look := watch.reloader.look()) is not None]
            left.cancel()  # its client is gone: nobody else minds
            assert len(others) == 2
            await asyncio.gather(*others)
            assert watch.swapped == [b"two"]
            assert watch.reloader.look() is None, "that was a moment ago"

    run(scenario())
    assert said()[0].startswith("registry reloaded")


def test_a_look_at_what_cannot_be_read_is_no_error(said: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        async with Watch(ScriptedSource()) as watch:
            await watch.looks(1)
            watch.reloader._looked_at = -math.inf
            watch.source.put(RegistryError("gone"))
            looking = watch.reloader.look()
            assert looking is not None
            await looking
            assert watch.swapped == []

    run(scenario())
