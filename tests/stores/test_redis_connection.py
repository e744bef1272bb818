"""A connection to Redis from within: replies that come by the megabyte, deadlines, and whatever happens in the middle.

The other side is a socket of the test's own, so it is known which bytes come together; or a fake, with which the test
has the time in its hands as well. test_redis.py has what needs a real Redis; test_redis_pending.py has what gathers the
replies.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.fakes import FakeLoop, FakeTransport, without_complaints
from tests.harness import run
from yummy_fast.errors import (
    StoreError,
    StoreOverloadedError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from yummy_fast.features.plan import Rows
from yummy_fast.native.owner import Picker
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import (
    CHUNK_BYTES,
    GRACE_S,
    LATE_S,
    MAX_CHUNKS,
    WINDOW,
    WIRE_SHARE,
    RedisConnection,
)
from yummy_fast.stores.redis_pending import NO_HASH, PendingAsked, PendingFetch, PendingWrite
from yummy_fast.stores.redis_turns import QUANTUM, Part
from yummy_fast.stores.resp import CommandTemplate

PICKER = Picker([b"number", b"text"], False)
ONE = Picker([b"number"], False)
ROW_BYTES = 1_000
ROWS = 1_000
"""A megabyte in all: 31 chunks."""
TIMEOUT_S = 5.0
PARTS = 7
"""Replies to a fetch: no divisor of a chunk, so that fetches, replies and chunks end at different places."""


class Side:
    """A connection of ours, and the socket at its other end."""

    def __init__(
        self, wire: RedisConnection, transport: asyncio.Transport, redis: socket.socket, blamed: list[Any]
    ) -> None:
        self.wire = wire
        self.transport = transport
        self.redis = redis
        self.blamed = blamed
        """What the event loop was told of exceptions that nobody caught."""
        self._came = bytearray()
        self._keys: list[int] = []

    def fetch(self, *parts: int) -> asyncio.Future[Rows]:
        """A fetch of as many lookups as `parts`, which say how many replies each gets. A reply is the row."""
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self.wire.send(PendingFetch(future, [(PICKER, count) for count in parts]), [b"PING\r\n"])
        return future

    def fetch_in_turns(self, count: int, first: int = 0) -> asyncio.Future[Rows]:
        """A fetch of the keys `first` and so on."""
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        keys = [b"%d" % number for number in range(first, first + count)]
        self.wire.send_in_turns(future, [Part(CommandTemplate(b"GET"), ONE, keys)])
        return future

    async def answer(self, most: int = 1 << 30) -> list[int]:
        """Answer the commands that have come, each with its key, but no more than `most`. Returns the keys."""
        await asyncio.sleep(0)  # for the write of this tick
        self.redis.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while data := self.redis.recv(1 << 20):
                self._came += data
        self._keys += [int(key) for key in re.findall(rb"GET\r\n\$\d+\r\n(\d+)\r\n", self._came)]
        self._came.clear()
        keys, self._keys = self._keys[:most], self._keys[most:]
        self.wire.data_received(b"".join(b"*1\r\n$%d\r\n%d\r\n" % (len(str(key)), key) for key in keys))
        return keys


@contextlib.asynccontextmanager
async def connected(timeout_s: float = TIMEOUT_S, **limits: Any) -> AsyncIterator[Side]:
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    blamed: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: blamed.append(context))
    try:
        wire = RedisConnection(transport, timeout_s, 64 << 20, StoreState(), **limits)
        yield Side(wire, transport, far, blamed)
        transport.abort()
        await wire.lost
    finally:
        transport.abort()  # uvloop would wait for it when the loop is closed
        far.close()
        loop.set_exception_handler(None)


def reply(number: int) -> bytes:
    value = b"%d" % number
    return b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(value), value, ROW_BYTES, value.ljust(ROW_BYTES))


def row(number: int) -> list[bytes]:
    value = b"%d" % number
    return [value, value.ljust(ROW_BYTES)]


def plain(rows: Rows) -> Rows:
    """With lists for rows, which the native room has a type of its own for."""
    return [[list(row) for row in found] for found in rows]


def rows_of(fetch: int) -> Rows:
    """What the fetch with this place in the line is to get."""
    return [[row(PARTS * fetch + part) for part in range(PARTS)]]


ALL_REPLIES = b"".join(map(reply, range(PARTS * (ROWS // PARTS))))
FETCHES = ROWS // PARTS


@pytest.mark.parametrize("size", [len(ALL_REPLIES), 3 * CHUNK_BYTES + 1, CHUNK_BYTES + 1, CHUNK_BYTES, 1_500])
def test_a_megabyte_comes_in_order_and_others_have_their_turn_meanwhile(size: int) -> None:
    async def receiving() -> None:
        async with connected() as side:
            loop = asyncio.get_running_loop()
            order: list[int] = []
            turns = 0

            def take_turn() -> None:
                nonlocal turns
                turns += 1
                if not all(future.done() for future in futures):
                    loop.call_soon(take_turn)

            futures = [side.fetch(PARTS) for _ in range(FETCHES)]
            for place, future in enumerate(futures):
                future.add_done_callback(lambda _, place=place: order.append(place))  # type: ignore[misc]
            loop.call_soon(take_turn)
            for start in range(0, len(ALL_REPLIES), size):
                side.wire.data_received(ALL_REPLIES[start : start + size])
            if size > CHUNK_BYTES:
                assert not futures[0].done()  # the work has been put off
            assert [plain(await future) for future in futures] == list(map(rows_of, range(FETCHES)))
            await asyncio.sleep(0)  # for the last one's callback
            assert order == list(range(FETCHES))
            if size > CHUNK_BYTES:
                assert turns >= len(ALL_REPLIES) // CHUNK_BYTES
            assert side.blamed == []

    run(receiving())


def test_redis_is_not_read_while_there_is_much_to_do_and_read_again_after() -> None:
    async def receiving() -> None:
        async with connected() as side:
            loop = asyncio.get_running_loop()
            futures = [side.fetch(PARTS) for _ in range(FETCHES)]
            side.wire.data_received(ALL_REPLIES[: MAX_CHUNKS * CHUNK_BYTES])
            assert side.transport.is_reading()
            side.wire.data_received(ALL_REPLIES[MAX_CHUNKS * CHUNK_BYTES :])
            assert not side.transport.is_reading()
            assert [plain(await future) for future in futures] == list(map(rows_of, range(FETCHES)))
            assert side.transport.is_reading()
            # All of it once more, by way of the socket: more than the kernel's buffers hold.
            most = 0
            received = side.wire.data_received

            def data_received(data: bytes) -> None:
                nonlocal most
                received(data)
                most = max(most, sum(map(len, side.wire._chunks)))

            side.wire.data_received = data_received  # type: ignore[method-assign]
            side.transport.set_protocol(side.wire)
            for _ in range(3):
                futures = [side.fetch(PARTS) for _ in range(FETCHES)]
                sending = loop.run_in_executor(None, side.redis.sendall, ALL_REPLIES)
                assert [plain(await future) for future in futures] == list(map(rows_of, range(FETCHES)))
                await sending
            assert CHUNK_BYTES < most < len(ALL_REPLIES)
            assert side.blamed == []

    run(receiving())


@pytest.mark.parametrize("whole", [0, 1, FETCHES // 2, FETCHES - 1])
def test_replies_that_came_before_the_end_are_delivered(whole: int) -> None:
    """The other side ends with fetch number `whole` in the middle of its last reply."""

    async def receiving() -> None:
        async with connected() as side:
            futures = [side.fetch(PARTS) for _ in range(FETCHES)]
            end = sum(len(reply(number)) for number in range(PARTS * (whole + 1))) - 1
            side.wire.data_received(ALL_REPLIES[:end])
            side.transport.abort()
            assert await side.wire.lost == "closed by the other side"
            for place, future in enumerate(futures):
                if place < whole:
                    assert plain(await future) == rows_of(place)
                else:
                    with pytest.raises(StoreUnavailableError, match="was lost"):
                        await future
            with pytest.raises(StoreUnavailableError, match="was lost"):
                await side.fetch(1)
            assert side.blamed == []

    run(receiving())


@pytest.mark.parametrize("before", [0, 10, FETCHES - 1])
@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        (b"nonsense\r\n", "protocol error"),
        (b"$-5\r\n", "protocol error"),
        (b"%1\r\n*1\r\n:1\r\n:1\r\n", "protocol error"),  # a map whose key is a list
    ],
)
@pytest.mark.parametrize("ended", [False, True])
def test_nonsense_in_the_middle_ends_the_connection_and_nobody_waits(
    before: int, nonsense: bytes, reason: str, ended: bool
) -> None:
    """After the replies to so many fetches; `ended`: the other side has hung up as well."""

    async def receiving() -> None:
        async with connected() as side:
            futures = [side.fetch(PARTS) for _ in range(FETCHES)]
            end = sum(len(reply(number)) for number in range(PARTS * before))
            side.wire.data_received(ALL_REPLIES[:end] + nonsense + ALL_REPLIES[end:])
            if ended:
                side.transport.abort()
            assert (await side.wire.lost).startswith(reason)
            for place, future in enumerate(futures):
                if place < before:
                    assert plain(await future) == rows_of(place)
                else:
                    with pytest.raises(StoreUnavailableError):
                        await future
            assert side.blamed == [], "what is foreseen has its line in the log"

    run(receiving())


def test_more_replies_than_were_asked_for_end_the_connection() -> None:
    async def receiving() -> None:
        async with connected() as side:
            future = side.fetch(PARTS)
            side.wire.data_received(ALL_REPLIES)
            assert await side.wire.lost == "protocol error: a reply to no command"
            assert plain(await future) == rows_of(0)
            assert side.blamed == []

    run(receiving())


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_each_lookup_gets_its_replies_and_an_error_fails_its_fetch_alone(size: int) -> None:
    async def receiving() -> None:
        async with connected() as side:
            first, second, third, fourth = side.fetch(2, 1, 3), side.fetch(1, 2), side.fetch(2, 1), side.fetch(1)
            given_up = side.fetch(2, 2)
            given_up.cancel()
            last = side.fetch(1, 1)
            numbers = iter(range(100))
            data = b"".join(reply(next(numbers)) for _ in range(6))
            data += b"-WRONGTYPE x\r\n" + reply(next(numbers)) + reply(next(numbers))
            data += reply(next(numbers)) + b"-ERR x\r\n-LOADING x\r\n"  # the first mistake is the one that is told
            data += b"".join(reply(next(numbers)) for _ in range(7))
            for start in range(0, len(data), size):
                side.wire.data_received(data[start : start + size])
            assert plain(await first) == [[row(0), row(1)], [row(2)], [row(3), row(4), row(5)]]
            with pytest.raises(StoreError, match="WRONGTYPE"):
                await second
            with pytest.raises(StoreError, match="ERR"):
                await third
            assert plain(await fourth) == [[row(9)]]
            assert plain(await last) == [[row(14)], [row(15)]]
            assert not side.wire.lost.done()
            assert side.blamed == []

    run(receiving())


# --------------------------------------------------------------------------------------- with the time in our hands

MOMENT = 0.001
PROBE = b"HMGET nothing -\r\n"
ALIVE = b"*1\r\n$-1\r\n"


class Fake:
    """A connection on a fake transport. `receive` is what Redis says."""

    def __init__(self, *, max_reply_bytes: int = 64 << 20, check_every_s: float = math.inf) -> None:
        self.loop = FakeLoop()
        self.transport = FakeTransport(self.loop)
        self.transport.reading = False
        self.state = StoreState()
        self.replied = 0
        """Of rows that are written, how many were replied to: for the tests to count."""
        with self.loop.running():
            self.wire = RedisConnection(
                self.transport, TIMEOUT_S, max_reply_bytes, self.state, check_every_s=check_every_s
            )

    def fetch(self, replies: int = 1, command: bytes = b"GET\r\n") -> asyncio.Future[Rows]:
        future = self.loop.create_future()
        self.wire.send(PendingFetch(future, [(PICKER, replies)]), [command])
        return future

    def probe(self) -> list[str]:
        """Gets what Redis says of it."""
        found: list[str] = []
        self.wire.probe(PROBE, ONE, found.append)
        self.loop.run_ready()
        return found

    def receive(self, data: bytes) -> None:
        self.transport.receive(data)
        self.loop.run_ready()

    def lost(self) -> str:
        """Why it has ended; "" if it has not."""
        return self.wire.lost.result() if self.wire.lost.done() else ""


def error_of(future: asyncio.Future[Any]) -> str:
    error = future.exception()
    assert isinstance(error, StoreError)
    return f"{type(error).__name__}: {error}"


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_loop() -> Iterator[None]:
    with without_complaints():
        yield


TOO_LATE = "StoreTimeoutError: The online store did not answer in time"
SILENT = "StoreUnavailableError: The online store does not answer"
LOST = "StoreUnavailableError: The connection to the online store was lost"


def test_a_transport_that_is_taken_over_is_read_and_writes_at_once() -> None:
    fake = Fake()
    assert fake.transport.reading
    assert fake.transport.limits == 0
    assert fake.transport.get_protocol() is fake.wire
    assert fake.state.answered_at == fake.loop.time()


def test_the_commands_of_one_tick_leave_in_one_write() -> None:
    fake = Fake()
    first, second = fake.fetch(command=b"one\r\n"), fake.fetch(command=b"two\r\n")
    assert fake.transport.writes == []
    fake.loop.run_once()
    third = fake.fetch(command=b"three\r\n")
    fake.loop.run_once()
    assert fake.transport.writes == [b"one\r\ntwo\r\n", b"three\r\n"]
    assert fake.wire.in_flight == 3
    fake.receive(reply(1) + reply(2))
    assert [plain(first.result()), plain(second.result()), third.done()] == [[[row(1)]], [[row(2)]], False]
    assert fake.wire.in_flight == 1


def test_nothing_is_written_to_a_connection_that_is_closing() -> None:
    fake = Fake()
    future = fake.fetch()
    fake.transport.closing = True  # a reset that was seen in this tick
    fake.loop.run_ready()
    assert fake.transport.writes == []
    fake.transport.lose(ConnectionResetError("reset"))
    assert error_of(future) == LOST
    assert fake.lost() == "reset"
    assert error_of(fake.fetch()) == LOST
    assert fake.loop.timers == []


def test_each_fetch_is_given_up_at_its_own_time_and_keeps_its_place() -> None:
    """CVE-2023-28858: a reply that comes late must not be another's."""
    fake = Fake()
    first = fake.fetch()
    fake.loop.pass_time(1)
    second = fake.fetch(2)
    fake.loop.pass_time(1)
    third = fake.fetch()
    fake.loop.pass_time(TIMEOUT_S - 2 - MOMENT)
    assert not first.done()
    fake.loop.pass_time(2 * MOMENT)
    assert error_of(first) == TOO_LATE
    assert not second.done()
    assert len(fake.loop.timers) == 1, "one for all of them"
    fake.receive(reply(1) + reply(2))
    fake.loop.pass_time(1)
    assert error_of(second) == TOO_LATE
    assert not third.done()
    fake.receive(reply(3) + reply(4))
    assert plain(third.result()) == [[row(4)]]
    assert fake.lost() == ""
    assert fake.wire.in_flight == 0
    fake.loop.pass_time(10 * TIMEOUT_S)
    assert fake.loop.timers == []
    last = fake.fetch()
    fake.loop.pass_time(TIMEOUT_S)
    assert error_of(last) == TOO_LATE


