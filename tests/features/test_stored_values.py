"""Columns of a push to stored Values: the bytes that Feast stores, and what is refused.

The expected bytes are Feast 0.67.0's (its own table of them is in the recorded pushes), or those of protobuf's own
encoder, from the message with Feast's field names.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yummy_fast.errors import InexactNumberError, RequestError
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import ValueType, json_value
from yummy_fast.features.stored_values import NULL, convert_column, encode_column

Type = ValueType


def encode(value_type: ValueType, *values: Any) -> list[str]:
    return [stored.hex() for stored in encode_column("x", value_type, list(values))]


def message(**fields: Any) -> str:
    return Value(**fields).SerializeToString().hex()


STORED_BY_FEAST: list[tuple[ValueType, Any, str]] = [
    (Type.INT32, 5, "1805"),
    (Type.INT64, 7, "2007"),
    (Type.FLOAT, 0.1, "35cdcccc3d"),
    (Type.DOUBLE, 0.1, "299a9999999999b93f"),
    (Type.STRING, "hé", "120368c3a9"),
    (Type.BOOL, True, "3801"),
    (Type.UNIX_TIMESTAMP, 1769904000, "4080affacb06"),
    (Type.INT64_LIST, [1, 2], "72040a020102"),
    (Type.STRING_LIST, ["a", "b"], "62060a01610a0162"),
    (Type.FLOAT_LIST, [0.5, 1.5], "82010a0a080000003f0000c03f"),
    (Type.INT64_LIST, [], "7200"),
    (Type.MAP, {"a": b"x"}, "a2010a0a080a016112030a0178"),  # as a function of an on-demand view may return
    (Type.MAP, {"a": [b"x"]}, "a2010c0a0a0a016112055a030a0178"),
    (Type.VALUE_LIST, [[b"x"]], "d202070a055a030a0178"),
    (Type.INT64, None, ""),
]


@pytest.mark.parametrize(("value_type", "value", "expected"), STORED_BY_FEAST)
def test_the_bytes_that_feast_stores(value_type: ValueType, value: Any, expected: str) -> None:
    assert encode(value_type, value) == [expected]


ENCODED_BY_PROTOBUF: list[tuple[ValueType, Any, dict[str, Any]]] = [
    (Type.INT32, -1, {"int32_val": -1}),
    (Type.INT32, 0, {"int32_val": 0}),
    (Type.INT32, "3", {"int32_val": 3}),
    (Type.INT64, -(1 << 63), {"int64_val": -(1 << 63)}),
    (Type.INT64, (1 << 63) - 1, {"int64_val": (1 << 63) - 1}),
    (Type.INT64, 3.7, {"int64_val": 3}),
    (Type.INT64, "77", {"int64_val": 77}),
    (Type.INT64, True, {"int64_val": 1}),
    (Type.FLOAT, 3, {"float_val": 3.0}),
    (Type.FLOAT, "1.5", {"float_val": 1.5}),
    (Type.FLOAT, 1e39, {"float_val": math.inf}),
    (Type.DOUBLE, 3, {"double_val": 3.0}),
    (Type.DOUBLE, math.inf, {"double_val": math.inf}),
    (Type.STRING, 12, {"string_val": "12"}),
    (Type.STRING, True, {"string_val": "True"}),
    (Type.STRING, "", {"string_val": ""}),
    (Type.STRING, "x" * 300, {"string_val": "x" * 300}),
    (Type.BOOL, 1, {"bool_val": True}),
    (Type.BOOL, False, {"bool_val": False}),
    (Type.UNIX_TIMESTAMP, "2026-02-01T00:00:00Z", {"unix_timestamp_val": 1769904000}),
    (Type.UNIX_TIMESTAMP, "12", {"unix_timestamp_val": 12}),
    (Type.UUID, "550e8400-e29b-41d4-a716-446655440000", {"uuid_val": "550e8400-e29b-41d4-a716-446655440000"}),
    (Type.DECIMAL, "1.50", {"decimal_val": "1.50"}),
    (Type.JSON, '{"a": 1}', {"json_val": '{"a": 1}'}),
    (Type.JSON, {"a": 1}, {"json_val": '{"a": 1}'}),
    (Type.INT32_LIST, [-1, 300], {"int32_list_val": {"val": [-1, 300]}}),
    (Type.DOUBLE_LIST, [1, 2.5], {"double_list_val": {"val": [1.0, 2.5]}}),
    (Type.FLOAT_LIST, [1e39, 1], {"float_list_val": {"val": [math.inf, 1.0]}}),
    (Type.BOOL_LIST, [True, False], {"bool_list_val": {"val": [True, False]}}),
    (Type.UNIX_TIMESTAMP_LIST, [5, "1970-01-02"], {"unix_timestamp_list_val": {"val": [5, 86400]}}),
    (Type.STRING_LIST, ["x" * 200] * 101, {"string_list_val": {"val": ["x" * 200] * 101}}),
    (Type.STRING_SET, ["b", "a", "b"], {"string_set_val": {"val": ["b", "a"]}}),
    (Type.INT64_SET, [3, 1, 3], {"int64_set_val": {"val": [3, 1]}}),
    (Type.DOUBLE_SET, [1, 1.0, 2.5], {"double_set_val": {"val": [1.0, 2.5]}}),
    (Type.JSON_LIST, ["1", {"a": 2}], {"json_list_val": {"val": ["1", '{"a": 2}']}}),
    (Type.UUID_LIST, ["u"], {"uuid_list_val": {"val": ["u"]}}),
    (Type.MAP, {"k": 1}, {"map_val": {"val": {"k": {"int64_val": 1}}}}),
    (Type.MAP, '{"k": "x"}', {"map_val": {"val": {"k": {"string_val": "x"}}}}),
    (Type.MAP, {}, {"map_val": {}}),
    (Type.MAP, {"": None}, {"map_val": {"val": {"": {}}}}),
    (Type.MAP, {"q": {"r": 1.5}}, {"map_val": {"val": {"q": {"map_val": {"val": {"r": {"double_val": 1.5}}}}}}}),
    (Type.MAP, {"o": [1, 2]}, {"map_val": {"val": {"o": {"int64_list_val": {"val": [1, 2]}}}}}),
    (Type.MAP, {"b": True}, {"map_val": {"val": {"b": {"bool_val": True}}}}),
    (Type.MAP, {"m": [{}]}, {"map_val": {"val": {"m": {"map_list_val": {"val": [{}]}}}}}),
    (Type.STRUCT, {"k": -1}, {"struct_val": {"val": {"k": {"int64_val": -1}}}}),
    (Type.STRUCT, 5, {"struct_val": {"val": {"_value": {"string_val": "5"}}}}),
    (Type.MAP_LIST, [{"k": 1}], {"map_list_val": {"val": [{"val": {"k": {"int64_val": 1}}}]}}),
    (Type.MAP_LIST, ['{"k": 1}'], {"map_list_val": {"val": [{"val": {"k": {"int64_val": 1}}}]}}),
    (Type.VALUE_LIST, [[1], []], {"list_val": {"val": [{"int64_list_val": {"val": [1]}}, {}]}}),
    (
        Type.VALUE_LIST,
        [[["a"]]],
        {"list_val": {"val": [{"list_val": {"val": [{"string_list_val": {"val": ["a"]}}]}}]}},
    ),
    (
        Type.ZONED_TIMESTAMP,
        "1970-01-01T02:00:05+02:00",
        {"zoned_timestamp_val": {"unix_timestamp": 5, "zone": "UTC+02:00"}},
    ),
]


@pytest.mark.parametrize(("value_type", "value", "fields"), ENCODED_BY_PROTOBUF)
def test_as_protobuf_would_encode_it(value_type: ValueType, value: Any, fields: dict[str, Any]) -> None:
    """Alone, and between nulls."""
    assert encode(value_type, value) == [message(**fields)]
    assert encode(value_type, None, value, None) == ["", message(**fields), ""]


def test_each_value_is_converted_by_itself() -> None:
    assert encode(Type.INT64, (1 << 60) + 1, None) == [message(int64_val=(1 << 60) + 1), ""]
    assert encode(Type.STRING, 1, None) == [message(string_val="1"), ""]
    assert encode(Type.MAP, {"y": 1}, {"z": 1}) == [encode(Type.MAP, {"y": 1})[0], encode(Type.MAP, {"z": 1})[0]]


def test_nan_is_a_null_but_in_a_list() -> None:
    assert encode(Type.DOUBLE, math.nan, 1.0) == ["", message(double_val=1.0)]
    assert encode(Type.INT64, math.nan) == [""]
    assert encode(Type.FLOAT_LIST, [math.nan]) == [message(float_list_val={"val": [math.nan]})]


REFUSED_SETS = [
    (Type.INT64_SET, [1, True]),
    (Type.INT64_SET, [True, 1]),
    (Type.INT64_SET, [0, False]),
    (Type.INT32_SET, [1, 1.0]),
    (Type.UNIX_TIMESTAMP_SET, [1, True]),
    (Type.BOOL_SET, [True, 1]),
    (Type.DOUBLE_SET, [1, True]),
]
"""Sets whose items are equal in Python, and of types that are not the set's. Feast's push refuses them in any order."""


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (Type.INT64, "abc"),
        (Type.INT64, [5]),
        (Type.INT64, {"a": 1}),
        (Type.INT64, 1 << 63),
        (Type.INT64, 1e30),
        (Type.INT64, math.inf),
        (Type.INT32, 1 << 31),
        (Type.DOUBLE, "x"),
        (Type.DOUBLE, True),
        (Type.FLOAT, "x"),
        (Type.BOOL, "true"),
        (Type.BOOL, 1.0),
        (Type.STRING, ["a"]),
        (Type.STRING, "\ud800"),
        (Type.UUID, 5),
        (Type.BYTES, "AAAA"),
        (Type.JSON, "{nope"),
        (Type.UNIX_TIMESTAMP, "soon"),
        (Type.INT64_LIST, 5),
        (Type.INT64_LIST, [1, None]),
        (Type.INT64_LIST, [1.5]),
        (Type.INT64_LIST, [True]),
        (Type.INT32_LIST, [1 << 31]),
        (Type.STRING_LIST, [1]),
        (Type.STRING_LIST, "ab"),
        (Type.STRING_SET, [["a"]]),
        *REFUSED_SETS,
        (Type.FLOAT_LIST, [None]),
        (Type.DOUBLE_LIST, [10**400]),
        (Type.DOUBLE, 10**400),
        (Type.BOOL_LIST, [1]),
        (Type.BYTES_LIST, ["a"]),
        (Type.JSON_LIST, [None]),
        (Type.MAP, [1]),
        (Type.MAP, {"k": []}),
        (Type.MAP, {"k": [1, None]}),
        (Type.MAP, {"k": 1 << 63}),
        (Type.MAP_LIST, {"k": 1}),
        (Type.VALUE_LIST, [1]),
        (Type.SCALAR_MAP, {"k": 1}),
    ],
)
def test_what_does_not_fit_is_refused_with_its_row(value_type: ValueType, value: Any) -> None:
    with pytest.raises(RequestError, match=r"^df\.x\[11\]: expected .*, got "):
        encode_column("x", value_type, [None, value], start=10)


def test_a_number_that_parsing_may_have_rounded() -> None:
    """1e30 in a column of text may have been an integer of 31 digits: the caller parses the body again, exactly."""
    with pytest.raises(InexactNumberError, match=r"^df\.x\[0\]"):
        encode_column("x", Type.STRING, [1e30])
    assert encode_column("x", Type.STRING, [10**30], exact=True)[0].hex() == message(string_val=str(10**30))
    assert encode_column("x", Type.STRING, [1e30], exact=True)[0].hex() == message(string_val="1e+30")


def test_brackets_that_no_parser_of_protobuf_would_get_through() -> None:
    """What is stored can be read again; a level more is refused."""

    def nested(levels: int) -> Any:
        value: Any = {"k": 1}
        for _ in range(levels - 1):
            value = {"k": value}
        return value

    deepest = next(levels for levels in range(60, 0, -1) if _fits(nested(levels)))
    assert json_value(Value.FromString(encode_column("x", Type.MAP, [nested(deepest)])[0])) == nested(deepest)
    assert deepest >= 30


def _fits(value: Any) -> bool:
    try:
        encode_column("x", Type.MAP, [value])
    except RequestError as error:
        if "brackets" not in str(error):
            raise
        return False
    return True


def test_an_unknown_type_cannot_be_written() -> None:
    with pytest.raises(RequestError, match="UNKNOWN"):
        encode_column("x", Type.UNKNOWN, [1])


SCALARS: dict[ValueType, tuple[str, st.SearchStrategy[Any]]] = {
    Type.INT32: ("int32_val", st.integers(-(1 << 31), (1 << 31) - 1)),
    Type.INT64: ("int64_val", st.integers(-(1 << 63), (1 << 63) - 1)),
    Type.FLOAT: ("float_val", st.floats(width=32, allow_nan=False)),
    Type.DOUBLE: ("double_val", st.floats(allow_nan=False)),
    Type.STRING: ("string_val", st.text(st.characters(exclude_categories=["Cs"]))),
    Type.BOOL: ("bool_val", st.booleans()),
    Type.UNIX_TIMESTAMP: ("unix_timestamp_val", st.integers(-(1 << 63), (1 << 63) - 1)),
}


@given(st.data())
def test_any_column_is_encoded_as_protobuf_encodes_it(data: st.DataObject) -> None:
    value_type = data.draw(st.sampled_from(list(SCALARS)))
    field, values = SCALARS[value_type]
    column = data.draw(st.lists(st.none() | values, max_size=30))
    expected = [NULL if value is None else bytes.fromhex(message(**{field: value})) for value in column]
    assert encode(value_type, *column) == [stored.hex() for stored in expected]


@pytest.mark.parametrize(
    ("value_type", "values", "expected"),
    [
        (Type.INT64, [1001, "1001", 1001.0, True], [1001, 1001, 1001, 1]),
        (Type.STRING, ["ä", 12], ["ä", "12"]),
    ],
)
def test_keys(value_type: ValueType, values: list[Any], expected: list[Any]) -> None:
    assert convert_column("k", value_type, values) == expected


@pytest.mark.parametrize(
    ("value_type", "value"), [(Type.INT64, None), (Type.INT64, 1 << 63), (Type.INT64, [1]), (Type.STRING, math.nan)]
)
def test_keys_that_are_refused(value_type: ValueType, value: Any) -> None:
    with pytest.raises(RequestError, match=r"^df\.k\[1\]"):
        convert_column("k", value_type, [1, value])
