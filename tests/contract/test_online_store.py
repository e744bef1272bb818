"""The contract of the online-store seam (yummy_fast/stores/online_store.py): what every store must do, or not merge.

A store enters by a Backend: how to write rows into it, and how to put it out of reach or make it hang. Everything else
here goes through `OnlineStore` alone, and so is the same for each. To add a store, write its Backend and enter it in
BACKENDS.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.clusters import Cluster, until
from tests.harness import PATIENCE_S, Proxy, Valkey, repository, run
from tests.stores.cluster_load import cluster_repository
from yummy_fast.config.settings import Config
from yummy_fast.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, HashContents, Lookup, Rows
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.online_store import OnlineStore, open_store_class
from yummy_fast.stores.redis_slots import SLOTS, slot_of

PROJECT = "contract"
TIMEOUT_S = 0.3


class Backend(Protocol):
    """What is behind a store: the data, and its troubles."""

    config: Config

    def write(self, key: bytes, view: str, values: Mapping[str, bytes], timestamp: bytes) -> None:
        """Store a row as Feast would: the Values of an entity's features, and when it happened."""

    def put_out_of_reach(self) -> None:
        """Before the store is opened: nobody is there."""

    def hang(self) -> None:
        """Take commands and do not answer."""

    def hang_no_more(self) -> None:
        """Answer what was asked in the meantime, and what is asked from now on."""

    def close(self) -> None: ...


class RedisBackend:
    """Feast's Redis layout in a Valkey, seen through a proxy."""

    def __init__(self, folder: Path, valkey: Valkey, read: str) -> None:
        self._valkey = valkey
        self._proxy = Proxy(valkey.port)
        settings = {"store_timeout_ms": int(TIMEOUT_S * 1000), "redis_read": read}
        repository(folder, "redis", f"127.0.0.1:{self._proxy.port},db=2", settings=settings)
        text = (folder / "feature_store.yaml").read_text().replace("project: corpus", f"project: {PROJECT}")
        (folder / "feature_store.yaml").write_text(text)
        self.config = load_config(chdir=str(folder), environ={})
        valkey.do("FLUSHDB", db=2)

    def write(self, key: bytes, view: str, values: Mapping[str, bytes], timestamp: bytes) -> None:
        pairs = [part for name, value in values.items() for part in (feature_field(view, name), value)]
        self._valkey.do("HSET", key + PROJECT.encode(), *pairs, timestamp_field(view), timestamp, db=2)

    def put_out_of_reach(self) -> None:
        self._proxy.close()

    def hang(self) -> None:
        self._proxy.hold()

    def hang_no_more(self) -> None:
        self._proxy.release()

    def close(self) -> None:
        self._proxy.close()