def test_a_fetch_that_was_given_up_or_cancelled_gets_nothing_more() -> None:
    fake = Fake()
    late, cancelled, cancelled_too = fake.fetch(), fake.fetch(), fake.fetch()
    cancelled.cancel()
    fake.loop.pass_time(TIMEOUT_S)
    cancelled_too.cancel()
    assert error_of(late) == TOO_LATE
    fake.receive(reply(1) + reply(2))
    fake.transport.lose()
    assert fake.lost() == "closed by the other side"
    assert fake.loop.blamed == []


def test_while_redis_is_silent_fetches_fail_at_once_until_it_speaks() -> None:
    fake = Fake()
    first = fake.fetch()
    fake.loop.pass_time(TIMEOUT_S)
    assert error_of(first) == TOO_LATE
    written = len(fake.transport.writes)
    assert error_of(fake.fetch()) == SILENT
    fake.loop.run_ready()
    assert len(fake.transport.writes) == written
    fake.loop.pass_time(1)
    fake.receive(reply(1)[:1])  # half a word is enough
    second = fake.fetch()
    fake.receive(reply(1)[1:] + reply(2))
    assert plain(second.result()) == [[row(2)]]


def test_one_slow_reply_is_no_silence() -> None:
    """Bytes have come since it was asked for: others may try."""
    fake = Fake()
    first = fake.fetch(2)
    fake.loop.pass_time(1)
    fake.receive(reply(1))
    fake.loop.pass_time(TIMEOUT_S - 1)
    assert error_of(first) == TOO_LATE
    second = fake.fetch()
    assert not second.done()
    fake.loop.pass_time(TIMEOUT_S)
    assert error_of(second) == TOO_LATE


