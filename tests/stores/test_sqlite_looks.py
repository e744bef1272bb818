"""Looking around in a file of SQLite that has the tables of several projects."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from yummy_fast.errors import StoreUnavailableError
from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.server.app import open_store
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.looks import Looks

TABLE = (
    'CREATE TABLE "{}" (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, vector_value BLOB, '
    "event_ts timestamp, created_ts timestamp, PRIMARY KEY(entity_key, feature_name))"
)
"""As Feast makes it: tests/diagnosis/recorded has some."""


def write(path: Path, *rows: tuple[str, bytes, str, bytes | None, object]) -> None:
    """Rows of (table, entity key, feature, value, event_ts)."""
    with closing(sqlite3.connect(path)) as connection:
        for table, *row in rows:
            quoted = table.replace('"', '""')
            connection.execute(TABLE.format(quoted).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
            insert = f'INSERT INTO "{quoted}" (entity_key, feature_name, value, event_ts) VALUES (?, ?, ?, ?)'
            connection.execute(insert, row)
        connection.commit()


def looks_into(folder: Path) -> Looks:
    text = "project: rides\nprovider: local\nregistry: registry.db\nonline_store: {type: sqlite, path: online.db}\n"
    (folder / "feature_store.yaml").write_text(text)
    return open_store(load_config(chdir=str(folder), environ={})).looks()


@pytest.fixture
def looks(tmp_path: Path) -> Iterator[Looks]:
    write(
        tmp_path / "online.db",
        ("rides_stats", b"one", "trips", b"1", 7),
        ("rides_stats", b"one", "rating", None, 7),
        ("rides_stats", b"two", "trips", b"2", 8),
        ("rides_city_stats", b"one", "rain", b"3", 9),
        ("my_team_stats", b"one", "trips", b"4", 9),
        ('od"d_stats', b"one", "trips", b"5", 9),
    )
    with closing(sqlite3.connect(tmp_path / "online.db")) as connection:
        connection.execute("CREATE TABLE some_thing (entity_key BLOB)")  # which is not Feast's
    opened = looks_into(tmp_path)
    yield opened
    opened.close()


def test_all_rows_of_an_entity_are_one_hash(looks: Looks) -> None:
    found = looks.read(b"onerides", 0)
    assert found is not None
    assert found.fields == {
        b"stats:trips": b"1",
        b"stats:rating": b"",
        timestamp_field("stats"): encode_timestamp(7),
        b"city_stats:rain": b"3",
        timestamp_field("city_stats"): encode_timestamp(9),
    }
    assert (found.count, found.kind, found.expires_s, found.is_whole) == (5, "hash", None, True)
    assert looks.read(b"threerides", 0) is None
    assert [key for key, _ in looks.read_many([b"onerides", b"threerides", b"tworides"])] == [b"onerides", b"tworides"]


def test_the_project_is_the_end_of_a_key(looks: Looks) -> None:
    assert looks.exist([b"onerides", b"onemy_team", b"onemy", b"twomy_team", b"one", b'oneod"d'], 0) == [
        *(True, True, True, False, False, True)
    ]
    stamp = timestamp_field("stats")
    assert looks.have_field([b"onerides", b"onemy_team", b"onemy", b"threerides"], stamp, 0) == [
        True,
        True,
        False,
        False,
    ]
    assert looks.fields_there(b"onerides", [stamp, b"stats:trips", b"stats:tips"], 0) == [True, True, False]
    assert looks.fields_there(b"onerides", [timestamp_field("profile"), stamp], 0) == [False, True]


def test_a_scan(looks: Looks) -> None:
    scan = looks.scan(db=0, views=["stats"], max_keys=100, time_s=20)
    assert (sorted(scan.keys), scan.complete) == ([b"onemy_team", b'oneod"d', b"onerides", b"tworides"], True)
    assert looks.scan(db=0, views=["team_stats"], max_keys=100, time_s=20).keys[2] == b"onemy"
    few = looks.scan(db=0, max_keys=1, time_s=20)
    assert (few.keys, few.complete) == ([b"onerides"], False)  # the project's own come first
    assert looks.scan(db=0, contains=[b"w"], suffix=b"rides", max_keys=100, time_s=20).keys == [b"tworides"]
    assert looks.scan(db=0, contains=[b"w"], suffix=b"city", max_keys=100, time_s=20).keys == []
    assert sorted(looks.scan(db=0, contains=[b"ne"], views=["stats", "city_stats"], max_keys=100, time_s=20).keys) == [
        *(b"onemy", b"onemy_team", b'oneod"d', b"onerides")
    ]
    of_another = looks.scan(db=0, contains=[b"ne"], views=["stats"], suffix=b"rides_city", max_keys=100, time_s=20)
    assert of_another.keys == [b"onerides_city"]
    assert looks.scan(db=0, contains=[b"w", b"t"], max_keys=100, time_s=20).keys == []


def test_a_scan_ends_in_time(looks: Looks, tmp_path: Path) -> None:
    rows = [("rides_stats", b"key %d" % number, "trips", b"1", 7) for number in range(5_000)]
    write(tmp_path / "online.db", *rows)
    scan = looks.scan(db=0, max_keys=100_000, time_s=0)
    assert not scan.complete
    assert looks.scan(db=0, max_keys=100_000, time_s=60).complete


@pytest.mark.parametrize("event_ts", [None, "yesterday", 1 << 70])
def test_a_time_that_is_none(event_ts: object, tmp_path: Path) -> None:
    """The row is there, whatever its time is."""
    stored = str(event_ts) if isinstance(event_ts, int) else event_ts
    write(tmp_path / "online.db", ("rides_stats", b"one", "trips", b"1", stored))
    looks = looks_into(tmp_path)
    found = looks.read(b"onerides", 0)
    looks.close()
    assert found is not None
    assert found.fields == {b"stats:trips": b"1", timestamp_field("stats"): b"\xff"}


def test_a_file_that_is_not_there_or_not_a_database(tmp_path: Path) -> None:
    looks = looks_into(tmp_path)
    with pytest.raises(StoreUnavailableError, match=r"online\.db: unable to open"):
        looks.exist([b"onerides"], 0)
    assert not (tmp_path / "online.db").exists()
    (tmp_path / "online.db").write_text("something else" * 100)
    with pytest.raises(StoreUnavailableError, match=r"online\.db: file is not a database"):
        looks.scan(db=0, max_keys=10, time_s=1)


def test_nothing_is_written(looks: Looks, tmp_path: Path) -> None:
    before = (tmp_path / "online.db").read_bytes()
    looks.exist([b"onerides"], 0)
    looks.scan(db=0, max_keys=10, time_s=1)
    assert (tmp_path / "online.db").read_bytes() == before
