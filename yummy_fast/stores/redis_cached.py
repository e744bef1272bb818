"""Fetches through a cache: what is kept there is given out at once, and only the rest is asked for.

    request     k1 k2 k3 k4         cache     k1  -  k3  -
    fetch       k2 k4               answer    k1 k2 k3 k4

What has come is kept here if there is one Redis, and in `redis_shares` if there are several, where it is known which
node has answered. When a row may be served and when it may be kept is decided in `row_cache`.

One hit of READ_AGAIN_EVERY is read again, on the connection that has brought the row. If Redis has told us of every
change, the answer is the same row, or an invalidation came before it; else it is counted as a difference, which must
not happen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from yummy_fast.errors import StoreError
from yummy_fast.features.plan import Row, Rows
from yummy_fast.features.written import Chosen
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import RedisConnection
from yummy_fast.stores.redis_hash import HashReader
from yummy_fast.stores.redis_pending import PendingFetch
from yummy_fast.stores.redis_rows import HashWriter
from yummy_fast.stores.redis_tracking import TrackedConnection
from yummy_fast.stores.redis_turns import cost_of
from yummy_fast.stores.row_cache import MANY_WRITTEN, MAX_KEYS, RowCache

logger = logging.getLogger("yummy_fast")

Fetch = Callable[[list[HashReader], Sequence[Sequence[bytes]]], asyncio.Future[Rows]]
Write = Callable[[Sequence[tuple[HashWriter, Chosen]]], asyncio.Future[None]]


class CachedReads:
    """The `fetch` and the `write` of a store that has a cache."""

    def __init__(
        self,
        cache: RowCache,
        state: StoreState,
        fetch: Fetch,
        write: Write,
        connection: Callable[[], RedisConnection | None],
    ) -> None:
        """`fetch` and `write` are those without the cache. `connection`: the one for all keys, if there is one."""
        self._loop = asyncio.get_running_loop()
        self._cache = cache
        self._state = state
        self._fetch = fetch
        self._write = write
        self._connection = connection

    def fetch(self, prepared: list[HashReader], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        """As OnlineStore.fetch."""
        cache = self._cache
        if len(keys) == 1 and len(keys[0]) == 1 and prepared[0].shape:
            row = cache.get(keys[0][0], prepared[0].shape, self._loop.time())
            return self._fill(prepared, keys, 1) if row is None else self._served(prepared, keys, [[row]], 1)
        count = sum(map(len, keys))
        if not 0 < count <= MAX_KEYS or not all(reader.shape for reader in prepared):
            return self._fetch(prepared, keys)
        now = self._loop.time()
        found = [
            [cache.get(key, reader.shape, now) for key in group] for reader, group in zip(prepared, keys, strict=True)
        ]
        missing = [[place for place, row in enumerate(rows) if row is None] for rows in found]
        misses = sum(map(len, missing))
        if not misses:
            return self._served(prepared, keys, found, count)
        if misses == count:
            return self._fill(prepared, keys, count)
        return self._fill_gaps(prepared, keys, found, missing)

    def _served(
        self, prepared: list[HashReader], keys: Sequence[Sequence[bytes]], rows: Any, count: int
    ) -> asyncio.Future[Rows]:
        """The cache has all rows."""
        if self._cache.is_due(count):
            self._read_again(prepared[0], keys[0][0], rows[0][0])
        future: asyncio.Future[Rows] = self._loop.create_future()
        future.set_result(rows)
        return future

    def _fill_gaps(
        self,
        prepared: list[HashReader],
        keys: Sequence[Sequence[bytes]],
        found: list[list[Row | None]],
        missing: list[list[int]],
    ) -> asyncio.Future[Rows]:
        """The cache has some rows."""
        future: asyncio.Future[Rows] = self._loop.create_future()
        lookups = [number for number, places in enumerate(missing) if places]
        wanted = [[keys[number][place] for place in missing[number]] for number in lookups]
        rest = self._fill([prepared[number] for number in lookups], wanted, sum(map(len, wanted)))

        def complete(done: asyncio.Future[Rows]) -> None:
            if future.done():
                return
            error = done.exception()
            if error is not None:
                future.set_exception(error)
                return
            for number, rows in zip(lookups, done.result(), strict=True):
                for place, row in zip(missing[number], rows, strict=True):
                    found[number][place] = row
            future.set_result(found)  # type: ignore[arg-type]  # no gap is left

        rest.add_done_callback(complete)
        future.add_done_callback(lambda _: rest.cancel())  # whoever asked has given up, or it is done
        return future

    def _fill(self, prepared: list[HashReader], keys: Sequence[Sequence[bytes]], count: int) -> asyncio.Future[Rows]:
        """The cache has none of the rows: fetch them, and keep them."""
        ticket = self._cache.ticket(count)
        future = self._fetch(prepared, keys)
        connection = self._connection()
        if isinstance(connection, TrackedConnection):
            future.add_done_callback(partial(self._keep, prepared, keys, connection, ticket))
        return future

    def _keep(
        self,
        prepared: list[HashReader],
        keys: Sequence[Sequence[bytes]],
        connection: TrackedConnection,
        ticket: int,
        done: asyncio.Future[Rows],
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        now, generation = self._loop.time(), connection.generation
        for reader, group, rows in zip(prepared, keys, done.result(), strict=True):
            self._cache.put(
                group, rows, shape=reader.shape, views=reader.views, generation=generation, ticket=ticket, now=now
            )

    def write(self, writes: Sequence[tuple[HashWriter, Chosen]]) -> asyncio.Future[None]:
        """As OnlineStore.write. The rows are forgotten when they are written.

        Redis tells us of our own changes, too, but only after its reply: a read between the two would get the row from
        before.
        """
        future = self._write(writes)
        if sum(len(chosen.numbers) for _, chosen in writes) > MANY_WRITTEN:
            future.add_done_callback(lambda _: self._cache.drop_all(self._loop.time()))
        else:
            keys = [chosen.rows.keys[number] for _, chosen in writes for number in chosen.numbers]
            future.add_done_callback(lambda _: self._cache.forget(keys))
        return future

    def _read_again(self, reader: HashReader, key: bytes, row: Row) -> None:
        connection = self._cache.source_of(key, reader.shape, row)
        if isinstance(connection, TrackedConnection) and connection.room > 0:
            command = reader.command.render([key])
            again = ReadAgain(self._cache, self._state, key, reader.shape, row)
            pending = PendingFetch(again, [(reader.picker, 1)])
            connection.send(pending, [command], cost_of(1, len(command)))


class ReadAgain:
    """The `Receiver` of a row that the cache has."""

    def __init__(self, cache: RowCache, state: StoreState, key: bytes, shape: bytes, row: Row) -> None:
        self._cache = cache
        self._state = state
        self._key = key
        self._shape = shape
        self._row = row

    def done(self) -> bool:
        return False

    def set_result(self, rows: Rows, /) -> None:
        kept = self._cache.source_of(self._key, self._shape, self._row) is not None
        if kept and tuple(rows[0][0]) != tuple(self._row):
            self._state.cache_differences += 1
            logger.error("online store: the cache had another row than the store: this should not happen")
            self._cache.forget([self._key])

    def set_exception(self, _: StoreError, /) -> None:
        """It is lost, or the key is at another node now, which is told by whoever asks there."""
        self._cache.forget([self._key])

    def add_done_callback(self, _: Callable[[Any], object], /) -> None:
        pass
