"""Redis Clusters of real nodes: the recorded answers, and a load whose every answer is checked while things break.

Each kind of cluster is formed once. A test that kills nodes, or moves slots, has a cluster of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import trustme

from tests.clusters import BINARIES, REDIS, Cluster, Node, Recorder, cluster_port, frozen, until
from tests.conformance.test_conformance import cases_of, check_case
from tests.harness import PATIENCE_S, Server, command_line, eventually, run
from tests.ports import free_port
from tests.stores.cluster_load import (
    DRIVERS,
    Load,
    cluster_repository,
    key,
    lookup,
    make_store,
    opened,
    records,
    soon,
    stored_key,
)
from yummy_fast.errors import StoreTimeoutError, StoreUnavailableError
from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.stores.redis_slots import SLOTS, slot_of
from yummy_fast.stores.survey import Survey


@pytest.fixture(scope="module", params=BINARIES)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three primaries with a replica each, with the corpus and the load's drivers in it. Do not hurt it."""
    with Cluster(binary=request.param) as formed:
        formed.load("redis")
        formed.write(records())
        yield formed


@pytest.fixture(params=BINARIES)
def own_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One to do anything to."""
    with Cluster(binary=request.param) as formed:
        formed.write(records())
        yield formed


@pytest.fixture
def own_valkeys() -> Iterator[Cluster]:
    """As own_cluster, of Valkeys only."""
    with Cluster() as formed:
        formed.write(records())
        yield formed


# -------------------------------------------------------------------------------------------------- the same answers


@pytest.mark.parametrize("options", ["", ",read_from_replicas=true"])
def test_recorded_answers_on_a_cluster(cluster: Cluster, tmp_path: Path, options: str) -> None:
    with Server(cluster_repository(tmp_path / "r", cluster.addresses + options)) as server:
        with server.client() as client:
            differences = [(case, difference) for case in cases_of("redis") if (difference := check_case(client, case))]
        assert not differences
        status = server.ask("/readyz")
        assert status.status == 200


def test_one_write_to_each_node(cluster: Cluster, tmp_path: Path) -> None:
    """A fetch of 200 keys is 200 commands in all, and one write to each of three nodes."""

    async def reading() -> None:
        async with opened(make_store(tmp_path / "r", cluster.addresses)) as store:
            assert store._nodes is not None
            prepared = store.prepare((lookup(), lookup()))
            wrote: list[str] = []
            for shard in store._nodes._shards.values():
                connection = shard.primary.connection
                assert connection is not None
                connection._transport = Recorder(connection._transport, shard.primary.name, wrote)
            drivers = list(range(100))
            first, second = await store.fetch(prepared, [list(map(key, drivers)), list(map(key, reversed(drivers)))])
            assert [row[0] for row in first] == [b"%d" % driver for driver in drivers]
            assert [row[0] for row in second] == [b"%d" % driver for driver in reversed(drivers)]
            assert len(wrote) == len(set(wrote)) == 3

    run(reading())


def test_a_dead_seed_and_the_docstrings_option(cluster: Cluster, tmp_path: Path) -> None:
    addresses = f"127.0.0.1:{free_port()},127.0.0.1:{cluster.nodes[4].port},skip_full_coverage_check=true"

    async def reading() -> None:
        async with opened(make_store(tmp_path / "r", addresses)) as store:
            rows = await store.fetch(store.prepare((lookup(),)), [list(map(key, range(DRIVERS)))])
            assert [row[0] for row in rows[0]] == [b"%d" % driver for driver in range(DRIVERS)]

    run(reading())


def test_reads_from_replicas_only_where_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    async def reading(options: str) -> tuple[int, int]:
        async with opened(make_store(tmp_path / "r", cluster.addresses + options)) as store:
            assert store._nodes is not None
            await soon(lambda: all(node["connected"] for node in store.nodes()))
            async with Load(store) as load:
                await load.wait_for(200)
            assert not load.failed
            return store.state.replica_reads, store.state.connections

    replica_reads, connections = run(reading(""))
    assert replica_reads == 0
    assert connections <= 6  # a standby for each primary
    replica_reads, _ = run(reading(",read_from_replicas=true"))
    assert replica_reads > 50


# --------------------------------------------------------------------------------------------------- things that break


def loaded(
    tmp_path: Path, cluster: Cluster, action: Callable[[Load], object], options: str = "", **settings: Any
) -> Load:
    """A load while `action` is done in a thread of its own, and until answers are right again."""

    async def loading() -> Load:
        async with opened(make_store(tmp_path / "r", cluster.addresses + options, **settings)) as store:
            await soon(lambda: all(node["connected"] for node in store.nodes()))
            async with Load(store) as load:
                await asyncio.to_thread(action, load)
                await load.wait_until_right()
            return load

    return run(loading())


def test_killed_primary_with_a_replica(own_valkeys: Cluster, tmp_path: Path) -> None:
    """On Valkey 9 nothing fails: the replica answers but for some tens of milliseconds, which are waited for."""
    cluster = own_valkeys
    victim = cluster.primary_of(0)

    def kill(_: Load) -> None:
        victim.kill()
        until(lambda: cluster.primary_of(0) is not victim, "another primary")

    load = loaded(tmp_path, cluster, kill, store_timeout_ms=2000)
    assert not load.failed
    assert load.store.state.replica_reads > 0


def test_frozen_primary_with_a_replica(own_valkeys: Cluster, tmp_path: Path) -> None:
    """Feast never recovers from this one. A quarter of the timeout after it hangs, the replica is asked as well."""
    cluster = own_valkeys
    victim = cluster.primary_of(0)

    def freeze(load: Load) -> None:
        with frozen(victim):
            until(lambda: cluster.primary_of(0) is not victim, "another primary")
        cluster.wait_until_whole()

    load = loaded(tmp_path, cluster, freeze, store_timeout_ms=2000)
    assert not load.failed


@pytest.mark.skipif(not REDIS, reason="there is no redis-server")
def test_killed_primary_of_redis(tmp_path: Path) -> None:
    """Redis 7.0 answers CLUSTERDOWN, also on replicas, for 0.9 s: a fetch waits for half a second and then is a 503."""
    with Cluster(binary=REDIS) as cluster:
        cluster.write(records())
        victim = cluster.primary_of(0)

        def kill(_: Load) -> None:
            victim.kill()
            until(lambda: cluster.primary_of(0) is not victim, "another primary")

        load = loaded(tmp_path, cluster, kill, store_timeout_ms=2000)
        assert set(load.failed) <= {"StoreRefusedError: The online store answered CLUSTERDOWN"}


def test_killed_primary_without_a_replica(tmp_path: Path) -> None:
    """Its slots alone fail, at once when it is known, and work again when it is back, empty or not."""
    with Cluster(primaries=3, replicas=0, options=["--cluster-require-full-coverage", "no"]) as cluster:
        cluster.write(records())
        victim = cluster.primary_of(0)
        lost = {driver for driver in range(DRIVERS) if cluster.primary_of(slot_of(stored_key(driver))) is victim}
        kept = sorted(set(range(DRIVERS)) - lost)
        assert lost

        async def reading() -> None:
            async with opened(make_store(tmp_path / "r", cluster.addresses, store_timeout_ms=300)) as store:
                prepared = store.prepare((lookup(),))
                victim.kill()
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(10):
                    while True:
                        began = loop.time()
                        with pytest.raises((StoreUnavailableError, StoreTimeoutError)):
                            await store.fetch(prepared, [[key(min(lost))]])
                        if loop.time() - began < 0.02:  # known to be gone
                            break
                (rows,) = await store.fetch(prepared, [list(map(key, kept))])
                assert [row[0] for row in rows] == [b"%d" % driver for driver in kept]
                await soon(lambda: "slots 0-5460" in store.state.unusable)
                await asyncio.to_thread(cluster.start_node, victim.port)
                await asyncio.to_thread(cluster.wait_until_whole)
                await asyncio.to_thread(cluster.write, {stored_key(d): records()[stored_key(d)] for d in lost})
                await soon(lambda: not store.state.unusable)
                (rows,) = await store.fetch(prepared, [list(map(key, range(DRIVERS)))])
                assert [row[0] for row in rows] == [b"%d" % driver for driver in range(DRIVERS)]

        run(reading())


def test_manual_failover_and_back(own_cluster: Cluster, tmp_path: Path) -> None:
    """CLUSTER FAILOVER: the old connection stays open, and says MOVED."""
    cluster = own_cluster
    first = cluster.primary_of(0)
    (second,) = cluster.replicas_of(first)

    def fail_over(load: Load) -> None:
        for node in (second, first):
            node.do("CLUSTER", "FAILOVER")
            until(lambda node=node: cluster.primary_of(0) is node, "the failover")  # type: ignore[misc]
            until(lambda asked=load.asked: load.asked > asked + 300, "a load")  # type: ignore[misc]
            cluster.wait_until_whole()

    load = loaded(tmp_path, cluster, fail_over)
    assert not load.failed
    assert load.store.state.redirects > 0


def test_reshard(own_cluster: Cluster, tmp_path: Path) -> None:
    """Slots with and without drivers move one by one, with ASK for what is not there any more or never was."""
    cluster = own_cluster
    source, target = cluster.primary_of(0), cluster.primary_of(16383)
    slots = sorted({slot for driver in range(DRIVERS + 30) if (slot := slot_of(stored_key(driver))) < 5461})[:25]

    def move(load: Load) -> None:
        for slot in slots:
            target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
            source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
            until(lambda asked=load.asked: load.asked > asked + 12, "a load")  # type: ignore[misc]
            while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 10):
                source.do("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            until(lambda asked=load.asked: load.asked > asked + 12, "a load")  # type: ignore[misc]
            target.do("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))
            source.do("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))

    load = loaded(tmp_path, cluster, move)
    assert not load.failed
    assert load.store.state.redirects > 0


def test_atomic_slot_migration(own_valkeys: Cluster, tmp_path: Path) -> None:
    """Valkey 9: no ASK, but MOVED at the end."""
    cluster = own_valkeys
    source, target = cluster.primary_of(0), cluster.primary_of(16383)

    def move(_: Load) -> None:
        source.do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 0, 3000, "NODE", cluster.id_of(target))
        until(lambda: cluster.primary_of(0) is target, "the migration")

    load = loaded(tmp_path, cluster, move)
    assert not load.failed
    assert load.store.state.redirects > 0


def test_all_nodes_at_new_addresses(tmp_path: Path) -> None:
    """The seeds are what is left: here, those of a cluster that is put in the place of another."""
    with Cluster(primaries=2, replicas=0) as old, Cluster(primaries=2, replicas=0) as new:
        old.write(records())
        new.write(records())
        seeds = f"{old.addresses},{new.addresses}"

        async def reading() -> None:
            async with opened(make_store(tmp_path / "r", old.addresses)) as store:
                assert store._nodes is not None
                source = store._nodes._source
                source._seeds = make_store(tmp_path / "s", seeds)._target.addresses  # type: ignore[attr-defined]
                async with Load(store) as load:
                    for node in old.nodes:
                        node.kill()
                    found = {f"127.0.0.1:{node.port}" for node in new.nodes}
                    await load.wait_until(lambda: {node["node"] for node in store.nodes()} == found)
                    await load.wait_until_right()

        run(reading())


# ------------------------------------------------------------------------------------------------------ what is said


def test_check_of_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    folder = cluster_repository(tmp_path / "r", cluster.addresses)
    checked = command_line("check", "--chdir", folder)
    assert "answers: cluster of 3 shards, 6 nodes" in checked.out
    assert checked.code in (0, 1)


def test_check_looks_at_each_primary(tmp_path: Path) -> None:
    """Each has a view that no other has. They are looked at together: a cluster of a hundred takes no minutes."""
    stored = {stored_key(driver): slot_of(stored_key(driver)) * 3 // SLOTS for driver in range(30)}
    with Cluster(replicas=0) as cluster:
        cluster.write({name: (timestamp_field(f"view{third}"), b"") for name, third in stored.items()})
        store = make_store(tmp_path / "r", cluster.addresses)
        all_three = threading.Barrier(3)
        survey_one = store._survey_one

        def survey_with_the_others(*arguments: Any) -> Survey:
            all_three.wait(PATIENCE_S)
            return survey_one(*arguments)

        store._survey_one = survey_with_the_others  # type: ignore[assignment,method-assign]
        survey = run(store.survey(["view0", "view1", "view2", "other"]))
    assert survey.views == frozenset(["view0", "view1", "view2"])
    assert sorted(survey.keys) == sorted(map(key, range(30)))
    assert survey.complete


def test_check_names_the_type_that_fits(cluster: Cluster, tmp_path: Path) -> None:
    for node in cluster.nodes:  # the one that has the slot of what is asked, too, and the replicas
        wrong = cluster_repository(tmp_path / "r", f"127.0.0.1:{node.port}", "redis")
        checked = command_line("check", "--chdir", wrong)
        assert checked.code in (1, 2)
        assert "set redis_type: redis_cluster" in checked.out
    with Node([]) as alone:
        eventually(lambda: alone.do("PING") == b"PONG" or None, "a node")
        wrong = cluster_repository(tmp_path / "s", f"127.0.0.1:{alone.port}", "redis_cluster")
        checked = command_line("check", "--chdir", wrong)
        assert checked.code == 2
        assert "set redis_type: redis" in checked.err


@pytest.mark.skipif(not REDIS, reason="there is no redis-server, and Valkey's wheel has no TLS")
@pytest.mark.parametrize(("seed", "works"), [("localhost", True), ("127.0.0.1", False)])
def test_certificates_are_for_the_name_that_the_seed_has(tmp_path: Path, seed: str, works: bool) -> None:
    """The node announces its address, and its certificate has only its name. Feast refuses both."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    files = {name: tmp_path / name for name in ("ca.pem", "key.pem", "cert.pem")}
    authority.cert_pem.write_to_path(str(files["ca.pem"]))
    certificate.private_key_pem.write_to_path(str(files["key.pem"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["cert.pem"]))
    tls_port = cluster_port()
    options = ["--cluster-enabled", "yes", "--dir", str(tmp_path), "--cluster-announce-ip", "127.0.0.1"]
    options += ["--tls-port", str(tls_port), "--tls-cert-file", str(files["cert.pem"]), "--tls-auth-clients", "no"]
    options += [
        "--tls-key-file",
        str(files["key.pem"]),
        "--tls-ca-cert-file",
        str(files["ca.pem"]),
        "--tls-cluster",
        "yes",
    ]
    with Node(options, binary=REDIS) as node:
        until(lambda: node.do("PING") == b"PONG", "a node")
        node.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: node.info("CLUSTER", "INFO")["cluster_state"] == "ok", "the cluster")
        node.pipeline([("HSET", stored, *fields) for stored, fields in records().items()])

        async def reading() -> None:
            address = f"{seed}:{tls_port},ssl=true,ssl_ca_certs={files['ca.pem']}"
            async with opened(make_store(tmp_path / "r", address)) as store:
                reading = store.fetch(store.prepare((lookup(),)), [list(map(key, range(10)))])
                if works:
                    (rows,) = await reading
                    assert [row[0] for row in rows] == [b"%d" % driver for driver in range(10)]
                    assert store.nodes()[0]["node"] == f"127.0.0.1:{tls_port}"
                    assert (await store.survey(["many"])).views == frozenset(["many"])
                else:
                    with pytest.raises(StoreUnavailableError):
                        await reading

        run(reading())


