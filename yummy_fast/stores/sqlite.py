"""Feast's local default store: a file of SQLite, read off the event loop.

Feast keeps a table per view, "<project>_<view>", with a row per entity and feature
(feast/infra/online_stores/sqlite.py, Feast 0.67.0). So a Lookup costs one SELECT per view, for all entities at once.

The file is opened read-only, nothing is ever written, and a file that is not there is an error, not made. It may come
later, or be replaced by another: before each fetch the open file is compared with what the path names now.

SQLite blocks, so one thread owns the connection, and fetches wait for it in line. A deadline that runs from `fetch`
bounds the time in line and inside statements; for a writer's lock a statement waits as long again at most. A fetch that
was given up before its turn is not read at all.

Not meant for load, as Feast's own is not: one fetch runs at a time. This file does not know HTTP, and does not decode
Values.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from yummy_fast.config.feature_store_yaml import Config, find_path
from yummy_fast.errors import ConfigError, CorruptValueError, StoreError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.features.plan import Feature, Lookup, Rows
from yummy_fast.stores.online_store import StoreState

logger = logging.getLogger("yummy_fast")

_KEYS = frozenset(
    (
        *("type", "path", "text_search_enabled", "enable_openai_compatible_store"),
        *("vector_enabled", "similarity"),
    )
)
"""Keys of Feast's SqliteOnlineStoreConfig; it refuses others, and so do we."""

DEFAULT_PATH = "data/online.db"

MAX_KEYS = 900
"""Entities per statement: a SQLite before 3.32 (2020) binds 999 variables at most."""

_STEPS_PER_LOOK = 10_000
"""Instructions of SQLite's machine between two looks at the clock: well under a millisecond."""


class _Select(NamedTuple):
    """What is read of one view's table."""

    table: str
    head: str
    """The statement, up to the entity keys."""
    places: dict[str, tuple[int, ...]]
    """Feature -> its places in a row: several if the Lookup has the view under several names."""
    stamps: tuple[int, ...]
    """Where the timestamp goes."""


class _Prepared(NamedTuple):
    """A Lookup, ready to be read."""

    selects: list[_Select]
    width: int
    """How many items a row has: the features, then the timestamps."""
    description: str


