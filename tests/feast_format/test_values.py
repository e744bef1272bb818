"""Stored Values, against what Feast 0.67.0 wrote and answered. More in property/test_values.py.

It writes them as JSON in feast/feature_server_utils.py _value_to_native.
"""

from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format import values as module
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import (
    ColumnDecoder,
    RowDecoder,
    ValueType,
    declared_type,
    decode_value,
    parse_in_steps,
    parse_value,
    spell_non_finite,
    stored_type,
)
from yummy_fast.features.steps import at_once


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


def test_a_stored_value_is_known_by_the_tag_that_it_begins_with() -> None:
    """The number of its field, and how its value is encoded: one byte, or two from field 16 on (protobuf's
    encoding)."""
    for field in Value.DESCRIPTOR.oneofs_by_name["val"].fields:
        tag = module._tag(field.name)
        number = tag[0] >> 3 if len(tag) == 1 else (tag[0] & 0x7F | tag[1] << 7) >> 3
        assert (number, len(tag)) == (field.number, 1 if field.number < 16 else 2), field.name


def test_a_value_of_a_type_of_a_later_feast_is_null() -> None:
    later = b"\xf2\x06\x01a"  # field 110
    assert ColumnDecoder(ValueType(9_999))([later, Value(int64_val=1).SerializeToString()]) == [None, 1]
    assert list(RowDecoder([ValueType(9_999), ValueType.INT64])([later, Value(int64_val=1).SerializeToString()])) == [
        *(None, 1),
    ]


def test_a_row_with_a_type_of_a_later_feast_and_nothing_stored_for_it() -> None:
    decode = RowDecoder([ValueType.UNKNOWN, ValueType.INT64])
    stored = Value(int64_val=7).SerializeToString()
    assert list(decode([None, stored])) == [None, 7]
    assert list(decode([stored, None])) == [7, None]
    assert list(decode([b"", b""])) == [None, None]


# Types that change places: what is stored decides, value by value (_value_to_native), however the counts come out.

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


def test_zones_are_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no zone's cost a search of the disk for each value."""
    searched: list[str] = []

    def search(name: str) -> ZoneInfo:
        searched.append(name)
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(module, "ZoneInfo", search)
    for _ in range(3):
        assert module.zone("UTC-07:31") == timezone(-timedelta(hours=7, minutes=31))
        assert module.zone("no/zone") is UTC
        assert module.zone("x" * 10_000) is UTC
    assert searched == ["UTC-07:31", "no/zone"]
    for number in range(10_000):
        module.zone(f"no/zone/{number}")
    assert module._known_zone.cache_info().currsize == module._MAX_KNOWN_ZONES
    module._known_zone.cache_clear()


