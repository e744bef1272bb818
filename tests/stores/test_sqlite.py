"""The SQLite store, on files in Feast's schema that each test writes itself.

What every store must do is in tests/contract. Here is what is SQLite's own: the file and its fates, the tables and
their names, event_ts, locks and the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness import run
from yummy_fast.errors import ConfigError, CorruptValueError, StoreError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.timestamps import decode_timestamp
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.event_times import moment_of
from yummy_fast.features.plan import Feature, HashContents, Lookup, Rows
from yummy_fast.features.written import Chosen, ViewRows
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.online_store import open_store_class
from yummy_fast.stores.sqlite import MAX_KEYS, SqliteStore, _Upsert

KEY, OTHER, ABSENT = b"\x01key", b"\x01other", b"\x01absent"


class Database:
    """A file as Feast 0.67 makes it (feast/infra/online_stores/sqlite.py, SqliteTable.update, online_write_batch)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(exist_ok=True)

    def table(self, name: str) -> None:
        quoted = name.replace('"', '""')
        self.run(
            f'CREATE TABLE "{quoted}" (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, '
            "vector_value BLOB, event_ts timestamp, created_ts timestamp, PRIMARY KEY(entity_key, feature_name))"
        )
        self.run(f'CREATE INDEX "{quoted}_ek" ON "{quoted}" (entity_key)')

    def write(self, table: str, key: bytes, feature: str, value: object, event_ts: object) -> None:
        quoted = table.replace('"', '""')
        self.run(
            f'INSERT INTO "{quoted}" (entity_key, feature_name, value, event_ts) VALUES (?, ?, ?, ?) '
            "ON CONFLICT(entity_key, feature_name) DO UPDATE SET value = excluded.value, event_ts = excluded.event_ts",
            (key, feature, value, event_ts),
        )

    def run(self, statement: str, parameters: Sequence[object] = ()) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement, parameters)


def lookup(*features: tuple[str, str], views: Sequence[str] = (), view_of: Sequence[int] = ()) -> Lookup:
    """What reads these (view, feature) pairs."""
    views = views or list(dict.fromkeys(view for view, _ in features))
    return Lookup(
        features=tuple(Feature(view, name, ValueType.INT64) for view, name in features),
        views=tuple(views),
        view_of=tuple(view_of or [views.index(view) for view, _ in features]),
        join_keys=(("driver_id", "driver_id"),),
        holds=HashContents.of(()),
    )


def seconds(stored: bytes | None) -> float | None:
    return None if stored is None else decode_timestamp(stored).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "feature_store.yaml").write_text("project: p\nregistry: registry.db\n")
    return tmp_path


@pytest.fixture
def database(repository: Path) -> Database:
    """The file at Feast's default place, with a view of two drivers."""
    made = Database(repository / "data" / "online.db")
    made.table("p_stats")
    made.write("p_stats", KEY, "trips", b"\x20\x0b", 1_700_000_000)
    made.write("p_stats", KEY, "rate", b"\x20\x0c", 1_700_000_000)
    made.write("p_stats", OTHER, "trips", b"", 1_700_000_001)
    return made


TRIPS = lookup(("stats", "trips"))


def make(repository: Path, online_store: str = "", timeout_ms: int = 5_000) -> SqliteStore:
    text = f"project: p\nregistry: registry.db\n{online_store}yummy_fast:\n  store_timeout_ms: {timeout_ms}\n"
    (repository / "feature_store.yaml").write_text(text)
    config = load_config(chdir=str(repository), environ={})
    return SqliteStore(config.repository, config.store)


def test_a_cache_without_effect_is_said(tmp_path: Path) -> None:
    text = "project: p\nregistry: registry.db\nyummy_fast: {cache_mb: 1}\n"
    (tmp_path / "feature_store.yaml").write_text(text)
    config = load_config(chdir=str(tmp_path), environ={})
    (notice,) = SqliteStore(config.repository, config.store).notices
    assert "cache_mb: no effect" in notice


