"""Looking around in a Redis Cluster: what Feast has written, spread over real nodes, which answer MOVED and ASK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Cluster
from tests.diagnosis.recorded import CAUSES, load_cluster
from tests.diagnosis.test_explain import NOW, SAID
from tests.harness import command_line
from yummy_fast.diagnosis.explain import explain
from yummy_fast.errors import StoreUnavailableError
from yummy_fast.server.app import open_store
from yummy_fast.stores.looks import Looks
from yummy_fast.stores.redis_slots import slot_of

IN_A_CLUSTER = sorted(set(CAUSES) - {"other_db"})
"""A cluster has one database."""
KEYS = [b"k%d" % number for number in range(200)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(replicas=0) as formed:
        yield formed


@pytest.fixture
def looks(cluster: Cluster, tmp_path: Path) -> Iterator[Looks]:
    """Into the cluster, which has 200 hashes."""
    recorded = load_cluster("wrong_redis", tmp_path, cluster)
    cluster.write({key: [b"f", key] for key in KEYS})
    opened = open_store(recorded.config).looks()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", IN_A_CLUSTER)
def test_the_cause_is_named(name: str, tmp_path: Path, cluster: Cluster) -> None:
    recorded = load_cluster(name, tmp_path, cluster)
    looks = open_store(recorded.config).looks()
    try:
        cause = explain(recorded.question(), looks, NOW).cause
    finally:
        looks.close()
    assert cause.name == CAUSES[name]
    said = SAID[name].replace(r"127\.0\.0\.1:\d+", r"[\d.:,]+")  # all nodes
    assert re.search(said, cause.sentence), cause.sentence


@pytest.mark.parametrize("name", ["expired", "key_version", "sound"])
def test_the_doctor(name: str, tmp_path: Path, cluster: Cluster) -> None:
    load_cluster(name, tmp_path, cluster)
    code, out, _ = command_line("--chdir", tmp_path, "doctor", "--json")
    found = json.loads(out)
    problems = [finding["name"] for finding in found["findings"] if finding["problem"]]
    assert (code, problems) == ((0, []) if name == "sound" else (1, [CAUSES[name]]))
    assert (found["sample"]["keys"], found["sample"]["complete"]) == (2, True)


def test_each_key_is_asked_for_where_it_is(looks: Looks, cluster: Cluster) -> None:
    held = [node.do("DBSIZE") for node in cluster.nodes]
    assert all(held)
    assert sum(held) == 200
    absent = [b"no" + key for key in KEYS]
    asked = [key for pair in zip(KEYS, absent, strict=True) for key in pair]
    assert looks.exist(asked, 0) == [True, False] * 200
    assert looks.have_field(asked, b"f", 0) == [True, False] * 200
    assert looks.fields_there(KEYS[7], [b"f", b"g"], 0) == [True, False]
    assert {key: found.fields for key, found in looks.read_many(asked)} == {key: {b"f": key} for key in KEYS}
    assert looks.databases() == {0: 200}
    assert looks.mode() == "cluster"


def test_a_scan_goes_through_all_nodes(looks: Looks) -> None:
    scan = looks.scan(db=0, max_keys=1_000, time_s=20)
    assert (sorted(scan.keys), scan.complete) == (sorted(KEYS), True)
    few = looks.scan(db=0, max_keys=30, time_s=20)
    assert (len(few.keys), few.complete) == (30, False)
    assert len({slot_of(key) * 3 // 16_384 for key in few.keys}) == 3  # some of each node
    assert sorted(looks.scan(db=0, contains=[b"k19"], max_keys=100, time_s=20).keys) == sorted(
        key for key in KEYS if b"k19" in key
    )


def test_a_slot_that_moves(looks: Looks, cluster: Cluster) -> None:
    """Whoever knew the old topology is told MOVED, and asks the new node."""
    key = KEYS[0]
    slot = slot_of(key)
    old = cluster.primary_of(slot)
    new = next(node for node in cluster.nodes if node is not old)
    assert looks.exist([key], 0) == [True]
    new.do("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(old))
    old.do("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(new))
    old.do("MIGRATE", "127.0.0.1", new.port, key, 0, 5000)
    with pytest.raises(StoreUnavailableError, match=f"slot {slot} is being moved to 127.0.0.1:{new.port}; ask again"):
        looks.exist([key], 0)
    for node in (new, old):
        node.do("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(new))
    found = looks.read(key, 0)
    assert found is not None
    assert found.fields == {b"f": key}
    assert looks.have_field([key], b"f", 0) == [True]


def test_a_cluster_that_is_down(tmp_path: Path, cluster: Cluster) -> None:
    recorded = load_cluster("sound", tmp_path, cluster)
    path = tmp_path / "feature_store.yaml"
    path.write_text(path.read_text().replace(cluster.addresses, "127.0.0.1:1,127.0.0.1:2"))
    for command in (["explain", *recorded.arguments], ["doctor"]):
        code, out, err = command_line("--chdir", tmp_path, *command)
        assert (code, out) == (2, "")
        assert "online_store: cannot be reached: 127.0.0.1:1" in err
        assert err.count("\n") == 1