MANY = 20_000
LARGE: dict[str, Value] = {
    "map": Value(map_val=values.Map(val={f"key{n}": Value(int64_val=n) for n in range(MANY)})),
    "struct": Value(struct_val=values.Map(val={f"{n}": Value(string_val="x" * (n % 300)) for n in range(9_000)})),
    "maps": Value(map_list_val=values.MapList(val=[mapping(a=Value(int64_val=n)) for n in range(MANY)])),
    "nested": Value(list_val=nested(*[Value(int64_list_val=values.Int64List(val=[n])) for n in range(MANY)])),
    "texts": Value(string_list_val=values.StringList(val=["", "a", "é" * 100] * MANY)),
    "long texts": Value(string_set_val=values.StringList(val=["x" * 100_000, "", "y" * 100_000, "z" * 20_000])),
    "bytes": Value(bytes_list_val=values.BytesList(val=[b"", b"\n\n", b"\xff" * 130] * MANY)),
    "integers": Value(int64_list_val=values.Int64List(val=[-1, 0, 1 << 62, 127, 128, 300] * MANY)),
    "32 bits": Value(int32_set_val=values.Int32List(val=[-1, 0, 1 << 30] * MANY)),
    "booleans": Value(bool_list_val=values.BoolList(val=[True, False] * 8 * MANY)),
    "doubles": Value(double_list_val=values.DoubleList(val=[number / 7 for number in range(MANY)])),
    "floats": Value(float_list_val=values.FloatList(val=[number / 7 for number in range(MANY)])),
    "times": Value(unix_timestamp_list_val=values.Int64List(val=range(3 * MANY))),
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_value_is_parsed_in_steps_to_the_same(value: Value) -> None:
    stored = value.SerializeToString(deterministic=True)
    whole, parsed = parse_value(stored), at_once(parse_in_steps(stored))
    assert whole is not None
    assert parsed is not None
    assert parsed == whole == value
    # Also in the order in which a map is iterated over, which is neither sorted nor that of the bytes.
    assert json.dumps(decode_value(parsed.SerializeToString())) == json.dumps(decode_value(whole.SerializeToString()))
    if whole.HasField("map_val"):
        assert list(parsed.map_val.val) == list(whole.map_val.val)
    assert sum(1 for _ in parse_in_steps(stored)) >= 2


TEXTS = LARGE["texts"].SerializeToString()


def framed(tag: int, content: bytes) -> bytes:
    """A field with a length of three bytes."""
    size = len(content)
    return bytes((tag, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + content


STRING_LIST, INT64_LIST, DOUBLE_LIST, VAL = 0x62, 0x72, 0x7A, 0x0A
ODD: dict[str, bytes] = {
    "nothing": b"",
    "a string": Value(string_val="x" * 100_000).SerializeToString(),
    "cut off": TEXTS[:-1],
    "more behind it": TEXTS + Value(int64_val=1).SerializeToString(),
    "twice": TEXTS * 2,
    "an unknown field of Value": b"\xfa\x7f" + TEXTS[1:],
    "numbers that are not packed": framed(INT64_LIST, b"\x08\x01" * 100_000),
    "an entry of another field": framed(STRING_LIST, b"\x0a\x00" * 50_000 + b"\x12\x00" * 50_000),
    "an entry longer than the list": framed(STRING_LIST, b"\x0a\x00" * 99_999 + b"\x0a\x01"),
    "an entry without a length": framed(STRING_LIST, b"\x0a\x00" * 99_999 + b"\x0a"),
    "a length without end": framed(STRING_LIST, b"\x0a" + b"\xff" * 199_999),
    "a text that is no UTF-8": framed(STRING_LIST, b"\x0a\x02\xff\xff" * 50_000),
    "a number without end": framed(INT64_LIST, framed(VAL, b"\xff" * 200_000)),
    "a number that is cut off": framed(INT64_LIST, framed(VAL, b"\x01" * 200_000 + b"\x80")),
    "two rows of packed numbers": framed(INT64_LIST, framed(VAL, b"\x01" * 100_000) * 2),
    "packed numbers and one that is not": framed(INT64_LIST, framed(VAL, b"\x01" * 100_000) + b"\x08\x01"),
    "doubles that do not come out even": framed(DOUBLE_LIST, framed(VAL, b"\x01" * 200_001)),
}


@pytest.mark.parametrize("stored", ODD.values(), ids=ODD)
def test_what_feast_does_not_write_is_parsed_in_steps_to_the_same(stored: bytes) -> None:
    try:
        expected: object = parse_value(stored)
    except CorruptValueError as error:
        expected = str(error)
    try:
        found: object = at_once(parse_in_steps(stored))
    except CorruptValueError as error:
        found = str(error)
    assert found == expected


def test_of_two_entries_of_a_map_under_one_key_the_last_one_counts() -> None:
    entry = [values.Map(val={"a": Value(int64_val=number)}).SerializeToString() for number in range(3)]
    content = entry[0] * 50_000 + entry[2]
    stored = b"\xa2" + framed(0x01, content)
    parsed = at_once(parse_in_steps(stored))
    assert parsed == parse_value(stored) == Value(map_val=mapping(a=Value(int64_val=2)))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ({"int32_key": -1}, "-1"),
        ({"int64_key": 1 << 40}, "1099511627776"),
        ({"float_key": 2.5}, "2.5"),
        ({"double_key": float("inf")}, "Infinity"),
        ({"double_key": float("nan")}, "NaN"),
        ({"bool_key": True}, "true"),
        ({"unix_timestamp_key": 1_700_000_000}, "1700000000"),
        ({"bytes_key": b"a"}, "YQ=="),
        ({"decimal_key": "1.50"}, "1.50"),
        ({}, "null"),
    ],
)
def test_keys_of_scalar_maps_are_text(key: dict[str, Any], text: str) -> None:
    """JSON has no other names of members. Feast's server answers null for such a map: `exact` is --compat strict."""
    entry = values.ScalarMapEntry(key=values.MapKey(**key), value=Value(int64_val=7))
    stored = Value(scalar_map_val=values.ScalarMap(val=[entry])).SerializeToString()
    assert decode_value(stored, exact=True) == {text: 7}
    assert decode_value(stored) is None


def test_types_of_stored_and_declared_values() -> None:
    assert stored_type(Value(int64_val=0).SerializeToString()) == declared_type(ValueType.INT64) == "int64"
    assert stored_type(Value(list_val=values.RepeatedValue()).SerializeToString()) == declared_type(
        ValueType.VALUE_LIST
    )
    assert declared_type(ValueType.PDF_BYTES) == declared_type(ValueType.BYTES) == "bytes"
    assert stored_type(b"") == declared_type(ValueType.UNKNOWN) == ""
    assert stored_type(Value(null_val=values.NULL).SerializeToString()) == ""
    with pytest.raises(CorruptValueError):
        stored_type(b"\xff")
