"""Who is asked for the topology, in which order, and which name a certificate must have."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

import yummy_fast.stores.redis_topology
from tests.clusters import Node, until
from tests.harness import run
from yummy_fast.stores.connection_string import parse_target
from yummy_fast.stores.redis_link import LinkSettings, Place
from yummy_fast.stores.redis_slots import Address, Shard
from yummy_fast.stores.redis_topology import ClusterSource, NoTopologyError

SLOTS_REPLY = [[0, 16383, [b"10.0.0.7", 7, b"id", []]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What hosts answer, by name; what is raised, if it is an exception. Those that were asked are listed under ""."""
    answers: dict[str, Any] = {"": []}

    async def ask(settings: LinkSettings, place: Place, *command: str) -> Any:
        host = place.options["host"]
        answers[""].append(host)
        answer = answers.get(host, ConnectionRefusedError(f"{host} refused"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(yummy_fast.stores.redis_topology, "ask", ask)
    return answers


def source_of(connection_string: str) -> ClusterSource:
    target = parse_target(connection_string, "redis_cluster", "here")
    return ClusterSource(target, LinkSettings(target.options, 1.0, 1 << 20, in_cluster=True))


def test_known_nodes_come_before_the_seeds(asked: dict[str, Any]) -> None:
    asked |= {"seed2": SLOTS_REPLY}
    known = [Address(f"node{number}", 1) for number in range(9)]
    topology = run(source_of("seed1:1,seed2:2").read(known))
    assert topology.shards == (Shard(Address("10.0.0.7", 7)),)
    assert asked[""][:3] == ["node0", "node1", "node2"]
    assert set(asked[""][3:]) <= {"seed1", "seed2"}


def test_a_node_that_knows_nothing_is_passed_over(asked: dict[str, Any]) -> None:
    asked |= {"fresh": [], "seed": SLOTS_REPLY}
    assert run(source_of("seed:1").read([Address("fresh", 1)])).shards


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (NoPermissionError("this user has no permissions"), r"grant \+cluster\|slots"),
        (ResponseError("This instance has cluster support disabled"), "set redis_type: redis"),
        (ResponseError("anything"), "anything"),
        ([], "it knows no slots yet"),
        (ConnectionRefusedError("refused"), "refused"),
    ],
)
def test_why_there_is_no_topology(asked: dict[str, Any], answer: Any, message: str) -> None:
    asked["seed"] = answer
    with pytest.raises(NoTopologyError, match=message):
        run(source_of("seed:1").read(()))


def test_the_name_that_a_certificate_must_have() -> None:
    """A node that is known by its address has the certificate of the name that clients know."""

    async def names(connection_string: str, *hosts: str) -> list[str]:
        source = source_of(connection_string)
        return [(await source.place(Address(host, 1))).server_name for host in hosts]

    assert run(names("redis.example:1,ssl=true", "10.0.0.1", "::1", "node.example")) == ["redis.example"] * 2 + [""]
    assert run(names("10.0.0.9:1,redis.example:1,ssl=true", "10.0.0.1")) == ["redis.example"]
    assert run(names("10.0.0.9:1,ssl=true", "10.0.0.1")) == [""]
    assert run(names("redis.example:1", "10.0.0.1")) == [""]


def test_a_single_valkey_is_no_cluster() -> None:
    with Node([]) as node:
        until(lambda: node.do("PING") == b"PONG", "a node")
        with pytest.raises(NoTopologyError, match="no node of a cluster: set redis_type: redis"):
            run(source_of(f"127.0.0.1:{node.port}").read(()))