class ClusterBackend:
    """A Redis Cluster of two nodes, each of which announces a proxy's port as its own."""

    def __init__(self, folder: Path) -> None:
        self._nodes = ExitStack()
        self._proxies: list[Proxy] = []
        self._cluster = self._nodes.enter_context(Cluster(primaries=2, replicas=0))
        for node in self._cluster.nodes:
            proxy = Proxy(node.port)
            self._proxies.append(proxy)
            node.do("CONFIG", "SET", "cluster-announce-port", proxy.port)
        announced = {proxy.port for proxy in self._proxies}
        nodes = self._cluster.nodes
        until(
            lambda: all({e[2][1] for e in n.do("CLUSTER", "SLOTS")} == announced for n in nodes), "the proxies' ports"
        )
        connection_string = f"127.0.0.1:{self._proxies[0].port}"
        cluster_repository(folder, connection_string, store_timeout_ms=int(TIMEOUT_S * 1000))
        text = (folder / "feature_store.yaml").read_text().replace("project: corpus", f"project: {PROJECT}")
        (folder / "feature_store.yaml").write_text(text)
        self.config = load_config(chdir=str(folder), environ={})

    def write(self, key: bytes, view: str, values: Mapping[str, bytes], timestamp: bytes) -> None:
        pairs = [part for name, value in values.items() for part in (feature_field(view, name), value)]
        stored = key + PROJECT.encode()
        node = self._cluster.nodes[slot_of(stored) * 2 // SLOTS]
        node.do("HSET", stored, *pairs, timestamp_field(view), timestamp)

    def put_out_of_reach(self) -> None:
        for proxy in self._proxies:
            proxy.close()

    def hang(self) -> None:
        for proxy in self._proxies:
            proxy.hold()

    def hang_no_more(self) -> None:
        for proxy in self._proxies:
            proxy.release()

    def close(self) -> None:
        self.put_out_of_reach()
        self._nodes.close()


class SqliteBackend:
    """Feast's tables in a file, as `feast apply` makes them. It hangs while somebody else holds the file's lock."""

    def __init__(self, folder: Path) -> None:
        settings = {"store_timeout_ms": int(TIMEOUT_S * 1000)}
        repository(folder, "sqlite", "", settings=settings)
        text = (folder / "feature_store.yaml").read_text().replace("project: corpus", f"project: {PROJECT}")
        (folder / "feature_store.yaml").write_text(text)
        self.config = load_config(chdir=str(folder), environ={})
        self._path = folder / "online_store.db"
        self._path.unlink()
        self._database = sqlite3.connect(self._path, isolation_level=None)
        for view in ("stats", "profile", "wide"):
            self._database.execute(
                f'CREATE TABLE "{PROJECT}_{view}" (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, '
                "vector_value BLOB, event_ts timestamp, created_ts timestamp, PRIMARY KEY (entity_key, feature_name))"
            )

    def write(self, key: bytes, view: str, values: Mapping[str, bytes], timestamp: bytes) -> None:
        seconds = Timestamp.FromString(timestamp).seconds
        self._database.execute("BEGIN")
        self._database.executemany(
            f'INSERT INTO "{PROJECT}_{view}" (entity_key, feature_name, value, event_ts) VALUES (?, ?, ?, ?)',
            [(key, name, value, seconds) for name, value in values.items()],
        )
        self._database.execute("COMMIT")

    def put_out_of_reach(self) -> None:
        self._path.unlink()

    def hang(self) -> None:
        self._database.execute("BEGIN EXCLUSIVE")

    def hang_no_more(self) -> None:
        self._database.execute("COMMIT")

    def close(self) -> None:
        self._database.close()


BACKENDS = ("redis-hmget", "redis-hgetall", "redis-auto", "cluster", "sqlite")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey) -> Iterator[Backend]:
    store, _, read = str(request.param).partition("-")
    folder = tmp_path / "repository"
    made: Backend
    if store == "sqlite":
        made = SqliteBackend(folder)
    elif store == "cluster":
        made = ClusterBackend(folder)
    else:
        made = RedisBackend(folder, valkey, read)
    yield made
    made.close()


def open_store(backend: Backend) -> OnlineStore[object]:
    """A store for the backend; `await open()` comes next."""
    config = backend.config
    return open_store_class(str(config.repository.online_store["type"]), "test")(config.repository, config.store)


# ---------------------------------------------------------------------------------------------------- data to read

EARLY = Timestamp(seconds=1_700_000_000).SerializeToString()
LATE = Timestamp(seconds=1_800_000_000).SerializeToString()
STATS = ("trips", "rating", "nick")
PROFILE = ("city",)
WIDE = tuple(f"f{place}" for place in range(120))


def key(driver: int) -> bytes:
    return entity_key_header(["driver_id"], 3) + key_value_encoder(ValueType.INT64, 3)(driver)


def integer(number: int) -> bytes:
    """A stored Value that says which one it is; 0 to 127."""
    return b"\x20" + bytes([number])


