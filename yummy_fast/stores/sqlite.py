"""Feast's local default store: a file of SQLite, read and written off the event loop.

Feast keeps a table per view, "<project>_<view>", with a row per entity and feature
(feast/infra/online_stores/sqlite.py, Feast 0.67.0):

    entity_key  feature_name  value     event_ts
    (driver 7)  trips         20 2a     1795389499
    (driver 7)  rating        x''       1795389499

So a Lookup costs one SELECT per view, for all entities at once.

The file is opened read-only; a push opens it once more, to write. A file that does not exist is an error, and is not
created; nor is a table, which is `feast apply`'s to make. The file may appear later, or be replaced by another one:
before each fetch, the open file is compared with the file at the path.

A push is one transaction, so all of it is stored or nothing. Unlike in Redis, no timestamps are compared: Feast
overwrites whatever is there.

SQLite blocks, so one thread owns the connection, and fetches queue for the thread. A fetch has one deadline, the
store's timeout from the call of `fetch`: it bounds the time in the queue and in statements. A statement that finds the
file locked by a writer may wait for another timeout. A fetch that is cancelled while it is in the queue is not run.
A push takes the same way.

Not meant for load, as Feast's own is not: one fetch runs at a time. This file does not know HTTP, and does not decode
Values.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from yummy_fast.config.repository import Repository
from yummy_fast.config.settings import StoreOptions
from yummy_fast.errors import ConfigError, CorruptValueError, StoreError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.feast_format.values import parse_value
from yummy_fast.features.event_times import Moment
from yummy_fast.features.plan import Feature, Lookup, Rows
from yummy_fast.features.written import Chosen, WrittenView
from yummy_fast.sources.file import find_path
from yummy_fast.stores.online_store import StoreState, check_keys
from yummy_fast.stores.survey import Survey

if TYPE_CHECKING:
    from yummy_fast.stores.looks import Looks

logger = logging.getLogger("yummy_fast")

_KEYS = frozenset(
    (
        "type",
        "path",
        "text_search_enabled",
        "enable_openai_compatible_store",
        "vector_enabled",
        "similarity",
    )
)
"""Keys of Feast's SqliteOnlineStoreConfig; it refuses others, and so do we."""

DEFAULT_PATH = "data/online.db"

SURVEYED_KEYS = 20
"""Entity keys of each view that a survey looks at."""

MAX_KEYS = 900
"""Entities per statement: before 3.32 (2020), SQLite allows no more than 999 variables in a statement."""

_INSTRUCTIONS_PER_CHECK = 10_000
"""Instructions of SQLite's virtual machine between two checks of the deadline: well under a millisecond."""


class _Select(NamedTuple):
    """What is read from one view's table."""

    table: str
    head: str
    """The statement, up to the entity keys."""
    positions: dict[str, tuple[int, ...]]
    """Feature -> its positions in a row: several if the Lookup has the view under several names."""
    timestamp_positions: tuple[int, ...]
    """The positions of the view's timestamp in a row."""


class _Prepared(NamedTuple):
    """What a Lookup was prepared to."""

    selects: list[_Select]
    width: int
    """How many items a row has: the features, then the timestamps."""
    description: str


class _Upsert(NamedTuple):
    """How rows of one view are written: Feast's own statement (SqliteOnlineStore.online_write_batch)."""

    table: str
    features: tuple[str, ...]

    def statement(self, has_numbers: bool) -> str:
        """`has_numbers`: whether the table has a column for numbers beside that for text."""
        columns = ["value", "value_text", *(["value_num"] if has_numbers else []), "event_ts", "created_ts"]
        quoted = self.table.replace('"', '""')
        return (
            f'INSERT INTO "{quoted}" (entity_key, feature_name, {", ".join(columns)}) '  # noqa: S608  # quoted
            f"VALUES ({', '.join('?' * (2 + len(columns)))}) ON CONFLICT(entity_key, feature_name) "
            f"DO UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in columns)}"
        )

    def rows(self, chosen: Chosen, has_numbers: bool) -> Iterator[tuple[object, ...]]:
        """One for each row and feature, in the order of the statement's columns."""
        rows = chosen.rows
        for number in chosen.numbers:
            event_ts = _whole_seconds(rows.moments[number])
            created = rows.created[number] if rows.created else None
            created_ts = None if created is None else _whole_seconds(created)
            for feature, values in zip(self.features, rows.values, strict=True):
                text, as_number = _text_and_number(values[number])
                numbers = (as_number,) if has_numbers else ()
                yield (rows.keys[number], feature, values[number], text, *numbers, event_ts, created_ts)


