"""The connection that feeds the cache: what Redis is asked, whom it refuses, and what pushes do when they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from tests.harness import run
from tests.native.resp import array, invalidation
from yummy_fast.native.owner import Picker
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_pending import PendingFetch
from yummy_fast.stores.redis_tracking import TrackedConnection, Tracker, ask_to_track, version_in
from yummy_fast.stores.row_cache import RowCache

SHAPE = b"s" * 16


class Connector:
    """redis-py's connection to a Redis that says this."""

    def __init__(self, *replies: Any) -> None:
        self.sent: list[tuple[object, ...]] = []
        self._replies = list(replies)

    async def send_command(self, *command: object) -> None:
        self.sent.append(command)

    async def read_response(self) -> Any:
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


@pytest.mark.parametrize(
    ("version", "refused"), [("6.2.14", True), ("5.0", True), ("", True), ("7.0.15", False), ("9.1.2", False)]
)
def test_redis_below_7_is_refused(version: str, refused: bool) -> None:
    connector = Connector({b"server": b"redis", b"version": version.encode(), b"proto": 3}, b"OK")
    problem = run(ask_to_track(connector))
    assert ("expected 7 or newer" in problem) is refused
    assert (("CLIENT", "TRACKING", "ON") in connector.sent) is not refused


@pytest.mark.parametrize("hello", [None, [b"version"], {}, {b"version": None}, {"version": "x"}])
def test_what_is_no_version(hello: object) -> None:
    assert version_in(hello) == "0"


def test_a_refusal_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(RowCache(1 << 20, StoreState()), b"rides")
    hello = {"version": "8.0.0"}

    async def beginning() -> list[bool]:
        return [
            await tracker.begin(Connector(hello, reply), "name")
            for reply in (NoPermissionError("no"), NoPermissionError("no"), b"OK", NoPermissionError("no"))
        ]

    assert run(beginning()) == [False, False, True, False]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition("; ")[2] for line in lines if "; " in line] == ["serving without the cache"] * 2


def test_nodes_that_differ(caplog: pytest.LogCaptureFixture) -> None:
    """One node of a cluster refuses, two others do not: its rows are not kept, and that stays known."""
    caplog.set_level("INFO")
    tracker = Tracker(RowCache(1 << 20, StoreState()), b"rides")
    no = NoPermissionError("no")

    async def beginning(*nodes: tuple[str, object]) -> list[bool]:
        return [await tracker.begin(Connector({"version": "8.0.0"}, reply), name) for name, reply in nodes]

    assert run(beginning(("a", no), ("b", b"OK"), ("a", no), ("b", b"OK"), ("c", no))) == [False, True] * 2 + [False]
    assert "no" in tracker.refusal
    assert len(caplog.records) == 1
    assert run(beginning(("a", b"OK"))) == [True]
    assert "no" in tracker.refusal
    tracker.forget("c")
    assert tracker.refusal == ""
    assert [record.getMessage() for record in caplog.records[1:]] == ["online store a: serving with the cache"]


class Transport:
    """As much of a transport as a connection needs."""

    def __init__(self) -> None:
        self.wrote = b""

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        self.wrote += data

    def is_closing(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@pytest.mark.parametrize("size", [1, 1000])
def test_a_key_that_changes_between_the_rows_of_a_fetch(size: int) -> None:
    """Its row has come already, and is given out with those that come later: too late to be kept."""

    async def receiving() -> None:
        cache = RowCache(1 << 20, StoreState())
        connection = TrackedConnection(Tracker(cache, b"rides"), Transport(), 1.0, 1 << 20, StoreState())
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        ticket = cache.ticket(3)
        connection.send(PendingFetch(future, [(Picker([b"a", b"t"], False), 3)]), [b"..."])
        stream = array([b"1", b"t"]) + array([b"2", b"t"]) + invalidation([b"onerides", b"other"]) + array([b"3", b"t"])
        for start in range(0, len(stream), size):
            connection.data_received(stream[start : start + size])
        (rows,) = await future
        assert [row[0] for row in rows] == [b"1", b"2", b"3"]
        more: dict[str, Any] = {"shape": SHAPE, "views": 1, "ticket": ticket, "now": loop.time()}
        cache.put([b"one", b"two", b"three"], rows, generation=connection.generation, **more)
        kept = [cache.get(key, SHAPE, loop.time()) is not None for key in (b"one", b"two", b"three")]
        assert kept == [False, True, True]
        connection.data_received(invalidation([b"tworides"]))
        assert cache.get(b"two", SHAPE, loop.time()) is None
        connection.data_received(invalidation(None))
        assert cache.get(b"three", SHAPE, loop.time()) is None
        assert connection._state.cache_invalidations == 4
        connection.data_received(b"+OK\r\n")  # to no command
        assert connection.lost.done()
        assert len(cache._generations) == 0
        connection.data_received(invalidation(None))
        assert len(cache._generations) == 0

    run(receiving())


def test_a_connection_that_was_left_feeds_nothing() -> None:
    async def leaving() -> None:
        cache = RowCache(1 << 20, StoreState())
        connection = TrackedConnection(Tracker(cache, b""), Transport(), 1.0, 1 << 20, StoreState())
        generation = connection.generation
        connection.left()
        connection.data_received(b"")
        now = asyncio.get_running_loop().time()
        for some in (generation, connection.generation):
            cache.put([b"k"], [[b"1", b"t"]], shape=SHAPE, views=1, generation=some, ticket=cache.ticket(1), now=now)
            assert cache.get(b"k", SHAPE, now) is None

    run(leaving())