def lookup(views: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]] | None = None) -> Lookup:
    """Features of views under driver_id; `known` is what else the registry has there."""
    named = [Feature(view, name, ValueType.INT64) for view, names in views.items() for name in names]
    held = views if known is None else known
    return Lookup(
        features=tuple(named),
        views=tuple(views),
        view_of=tuple(place for place, names in enumerate(views.values()) for _ in names),
        join_keys=(("driver_id", "driver_id"),),
        holds=HashContents.of([Feature(view, name, ValueType.INT64) for view, names in held.items() for name in names]),
    )


def fetch(
    backend: Backend, lookups: Sequence[Lookup], keys: Sequence[Sequence[bytes]]
) -> list[list[list[bytes | None]]]:
    """One fetch with a store of its own."""

    async def reading() -> Rows:
        store = open_store(backend)
        await store.open()
        try:
            return await store.fetch(store.prepare(tuple(lookups)), keys)
        finally:
            await store.close()

    return [[list(row) for row in rows] for rows in run(reading())]


def happened(stored: bytes | None) -> int:
    assert stored is not None
    return Timestamp.FromString(stored).seconds


# ----------------------------------------------------------------------------------------------------- the form of Rows


def test_values_in_the_order_asked_for_then_the_timestamps(backend: Backend) -> None:
    backend.write(key(1), "profile", {"city": integer(4)}, LATE)
    backend.write(key(1), "stats", {"nick": integer(3), "trips": integer(1), "rating": integer(2)}, EARLY)
    ((row,),) = fetch(backend, [lookup({"stats": ("rating", "trips"), "profile": PROFILE})], [[key(1)]])
    assert row[:3] == [integer(2), integer(1), integer(4)]
    assert list(map(happened, row[3:])) == [1_700_000_000, 1_800_000_000]


def test_none_is_absent_and_empty_is_null(backend: Backend) -> None:
    backend.write(key(1), "stats", {"trips": integer(1), "nick": b""}, EARLY)
    ((row,),) = fetch(backend, [lookup({"stats": STATS, "profile": PROFILE})], [[key(1)]])
    assert row[:4] == [integer(1), None, b"", None]
    assert happened(row[4]) == 1_700_000_000
    assert row[5] is None


def test_an_entity_that_is_not_there(backend: Backend) -> None:
    ((row,),) = fetch(backend, [lookup({"stats": STATS, "profile": PROFILE})], [[key(404)]])
    assert row == [None] * 6


def test_rows_in_the_order_of_the_keys_duplicates_too(backend: Backend) -> None:
    for driver in (1, 2, 3):
        backend.write(key(driver), "stats", {"trips": integer(driver)}, EARLY)
    asked = [3, 1, 404, 1, 2, 3]
    (rows,) = fetch(backend, [lookup({"stats": ("trips",)})], [[key(driver) for driver in asked]])
    assert [row[0] for row in rows] == [None if driver == 404 else integer(driver) for driver in asked]


def test_several_lookups_in_one_fetch(backend: Backend) -> None:
    """As a service with aliases makes them: other features, other keys, other numbers of keys."""
    for driver in (1, 2, 3):
        backend.write(key(driver), "stats", {"trips": integer(driver), "nick": integer(10 + driver)}, EARLY)
        backend.write(key(driver), "profile", {"city": integer(20 + driver)}, LATE)
    lookups = [
        lookup({"stats": ("nick",)}),
        lookup({"profile": PROFILE, "stats": ("trips",)}),
        lookup({"stats": ("trips",)}),
    ]
    keys = [[key(2)], [key(3), key(1), key(3)], [key(1), key(2)]]
    first, second, third = fetch(backend, lookups, keys)
    assert [row[:1] for row in first] == [[integer(12)]]
    assert [row[:2] for row in second] == [[integer(20 + d), integer(d)] for d in (3, 1, 3)]
    assert [row[:1] for row in third] == [[integer(1)], [integer(2)]]
    assert [len(row) for row in (*first, *second, *third)] == [2, 4, 4, 4, 2, 2]


