"""Fetches through the cache, on real servers: never an old row, while others write, flush, kill and move things."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import yummy_fast.stores.redis_cached
import yummy_fast.stores.row_cache
from tests.clusters import BINARIES, Cluster, Node, Watched, until
from tests.conformance.test_conformance import cases_of, check_case
from tests.harness import PATIENCE_S, Proxy, Server, Valkey, repository, run
from tests.scrapes import samples
from tests.stores.cluster_load import key, lookup, make_store, opened, soon, stored_key
from yummy_fast.errors import StoreError
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, HashContents, Lookup
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis import RedisStore
from yummy_fast.stores.redis_cached import CachedReads
from yummy_fast.stores.redis_slots import slot_of
from yummy_fast.stores.redis_tracking import TrackedConnection
from yummy_fast.stores.row_cache import RowCache, keys_without

Command = tuple[str | bytes, ...]
STAMP = Timestamp(seconds=1).SerializeToString()
FIELDS = (feature_field("many", "n"), timestamp_field("many"))
LONG_S = 3 * PATIENCE_S
"""For what takes seconds of CPU, besides."""


def make_single(folder: Path, port: int, **settings: Any) -> RedisStore:
    settings = {"cache_mb": 8, "store_timeout_ms": 5000, **settings}
    config = load_config(chdir=str(repository(folder, "redis", f"127.0.0.1:{port}", settings=settings)), environ={})
    return RedisStore(config.repository, config.store)


def hset(driver: int, value: object) -> Command:
    return ("HSET", stored_key(driver), FIELDS[0], str(value).encode(), FIELDS[1], STAMP)


def times() -> Lookup:
    """What is read before a write: it goes to Redis, so it shows that all that came before has been read."""
    return Lookup(
        features=(),
        views=("many",),
        view_of=(),
        join_keys=(("driver_id", "driver_id"),),
        holds=HashContents.of((Feature("many", "n", ValueType.INT64),)),
    )


class Reader:
    """A client of a store."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.prepared = store.prepare((lookup(),))
        self.times = store.prepare((times(),))

    async def read(self, *drivers: int) -> list[bytes | None]:
        (rows,) = await self.store.fetch(self.prepared, [list(map(key, drivers))])
        return [row[0] for row in rows]

    async def barrier(self) -> None:
        """Until everything that Redis sent before now has been read, on every connection."""
        await self.store.fetch(self.times, [list(map(key, range(400)))])

    @property
    def hits(self) -> int:
        return self.store.state.cache_hits


@contextlib.asynccontextmanager
async def reader_of(store: RedisStore) -> AsyncIterator[Reader]:
    async with opened(store):
        yield Reader(store)


# ------------------------------------------------------------------------------------------------------- one by one


@pytest.fixture
def single(own_valkey: Valkey, tmp_path: Path) -> RedisStore:
    own_valkey.pipeline([hset(driver, driver) for driver in range(50)])
    return make_single(tmp_path / "r", own_valkey.port)


def test_what_was_read_is_not_asked_again(single: RedisStore, own_valkey: Valkey) -> None:
    async def reading() -> None:
        async with reader_of(single) as reader:
            for _ in range(3):
                assert await reader.read(1) == [b"1"]
                assert await reader.read(1, 2, 99) == [b"1", b"2", None]
                assert await reader.read(99) == [None]
            state = single.state
            assert (state.cache_misses, state.cache_hits) == (3, 12)
            assert reads_of(own_valkey) == 3 + 1  # and what every connection begins with

    own_valkey.do("CONFIG", "RESETSTAT")
    run(reading())


def reads_of(valkey: Valkey) -> int:
    """How many hashes of entities were read; `redis_connection` checks the order by reading others."""
    stats = valkey.do("INFO", "commandstats").decode()
    calls = [line for line in stats.splitlines() if line.startswith("cmdstat_hmget")]
    keyspace = valkey.do("INFO", "stats").decode()
    found = {line.partition(":")[0]: line.partition(":")[2].strip() for line in keyspace.splitlines()}
    assert calls
    return int(found["keyspace_hits"]) + 2