class SqliteStore:
    """An `OnlineStore`: Feast's `type: sqlite`, and what it takes when there is no `online_store`."""

    absent_is_present = False
    notices: tuple[str, ...]
    compares_times = False

    def __init__(self, repository: Repository, options: StoreOptions) -> None:
        block = repository.online_store
        where = f"{repository.source}: online_store"
        check_keys(block, _KEYS, where)
        path = block.get("path", DEFAULT_PATH)
        if not isinstance(path, str) or not path or "\0" in path:
            raise ConfigError(f"{where}.path: expected the path of a file, got {path!r}")
        self._given_path = path
        self._folders = repository.folders
        self._project = repository.project
        self.notices = ()
        if options.cache_mb:
            self.notices = (f"{repository.source}: yummy_fast.cache_mb: no effect with online_store.type sqlite",)
        self.state = StoreState()
        self._has_numbers = block.get("enable_openai_compatible_store") is True
        self._has_vectors = block.get("vector_enabled") is True
        self._timeout_s = options.timeout_ms / 1000
        self._waiting: set[asyncio.Future[Any]] = set()
        self._idle_ping: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: ThreadPoolExecutor | None = None
        # Only the thread uses what follows.
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] = (0, 0)
        """Device and inode of the open file."""
        self._deadline = 0.0
        """Of the fetch that runs, as time.monotonic()."""
        self._down = False
        """Whether the last attempt to open the file failed."""

    @property
    def _path(self) -> str:
        """Found again for each connection: with `-f some/where/feature_store.yaml`, it depends on which files exist."""
        return find_path(self._given_path, *self._folders)

    # ------------------------------------------------------------------------------------------------- connecting

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "sqlite")
        await self._loop.run_in_executor(self._thread, self._try_connect)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None:
            await self._loop.run_in_executor(thread, self._disconnect)  # after all fetches in the queue
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

    async def survey(self, views: Sequence[str]) -> Survey:
        return await asyncio.to_thread(self._survey, views)

    def looks(self) -> Looks:
        from yummy_fast.stores.sqlite_looks import SqliteLooks  # which nothing that serves needs

        path = self._path
        return SqliteLooks(path, lambda: _connect(path, self._timeout_s), self._project, _timestamp)

    def _survey(self, views: Sequence[str]) -> Survey:
        path = self._path
        keys: set[bytes] = set()
        found = set()
        try:
            with closing(_connect(path, self._timeout_s)) as connection:
                for view in views:
                    statement = f"SELECT DISTINCT entity_key FROM {_quoted(f'{self._project}_{view}')} LIMIT ?"  # noqa: S608
                    with suppress(sqlite3.OperationalError):  # there is no such table: who reads it will say so
                        rows = {bytes(key) for (key,) in connection.execute(statement, (SURVEYED_KEYS,))}
                        keys |= rows
                        found.update([view] if rows else [])
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{path}: {error}") from None
        return Survey(address=path, keys=tuple(keys), views=frozenset(found), looked_at=len(keys))

    def _try_connect(self) -> None:
        with suppress(StoreUnavailableError):  # it has been logged, and each fetch retries
            self._connected()
            self.state.answered_at = time.monotonic()

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now. Raises StoreUnavailableError."""
        path = self._path
        try:
            status = os.stat(path)
            found = (status.st_dev, status.st_ino)
            if self._connection is not None:
                if found == self._opened:
                    return self._connection
                self._disconnect()
                logger.info("online store %s: the file was replaced; opening the new one", path)
            connection = _connect(path, self._timeout_s)
        except (OSError, sqlite3.Error) as error:
            self._disconnect()
            reason = error.strerror if isinstance(error, OSError) else error
            if not self._down:
                logger.error("online store %s: cannot open: %s; retrying", path, reason)
            self._down = True
            self.state.failures += 1
            raise StoreUnavailableError(f"The online store cannot be opened: {reason}") from None
        if self._down:
            logger.warning("online store %s: opened", path)
        self._down = False
        # A statement must not run for ever: when this handler returns true, SQLite interrupts the statement.
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _INSTRUCTIONS_PER_CHECK)
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
        if self._loop is not None and self._thread is not None and (self._idle_ping is None or self._idle_ping.done()):
            self._idle_ping = self._loop.run_in_executor(self._thread, self._try_connect)

    # ---------------------------------------------------------------------------------------------------- reading

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[_Prepared]:
        return [self._prepare(lookup) for lookup in lookups]

    def nodes(self) -> list[dict[str, Any]]:
        return []

    def cache(self) -> dict[str, Any]:
        return {}

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        return []  # Feast stores the names of features as they are

    def _prepare(self, lookup: Lookup) -> _Prepared:
        width = len(lookup.features)
        selects = []
        for view in dict.fromkeys(lookup.views):
            uses = [number for number, name in enumerate(lookup.views) if name == view]
            positions: dict[str, tuple[int, ...]] = {}
            for position, feature in enumerate(lookup.features):
                if lookup.view_of[position] in uses:
                    positions[feature.name] = (*positions.get(feature.name, ()), position)
            table = f"{self._project}_{view}"
            selects.append(
                _Select(
                    table=table,
                    head=_statement_head(table),
                    positions=positions,
                    timestamp_positions=tuple(width + number for number in uses),
                )
            )
        views = "1 view" if len(selects) == 1 else f"{len(selects)} views"
        features = "1 feature" if width == 1 else f"{width} features"
        return _Prepared(selects, width + len(lookup.views), f"SELECT {features} of {views}")

    def describe(self, prepared: list[_Prepared]) -> list[str]:
        return [lookup.description for lookup in prepared]

    def check_room(self, keys: int) -> None:
        pass  # a fetch that waits for longer than it may is not run

    def fetch_times(self, prepared: list[_Prepared], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        return self.fetch(prepared, keys)

    def fetch(self, prepared: list[_Prepared], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        if self._thread is None:
            closed: asyncio.Future[Rows] = self._loop.create_future()
            closed.set_exception(StoreUnavailableError("The online store is closed"))
            return closed
        # Cancelling asyncio's Future cancels the executor's: a fetch that is still in the queue is skipped, and the
        # rows of a fetch that runs are dropped.
        deadline = time.monotonic() + self._timeout_s
        fetch = self._loop.run_in_executor(self._thread, self._fetch, prepared, keys, deadline)
        self._waiting.add(fetch)
        fetch.add_done_callback(self._waiting.discard)
        return fetch

    def _fetch(self, prepared: list[_Prepared], keys: Sequence[Sequence[bytes]], deadline: float) -> Rows:
        """What `fetch` runs in the thread."""
        self._deadline = deadline
        found = [self._read(lookup, group) for lookup, group in zip(prepared, keys, strict=True)]
        self.state.answered_at = time.monotonic()
        return found

    def _read(self, lookup: _Prepared, keys: Sequence[bytes]) -> list[list[bytes | None]]:
        rows: dict[bytes, list[bytes | None]] = {key: [None] * lookup.width for key in keys}
        for select in lookup.selects:
            event_times: dict[bytes, int | str | None] = {}
            for start in range(0, len(keys), MAX_KEYS):
                chunk = keys[start : start + MAX_KEYS]
                for key, feature, value, event_ts in self._select(select, chunk):
                    event_times[key] = event_ts  # of the entity's last row, whichever feature that holds
                    for position in select.positions.get(feature, ()):
                        rows[key][position] = value
            for key, event_ts in event_times.items():
                timestamp = _timestamp(event_ts, select.table)
                for position in select.timestamp_positions:
                    rows[key][position] = timestamp
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
        """The error for a request whose statement failed."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary code of an extended one
        if code == sqlite3.SQLITE_INTERRUPT:
            return StoreTimeoutError("The online store did not answer in time")
        if code == sqlite3.SQLITE_ERROR:
            return StoreError(f"The online store cannot use table {table}: {error}")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # and the statement has waited for its timeout
            return StoreTimeoutError("The online store did not answer in time: a writer holds it")
        self._disconnect()  # perhaps the file was overwritten in place: the next fetch opens it again
        return StoreUnavailableError(f"The online store cannot be read: {error}")

    # ---------------------------------------------------------------------------------------------------- writing

    def prepare_write(self, view: WrittenView) -> _Upsert:
        table = f"{self._project}_{view.store_name}"
        return _Upsert(table, tuple(feature.name for feature in view.features))

    def write(self, writes: Sequence[tuple[_Upsert, Chosen]]) -> asyncio.Future[None]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        if self._thread is None or self._has_vectors:
            refused: asyncio.Future[None] = self._loop.create_future()
            refused.set_exception(
                StoreUnavailableError("The online store is closed")
                if self._thread is None
                else StoreError("This server does not write to an online store with vector_enabled")
            )
            return refused
        deadline = time.monotonic() + self._timeout_s
        writing = self._loop.run_in_executor(self._thread, self._write, writes, deadline)
        self._waiting.add(writing)
        writing.add_done_callback(self._waiting.discard)
        return writing

    def _write(self, writes: Sequence[tuple[_Upsert, Chosen]], deadline: float) -> None:
        """What `write` runs in the thread."""
        self._deadline = deadline
        table = ""
        self._connected()  # which notes and logs whether there is a file
        try:
            with closing(_connect(self._path, self._timeout_s, "rw")) as connection:
                connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS_PER_CHECK)
                connection.execute("BEGIN IMMEDIATE")
                for upsert, chosen in writes:
                    table = upsert.table
                    has_numbers = self._has_numbers and _has_column(connection, table, "value_num")
                    connection.executemany(upsert.statement(has_numbers), upsert.rows(chosen, has_numbers))
                if time.monotonic() > deadline:
                    raise StoreTimeoutError("The online store did not answer in time")
                connection.execute("COMMIT")  # without it, closing the connection takes back everything
        except sqlite3.Error as error:
            raise self._store_error(error, table) from None
        self.state.answered_at = time.monotonic()