def test_stored_timestamps_are_whole(backend: Backend) -> None:
    """The form is a serialised google.protobuf.Timestamp; the epoch itself is not the absence of one."""
    moments = [0, 1, 1_700_000_000]
    for driver, moment in enumerate(moments):
        backend.write(key(driver), "stats", {"trips": integer(1)}, Timestamp(seconds=moment).SerializeToString())
    (rows,) = fetch(backend, [lookup({"stats": ("trips",)})], [list(map(key, range(3)))])
    assert [happened(row[1]) for row in rows] == moments


def test_features_that_the_registry_does_not_know(backend: Backend) -> None:
    """A lookup of an earlier version's view: nothing is known of what lies beside it."""
    backend.write(key(1), "stats", {"trips": integer(1), "nick": integer(2)}, EARLY)
    ((row,),) = fetch(backend, [lookup({"stats": ("nick",)}, known={})], [[key(1)]])
    assert row[0] == integer(2)


def test_wide_rows_of_entities_that_differ(backend: Backend) -> None:
    """120 features of which each entity has others, written in an order of its own."""
    dice = random.Random(1)
    stored = {driver: dice.sample(WIDE, dice.randrange(1, len(WIDE))) for driver in range(30)}
    for driver, names in stored.items():
        backend.write(key(driver), "wide", {name: integer(WIDE.index(name)) for name in names}, EARLY)
        backend.write(key(driver), "stats", {"trips": integer(driver)}, LATE)
    (rows,) = fetch(backend, [lookup({"wide": WIDE, "stats": ("trips",)})], [[key(driver) for driver in stored]])
    for row, (driver, names) in zip(rows, stored.items(), strict=True):
        assert row[:-3] == [integer(place) if name in names else None for place, name in enumerate(WIDE)]
        assert row[-3] == integer(driver)
        assert list(map(happened, row[-2:])) == [1_700_000_000, 1_800_000_000]


def test_more_orders_than_are_remembered(backend: Backend) -> None:
    """120 entities whose features were written in 120 orders, read twice."""
    dice = random.Random(3)
    for driver in range(120):
        names = dice.sample(WIDE[:40], 40)
        backend.write(key(driver), "wide", {name: integer(WIDE.index(name)) for name in names}, EARLY)
    asked = [key(driver) for driver in [*range(120), *range(120)]]
    (rows,) = fetch(backend, [lookup({"wide": WIDE[:40]})], [asked])
    assert all(row[:-1] == [integer(place) for place in range(40)] for row in rows)


def test_nothing_to_read(backend: Backend) -> None:
    """No lookups, as for a service of request data alone: an answer of nothing, which harms no other."""
    backend.write(key(1), "stats", {"trips": integer(1)}, EARLY)

    async def reading() -> None:
        store = open_store(backend)
        await store.open()
        try:
            one = store.prepare((lookup({"stats": ("trips",)}),))
            nothing = store.fetch(store.prepare(()), [])
            something = store.fetch(one, [[key(1)]])
            assert (await something)[0][0][0] == integer(1)
            assert list(await nothing) == []
        finally:
            await store.close()

    run(reading())


# ------------------------------------------------------------------------------------------------------------- troubles


def test_out_of_reach(backend: Backend) -> None:
    """Opening succeeds, fetches fail at once, and `ping` says why."""
    backend.put_out_of_reach()

    async def reading() -> None:
        store = open_store(backend)
        await store.open()
        try:
            start = asyncio.get_running_loop().time()
            prepared = store.prepare((lookup({"stats": STATS}),))
            for _ in range(3):
                with pytest.raises(StoreUnavailableError):
                    await store.fetch(prepared, [[key(1)]])
            assert asyncio.get_running_loop().time() - start < TIMEOUT_S
            with pytest.raises(StoreError):
                await store.ping()
        finally:
            await store.close()

    run(reading())


def test_ping_says_what_is_there(backend: Backend) -> None:
    async def pinging() -> str:
        store = open_store(backend)  # `check` asks without opening
        return await store.ping()

    assert run(pinging())