class SqliteStore:
    """An `OnlineStore`: Feast's `type: sqlite`, and what it takes when there is no `online_store`."""

    absent_is_present = False

    def __init__(self, config: Config) -> None:
        block = config.online_store
        where = f"{config.source}: online_store"
        for key in block:
            if key not in _KEYS:
                raise ConfigError(f"{where}.{key}: no such key; expected one of: {', '.join(sorted(_KEYS))}")
        path = block.get("path", DEFAULT_PATH)
        if not isinstance(path, str) or not path or "\0" in path:
            raise ConfigError(f"{where}.path: expected the path of a file, got {path!r}")
        self._given_path = path
        self._folders = config.folders
        self._project = config.project
        self.state = StoreState()
        self._timeout_s = config.store_timeout_ms / 1000
        self._waiting: set[asyncio.Future[Rows]] = set()
        self._nudged: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: ThreadPoolExecutor | None = None
        # What follows belongs to the thread.
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] = (0, 0)
        self._deadline = 0.0
        self._down = False

    @property
    def _path(self) -> str:
        """Asked again for each connection: with `-f some/where/feature_store.yaml`, where the file is decides."""
        return find_path(self._given_path, *self._folders)

    # ------------------------------------------------------------------------------------------------- connecting

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "sqlite")
        await self._loop.run_in_executor(self._thread, self._try_connect)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None:
            await self._loop.run_in_executor(thread, self._disconnect)  # behind all fetches
            thread.shutdown()

    async def ping(self) -> str:
        return await asyncio.to_thread(self._ping)

    def _ping(self) -> str:
        path = self._path
        try:
            _connect(path, self._timeout_s).close()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{path}: {error}") from None
        return f"SQLite {sqlite3.sqlite_version}, {path}"

    def _try_connect(self) -> None:
        with suppress(StoreUnavailableError):  # it is in the log, and each fetch tries again
            self._connected()
            self.state.answered_at = time.monotonic()

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that the path names now. Raises StoreUnavailableError."""
        path = self._path
        try:
            status = os.stat(path)
            found = (status.st_dev, status.st_ino)
            if self._connection is not None:
                if found == self._opened:
                    return self._connection
                self._disconnect()
                logger.info("online store %s: another file; opening it", path)
            connection = _connect(path, self._timeout_s)
        except (OSError, sqlite3.Error) as error:
            self._disconnect()
            reason = error.strerror if isinstance(error, OSError) else error
            if not self._down:
                logger.error("online store %s: cannot open: %s; trying on", path, reason)
            self._down = True
            self.state.failures += 1
            raise StoreUnavailableError(f"The online store cannot be opened: {reason}") from None
        if self._down:
            logger.warning("online store %s: opened", path)
        self._down = False
        # A fetch must not hold the thread for ever: true from this handler ends the statement.
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _STEPS_PER_LOOK)
        self._connection, self._opened = connection, found
        self.state.connects += 1
        self.state.connections = 1
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self.state.connections = 0

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def ping_if_idle(self) -> None:
        if self._loop is not None and self._thread is not None and (self._nudged is None or self._nudged.done()):
            self._nudged = self._loop.run_in_executor(self._thread, self._try_connect)

    # ---------------------------------------------------------------------------------------------------- reading

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[_Prepared]:
        return [self._prepare(lookup) for lookup in lookups]

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        return []  # a feature's name is written out

    def _prepare(self, lookup: Lookup) -> _Prepared:
        width = len(lookup.features)
        selects = []
        for view in dict.fromkeys(lookup.views):
            uses = [place for place, used in enumerate(lookup.views) if used == view]
            places: dict[str, tuple[int, ...]] = {}
            for place, feature in enumerate(lookup.features):
                if lookup.view_of[place] in uses:
                    places[feature.name] = (*places.get(feature.name, ()), place)
            table = f"{self._project}_{view}"
            selects.append(_Select(table, _statement_head(table), places, tuple(width + use for use in uses)))
        views = "1 view" if len(selects) == 1 else f"{len(selects)} views"
        features = "1 feature" if width == 1 else f"{width} features"
        return _Prepared(selects, width + len(lookup.views), f"SELECT {features} of {views}")

    def describe(self, prepared: list[_Prepared]) -> list[str]:
        return [lookup.description for lookup in prepared]

    def fetch(self, prepared: list[_Prepared], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        if self._thread is None:
            closed: asyncio.Future[Rows] = self._loop.create_future()
            closed.set_exception(StoreUnavailableError("The online store is closed"))
            return closed
        # The executor's own Future, chained to asyncio's: cancelled before its turn, the fetch is skipped; during it,
        # what comes is dropped.
        deadline = time.monotonic() + self._timeout_s
        fetch = self._loop.run_in_executor(self._thread, self._fetch, prepared, keys, deadline)
        self._waiting.add(fetch)
        fetch.add_done_callback(self._waiting.discard)
        return fetch

    def _fetch(self, prepared: list[_Prepared], keys: Sequence[Sequence[bytes]], deadline: float) -> Rows:
        """`fetch`, in the thread."""
        self._deadline = deadline
        found = [self._read(lookup, group) for lookup, group in zip(prepared, keys, strict=True)]
        self.state.answered_at = time.monotonic()
        return found

    def _read(self, lookup: _Prepared, keys: Sequence[bytes]) -> list[list[bytes | None]]:
        rows: dict[bytes, list[bytes | None]] = {key: [None] * lookup.width for key in keys}
        for select in lookup.selects:
            times: dict[bytes, int | str | None] = {}
            for start in range(0, len(keys), MAX_KEYS):
                chunk = keys[start : start + MAX_KEYS]
                for key, feature, value, event_ts in self._select(select, chunk):
                    times[key] = event_ts  # the last row's, whichever feature it is of
                    for place in select.places.get(feature, ()):
                        rows[key][place] = value
            for key, event_ts in times.items():
                stamp = _timestamp(event_ts, select.table)
                for place in select.stamps:
                    rows[key][place] = stamp
        return [rows[key] for key in keys]

    def _select(self, select: _Select, keys: Sequence[bytes]) -> list[tuple[bytes, str, bytes, int | str | None]]:
        """The rows of one statement. Raises StoreError."""
        if time.monotonic() > self._deadline:
            raise StoreTimeoutError("The online store did not answer in time")
        connection = self._connected()
        statement = f"{select.head}{'?,' * (len(keys) - 1)}?) ORDER BY entity_key"
        try:
            return connection.execute(statement, keys).fetchall()
        except sqlite3.Error as error:
            raise self._store_error(error, select.table) from None

    def _store_error(self, error: sqlite3.Error, table: str) -> StoreError:
        """What to tell a request whose statement failed."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without the extension
        if code == sqlite3.SQLITE_INTERRUPT:
            return StoreTimeoutError("The online store did not answer in time")
        if code == sqlite3.SQLITE_ERROR:
            return StoreError(f"The online store cannot read table {table}: {error}")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # for as long as the statement was to wait for it
            return StoreTimeoutError("The online store did not answer in time: a writer holds it")
        self._disconnect()  # perhaps the file was written over: the next fetch opens it afresh
        return StoreUnavailableError(f"The online store cannot be read: {error}")


# -------------------------------------------------------------------------------------------------------- the details


def _connect(path: str, timeout_s: float) -> sqlite3.Connection:
    """Open the file, and look whether it is a database at all. Raises sqlite3.Error."""
    # As a URI, which alone can say read-only. `timeout` is how long to wait for a writer to finish.
    connection = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _statement_head(table: str) -> str:
    """Feast's own statement (SqliteOnlineStore.online_read), up to the entity keys.

    It reads all features of the view, wanted or not. Which of an entity's rows is the last, and gives the timestamp,
    depends on the index that SQLite chooses, and a condition on the feature makes it choose another. The value is cast
    so that it is bytes whatever a writer put there; a NULL is a stored null, as no bytes are.
    """
    quoted = table.replace('"', '""')
    return (
        "SELECT entity_key, feature_name, ifnull(CAST(value AS BLOB), x''), event_ts "  # noqa: S608  # it is quoted
        f'FROM "{quoted}" WHERE entity_key IN ('
    )


def _timestamp(event_ts: int | float | str | bytes | None, table: str) -> bytes | None:
    """The agreed form of a stored event_ts.

    Feast 0.67 stores whole seconds since the epoch. It takes them for its server's local time on both ways, so that
    they are what they seem where TZ is UTC; here they are always UTC. Before Feast registered an adapter, Python's own
    wrote ISO 8601 text, in UTC without saying so, which Feast can no longer read.
    """
    if type(event_ts) is int:
        return encode_timestamp(event_ts)
    if event_ts is None:
        return None
    try:
        if isinstance(event_ts, str):
            moment = datetime.fromisoformat(event_ts)
            event_ts = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return encode_timestamp(int(event_ts))
    except (ValueError, OverflowError):
        raise CorruptValueError(f"The online store holds an event_ts in table {table} that is no time") from None