def test_what_is_shown_of_nodes(own_valkeys: Cluster, tmp_path: Path) -> None:
    cluster = own_valkeys
    folder = cluster_repository(tmp_path / "r", cluster.addresses)
    with Server(folder, "--admin", "127.0.0.1:0") as server:
        admin = server.wait_for(r"admin on (http://127.0.0.1:\d+)")[1]

        def ask(path: str) -> str:
            with contextlib.suppress(HTTPError), urlopen(admin + path) as answer:
                text: str = answer.read().decode()
                return text
            return ""

        def status() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(ask("/-/status"))
            return {**found["online_store"], "reasons": found["reasons"]}

        until(lambda: sum(node["usable"] for node in status()["nodes"]) == 6, "all nodes")
        roles = sorted(node["role"] for node in status()["nodes"])
        assert roles == ["primary"] * 3 + ["replica"] * 3
        slots = {node["slots"] for node in status()["nodes"]}
        assert slots == {"", "0-5460", "5461-10921", "10922-16383"}
        metrics = ask("/metrics")
        assert 'yummy_fast_store_nodes{usable="true"} 6.0' in metrics
        assert re.search(r"yummy_fast_store_refreshes_total [1-9]", metrics)

        def fail_over_and_read() -> bool:
            """Until a request, and not the regular refresh, is the first to notice."""
            before = cluster.primary_of(0)
            cluster.replicas_of(before)[0].do("CLUSTER", "FAILOVER")
            until(lambda: cluster.primary_of(0) is not before, "the failover")
            assert server.features(list(range(50))).status == 200
            cluster.wait_until_whole()
            return bool(status()["redirects"])

        until(fail_over_and_read, "a redirection")
        refreshes = status()["refreshes"]
        victim = cluster.primary_of(0)
        successors = cluster.replicas_of(victim)
        victim.kill()
        until(lambda: server.features(list(range(50))).status == 200, "an answer")
        until(lambda: status()["replica_reads"] > 0 and status()["refreshes"] > refreshes, "reads from a replica")
        metrics = ask("/metrics")
        for counted in ("redirects", "refreshes", "replica_reads"):
            assert re.search(rf"yummy_fast_store_{counted}_total [1-9]", metrics)
        for node in successors:
            node.kill()

        until(lambda: "no node for the slots 0-5460" in str(status()["reasons"]), "the lost slots to be named")
        assert not ask("/readyz")
