"""Registries in a database: what was read, and whether it is another one now.

SQLite, with Feast's tables; PostgreSQL and registries that Feast wrote are in tests/registries_sql.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests import registries
from tests.harness import refusal, silent_server, source_of
from tests.ports import free_port
from yummy_fast.errors import ConfigError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.values import ValueType
from yummy_fast.sources import sql as sql_registry
from yummy_fast.sources.sql import SqlSource


class Database:
    """A SQLite database with the tables of a SqlRegistry that matter."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        for table in sql_registry._TABLES:
            self.do(
                f"CREATE TABLE {table.name} ({table.key} TEXT, project_id TEXT, last_updated_timestamp BIGINT, "
                f"{table.proto} BLOB, PRIMARY KEY ({table.key}, project_id))"
            )
        self.do("CREATE TABLE projects (project_id TEXT PRIMARY KEY, last_updated_timestamp BIGINT)")

    def do(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute(statement, values)
        connection.close()

    def put(self, table: str, name: str, blob: bytes, *, project: str = "rides", at: int = 1_700_000_000) -> None:
        self.do(f"REPLACE INTO {table} VALUES (?, ?, ?, ?)", name, project, at, blob)

    def source(self) -> SqlSource:
        return SqlSource(self.url, "rides", {})


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "registry.sqlite")


DRIVER = registries.entity("driver", "driver_id", project="")
TRIPS = registries.view("trips", ["driver"], {"driver_id": ValueType.INT64}, {"count": ValueType.INT64}, project="")
SERVICE = registries.service("svc", registries.projection(TRIPS), project="of the blob")


def test_sql_makes_one_registry_of_a_projects_rows(database: Database, tmp_path: Path) -> None:
    database.put("entities", "driver", DRIVER.SerializeToString())
    database.put("feature_views", "trips", TRIPS.SerializeToString(), at=1_700_000_060)
    database.put("feature_services", "svc", SERVICE.SerializeToString())
    database.put("feature_views", "trips", b"\xff", project="another")
    for project in ("rides", "another"):
        database.do("INSERT INTO projects VALUES (?, 1)", project)
    source = source_of(
        tmp_path, {"registry_type": "sql", "path": database.url, "sqlalchemy_config_kwargs": {"echo": False}}
    )
    assert source.name == database.url
    registry = messages.Registry.FromString(source.read())
    items: list[Any] = [*registry.entities, *registry.feature_views, *registry.feature_services]
    assert [item.spec.name for item in items] == ["driver", "trips", "svc"]
    for item in items:
        assert item.spec.project == "rides", "the row's project stands for the blob's"
    assert [project.spec.name for project in registry.projects] == ["another", "rides"]
    assert registry.version_id == "2023-11-14T22:14:20Z"
    assert registry.last_updated.seconds == 1_700_000_060


def test_sql_has_the_history_and_label_views_where_feast_made_their_tables(database: Database) -> None:
    database.do("DROP TABLE label_views")
    source = database.source()
    assert not messages.Registry.FromString(source.read()).feature_view_version_history.records
    database.do(
        "CREATE TABLE feature_view_version_history (feature_view_name TEXT, project_id TEXT, version_number INT, "
        "feature_view_type TEXT, feature_view_proto BLOB, created_timestamp BIGINT)"
    )
    database.do(
        "INSERT INTO feature_view_version_history VALUES ('trips', 'rides', 2, 'feature_view', ?, 5)",
        TRIPS.SerializeToString(),
    )
    (record,) = messages.Registry.FromString(source.read()).feature_view_version_history.records
    assert (record.feature_view_name, record.project_id, record.version_number) == ("trips", "rides", 2)
    assert record.feature_view_proto == TRIPS.SerializeToString()
    assert source.stamp() == source.stamp()


def test_the_stamp_of_sql_tells_rows_that_came_changed_and_went(database: Database) -> None:
    source = database.source()
    seen = [source.stamp()]
    database.put("feature_views", "trips", TRIPS.SerializeToString())
    seen.append(source.stamp())
    database.put("feature_views", "trips", TRIPS.SerializeToString(), at=1_700_000_001)
    seen.append(source.stamp())
    database.do("DELETE FROM feature_views")
    assert source.stamp() == seen[0]
    assert len(set(seen)) == 3
    database.put("feature_views", "trips", b"", project="another")
    assert source.stamp() == seen[0], "another project's rows are no matter"