@asynccontextmanager
async def opened(repository: Path, timeout_ms: int = 5_000) -> AsyncIterator[SqliteStore]:
    store = make(repository, timeout_ms=timeout_ms)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def read(repository: Path, wanted: Lookup, *keys: bytes) -> Sequence[Sequence[bytes | None]]:
    """The rows of one Lookup, from a store made for it."""

    async def fetch() -> Rows:
        async with opened(repository) as store:
            return await store.fetch(store.prepare((wanted,)), [list(keys)])

    return run(fetch())[0]


async def trips(store: SqliteStore) -> bytes | None:
    """The one value that most tests ask for."""
    return (await store.fetch(store.prepare((TRIPS,)), [[KEY]]))[0][0][0]


# ------------------------------------------------------------------------------------------------------------- reading


def test_rows_hold_what_is_there_and_none_for_what_is_not(repository: Path, database: Database) -> None:
    wanted = lookup(("stats", "rate"), ("stats", "trips"), ("stats", "never_written"))
    rows = read(repository, wanted, OTHER, ABSENT, KEY)
    assert [list(row[:3]) for row in rows] == [
        [None, b"", None],
        [None, None, None],
        [b"\x20\x0c", b"\x20\x0b", None],
    ]
    assert [seconds(row[3]) for row in rows] == [1_700_000_001, None, 1_700_000_000]


def test_several_views_and_several_lookups(repository: Path, database: Database) -> None:
    database.table("p_zones")
    database.write("p_zones", KEY, "trips", b"\x20\x63", 5)
    both = lookup(("zones", "trips"), ("stats", "trips"), ("stats", "rate"))

    async def fetch() -> Rows:
        async with opened(repository) as store:
            return await store.fetch(store.prepare((both, TRIPS)), [[KEY, ABSENT], [OTHER]])

    first, second = run(fetch())
    assert list(first[0][:3]) == [b"\x20\x63", b"\x20\x0b", b"\x20\x0c"]
    assert [seconds(stamp) for stamp in first[0][3:]] == [5, 1_700_000_000]
    assert list(first[1]) == [None] * 5
    assert list(second[0])[:1] == [b""]


def test_a_view_under_two_names_is_read_once_and_given_twice(repository: Path, database: Database) -> None:
    wanted = lookup(
        *(("stats", "trips"), ("stats", "rate"), ("stats", "trips")), views=("stats", "stats"), view_of=(0, 1, 1)
    )
    (row,) = read(repository, wanted, KEY)
    assert list(row[:3]) == [b"\x20\x0b", b"\x20\x0c", b"\x20\x0b"]
    assert [seconds(stamp) for stamp in row[3:]] == [1_700_000_000] * 2
    store = make(repository)
    assert store.describe(store.prepare((wanted, TRIPS))) == [
        "SELECT 3 features of 1 view",
        "SELECT 1 feature of 1 view",
    ]


@pytest.mark.parametrize("written", [1, 2])
def test_more_entities_than_a_statement_takes(repository: Path, database: Database, written: int) -> None:
    """Each of them is there, or every second one: none may get lost between two statements, or take another's place."""
    keys = [b"\x02%d" % number for number in range(2 * MAX_KEYS + 1)]
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO p_stats (entity_key, feature_name, value, event_ts) VALUES (?, 'trips', ?, ?)",
            [(key, key, place) for place, key in enumerate(keys) if place % written == 0],
        )
    rows = read(repository, TRIPS, *keys)
    there = [place % written == 0 for place in range(len(keys))]
    assert [row[0] for row in rows] == [key if found else None for key, found in zip(keys, there, strict=True)]
    assert [seconds(row[1]) for row in rows] == [place if found else None for place, found in enumerate(there)]


