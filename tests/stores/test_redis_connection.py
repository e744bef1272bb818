"""A connection to Redis from within: replies that come by the megabyte, and whatever happens in the middle of them.

The other side is a socket of the test's own: so it is known which bytes come together. test_redis.py has what needs
a real Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.harness import run
from yummy_fast.errors import StoreError, StoreUnavailableError
from yummy_fast.features.plan import Rows
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import CHUNK_BYTES, MAX_CHUNKS, PendingFetch, RedisConnection

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

    def fetch(self, *parts: int) -> asyncio.Future[Rows]:
        """A fetch of as many lookups as `parts`, which say how many replies each gets. A reply is the row."""
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self.wire.send(PendingFetch(future, [(list, count) for count in parts]), [b"PING\r\n"])
        return future


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Side]:
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    blamed: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: blamed.append(context))
    try:
        wire = RedisConnection(transport, TIMEOUT_S, 64 << 20, StoreState())
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
            assert [await future for future in futures] == list(map(rows_of, range(FETCHES)))
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
            assert [await future for future in futures] == list(map(rows_of, range(FETCHES)))
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
                assert [await future for future in futures] == list(map(rows_of, range(FETCHES)))
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
                    assert await future == rows_of(place)
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
        (b"%1\r\n*1\r\n:1\r\n:1\r\n", "cannot read its replies: TypeError"),  # a map whose key is a list
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
                    assert await future == rows_of(place)
                else:
                    with pytest.raises(StoreUnavailableError):
                        await future
            # An exception that is not foreseen is told of, once; what is foreseen has its line in the log.
            assert len(side.blamed) == ("TypeError" in reason)

    run(receiving())


def test_more_replies_than_were_asked_for_end_the_connection() -> None:
    async def receiving() -> None:
        async with connected() as side:
            future = side.fetch(PARTS)
            side.wire.data_received(ALL_REPLIES)
            assert await side.wire.lost == "a reply to no command"
            assert await future == rows_of(0)
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
            data += reply(next(numbers)) + b":5\r\n-LOADING x\r\n"  # the first mistake is the one that is told
            data += b"*0\r\n" + b"".join(reply(next(numbers)) for _ in range(6))
            for start in range(0, len(data), size):
                side.wire.data_received(data[start : start + size])
            assert await first == [[row(0), row(1)], [row(2)], [row(3), row(4), row(5)]]
            with pytest.raises(StoreError, match="WRONGTYPE"):
                await second
            with pytest.raises(StoreError, match="no hash"):
                await third
            assert await fourth == [[[]]]
            assert await last == [[row(13)], [row(14)]]
            assert not side.wire.lost.done()
            assert side.blamed == []

    run(receiving())