def test_prepare_is_described(backend: Backend) -> None:
    """A line per lookup, without an event loop or an open store."""
    store = open_store(backend)
    described = store.describe(store.prepare((lookup({"stats": STATS}), lookup({"wide": WIDE}))))
    assert len(described) == 2
    assert all(described)


def test_a_timeout_and_what_comes_after(backend: Backend) -> None:
    """A fetch that gets no answer fails in time; when answers come again, nobody gets another's."""
    for driver in range(6):
        backend.write(key(driver), "stats", {"trips": integer(driver)}, EARLY)

    async def reading() -> None:
        loop = asyncio.get_running_loop()
        store = open_store(backend)
        await store.open()
        try:
            prepared = store.prepare((lookup({"stats": ("trips",)}),))
            assert (await store.fetch(prepared, [[key(0)]]))[0][0][0] == integer(0)
            backend.hang()
            start = loop.time()
            late = [store.fetch(prepared, [[key(driver)]]) for driver in (1, 2)]
            for future in late:
                with pytest.raises(StoreTimeoutError):
                    await future
            assert loop.time() - start < 10 * TIMEOUT_S
            after = store.fetch(prepared, [[key(3), key(4)]])
            if after.done():  # it does not wait for a store that is known to be silent
                with pytest.raises(StoreUnavailableError):
                    await after
            backend.hang_no_more()
            async with asyncio.timeout(PATIENCE_S):
                while after.done() and isinstance(after.exception(), StoreUnavailableError):
                    await asyncio.sleep(0.001)
                    after = store.fetch(prepared, [[key(3), key(4)]])
            assert [row[0] for row in (await after)[0]] == [integer(3), integer(4)]
            assert (await store.fetch(prepared, [[key(5)]]))[0][0][0] == integer(5)
        finally:
            await store.close()

    run(reading())


@pytest.mark.parametrize("seed", range(3))
def test_a_cancelled_fetch_harms_no_other(backend: Backend, seed: int) -> None:
    """100 fetches with answers of their own, cancelled here and there at any time: all others get theirs."""
    dice = random.Random(seed)
    for driver in range(100):
        backend.write(key(driver), "stats", {"trips": integer(driver)}, EARLY)

    async def reading() -> None:
        store = open_store(backend)
        await store.open()
        try:
            prepared = store.prepare((lookup({"stats": ("trips",)}),))
            for _ in range(3):
                asked = [[dice.randrange(100) for _ in range(dice.randrange(1, 6))] for _ in range(100)]
                waiting = []
                for drivers in asked:
                    future = store.fetch(prepared, [list(map(key, drivers))])
                    waiting.append((drivers, future))
                    if dice.random() < 0.2:
                        future.cancel()
                    if dice.random() < 0.1:
                        await asyncio.wait([future])  # some are answered, so the others are at all stages
                    if dice.random() < 0.2:
                        dice.choice(waiting)[1].cancel()
                answered = 0
                for drivers, future in waiting:
                    if not future.cancelled():
                        (rows,) = await future
                        assert [row[0] for row in rows] == list(map(integer, drivers))
                        answered += 1
                assert 20 < answered < 95
        finally:
            await store.close()

    run(reading())


def test_close_leaves_nobody_waiting(backend: Backend) -> None:
    """What is under way when the store is closed ends in an error; so does what is asked afterwards."""

    async def reading() -> None:
        store = open_store(backend)
        await store.open()
        prepared = store.prepare((lookup({"stats": STATS}),))
        await store.fetch(prepared, [[key(1)]])
        backend.hang()
        pending = store.fetch(prepared, [[key(1)]])
        await store.close()
        async with asyncio.timeout(10 * TIMEOUT_S):
            with pytest.raises(StoreError):
                await pending
        with pytest.raises(StoreUnavailableError):
            await store.fetch(prepared, [[key(1)]])

    run(reading())


def test_close_without_open(backend: Backend) -> None:
    async def closing() -> Any:
        await open_store(backend).close()

    run(closing())
