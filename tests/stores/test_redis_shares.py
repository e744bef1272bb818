"""Fetches from several nodes, on nodes that are made up: what is sent where, and what follows from each failure.

A `FakeConnection` keeps what is sent on it; the test answers, fails, or lets time pass. What real nodes do is tested in
tests/system/test_cluster.py and test_sentinel.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from tests.fakes import FakeLoop, FakeTransport
from tests.stores.cluster_load import key, lookup, stored_key
from yummy_fast.errors import (
    StoreError,
    StoreOverloadedError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from yummy_fast.feast_format.keys import feature_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, HashContents, Lookup, Rows
from yummy_fast.native.owner import ReplyReader
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import RedisConnection
from yummy_fast.stores.redis_hash import HGETALL_FROM_FIELDS, LISTPACK_VALUE_BYTES, HashReader
from yummy_fast.stores.redis_link import Link
from yummy_fast.stores.redis_pending import PendingAsked, PendingFetch
from yummy_fast.stores.redis_shards import MAX_HOPS, STALLED_SHARE, ShardLinks, ShardTable
from yummy_fast.stores.redis_shares import Reads, Try
from yummy_fast.stores.redis_slots import SLOTS, Address, Redirect, slot_of
from yummy_fast.stores.redis_tracking import TrackedConnection, Tracker
from yummy_fast.stores.row_cache import RowCache

TIMEOUT_S = 1.0
LOST = StoreUnavailableError("lost")


def refused(reply: str) -> StoreError:
    error = StoreRefusedError("refused")
    error.reply = reply
    return error


class Sent:
    """A fetch in the FIFO of a FakeConnection, or the receiver of one that is sent in turns: `answer` or `fail` it."""

    def __init__(self, sent: Any) -> None:
        self._sent = sent

    @property
    def receiver(self) -> Any:
        return getattr(self._sent, "receiver", self._sent)

    @property
    def in_turns(self) -> bool:
        return not isinstance(self._sent, PendingFetch)

    def watched(self) -> Any:
        return self._sent.watched()

    def done(self) -> bool:
        return bool(self.receiver.done())

    def set_result(self, rows: list[Any]) -> None:
        self._take(rows if isinstance(self._sent, PendingFetch) else [rows])

    def set_exception(self, error: StoreError) -> None:
        if not isinstance(self._sent, PendingFetch):
            self._sent.set_exception(error)
        elif error.reply:
            self._take([error.reply] * (1 if isinstance(self._sent, PendingAsked) else len(self._sent.parts)))
        else:
            self._sent.fail(error)

    def _take(self, answers: list[Any]) -> None:
        pending = self._sent
        if not isinstance(pending, PendingFetch):
            if not pending.done():
                pending.set_result(answers[0])
            return
        if isinstance(pending, PendingAsked):
            assert not pending.add(None)
        for answer in answers:
            last = pending.add(answer)
        assert last
        pending.finish()


class FakeConnection:
    """Keeps the keys of what is sent."""

    def __init__(self, loop: FakeLoop) -> None:
        self.loop = loop
        self.room = 1000
        self.responsive = True
        self.silent = False
        """Whether it refuses at once what it is to send."""
        self.costs: list[tuple[int, int]] = []
        """Of each fetch, what its commands cost, and how long they are."""
        self.left_turns = 0
        """How many fetches that wait for turns are done: what of them is not sent yet will not be."""
        self.lost: Any = loop.create_future()
        self.sent: list[tuple[Sent, list[int], bool]] = []
        """For each fetch: what stands in the FIFO, the drivers, and whether it follows an ASKING."""

    def send(self, pending: Any, commands: list[bytes], cost: int = 0) -> None:
        if self.silent:
            pending.fail(StoreUnavailableError("silent"))
            return
        pending.deadline = self.loop.time() + TIMEOUT_S  # as a RedisConnection does
        self.costs.append((cost, sum(map(len, commands))))
        asking = commands[0] == b"*1\r\n$6\r\nASKING\r\n"
        drivers = [
            int.from_bytes(found, "little") for found in re.findall(rb"(........)corpus", b"".join(commands), re.DOTALL)
        ]
        self.sent.append((Sent(pending), drivers, asking))

    def send_in_turns(self, receiver: Any, parts: Sequence[Any]) -> None:
        receiver.add_done_callback(self._leave_turns)
        drivers = [int.from_bytes(found[-8:], "little") for part in parts for found in part.keys]
        self.sent.append((Sent(receiver), drivers, False))

    def _leave_turns(self, _: Any) -> None:
        self.left_turns += 1

    def answer(self) -> None:
        """Answer what was sent first, with a row for each driver."""
        sent, drivers, _ = self.sent.pop(0)
        sent.set_result([[(b"%d" % driver,) for driver in drivers]])

    def fail(self, error: StoreError) -> None:
        sent, _, _ = self.sent.pop(0)
        sent.set_exception(error)

    @property
    def drivers(self) -> list[list[int]]:
        return [drivers for _, drivers, _ in self.sent]


class FakeLink:
    def __init__(self, name: str, loop: FakeLoop) -> None:
        self.name = name
        self.connection: FakeConnection | None = FakeConnection(loop)
        self.down_since = 0.0
        self.replica = False


class Side:
    """Three shards, a third of the slots each: a, b and c, with a replica each."""

    def __init__(self, loop: FakeLoop, *, spread: bool = False) -> None:
        self.loop = loop
        self.state = StoreState()
        self.links = {name: FakeLink(name, loop) for name in ("a", "b", "c", "a2", "b2", "c2", "d")}
        self.refreshes = 0
        self.table = ShardTable()
        self.reads = Reads(b"corpus", TIMEOUT_S, self.state, self.table, self, spread=spread)
        self.shards = {name: ShardLinks(self.link(name), [self.link(name + "2")], [(0, 0)]) for name in ("a", "b", "c")}
        for slot in range(SLOTS):
            self.table.by_slot[slot] = self.shards["abc"[slot * 3 // SLOTS]]
        self.prepared = [HashReader(lookup(), "hmget", b"corpus")]

    # What Reads asks of a keeper.

    def link(self, name: str) -> Link:
        return cast("Link", self.links[name])

    def refresh(self) -> None:
        self.refreshes += 1

    def moved(self, redirect: Redirect, link: Link) -> None:
        self.table.by_slot[redirect.slot] = ShardLinks(self.link_to(redirect.to))

    def link_to(self, address: Address) -> Link:
        return self.link(address.host)

    def address_of(self, link: Link) -> Address:
        return Address(link.name, 1)

    # What a test does.

    def fetch(self, *drivers: int) -> asyncio.Future[Rows]:
        future: asyncio.Future[Rows] = self.loop.create_future()
        self.reads.fetch(future, self.prepared, [list(map(key, drivers))])
        return future

    def at(self, name: str) -> FakeConnection:
        connection = self.links[name].connection
        assert connection is not None
        return connection

    def fetch_lookups(self, *lookups: list[int]) -> asyncio.Future[Rows]:
        future: asyncio.Future[Rows] = self.loop.create_future()
        keys = [list(map(key, drivers)) for drivers in lookups]
        self.reads.fetch(future, self.prepared * len(lookups), keys)
        return future

    def drivers_of(self, name: str, count: int) -> list[int]:
        """The first drivers of a shard."""
        found = [driver for driver in range(10_000) if slot_of(stored_key(driver)) * 3 // SLOTS == "abc".index(name)]
        return found[:count]


@pytest.fixture
def side() -> Iterator[Side]:
    loop = FakeLoop()
    with loop.running():
        yield Side(loop)
    assert not loop.blamed


def rows_of(future: asyncio.Future[Rows]) -> list[int]:
    ((*rows,),) = future.result()
    return [int(row[0] or b"-1") for row in rows]


# --------------------------------------------------------------------------------------------------- what is sent where


def test_one_key_goes_to_its_node(side: Side) -> None:
    (driver,) = side.drivers_of("b", 1)
    future = side.fetch(driver)
    assert side.at("b").drivers == [[driver]]
    assert not side.at("a").sent
    side.at("b").answer()
    assert rows_of(future) == [driver]


def test_each_node_gets_its_keys_at_once_and_the_rows_come_back_in_order(side: Side) -> None:
    drivers = list(range(30))
    future = side.fetch(*drivers)
    assert [len(side.at(name).sent) for name in "abc"] == [1, 1, 1]
    assert sorted(driver for name in "abc" for driver in side.at(name).drivers[0]) == drivers
    for name in "cab":
        assert not future.done()
        side.at(name).answer()
    assert rows_of(future) == drivers


def test_several_lookups_are_one_write_to_each_node(side: Side) -> None:
    a, b = side.drivers_of("a", 2), side.drivers_of("b", 2)
    reader = side.prepared[0]
    future: asyncio.Future[Rows] = side.loop.create_future()
    keys = [list(map(key, [a[0], b[0]])), list(map(key, [b[1], a[1], b[0]]))]
    side.reads.fetch(future, [reader, reader], keys)
    assert side.at("a").drivers == [[a[0], a[1]]]
    assert side.at("b").drivers == [[b[0], b[1], b[0]]]
    (receiver, _, _), (other, _, _) = side.at("a").sent[0], side.at("b").sent[0]
    receiver.set_result([[(b"a0",)], [(b"a1",)]])
    other.set_result([[(b"b0",)], [(b"b1",), (b"b0",)]])
    found = [[row[0] for row in rows] for rows in future.result()]
    assert found == [[b"a0", b"b0"], [b"b1", b"a1", b"b0"]]


def test_one_shard_for_all_needs_no_slots(side: Side) -> None:
    side.table.only = side.shards["c"]
    future = side.fetch(*range(9))
    assert side.at("c").drivers == [list(range(9))]
    side.at("c").answer()
    assert rows_of(future) == list(range(9))
    (driver,) = side.drivers_of("a", 1)
    side.fetch(driver)
    assert side.at("c").drivers == [[driver]]
    side.fetch_lookups([1, 2], [3])
    side.at("c").sent.pop(0)
    side.at("c").fail(LOST)
    side.loop.run_ready()
    assert side.at("c2").drivers == [[1, 2, 3]]


def test_single_keys_of_several_lookups_go_to_their_nodes(side: Side) -> None:
    (a,), (b,) = side.drivers_of("a", 1), side.drivers_of("b", 1)
    future = side.fetch_lookups([a], [b])
    assert side.at("a").drivers == [[a]]
    assert side.at("b").drivers == [[b]]
    side.at("b").answer()
    side.at("a").answer()
    assert [[int(row[0] or b"-1") for row in rows] for rows in future.result()] == [[a], [b]]


def test_what_has_no_room_waits_for_its_turns(side: Side) -> None:
    side.at("a").room = 0
    drivers = side.drivers_of("a", 3)
    future = side.fetch(*drivers)
    side.at("a").answer()
    assert rows_of(future) == drivers


def test_replicas_are_read_in_turn_where_asked_for() -> None:
    loop = FakeLoop()
    with loop.running():
        side = Side(loop, spread=True)
        (driver,) = side.drivers_of("a", 1)
        for _ in range(10):
            side.fetch(driver)
        assert len(side.at("a").sent) == len(side.at("a2").sent) == 5
        assert side.state.replica_reads == 5


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_moved_key(side: Side) -> None:
    (driver,) = side.drivers_of("a", 1)
    future = side.fetch(driver)
    side.at("a").fail(refused(f"MOVED {slot_of(stored_key(driver))} d:1"))
    side.loop.run_ready()
    assert side.at("d").drivers == [[driver]]
    side.at("d").answer()
    assert rows_of(future) == [driver]
    assert side.state.redirects == 1
    again = side.fetch(driver)
    assert side.at("d").drivers == [[driver]]  # the table has it now
    side.at("d").answer()
    assert rows_of(again) == [driver]


def test_of_several_keys_each_is_asked_for_by_itself_after_a_redirection(side: Side) -> None:
    """The reply says nothing of the others: some may have moved as well, and some not."""
    drivers = side.drivers_of("a", 4)
    future = side.fetch(*drivers)
    side.at("a").fail(refused(f"MOVED {slot_of(stored_key(drivers[1]))} d:1"))
    side.loop.run_ready()
    assert side.at("d").drivers == [[drivers[1]]]
    assert side.at("a").drivers == [[drivers[0]], [drivers[2]], [drivers[3]]]
    side.at("d").answer()
    side.at("a").answer()
    side.at("a").fail(refused(f"MOVED {slot_of(stored_key(drivers[2]))} d:1"))
    side.at("a").answer()
    side.loop.run_ready()
    side.at("d").answer()
    assert rows_of(future) == drivers


def test_ask_is_followed_without_changing_the_table(side: Side) -> None:
    (driver,) = side.drivers_of("a", 1)
    future = side.fetch(driver)
    side.at("a").fail(refused(f"ASK {slot_of(stored_key(driver))} d:1"))
    side.loop.run_ready()
    ((receiver, drivers, asking),) = side.at("d").sent
    assert (drivers, asking) == ([driver], True)
    receiver.set_result([[(b"%d" % driver,)]])
    assert rows_of(future) == [driver]
    side.fetch(driver)
    assert side.at("a").drivers == [[driver]]


def test_redirections_end(side: Side) -> None:
    (driver,) = side.drivers_of("a", 1)
    future = side.fetch(driver)
    hops = 0
    while not future.done():
        name = next(name for name in side.links if side.at(name).sent)
        side.at(name).fail(refused(f"MOVED {slot_of(stored_key(driver))} {'d' if name == 'a' else 'a'}:1"))
        side.loop.run_ready()
        hops += 1
    assert hops == MAX_HOPS + 1
    assert isinstance(future.exception(), StoreError)


@pytest.mark.parametrize("reply", ["MOVED nonsense", "MOVED 99999 h:1", "ASK 5"])
def test_a_redirection_that_makes_no_sense_fails(side: Side, reply: str) -> None:
    future = side.fetch(*side.drivers_of("a", 1))
    side.at("a").fail(refused(reply))
    side.loop.run_ready()
    assert isinstance(future.exception(), StoreError)


@pytest.mark.parametrize("error", [LOST, refused("LOADING soon"), refused("MASTERDOWN")], ids=str)
def test_a_replica_answers_while_the_primary_is_gone(side: Side, error: StoreError) -> None:
    drivers = side.drivers_of("a", 2)
    future = side.fetch(*drivers)
    side.at("a").fail(error)
    side.loop.run_ready()
    assert side.at("a2").drivers == [drivers]
    side.at("a2").answer()
    assert rows_of(future) == drivers
    assert side.state.replica_reads == 1


def test_nothing_happens_on_the_stack_of_a_connection(side: Side) -> None:
    side.fetch(*side.drivers_of("a", 1))
    side.at("a").fail(LOST)
    assert not side.at("a2").sent


@pytest.mark.parametrize("reply", ["CLUSTERDOWN The cluster is down", "TRYAGAIN"])
def test_clusterdown_is_waited_for(side: Side, reply: str) -> None:
    drivers = side.drivers_of("a", 2)
    future = side.fetch(*drivers)
    for _ in range(3):
        side.at("a").fail(refused(reply))
        side.loop.run_ready()
        assert not side.at("a").sent
        side.loop.pass_time(0.1)
    assert side.refreshes == 3
    side.at("a").answer()
    assert rows_of(future) == drivers
    side.loop.run_ready()
    assert side.loop.timers == []  # that of the deadline is gone, too


def test_clusterdown_that_lasts_is_an_error_within_the_timeout_and_then_at_once(side: Side) -> None:
    drivers = side.drivers_of("a", 1)

    def fetch_until_done() -> float:
        began = side.loop.time()
        future = side.fetch(*drivers)
        while not future.done():
            if side.at("a").sent:
                side.at("a").fail(refused("CLUSTERDOWN"))
            side.loop.run_ready()
            if not future.done():
                side.loop.pass_time(0.01)
        assert isinstance(future.exception(), StoreUnavailableError | StoreTimeoutError)
        return side.loop.time() - began

    assert 0.5 < fetch_until_done() <= TIMEOUT_S + 0.02
    fetch_until_done()
    assert fetch_until_done() == 0


def test_no_node_at_all(side: Side) -> None:
    """One that has just been lost is waited for; one that has been gone for the timeout is not."""
    for name in ("a", "a2"):
        side.links[name].connection = None
    side.links["a"].down_since = side.loop.time()
    future = side.fetch(*side.drivers_of("a", 1))
    assert not future.done()
    assert side.refreshes == 1
    connection = side.links["a"].connection = FakeConnection(side.loop)
    side.loop.pass_time(0.05)
    connection.answer()
    assert rows_of(future) == side.drivers_of("a", 1)
    side.links["a"].connection = None
    side.links["a"].down_since = side.loop.time() - TIMEOUT_S - 0.1
    assert isinstance(side.fetch(*side.drivers_of("a", 1)).exception(), StoreUnavailableError)


def test_slots_that_nobody_holds(side: Side) -> None:
    side.table.by_slot[:] = [None] * SLOTS
    side.table.uncovered_since = side.loop.time() - TIMEOUT_S - 0.1
    assert isinstance(side.fetch(1).exception(), StoreUnavailableError)
    assert isinstance(side.fetch(*range(9)).exception(), StoreUnavailableError)


def test_other_errors_are_not_tried_again(side: Side) -> None:
    future = side.fetch(*range(9))
    side.at("b").fail(refused("WRONGTYPE"))
    side.loop.run_ready()
    assert isinstance(future.exception(), StoreError)
    side.at("a").answer()  # of which nobody wants to know
    side.at("c").answer()


def test_a_timeout_is_one(side: Side) -> None:
    future = side.fetch(*side.drivers_of("a", 1))
    side.at("a").fail(StoreTimeoutError("late"))
    side.loop.run_ready()
    assert isinstance(future.exception(), StoreTimeoutError)


def test_the_first_deadline_holds_for_all_tries(side: Side) -> None:
    future = side.fetch(*side.drivers_of("a", 1))
    side.loop.pass_time(0.6)
    side.at("a").fail(LOST)
    side.loop.pass_time(0.39)
    assert not future.done()
    side.loop.pass_time(0.02)
    assert isinstance(future.exception(), StoreTimeoutError)
    side.at("a2").answer()  # too late


def test_a_stalled_node_is_hedged_and_the_first_answer_counts(side: Side) -> None:
    for first in ("a", "a2"):
        drivers = side.drivers_of("a", 2)
        future = side.fetch(*drivers)
        side.at("a").responsive = False
        side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
        side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
        assert side.at("a2").drivers == [drivers]
        side.at(first).answer()
        assert rows_of(future) == drivers
        side.at("a2" if first == "a" else "a").answer()  # nobody waits for it
        side.at("a").responsive = True


def test_a_stalled_node_is_better_than_none(side: Side) -> None:
    side.links["a2"].connection = None
    side.at("a").responsive = False
    future = side.fetch(*side.drivers_of("a", 1))
    side.at("a").answer()
    assert rows_of(future) == side.drivers_of("a", 1)


def test_a_fetch_that_is_given_up_is_not_tried_again(side: Side) -> None:
    future = side.fetch(*side.drivers_of("a", 1))
    future.cancel()
    assert side.at("a").sent[0][0].done()
    side.at("a").fail(LOST)
    side.loop.run_ready()
    assert not side.at("a2").sent


def test_fetches_are_counted_once_however_many_nodes_they_wait_for(side: Side) -> None:
    side.fetch(*range(9))
    (waiting,) = side.drivers_of("a", 1)
    side.fetch(waiting)
    side.at("a").sent.reverse()
    side.at("a").fail(refused("CLUSTERDOWN"))
    side.loop.run_ready()
    receivers = [sent.receiver for name in "abc" for sent, _, _ in side.at(name).sent]
    assert len(side.reads.waiting(receivers)) == 2


def test_who_has_given_up_is_not_answered(side: Side) -> None:
    """In the FIFO of a connection, such a fetch keeps its place."""
    (driver,) = side.drivers_of("a", 1)
    for drivers in ([driver], list(range(9))):
        future = side.fetch(*drivers)
        future.cancel()
        for name in "abc":
            while side.at(name).sent:
                side.at(name).answer()
        assert future.cancelled()


def test_several_lookups_of_one_node_are_one_write(side: Side) -> None:
    a, b, c = side.drivers_of("a", 3)
    reader = side.prepared[0]
    for only in (None, side.shards["a"]):
        side.table.only = only
        future: asyncio.Future[Rows] = side.loop.create_future()
        side.reads.fetch(future, [reader, reader], [list(map(key, [a, b])), [key(c)]])
        assert side.at("a").drivers == [[a, b, c]]
        sent, _, _ = side.at("a").sent.pop()
        sent.set_result([[(b"a",), (b"b",)], [(b"c",)]])
        assert [[row[0] for row in rows] for rows in future.result()] == [[b"a", b"b"], [b"c"]]


def test_lookups_of_different_nodes_have_their_rows_whole(side: Side) -> None:
    a, b = side.drivers_of("a", 2), side.drivers_of("b", 2)
    reader = side.prepared[0]
    future: asyncio.Future[Rows] = side.loop.create_future()
    side.reads.fetch(future, [reader, reader], [list(map(key, b)), list(map(key, a))])
    side.at("a").answer()
    side.at("b").answer()
    assert [[int(row[0] or b"-1") for row in rows] for rows in future.result()] == [b, a]


def test_who_gives_up_during_a_wait_is_not_asked_for_again(side: Side) -> None:
    future = side.fetch(*side.drivers_of("a", 1))
    side.at("a").fail(refused("CLUSTERDOWN"))
    side.loop.run_ready()
    assert len(side.reads.delayed) == 1
    future.cancel()
    side.loop.pass_time(0.05)
    assert not side.at("a").sent
    assert not side.reads.delayed


@pytest.mark.parametrize("way", ["fetch", "fetch_from_primaries", "kept"])
def test_after_a_long_value_hashes_are_read_with_hmget(side: Side, way: str) -> None:
    """Such a hash is a table in Redis, of which HGETALL is slow (`HashReader`)."""
    features = tuple(Feature("many", f"f{number}", ValueType.STRING) for number in range(HGETALL_FROM_FIELDS))
    texts = Lookup(
        features=features,
        views=("many",),
        view_of=(0,) * len(features),
        join_keys=(("driver_id", "driver_id"),),
        holds=HashContents.of(features),
    )
    reader = HashReader(texts, "auto", b"corpus")
    if way == "kept":
        side.reads.keep_rows_in(RowCache(1 << 20, side.state, slots=SLOTS))
    ask = side.reads.fetch_from_primaries if way == "fetch_from_primaries" else side.reads.fetch

    def command() -> str:
        future: asyncio.Future[Rows] = side.loop.create_future()
        ask(future, [reader], [[key(side.drivers_of("a", 1)[0])]])
        return reader.name

    assert [command(), command()] == ["hgetall", "hgetall"]
    replies = ReplyReader()
    replies.expect(reader.picker, 1)
    value = b"x" * (LISTPACK_VALUE_BYTES + 1)
    replies.feed(b"*2\r\n$4\r\n%b\r\n$%d\r\n%b\r\n" % (feature_field("many", "f0"), len(value), value))
    assert command() == "hmget"


def test_replicas_share_a_fetch_from_several_nodes() -> None:
    """So does the replica of a primary that is gone."""
    loop = FakeLoop()
    with loop.running():
        side = Side(loop, spread=True)
        for _ in range(4):
            side.fetch(*range(30))
        assert [len(side.at(name).sent) for name in ("a", "b", "c", "a2", "b2", "c2")] == [2] * 6
        assert side.state.replica_reads == 6
        side = Side(loop)
        side.links["b"].connection = None
        future = side.fetch(*range(30))
        for name in ("a", "b2", "c"):
            side.at(name).answer()
        assert rows_of(future) == list(range(30))
        assert side.state.replica_reads == 1


def test_a_slot_moves_to_a_node_that_cannot_be_reached_yet(side: Side) -> None:
    """It is asked again after a while, where ASK says; that is not the table's business."""
    (driver,) = side.drivers_of("a", 1)
    away = side.links["d"].connection
    side.links["d"].connection = None
    future = side.fetch(driver)
    ask = refused(f"ASK {slot_of(stored_key(driver))} d:1")
    side.at("a").fail(ask)
    side.loop.run_ready()
    assert not side.at("a").sent
    side.links["d"].connection = away
    side.loop.pass_time(0.05)
    side.at("a").fail(ask)
    side.loop.run_ready()
    ((sent, drivers, asking),) = side.at("d").sent
    assert (drivers, asking) == ([driver], True)
    sent.set_result([[(b"%d" % driver,)]])
    assert rows_of(future) == [driver]