@pytest.mark.parametrize("entities", [MAX_KEYS, MAX_KEYS + 1])
def test_as_many_entities_as_a_statement_takes(
    repository: Path, database: Database, entities: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SQLite before 3.32 binds 999 variables at most; and no more statements than need be."""
    asked: list[int] = []
    select = SqliteStore._select

    def counted(store: SqliteStore, wanted: Any, keys: Sequence[bytes]) -> Any:
        asked.append(len(keys))
        return select(store, wanted, keys)

    monkeypatch.setattr(SqliteStore, "_select", counted)
    read(repository, TRIPS, *(b"\x02%d" % number for number in range(entities)))
    assert asked == ([900] if entities == 900 else [900, 1])


def test_no_entities(repository: Path, database: Database) -> None:
    assert list(read(repository, TRIPS)) == []


@pytest.mark.parametrize("view", ['a"b', "a b", "a;DROP TABLE p_stats", "select", "naïve", "a'b", "ver_v2"])
def test_any_view_name(repository: Path, database: Database, view: str) -> None:
    database.table(f"p_{view}")
    database.write(f"p_{view}", KEY, "trips", b"\x20\x01", 1)
    assert read(repository, lookup((view, "trips")), KEY)[0][0] == b"\x20\x01"


@pytest.mark.parametrize(("stored", "expected"), [(None, b""), ("text", b"text"), (b"", b"")])
def test_a_value_is_bytes_whatever_is_stored(
    repository: Path, database: Database, stored: object, expected: bytes
) -> None:
    database.write("p_stats", KEY, "trips", stored, 1)
    assert read(repository, TRIPS, KEY)[0][0] == expected


# ---------------------------------------------------------------------------------------------------------- timestamps


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (1_700_000_000, 1_700_000_000),
        (0, 0),
        (-1, -1),
        (1.75, 1),
        (None, None),
        ("2023-11-14 22:13:20", 1_700_000_000),
        ("2023-11-14T22:13:20.987654", 1_700_000_000),
        ("2023-11-14T17:13:20-05:00", 1_700_000_000),
    ],
)
def test_event_ts(repository: Path, database: Database, stored: object, expected: float | None) -> None:
    database.write("p_stats", KEY, "trips", b"", stored)
    database.run("DELETE FROM p_stats WHERE feature_name = 'rate'")
    assert seconds(read(repository, TRIPS, KEY)[0][1]) == expected


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "UTC"])
def test_event_ts_without_a_zone_is_utc_wherever_the_server_stands(
    repository: Path, database: Database, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        for stored in ("2023-11-14 22:13:20", "2023-11-14T23:13:20+01:00", 1_700_000_000):
            database.write("p_stats", OTHER, "trips", b"", stored)
            assert seconds(read(repository, TRIPS, OTHER)[0][1]) == 1_700_000_000
    time.tzset()


@pytest.mark.parametrize("stored", ["yesterday", b"\xff", float("inf")])
def test_an_event_ts_that_is_no_time(repository: Path, database: Database, stored: object) -> None:
    database.write("p_stats", OTHER, "trips", b"", stored)
    with pytest.raises(CorruptValueError, match="p_stats"):
        read(repository, TRIPS, OTHER)


def test_event_ts_is_that_of_the_row_written_first_last(repository: Path, database: Database) -> None:
    """As Feast: of an entity's rows in the order they were first written, the last one's; asked for or not."""
    key = b"\x01parts"
    database.write("p_stats", key, "z", b"\x20\x01", 100)
    database.write("p_stats", key, "a", b"\x20\x02", 200)
    assert seconds(read(repository, lookup(("stats", "z")), key)[0][1]) == 200
    database.write("p_stats", key, "z", b"\x20\x03", 300)
    row = read(repository, lookup(("stats", "z")), key)[0]
    assert (row[0], seconds(row[1])) == (b"\x20\x03", 200)


# ------------------------------------------------------------------------------------------------ the file's own fates


def test_nothing_is_ever_written(repository: Path, database: Database) -> None:
    folder = database.path.parent
    before = database.path.read_bytes(), database.path.stat().st_mtime_ns
    folder.chmod(0o555)
    try:
        read(repository, TRIPS, KEY)
    finally:
        folder.chmod(0o755)
    assert (database.path.read_bytes(), database.path.stat().st_mtime_ns) == before
    assert os.listdir(folder) == ["online.db"]


def open_descriptors(path: Path) -> int:
    """How often this process has that file open, be it deleted."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors are looked up in /proc")
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link).removesuffix(" (deleted)") == str(path) for link in links if os.path.islink(link))


