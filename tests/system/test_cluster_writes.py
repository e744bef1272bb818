"""Pushes to Redis Clusters of real nodes and through sentinels: what was promised is there, whatever breaks meanwhile.

The checker is tests/stores/write_load.py. Each test has a cluster of its own, but for those that break nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import BINARIES, Cluster, Node, Recorder, Watched, frozen, until
from tests.harness import Server, repository, run
from tests.stores.cluster_load import key, make_store, opened, soon
from tests.stores.write_load import VIEWS, WriteLoad, hashes_of, rows_of, written_view
from yummy_fast.errors import StoreUnavailableError
from yummy_fast.feast_format.keys import KeyPart, compile_key, feature_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.written import Chosen
from yummy_fast.stores.redis_slots import slot_of

DRIVER_KEY = compile_key([KeyPart("driver_id", "k", ValueType.INT64)], 3)


@pytest.fixture(params=BINARIES)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three primaries with a replica each, empty, to do anything to."""
    with Cluster(binary=request.param) as formed:
        yield formed


@pytest.fixture
def valkeys() -> Iterator[Cluster]:
    """As `cluster`, of Valkeys only."""
    with Cluster() as formed:
        yield formed


def primaries(cluster: Cluster) -> list[Node]:
    return list(dict.fromkeys(cluster.primary_of(slot) for slot in range(0, 16384, 64)))


def loaded(
    tmp_path: Path,
    servers: Cluster | Watched,
    action: Callable[[WriteLoad], object],
    options: str = "",
    *,
    ttl_s: int = 0,
    lossy: bool = False,
    **settings: Any,
) -> WriteLoad:
    """Writers while `action` is done in a thread of its own, and until writes succeed again; all rows are checked."""
    redis_type = "redis_cluster" if isinstance(servers, Cluster) else "redis_sentinel"

    async def loading() -> WriteLoad:
        store = make_store(tmp_path / "r", servers.addresses + options, redis_type, **settings)
        store._ttl_s = ttl_s
        async with opened(store):
            await soon(lambda: sum(node["connected"] for node in store.nodes()) >= 2)
            async with WriteLoad(store, lossy=lossy) as load:
                await asyncio.to_thread(action, load)
                await load.wait_until_right()
            return load

    load = run(loading())
    nodes = primaries(servers) if isinstance(servers, Cluster) else [servers.master]
    load.check(hashes_of(nodes))
    if ttl_s:
        for node in nodes:
            ttls = node.pipeline([("TTL", name) for name in node.do("KEYS", "*")])
            assert all(0 < ttl <= ttl_s for ttl in ttls)
    return load


def more(load: WriteLoad, count: int = 300) -> None:
    """Wait until so many more are written."""
    before = load.written
    until(lambda: load.written > before + count, "writes")


# ----------------------------------------------------------------------------------------------- a cluster that is well


def test_a_push_of_rows_of_all_nodes(cluster: Cluster, tmp_path: Path) -> None:
    """By the server, in one push; its times are compared with those that all nodes have."""
    folder = repository(tmp_path / "push", "push", cluster.addresses)
    path = folder / "feature_store.yaml"
    path.write_text(path.read_text().replace("type: redis\n", "type: redis\n  redis_type: redis_cluster\n"))
    drivers = list(range(2_000))
    (field,) = [feature_field("batch", "i64")]

    def stored() -> list[bytes | None]:
        hashes = hashes_of(primaries(cluster))
        return [hashes.get(name + b"writes", {}).get(field) for name in DRIVER_KEY({"k": drivers}, len(drivers))]

    def write(value: int, ids: Sequence[int], time: str) -> int:
        rows = {"driver_id": list(ids), "i64": [value] * len(ids), "event_timestamp": time}
        return server.ask("/write-to-online-store", {"feature_view_name": "batch", "df": rows}).status

    with Server(folder) as server:
        assert write(1, drivers, "2026-03-01") == 200  # in turns
        assert stored() == [b"\x20\x01"] * 2000
        assert write(2, drivers[:1000], "2026-02-01") == 200  # older
        assert write(3, drivers[1990:], "2026-04-01") == 200  # at once
        assert stored() == [b"\x20\x01"] * 1990 + [b"\x20\x03"] * 10