def test_several_keys_of_a_slot_that_is_being_moved_are_asked_for_one_by_one(side: Side) -> None:
    drivers = side.drivers_of("a", 2)
    future = side.fetch(*drivers)
    side.at("a").fail(refused(f"ASK {slot_of(stored_key(drivers[0]))} d:1"))
    side.loop.run_ready()
    assert side.at("a").drivers == [[driver] for driver in drivers]
    assert not side.at("d").sent
    side.at("a").answer()
    side.at("a").answer()
    assert rows_of(future) == drivers


def test_keys_of_one_shard_find_their_places_when_slots_leave_it(side: Side) -> None:
    """After a wait, what was asked of one node has two: the rows stand where those of the first fetch would."""
    drivers = [*side.drivers_of("b", 1), *side.drivers_of("a", 4)]
    future = side.fetch(*drivers)
    side.at("a").fail(refused("TRYAGAIN"))
    side.loop.run_ready()
    side.table.by_slot[slot_of(stored_key(drivers[2]))] = side.shards["c"]
    side.loop.pass_time(0.05)
    assert side.at("c").drivers == [[drivers[2]]]
    assert side.at("a").drivers == [[drivers[1], drivers[3], drivers[4]]]
    for name in "bca":
        side.at(name).answer()
    assert rows_of(future) == drivers