def test_a_change_within_the_second_of_another_is_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feast's timestamps are whole seconds, so the stamp itself moves until the last change is some seconds old."""
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    source = database.source()
    database.put("feature_views", "trips", b"one")
    first = source.stamp()
    database.put("feature_views", "trips", b"two")
    now += 1
    second = source.stamp()
    assert second != first
    now += 10
    settled = source.stamp()
    assert settled != second
    now += 10
    assert source.stamp() == settled


def test_sql_is_read_in_one_moment(database: Database) -> None:
    """A writer between two SELECTs is not seen by the second."""
    database.put("entities", "driver", DRIVER.SerializeToString())
    database.do("PRAGMA journal_mode = WAL")  # else the writer would have to wait for the reader
    source = database.source()
    with source._snapshot() as connection:
        assert len(list(source._rows(connection, "entities", "entity_name"))) == 1
        database.put("entities", "rider", DRIVER.SerializeToString())
        assert len(list(source._rows(connection, "entities", "entity_name"))) == 1
    assert len(messages.Registry.FromString(source.read()).entities) == 2


def test_sql_sees_another_database_in_the_place_of_one(database: Database, tmp_path: Path) -> None:
    source = database.source()
    database.put("entities", "driver", DRIVER.SerializeToString())
    first = source.stamp()
    other = tmp_path / "other"
    other.mkdir()
    Database(other / "new.sqlite").path.replace(database.path)
    assert source.stamp() != first
    assert not messages.Registry.FromString(source.read()).entities


def test_sql_goes_on_without_a_table_that_need_not_be(database: Database) -> None:
    source = database.source()
    source.stamp()
    database.do("DROP TABLE label_views")
    assert refusal(source, "stamp") == "the registry cannot be read: no such table: label_views"
    source.stamp()


def test_sql_that_goes_wrong_says_how(database: Database, tmp_path: Path) -> None:
    database.put("feature_views", "trips", b"\xff\xff")
    assert refusal(database.source()) == "feature_views trips: not a Feast object (2 bytes)"
    database.do("DROP TABLE feature_services")
    for method in ("stamp", "read"):
        assert refusal(database.source(), method) == "not a Feast registry: there is no table feature_services"
    absent = SqlSource(f"sqlite:///{tmp_path}/absent.sqlite", "rides", {})
    assert refusal(absent) == "the registry cannot be read: unable to open database file"
    assert not (tmp_path / "absent.sqlite").exists(), "looking makes nothing"
    nobody = SqlSource(f"postgresql+psycopg://me:secret@127.0.0.1:{free_port()}/d", "rides", {})
    assert "connection failed" in refusal(nobody)
    assert "\n" not in refusal(nobody)


@pytest.mark.parametrize(
    "values",
    [
        ("driver", "rides", "yesterday", DRIVER.SerializeToString()),
        ("driver", "rides", 10**18, DRIVER.SerializeToString()),
        ("driver", "rides", None, DRIVER.SerializeToString()),
        ("driver", "rides", 1.5, DRIVER.SerializeToString()),
        ("driver", "rides", 1, "text"),
    ],
)
def test_odd_rows_are_one_line(database: Database, values: tuple[object, ...]) -> None:
    """What SQLite lets anybody write into a column of whole numbers, or of bytes."""
    database.do("REPLACE INTO entities VALUES (?, ?, ?, ?)", *values)
    line = refusal(database.source())
    assert line.startswith("the registry cannot be read: a row holds a value that Feast never writes (")


def test_a_database_that_says_nothing_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sql_registry._TIMEOUTS["postgresql"], "connect_timeout", 2)  # libpq takes no less
    with silent_server() as port:
        source = SqlSource(f"postgresql+psycopg://me:secret@127.0.0.1:{port}/d", "rides", {})
        assert refusal(source, "stamp") == "the registry cannot be read: connection timeout expired"


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("no url://", {}, "no url://: registry.path: SQLAlchemy cannot read this database URL"),
        ("nosuch://me:secret@h/d", {}, "nosuch://h/d: registry.path: SQLAlchemy has no dialect nosuch"),
        ("sqlite:///r.db", {"colour": "red"}, "registry.sqlalchemy_config_kwargs: Invalid argument(s) 'colour'"),
    ],
)
def test_a_database_that_cannot_be_asked_for(url: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SqlSource(url, "rides", options)
    assert str(caught.value).startswith(message)
