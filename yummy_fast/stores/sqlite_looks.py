"""Looking around in Feast's SQLite file, for people who wonder why a feature is null: `Looks` of `type: sqlite`.

Feast has a table for each project and view, and `Looks` speaks of Redis's hashes, so rows are shown as if they were in
one: under the entity key and the project stands what all tables of the project have of the entity.

    table rides_stats:  (driver 7)  trips  20 2a  1795389499   ->   (driver 7)rides:  "stats:trips"  20 2a
                                                                                      "_ts:stats"    08 ...

A table `a_b_c` may be view c of project a_b, or view b_c of project a. A key says by its end which project is meant;
where only the table is there, the repository's project, the `views` that the caller names and then the shortest project
decide. Where keys are looked for by what is in them, each project that a table may be of is tried, unless the table is
that of a view of the repository's own.

The file is only read. A statement is interrupted when its time is over. No Value is decoded.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from yummy_fast.errors import CorruptValueError, StoreUnavailableError
from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.stores.looks import Scan, StoredHash, field_name

STATEMENT_S = 2.0
"""How long a statement about one entity may take; one with the primary key takes microseconds."""
KEYS_AT_ONCE = 1_000
"""Keys of a scan that are fetched before the time is looked at."""
_INSTRUCTIONS_PER_CHECK = 10_000
"""Instructions of SQLite's virtual machine between two looks at the clock."""

_NO_STAMP = b"\xff"
"""What decodes to no timestamp, for an event_ts that is none."""
_COLUMNS = frozenset(("entity_key", "feature_name", "value", "event_ts"))

Stamp = Callable[[int | float | str | bytes | None, str], bytes | None]
"""A stored event_ts and its table -> a serialised google.protobuf.Timestamp; raises CorruptValueError."""