@pytest.mark.parametrize("again_after_s", [0, 1, TIMEOUT_S - MOMENT])
def test_after_twice_the_timeout_without_a_reply_the_connection_is_given_up(again_after_s: float) -> None:
    """Whatever else was asked before it was known to be silent."""
    fake = Fake()
    first = fake.fetch()
    fake.loop.pass_time(again_after_s)
    second = fake.fetch()
    fake.loop.pass_time(2 * TIMEOUT_S - again_after_s - MOMENT)
    assert [error_of(first), error_of(second)] == [TOO_LATE, TOO_LATE]
    assert not fake.lost()
    fake.loop.pass_time(2 * MOMENT)
    assert fake.lost() == "no reply for 10 s"
    assert fake.transport.aborted, "or its descriptor would stay"
    assert fake.loop.timers == []
    assert fake.wire.in_flight == 0
    assert error_of(fake.fetch()) == LOST


def test_twice_the_timeout_is_counted_from_the_last_reply() -> None:
    fake = Fake()
    future = fake.fetch(2)
    fake.loop.pass_time(TIMEOUT_S - 1)
    fake.receive(reply(1))
    fake.loop.pass_time(2)
    assert error_of(future) == TOO_LATE
    fake.receive(reply(1)[:1])
    fake.loop.pass_time(2 * TIMEOUT_S - 2 - MOMENT)
    assert not fake.lost()
    fake.loop.pass_time(2 * MOMENT)
    assert fake.lost() == "no reply for 10 s"


def test_bytes_of_a_reply_that_never_ends_do_not_keep_a_connection() -> None:
    fake = Fake()
    first = fake.fetch()
    fake.loop.run_ready()
    fake.receive(b"$99999999999\r\n")
    waiting = []
    for _ in range(19):
        waiting.append(fake.fetch())
        fake.loop.pass_time(0.5 - MOMENT)
        fake.receive(b"x" * 10)
    assert not fake.lost()
    assert error_of(first) == TOO_LATE
    fake.loop.pass_time(0.5 + 20 * MOMENT)
    assert fake.lost() == "no reply for 10 s"
    assert {error_of(future) for future in waiting} <= {TOO_LATE, LOST}