@pytest.mark.parametrize("options", ["", ",read_from_replicas=true"])
def test_only_primaries_are_written_to_and_asked_for_times(valkeys: Cluster, tmp_path: Path, options: str) -> None:
    load = loaded(tmp_path, valkeys, more, options)
    assert not load.failed
    assert load.store.state.replica_reads == 0
    for node in set(valkeys.nodes) - set(primaries(valkeys)):
        assert "rejected_calls=0" in node.info("INFO", "commandstats")["cmdstat_hset"], (
            "it has them by replication only"
        )


def test_one_write_to_each_node(valkeys: Cluster, tmp_path: Path) -> None:
    """30 rows of two views are 60 commands, and one write to each of three nodes."""

    async def writing() -> None:
        async with opened(make_store(tmp_path / "r", valkeys.addresses)) as store:
            assert store._nodes is not None
            await soon(lambda: sum(node["connected"] for node in store.nodes()) == 6)
            wrote: list[str] = []
            for shard in store._nodes._shards.values():
                connection = shard.primary.connection
                assert connection is not None
                connection._transport = Recorder(connection._transport, shard.primary.name, wrote)
            chosen = Chosen(rows_of(range(30), 1), range(30))
            await store.write([(store.prepare_write(written_view(name)), chosen) for name in VIEWS])
            assert len(wrote) == len(set(wrote)) == 3

    run(writing())


# --------------------------------------------------------------------------------------------------- things that break


