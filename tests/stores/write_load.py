"""Writers to a store of several nodes, and a checker that finds every row that was promised, and no half of one.

Each writer has drivers of its own, and writes some of them at a time, each in two views: all fields of a row, its event
time too, are the number of the write. Before it writes it reads the stored times, as a push does. So what may be stored
is known for each driver:

    the last number whose write succeeded       must be there, unless a later one is whose outcome is not known
    numbers whose outcome is not known          may be there
    numbers that were refused                   may not

Promises are about what Redis was asked and has answered. A replica that takes over has, but for the instant between
two calls of write(2), all that the killed primary has confirmed: the kernel sends what a killed process has written.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.harness import PATIENCE_S
from tests.stores.cluster_load import PROJECT, key
from yummy_fast.errors import StoreError, UnknownOutcomeError
from yummy_fast.feast_format.keys import constant_key, feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.event_times import Moment
from yummy_fast.features.plan import Feature, HashContents, Lookup
from yummy_fast.features.written import Chosen, ViewRows, WrittenView
from yummy_fast.stores.redis import RedisStore
from yummy_fast.stores.redis_writes import OTHERS_WRITTEN

FEATURES = ("a", "b", "c")
VIEWS = ("first", "second")


def written_view(name: str) -> WrittenView:
    return WrittenView(
        name=name,
        store_name=name,
        features=tuple(Feature(name, feature, ValueType.INT64) for feature in FEATURES),
        own_features=len(FEATURES),
        inputs=(),
        keys=(),
        make_keys=constant_key("k", "", 3),
        time=("t",),
        created=(),
        vector=-1,
        vector_length=0,
    )


def rows_of(drivers: Sequence[int], number: int) -> ViewRows:
    text = b"%d" % number
    return ViewRows(
        keys=[key(driver) for driver in drivers],
        moments=[Moment(number, text)] * len(drivers),
        values=[[text] * len(drivers) for _ in FEATURES],
        created=[],
    )


def times_lookups() -> tuple[Lookup, ...]:
    return tuple(Lookup((), (name,), (), (), HashContents.of(())) for name in VIEWS)


class Driver:
    """What is known of one."""

    def __init__(self) -> None:
        self.promised = -1
        self.unknown: set[int] = set()

    def fits(self, number: int) -> bool:
        return number == self.promised or number in self.unknown


class WriteLoad:
    """Writers to one store."""

    def __init__(
        self,
        store: RedisStore,
        writers: int = 4,
        drivers_each: int = 60,
        most_rows: int = 12,
        *,
        lossy: bool = False,
    ) -> None:
        """`lossy`: Redis itself may lose what it has confirmed. Then only the halves of rows are looked for."""
        self.store = store
        self._lossy = lossy
        self.written = 0
        """How many writes have succeeded."""
        self.failed: Counter[str] = Counter()
        """By class and text of the error."""
        self.drivers: defaultdict[int, Driver] = defaultdict(Driver)
        self._writers = writers
        self._drivers_each = drivers_each
        self._most_rows = most_rows
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> WriteLoad:
        self._tasks = [asyncio.create_task(self._write_on(number)) for number in range(self._writers)]
        await self.wait_until(lambda: self.written >= 50)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            while not condition():
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def wait_until_right(self) -> None:
        """Until a hundred writes in a row have not failed."""
        since, failures = self.written, self.failed.total()

        def right() -> bool:
            nonlocal since, failures
            if self.failed.total() != failures:
                since, failures = self.written, self.failed.total()
            return self.written - since > 100

        await self.wait_until(right)

    async def _write_on(self, writer: int) -> None:
        dice = random.Random(writer)
        own = range(writer * self._drivers_each, (writer + 1) * self._drivers_each)
        prepared = [self.store.prepare_write(written_view(name)) for name in VIEWS]
        times = self.store.prepare(times_lookups())
        number = 0
        while not self._stop:
            number += 1
            drivers = dice.sample(own, dice.choice((1, 1, dice.randrange(2, self._most_rows))))
            known = [self.drivers[driver] for driver in drivers]
            keys = [key(driver) for driver in drivers]
            try:
                stored = await self.store.fetch_times(times, [keys] * len(VIEWS))
            except StoreError as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.002)
                continue
            for rows in stored:
                for driver, facts, row in zip(drivers, known, rows, strict=True):
                    found = -1 if row[0] is None else int(row[0])
                    assert self._lossy or facts.fits(found), (driver, found, facts.promised, facts.unknown)
            chosen = Chosen(rows_of(drivers, number), range(len(drivers)))
            try:
                await self.store.write([(each, chosen) for each in prepared])
            except StoreError as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
                if isinstance(error, UnknownOutcomeError) or OTHERS_WRITTEN in str(error):
                    for facts in known:
                        facts.unknown.add(number)
                await asyncio.sleep(0.002)
            else:
                self.written += 1
                for facts in known:
                    facts.promised = number

    def check(self, hashes: Mapping[bytes, Mapping[bytes, bytes]]) -> None:
        """Compare with what is stored, all of it. Each row is whole, and one that may be there."""
        for driver, facts in self.drivers.items():
            fields = hashes.get(key(driver) + PROJECT, {})
            for view in VIEWS:
                names = [timestamp_field(view), *(feature_field(view, feature) for feature in FEATURES)]
                values = {fields.get(name) for name in names}
                assert len(values) == 1, f"half of a row of driver {driver}: {values}"
                (value,) = values
                found = -1 if value is None else int(value)
                assert self._lossy or facts.fits(found), (driver, found, facts.promised, facts.unknown)


def hashes_of(nodes: Sequence[Any]) -> dict[bytes, dict[bytes, bytes]]:
    """What is stored at some nodes, all of it."""
    found: dict[bytes, dict[bytes, bytes]] = {}
    for node in nodes:
        keys = node.do("KEYS", "*")
        for name, fields in zip(keys, node.pipeline([("HGETALL", name) for name in keys]), strict=True):
            assert name not in found, "a hash at two primaries"
            found[name] = dict(zip(fields[::2], fields[1::2], strict=True))
    return found
