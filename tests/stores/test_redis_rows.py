"""Rows as commands: Feast's HSET for each, read back with a parser that is not ours."""

from __future__ import annotations

from typing import Any

import hiredis

from yummy_fast.feast_format.keys import constant_key, feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.event_times import Moment
from yummy_fast.features.plan import Feature
from yummy_fast.features.written import ViewRows, WrittenView
from yummy_fast.stores.redis_rows import HashWriter, RowsCommand

VIEW = WrittenView(
    name="stats",
    store_name="stats_v2",
    features=(Feature("stats_v2", "trips", ValueType.INT64), Feature("stats_v2", "name", ValueType.STRING)),
    own_features=2,
    inputs=(),
    keys=(),
    make_keys=constant_key("k", "", 3),
    time=("t",),
    created=(),
    vector=-1,
    vector_length=0,
)
ROWS = ViewRows(
    keys=[b"k0", b"key1", b"k2"],
    moments=[Moment(0, b""), Moment(1, b"\x08\x01"), Moment(2, b"\x08\x02")],
    values=[[b"\x20\x01", b"", b"\x20\x03"], [b"a" * 2000, b"b", b"c"]],
    created=[],
)
TIME, TRIPS, NAME = timestamp_field("stats_v2"), feature_field("stats_v2", "trips"), feature_field("stats_v2", "name")


def parsed(data: bytes) -> list[list[Any]]:
    reader = hiredis.Reader()
    reader.feed(data)
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    assert not reader.has_data()
    return found


def test_one_hset_for_each_row() -> None:
    writer = HashWriter(VIEW, b"rides", 0)
    assert writer.replies == 1
    assert parsed(writer.render(ROWS, [0, 1])) == [
        [b"HSET", b"k0rides", TIME, b"", TRIPS, b"\x20\x01", NAME, b"a" * 2000],
        [b"HSET", b"key1rides", TIME, b"\x08\x01", TRIPS, b"", NAME, b"b"],
    ]


def test_each_is_followed_by_its_ttl() -> None:
    writer = HashWriter(VIEW, b"rides", 60)
    assert writer.replies == 2
    commands = parsed(writer.render(ROWS, [2, 0]))
    assert [command[:2] for command in commands] == [
        [b"HSET", b"k2rides"],
        [b"EXPIRE", b"k2rides"],
        [b"HSET", b"k0rides"],
        [b"EXPIRE", b"k0rides"],
    ]
    assert commands[1][2] == b"60"


def test_any_cut_renders_the_same_bytes() -> None:
    command = RowsCommand(HashWriter(VIEW, b"rides", 60), ROWS)
    whole = command.render([0, 1, 2])
    assert command.render([0]) + command.render([1, 2]) == whole
    assert abs(command.about_bytes(0) - len(whole) / 3) < 100
