"""Stored bytes, against what Feast 0.67.0 wrote and answered (FEAST.md 2.8, 3, 4.0, 4.1). More in property/."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import (
    KEY_TYPES,
    entity_key_header,
    feature_field,
    key_value_encoder,
    timestamp_field,
)
from yummy_fast.feast_format.timestamps import decode_timestamp, decode_timestamps, encode_timestamp
from yummy_fast.feast_format.values import ColumnDecoder, RowDecoder, ValueType, decode_value, spell_non_finite


def entity_key(version: int, *parts: tuple[str, ValueType, Any]) -> bytes:
    header = entity_key_header([name for name, _, _ in parts], version)
    return header + b"".join(key_value_encoder(value_type, version)(value) for _, value_type, value in parts)


# -------------------------------------------------------------------------------------------------------- entity keys


@pytest.mark.parametrize(
    ("version", "parts", "stored"),
    [
        (
            *(3, [("driver_id", ValueType.INT64, 1001)]),
            "0100000002000000090000006472697665725f69640400000008000000e903000000000000",
        ),
        (2, [("driver_id", ValueType.INT64, 1001)], "020000006472697665725f69640400000008000000e903000000000000"),
        (1, [("driver_id", ValueType.INT64, 1001)], "020000006472697665725f69640400000004000000e9030000"),
        (
            *(3, [("a", ValueType.INT64, 5), ("b", ValueType.STRING, "x")]),
            "0200000002000000010000006102000000010000006204000000080000000500000000000000020000000100000078",
        ),
        (
            *(2, [("a", ValueType.INT64, 5), ("b", ValueType.STRING, "x")]),
            "0200000061020000006204000000080000000500000000000000020000000100000078",
        ),
        (
            *(3, [("t", ValueType.UNIX_TIMESTAMP, 1_700_000_000)]),
            "01000000020000000100000074080000000800000000f1536500000000",
        ),
        (3, [("by", ValueType.BYTES, b"\x01\x02")], "010000000200000002000000627901000000020000000102"),
        (3, [("i", ValueType.INT32, -1)], "0100000002000000010000006903000000" + "04000000ffffffff"),
        (
            *(3, [("__dummy_id", ValueType.STRING, "")]),
            "01000000020000000a0000005f5f64756d6d795f69640200000000000000",
        ),
    ],
)
def test_entity_keys_are_the_bytes_that_feast_wrote(version: int, parts: list[Any], stored: str) -> None:
    assert entity_key(version, *parts).hex() == stored


def test_a_key_counts_the_bytes_of_its_text_and_not_the_characters() -> None:
    assert entity_key(3, ("é", ValueType.STRING, "日本")) == (
        b"\x01\0\0\0" + b"\x02\0\0\0\x02\0\0\0\xc3\xa9" + b"\x02\0\0\0\x06\0\0\0\xe6\x97\xa5\xe6\x9c\xac"
    )


def test_the_type_is_part_of_a_key() -> None:
    assert entity_key(3, ("id", ValueType.INT32, 7)) != entity_key(3, ("id", ValueType.INT64, 7))


@pytest.mark.parametrize("value_type", sorted(set(ValueType) - KEY_TYPES), ids=lambda value_type: value_type.name)
def test_other_types_have_no_place_in_a_key(value_type: ValueType) -> None:
    with pytest.raises(KeyError):
        key_value_encoder(value_type, 3)


# ----------------------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("view", "feature", "field"),
    [
        ("stats", "trips", "eb342a65"),
        ("stats", "conv_rate", "d5713f9f"),
        ("stats", "acc_rate", "6361db4b"),
    ],
)
def test_feature_fields_are_the_hashes_that_feast_wrote(view: str, feature: str, field: str) -> None:
    assert feature_field(view, feature).hex() == field


def test_a_timestamp_field_is_text() -> None:
    assert timestamp_field("stats_é") == "_ts:stats_é".encode()


# ----------------------------------------------------------------------------------------------------------- Values


def nested(*items: Value) -> values.RepeatedValue:
    return values.RepeatedValue(val=items)


def mapping(**items: Value) -> values.Map:
    return values.Map(val=items)


JSON_OF_VALUES: list[tuple[Value, str]] = [
    (Value(), "null"),
    (Value(null_val=values.NULL), "null"),
    (Value(int32_val=-(2**31)), "-2147483648"),
    (Value(int64_val=9_007_199_254_740_993), "9007199254740993"),
    (Value(int64_val=0), "0"),
    (Value(float_val=0.1), "0.10000000149011612"),
    (Value(float_val=1e-7), "1.0000000116860974e-07"),
    (Value(float_val=1e30), "1.0000000150474662e+30"),
    (Value(float_val=0.5), "0.5"),
    (Value(double_val=0.1), "0.1"),
    (Value(double_val=1.0), "1.0"),
    (Value(double_val=5e-324), "5e-324"),
    (Value(double_val=float("nan")), '"NaN"'),
    (Value(float_val=float("inf")), '"Infinity"'),
    (Value(double_val=float("-inf")), '"-Infinity"'),
    (Value(bool_val=False), "false"),
    (Value(string_val='é\u2028"\n'), '"é\u2028\\"\\n"'),
    (Value(string_val=""), '""'),
    (Value(bytes_val=b"\x00\xff\x10"), '"AP8Q"'),
    (Value(unix_timestamp_val=1_700_000_000), "1700000000"),
    (Value(json_val='{"a": 1}'), '"{\\"a\\": 1}"'),
    (Value(decimal_val="1.50"), '"1.50"'),
    (Value(uuid_val="u"), '"u"'),
    (Value(time_uuid_val="t"), '"t"'),
    (Value(int64_list_val=values.Int64List()), "[]"),
    (Value(int32_set_val=values.Int32List(val=[3, 1])), "[3,1]"),
    (Value(float_list_val=values.FloatList(val=[0.1, float("nan")])), '[0.10000000149011612,"NaN"]'),
    (Value(double_set_val=values.DoubleList(val=[1.0, float("-inf")])), '[1.0,"-Infinity"]'),
    (Value(bool_list_val=values.BoolList(val=[True, False])), "[true,false]"),
    (Value(string_list_val=values.StringList(val=["a", ""])), '["a",""]'),
    (Value(bytes_list_val=values.BytesList(val=[b"ab", b""])), '["YWI=",""]'),
    (Value(bytes_set_val=values.BytesList(val=[b"ab"])), '["YWI="]'),
    (Value(unix_timestamp_list_val=values.Int64List(val=[1, 2])), "[1,2]"),
    (Value(json_list_val=values.StringList(val=['{"a": 1}'])), '["{\\"a\\": 1}"]'),
    (Value(map_val=mapping(n=Value(), x=Value(float_val=0.5))), '{"n":null,"x":0.5}'),
    (Value(struct_val=mapping(k=Value(double_val=float("inf")))), '{"k":"Infinity"}'),
    (Value(map_list_val=values.MapList(val=[mapping(k=Value(int64_val=1)), mapping()])), '[{"k":1},{}]'),
    (Value(struct_list_val=values.MapList(val=[mapping(b=Value(bytes_val=b"ab"))])), '[{"b":"YWI="}]'),
    (
        Value(list_val=nested(Value(int64_list_val=values.Int64List(val=[1])), Value())),
        "[[1],null]",
    ),
    (Value(set_val=nested(Value(list_val=nested(Value(float_val=float("nan")))))), '[["NaN"]]'),
    (Value(scalar_map_val=values.ScalarMap()), "null"),
    (
        Value(zoned_timestamp_val=values.ZonedTimestamp(unix_timestamp=1_700_000_000, zone="America/New_York")),
        '"2023-11-14T17:13:20-05:00"',
    ),
]


@pytest.mark.parametrize(("value", "text"), JSON_OF_VALUES, ids=lambda item: item if isinstance(item, str) else "")
def test_each_kind_of_value_has_feasts_json(value: Value, text: str) -> None:
    decoded = spell_non_finite(decode_value(value.SerializeToString()))
    expected = json.dumps(json.loads(text), sort_keys=True)
    assert json.dumps(decoded, sort_keys=True, allow_nan=False) == expected


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("", "2023-11-14T22:13:20+00:00"),
        ("UTC", "2023-11-14T22:13:20+00:00"),
        ("UTC-07:00", "2023-11-14T15:13:20-07:00"),
        ("+05:30", "2023-11-15T03:43:20+05:30"),
        ("GMT+05:30", "2023-11-15T03:43:20+05:30"),
        ("Etc/GMT+2", "2023-11-14T20:13:20-02:00"),
        ("Nope/Nope", "2023-11-14T22:13:20+00:00"),
        ("America", "2023-11-14T22:13:20+00:00"),
        ("../etc/passwd", "2023-11-14T22:13:20+00:00"),
    ],
)
def test_a_zoned_timestamp_is_told_in_its_zone_as_feast_does(zone: str, text: str) -> None:
    stored = Value(zoned_timestamp_val=values.ZonedTimestamp(unix_timestamp=1_700_000_000, zone=zone))
    assert decode_value(stored.SerializeToString()) == text


def test_a_null_zoned_timestamp_is_null() -> None:
    stored = Value(zoned_timestamp_val=values.ZonedTimestamp(unix_timestamp=-(2**63), zone="UTC"))
    assert decode_value(stored.SerializeToString()) is None


@pytest.mark.parametrize("nothing", [None, b"", Value(null_val=values.NULL).SerializeToString()])
def test_absent_empty_and_null_are_none(nothing: bytes | None) -> None:
    assert decode_value(nothing) is None
    assert ColumnDecoder(ValueType.DOUBLE)([nothing, nothing]) == [None, None]
    assert list(RowDecoder([ValueType.DOUBLE, ValueType.STRING])([nothing, nothing])) == [None, None]


@pytest.mark.parametrize(
    "corrupt",
    [
        b"\xff",
        b"\x08",
        Value(string_val="long enough").SerializeToString()[:-1],
        b"\x12\x02\xff\xfe",
        Value(zoned_timestamp_val=values.ZonedTimestamp(unix_timestamp=2**62)).SerializeToString(),
        Value(zoned_timestamp_val=values.ZonedTimestamp(unix_timestamp=1, zone="UTC+24:00")).SerializeToString(),
    ],
    ids=["unfinished tag", "no value", "cut off", "not UTF-8", "beyond the year 9999", "an offset beyond a day"],
)
def test_bytes_that_are_no_value_raise_and_are_not_quoted(corrupt: bytes) -> None:
    good = Value(string_val="secret").SerializeToString()
    for decode in (
        lambda: decode_value(corrupt),
        lambda: ColumnDecoder(ValueType.STRING)([good, corrupt, good]),
        lambda: ColumnDecoder(ValueType.STRING)([None, corrupt]),
        lambda: RowDecoder([ValueType.STRING, ValueType.INT64])([good, corrupt]),
    ):
        with pytest.raises(CorruptValueError) as caught:
            decode()
        assert "secret" not in str(caught.value)
        assert "\\x" not in str(caught.value)


def test_a_value_of_a_type_of_a_later_feast_is_null() -> None:
    later = b"\xf2\x06\x01a"  # field 110
    assert ColumnDecoder(ValueType(9_999))([later, Value(int64_val=1).SerializeToString()]) == [None, 1]
    assert list(RowDecoder([ValueType(9_999), ValueType.INT64])([later, Value(int64_val=1).SerializeToString()])) == [
        *(None, 1),
    ]


# Types that change places: what is stored decides, value by value (FEAST.md 3), however the counts come out.

INT, DOUBLE, STRING = (
    value.SerializeToString() for value in (Value(int64_val=7), Value(double_val=0.5), Value(string_val="s"))
)


@pytest.mark.parametrize(
    ("declared", "stored", "decoded"),
    [
        ([ValueType.INT64, ValueType.DOUBLE], [INT, DOUBLE], [7, 0.5]),
        ([ValueType.INT64, ValueType.DOUBLE], [DOUBLE, INT], [0.5, 7]),
        ([ValueType.INT64, ValueType.STRING, ValueType.DOUBLE], [STRING, DOUBLE, INT], ["s", 0.5, 7]),
        ([ValueType.INT64, ValueType.INT64, ValueType.DOUBLE], [DOUBLE, INT, INT], [0.5, 7, 7]),
        ([ValueType.INT64, ValueType.DOUBLE, ValueType.STRING], [DOUBLE, INT, None], [0.5, 7, None]),
        ([ValueType.DOUBLE, ValueType.DOUBLE], [INT, DOUBLE], [7, 0.5]),
        ([ValueType.UNKNOWN, ValueType.DOUBLE], [INT, DOUBLE], [7, 0.5]),
    ],
)
def test_a_row_keeps_each_value_in_its_place_whatever_was_declared(
    declared: list[ValueType], stored: list[bytes | None], decoded: list[Any]
) -> None:
    found = list(RowDecoder(declared)(stored))
    assert found == decoded
    assert list(map(type, found)) == list(map(type, decoded))


@pytest.mark.parametrize("others", [[], [INT], [DOUBLE, STRING]], ids=len)
def test_of_a_field_that_is_there_twice_the_last_one_counts_as_in_protobuf(others: list[bytes]) -> None:
    twice = INT + Value(int64_val=8).SerializeToString()
    types = [
        ValueType.INT64,
        *({INT: ValueType.INT64, DOUBLE: ValueType.DOUBLE, STRING: ValueType.STRING}[o] for o in others),
    ]
    expected = [8, *map(decode_value, others)]
    assert list(RowDecoder(types)([twice, *others])) == expected
    assert ColumnDecoder(ValueType.INT64)([twice, *others]) == expected


# ------------------------------------------------------------------------------------------------------- timestamps


@pytest.mark.parametrize(
    ("seconds", "nanos", "moment"),
    [
        (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_700_000_000, 0, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000, 123_456_000, datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)),
        (1_700_000_000, 1_000, datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)),
        (
            1_700_000_000,
            123_456_789,
            datetime(2023, 11, 14, 22, 13, 20, 123_457, tzinfo=UTC),
        ),  # Redis' rule: through a float
        (-1, 0, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253_402_300_799, 0, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_timestamps_have_microseconds(seconds: int, nanos: int, moment: datetime) -> None:
    stored = Timestamp(seconds=seconds, nanos=nanos).SerializeToString()
    assert decode_timestamp(stored) == moment
    assert decode_timestamps([stored, stored, stored]) == [moment] * 3


def test_timestamps_of_all_kinds_are_decoded_side_by_side() -> None:
    stored = [
        Timestamp(seconds=1_700_000_000).SerializeToString(),
        Timestamp(seconds=1_700_000_000, nanos=500_000_000).SerializeToString(),
        None,
        b"",
        Timestamp(seconds=-1, nanos=1).SerializeToString(),
    ]
    assert decode_timestamps(stored) == [decode_timestamp(one) for one in stored]


@pytest.mark.parametrize("stored", [b"\xff", b"\x08", Timestamp(seconds=2**62).SerializeToString()])
def test_bytes_that_are_no_timestamp_raise(stored: bytes) -> None:
    with pytest.raises(CorruptValueError, match="not a timestamp"):
        decode_timestamp(stored)
    with pytest.raises(CorruptValueError, match="not a timestamp"):
        decode_timestamps([Timestamp(seconds=1).SerializeToString(), stored])


@pytest.mark.parametrize("absent", [None, b""])
def test_an_absent_timestamp_is_the_epoch(absent: bytes | None) -> None:
    assert decode_timestamp(absent) == datetime(1970, 1, 1, tzinfo=UTC)
    assert decode_timestamps([absent]) == [datetime(1970, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("seconds", [0, 1, -1, 1_700_000_000])
def test_a_timestamp_written_is_read_again(seconds: int) -> None:
    stored = encode_timestamp(seconds)
    assert Timestamp.FromString(stored) == Timestamp(seconds=seconds)
    assert decode_timestamp(stored) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def test_a_row_with_a_type_of_a_later_feast_and_nothing_stored_for_it() -> None:
    decode = RowDecoder([ValueType.UNKNOWN, ValueType.INT64])
    stored = Value(int64_val=7).SerializeToString()
    assert list(decode([None, stored])) == [None, 7]
    assert list(decode([stored, None])) == [7, None]
    assert list(decode([b"", b""])) == [None, None]