def test_a_file_that_comes_later(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with opened(repository) as store:
            for _ in range(3):
                with pytest.raises(StoreUnavailableError, match="No such file") as error:
                    await trips(store)
                assert str(repository) not in str(error.value)
            assert not (repository / "data").exists()
            late = Database(repository / "data" / "online.db")
            late.table("p_stats")
            late.write("p_stats", KEY, "trips", b"\x20\x01", 1)
            assert await trips(store) == b"\x20\x01"
            assert await trips(store) == b"\x20\x01"
            late.path.unlink()
            for _ in range(2):
                with pytest.raises(StoreUnavailableError):
                    await trips(store)
            assert (store.state.connections, store.state.connects, store.state.failures) == (0, 1, 6)
            assert open_descriptors(late.path) == 0

    caplog.set_level(logging.INFO, "yummy_fast")
    run(story())
    path = repository / "data" / "online.db"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3, "each event once, and each time that it happens"
    assert said[0].startswith(f"online store {path}: cannot open: No such file or directory")
    assert said[1] == f"online store {path}: opened"
    assert said[2] == said[0]


def test_a_file_that_is_replaced(repository: Path, database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yummy_fast")

    async def story() -> None:
        async with opened(repository) as store:
            assert await trips(store) == b"\x20\x0b"
            new = Database(database.path.with_name("new.db"))
            new.table("p_stats")
            new.write("p_stats", KEY, "trips", b"\x20\x2a", 1)
            new.path.replace(database.path)
            assert await trips(store) == b"\x20\x2a"
            assert open_descriptors(database.path) == 1, "that of the file which is gone is closed"
            assert (store.state.connections, store.state.connects) == (1, 2)
            (said,) = [record.getMessage() for record in caplog.records]
            assert said.startswith(f"online store {database.path}: the file was replaced")
            database.path.unlink()
            with pytest.raises(StoreUnavailableError):
                await trips(store)

    run(story())


def test_a_file_that_is_written_over(repository: Path, database: Database) -> None:
    async def story() -> None:
        good = database.path.read_bytes()
        async with opened(repository) as store:
            assert await trips(store) == b"\x20\x0b"
            database.path.write_bytes(b"no database " * 2_000)
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="not a database"):
                    await trips(store)
                assert open_descriptors(database.path) == 0
                assert store.state.connections == 0
            database.path.write_bytes(good)
            assert await trips(store) == b"\x20\x0b"
            assert store.state.connections == 1
        assert open_descriptors(database.path) == 0
        assert store.state.connections == 0

    run(story())


def test_what_a_writer_adds_is_seen(repository: Path, database: Database) -> None:
    async def story() -> None:
        async with opened(repository) as store:
            assert await trips(store) == b"\x20\x0b"
            database.write("p_stats", KEY, "trips", b"\x20\x0d", 2)
            assert await trips(store) == b"\x20\x0d"
            database.run("ALTER TABLE p_stats ADD COLUMN value_num REAL")  # as a later `feast apply` does
            assert await trips(store) == b"\x20\x0d"

    run(story())


def test_a_table_that_is_not_there(repository: Path, database: Database) -> None:
    async def story() -> None:
        async with opened(repository) as store:
            never = store.prepare((lookup(("never", "x")),))
            with pytest.raises(StoreError, match="no such table: p_never") as error:
                await store.fetch(never, [[KEY]])
            assert error.value.status == 502
            assert await trips(store) == b"\x20\x0b"  # which harms nobody else
            database.table("p_never")
            assert list((await store.fetch(never, [[KEY]]))[0][0]) == [None, None]

    run(story())


# ------------------------------------------------------------------------------------------------- locks, the deadline


def test_a_writer_that_holds_the_file(repository: Path, database: Database) -> None:
    async def story() -> None:
        async with opened(repository, timeout_ms=200) as store:
            assert await trips(store) == b"\x20\x0b"
            with closing(sqlite3.connect(database.path, isolation_level=None)) as writer:
                writer.execute("BEGIN EXCLUSIVE")
                first, between, last = [asyncio.ensure_future(trips(store)) for _ in range(3)]
                with pytest.raises(StoreTimeoutError, match="a writer holds it"):
                    await first
                with pytest.raises(StoreTimeoutError, match=r"in time$"):  # its own passed in line
                    await last
                await asyncio.gather(between, return_exceptions=True)
                writer.execute("ROLLBACK")
            assert await trips(store) == b"\x20\x0b"

    run(story())


def test_a_statement_that_takes_too_long(repository: Path, database: Database) -> None:
    database.run(
        "CREATE VIEW p_endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
        "CAST(i AS BLOB) AS entity_key, 'x' AS feature_name, x'' AS value, i AS event_ts FROM n"
    )

    async def story() -> None:
        async with opened(repository, timeout_ms=100) as store:
            with pytest.raises(StoreTimeoutError):
                await store.fetch(store.prepare((lookup(("endless", "x")),)), [[KEY]])
            assert await trips(store) == b"\x20\x0b"

    run(story())


def test_cancelled_fetches_harm_no_other(repository: Path, database: Database) -> None:
    async def story() -> None:
        async with opened(repository) as store:
            prepared = store.prepare((TRIPS,))
            futures = [store.fetch(prepared, [[KEY if number % 2 else OTHER]]) for number in range(60)]
            for future in futures[::3]:
                future.cancel()
            rest = [future for future in futures if not future.cancelled()]
            answers = await asyncio.gather(*rest)
            expected = [b"\x20\x0b" if number % 2 else b"" for number in range(60) if number % 3]
            assert [rows[0][0][0] for rows in answers] == expected
            given_up = store.fetch(prepared, [[KEY]])
        given_up.cancel()  # closed in between

    run(story())


def test_what_is_under_way_is_counted_until_it_is_done(repository: Path, database: Database) -> None:
    async def story() -> None:
        async with opened(repository, timeout_ms=200) as store:
            never = store.prepare((lookup(("never", "x")),))
            with closing(sqlite3.connect(database.path, isolation_level=None)) as writer:
                writer.execute("BEGIN EXCLUSIVE")
                futures = [store.fetch(prepared, [[KEY]]) for prepared in (store.prepare((TRIPS,)), never, never)]
                assert store.in_flight == 3
                futures[2].cancel()
                await asyncio.wait(futures)
                writer.execute("ROLLBACK")
            assert store.in_flight == 0
            assert await trips(store) == b"\x20\x0b"
            assert store.in_flight == 0

    run(story())


def test_it_says_when_it_last_heard_of_the_file(repository: Path, database: Database) -> None:
    async def story() -> None:
        store = make(repository)
        store.ping_if_idle()  # before it is open, that is no matter
        await store.open()
        opened_at = store.state.answered_at
        assert opened_at > 0
        await trips(store)
        read_at = store.state.answered_at
        assert read_at > opened_at
        store.ping_if_idle()
        store.ping_if_idle()
        await trips(store)
        assert store.state.answered_at > read_at
        database.path.unlink()
        before = store.state.answered_at
        store.ping_if_idle()
        with pytest.raises(StoreUnavailableError):
            await trips(store)
        assert store.state.answered_at == before
        await store.close()
        store.ping_if_idle()
        assert store.state.failures == 2

    run(story())


def test_one_idle_ping_at_a_time(repository: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would wait in line behind a fetch that takes long, a second's one behind another."""
    let_go, pings = threading.Event(), [0]

    def connect(store: SqliteStore) -> None:
        pings[0] += 1
        let_go.wait(20)

    async def story() -> None:
        async with opened(repository) as store:
            monkeypatch.setattr(SqliteStore, "_try_connect", connect)
            for _ in range(5):
                store.ping_if_idle()
            let_go.set()
            await trips(store)
            assert pings == [1]
            await asyncio.sleep(0)  # for the first one's callback
            store.ping_if_idle()
            await trips(store)
            assert pings == [2]

    run(story())


def test_a_statement_waits_for_a_writer_as_long_as_the_timeout_lasts(repository: Path, database: Database) -> None:
    async def story() -> None:
        async with opened(repository, timeout_ms=234) as store:

            def busy_timeout() -> int:
                assert store._connection is not None
                waits_ms: int = store._connection.execute("PRAGMA busy_timeout").fetchone()[0]
                return waits_ms

            assert await asyncio.get_running_loop().run_in_executor(store._thread, busy_timeout) == 234

    run(story())


def test_features_do_not_collide(repository: Path) -> None:
    """Their names are written out."""
    assert make(repository).collisions(TRIPS.features * 2) == []


def test_what_is_asked_after_the_end_is_refused(repository: Path, database: Database) -> None:
    async def story() -> None:
        async with opened(repository) as store:
            pass
        with pytest.raises(StoreUnavailableError, match="closed"):
            await trips(store)

    run(story())


def test_closing_waits_for_what_is_being_read(repository: Path, database: Database) -> None:
    async def story() -> Rows:
        async with opened(repository) as store:
            future = store.fetch(store.prepare((TRIPS,)), [[KEY]])
        return await future

    assert run(story())[0][0][0] == b"\x20\x0b"


def test_a_store_that_was_never_opened_closes(repository: Path) -> None:
    run(make(repository).close())


# ------------------------------------------------------------------------------------------------------- configuration


def test_ping(repository: Path, database: Database) -> None:
    assert run(make(repository).ping()) == f"SQLite {sqlite3.sqlite_version}, {database.path}"
    database.path.write_bytes(b"no database " * 2_000)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        run(make(repository).ping())
    database.path.unlink()
    with pytest.raises(StoreUnavailableError, match=r"online\.db: unable to open"):
        run(make(repository).ping())


def test_it_is_the_store_of_type_sqlite() -> None:
    found: object = open_store_class("sqlite", "")
    assert found is SqliteStore


@pytest.mark.parametrize("block", ["", "online_store: sqlite\n", "online_store: {path: data/online.db}\n"])
def test_the_default_path_is_in_the_repository(
    repository: Path, database: Database, monkeypatch: pytest.MonkeyPatch, block: str
) -> None:
    monkeypatch.chdir("/")
    assert str(database.path) in run(make(repository, block).ping())


def test_a_path_with_signs_that_mean_something_in_a_uri(repository: Path, database: Database) -> None:
    database.path.rename(repository / "a?b#c %41.db")
    assert "a?b#c %41.db" in run(make(repository, "online_store: {path: 'a?b#c %41.db'}\n").ping())


def test_a_relative_path_beside_the_yaml_that_is_named(
    repository: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(feature_store_yaml=str(repository / "feature_store.yaml"), environ={})
    assert str(database.path) in run(SqliteStore(config.repository, config.store).ping())


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{type: sqlite, connection_string: x}", r"feature_store\.yaml: online_store\.connection_string: no such key"),
        ("{type: sqlite, path: 5}", r"feature_store\.yaml: online_store\.path: expected the path of a file, got 5"),
        ("{type: sqlite, path: ''}", r"online_store\.path: expected"),
        ('{type: sqlite, path: "a\\0b"}', r"online_store\.path: expected"),
    ],
)
def test_what_feast_refuses(repository: Path, block: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(repository, f"online_store: {block}\n")


def test_every_key_of_feasts(repository: Path) -> None:
    make(
        repository,
        "online_store: {type: sqlite, path: x.db, vector_enabled: false, similarity: cosine, "
        "text_search_enabled: true, enable_openai_compatible_store: true}\n",
    )


# ------------------------------------------------------------------------------------------------ looking, and writing


def test_a_survey(repository: Path, database: Database) -> None:
    """The keys of all tables, each once, and the views that have rows. A table that is not there has none."""
    database.table("p_empty")
    database.table("p_more")
    database.write("p_more", KEY, "trips", b"\x20\x0b", 1_700_000_000)
    found = run(make(repository).survey(["stats", "more", "empty", "gone"]))
    assert sorted(found.keys) == sorted([KEY, OTHER])
    assert (set(found.views), found.looked_at, found.complete) == ({"stats", "more"}, 2, True)
    assert found.address == str(database.path)


def test_a_file_that_is_none_cannot_be_surveyed(repository: Path, database: Database) -> None:
    database.path.write_bytes(b"this is no database, and longer than a header of SQLite's is" * 10)
    with pytest.raises(StoreUnavailableError, match=r"online\.db: "):
        run(make(repository).survey(["stats"]))


def rows_of(keys: list[bytes], *values: Value) -> ViewRows:
    moments = [moment_of(datetime.fromtimestamp(1_700_000_000.9, UTC)) for _ in keys]
    return ViewRows(keys, moments, [[value.SerializeToString() for value in values]], [moments[0]] * len(keys))


def test_rows_are_written_as_feast_writes_them(repository: Path, database: Database) -> None:
    """Beside a Value its text, where Feast has one (extract_text_and_num); and times in whole seconds."""
    kinds = [Value(string_val="a"), Value(int64_val=7), Value(bool_val=True), Value(bytes_val=b"x"), Value()]
    keys = [b"k%d" % number for number in range(len(kinds))]
    rows = rows_of(keys, *kinds)

    async def write(*numbers: int) -> None:
        async with opened(repository) as store:
            await store.write([(_Upsert("p_stats", ("trips",)), Chosen(rows, numbers))])

    run(write(0, 1, 2, 3, 4))
    with closing(sqlite3.connect(database.path)) as connection:
        statement = "SELECT value, value_text, event_ts, created_ts FROM p_stats WHERE entity_key = ?"
        found = [connection.execute(statement, (key,)).fetchone() for key in keys]
    assert [value for value, _, _, _ in found] == [kind.SerializeToString() for kind in kinds]
    assert [text for _, text, _, _ in found] == ["a", "7", "True", None, None]
    assert {(event, created) for _, _, event, created in found} == {(1_700_000_000, 1_700_000_000)}


def test_rows_that_are_not_chosen_are_not_written_and_others_are_replaced(repository: Path, database: Database) -> None:
    rows = rows_of([KEY, ABSENT], Value(int64_val=8), Value(int64_val=9))

    async def write() -> bytes | None:
        async with opened(repository) as store:
            await store.write([(_Upsert("p_stats", ("trips",)), Chosen(rows, [0]))])
            return await trips(store)

    assert run(write()) == b"\x20\x08"
    assert read(repository, TRIPS, ABSENT)[0][0] is None


def test_a_write_that_fails_leaves_nothing_behind(repository: Path, database: Database) -> None:
    """One of its tables is missing: what went to the other is taken back."""
    rows = rows_of([KEY], Value(int64_val=8))

    async def write() -> None:
        async with opened(repository) as store:
            await store.write([(_Upsert(table, ("trips",)), Chosen(rows, [0])) for table in ("p_stats", "p_gone")])

    with pytest.raises(StoreError, match="p_gone"):
        run(write())
    assert read(repository, TRIPS, KEY)[0][0] == b"\x20\x0b"


def test_after_the_end_nothing_is_written(repository: Path, database: Database) -> None:
    async def write() -> None:
        async with opened(repository) as store:
            pass
        await store.write([])

    with pytest.raises(StoreUnavailableError, match="closed"):
        run(write())