def test_replies_one_by_one_keep_a_connection_however_long_a_fetch_takes() -> None:
    """Each is cut in the middle: never is nothing unfinished."""
    fake = Fake()
    first = fake.fetch(20)
    size = len(reply(1))
    fake.receive(reply(1)[: size // 2])
    for _ in range(19):
        fake.loop.pass_time(TIMEOUT_S)
        fake.receive(reply(1)[size // 2 :] + reply(1)[: size // 2])
    assert not fake.lost()
    assert error_of(first) == TOO_LATE


def test_a_fetch_that_is_not_overdue_yet_is_no_silence() -> None:
    """The timer of an earlier fetch, which was answered, looks at what waits by then."""
    fake = Fake()
    fake.fetch()
    fake.receive(reply(1))
    fake.loop.pass_time(1)
    second = fake.fetch()
    fake.loop.pass_time(TIMEOUT_S - 1)
    third = fake.fetch()
    fake.receive(reply(2) + reply(3))
    assert [plain(second.result()), plain(third.result())] == [[[row(2)]], [[row(3)]]]


def test_what_waits_behind_a_fetch_that_is_overdue_has_its_own_time() -> None:
    """The first is overdue and its reply under way: the one behind it is looked at when its time comes."""
    fake = Fake()
    first = fake.fetch()
    fake.loop.pass_time(TIMEOUT_S - 1)
    fake.receive(b"*2\r\n")
    second = fake.fetch()
    fake.loop.pass_time(1)
    assert error_of(first) == TOO_LATE
    assert fake.loop.timers == [pytest.approx(TIMEOUT_S - 1)]
    fake.loop.pass_time(TIMEOUT_S - 1)
    assert error_of(second) == TOO_LATE


@pytest.mark.parametrize(
    ("late_s", "grace_s"), [(LATE_S - MOMENT, 0), (LATE_S + MOMENT, LATE_S + MOMENT), (0.5, GRACE_S), (100, GRACE_S)]
)
def test_what_came_in_time_is_read_although_the_loop_was_busy(late_s: float, grace_s: float) -> None:
    """Timers come before sockets: what is overdue may lie in ours. But there is an end to that as well."""
    fake = Fake()
    waits, comes = fake.fetch(), fake.fetch()
    fake.loop.run_ready()
    fake.loop.be_busy(TIMEOUT_S + late_s)
    fake.loop.pass_time(0)
    assert waits.done() is comes.done() is (grace_s == 0)
    if grace_s:
        fake.loop.pass_time(grace_s - MOMENT)
        assert not waits.done()
        fake.receive(reply(1))
        assert plain(waits.result()) == [[row(1)]]
        fake.loop.pass_time(2 * MOMENT)
    assert error_of(comes) == TOO_LATE
    assert not fake.lost()


@pytest.mark.parametrize("block_s", [0.03, 0.05])
@pytest.mark.parametrize("phase", range(5))
def test_a_deadline_is_kept_to_a_tenth_of_a_second_while_the_loop_is_held_up_all_the_time(
    block_s: float, phase: int
) -> None:
    """As by one large body after another: each time that the timer fires, it is late."""
    fake = Fake()
    began = fake.loop.time()
    future = fake.fetch()
    fake.loop.run_ready()
    fake.loop.pass_time(TIMEOUT_S - MOMENT - phase * block_s / 5)
    while not future.done():
        fake.loop.be_busy(block_s)
        fake.loop.pass_time(0)
        assert fake.loop.time() - began < TIMEOUT_S + 0.1 + MOMENT
    assert error_of(future) == TOO_LATE


def test_a_late_timer_does_nothing_if_no_fetch_waits() -> None:
    fake = Fake()
    fake.fetch()
    fake.receive(reply(1))
    fake.loop.be_busy(10 * TIMEOUT_S)
    fake.loop.pass_time(0)
    assert fake.loop.timers == []


def test_a_probe_shows_that_redis_is_alive() -> None:
    fake = Fake()
    fake.loop.pass_time(1)
    found = fake.probe()
    assert fake.transport.writes == [PROBE]
    fake.loop.pass_time(0.1)
    future = fake.fetch()
    fake.receive(ALIVE)
    assert found == [""]
    assert fake.state.answered_at == fake.loop.time()
    assert fake.wire.in_flight == 1
    fake.receive(reply(1))
    assert plain(future.result()) == [[row(1)]]


def test_a_probe_that_is_refused_says_so_and_harms_nobody() -> None:
    fake = Fake()
    found = fake.probe()
    future = fake.fetch()
    fake.receive(b"-NOPERM no\r\n" + reply(1))
    assert found == ["NOPERM no"]
    assert plain(future.result()) == [[row(1)]]
    assert not fake.lost()


def test_a_probe_that_is_not_answered_ends_the_connection() -> None:
    fake = Fake()
    fake.loop.pass_time(1)
    fake.probe()
    fake.loop.pass_time(TIMEOUT_S)
    assert error_of(fake.fetch()) == SILENT
    fake.loop.pass_time(TIMEOUT_S)
    assert fake.lost() == "no reply for 10 s"


# ------------------------------------------------------------------------------------------------------- out of step

OUT_OF_STEP = "its replies are out of step: "


@pytest.mark.parametrize(
    "impossible",
    [
        b"*1\r\n$1\r\na\r\n",  # of another length
        b"*2\r\n*0\r\n*0\r\n",
        b"*2\r\n$1\r\na\r\n:1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"+PONG\r\n",
        b"$3\r\nabc\r\n",
        b":5\r\n",
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_reply_that_is_impossible_ends_the_connection(impossible: bytes, at_once: bool) -> None:
    """The replies of the same read may be others' as well: none of them is given out."""
    fake = Fake()
    before, future, other = fake.fetch(), fake.fetch(2), fake.fetch()
    fake.loop.run_ready()
    for data in [reply(0) + impossible + reply(1) + reply(2)] if at_once else [reply(0), impossible + reply(1)]:
        fake.receive(data)
    assert fake.lost() == OUT_OF_STEP + NO_HASH
    assert fake.transport.aborted
    assert [error_of(each) for each in (future, other)] == [LOST, LOST]
    if at_once:
        assert error_of(before) == LOST
    else:
        assert plain(before.result()) == [[row(0)]]
    assert fake.loop.timers == []
    assert fake.loop.blamed == []


def test_the_same_in_turns() -> None:
    fake = Fake()
    future = fake.loop.create_future()
    fake.wire.send_in_turns(future, [Part(CommandTemplate(b"GET"), PICKER, [b"%d" % number for number in range(200)])])
    fake.loop.run_ready()
    fake.receive(reply(1) * QUANTUM)
    assert not fake.lost()
    fake.receive(b":5\r\n" + reply(1) * QUANTUM)
    assert fake.lost() == OUT_OF_STEP + NO_HASH
    assert error_of(future) == LOST


@pytest.mark.parametrize("impossible", [b"+PONG\r\n", b"*0\r\n", b"*1\r\n$1\r\na\r\n", b"*2\r\n$-1\r\n$-1\r\n"])
def test_what_cannot_be_the_reply_to_a_probe_ends_the_connection(impossible: bytes) -> None:
    fake = Fake()
    found = fake.probe()
    future = fake.fetch()
    fake.receive(impossible)
    assert fake.lost().startswith(OUT_OF_STEP)
    assert error_of(future) == LOST
    assert found == []


CHECK_S = 0.01


def answers_to(written: bytes) -> list[bytes]:
    """The replies of a Redis to commands as this file's fetches and checks are."""
    found = []
    for line in re.findall(rb"GET\r\n|\*\d+\r\n\$5\r\nHMGET\r\n", written):
        fields = int(line[1:].split()[0]) - 2 if line[:1] == b"*" else 0
        found.append(b"*%d\r\n" % fields + b"$-1\r\n" * fields if fields else reply(1))
    return found


def test_checks_are_sent_with_fetches_now_and_then_and_differ() -> None:
    fake = Fake(check_every_s=CHECK_S)
    widths = []
    for _ in range(20):
        futures = [fake.fetch(), fake.fetch()]
        fake.loop.run_ready()
        answers = answers_to(fake.transport.writes[-1])
        assert len(answers) == 3, "one check"
        assert answers[0] == reply(1)
        widths.append(int(answers[1][1:2]))
        fake.receive(b"".join(answers))
        assert all(plain(future.result()) == [[row(1)]] for future in futures)
        again = fake.fetch()
        fake.loop.run_ready()
        assert fake.transport.writes[-1] == b"GET\r\n", "so soon, there is no other"
        fake.receive(reply(1))
        assert again.done()
        fake.loop.pass_time(2 * CHECK_S)
    assert all(one != other for one, other in pairwise(widths))
    assert not fake.lost()


@pytest.mark.parametrize("refused", [b"-NOPERM no\r\n", b"-LOADING x\r\n"])
def test_a_check_that_is_refused_is_a_check_all_the_same(refused: bytes) -> None:
    fake = Fake(check_every_s=CHECK_S)
    future = fake.fetch()
    fake.receive(reply(1) + refused)
    assert plain(future.result()) == [[row(1)]]
    assert not fake.lost()


@pytest.mark.parametrize("extra", [reply(7), b"*2\r\n$-1\r\n$-1\r\n", b"-ERR x\r\n"])
def test_a_frame_too_many_is_found_by_the_next_check(extra: bytes) -> None:
    """It looks as all replies do. Fetches never stop, so there is always one that its last reply can be given to."""
    fake = Fake(check_every_s=CHECK_S)
    fetches = [fake.fetch()]
    late = [extra]
    while not fake.lost() and len(fetches) < 100:
        written = len(fake.transport.writes)
        fetches.append(fake.fetch())
        fake.loop.run_ready()
        late += answers_to(b"".join(fake.transport.writes[written:]))
        fake.receive(late.pop(0))
        fake.loop.pass_time(CHECK_S / 4)
    assert fake.lost().startswith(OUT_OF_STEP)
    assert len(fetches) < 9
    assert error_of(fetches[-1]) == LOST
    assert all(fetch.done() for fetch in fetches)
    assert {error_of(fetch) for fetch in fetches if fetch.exception() is not None} != set()


def test_a_mistake_of_ours_ends_the_connection_and_fails_its_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: PendingFetch, answer: object) -> bool:
        raise KeyError("ours")

    fake = Fake()
    future, other = fake.fetch(), fake.fetch()
    monkeypatch.setattr(PendingFetch, "add", fail)
    with pytest.raises(KeyError, match="ours"):
        fake.receive(reply(1) + reply(2))
    assert [error_of(future), error_of(other)] == [LOST, LOST]
    assert fake.lost() == "cannot read its replies: KeyError('ours')"
    assert fake.transport.aborted


# ---------------------------------------------------------------------------------------------------- much at once


def test_replies_are_short_or_long_each_by_itself() -> None:
    """The limit is of one reply. Many small ones, whole or cut anywhere, may be more than it together."""
    fake = Fake(max_reply_bytes=3 * len(reply(1)))
    data = b"".join(map(reply, range(100)))
    futures = [fake.fetch() for _ in range(100)]
    for start in range(0, len(data), 700):
        fake.receive(data[start : start + 700])
    assert [plain(future.result()) for future in futures] == [[[row(number)]] for number in range(100)]
    assert not fake.lost()


def test_a_reply_that_is_too_long_fails_its_fetch_and_ends_the_connection() -> None:
    """As far as it is known: what came in the same read as the end of the one before counts."""
    fake = Fake(max_reply_bytes=2000)
    before, future, behind = fake.fetch(), fake.fetch(), fake.fetch()
    fake.receive(reply(1) + b"*2\r\n$1\r\nk\r\n$100000\r\n")
    fake.receive(b"x" * 1_900)
    assert not fake.lost()
    fake.receive(b"x" * 101)
    assert plain(before.result()) == [[row(1)]]
    limit = "more than 2000 bytes for one entity (--max-reply-bytes)"
    assert error_of(future) == f"StoreError: The online store holds {limit}"
    assert error_of(behind) == LOST
    assert fake.lost() == f"a reply of {limit}"
    assert fake.transport.aborted


def test_a_long_reply_to_no_fetch_ends_the_connection() -> None:
    fake = Fake(max_reply_bytes=2000)
    fake.receive(b"$100000\r\n" + b"x" * 3000)
    limit, stray = "a reply of more than 2000 bytes", "protocol error: a reply to no command"
    assert fake.lost().startswith((limit, stray)), "the twin sees only whole replies"


def test_a_reply_as_long_as_it_may_be() -> None:
    fake = Fake(max_reply_bytes=len(reply(1)) - 1)
    future = fake.fetch()
    fake.receive(reply(1)[:-1])
    fake.receive(reply(1)[-1:])
    assert plain(future.result()) == [[row(1)]]


def test_much_is_taken_a_piece_a_turn() -> None:
    fake = Fake()
    futures = [fake.fetch() for _ in range(ROWS)]
    fake.loop.run_ready()
    data = b"".join(map(reply, range(ROWS)))
    fake.transport.receive(data[: 4 * CHUNK_BYTES + 1])
    done = [sum(future.done() for future in futures)]
    for _ in range(6):
        fake.loop.run_once()
        done.append(sum(future.done() for future in futures))
    assert done[0] == 0
    assert all(0 < after - before <= CHUNK_BYTES / ROW_BYTES for before, after in pairwise(done[:5]))
    assert done[4:] == [done[4]] * 3
    # What comes meanwhile waits behind it, however small.
    fake.transport.receive(data[4 * CHUNK_BYTES + 1 : 5 * CHUNK_BYTES + 2])
    fake.transport.receive(data[5 * CHUNK_BYTES + 2 : 5 * CHUNK_BYTES + 3])
    fake.transport.receive(data[5 * CHUNK_BYTES + 3 :])
    fake.loop.run_ready()
    assert [plain(future.result()) for future in futures] == [[[row(number)]] for number in range(ROWS)]


def test_with_much_to_do_redis_is_not_read_until_half_of_it_is_done() -> None:
    fake = Fake()
    futures = [fake.fetch() for _ in range(ROWS)]
    fake.loop.run_ready()
    data = b"".join(map(reply, range(ROWS)))
    fake.transport.receive(data[: MAX_CHUNKS * CHUNK_BYTES])
    assert fake.transport.reading
    fake.transport.receive(data[MAX_CHUNKS * CHUNK_BYTES : MAX_CHUNKS * CHUNK_BYTES + 1])
    assert not fake.transport.reading
    for _ in range(MAX_CHUNKS // 2):
        fake.loop.run_once()
        assert not fake.transport.reading
    fake.loop.run_once()
    assert fake.transport.reading
    fake.transport.receive(data[MAX_CHUNKS * CHUNK_BYTES + 1 :])
    assert not fake.transport.reading, "there is much to do again"
    fake.loop.run_ready()
    assert fake.transport.reading
    assert [plain(future.result()) for future in futures] == [[[row(number)]] for number in range(ROWS)]


def test_a_connection_that_is_aborted_fails_what_waits() -> None:
    fake = Fake()
    future = fake.fetch()
    fake.loop.run_ready()
    fake.wire.abort()
    assert fake.transport.aborted
    fake.loop.run_ready()
    assert error_of(future) == LOST
    assert fake.lost() == "closed by the other side"


def test_what_has_come_and_was_not_looked_at_yet_is_no_silence() -> None:
    """We have not parsed it yet: no fetch is refused for that, nor is the connection given up."""
    fake = Fake()
    futures = [fake.fetch() for _ in range(100)]
    fake.loop.run_ready()
    fake.transport.receive(b"".join(map(reply, range(100))))
    fake.loop.be_busy(TIMEOUT_S)
    fake.wire._check_deadlines()  # between two pieces, which a loop may do; this one does what is ready first
    assert {error_of(future) for future in futures} == {TOO_LATE}
    late = fake.fetch()
    assert not late.done()
    fake.receive(reply(100))
    assert plain(late.result()) == [[row(100)]]


def test_nothing_is_taken_or_read_after_the_end() -> None:
    fake = Fake()
    futures = [fake.fetch() for _ in range(ROWS)]
    fake.loop.run_ready()
    data = b"".join(map(reply, range(ROWS)))
    fake.transport.receive(b"nonsense" + data[: (MAX_CHUNKS + 4) * CHUNK_BYTES])
    assert not fake.transport.reading
    turns = 0
    while not fake.loop.idle:
        fake.loop.run_once()
        turns += 1
    assert turns < 4, "what came behind it is not looked at, a piece a turn"
    assert fake.lost().startswith("protocol error")
    assert {error_of(future) for future in futures} == {LOST}
    assert not fake.transport.reading
    assert fake.loop.timers == []


def test_replies_that_came_before_the_end_are_delivered_with_it() -> None:
    fake = Fake()
    futures = [fake.fetch() for _ in range(100)]
    fake.loop.run_ready()
    fake.transport.receive(b"".join(map(reply, range(99))))
    fake.transport.lose()
    assert [plain(future.result()) for future in futures[:99]] == [[[row(number)]] for number in range(99)]
    assert error_of(futures[99]) == LOST
    assert fake.lost() == "closed by the other side"


# -------------------------------------------------------------------------------------------------------- the window


def rows_in_turns(count: int, first: int = 0) -> Rows:
    return [[[b"%d" % number] for number in range(first, first + count)]]


@pytest.mark.parametrize("at_a_time", [1, 50, 700, 1 << 30])
def test_no_more_than_the_window_is_on_the_wire_and_all_of_it_is_answered(at_a_time: int) -> None:
    async def receiving() -> None:
        async with connected() as side:
            long, other = side.fetch_in_turns(3_000), side.fetch_in_turns(100, 10_000)
            short = [side.fetch_in_turns(1, 20_000 + number) for number in range(10)]
            sent: list[int] = []
            answered = 0
            while not long.done():
                keys = await side.answer(at_a_time)
                answered += len(keys)
                sent += keys
                assert len(sent) - answered <= WINDOW
                if at_a_time == 50:
                    assert side.wire.room <= WINDOW
            assert plain(await long) == rows_in_turns(3_000)
            assert plain(await other) == rows_in_turns(100, 10_000)
            assert [plain(await future) for future in short] == [
                rows_in_turns(1, 20_000 + number) for number in range(10)
            ]
            assert sorted(sent) == [*range(3_000), *range(10_000, 10_100), *range(20_000, 20_010)]
            await asyncio.sleep(0)
            assert side.wire.room == side.wire._window, "all room is there again"
            assert side.wire.in_flight == 0
            assert side.blamed == []

    run(receiving())


def test_the_first_write_has_no_more_than_the_window() -> None:
    async def receiving() -> None:
        async with connected() as side:
            side.fetch_in_turns(50_000)
            assert len(await side.answer()) == WINDOW

    run(receiving())


def test_what_is_given_up_is_dropped_unsent_and_what_was_sent_keeps_its_place() -> None:
    async def receiving() -> None:
        async with connected() as side:
            fetches = [side.fetch_in_turns(4_000) for _ in range(60)]
            last = side.fetch_in_turns(2, 9_000)
            for future in fetches:
                future.cancel()
            await asyncio.sleep(0)
            assert len(await side.answer()) == WINDOW
            assert await side.answer() == [9_000, 9_001]
            assert plain(await last) == rows_in_turns(2, 9_000)
            assert side.wire.room == side.wire._window
            assert side.blamed == []

    run(receiving())


def test_a_fetch_whose_time_is_up_before_its_turn_is_dropped() -> None:
    async def receiving() -> None:
        async with connected(timeout_s=0.2) as side:
            loop = asyncio.get_running_loop()
            began = loop.time()
            long = side.fetch_in_turns(10_000)
            short = side.fetch_in_turns(1)
            for _ in range(5):
                await asyncio.sleep(0.02)
                await side.answer(10)  # it is slow, but not silent
            for future in (long, short):
                with pytest.raises(StoreTimeoutError):
                    await future
            assert 0.2 <= loop.time() - began < 0.3
            await asyncio.sleep(0)
            assert side.wire.in_flight == WINDOW // QUANTUM, "the turns that were sent"
            assert side.wire._turns.commands == 0
            assert side.blamed == []

    run(receiving())


# ---------------------------------------------------------------------------------------------------------- writing


def write_of(fake: Fake, replies: int = 2) -> asyncio.Future[None]:
    future: asyncio.Future[None] = fake.loop.create_future()
    fake.wire.send(PendingWrite(future, replies), [b"HSET\r\n" * replies], replies)
    fake.loop.run_ready()
    return future


def test_a_write_is_done_when_all_its_replies_have_come() -> None:
    fake = Fake()
    first, fetch, second = write_of(fake), fake.fetch(), write_of(fake, 1)
    fake.receive(b":2\r\n")
    assert not first.done()
    fake.receive(b":0\r\n" + reply(1) + b":2\r\n")
    assert first.result() is second.result() is None
    assert plain(fetch.result()) == [[row(1)]]


@pytest.mark.parametrize("replies", [b"-OOM full\r\n:1\r\n", b":1\r\n-OOM full\r\n"])
def test_an_error_for_one_row_fails_its_write_alone(replies: bytes) -> None:
    fake = Fake()
    failing, other = write_of(fake), write_of(fake)
    fake.receive(replies + b":1\r\n:1\r\n")
    assert error_of(failing) == "StoreRefusedError: The online store answered OOM"
    assert other.result() is None


def test_what_was_sent_and_got_no_reply_may_have_been_written() -> None:
    fake = Fake()
    late = write_of(fake)
    fake.loop.pass_time(TIMEOUT_S)
    assert "may have been written, or may not" in error_of(late)
    assert error_of(write_of(fake)) == "StoreUnavailableError: The online store does not answer", "this was not sent"
    fake.receive(b":1\r\n:1\r\n")  # late, and for nobody
    lost = write_of(fake)
    fake.wire.connection_lost(None)
    assert error_of(lost).startswith("UnknownOutcomeError")
    assert not error_of(write_of(fake)).startswith("UnknownOutcomeError"), "there was nothing to send it on"


class Rows50:
    """Commands of 50 bytes or so for each row, of two replies."""

    def render(self, numbers: Sequence[int]) -> bytes:
        return b"".join(b"HSET %d\r\nEXPIRE %d\r\n" % (number, number) for number in numbers)

    def about_bytes(self, _: int) -> int:
        return 50


def test_many_rows_are_written_in_turns_and_dropped_when_given_up() -> None:
    fake = Fake()
    future: asyncio.Future[None] = fake.loop.create_future()
    fake.wire.write(future, [Part(Rows50(), None, range(3_000))], 2)
    fake.loop.run_ready()
    sent = b"".join(fake.transport.writes).count(b"HSET")
    assert 0 < sent < 3_000
    while not future.done():
        before = b"".join(fake.transport.writes).count(b"EXPIRE")
        fake.receive(b":1\r\n:1\r\n" * (before - replied(fake)))
        fake.replied = before
    assert future.result() is None
    assert b"".join(fake.transport.writes) == Rows50().render(range(3_000))

    given_up: asyncio.Future[None] = fake.loop.create_future()
    fake.wire.write(given_up, [Part(Rows50(), None, range(3_000))], 2)
    fake.loop.run_ready()
    given_up.cancel()
    fake.loop.run_ready()
    assert fake.wire._turns.commands == 0
    fake.receive(b":1\r\n:1\r\n" * (b"".join(fake.transport.writes).count(b"EXPIRE") - 3_000))
    assert fake.wire.in_flight == 0


def replied(fake: Fake) -> int:
    """How many rows have got their replies."""
    return fake.replied


def test_short_fetches_go_before_the_rest_of_a_long_one() -> None:
    async def receiving() -> None:
        async with connected() as side:
            side.fetch_in_turns(5_000)
            short = [side.fetch_in_turns(1, 10_000 + number) for number in range(20)]
            await side.answer()
            await side.answer(WINDOW)
            assert all(future.done() for future in short)

    run(receiving())


def test_who_cannot_be_served_in_time_is_told_at_once() -> None:
    fake = Fake()

    def fetch(count: int) -> asyncio.Future[Rows]:
        future = fake.loop.create_future()
        fake.wire.send_in_turns(future, [Part(CommandTemplate(b"GET"), ONE, [b"k"] * count)])
        return future

    fetch(30_000)
    for _ in range(50):  # 1,000 a second
        fake.loop.pass_time(0.01)
        fake.receive(b"*1\r\n$1\r\nv\r\n" * 10)
    sent = b"".join(fake.transport.writes).count(b"GET")
    assert fake.wire._rate == pytest.approx(1_000, rel=0.1)
    # All of the first window went out before the rate was known; since then there was no room.
    assert sent == WINDOW
    assert fake.wire._window == pytest.approx(1_000 * TIMEOUT_S * WIRE_SHARE, rel=0.1)
    for count in (20_000, 7_000):
        assert "would not be answered in time" in error_of(fetch(count))
        with pytest.raises(StoreOverloadedError, match="in time"):
            fake.wire.check_room(count)
    assert fake.state.crowded
    for count in (1, 100):
        assert not fetch(count).done()
        fake.wire.check_room(count)


@pytest.mark.parametrize(("ahead", "refused"), [(0.6, False), (0.7, True)])
def test_a_fetch_is_refused_if_two_thirds_of_the_timeout_are_ahead_of_it(ahead: float, refused: bool) -> None:
    """Half of it is what the first window may be, and a fetch behind that is answered in time."""
    fake = Fake()
    fake.wire.send_in_turns(fake.loop.create_future(), [Part(CommandTemplate(b"GET"), ONE, [b"k"] * (WINDOW + 1))])
    assert fake.state.crowded
    # A window is on the wire; at this rate it takes that part of the timeout.
    fake.wire._rate, fake.wire._measured_at = WINDOW / (ahead * TIMEOUT_S), fake.loop.time()
    with pytest.raises(StoreOverloadedError, match="in time") if refused else contextlib.nullcontext():
        fake.wire.check_room(1)


def test_a_store_is_crowded_as_long_as_a_fetch_waits() -> None:
    fake = Fake()
    future = fake.loop.create_future()
    fake.wire.send_in_turns(future, [Part(CommandTemplate(b"GET"), ONE, [b"k"] * WINDOW)])
    assert not fake.state.crowded, "all of it was sent"
    other = fake.loop.create_future()
    fake.wire.send_in_turns(other, [Part(CommandTemplate(b"GET"), ONE, [b"k"])])
    assert fake.state.crowded
    assert fake.wire.room <= 0
    fake.receive(b"*1\r\n$1\r\nv\r\n" * WINDOW)
    assert future.done()
    assert not fake.state.crowded
    assert fake.wire.room == WINDOW - 1
    fake.receive(b"*1\r\n$1\r\nv\r\n")
    assert plain(other.result()) == [[[b"v"]]]


def test_no_more_commands_wait_than_are_allowed() -> None:
    async def receiving() -> None:
        async with connected(max_commands=10_000) as side:
            assert not side.fetch_in_turns(20_000).done(), "it is alone, so it is tried"
            with pytest.raises(StoreOverloadedError, match="the limit is 10000 commands"):
                await side.fetch_in_turns(1)

    run(receiving())


def test_the_end_of_the_connection_fails_those_that_wait_too() -> None:
    async def receiving() -> None:
        async with connected() as side:
            waiting = [side.fetch_in_turns(2_000), side.fetch_in_turns(1)]
            await side.answer(100)
            side.transport.abort()
            for future in waiting:
                with pytest.raises(StoreUnavailableError, match="was lost"):
                    await future
            await asyncio.sleep(0)
            assert side.wire.in_flight == 0
            assert side.blamed == []

    run(receiving())


def test_a_command_longer_than_the_window_is_sent() -> None:
    async def receiving() -> None:
        async with connected() as side:
            future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
            command = CommandTemplate(b"HMGET", [b"x" * 1000] * 2 * WINDOW)
            side.wire.send_in_turns(future, [Part(command, ONE, [b"1", b"2"])])
            await asyncio.sleep(0)
            side.wire.data_received(b"*1\r\n$-1\r\n")
            assert not future.done()
            side.wire.data_received(b"*1\r\n$-1\r\n")
            assert plain(await future) == [[[None], [None]]]

    run(receiving())


# ---------------------------------------------------------------------------------------------------- one of several


def asked_of(fake: Fake) -> asyncio.Future[Rows]:
    """A fetch behind an ASKING."""
    future: asyncio.Future[Rows] = fake.loop.create_future()
    fake.wire.send(PendingAsked(future, ONE), [b"ASKING\r\n", b"GET\r\n"])
    return future


def test_a_fetch_behind_an_asking_has_the_second_reply() -> None:
    fake = Fake()
    future, other = asked_of(fake), fake.fetch()
    fake.receive(b"+OK\r\n")
    assert not future.done()
    fake.receive(b"*1\r\n$1\r\nv\r\n" + reply(1))
    assert plain(future.result()) == [[[b"v"]]]
    assert plain(other.result()) == [[row(1)]]


def test_an_order_is_answered_with_a_word() -> None:
    fake = Fake()
    found: list[str] = []
    fake.wire.send_order(b"READONLY\r\n", found.append)
    fake.wire.send_order(b"READWRITE\r\n", found.append)
    other = fake.fetch()
    assert fake.wire.in_flight == 1, "nobody waits for an order"
    fake.loop.run_ready()
    assert fake.transport.writes == [b"READONLY\r\nREADWRITE\r\nGET\r\n"]
    fake.receive(b"+OK\r\n-ERR no cluster\r\n" + reply(1))
    assert found == ["", "ERR no cluster"]
    assert plain(other.result()) == [[row(1)]]


def test_an_order_that_is_lost_says_nothing() -> None:
    fake = Fake()
    found: list[str] = []
    fake.wire.send_order(b"READONLY\r\n", found.append)
    fake.wire.connection_lost(None)
    fake.wire.send_order(b"READONLY\r\n", found.append)
    fake.loop.run_ready()
    assert found == []


def test_those_who_wait_for_rows_are_told_each_once() -> None:
    """A long fetch has several turns in the FIFO, and more that are not sent yet."""
    fake = Fake()
    fetch, write = fake.fetch(), write_of(fake)
    long: asyncio.Future[Rows] = fake.loop.create_future()
    keys = [b"%d" % number for number in range(3 * WINDOW)]
    fake.wire.send_in_turns(long, [Part(CommandTemplate(b"GET"), ONE, keys)])
    queued: asyncio.Future[Rows] = fake.loop.create_future()
    fake.wire.send_in_turns(queued, [Part(CommandTemplate(b"GET"), ONE, keys)])
    fake.probe()
    assert fake.wire.receivers() == [fetch, long, queued]
    assert not write.done()
    fake.receive(reply(1))
    assert fake.wire.receivers() == [long, queued]


def test_a_connection_stalls_when_no_byte_comes_though_one_is_due() -> None:
    fake = Fake()
    fake.loop.pass_time(TIMEOUT_S)
    assert fake.wire.find_stalled(1.0) == (), "nothing is due"
    fetch, _ = fake.fetch(), fake.probe()
    fake.loop.pass_time(0.9)
    late = fake.fetch()
    assert fake.wire.find_stalled(1.0) == ()
    assert fake.wire.responsive
    fake.loop.pass_time(0.2)
    assert fake.wire.find_stalled(1.0) == [fetch, late]
    assert not fake.wire.responsive
    fake.receive(reply(1))
    assert fake.wire.responsive
    assert fake.wire.find_stalled(1.0) == (), "a byte has come"
    fake.loop.pass_time(1.0)
    assert fake.wire.find_stalled(1.0) == [late], "of a probe nobody waits for rows"
    fake.wire.connection_lost(None)
    assert not fake.wire.responsive
    assert error_of(late) == LOST


def test_what_has_come_and_is_not_looked_at_yet_does_not_stall() -> None:
    fake = Fake()
    fetch = fake.fetch(ROWS)
    fake.transport.receive(b"".join(map(reply, range(ROWS))))
    fake.loop.be_busy(2.0)
    assert not fetch.done()
    assert fake.wire.find_stalled(1.0) == ()
    fake.loop.run_ready()
    assert fetch.done()


def test_turns_that_stall_name_their_fetch_once() -> None:
    fake = Fake()
    long: asyncio.Future[Rows] = fake.loop.create_future()
    fake.wire.send_in_turns(long, [Part(CommandTemplate(b"GET"), ONE, [b"k"] * 3 * WINDOW)])
    fake.loop.run_ready()
    fake.loop.pass_time(1.0)
    assert fake.wire.find_stalled(1.0) == [long]


def test_a_node_is_asked_whether_it_has_room_before_a_fetch_is_made() -> None:
    async def asking() -> None:
        async with connected(max_commands=10_000) as side:
            side.wire.check_room(20_000)  # nothing waits, so it would be tried
            side.fetch_in_turns(9_000)
            await asyncio.sleep(0)
            side.wire.check_room(1)
            with pytest.raises(StoreOverloadedError, match="the limit is 10000 commands"):
                side.wire.check_room(9_000)

    run(asking())


def test_nothing_long_is_sent_to_what_is_lost_or_silent() -> None:
    fake = Fake()
    waiting = fake.fetch()
    fake.loop.pass_time(TIMEOUT_S)
    assert error_of(waiting) == TOO_LATE

    def refused() -> list[str]:
        fetch: asyncio.Future[Rows] = fake.loop.create_future()
        fake.wire.send_in_turns(fetch, [Part(CommandTemplate(b"GET"), ONE, [b"k"])])
        write: asyncio.Future[None] = fake.loop.create_future()
        fake.wire.write(write, [Part(Rows50(), None, range(3_000))], 2)
        return [error_of(fetch), error_of(write)]

    assert refused() == [SILENT, SILENT], "neither was sent, so nothing may have been written"
    fake.wire.connection_lost(None)
    assert refused() == [LOST, LOST]


def test_few_rows_are_written_at_once() -> None:
    fake = Fake()
    future: asyncio.Future[None] = fake.loop.create_future()
    fake.wire.write(future, [Part(Rows50(), None, range(2)), Part(Rows50(), None, range(2, 3))], 2)
    fake.loop.run_ready()
    assert fake.transport.writes == [Rows50().render(range(3))]
    fake.receive(b":1\r\n" * 5)
    assert not future.done()
    fake.receive(b":1\r\n")
    assert future.result() is None


def test_rows_for_which_there_is_no_room_wait_for_their_turn() -> None:
    fake = Fake()
    long: asyncio.Future[Rows] = fake.loop.create_future()
    fake.wire.send_in_turns(long, [Part(CommandTemplate(b"GET"), ONE, [b"k"] * 3 * WINDOW)])
    future: asyncio.Future[None] = fake.loop.create_future()
    fake.wire.write(future, [Part(Rows50(), None, range(2))], 2)
    fake.loop.run_ready()
    assert b"HSET" not in b"".join(fake.transport.writes)
    sent = b"".join(fake.transport.writes).count(b"GET")
    fake.receive(b"*1\r\n$1\r\nv\r\n" * sent)
    assert b"HSET 0\r\nEXPIRE 0\r\nHSET 1\r\nEXPIRE 1\r\n" in b"".join(fake.transport.writes)