def test_a_replica_that_is_asked_in_vain_leaves_it_at_the_first_node(side: Side) -> None:
    """Of a fetch that was sent to two nodes, the failure of the first one is no news."""
    drivers = side.drivers_of("a", 2)
    future = side.fetch(*drivers)
    side.at("a").responsive = False
    first = cast("Try", side.at("a").sent[0][0].watched())
    side.reads.hedge(first)
    side.at("a").fail(refused("WRONGTYPE"))
    side.loop.run_ready()
    assert not future.done()
    side.at("a").responsive = True
    second = cast("Try", side.at("a2").sent[0][0].watched())
    side.at("a2").answer()
    assert rows_of(future) == drivers
    side.reads.hedge(first)
    side.reads.hedge(second)
    assert not side.at("a").sent
    assert not side.at("a2").sent


# -------------------------------------------------------------------------------------------- how often, for how long

WAYS = ("one key", "one node", "several nodes", "from primaries")


def start(side: Side, way: str) -> tuple[asyncio.Future[Rows], int]:
    """A fetch of which one key at least is at node a, and nothing else is waited for any more. And that key."""
    first, second = side.drivers_of("a", 2)
    if way == "from primaries":
        return fetch_from_primaries(side, first), first
    if way == "one key":
        return side.fetch(first), first
    if way == "one node":  # of which the one is there, and the other is moved about
        future = side.fetch(first, second)
        side.at("a").fail(refused("TRYAGAIN"))
        side.loop.run_ready()
        side.table.by_slot[slot_of(stored_key(second))] = side.shards["b"]
        side.loop.pass_time(0.02)
        side.at("b").answer()
        return future, first
    future = side.fetch(first, *side.drivers_of("b", 2))
    side.at("b").answer()
    return future, first


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", ["MOVED", "ASK"])
def test_five_redirections_are_followed(side: Side, way: str, code: str) -> None:
    """docs/reliability.md. The sixth is the error of the fetch."""
    future, driver = start(side, way)
    for names in ("ad", "da", "ad", "da", "ad", "da"):
        assert side.at(names[0]).drivers == [[driver]]
        assert not future.done()
        side.at(names[0]).fail(refused(f"{code} {slot_of(stored_key(driver))} {names[1]}:1"))
        side.loop.run_ready()
    assert not side.at("a").sent
    assert isinstance(future.exception(), StoreError)
    assert side.state.redirects == 5


