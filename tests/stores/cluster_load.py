"""A load on a store of several nodes, every answer of which is compared with the truth.

Drivers 0 to DRIVERS are stored, each with its own number as the value of `many:n`; drivers beyond are not. Clients
fetch random drivers, one or several at a time, until told to stop. What is not the truth ends the test at once; what
fails is counted, with the longest time that an answer took.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tests.harness import PATIENCE_S, repository
from yummy_fast.errors import StoreError
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, HashContents, Lookup
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.redis import RedisStore

DRIVERS = 300
PROJECT = b"corpus"


def key(driver: int) -> bytes:
    return entity_key_header(["driver_id"], 3) + key_value_encoder(ValueType.INT64, 3)(driver)


def stored_key(driver: int) -> bytes:
    return key(driver) + PROJECT


def records() -> dict[bytes, Sequence[bytes]]:
    """What is stored."""
    stamp = Timestamp(seconds=1).SerializeToString()
    return {
        stored_key(driver): (feature_field("many", "n"), b"%d" % driver, timestamp_field("many"), stamp)
        for driver in range(DRIVERS)
    }


def lookup() -> Lookup:
    features = (Feature("many", "n", ValueType.INT64),)
    return Lookup(
        features=features,
        views=("many",),
        view_of=(0,),
        join_keys=(("driver_id", "driver_id"),),
        holds=HashContents.of(features),
    )


def cluster_repository(
    folder: Path, connection_string: str, redis_type: str = "redis_cluster", **settings: Any
) -> Path:
    """The corpus's repository, with its store elsewhere."""
    repository(folder, "redis", connection_string, settings=settings)
    path = folder / "feature_store.yaml"
    path.write_text(path.read_text().replace("type: redis\n", f"type: redis\n  redis_type: {redis_type}\n"))
    return folder


def make_store(folder: Path, connection_string: str, redis_type: str = "redis_cluster", **settings: Any) -> RedisStore:
    config = load_config(chdir=str(cluster_repository(folder, connection_string, redis_type, **settings)), environ={})
    return RedisStore(config.repository, config.store)


@contextlib.asynccontextmanager
async def opened(store: RedisStore) -> AsyncIterator[RedisStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what changes has no event
            await asyncio.sleep(0.005)


class Load:
    """Clients of one store."""

    def __init__(self, store: RedisStore, clients: int = 4, seed: int = 1, most_keys: int = 12) -> None:
        self.store = store
        self.asked = 0
        self.failed: Counter[str] = Counter()
        """By class and text of the error."""
        self.slowest_s = 0.0
        self._dice = random.Random(seed)
        self._most_keys = most_keys
        self._clients = clients
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        await self.wait_for(100)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def wait_for(self, more: int) -> None:
        """Until so many more have been asked."""
        await self.wait_until(lambda before=self.asked: self.asked >= before + more)  # type: ignore[misc]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def wait_until_right(self) -> None:
        """Until a hundred fetches in a row have not failed."""
        since, failures = self.asked, sum(self.failed.values())

        def right() -> bool:
            nonlocal since, failures
            if sum(self.failed.values()) != failures:
                since, failures = self.asked, sum(self.failed.values())
            return self.asked - since > 100

        await self.wait_until(right)

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        prepared = self.store.prepare((lookup(),))
        while not self._stop:
            drivers = [
                self._dice.randrange(DRIVERS + DRIVERS // 10)
                for _ in range(self._dice.choice((1, 1, self._dice.randrange(2, self._most_keys))))
            ]
            began = loop.time()
            self.asked += 1
            try:
                (rows,) = await self.store.fetch(prepared, [[key(driver) for driver in drivers]])
            except StoreError as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.002)
                continue
            finally:
                self.slowest_s = max(self.slowest_s, loop.time() - began)
            found = [row[0] for row in rows]
            truth = [b"%d" % driver if driver < DRIVERS else None for driver in drivers]
            assert found == truth, (drivers, found)