# -------------------------------------------------------------------------------------------------------- the details


def _connect(path: str, timeout_s: float, mode: str = "ro") -> sqlite3.Connection:
    """Open the file, and read from it, which fails if it is not a database. Raises sqlite3.Error."""
    # Only a URI can say "read-only". `timeout` is how long a statement waits for a writer to finish.
    uri = f"{Path(path).as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _statement_head(table: str) -> str:
    """Feast's own statement (SqliteOnlineStore.online_read), up to the entity keys.

    It reads all features of the view, asked for or not. The timestamp of an entity is that of its last row, and which
    row comes last depends on the index that SQLite chooses; with a condition on the feature it would choose another
    than for Feast. The cast makes the value bytes, whatever type a writer gave it. NULL becomes x'', a stored null.
    """
    return (
        "SELECT entity_key, feature_name, ifnull(CAST(value AS BLOB), x''), event_ts "  # noqa: S608  # the table is quoted
        f"FROM {_quoted(table)} WHERE entity_key IN ("
    )


def _quoted(table: str) -> str:
    """The name of a table in a statement."""
    escaped = table.replace('"', '""')
    return f'"{escaped}"'


def _timestamp(event_ts: int | float | str | bytes | None, table: str) -> bytes | None:
    """A stored event_ts as a serialised google.protobuf.Timestamp, the form that `Rows` have.

    Feast 0.67 stores whole seconds since the epoch. When it writes and when it reads, it takes them for local time, so
    they are right where TZ is UTC; here they are always UTC. Before Feast registered an adapter for sqlite3, Python's
    own wrote ISO 8601 text, in UTC but without an offset; Feast can no longer read it.
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
        raise CorruptValueError(f"The online store holds an event_ts in table {table} that is not a time") from None


def _has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    found = connection.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone()
    return found is not None


def _whole_seconds(moment: Moment) -> int:
    """As int() of a float in Feast: towards the epoch."""
    return int(moment.nanos / 1_000_000_000)


def _text_and_number(stored: bytes) -> tuple[str | None, float | None]:
    """What Feast stores beside a Value, for searches (extract_text_and_num in feast/infra/online_stores/helpers.py)."""
    message = parse_value(stored)
    field = None if message is None else message.WhichOneof("val")
    if message is None or field is None:
        return None, None
    value = getattr(message, field)
    if field == "string_val":
        return value, None
    if field in ("int64_val", "int32_val", "double_val", "float_val", "bool_val"):
        return str(value), float(value)
    return None, None
