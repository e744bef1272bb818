"""Writes to several nodes, on nodes that are made up: what is sent where, and what follows from each reply.

A `FakeNode` keeps the commands that are sent to it; the test answers them one by one, or lets time pass. What real
nodes do is tested in tests/system/test_cluster_writes.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, cast

import hiredis
import pytest

from tests.fakes import FakeLoop
from tests.stores.cluster_load import stored_key
from tests.stores.write_load import rows_of, written_view
from yummy_fast.errors import StoreError, StoreUnavailableError, UnknownOutcomeError
from yummy_fast.features.written import Chosen
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_link import Link
from yummy_fast.stores.redis_pending import PendingWrite
from yummy_fast.stores.redis_rows import HashWriter
from yummy_fast.stores.redis_shards import MAX_HOPS, ShardLinks, ShardTable
from yummy_fast.stores.redis_slots import SLOTS, Address, Redirect, slot_of
from yummy_fast.stores.redis_turns import Part
from yummy_fast.stores.redis_writes import NO_PRIMARY, OTHERS_WRITTEN, Writes

TIMEOUT_S = 1.0
SLOT = "12"


class FakeNode:
    """A connection that keeps what is sent on it."""

    def __init__(self, loop: FakeLoop) -> None:
        self._loop = loop
        self.responsive = True
        self.lost: Any = loop.create_future()
        self.sent: list[tuple[PendingWrite, list[list[bytes]]]] = []

    def write(self, receiver: Any, parts: Sequence[Part], replies_of: int) -> None:
        reader = hiredis.Reader()
        reader.feed(b"".join(part.command.render(part.keys) for part in parts))
        commands = []
        while (command := reader.gets()) is not False:
            commands.append(command)
        assert len(commands) == replies_of * sum(len(part.keys) for part in parts)
        pending = PendingWrite(receiver, len(commands))
        pending.deadline = self._loop.time() + TIMEOUT_S
        self.sent.append((pending, commands))

    def answer(self, *replies: str) -> None:
        """Answer what was sent first: "" for what is done, else an error. One of them stands for all."""
        pending, commands = self.sent.pop(0)
        for reply in replies if len(replies) > 1 else replies * len(commands):
            if pending.add(reply or None):
                pending.finish()
        self._loop.run_ready()

    def lose(self) -> None:
        """It says nothing to what was sent first."""
        self.sent.pop(0)[0].fail(StoreUnavailableError("lost"))
        self._loop.run_ready()

    @property
    def words(self) -> list[str]:
        """The commands and drivers of what was sent first: HSET7, EXPIRE7, ASKING."""
        found = []
        for command in self.sent[0][1]:
            driver = int.from_bytes(command[1][-14:-6], "little") if len(command) > 1 else ""
            found.append(f"{command[0].decode()}{driver}")
        return found


class FakeLink:
    def __init__(self, name: str, loop: FakeLoop) -> None:
        self.name = name
        self.connection: FakeNode | None = FakeNode(loop)
        self.down_since = loop.time()


class Side:
    """Three shards, a third of the slots each: a, b and c, each with a replica, which is never written to."""

    def __init__(self, loop: FakeLoop) -> None:
        self.loop = loop
        self.state = StoreState()
        self.links = {name: FakeLink(name, loop) for name in ("a", "b", "c", "a2", "b2", "c2", "d")}
        self.refreshes = 0
        self.table = ShardTable()
        self.shards = {name: ShardLinks(self.link(name), [self.link(name + "2")]) for name in "abc"}
        for slot in range(SLOTS):
            self.table.by_slot[slot] = self.shards["abc"[slot * 3 // SLOTS]]
        self.writes = Writes(b"corpus", TIMEOUT_S, self.state, self.table, self)

    # What Writes asks of a keeper.

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

    def write(self, *drivers: int, ttl_s: int = 0, views: Sequence[str] = ("first",)) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self.loop.create_future()
        chosen = Chosen(rows_of(drivers, 1), range(len(drivers)))
        self.writes.write(future, [(HashWriter(written_view(view), b"corpus", ttl_s), chosen) for view in views])
        return future

    def at(self, name: str) -> FakeNode:
        connection = self.links[name].connection
        assert connection is not None
        return connection

    def cut(self, name: str) -> None:
        self.links[name].connection = None
        self.links[name].down_since = self.loop.time()

    def pass_time(self, time_s: float) -> None:
        """In small steps: a timer may set another one."""
        for _ in range(round(time_s * 1000)):
            self.loop.pass_time(0.001)
            self.loop.run_ready()

    def all_sent(self) -> list[str]:
        return [name for name in self.links if self.links[name].connection is not None and self.at(name).sent]


def drivers_of(name: str, count: int) -> list[int]:
    """The first drivers of a shard."""
    found = [driver for driver in range(10_000) if slot_of(stored_key(driver)) * 3 // SLOTS == "abc".index(name)]
    return found[:count]


A, A2 = drivers_of("a", 2)
B, B2 = drivers_of("b", 2)


def moved(driver: int, to: str) -> str:
    return f"MOVED {slot_of(stored_key(driver))} {to}:1"


def ask(driver: int, to: str) -> str:
    return f"ASK {slot_of(stored_key(driver))} {to}:1"


@pytest.fixture
def side() -> Iterator[Side]:
    loop = FakeLoop()
    with loop.running():
        yield Side(loop)
    assert not loop.blamed


def error_of(future: asyncio.Future[None]) -> StoreError:
    error = future.exception()
    assert isinstance(error, StoreError)
    return error


# --------------------------------------------------------------------------------------------------- what is sent where


def test_each_row_goes_to_its_primary(side: Side) -> None:
    future = side.write(A, B, A2, views=("first", "second"), ttl_s=9)
    assert side.all_sent() == ["a", "b"]
    each = [f"HSET{A}", f"EXPIRE{A}", f"HSET{A2}", f"EXPIRE{A2}"]
    assert side.at("a").words == each * 2
    side.at("a").answer("")
    assert not future.done()
    side.at("b").answer("")
    assert future.done()
    assert future.result() is None
    side.loop.run_ready()
    assert side.writes.in_flight == 0


def test_one_shard_for_all(side: Side) -> None:
    """As with Sentinel."""
    side.table.only = side.shards["b"]
    future = side.write(A, B)
    assert side.all_sent() == ["b"]
    side.at("b").answer("")
    assert future.done()


def test_nothing_is_sent_before_all_primaries_are_there(side: Side) -> None:
    link = side.links["b"]
    side.cut("b")
    future = side.write(A, B)
    side.pass_time(0.2)
    assert not side.all_sent()
    assert side.refreshes
    link.connection = FakeNode(side.loop)
    side.pass_time(0.2)
    assert side.all_sent() == ["a", "b"]
    for name in "ab":
        side.at(name).answer("")
    assert future.result() is None


def test_a_primary_that_does_not_come(side: Side) -> None:
    side.cut("b")
    future = side.write(A, B)
    side.pass_time(TIMEOUT_S)
    assert str(error_of(future)) == NO_PRIMARY
    side.pass_time(TIMEOUT_S)
    assert not side.all_sent()
    again = side.write(B)  # it has been gone for long: so it is said at once
    assert str(error_of(again)) == NO_PRIMARY


def test_slots_that_nobody_holds(side: Side) -> None:
    side.table.by_slot[:] = [None] * SLOTS
    assert str(error_of(side.write(A))) == NO_PRIMARY


# -------------------------------------------------------------------------------------------------------- redirections


def test_moved(side: Side) -> None:
    future = side.write(A, A2)
    side.at("a").answer("", moved(A2, "d"))
    assert side.at("d").words == [f"HSET{A2}"]
    assert not side.at("a").sent
    side.at("d").answer("")
    assert future.result() is None
    assert side.state.redirects == 1


def test_ask_is_for_one_command_and_each_has_its_own(side: Side) -> None:
    future = side.write(A, A2, ttl_s=9)
    side.at("a").answer("", "", ask(A2, "b"), ask(A2, "b"))
    assert side.at("b").words == ["ASKING", f"HSET{A2}", "ASKING", f"EXPIRE{A2}"]
    side.at("b").answer("")
    assert future.result() is None


def test_a_key_that_moves_between_its_two_commands(side: Side) -> None:
    """The row is stored, and has no ttl yet. It is not written again: somebody else may have written since."""
    future = side.write(A, A2, ttl_s=9)
    side.at("a").answer("", ask(A, "b"), "", "")
    assert side.at("b").words == ["ASKING", f"EXPIRE{A}"]
    side.at("b").answer("", moved(A, "d"))
    assert side.at("d").words == [f"EXPIRE{A}"]
    side.at("d").answer("")
    assert future.result() is None


def test_ask_names_a_node_that_is_not_connected_yet(side: Side) -> None:
    side.cut("d")
    future = side.write(A)
    side.at("a").answer(ask(A, "d"))
    side.links["d"].connection = FakeNode(side.loop)
    side.pass_time(0.03)
    side.at("a").answer(ask(A, "d"))  # whether it still says so is asked first
    side.at("d").answer("", "")
    assert future.result() is None


def test_nodes_that_send_us_in_a_circle(side: Side) -> None:
    future = side.write(A)
    where = "a"
    for _ in range(MAX_HOPS):
        where, before = ("d" if where == "a" else "a"), where
        side.at(before).answer(moved(A, where))
    side.at(where).answer(moved(A, "a"))
    assert not side.all_sent(), "now it is waited for"
    side.pass_time(0.03)
    side.at("a").answer("")
    assert future.result() is None


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("reply", ["READONLY x", "CLUSTERDOWN x", "TRYAGAIN x", "LOADING x", "MASTERDOWN x"])
def test_what_will_pass_is_waited_for(side: Side, reply: str) -> None:
    future = side.write(A, A2)
    side.at("a").answer("", reply)
    assert not side.all_sent()
    assert side.refreshes
    side.pass_time(0.03)
    assert side.at("a").words == [f"HSET{A2}"]
    side.at("a").answer("")
    assert future.result() is None


def test_another_primary_takes_over(side: Side) -> None:
    future = side.write(A)
    side.at("a").answer("READONLY x")
    side.table.by_slot[:] = [ShardLinks(side.link("d"))] * SLOTS
    side.pass_time(0.03)
    side.at("d").answer("")
    assert future.result() is None


def test_a_refusal_that_lasts(side: Side) -> None:
    future = side.write(A)
    for _ in range(1200):
        if side.at("a").sent:
            side.at("a").answer("READONLY x")
        side.pass_time(0.001)
    error = error_of(future)
    assert (error.status, str(error)) == (503, "The online store answered READONLY")
    assert not side.at("a").sent


@pytest.mark.parametrize("reply", ["OOM x", "NOPERM x", "NOREPLICAS x", "MISCONF x"])
def test_what_will_not_pass_fails_once_all_is_known(side: Side, reply: str) -> None:
    future = side.write(A, B)
    side.at("b").answer(reply)
    assert not future.done()
    side.at("a").answer("")
    error = error_of(future)
    assert error.status == 503
    assert str(error) == f"The online store answered {reply.split()[0]}; {OTHERS_WRITTEN}"


def test_a_refusal_of_all_says_nothing_of_others(side: Side) -> None:
    future = side.write(A, B)
    side.at("a").answer("OOM x")
    side.at("b").answer("OOM x")
    assert str(error_of(future)) == "The online store answered OOM"


# ----------------------------------------------------------------------------------------------- what cannot be known


def test_no_reply_and_nothing_is_sent_twice(side: Side) -> None:
    future = side.write(A, B)
    side.at("a").lose()
    assert isinstance(future.exception(), UnknownOutcomeError)
    side.at("b").answer(moved(B, "a"))
    side.pass_time(TIMEOUT_S)
    assert not side.all_sent(), "nobody waits for it any more"


def test_nothing_had_left_on_a_connection_that_is_lost(side: Side) -> None:
    future = side.write(A)
    pending, _ = side.at("a").sent[0]
    pending.deadline = 0.0  # as it is before the commands leave
    side.at("a").lose()
    assert not future.done()
    side.pass_time(0.03)
    side.at("a").answer("")
    assert future.result() is None


def test_the_deadline_of_what_was_sent_again(side: Side) -> None:
    """The second connection would wait for longer than the write may take."""
    future = side.write(A, B)
    side.at("b").answer("")
    side.pass_time(TIMEOUT_S / 2)
    side.at("a").answer(moved(A, "d"))
    side.pass_time(TIMEOUT_S / 2 + 0.01)
    assert isinstance(future.exception(), UnknownOutcomeError)
    side.at("d").answer("")


def test_a_client_that_leaves(side: Side) -> None:
    future = side.write(A)
    future.cancel()
    side.at("a").answer(moved(A, "d"))
    side.pass_time(TIMEOUT_S)
    assert not side.all_sent()
    assert side.writes.in_flight == 0


def test_a_client_that_leaves_in_the_tick_of_a_refusal(side: Side) -> None:
    future = side.write(A)
    pending, _ = side.at("a").sent.pop()
    pending.add(moved(A, "d"))
    pending.finish()
    future.cancel()
    side.loop.run_ready()
    assert not side.all_sent()


def test_a_store_that_is_closed(side: Side) -> None:
    side.cut("b")
    waiting, sent = side.write(B), side.write(A)
    side.writes.close(StoreUnavailableError("closed"))
    assert str(error_of(waiting)) == "closed"
    assert not sent.done(), "its connection knows what becomes of it"
    side.pass_time(TIMEOUT_S)
    side.at("a").answer("")
    assert sent.result() is None
