"""Looking around in a Valkey: bounded, and without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Valkey
from tests.ports import free_port
from yummy_fast.errors import StoreRefusedError, StoreUnavailableError
from yummy_fast.server.app import open_store
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.looks import Looks
from yummy_fast.stores.redis_looks import MAX_FIELDS


@pytest.fixture(scope="module")
def own() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


def looks_into(folder: Path, online_store: str) -> Looks:
    (folder / "feature_store.yaml").write_text(f"project: rides\nregistry: r.db\nonline_store: {online_store}\n")
    return open_store(load_config(chdir=str(folder), environ={})).looks()


@pytest.fixture
def looks(tmp_path: Path, own: Valkey) -> Iterator[Looks]:
    own.do("FLUSHALL")
    opened = looks_into(tmp_path, f"{{type: redis, connection_string: '127.0.0.1:{own.port},db=1'}}")
    yield opened
    opened.close()


def test_databases_and_keys(looks: Looks, own: Valkey) -> None:
    own.do("HSET", "a", "f", "1", db=1)
    own.do("SET", "b", "1", db=1)
    own.do("SET", "c", "1", db=4)
    assert looks.databases() == {1: 2, 4: 1}
    assert looks.db == 1
    assert looks.exist([b"a", b"b", b"c"], 1) == [True, True, False]
    assert looks.have_field([b"a", b"b", b"c"], b"f", 1) == [True, False, False]
    assert looks.exist([b"c"], 4) == [True]
    assert looks.exist([], 1) == []


def test_a_hash(looks: Looks, own: Valkey) -> None:
    own.do("HSET", "a", "f", "1", "g", "2", db=1)
    own.do("SET", "b", "1", db=1)
    found = looks.read(b"a", 1)
    assert found is not None
    assert (found.fields, found.count, found.expires_s, found.encoding) == (
        {b"f": b"1", b"g": b"2"},
        2,
        None,
        "listpack",
    )
    assert found.is_whole
    own.do("EXPIRE", "a", 1000, db=1)
    assert (looks.read(b"a", 1) or found).expires_s in range(900, 1001)
    assert (looks.read(b"b", 1) or found).kind == "string"
    assert looks.read(b"c", 1) is None


def test_a_hash_that_is_too_long_is_not_read_as_a_whole(looks: Looks, own: Valkey) -> None:
    own.do("HSET", "a", *(part for number in range(MAX_FIELDS + 1) for part in (f"f{number}", "1")), db=1)
    own.do("CONFIG", "RESETSTAT")
    found = looks.read(b"a", 1, [b"f7", b"nothing"])
    assert found is not None
    assert (found.fields, found.count, found.is_whole) == ({b"f7": b"1"}, MAX_FIELDS + 1, False)
    assert b"cmdstat_hgetall" not in own.do("INFO", "commandstats")


def test_a_hash_that_is_too_large_is_not_read_as_a_whole(looks: Looks, own: Valkey) -> None:
    own.do("HSET", "a", "f", "x" * 2_000_000, "g", "1", db=1)
    found = looks.read(b"a", 1, [b"g"])
    assert found is not None
    assert (found.fields, found.count, found.is_whole) == ({b"g": b"1"}, 2, False)


def test_a_scan_goes_on_in_small_steps(looks: Looks, own: Valkey) -> None:
    own.pipeline([("SET", f"k{number}", "x") for number in range(1_000)], db=1)
    own.do("CONFIG", "RESETSTAT")
    scan = looks.scan(db=1, max_keys=5_000, time_s=20)
    assert (len(scan.keys), scan.complete) == (1_000, True)
    assert b"cmdstat_scan:calls=1," not in own.do("INFO", "commandstats")
    few = looks.scan(db=1, max_keys=150, time_s=20)
    assert (len(few.keys), few.complete) == (150, False)
    in_no_time = looks.scan(db=1, max_keys=5_000, time_s=0)
    assert 0 < len(in_no_time.keys) < 1_000
    assert not in_no_time.complete


@pytest.mark.parametrize("part", [b"[a]*?", b"\\", b"a^b-c", b"\xff\x00\r\n"])
def test_what_a_pattern_means_stands_for_itself(looks: Looks, own: Valkey, part: bytes) -> None:
    own.do("SET", b"1" + part + b"2", "x", db=1)
    own.do("SET", "1a2", "x", db=1)
    assert looks.scan(db=1, contains=[part], max_keys=10, time_s=5).keys == [b"1" + part + b"2"]
    assert looks.scan(db=1, contains=[part, b"2", b"3"], max_keys=10, time_s=5).keys == []


def test_keys_with_an_end(looks: Looks, own: Valkey) -> None:
    own.pipeline([("SET", f"k{number}", "x") for number in range(300)], db=1)
    for key in ("1rides", "rides", "1ride*", "ridesx"):
        own.do("SET", key, "x", db=1)
    scan = looks.scan(db=1, suffix=b"rides", max_keys=10, time_s=20)
    assert (sorted(scan.keys), scan.complete) == ([b"1rides", b"rides"], True)
    assert scan.looked_at > 100, "more than one SCAN goes through"
    assert looks.scan(db=1, suffix=b"ride*", max_keys=10, time_s=20).keys == [b"1ride*"]
    assert looks.scan(db=1, contains=[b"1"], suffix=b"rides", max_keys=10, time_s=20).keys == [b"1rides"]


def test_which_fields_are_there(looks: Looks, own: Valkey) -> None:
    own.do("HSET", "a", "f", "1", "g", "", db=1)
    own.do("SET", "b", "1", db=1)
    assert looks.fields_there(b"a", [b"f", b"g", b"h"], 1) == [True, True, False]
    assert looks.fields_there(b"b", [b"f"], 1) == [False]
    assert looks.fields_there(b"c", [b"f"], 1) == [False]


def test_what_the_server_is(looks: Looks) -> None:
    assert looks.mode() == "standalone"


def test_nothing_is_written(looks: Looks, own: Valkey) -> None:
    own.do("HSET", "a", "f", "1", db=1)
    before = own.do("INFO", "persistence").split(b"rdb_changes_since_last_save:")[1].split()[0]
    looks.databases()
    looks.read(b"a", 1)
    looks.scan(db=1, max_keys=10, time_s=1)
    assert own.do("INFO", "persistence").split(b"rdb_changes_since_last_save:")[1].split()[0] == before


def test_a_user_who_may_not_look(tmp_path: Path, own: Valkey) -> None:
    own.do("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+hmget", "+hgetall", "+select", "+client")
    options = f"127.0.0.1:{own.port},username=reader,password=secret"
    looks = looks_into(tmp_path, f"{{type: redis, connection_string: '{options}'}}")
    assert looks.databases() == {}
    with pytest.raises(StoreRefusedError):
        looks.mode()
    with pytest.raises(StoreRefusedError):
        looks.scan(db=0, max_keys=1, time_s=1)
    with pytest.raises(StoreUnavailableError, match="permission") as caught:
        looks.read(b"a", 0)
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreUnavailableError, match="permission"):
        looks.exist([b"a"], 0)
    looks.close()


def test_a_node_of_a_cluster_is_told(tmp_path: Path) -> None:
    bus = ("--cluster-port", str(free_port()))  # by itself it is 10,000 more than the port, and that may be too many
    with Valkey("--cluster-enabled", "yes", "--dir", str(tmp_path), *bus) as node:
        looks = looks_into(tmp_path, f"{{type: redis, connection_string: '127.0.0.1:{node.port}'}}")
        with pytest.raises(StoreUnavailableError, match="is a node of a Redis Cluster"):
            looks.read(b"a", 0)
        looks.close()


def test_sentinels_that_name_no_master(tmp_path: Path) -> None:
    """They are asked when something is looked for, not before: then the store is what cannot be reached."""
    options = f"127.0.0.1:{free_port()}"
    looks = looks_into(tmp_path, f"{{type: redis, redis_type: redis_sentinel, connection_string: '{options}'}}")
    with pytest.raises(StoreUnavailableError, match="no sentinel names a master 'mymaster'"):
        looks.exist([b"a"], 0)
    looks.close()