def test_a_change_is_seen(single: RedisStore, own_valkey: Valkey) -> None:
    """Of a hash, of one that was not there, of one that goes, and of all."""

    async def reading() -> None:
        async with reader_of(single) as reader:
            assert await reader.read(1, 2, 60) == [b"1", b"2", None]
            own_valkey.pipeline([hset(1, "new"), hset(60, "there"), ("DEL", stored_key(2))])
            await reader.barrier()
            assert await reader.read(1, 2, 60) == [b"new", None, b"there"]
            assert single.state.cache_invalidations == 3
            own_valkey.do("PEXPIRE", stored_key(1), 1)
            until(lambda: own_valkey.do("EXISTS", stored_key(1)) == 0, "the end of a hash")
            await reader.barrier()
            assert await reader.read(1) == [None]
            own_valkey.do("FLUSHALL")
            await reader.barrier()
            assert await reader.read(1, 3, 60) == [None, None, None]
            assert single.state.cache_flushes == 1

    run(reading())


def test_another_database_that_is_emptied_or_swapped(own_valkey: Valkey, tmp_path: Path) -> None:
    async def reading() -> None:
        async with reader_of(make_single(tmp_path / "r", own_valkey.port)) as reader:
            assert await reader.read(1) == [b"one"]
            own_valkey.do("FLUSHDB", db=5)
            await reader.barrier()
            assert await reader.read(1) == [b"one"]

    own_valkey.do(*hset(1, "one"))
    run(reading())


def test_several_sets_of_fields_of_one_key(single: RedisStore, own_valkey: Valkey) -> None:
    async def reading() -> None:
        async with reader_of(single) as reader:
            features = (Feature("many", "n", ValueType.INT64), Feature("more", "n", ValueType.INT64))
            two = Lookup(
                features=features,
                views=("many", "more"),
                view_of=(0, 1),
                join_keys=(("driver_id", "driver_id"),),
                holds=HashContents.of(features),
            )
            prepared = single.prepare((lookup(), two))
            again = single.prepare((lookup(), two))  # as after a reload of the registry
            for number, some in enumerate((prepared, again)):
                one, both = await single.fetch(some, [[key(1)], [key(1)]])
                assert (list(one[0]), list(both[0])) == ([b"1", STAMP], [b"1", None, STAMP, None])
                assert reader.hits == 2 * number
            own_valkey.do(*hset(1, "new"))
            await reader.barrier()
            one, both = await single.fetch(again, [[key(1)], [key(1)]])
            assert (one[0][0], both[0][0]) == (b"new", b"new")

    run(reading())


@pytest.mark.parametrize("read", ["hmget", "hgetall"])
def test_either_command_fills_the_cache(own_valkey: Valkey, tmp_path: Path, read: str) -> None:
    async def reading() -> None:
        async with reader_of(make_single(tmp_path / "r", own_valkey.port, redis_read=read)) as reader:
            for _ in range(2):
                assert await reader.read(*range(50, 0, -1)) == [None, *(b"%d" % driver for driver in range(49, 0, -1))]
            assert reader.hits == 50

    own_valkey.pipeline([hset(driver, driver) for driver in range(50)])
    run(reading())


def test_long_fetches_pass_by(single: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yummy_fast.stores.redis_cached, "MAX_KEYS", 10)
    monkeypatch.setattr(yummy_fast.stores.row_cache, "MAX_KEYS", 10)

    async def reading() -> None:
        async with reader_of(single) as reader:
            for _ in range(2):
                assert await reader.read(*range(11)) == [b"%d" % driver for driver in range(11)]
            assert (reader.hits, single.state.cache_misses, single.state.cache_bytes) == (0, 0, 0)

    run(reading())


def test_a_fetch_that_is_given_up_harms_nobody(single: RedisStore) -> None:
    async def reading() -> None:
        async with reader_of(single) as reader:
            await reader.read(1)
            for drivers in ([1, 2, 3], [3]):
                given_up = single.fetch(reader.prepared, [list(map(key, drivers))])
                other = single.fetch(reader.prepared, [list(map(key, drivers))])
                given_up.cancel()
                assert [row[0] for row in (await other)[0]] == [b"%d" % driver for driver in drivers]
            assert await reader.read(1, 2, 3) == [b"1", b"2", b"3"]

    run(reading())


