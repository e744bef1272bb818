"""Links that follow a topology: made, kept, retired, watched. The source and the links are made up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

import yummy_fast.stores.redis_nodes
from tests.harness import PATIENCE_S, run
from tests.stores.cluster_load import key, lookup, soon
from yummy_fast.errors import StoreOverloadedError, StoreRefusedError, StoreUnavailableError
from yummy_fast.features.plan import Rows
from yummy_fast.native.owner import Picker
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import CHECK_KEY
from yummy_fast.stores.redis_hash import HashReader
from yummy_fast.stores.redis_link import Link, LinkSettings, Place
from yummy_fast.stores.redis_nodes import Nodes
from yummy_fast.stores.redis_pending import PendingFetch
from yummy_fast.stores.redis_slots import SLOTS, Address, Redirect, Shard, Topology, slot_of
from yummy_fast.stores.row_cache import RowCache

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
        self.room = 1000
        self.sent: list[PendingFetch] = []
        self.probed: list[bytes] = []
        self.stalls = False

    def find_stalled(self, after_s: float) -> Sequence[Any]:
        self.responsive = not self.stalls
        return [pending.watched() for pending in self.sent] if self.stalls else ()

    def receivers(self) -> Sequence[Any]:
        return [pending.receiver for pending in self.sent]

    def send(self, pending: PendingFetch, commands: list[bytes], cost: int = 0) -> None:
        pending.deadline = asyncio.get_running_loop().time() + PATIENCE_S
        self.sent.append(pending)

    def answer(self) -> None:
        """Answer what was sent first."""
        pending = self.sent.pop(0)
        pending.add([(b"1",)])
        pending.finish()

    def probe(self, command: bytes, picker: Any, found: Any) -> None:
        self.probed.append(command)

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
            table = side.nodes.table.by_slot
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
            shard = side.nodes.table.by_slot[200]
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


def test_the_end_does_not_wait_for_a_node_that_may_finish() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            side.nodes._timeout_s = 1000.0
            gone = side.at(B)
            await side.follow(two(Shard(A, (A2, A3)), Shard(D)))
            assert not gone.closed
        assert gone.closed

    run(following())


def test_an_old_master_is_dropped_at_once() -> None:
    async def following() -> None:
        async with Side(Topology.of_one(Shard(A))) as side:
            side.source.drops_at_once = True
            gone = side.at(A)
            await side.follow(Topology.of_one(Shard(B)))
            await soon(lambda: gone.closed)
            assert gone.connection.ended
            assert side.nodes.table.only is not None
            assert side.nodes.table.only.primary is side.at(B)

    run(following())


def test_moved_corrects_one_slot_until_the_next_topology() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            await soon(lambda: side.source.reads == 1)
            table = side.nodes.table.by_slot
            a, b = table[5], table[200]
            side.nodes.moved(Redirect("MOVED", 5, B), side.at(A))
            assert table[5] is b
            assert table[6] is a
            side.nodes.moved(Redirect("MOVED", 6, D), side.at(A))
            side.nodes.moved(Redirect("MOVED", 7, D), side.at(A))
            assert table[6] is table[7]
            assert table[6] is not None
            assert table[6].primary is side.at(D)
            roles = {one["node"]: (one["role"], one["slots"]) for one in side.nodes.describe()}
            assert roles[str(D)] == ("primary", ""), "no range is known yet"
            await soon(lambda: side.source.reads == 2)
            assert table[5] is table[6] is a

    run(following())


def test_moved_to_the_node_that_was_asked_makes_its_connection_anew() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            side.nodes.moved(Redirect("MOVED", 5, A), side.at(A))
            assert side.at(A).connection.ended == "abort"
            shard = side.nodes.table.by_slot[5]
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
            before = side.nodes.table.by_slot[5]
            side.nodes.moved(Redirect("MOVED", 5, D), side.at(A))
            assert side.nodes.link_to(D) is None
            assert side.nodes.table.by_slot[5] is before
            assert side.nodes.link_to(A) is side.at(A)

    run(following())


# ------------------------------------------------------------------------------------------- fetches, and what is kept


def fetch(side: Side) -> asyncio.Future[Rows]:
    """A fetch of one key, whose slot is B's."""
    future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
    assert slot_of(key(1) + b"corpus") >= 100
    side.nodes.reads.fetch(future, [HashReader(lookup(), "hmget", b"corpus")], [[key(1)]])
    return future