@pytest.mark.parametrize("ttl_s", [0, 1000])
def test_reshard(cluster: Cluster, tmp_path: Path, ttl_s: int) -> None:
    """Slots move one by one beneath the writers: ASK for rows that are not there any more, or not yet; then MOVED."""
    source, target = cluster.primary_of(0), cluster.primary_of(16383)
    slots = sorted({slot for driver in range(240) if (slot := slot_of(key(driver) + b"corpus")) < 5461})[:20]

    def move(load: WriteLoad) -> None:
        for slot in slots:
            target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
            source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
            more(load, 10)
            while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 10):
                source.do("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            more(load, 10)
            target.do("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))
            source.do("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))

    load = loaded(tmp_path, cluster, move, ttl_s=ttl_s)
    assert not load.failed
    assert load.store.state.redirects > 0


def test_atomic_slot_migration(valkeys: Cluster, tmp_path: Path) -> None:
    """Valkey 9: the source holds its clients up at the end, and then says MOVED."""
    source, target = valkeys.primary_of(0), valkeys.primary_of(16383)

    def move(load: WriteLoad) -> None:
        source.do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 0, 3000, "NODE", valkeys.id_of(target))
        until(lambda: valkeys.primary_of(0) is target, "the migration")
        more(load)

    load = loaded(tmp_path, valkeys, move)
    assert not load.failed
    assert load.store.state.redirects > 0


def test_manual_failover_and_back(cluster: Cluster, tmp_path: Path) -> None:
    """CLUSTER FAILOVER: nothing is lost, and nothing fails."""
    first = cluster.primary_of(0)
    (second,) = cluster.replicas_of(first)

    def fail_over(load: WriteLoad) -> None:
        for node in (second, first):
            node.do("CLUSTER", "FAILOVER")
            until(lambda node=node: cluster.primary_of(0) is node, "the failover")  # type: ignore[misc]
            more(load)
            cluster.wait_until_whole()

    load = loaded(tmp_path, cluster, fail_over)
    assert not load.failed
    assert load.store.state.redirects > 0


def test_killed_primary(cluster: Cluster, tmp_path: Path) -> None:
    """Its replica takes over. What was on its way to it is not known; what comes until then is not written at all."""
    victim = cluster.primary_of(0)

    def kill(_: WriteLoad) -> None:
        victim.kill()
        until(lambda: cluster.primary_of(0) is not victim, "another primary")

    load = loaded(tmp_path, cluster, kill, store_timeout_ms=500)
    assert load.failed


def test_frozen_primary(valkeys: Cluster, tmp_path: Path) -> None:
    """It executes what it was sent when it goes on, if it has not become a replica by then."""
    victim = valkeys.primary_of(0)

    def freeze(_: WriteLoad) -> None:
        with frozen(victim):
            until(lambda: valkeys.primary_of(0) is not victim, "another primary")
        valkeys.wait_until_whole()

    load = loaded(tmp_path, valkeys, freeze, store_timeout_ms=500)
    assert load.failed


def test_killed_primary_that_keeps_its_data(tmp_path: Path) -> None:
    """No replica, and each command is on the disk before its reply: all that was promised is there again."""
    options = ["--cluster-require-full-coverage", "no", "--appendonly", "yes", "--appendfsync", "always"]
    with Cluster(primaries=3, replicas=0, options=options) as cluster:
        victim = cluster.primary_of(0)

        def kill(load: WriteLoad) -> None:
            more(load)
            victim.kill()
            until(lambda: bool(load.failed), "the loss to be noticed")
            cluster.start_node(victim.port)
            cluster.wait_until_whole()

        load = loaded(tmp_path, cluster, kill, store_timeout_ms=500)
        assert load.failed


def test_nothing_is_sent_while_a_part_is_gone(tmp_path: Path) -> None:
    """A push with rows of three nodes, one of which is gone and stays so: none of its rows is written."""
    with Cluster(primaries=3, replicas=0, options=["--cluster-require-full-coverage", "no"]) as cluster:

        async def writing() -> None:
            async with opened(make_store(tmp_path / "r", cluster.addresses, store_timeout_ms=300)) as store:
                victim = cluster.primary_of(0)
                kept = [node for node in primaries(cluster) if node is not victim]
                victim.kill()
                await soon(lambda: sum(node["connected"] for node in store.nodes()) == 2)
                chosen = Chosen(rows_of(range(30), 1), range(30))
                with pytest.raises(StoreUnavailableError, match="can be reached that rows can be written to"):
                    await store.write([(store.prepare_write(written_view("first")), chosen)])
                assert [node.do("DBSIZE") for node in kept] == [0, 0]
                mine = [driver for driver in range(30) if cluster_has(kept, driver)]
                await store.write(
                    [(store.prepare_write(written_view("first")), Chosen(rows_of(mine, 2), range(len(mine))))]
                )
                assert sum(node.do("DBSIZE") for node in kept) == len(mine)

        def cluster_has(nodes: Sequence[Node], driver: int) -> bool:
            return cluster.primary_of(slot_of(key(driver) + b"corpus")) in nodes

        run(writing())


# ----------------------------------------------------------------------------------------------------------- Sentinel


@pytest.fixture(params=BINARIES)
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    with Watched(binary=request.param) as started:
        yield started


def follow(watched: Watched, before: int) -> None:
    until(lambda: watched.master.port != before, "another master")


def test_sentinel_failover(watched: Watched, tmp_path: Path) -> None:
    """By hand: the old master goes on to take writes for a moment, which are lost: Redis promises no more. Then it says
    READONLY, and what it has refused is written to the new one. There is no half of a row.
    """
    before = watched.master.port

    def fail_over(load: WriteLoad) -> None:
        watched.sentinels[0].do("SENTINEL", "FAILOVER", watched.NAME)
        follow(watched, before)
        more(load)

    load = loaded(tmp_path, watched, fail_over, lossy=True)
    assert not {text for text in load.failed if "UnknownOutcomeError" not in text}


def test_killed_master(watched: Watched, tmp_path: Path) -> None:
    before = watched.master

    def kill(_: WriteLoad) -> None:
        before.kill()
        follow(watched, before.port)

    load = loaded(tmp_path, watched, kill, store_timeout_ms=500)
    assert load.failed
