"""Links that follow a topology: made, kept, retired, watched. The source and the links are made up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

import yummy_fast.stores.redis_nodes
from tests.harness import run
from tests.stores.cluster_load import soon
from yummy_fast.errors import StoreOverloadedError
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import CHECK_KEY
from yummy_fast.stores.redis_link import Link, LinkSettings, Place
from yummy_fast.stores.redis_nodes import Nodes
from yummy_fast.stores.redis_slots import Address, Redirect, Shard, Topology, slot_of

A, B, A2, A3, B2, D = (Address(f"10.0.0.{number}", 1) for number in range(6))
TIMEOUT_S = 0.2


class FakeConnection:
    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.responsive = True
        self.in_flight = 0
        self.refusal: StoreOverloadedError | None = None
        self.orders: list[bytes] = []
        self.ended = ""

    def find_stalled(self, after_s: float) -> Sequence[Any]:
        return ()

    def receivers(self) -> Sequence[Any]:
        return ()

    def check_room(self, keys: int) -> None:
        if self.refusal is not None:
            raise self.refusal

    def send_order(self, command: bytes, found: Any) -> None:
        self.orders.append(command.split(b"\r\n")[2])

    def end(self, reason: str) -> None:
        self.ended = reason

    def abort(self) -> None:
        self.ended = "abort"


class FakeLink(Link):
    """Connected at once, unless its address is among the dead."""

    def __init__(self, *arguments: Any, dead: set[str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.closed = False
        self._dead = dead

    def start(self) -> None:
        if not any(self.name.endswith(f" {address}") for address in self._dead):
            self.connection = FakeConnection()  # type: ignore[assignment]
        self.attempted.set()

    async def close(self) -> None:
        self.closed = True


class FakeSource:
    regular_s = 1000.0
    has_slots = True

    def __init__(self, topology: Topology | Exception) -> None:
        self.topology = topology
        self.reads = 0
        self.known: list[Address] = []
        self.drops_at_once = False

    async def read(self, known: Sequence[Address]) -> Topology:
        self.reads += 1
        self.known = list(known)
        if isinstance(self.topology, Exception):
            raise self.topology
        return self.topology

    async def place(self, address: Address) -> Place:
        return Place({"host": address.host, "port": address.port})

    async def close(self) -> None: ...


def two(first: Shard, second: Shard) -> Topology:
    return Topology((first, second), ((0, 99, 0), (100, 16383, 1)))


class Side:
    def __init__(self, topology: Topology | Exception, *, spread: bool = False, dead: set[str] | None = None) -> None:
        self.source = FakeSource(topology)
        self.made: list[FakeLink] = []
        self.state = StoreState()
        self.dead = dead or set()
        self.check_keys: dict[str, bytes] = {}
        self.nodes = Nodes("cluster", self.source, self.make, b"corpus", TIMEOUT_S, self.state, spread=spread)

    def make(self, name: str, place: Any, state: StoreState, changed: Any, check_key: bytes) -> Link:
        settings = LinkSettings({}, TIMEOUT_S, 1 << 20, in_cluster=True)
        link = FakeLink(name, place, settings, dict, self.state, changed, state=state, dead=self.dead)
        self.check_keys[name.partition(" ")[2]] = check_key
        self.made.append(link)
        return link

    async def __aenter__(self) -> Side:
        await self.nodes.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.nodes.close()

    def at(self, address: Address) -> Any:
        return self.nodes._links[address]

    async def follow(self, topology: Topology) -> None:
        self.source.topology = topology
        before = self.source.reads
        self.nodes.refresh()
        await soon(lambda: self.source.reads > before and self.nodes.topology == topology)


FIRST = two(Shard(A, (A2, A3)), Shard(B, (B2,)))


def test_a_link_to_each_primary_and_one_that_stands_by() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            linked = set(side.nodes._links)
            assert {A, B, B2} < linked
            assert len(linked & {A2, A3}) == 1
            table = side.nodes.reads.table
            assert table[0] is table[99] is not table[100]
            assert table[100] is not None
            assert table[100].primary is side.at(B)
            assert slot_of(side.check_keys[str(A)]) < 100 <= slot_of(side.check_keys[str(B)])
            assert side.check_keys[str(A)].startswith(CHECK_KEY)
            described = {"node": str(A), "role": "primary", "slots": "0-99", "usable": True}
            assert described.items() <= side.nodes.describe()[0].items()
        async with Side(FIRST, spread=True) as side:
            assert set(side.nodes._links) == {A, B, A2, A3, B2}

    run(following())


def test_a_failover_keeps_the_links_and_changes_their_roles() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            old, new = side.at(B), side.at(B2)
            await side.follow(two(Shard(A, (A2, A3)), Shard(B2, (B,))))
            assert (side.at(B), side.at(B2)) == (old, new)
            assert old.connection.orders == [b"READONLY"]
            assert new.connection.orders[-1] == b"READWRITE"
            shard = side.nodes.reads.table[200]
            assert shard is not None
            assert (shard.primary, shard.replicas) == (new, [old])

    run(following())


def test_another_thread_sees_the_nodes_of_one_topology() -> None:
    """While a topology is followed, `describe` shows the one before, and never a part of the new one."""

    async def following() -> None:
        async with Side(FIRST) as side:
            seen: list[list[str]] = []
            make = side.nodes._make_link

            def look(*arguments: Any) -> Link:
                seen.append([one["node"] for one in side.nodes.describe() if one["role"] == "primary"])
                return make(*arguments)

            side.nodes._make_link = look
            await side.follow(two(Shard(A), Shard(D)))
            assert seen == [[str(A), str(B)]]
            assert {one["node"] for one in side.nodes.describe() if one["role"] == "primary"} == {str(A), str(D)}

    run(following())


def test_who_stands_by_goes_on_doing_so() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            (standby,) = set(side.nodes._links) & {A2, A3}
            for _ in range(5):
                await side.follow(two(Shard(A, (A2, A3)), Shard(B)))
                await side.follow(FIRST)
                assert set(side.nodes._links) & {A2, A3} == {standby}
            side.at(standby).connection = None
            await side.follow(two(Shard(A, (A2, A3)), Shard(B)))
            assert set(side.nodes._links) & {A2, A3} == {A2, A3} - {standby}

    run(following())


def test_a_node_that_is_not_named_any_more_may_finish() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            gone = side.at(B)
            await side.follow(two(Shard(A, (A2, A3)), Shard(D)))
            assert gone.retired
            assert not gone.closed
            assert B not in side.nodes._links
            await soon(lambda: gone.closed)
            assert not gone.connection.ended

    run(following())


def test_an_old_master_is_dropped_at_once() -> None:
    async def following() -> None:
        async with Side(Topology.of_one(Shard(A))) as side:
            side.source.drops_at_once = True
            gone = side.at(A)
            await side.follow(Topology.of_one(Shard(B)))
            await soon(lambda: gone.closed)
            assert gone.connection.ended
            assert side.nodes.reads.only is not None
            assert side.nodes.reads.only.primary is side.at(B)

    run(following())


def test_moved_corrects_one_slot_until_the_next_topology() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            await soon(lambda: side.source.reads == 1)
            table = side.nodes.reads.table
            a, b = table[5], table[200]
            side.nodes.moved(Redirect("MOVED", 5, B), side.at(A))
            assert table[5] is b
            assert table[6] is a
            side.nodes.moved(Redirect("MOVED", 6, D), side.at(A))
            side.nodes.moved(Redirect("MOVED", 7, D), side.at(A))
            assert table[6] is table[7]
            assert table[6] is not None
            assert table[6].primary is side.at(D)
            await soon(lambda: side.source.reads == 2)
            assert table[5] is table[6] is a

    run(following())


def test_moved_to_the_node_that_was_asked_makes_its_connection_anew() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            side.nodes.moved(Redirect("MOVED", 5, A), side.at(A))
            assert side.at(A).connection.ended == "abort"
            shard = side.nodes.reads.table[5]
            assert shard is not None
            assert shard.primary is side.at(A)

    run(following())


def test_the_topology_is_asked_for_until_there_is_one(caplog: pytest.LogCaptureFixture) -> None:
    async def following() -> None:
        async with Side(OSError("no way")) as side:
            assert "slots 0-16383" in str(side.state.unusable) or side.source.reads == 1
            await soon(lambda: side.source.reads >= 3)
            await side.follow(FIRST)
            assert A in side.nodes._links

    run(following())
    assert caplog.text.count("cannot read the topology: no way") == 1


def test_a_bug_in_a_topology_does_not_end_the_keeping(caplog: pytest.LogCaptureFixture) -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            side.source.topology = KeyError("a bug")
            side.nodes.refresh()
            await soon(lambda: "a bug of ours" in caplog.text)
            await side.follow(two(Shard(A), Shard(D)))

    run(following())


def test_what_is_unusable_is_said() -> None:
    async def following() -> None:
        async with Side(FIRST, dead={str(B), str(B2)}) as side:
            await soon(lambda: side.state.unusable == "no node for the slots 100-16383")
            assert side.nodes._usable_addresses() != []
            await side.follow(Topology((Shard(A),), ((0, 99, 0),)))
            await soon(lambda: side.state.unusable == "no node for the slots 100-16383")
            await side.follow(two(Shard(A), Shard(D)))
            await soon(lambda: not side.state.unusable)
            side.at(D).state.refusal = "NOPERM"
            side.at(D).state.crowded = True
            side.at(D).state.answered_at = 1e12
            await soon(lambda: (side.state.refusal, side.state.crowded) == ("NOPERM", True))
            assert side.state.answered_at == 1e12

    run(following())


def test_room_is_refused_only_where_no_node_has_any() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            side.at(A).connection.refusal = StoreOverloadedError("full")
            side.nodes.check_room(10)
            side.at(B).connection.refusal = StoreOverloadedError("full")
            with pytest.raises(StoreOverloadedError):
                side.nodes.check_room(10)

    run(following())


def test_redirections_make_no_end_of_links(monkeypatch: pytest.MonkeyPatch) -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            monkeypatch.setattr(yummy_fast.stores.redis_nodes, "MAX_NODES", len(side.nodes._links))
            before = side.nodes.reads.table[5]
            side.nodes.moved(Redirect("MOVED", 5, D), side.at(A))
            assert side.nodes.link_to(D) is None
            assert side.nodes.reads.table[5] is before
            assert side.nodes.link_to(A) is side.at(A)

    run(following())