def test_a_fetch_from_a_node_that_stalls_is_sent_to_its_replica_as_well() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            future = fetch(side)
            side.at(B).connection.stalls = True
            await soon(lambda: side.at(B2).connection.sent)
            assert not side.at(B).connection.responsive
            side.at(B2).connection.answer()
            assert await future == [[(b"1",)]]
            assert side.state.replica_reads == 1

    run(following())


def test_when_a_store_is_closed_what_is_tried_again_later_fails() -> None:
    async def following() -> None:
        side = Side(FIRST)
        await side.nodes.open()
        side.at(B).connection = side.at(B2).connection = None
        side.at(B).down_since = asyncio.get_running_loop().time() + PATIENCE_S
        future = fetch(side)
        assert not future.done()
        await side.nodes.close()
        with pytest.raises(StoreUnavailableError, match="is closed"):
            await future

    run(following())


def test_a_library_that_keeps_a_cancellation_for_itself_delays_the_close_and_no_more() -> None:
    async def following() -> None:
        side = Side(FIRST)
        await side.nodes.open()
        begun, never = asyncio.Event(), asyncio.Event()

        async def read() -> None:
            begun.set()
            with suppress(asyncio.CancelledError):
                await never.wait()
            await never.wait()

        assert side.nodes._keeping is not None
        side.nodes._keeping.cancel()
        side.nodes._keeping = asyncio.create_task(read())
        await begun.wait()
        await side.nodes.close()
        assert side.nodes._keeping.cancelled()

    run(following())


def test_nodes_that_were_never_opened_can_be_closed() -> None:
    async def following() -> None:
        await Side(FIRST).nodes.close()

    run(following())


def test_fetches_are_counted_as_long_as_they_wait() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            assert side.nodes.in_flight == 0
            first, second = fetch(side), fetch(side)
            assert side.nodes.in_flight == 2
            side.at(B).connection.answer()
            side.at(B).connection.answer()
            await asyncio.gather(first, second)
            assert side.nodes.in_flight == 0
            side.at(A).connection = None
            assert side.nodes.in_flight == 0

    run(following())


def test_each_node_is_probed_that_is_connected() -> None:
    async def following() -> None:
        async with Side(FIRST, spread=True) as side:
            for link in side.made:
                link._probes = lambda: {"hmget": (b"HMGET", b"k", b"f")}
            gone, side.at(A2).connection = side.at(A2).connection, None
            side.nodes.probe({"hmget": Picker([b"f"], False)})
            for address in (A, A3, B, B2):
                assert side.at(address).connection.probed == [b"*3\r\n$5\r\nHMGET\r\n$1\r\nk\r\n$1\r\nf\r\n"]
            assert gone.probed == []

    run(following())


def test_a_connection_that_is_lost_has_the_topology_read() -> None:
    """One that is made does not, nor does the end of one to a node that is not named any more."""

    async def following() -> None:
        async with Side(FIRST) as side:
            lost = side.at(B)
            pace: list[str] = []
            side.nodes.refresh = lambda: pace.append("asked")  # type: ignore[method-assign]
            lost._changed(lost)
            assert pace == []
            lost.connection = None
            lost._changed(lost)
            assert pace == ["asked"]
            lost.retired = True
            lost._changed(lost)
            assert pace == ["asked"]

    run(following())


def test_a_standby_that_is_being_connected_to_is_kept() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            (standby,) = set(side.nodes._links) & {A2, A3}
            side.at(standby).connection = None
            side.at(standby).attempted.clear()
            await side.follow(two(Shard(A, (A2, A3)), Shard(D)))
            assert set(side.nodes._links) & {A2, A3} == {standby}

    run(following())


def test_an_old_master_without_a_connection_is_dropped_as_well() -> None:
    async def following() -> None:
        async with Side(Topology.of_one(Shard(A))) as side:
            side.source.drops_at_once = True
            gone = side.at(A)
            gone.connection = None
            await side.follow(Topology.of_one(Shard(B)))
            await soon(lambda: gone.closed)
            assert side.nodes.address_of(gone) == Address("", 0), "nobody knows it any more"

    run(following())