def test_an_error_goes_to_whoever_asked(single: RedisStore, own_valkey: Valkey) -> None:
    async def reading() -> None:
        async with reader_of(single) as reader:
            await reader.read(1)
            own_valkey.do("SET", stored_key(77), "no hash")
            for drivers in ((77,), (1, 77)):
                with pytest.raises(StoreError, match="WRONGTYPE"):
                    await reader.read(*drivers)
            own_valkey.pipeline([("DEL", stored_key(77)), hset(77, "now")])
            assert await reader.read(1, 77) == [b"1", b"now"]

    run(reading())


def test_no_row_outlives_its_connection(single: RedisStore, own_valkey: Valkey) -> None:
    """A kill, and a change while nobody is told."""

    async def reading() -> None:
        async with reader_of(single) as reader:
            assert await reader.read(1, 2) == [b"1", b"2"]
            own_valkey.pipeline([("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), hset(1, "new")])
            await soon(lambda: single.state.losses == 1)
            assert single.state.cache_flushes == 1
            await soon(lambda: single.state.connections == 1)
            assert await reader.read(1, 2) == [b"new", b"2"]
            own_valkey.do(*hset(2, "new"))  # the new connection is told
            await reader.barrier()
            assert await reader.read(1, 2) == [b"new", b"new"]

    run(reading())


def test_nothing_is_served_in_silence(own_valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition, without an end of the connection: no invalidation comes, so no row goes out."""
    monkeypatch.setattr(yummy_fast.stores.row_cache, "SILENCE_S", 0.3)

    async def reading(proxy: Proxy) -> None:
        async with reader_of(make_single(tmp_path / "r", proxy.port)) as reader:
            state = reader.store.state
            assert await reader.read(1) == await reader.read(1) == [b"one"]
            proxy.hold()
            own_valkey.do(*hset(1, "two"))
            await asyncio.sleep(0.35)
            misses = state.cache_misses
            asked = asyncio.ensure_future(reader.read(1))
            await soon(lambda: state.cache_misses == misses + 1)
            assert not asked.done()
            proxy.release()
            assert await asked == [b"two"]
            assert state.cache_flushes == 1
            assert state.losses == 0
            assert await reader.read(1) == [b"two"]

    own_valkey.do(*hset(1, "one"))
    with Proxy(own_valkey.port) as proxy:
        run(reading(proxy))


def test_a_full_tracking_table_costs_hits_alone(single: RedisStore, own_valkey: Valkey) -> None:
    """tracking-table-max-keys: Redis forgets keys, and says of each that it has changed."""

    async def reading() -> None:
        async with reader_of(single) as reader:
            own_valkey.do("CONFIG", "SET", "tracking-table-max-keys", 5)
            for _ in range(5):
                await reader.read(*range(50))
                await asyncio.sleep(0.12)  # the table is looked at ten times a second
                await reader.barrier()
            assert single.state.cache_invalidations > 45
            own_valkey.pipeline([hset(driver, "new") for driver in range(50)])
            await reader.barrier()
            assert await reader.read(*range(50)) == [b"new"] * 50

    run(reading())


# ----------------------------------------------------------------------------------------------- what is not trusted


def test_a_row_that_is_read_again_and_differs_is_counted(
    single: RedisStore, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(yummy_fast.stores.row_cache, "READ_AGAIN_EVERY", 3)

    async def reading() -> None:
        async with reader_of(single) as reader:
            await reader.read(1)
            for _ in range(20):
                assert await reader.read(1) == [b"1"]
                await reader.barrier()
            assert single.state.cache_differences == 0
            monkeypatch.setattr(RowCache, "forget", lambda *_: None)
            own_valkey.do(*hset(1, "new"))
            await reader.barrier()
            monkeypatch.undo()
            for _ in range(1000):
                await reader.read(1)
            await reader.barrier()
            assert single.state.cache_differences == 1
            assert await reader.read(1) == [b"new"]

    run(reading())
    assert "the cache had another row than the store" in caplog.text


USER = ("ACL", "SETUSER", "reader", "reset", "on", ">secret", "~*", "+hmget", "+hgetall", "+ping")


@pytest.mark.parametrize(("rights", "refused"), [((), "CLIENT TRACKING"), (("+client|tracking",), "")])
def test_a_user_who_may_not_track_is_served_without_the_cache(
    own_valkey: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture, rights: Sequence[str], refused: str
) -> None:
    own_valkey.pipeline([(*USER, *rights), hset(1, "one")])
    settings = {"cache_mb": 8, "store_timeout_ms": 5000}
    where = f"127.0.0.1:{own_valkey.port},username=reader,password=secret"
    config = load_config(chdir=str(repository(tmp_path / "r", "redis", where, settings=settings)), environ={})

    async def reading() -> None:
        async with reader_of(RedisStore(config.repository, config.store)) as reader:
            for _ in range(3):
                assert await reader.read(1, 2) == [b"one", None]
            assert reader.hits == (0 if refused else 4)
            assert refused in str(reader.store.cache().get("problem", ""))
            own_valkey.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await soon(lambda: reader.store.state.connects == 2)  # the line is not written again

    run(reading())
    lines = [record.getMessage() for record in caplog.records if "cache_mb" in record.getMessage()]
    assert len(lines) == bool(refused)
    assert all(refused in line and "serving without the cache" in line for line in lines)


def test_a_redis_that_knows_no_resp3_is_read_without_the_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def reading(port: int) -> None:
        async with reader_of(make_single(tmp_path / "r", port)) as reader:
            for _ in range(2):
                assert await reader.read(1, 2) == [b"one", None]
            assert reader.hits == 0

    with Valkey("--rename-command", "HELLO", "") as valkey:
        valkey.do(*hset(1, "one"))
        run(reading(valkey.port))
    assert "cache_mb: Redis refuses HELLO 3: " in caplog.text


# ------------------------------------------------------------------------------------------------------- the checker


class Writer:
    """Somebody else who writes, in a thread of its own: version after version of some drivers."""

    def __init__(self, write: Callable[[Sequence[Command]], object], drivers: Sequence[int]) -> None:
        """`write` returns when Redis has acknowledged the commands."""
        self.acknowledged = dict.fromkeys(drivers, 0)
        self.writes = 0
        self._write = write
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._problem: BaseException | None = None

    def __enter__(self) -> Writer:
        self._write([hset(driver, 0) for driver in self.acknowledged])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        dice = random.Random(7)
        try:
            while not self._stop.wait(dice.choice((0, 0, 0.001, 0.004))):
                drivers = dice.sample(list(self.acknowledged), dice.choice((1, 1, 1, 5)))
                versions = {driver: self.acknowledged[driver] + 1 for driver in drivers}
                self._write([hset(driver, version) for driver, version in versions.items()])
                self.acknowledged.update(versions)
                self.writes += 1
        except BaseException as problem:
            self._problem = problem


class StaleError(AssertionError):
    """An old row was served."""


async def check(reader: Reader, writer: Writer, rounds: int, writes: int = 0) -> None:
    """Read while somebody writes, for some rounds at least and until there were so many writes.

    After a barrier, what was acknowledged before it has been invalidated, and no older version may be served. Among the
    reads of one client, no version ever goes back.
    """
    drivers = list(writer.acknowledged)
    stop = False

    async def client(seed: int) -> None:
        dice, seen = random.Random(seed), dict.fromkeys(drivers, 0)
        while not stop:
            wanted = dice.sample(drivers, dice.choice((1, 1, 1, 7)))
            for driver, found in zip(wanted, await reader.read(*wanted), strict=True):
                if int(found or -1) < seen[driver]:
                    raise StaleError(f"driver {driver}: {found!r} after {seen[driver]}")
                seen[driver] = int(found or -1)
            if dice.random() < 0.1:
                await asyncio.sleep(0)

    async def barriers() -> None:
        nonlocal stop
        try:
            done, written = 0, writer.writes
            while done < rounds or writer.writes - written < writes:
                done += 1
                least = dict(writer.acknowledged)
                await reader.barrier()
                for driver, found in zip(drivers, await reader.read(*drivers), strict=True):
                    if int(found or -1) < least[driver]:
                        raise StaleError(f"driver {driver}: {found!r}, but {least[driver]} was acknowledged")
        finally:
            stop = True

    await asyncio.gather(barriers(), *map(client, range(3)))


@pytest.mark.parametrize("binary", BINARIES)
def test_a_checker_finds_nothing_old(tmp_path: Path, binary: str) -> None:
    async def checking(node: Node) -> None:
        async with reader_of(make_single(tmp_path / "r", node.port)) as reader:
            with Writer(node.pipeline, range(100, 130)) as writer:
                await check(reader, writer, 300, writes=150)
            state = reader.store.state
            assert state.cache_hits > 3000
            assert state.cache_invalidations > 100
            assert state.cache_differences == 0

    with Node([], binary=binary) as node:
        until(lambda: node.do("PING") == b"PONG", "a node")
        run(checking(node), LONG_S)


@pytest.mark.parametrize("broken", ["a key's invalidations are lost", "replies under way are kept"])
def test_the_checker_finds_what_is_broken(
    tmp_path: Path, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "a key's invalidations are lost":
        changed, lost = TrackedConnection._changed, set[bytes]()

        def lose_one(connection: TrackedConnection, keys: list[bytes | None]) -> None:
            """Of the first key whose row is kept. After one alone, a read under way may have the next one sent."""
            told = keys_without(b"corpus", keys)
            if not lost:
                lost.update(one for one in told if one in connection._cache._entries)
            if not lost.intersection(told):
                changed(connection, keys)

        monkeypatch.setattr(TrackedConnection, "_changed", lose_one)
    else:

        def drop_alone(cache: RowCache, keys: Sequence[bytes]) -> None:
            for one in keys:
                cache._entries.pop(one, None)

        monkeypatch.setattr(RowCache, "forget", drop_alone)

    async def checking(proxy: Proxy) -> None:
        async with reader_of(make_single(tmp_path / "r", proxy.port)) as reader:
            with Writer(own_valkey.pipeline, range(100, 130)) as writer:
                await check(reader, writer, 3000)

    with Proxy(own_valkey.port) as proxy:
        proxy.split(200)  # so that many replies of a fetch come one by one
        with pytest.raises(StaleError):
            run(checking(proxy))


@pytest.mark.parametrize("many", [False, True])
def test_what_is_written_is_forgotten_when_it_is_done(monkeypatch: pytest.MonkeyPatch, many: bool) -> None:
    """Not before, since it may be read meanwhile; and all is, where it is much."""
    if many:
        monkeypatch.setattr(yummy_fast.stores.redis_cached, "MANY_WRITTEN", 1)

    async def writing() -> None:
        loop = asyncio.get_running_loop()
        cache = RowCache(1 << 20, StoreState())
        generation = cache.begin(None, loop.time())
        done: asyncio.Future[None] = loop.create_future()
        nothing: Any = None
        reads = CachedReads(cache, StoreState(), nothing, lambda _: done, lambda: None)
        chosen: Any = SimpleNamespace(rows=SimpleNamespace(keys=[b"a", b"b", b"c"]), numbers=[0, 2])

        def kept() -> list[bool]:
            return [cache.get(key, b"shape", loop.time()) is not None for key in (b"a", b"b", b"c")]

        more: dict[str, Any] = {"shape": b"shape", "views": 1, "ticket": cache.ticket(3), "now": loop.time()}
        cache.put([b"a", b"b", b"c"], [[STAMP]] * 3, generation=generation, **more)

        async def write() -> None:
            await reads.write([(nothing, chosen)])
            assert kept() == [False, not many, False]

        writer = asyncio.create_task(write())
        await asyncio.sleep(0)
        assert kept() == [True] * 3
        done.set_result(None)
        await writer
        cache.put([b"a"], [[STAMP]], generation=generation, **more)  # of a reply from before
        assert not kept()[0]

    run(writing())


def test_what_we_write_ourselves_is_read_at_once(tmp_path: Path) -> None:
    """Redis tells of a change after its reply to whoever made it: that may come much later."""
    asked = {"features": ["batch:i64"], "entities": {"driver_id": [0, 1]}}
    with Valkey() as valkey, Proxy(valkey.port) as proxy:
        folder = repository(tmp_path / "r", "push", f"127.0.0.1:{proxy.port}", settings={"cache_mb": 8})
        with Server(folder) as server, server.client() as client:
            proxy.split(1)
            for number in range(100):
                time = f"2026-03-01T10:{number // 60:02}:{number % 60:02}"
                frame = {"driver_id": [0, 1], "i64": [number, -number], "event_timestamp": time}
                body = {"feature_view_name": "batch", "df": frame}
                assert client.ask("/write-to-online-store", body).status == 200
                for _ in range(2):
                    assert client.ask("/get-online-features", asked).columns["i64"] == [number, -number]
            assert number_of(server, "hits_total") > 50


def number_of(server: Server, name: str) -> float:
    """A metric of the cache."""
    (number,) = samples(server.ask("/metrics").body, f"yummy_fast_store_cache_{name}").values()
    return number


# ------------------------------------------------------------------------------------------------------ several nodes


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """Three primaries with a replica each."""
    with Cluster() as formed:
        yield formed


def cached(folder: Path, nodes: Cluster | Watched, redis_type: str = "redis_cluster", options: str = "") -> RedisStore:
    return make_store(folder, nodes.addresses + options, redis_type, cache_mb=8, store_timeout_ms=5000)


def writer_to(cluster: Cluster) -> Callable[[Sequence[Command]], object]:
    """Writes each command to the primary of its key, again until it is acknowledged."""

    def write(commands: Sequence[Command]) -> None:
        for command in commands:
            until(lambda command=command: cluster.primary_of(slot_of(command[1])).do(*command) in (0, 2), "a write")  # type: ignore[misc]

    return write


def test_nothing_old_on_a_cluster_that_is_resharded(
    own_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots with keys, and with keys that are not there, go to another node, and are written there.

    Of the latter no node tells: they are forgotten when it is seen that the slots have moved. Here, no age helps.
    """
    monkeypatch.setattr(yummy_fast.stores.row_cache, "ABSENT_AGE_S", 3600.0)
    monkeypatch.setattr(yummy_fast.stores.row_cache, "MAX_AGE_S", 3600.0)
    cluster = own_cluster
    absent = [driver for driver in range(500, 600) if slot_of(stored_key(driver)) < 2000]

    async def checking() -> None:
        async with reader_of(cached(tmp_path / "r", cluster)) as reader:
            with Writer(writer_to(cluster), range(100, 160)) as writer:
                await check(reader, writer, 40)
                assert reader.hits > 500
                assert await reader.read(*absent) == await reader.read(*absent) == [None] * len(absent)
                moving = asyncio.create_task(asyncio.to_thread(migrate, cluster, 0, 1999))
                while not moving.done():
                    await check(reader, writer, 20)
                await moving
                await asyncio.to_thread(writer_to(cluster), [hset(driver, driver) for driver in absent])
                async with asyncio.timeout(PATIENCE_S):
                    while await reader.read(*absent) != [b"%d" % driver for driver in absent]:
                        await check(reader, writer, 1)
                await check(reader, writer, 40)
            assert reader.store.state.cache_differences == 0

    assert len(absent) > 5
    run(checking(), LONG_S)


def migrate(cluster: Cluster, first: int, last: int) -> object:
    """Move slots, as Valkey 9 does it. Returns who has them now."""
    source = cluster.primary_of(first)
    target = next(node for node in cluster.nodes if node.do("ROLE")[0] == b"master" and node is not source)
    source.do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", cluster.id_of(target))
    until(lambda: cluster.primary_of(first) is target, "slots to move")
    return target


def test_nothing_old_through_a_failover(own_cluster: Cluster, tmp_path: Path) -> None:
    """By order, so that the old primary lives on as a replica and its connection stays; and by a kill."""
    cluster = own_cluster

    def fail_over() -> None:
        primary = cluster.primary_of(0)
        cluster.replicas_of(primary)[0].do("CLUSTER", "FAILOVER")
        until(lambda: cluster.primary_of(0) is not primary, "a failover")
        cluster.wait_until_whole()
        primary = cluster.primary_of(0)
        primary.kill()
        until(lambda: cluster.primary_of(0) is not primary, "another primary")

    async def checking() -> None:
        async with reader_of(cached(tmp_path / "r", cluster)) as reader:
            with Writer(waiting_writer_to(cluster), range(100, 130)) as writer:
                changed = asyncio.create_task(asyncio.to_thread(fail_over))
                while not changed.done():
                    await check_in_trouble(reader, writer)
                await changed
                hits = reader.hits
                await check(reader, writer, 40)
                assert reader.hits > hits + 100
            assert reader.store.state.cache_differences == 0
            assert reader.store.state.cache_flushes > 0

    run(checking(), LONG_S)


def waiting_writer_to(cluster: Cluster) -> Callable[[Sequence[Command]], object]:
    """As writer_to; a write counts when the replica has it, too: what a failover loses is not the cache's matter."""

    def write(commands: Sequence[Command]) -> None:
        for command in commands:

            def written(command: Command = command) -> bool:
                node = cluster.primary_of(slot_of(command[1]))  # type: ignore[arg-type]
                done, replicas = node.pipeline([command, ("WAIT", 1, 1000)])
                return done in (0, 2) and (replicas == 1 or len(running_replicas(cluster, node)) == 0)

            until(written, "a write")

    return write


def running_replicas(cluster: Cluster, node: Node) -> list[Node]:
    return [replica for replica in cluster.replicas_of(node) if replica.process.poll() is None]


async def check_in_trouble(reader: Reader, writer: Writer) -> None:
    """A round of `check` in which reads may fail, and go to replicas."""
    drivers, least = list(writer.acknowledged), dict(writer.acknowledged)
    try:
        await reader.barrier()
        found = await reader.read(*drivers)
    except StoreError:
        return
    for driver, version in zip(drivers, found, strict=True):
        if int(version or -1) < least[driver]:
            raise StaleError(f"driver {driver}: {version!r}, but {least[driver]} was acknowledged")


def test_replicas_fill_no_cache(own_cluster: Cluster, tmp_path: Path) -> None:
    """Of their rows nobody knows how old they are."""

    async def reading() -> None:
        store = cached(tmp_path / "r", own_cluster, options=",read_from_replicas=true")
        async with reader_of(store) as reader:
            await soon(lambda: all(node["usable"] for node in store.nodes()))
            for driver in range(40):
                assert await reader.read(driver) == [b"%d" % driver]
            from_primaries = 40 - store.state.replica_reads
            assert 0 < len(store._tracker.cache) == from_primaries < 40  # type: ignore[union-attr]

    own_cluster.write({stored_key(driver): hset(driver, driver)[2:] for driver in range(40)})  # type: ignore[misc]
    run(reading())


def is_primary(store: RedisStore, address: str) -> bool:
    """Whether the store reads from this node."""
    nodes = [(node["node"], node["role"], node["usable"]) for node in store.nodes()]
    return (address, "primary", True) in nodes


def test_nothing_old_behind_sentinels(tmp_path: Path) -> None:
    with Watched() as watched:
        for_master: Callable[[Sequence[Command]], object] = lambda commands: watched.master.pipeline(  # noqa: E731
            [*commands, ("WAIT", 1, 2000)]
        )

        async def checking() -> None:
            async with reader_of(cached(tmp_path / "r", watched, "redis_sentinel")) as reader:
                with Writer(for_master, range(100, 130)) as writer:
                    await check(reader, writer, 40)
                    assert reader.hits > 500
                versions = dict(writer.acknowledged)
                master = watched.master
                watched.sentinels[0].do("SENTINEL", "FAILOVER", watched.NAME)
                await asyncio.to_thread(until, lambda: watched.master is not master, "another master")
                await asyncio.to_thread(for_master, [hset(driver, versions[driver] + 1) for driver in versions])
                address = f"127.0.0.1:{watched.master.port}"
                await soon(lambda: is_primary(reader.store, address))
                assert reader.store.state.cache_flushes > 0
                await reader.barrier()
                assert await reader.read(*versions) == [b"%d" % (version + 1) for version in versions.values()]

        run(checking(), LONG_S)


# ------------------------------------------------------------------------------------------------- the same answers


@pytest.mark.parametrize("store", ["redis", "redis_v2"])
def test_recorded_answers_with_the_cache(own_valkey: Valkey, tmp_path: Path, store: str) -> None:
    """Twice each, so that the second time they come out of the cache."""
    own_valkey.load(store)
    folder = repository(tmp_path / "r", store, f"127.0.0.1:{own_valkey.port}", settings={"cache_mb": 8})
    with Server(folder) as server:
        with server.client() as client:
            twice = [case for case in cases_of(store) for _ in range(2)]
            differences = [(case, text) for case in twice if (text := check_case(client, case))]
            assert not differences
        assert number_of(server, "hits_total") >= number_of(server, "misses_total") > 50
        assert number_of(server, "differences_total") == number_of(server, "flushes_total") == 0
        assert 0 < number_of(server, "bytes") < 8 << 20