class SqliteLooks:
    """`Looks` into a file of SQLite."""

    kind = "sqlite"
    db = 0
    key_ttl_s = 0

    def __init__(self, address: str, connect: Callable[[], sqlite3.Connection], project: str, stamp: Stamp) -> None:
        """Opens nothing yet. `connect` opens the file to read it, and raises sqlite3.Error."""
        self.address = address
        self._connect = connect
        self._project = project
        self._stamp = stamp
        self._connection: sqlite3.Connection | None = None
        self._found_tables: list[str] | None = None
        self._deadline = 0.0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def mode(self) -> str:
        return ""

    def databases(self) -> Mapping[int, int]:
        return {}

    def exist(self, keys: Sequence[bytes], db: int) -> list[bool]:
        return [any(self._has(table, entity_key) for _, table, entity_key in self._places(key)) for key in keys]

    def have_field(self, keys: Sequence[bytes], field: bytes, db: int) -> list[bool]:
        return [self.fields_there(key, [field], db)[0] for key in keys]

    def fields_there(self, key: bytes, fields: Sequence[bytes], db: int) -> list[bool]:
        there: set[bytes] = set()
        for view, table, entity_key in self._places(key):
            if timestamp_field(view) in fields and self._has(table, entity_key):
                there.add(timestamp_field(view))
        if not all(field.startswith(timestamp_field("")) for field in fields):
            found = self.read(key, db)
            there |= set(() if found is None else found.fields)
        return [field in there for field in fields]

    def read(self, key: bytes, db: int, wanted: Sequence[bytes] = ()) -> StoredHash | None:
        fields: dict[bytes, bytes] = {}
        for view, table, entity_key in self._places(key):
            statement = (
                "SELECT feature_name, ifnull(CAST(value AS BLOB), x''), event_ts "  # noqa: S608  # the table is quoted
                f"FROM {_quoted(table)} WHERE entity_key = ?"
            )
            with self._asking(STATEMENT_S) as connection:
                rows = connection.execute(statement, (entity_key,)).fetchall()
            for feature, value, event_ts in rows:
                fields[field_name(self.kind, view, feature)] = value
                try:
                    stamp = self._stamp(event_ts, table)
                except CorruptValueError:
                    stamp = None
                fields[timestamp_field(view)] = stamp or _NO_STAMP
        return StoredHash(fields, len(fields)) if fields else None

    def read_many(self, keys: Sequence[bytes], wanted: Sequence[bytes] = ()) -> Iterator[tuple[bytes, StoredHash]]:
        for key in keys:
            found = self.read(key, self.db, wanted)
            if found is not None:
                yield key, found

    def scan(
        self,
        *,
        db: int,
        contains: Sequence[bytes] = (),
        suffix: bytes = b"",
        views: Sequence[str] = (),
        max_keys: int,
        time_s: float,
    ) -> Scan:
        deadline = time.monotonic() + time_s
        keys: dict[bytes, None] = {}
        looked_at = 0
        for table in self._tables():
            projects = self._projects_of(table, views)
            projects = projects if contains else projects[:1]
            with self._asking(max(deadline - time.monotonic(), 0.001), may_end=True) as connection:
                rows = connection.execute(f"SELECT DISTINCT entity_key FROM {_quoted(table)}")  # noqa: S608  # quoted
                while found := rows.fetchmany(KEYS_AT_ONCE):
                    looked_at += len(found)
                    for (entity_key,) in found:
                        for project in projects:
                            key = bytes(entity_key) + project.encode()
                            if key.endswith(suffix) and _has_in_order(key, contains):
                                keys[key] = None
                    if len(keys) > max_keys:
                        break
            if len(keys) > max_keys or time.monotonic() > deadline:
                return Scan(list(keys)[:max_keys], False, looked_at)
        return Scan(list(keys), True, looked_at)

    # --------------------------------------------------------------------------------------------------- the details

    def _tables(self) -> list[str]:
        """The tables that look like Feast's, those of the own project first."""
        if self._found_tables is None:
            statement = (
                "SELECT m.name, group_concat(c.name) FROM sqlite_master AS m, pragma_table_info(m.name) AS c "
                "WHERE m.type = 'table' GROUP BY m.name"
            )
            with self._asking(STATEMENT_S) as connection:
                rows = connection.execute(statement).fetchall()
            tables = [name for name, columns in rows if set(columns.split(",")) >= _COLUMNS and any(_splits(name))]
            self._found_tables = sorted(tables, key=lambda name: (not name.startswith(f"{self._project}_"), name))
        return self._found_tables

    def _places(self, key: bytes) -> Iterator[tuple[str, str, bytes]]:
        """(view, table, entity key): where the rows under a key may be."""
        for table in self._tables():
            for project, view in _splits(table):
                if key.endswith(project.encode()):
                    yield view, table, key[: len(key) - len(project.encode())]

    def _projects_of(self, table: str, views: Sequence[str]) -> list[str]:
        """The projects that a table may be of, the likeliest first; the own one alone if it has such a view."""
        splits = list(_splits(table))
        own = [view for project, view in splits if project == self._project]
        if own and (not views or own[0] in views):
            return [self._project]
        return [
            project for project, _ in sorted(splits, key=lambda one: (one[0] != self._project, one[1] not in views))
        ]

    def _has(self, table: str, entity_key: bytes) -> bool:
        statement = f"SELECT 1 FROM {_quoted(table)} WHERE entity_key = ? LIMIT 1"  # noqa: S608  # quoted
        with self._asking(STATEMENT_S) as connection:
            return connection.execute(statement, (entity_key,)).fetchone() is not None

    @contextmanager
    def _asking(self, time_s: float, *, may_end: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, for `time_s`. `may_end`: to be interrupted then is no error. Raises StoreUnavailableError."""
        self._deadline = time.monotonic() + time_s
        try:
            if self._connection is None:
                self._connection = self._connect()
                handler = lambda: time.monotonic() > self._deadline  # noqa: E731
                self._connection.set_progress_handler(handler, _INSTRUCTIONS_PER_CHECK)
            yield self._connection
        except sqlite3.Error as error:
            if may_end and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_INTERRUPT:
                return
            raise StoreUnavailableError(f"{self.address}: {error}") from None


def _splits(table: str) -> Iterator[tuple[str, str]]:
    """(project, view): the ways to read the name of a table, the shortest project first."""
    parts = table.split("_")
    for length in range(1, len(parts)):
        project, view = "_".join(parts[:length]), "_".join(parts[length:])
        if project and view:
            yield project, view


def _has_in_order(key: bytes, parts: Sequence[bytes]) -> bool:
    """Whether all parts are in a key, one behind the other."""
    start = 0
    for part in parts:
        at = key.find(part, start)
        if at < 0:
            return False
        start = at + len(part)
    return True


def _quoted(table: str) -> str:
    """The name of a table in a statement."""
    escaped = table.replace('"', '""')
    return f'"{escaped}"'