def test_slots_that_nobody_serves_are_so_since_they_first_were() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            assert side.nodes.table.uncovered_since == float("inf")
            await side.follow(Topology((Shard(A),), ((0, 99, 0),)))
            since = side.nodes.table.uncovered_since
            assert since <= asyncio.get_running_loop().time()
            await side.follow(Topology((Shard(A),), ((0, 98, 0),)))
            assert side.nodes.table.uncovered_since == since
            await side.follow(FIRST)
            assert side.nodes.table.uncovered_since == float("inf")

    run(following())


def test_a_shard_that_was_lost_a_moment_ago_is_not_said_to_be_unusable() -> None:
    async def following() -> None:
        async with Side(FIRST) as side:
            (shard,) = (links for spec, links in side.nodes._shards.items() if spec.primary == B)
            side.at(B).connection = side.at(B2).connection = None
            loop = asyncio.get_running_loop()
            shard.usable_at = loop.time() + PATIENCE_S
            side.nodes._watch(loop.time())
            assert side.state.unusable == ""
            shard.usable_at = loop.time() - 1.1
            side.nodes._watch(loop.time())
            assert side.state.unusable == "no node for the slots 100-16383"

    run(following())


def test_a_watch_that_comes_late_does_not_hedge() -> None:
    """Replies may lie unread in the sockets."""

    async def following() -> None:
        async with Side(FIRST) as side:
            assert side.nodes._watching is not None
            side.nodes._watching.cancel()
            side.at(B).connection.stalls = True
            side.nodes._watch(asyncio.get_running_loop().time() - 1.0)
            assert side.at(B).connection.responsive

    run(following())


def test_nodes_without_connections_refuse_nothing() -> None:
    """Whoever asks is told when it fetches."""

    async def following() -> None:
        async with Side(FIRST) as side:
            side.at(A).connection = None
            side.at(B).connection.refusal = StoreOverloadedError("full")
            with pytest.raises(StoreOverloadedError):
                side.nodes.check_room(10)
            side.at(B).connection = None
            side.nodes.check_room(10)

    run(following())


class Kept(RowCache):
    """Says which slots it was told to forget."""

    def __init__(self, state: StoreState) -> None:
        super().__init__(1 << 20, state, slots=SLOTS)
        self.dropped: list[list[int]] = []

    def drop_slots(self, slots: Any, now: float) -> None:
        self.dropped.append(list(slots))
        super().drop_slots(slots, now)


def test_rows_are_forgotten_when_their_slot_has_another_primary() -> None:
    async def following() -> None:
        side = Side(FIRST)
        cache = Kept(side.state)
        side.nodes.reads.keep_rows_in(cache)
        async with side:
            assert cache.dropped == [list(range(SLOTS))], "before, no slot had one"
            cache.dropped.clear()
            await side.follow(two(Shard(A), Shard(B, (B2,))))
            assert cache.dropped == [], "replicas do not matter"
            await side.follow(two(Shard(A), Shard(B2, (B,))))
            assert cache.dropped == [list(range(100, SLOTS))]
            cache.dropped.clear()
            side.nodes.moved(Redirect("MOVED", 5, B2), side.at(A))
            assert cache.dropped == [[5]]

    run(following())


def test_a_redirection_without_a_host_is_to_the_node_that_sent_it() -> None:
    """Redis leaves it out where it does not know its own address: MOVED 5 :7."""

    async def following() -> None:
        async with Side(FIRST) as side:
            future = fetch(side)
            pending = side.at(B).connection.sent.pop()
            error = StoreRefusedError("refused")
            error.reply = f"ASK {slot_of(key(1) + b'corpus')} :7"
            pending.watched().set_exception(error)
            await soon(lambda: Address(B.host, 7) in side.nodes._links)
            await soon(lambda: side.at(Address(B.host, 7)).connection.sent)
            asked = side.at(Address(B.host, 7)).connection.sent.pop()
            assert not asked.add(None)
            asked.add([(b"1",)])
            asked.finish()
            assert await future == [[(b"1",)]]

    run(following())