@pytest.mark.parametrize("way", ["one key", "several nodes"])
def test_after_five_nodes_that_were_lost_there_is_a_wait(side: Side, way: str) -> None:
    future, driver = start(side, way)
    for name in ("a", "a2", "a", "a2", "a"):
        assert not side.reads.delayed
        side.at(name).fail(LOST)
        side.loop.run_ready()
    side.reads.hedge(cast("Try", side.at("a2").sent[0][0].watched()))
    assert not side.at("a").sent  # that would be the sixth
    side.at("a2").fail(LOST)
    side.loop.run_ready()
    assert not side.at("a").sent
    assert len(side.reads.delayed) == 1
    assert side.refreshes == 6
    side.loop.pass_time(0.02)
    side.at("a").answer()
    assert future.result()[0][0] == (b"%d" % driver,)


def test_a_hedge_is_one_of_the_five(side: Side) -> None:
    side.fetch(*side.drivers_of("a", 1))
    side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
    side.at("a").sent.clear()
    for name in ("a2", "a", "a2", "a"):
        side.at(name).fail(LOST)
        side.loop.run_ready()
    assert len(side.at("a2").sent) == 1
    side.at("a2").fail(LOST)
    side.loop.run_ready()
    assert not side.at("a").sent
    assert len(side.reads.delayed) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_waits(side: Side, way: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 ms, then 40, 80, 160 and 160, or half of it by chance. A redirection after that is followed all the same."""

    def uniform(low: float, high: float) -> float:
        assert (low, high) == (0.5, 1)
        return share

    if way == "one node":
        way = "one key"  # which does wait to begin with
    monkeypatch.setattr("random.uniform", uniform)
    future, driver = start(side, way)
    for wait_ms in (20, 40, 80, 160, 160):
        side.at("a").fail(refused("TRYAGAIN"))
        side.loop.pass_time(wait_ms * share / 1000 - 0.001)
        assert not side.at("a").sent
        assert len(side.reads.delayed) == 1
        side.loop.pass_time(0.002)
        assert side.at("a").drivers == [[driver]]
        assert not side.reads.delayed
    side.at("a").fail(refused(f"MOVED {slot_of(stored_key(driver))} d:1"))
    side.loop.run_ready()
    side.at("d").answer()
    assert future.result()[0][0] == (b"%d" % driver,)


def test_what_was_tried_at_once_makes_no_wait_longer(side: Side) -> None:
    (driver,) = side.drivers_of("a", 1)
    side.fetch(driver)
    for names in ("ad", "da", "ad"):
        side.at(names[0]).fail(refused(f"MOVED {slot_of(stored_key(driver))} {names[1]}:1"))
        side.loop.run_ready()
    side.at("d").fail(refused("TRYAGAIN"))
    side.loop.pass_time(0.02)
    assert side.at("d").drivers == [[driver]]


@pytest.mark.parametrize("what", ["lost", "silent", "MOVED", "ASK", "TRYAGAIN", "stalled"])
@pytest.mark.parametrize("more", [False, True])
def test_whatever_was_tried_the_first_deadline_holds(side: Side, what: str, more: bool) -> None:
    """With one timer for it, that is gone when the fetch is done."""
    began = side.loop.time()
    side.at("a").silent = what == "silent"
    (driver,) = side.drivers_of("a", 1)
    future = side.fetch(driver, *side.drivers_of("b", 1)) if more else side.fetch(driver)
    side.loop.run_ready()
    side.loop.pass_time(0.1)
    if what == "stalled":
        side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
    elif what != "silent":
        side.at("a").fail(LOST if what == "lost" else refused(f"{what} {slot_of(stored_key(driver))} d:1"))
    side.loop.pass_time(0.1)
    (name,) = [name for name in ("a", "a2", "d") if side.at(name).sent and (name != "a" or what == "TRYAGAIN")]
    if what in ("lost", "MOVED", "TRYAGAIN"):
        side.at(name).fail(refused("TRYAGAIN"))
        side.loop.pass_time(0.1)
    assert len(side.loop.timers) == 1
    side.loop.pass_time(began + TIMEOUT_S - side.loop.time() - 0.001)
    assert not future.done()
    side.loop.pass_time(0.002)
    assert isinstance(future.exception(), StoreTimeoutError)
    assert side.loop.timers == []


def test_no_wait_that_would_be_too_long_begins(side: Side) -> None:
    """What the node says is more useful than a timeout."""
    future = side.fetch(*side.drivers_of("a", 1))
    side.loop.pass_time(TIMEOUT_S - 0.005)
    side.at("a").fail(refused("TRYAGAIN"))
    side.loop.run_ready()
    error = future.exception()
    assert isinstance(error, StoreRefusedError)
    assert error.reply == "TRYAGAIN"
    assert not side.reads.delayed


def test_a_shard_that_was_usable_a_moment_ago_is_waited_for(side: Side) -> None:
    """Whichever of its nodes that was. One that has been gone for the timeout is not, nor slots without a node."""
    now = side.loop.time()
    for name in ("a", "a2"):
        side.links[name].connection = None
    shard, long_ago = side.shards["a"], now - TIMEOUT_S - 0.1
    for down_since, usable_at, done in (
        (now - 0.1, long_ago, False),
        (now - TIMEOUT_S, long_ago, False),
        (long_ago, now - 0.1, False),
        (long_ago, long_ago, True),
    ):
        side.links["a"].down_since, shard.usable_at = down_since, usable_at
        future = side.fetch(*side.drivers_of("a", 1))
        assert future.done() is done
        future.cancel() if not done else future.exception()
    side.links["a2"].connection = FakeConnection(side.loop)  # it can be used, though it does not answer this one
    future = side.fetch(*side.drivers_of("a", 1))
    side.at("a2").fail(refused("LOADING"))
    side.loop.run_ready()
    assert not future.done()


def test_before_there_is_a_topology_nothing_is_waited_for(side: Side) -> None:
    reads = Reads(b"corpus", TIMEOUT_S, side.state, ShardTable(), side, spread=False)
    for drivers in ([1], list(range(9))):
        future: asyncio.Future[Rows] = side.loop.create_future()
        reads.fetch(future, side.prepared, [list(map(key, drivers))])
        assert isinstance(future.exception(), StoreUnavailableError)


def test_slots_that_nobody_holds_for_the_moment(side: Side) -> None:
    """The rest of the fetch is sent meanwhile, of which some is behind them."""
    (a,), (b,), (c,) = (side.drivers_of(name, 1) for name in "abc")
    shard = side.table.by_slot[slot_of(stored_key(b))]
    side.table.by_slot[slot_of(stored_key(b))] = None
    side.table.uncovered_since = side.loop.time() - 0.5
    future = side.fetch(a, b, c)
    side.at("a").answer()
    side.at("c").answer()
    alone = side.fetch(b)
    assert side.refreshes == 2
    side.table.by_slot[slot_of(stored_key(b))] = shard
    side.loop.pass_time(0.02)
    side.at("b").answer()
    side.at("b").answer()
    assert rows_of(future) == [a, b, c]
    assert rows_of(alone) == [b]


@pytest.mark.parametrize("error", [StoreOverloadedError("full"), refused("NOPERM no"), refused("OOM")], ids=str)
def test_what_no_other_node_would_mend_fails_at_once(side: Side, error: StoreError) -> None:
    future = side.fetch(*side.drivers_of("a", 1))
    side.at("a").fail(error)
    side.loop.run_ready()
    assert type(future.exception()) is type(error)
    assert side.refreshes == 0


def test_a_node_that_loads_its_data_is_not_asked_again_at_once(side: Side) -> None:
    """Nor does it say that the topology has changed."""
    drivers = side.drivers_of("a", 2)
    for driver in drivers:
        side.fetch(driver)
        side.at("a").fail(refused("LOADING"))
    side.loop.run_ready()
    assert side.at("a2").drivers == [[driver] for driver in drivers]
    assert side.refreshes == 0
    fetch_from_primaries(side, drivers[0])
    side.at("a").fail(refused("LOADING"))
    side.loop.run_ready()
    assert not side.at("a").sent


def test_a_node_that_loads_its_data_is_waited_for_if_there_is_no_other(side: Side) -> None:
    side.links["a2"].connection = None
    side.at("a").responsive = False
    side.shards["a"].usable_at = side.loop.time()
    side.fetch(*side.drivers_of("a", 1))
    side.at("a").fail(refused("LOADING"))
    side.loop.run_ready()
    assert not side.at("a").sent
    assert side.refreshes == 0
    assert len(side.reads.delayed) == 1


def test_keys_of_a_shard_that_could_not_be_reached_find_their_places_when_slots_leave_it(side: Side) -> None:
    first, second, third = side.drivers_of("a", 3)
    lost = {name: side.links[name].connection for name in ("a", "a2")}
    for name in lost:
        side.links[name].connection, side.links[name].down_since = None, side.loop.time()
    future = side.fetch(first, second, third)
    for name, connection in lost.items():
        side.links[name].connection = connection
    side.table.by_slot[slot_of(stored_key(second))] = side.shards["b"]
    side.loop.pass_time(0.02)
    side.at("a").answer()
    assert not future.done()
    side.at("b").answer()
    assert rows_of(future) == [first, second, third]


def test_two_answers_to_the_same_keys_are_one(side: Side) -> None:
    for first, second in (("a", "a2"), ("a2", "a")):
        (a,), (b,) = side.drivers_of("a", 1), side.drivers_of("b", 1)
        future = side.fetch(a, b)
        side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
        side.at(first).answer()
        side.at(second).answer()
        assert not future.done()
        side.at("b").answer()
        assert rows_of(future) == [a, b]


def test_a_node_to_which_no_link_is_made_is_waited_for(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be too many links."""
    (driver,) = side.drivers_of("a", 1)
    side.fetch(driver)
    monkeypatch.setattr(side, "link_to", lambda _: None)
    side.at("a").fail(refused(f"ASK {slot_of(stored_key(driver))} d:1"))
    side.loop.run_ready()
    assert len(side.reads.delayed) == 1


def test_what_was_sent_anew_is_answered_once(side: Side) -> None:
    """The replica that was asked as well is lost, so the stalled node is asked again: it answers both."""
    (a,), (b,) = side.drivers_of("a", 1), side.drivers_of("b", 1)
    future = side.fetch(a, b)
    side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
    side.at("a2").fail(LOST)
    side.loop.run_ready()
    assert side.at("a").drivers == [[a], [a]]
    side.at("a").answer()
    side.at("a").answer()
    assert not future.done()
    side.at("b").answer()
    assert rows_of(future) == [a, b]


def test_what_a_stalled_node_answers_during_a_wait_counts(side: Side) -> None:
    """The replica that was asked as well refuses, and a wait begins; then the answer of the first one is there."""
    (a,), (b,) = side.drivers_of("a", 1), side.drivers_of("b", 1)
    future = side.fetch(a, b)
    side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
    side.at("a2").fail(refused("CLUSTERDOWN"))
    side.loop.run_ready()
    side.at("a").answer()
    side.loop.pass_time(0.1)
    assert not side.at("a").sent
    assert not side.at("a2").sent
    side.at("b").answer()
    assert rows_of(future) == [a, b]


def test_the_failure_of_a_node_means_nothing_once_another_has_answered(side: Side) -> None:
    (a,), (b,) = side.drivers_of("a", 1), side.drivers_of("b", 1)
    future = side.fetch(a, b)
    side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
    side.at("a2").fail(refused("WRONGTYPE"))
    side.at("a").answer()
    side.loop.run_ready()
    side.at("b").answer()
    assert rows_of(future) == [a, b]


def test_a_node_that_stalls_is_not_asked_in_place_of_another_one_that_does(side: Side) -> None:
    side.at("a").responsive = False
    side.fetch(*side.drivers_of("a", 1))
    side.reads.hedge(cast("Try", side.at("a2").sent[0][0].watched()))
    assert not side.at("a").sent
    assert len(side.at("a2").sent) == 1


def test_a_lost_node_is_better_than_none_no_more(side: Side) -> None:
    side.links["a2"].connection = None
    side.at("a").responsive = False
    side.at("a").lost.set_result("reset")
    side.links["a"].down_since = side.loop.time()
    side.fetch(*side.drivers_of("a", 1))
    assert not side.at("a").sent
    assert len(side.reads.delayed) == 1


@pytest.mark.parametrize("by", ["an answer from elsewhere", "another error", "the client"])
def test_what_waits_for_its_turn_is_not_sent_when_it_is_done(side: Side, by: str) -> None:
    side.at("a").room = 0
    future = side.fetch(*side.drivers_of("a", 1), *side.drivers_of("b", 1))
    if by == "the client":
        future.cancel()
    elif by == "another error":
        side.at("b").fail(refused("WRONGTYPE"))
    else:
        side.reads.hedge(side.at("a").sent[0][0].receiver)
        side.at("a2").answer()
        assert not future.done()
    side.loop.run_ready()
    assert side.at("a").left_turns == 1


def test_what_waits_for_its_turn_is_not_sent_when_it_goes_elsewhere(side: Side) -> None:
    side.at("a").room = 0
    side.fetch(*side.drivers_of("a", 1))
    side.at("a").fail(refused("LOADING"))
    side.loop.run_ready()
    assert len(side.at("a2").sent) == 1
    assert side.at("a").left_turns == 1


@pytest.mark.parametrize("way", ["one node", "several nodes", "again", "again, of two lookups"])
def test_what_just_fits_is_sent_at_once(side: Side, way: str) -> None:
    name = "a2" if way.startswith("again") else "a"
    first, second, third = side.drivers_of("a", 3)
    for room, in_turns in ((3, False), (2, True)):
        side.at(name).room = room
        if way == "again, of two lookups":
            side.fetch_lookups([first], [second, third])
        else:
            side.fetch(first, second, third, *(side.drivers_of("b", 1) if way == "several nodes" else []))
        if name == "a2":
            side.at("a").fail(LOST)
            side.loop.run_ready()
        ((sent, drivers, _),) = side.at(name).sent
        assert sent.in_turns is in_turns
        assert drivers == [first, second, third]
        side.at(name).sent.clear()


@pytest.mark.parametrize("lookups", [1, 2])
@pytest.mark.parametrize("way", ["one node", "several nodes", "again"])
def test_what_commands_cost(side: Side, lookups: int, way: str) -> None:
    """One each, and one for each KiB."""
    drivers = side.drivers_of("a", 60)
    parts = [drivers] if lookups == 1 else [drivers[:20], drivers[20:]]
    side.fetch_lookups(*parts[:-1], [*parts[-1], *(side.drivers_of("b", 1) if way == "several nodes" else [])])
    if way == "again":
        side.at("a").fail(LOST)
        side.loop.run_ready()
    ((cost, size),) = side.at("a2" if way == "again" else "a").costs
    assert size > 4 << 10
    assert cost == 60 + (size >> 10)


def test_what_a_key_behind_asking_costs(side: Side) -> None:
    (driver,) = side.drivers_of("a", 1)
    side.fetch(driver)
    side.at("a").fail(refused(f"ASK {slot_of(stored_key(driver))} d:1"))
    side.loop.run_ready()
    assert [cost for cost, _ in side.at("d").costs] == [2]


def test_keys_of_several_lookups_are_asked_for_one_by_one_and_find_their_places(side: Side) -> None:
    a, (b,) = side.drivers_of("a", 3), side.drivers_of("b", 1)
    for lookups in ([[a[0], a[1]], [a[2]]], [[b, a[0]], [a[1], b, a[2]]]):
        future = side.fetch_lookups(*lookups)
        side.at("a").fail(refused("MOVED 5 d:1"))
        side.loop.run_ready()
        assert side.at("a").drivers == [[driver] for driver in a]
        for name in "aaab" if side.at("b").sent else "aaa":
            sent, drivers, _ = side.at(name).sent.pop()
            sent.set_result([[(b"%d" % driver,)] for driver in drivers])
        assert [[int(row[0] or b"-1") for row in rows] for rows in future.result()] == lookups


def test_a_replica_that_is_read_is_counted_whatever_the_way() -> None:
    loop = FakeLoop()
    with loop.running():
        side = Side(loop)
        (driver,) = side.drivers_of("a", 1)
        side.fetch(driver)
        side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
        assert side.state.replica_reads == 1
        side.at("a").sent.clear()
        side.fetch(driver)
        side.at("a").fail(refused("TRYAGAIN"))
        loop.pass_time(0.02)
        assert side.at("a").sent
        assert side.state.replica_reads == 1
        side.links["a"].connection = None
        side.at("a2").room = 0
        side.fetch(driver)
        assert side.state.replica_reads == 2


def test_a_fetch_that_is_hedged_is_counted_once(side: Side) -> None:
    future = side.fetch(*side.drivers_of("a", 1))
    side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
    receivers = [sent.receiver for name in ("a", "a2") for sent, _, _ in side.at(name).sent]
    assert len(receivers) == 2
    assert side.reads.waiting(receivers) == {future}


# ---------------------------------------------------------------------------------------------------- from primaries


def fetch_from_primaries(side: Side, *drivers: int) -> asyncio.Future[Rows]:
    future: asyncio.Future[Rows] = side.loop.create_future()
    side.reads.fetch_from_primaries(future, side.prepared, [list(map(key, drivers))])
    return future


def test_what_primaries_alone_are_asked() -> None:
    """Before a write, the times that are stored: replicas may lag behind, also where they are read in turn."""
    loop = FakeLoop()
    with loop.running():
        side = Side(loop, spread=True)
        (driver,) = side.drivers_of("b", 1)
        for drivers in (list(range(30)), [driver]):
            for _ in range(3):
                future = fetch_from_primaries(side, *drivers)
                assert not any(side.at(name).sent for name in ("a2", "b2", "c2"))
                for name in "abc":
                    for _ in list(side.at(name).sent):
                        side.at(name).answer()
                assert rows_of(future) == drivers
        side.table.only = side.shards["c"]
        future = fetch_from_primaries(side, *range(9))
        assert side.at("c").drivers == [list(range(9))]
        side.at("c").answer()
        assert rows_of(future) == list(range(9))
        assert side.state.replica_reads == 0


@pytest.mark.parametrize("error", [LOST, refused("LOADING soon")], ids=str)
def test_a_primary_that_fails_is_asked_again_itself(side: Side, error: StoreError) -> None:
    drivers = side.drivers_of("a", 2)
    future = fetch_from_primaries(side, *drivers)
    side.at("a").fail(error)
    side.loop.pass_time(0.05)
    assert side.at("a").drivers == [drivers]
    side.reads.hedge(cast("Try", side.at("a").sent[0][0].watched()))
    side.at("a").responsive = False
    side.at("a").fail(error)
    side.loop.pass_time(0.05)
    assert not side.at("a2").sent
    side.at("a").responsive = True
    side.loop.pass_time(0.2)
    side.at("a").answer()
    assert rows_of(future) == drivers
    assert side.state.replica_reads == 0


def test_a_primary_that_stays_away_is_an_error_though_there_is_a_replica(side: Side) -> None:
    side.links["a"].connection = None
    side.links["a"].down_since = side.loop.time() - TIMEOUT_S - 0.1
    future = fetch_from_primaries(side, *side.drivers_of("a", 2))
    assert isinstance(future.exception(), StoreUnavailableError)  # at once, as the write would be
    side.links["a"].down_since = side.loop.time()
    future = fetch_from_primaries(side, *side.drivers_of("a", 2))
    assert not future.done()
    side.loop.pass_time(TIMEOUT_S)
    assert isinstance(future.exception(), StoreUnavailableError)
    assert not side.at("a2").sent


# ------------------------------------------------------------------------------------------------------ what is kept


class Kept(Side):
    """Rows are kept. The nodes of shard a are connections that Redis tells of changes, on transports of the test's."""

    def __init__(self, loop: FakeLoop) -> None:
        super().__init__(loop)
        self.rows = RowCache(1 << 20, self.state, slots=SLOTS)
        self.reads.keep_rows_in(self.rows)
        tracker = Tracker(self.rows, b"corpus")
        self.transports = {name: FakeTransport(loop) for name in ("a", "a2")}
        for name, transport in self.transports.items():
            connection = TrackedConnection(tracker, transport, TIMEOUT_S, 1 << 20, self.state)
            self.links[name].connection = cast("FakeConnection", connection)

    def answer_at(self, name: str, *drivers: int) -> None:
        """The replies to HMGET, each with the driver's number."""
        self.loop.run_ready()
        values = [b"%d" % driver for driver in drivers]
        replies = [b"*2\r\n$%d\r\n%b\r\n$2\r\n\x08\x01\r\n" % (len(value), value) for value in values]
        self.transports[name].receive(b"".join(replies))
        self.loop.run_ready()

    def kept(self, *drivers: int) -> list[bytes | None]:
        shape = self.prepared[0].shape
        rows = [self.rows.get(key(driver), shape, self.loop.time()) for driver in drivers]
        return [None if row is None else row[0] for row in rows]


@pytest.fixture
def keeping() -> Iterator[Kept]:
    loop = FakeLoop()
    with loop.running():
        yield Kept(loop)
    assert not loop.blamed


def test_what_a_primary_answers_is_kept(keeping: Kept) -> None:
    """Of a fetch from several nodes, the rows of those that tell of changes."""
    first, second, third = keeping.drivers_of("a", 3)
    (elsewhere,) = keeping.drivers_of("b", 1)
    future = keeping.fetch(first)
    keeping.answer_at("a", first)
    assert rows_of(future) == [first]
    future = keeping.fetch(second, elsewhere, third)
    keeping.at("b").answer()
    keeping.answer_at("a", second, third)
    assert rows_of(future) == [second, elsewhere, third]
    assert keeping.kept(first, second, third) == [b"%d" % driver for driver in (first, second, third)]
    assert keeping.kept(elsewhere) == [None]


def test_what_comes_only_in_the_end_is_kept(keeping: Kept) -> None:
    """At the second try, or since there was no connection to begin with."""
    first, second = keeping.drivers_of("a", 2)
    future = keeping.fetch(first)
    keeping.loop.run_ready()
    keeping.transports["a"].receive(b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n")
    keeping.loop.pass_time(0.05)
    keeping.answer_at("a", first)
    assert rows_of(future) == [first]
    assert keeping.kept(first) == [b"%d" % first]
    connections = {name: keeping.links[name].connection for name in ("a", "a2")}
    for name in connections:
        keeping.links[name].connection, keeping.links[name].down_since = None, keeping.loop.time()
    future = keeping.fetch(second)
    for name, connection in connections.items():
        keeping.links[name].connection = connection
    keeping.loop.pass_time(0.05)
    keeping.answer_at("a", second)
    assert rows_of(future) == [second]
    assert keeping.kept(second) == [b"%d" % second]


@pytest.mark.parametrize("several", [False, True])
def test_what_a_node_answers_after_it_stalled_is_kept(keeping: Kept, several: bool) -> None:
    """Nobody else could be asked: its answer is late, and still in time. The next one on the wire comes as well."""
    first, second = keeping.drivers_of("a", 2)
    (elsewhere,) = keeping.drivers_of("b", 1)
    keeping.links["a2"].connection = None
    future = keeping.fetch(first, elsewhere) if several else keeping.fetch(first)
    behind = keeping.fetch(second)
    keeping.loop.pass_time(TIMEOUT_S / 4)  # as docs/reliability.md has it
    stalled = cast("RedisConnection", keeping.at("a")).find_stalled(TIMEOUT_S * STALLED_SHARE)
    assert len(stalled) == 2
    for one in stalled:
        keeping.reads.hedge(cast("Try", one))
    if several:
        keeping.at("b").answer()
    keeping.answer_at("a", first, second)
    assert rows_of(future) == ([first, elsewhere] if several else [first])
    assert rows_of(behind) == [second]
    assert keeping.kept(first, second) == [b"%d" % first, b"%d" % second]


def test_what_is_kept_goes_with_its_slot(keeping: Kept) -> None:
    first, second = keeping.drivers_of("a", 2)
    future = keeping.fetch(first, second)
    keeping.answer_at("a", first, second)
    assert future.done()
    keeping.rows.drop_slots((slot_of(stored_key(first)),), keeping.loop.time())
    assert keeping.kept(first, second) == [None, b"%d" % second]


def test_what_changes_while_it_is_read_is_not_kept(keeping: Kept) -> None:
    first, second = keeping.drivers_of("a", 2)
    future = keeping.fetch(first, second)
    keeping.rows.forget([key(second)])
    keeping.answer_at("a", first, second)
    assert rows_of(future) == [first, second]
    assert keeping.kept(first, second) == [b"%d" % first, None]


def test_what_a_replica_answers_is_not_kept(keeping: Kept) -> None:
    """Nor what a primary does while it is taken for a replica: by its connection, it still is one."""
    (driver,) = keeping.drivers_of("a", 1)
    tracked, keeping.links["a"].connection = keeping.links["a"].connection, None
    future = keeping.fetch(driver)
    keeping.answer_at("a2", driver)
    assert rows_of(future) == [driver]
    assert keeping.kept(driver) == [None]
    keeping.links["a"].connection, keeping.links["a"].replica = tracked, True
    future = keeping.fetch(driver)
    keeping.answer_at("a", driver)
    assert rows_of(future) == [driver]
    assert keeping.kept(driver) == [None]


def test_what_primaries_alone_are_asked_is_not_kept(keeping: Kept) -> None:
    (driver,) = keeping.drivers_of("a", 1)
    future = fetch_from_primaries(keeping, driver)
    keeping.answer_at("a", driver)
    assert rows_of(future) == [driver]
    assert keeping.kept(driver) == [None]
