"""What functions see of stored Values, and what becomes of the values that they return.

The expected values were made by Feast 0.67.0 itself from the very same inputs, and are written down here: by
feast_value_type_to_python_type; and by python_values_to_proto_values, then convert_response_to_dict.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy
import pandas
import pytest
from google.protobuf import text_format

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.python_values import json_values, python_value

UUID_OF_ALL = UUID("12345678-1234-5678-1234-567812345678")
MOMENT = datetime(2024, 1, 2, 3, 4, 5, 600_000)
IN_TWO_HOURS_ZONE = MOMENT.replace(tzinfo=timezone(timedelta(hours=2)))
NAN, INF = math.nan, math.inf
NAT = -9223372036854775808


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("", None),
        ("int32_val: -1", -1),
        ("int64_val: 9007199254740993", 9007199254740993),
        ("double_val: 0.5", 0.5),
        ("float_val: 0.1", 0.10000000149011612),
        ("bool_val: true", True),
        (r'string_val: "\305\201"', "Ł"),
        (r'bytes_val: "\377"', b"\xff"),
        ("unix_timestamp_val: 1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("unix_timestamp_val: -9223372036854775808", None),
        (f'uuid_val: "{UUID_OF_ALL}"', UUID_OF_ALL),
        (f'time_uuid_val: "{UUID_OF_ALL}"', UUID_OF_ALL),
        ('decimal_val: "1.50"', Decimal("1.50")),
        (r'json_val: "{\"a\": [1]}"', {"a": [1]}),
        ('json_val: "no json"', "no json"),
        ('json_list_val { val: "1" val: "x" }', [1, "x"]),
        ("int64_list_val { val: [1, 2] }", [1, 2]),
        ("int64_list_val {}", []),
        ('string_set_val { val: "a" val: "a" }', {"a"}),
        (
            "unix_timestamp_list_val { val: [5, -9223372036854775808] }",
            [datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC), None],
        ),
        ("unix_timestamp_set_val { val: 5 }", {datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)}),
        (f'uuid_list_val {{ val: "{UUID_OF_ALL}" }}', [UUID_OF_ALL]),
        ('decimal_set_val { val: "1.5" }', {Decimal("1.5")}),
        (
            'map_val { val { key: "a" value { map_val { val { key: "b" value { int32_val: 1 } } } } } '
            'val { key: "c" value {} } }',
            {"a": {"b": 1}, "c": None},
        ),
        ('struct_val { val { key: "a" value { double_val: 1 } } }', {"a": 1.0}),
        ('map_list_val { val { val { key: "a" value { int32_val: 1 } } } val {} }', [{"a": 1}, {}]),
        ("struct_list_val { val {} }", [{}]),
        ("null_val: NULL", 0),
        ("list_val { val { null_val: NULL } }", [0]),
        ("scalar_map_val {}", {}),
        (
            'scalar_map_val { val { key { int32_key: -1 } value { string_val: "a" } } '
            "val { key { unix_timestamp_key: 5 } value { null_val: NULL } } "
            'val { key { decimal_key: "1.5" } value {} } '
            f'val {{ key {{ uuid_key: "{UUID_OF_ALL}" }} value {{ int64_list_val {{ val: 1 }} }} }} '
            'val { key { bytes_key: "x" } value { bool_val: true } } '
            "val { key { float_key: 0.1 } value { scalar_map_val {} } } }",
            {
                -1: "a",
                datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC): 0,
                Decimal("1.5"): None,
                UUID_OF_ALL: [1],
                b"x": True,
                0.10000000149011612: {},
            },
        ),
        (
            "scalar_map_val { val { value { int32_val: 1 } } "
            "val { key { unix_timestamp_key: -9223372036854775808 } value { int32_val: 2 } } "
            "val { key { bool_key: true } value {} } }",
            {None: 2, True: None},
        ),
        ("list_val { val { int64_list_val { val: 1 } } val {} }", [[1], None]),
        ("set_val { val { int64_list_val { val: 1 } } }", [[1]]),
        (
            'zoned_timestamp_val { unix_timestamp: 1700000000 zone: "Europe/Warsaw" }',
            datetime(2023, 11, 14, 23, 13, 20, tzinfo=ZoneInfo("Europe/Warsaw")),
        ),
        ("zoned_timestamp_val { unix_timestamp: 1700000000 }", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ('zoned_timestamp_val { unix_timestamp: -9223372036854775808 zone: "UTC" }', None),
        (
            'zoned_timestamp_val { unix_timestamp: 1700000000 zone: "+02:00" }',
            datetime(2023, 11, 15, 0, 13, 20, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_functions_see_what_feasts_see(stored: str, expected: Any) -> None:
    """`stored` is a Value in protobuf's text format."""
    found = python_value(text_format.Parse(stored, Value()).SerializeToString())
    assert (type(found), found) == (type(expected), expected)
    if isinstance(expected, datetime):
        assert found.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    ("value_type", "stored", "expected"),
    [
        ("UUID", f'string_val: "{UUID_OF_ALL}"', UUID_OF_ALL),
        ("TIME_UUID", f'string_val: "{UUID_OF_ALL}"', UUID_OF_ALL),
        ("UUID_LIST", f'string_list_val {{ val: "{UUID_OF_ALL}" }}', [UUID_OF_ALL]),
        ("UUID_SET", f'string_set_val {{ val: "{UUID_OF_ALL}" }}', {UUID_OF_ALL}),
        ("UUID", f'uuid_val: "{UUID_OF_ALL}"', UUID_OF_ALL),
        ("STRING", f'string_val: "{UUID_OF_ALL}"', str(UUID_OF_ALL)),
    ],
)
def test_uuids_that_were_stored_as_text_are_uuids(value_type: str, stored: str, expected: Any) -> None:
    """What Feast 0.67.0 makes of rows from before it had a type for them (feast_value_type_to_python_type)."""
    message = text_format.Parse(stored, Value())
    assert python_value(message.SerializeToString(), ValueType[value_type]) == expected


@pytest.mark.parametrize(
    ("value_type", "stored"),
    [
        ("UUID", 'string_val: "x"'),
        ("UUID_LIST", 'string_list_val { val: "x" }'),
        ("UUID", 'uuid_val: "x"'),
        ("DECIMAL", 'decimal_val: "x"'),
        ("UNIX_TIMESTAMP", "unix_timestamp_val: 99999999999999"),
    ],
)
def test_what_python_has_no_value_for_is_corrupt(value_type: str, stored: str) -> None:
    """Feast raises whatever Python does, and answers 500."""
    message = text_format.Parse(stored, Value())
    with pytest.raises(CorruptValueError, match=f"^a {stored.partition(' ')[0].rstrip(':')} that Python has no value"):
        python_value(message.SerializeToString(), ValueType[value_type])


def test_nothing_stored_is_none() -> None:
    assert python_value(None) is None


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in another time zone than the tests' own."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("new_york")
@pytest.mark.parametrize("value_type", ["UNIX_TIMESTAMP", "INT64", "MAP"])
def test_a_time_without_a_zone_is_utc_wherever_the_server_is(value_type: str) -> None:
    assert datetime(1970, 1, 2).timestamp() == 86_400 + 5 * 3_600, "the zone is set"
    value: Any = {"a": MOMENT} if value_type == "MAP" else MOMENT
    (found,) = json_values([value], ValueType[value_type])
    assert (found["a"] if value_type == "MAP" else found) == 1704164645


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_an_array_of_times_is_seconds_whatever_numpy_counts_in(unit: str) -> None:
    array = numpy.array(["2024-01-02T03:04:05"], dtype=f"datetime64[{unit}]")
    assert json_values([array], ValueType.UNIX_TIMESTAMP_LIST) == [[1704164645]]


@pytest.mark.parametrize(
    ("value_type", "values", "expected"),
    [
        ("INT32", [1, "2", 3.9, True, None, NAN], [1, 2, 3, 1, None, None]),
        ("INT32", [[1], 3, {"a": 1}], [None, 3, None]),
        ("INT64", [2**63 - 1, -(2**63), "7", None, 1.5], [2**63 - 1, -(2**63), 7, None, 1]),
        ("INT64", [numpy.int32(5), numpy.float64(2.5), Decimal("3.7")], [5, 2, 3]),
        (
            *("FLOAT", [0.1, 1, "0.5", None, NAN, INF, True]),
            [0.10000000149011612, 1.0, 0.5, None, None, "Infinity", 1.0],
        ),
        ("FLOAT", [1e39, -1e39], ["Infinity", "-Infinity"]),
        ("DOUBLE", [0.1, 1, None, NAN, INF, -INF], [0.1, 1.0, None, None, "Infinity", "-Infinity"]),
        ("DOUBLE", [[1.0], 2.0], [None, 2.0]),
        ("DOUBLE", [Decimal("1.5"), numpy.float64(2.5), numpy.int64(3)], [1.5, 2.5, 3.0]),
        ("STRING", ["a", 5, 1.5, True, None, NAN], ["a", "5", "1.5", "True", None, None]),
        (
            "STRING",
            [["a"], "b", "", UUID_OF_ALL, MOMENT],
            [None, "b", "", str(UUID_OF_ALL), "2024-01-02 03:04:05.600000"],
        ),
        ("STRING", [b"x"], ["b'x'"]),
        ("BOOL", [True, False, None], [True, False, None]),
        ("BOOL", [1, 0, 2, numpy.bool_(True)], [True, False, True, True]),
        ("BYTES", [b"\x00\xff", None], ["AP8=", None]),
        ("PDF_BYTES", [b"x"], ["eA=="]),
        ("IMAGE_BYTES", [b"x"], ["eA=="]),
        ("UNIX_TIMESTAMP", [MOMENT, IN_TWO_HOURS_ZONE, 5, "7", None], [1704164645, 1704157445, 5, 7, None]),
        ("UNIX_TIMESTAMP", [1.5, NAN, 5], [NAT, NAT, 5]),
        ("UNIX_TIMESTAMP", [numpy.datetime64("2024-01-02T03:04:05.6"), [1], True], [1704164645, None, 1]),
        ("UNIX_TIMESTAMP", [datetime(1969, 12, 31, 23, 59, 58, 500_000)], [-1]),
        ("UUID", [UUID_OF_ALL, "no uuid", None], [str(UUID_OF_ALL), "no uuid", None]),
        ("TIME_UUID", [UUID_OF_ALL], [str(UUID_OF_ALL)]),
        ("DECIMAL", [Decimal("1.50"), "2.5", None], ["1.50", "2.5", None]),
        ("INT32_LIST", [[1, None, 2], [], None], [[1, 0, 2], [], None]),
        ("INT64_LIST", [[1, 2], [None], numpy.array([3]), (4,)], [[1, 2], [0], [3], [4]]),
        ("FLOAT_LIST", [numpy.array([0.1], dtype="float32")], [[0.10000000149011612]]),
        ("FLOAT_LIST", [[0.1, None, NAN, INF]], [[0.10000000149011612, 0.0, "NaN", "Infinity"]]),
        ("DOUBLE_LIST", [[0.1, None, NAN, -INF]], [[0.1, 0.0, "NaN", "-Infinity"]]),
        ("STRING_LIST", [["a", None, ""]], [["a", "", ""]]),
        ("BOOL_LIST", [[True, None, False]], [[True, False, False]]),
        ("BYTES_LIST", [[b"ab", None]], [["YWI=", ""]]),
        ("UNIX_TIMESTAMP_LIST", [[MOMENT, 5, None]], [[1704164645, 5, NAT]]),
        ("UUID_LIST", [[UUID_OF_ALL, "x", None]], [[str(UUID_OF_ALL), "x", ""]]),
        ("TIME_UUID_LIST", [[UUID_OF_ALL]], [[str(UUID_OF_ALL)]]),
        ("DECIMAL_LIST", [[Decimal("1.50"), "2", None]], [["1.50", "2", ""]]),
        ("INT32_SET", [{1}, set()], [[1], []]),
        ("INT64_SET", [{3}, None, [1, 1]], [[3], None, [1]]),
        ("FLOAT_SET", [{0.1}], [[0.10000000149011612]]),
        ("DOUBLE_SET", [{0.5}], [[0.5]]),
        ("STRING_SET", [{"a"}], [["a"]]),
        ("BOOL_SET", [{True}], [[True]]),
        ("BYTES_SET", [{b"ab"}], [["YWI="]]),
        ("UNIX_TIMESTAMP_SET", [{MOMENT}], [[1704164645]]),
        ("UUID_SET", [{UUID_OF_ALL}], [[str(UUID_OF_ALL)]]),
        ("TIME_UUID_SET", [{UUID_OF_ALL}], [[str(UUID_OF_ALL)]]),
        ("DECIMAL_SET", [{Decimal("1.5")}], [["1.5"]]),
        (
            *("JSON", ['{"a": 1}', {"a": 1, "b": [1]}, None, [1], 5, "5", {"é": 1}]),
            ['{"a": 1}', '{"a": 1, "b": [1]}', None, "[1]", "5", "5", '{"\\u00e9": 1}'],
        ),
        ("JSON_LIST", [['{"a": 1}', {"b": 2}], None], [['{"a": 1}', '{"b": 2}'], None]),
        (
            "MAP",
            [{"a": 1, "b": 0.5, "c": "x", "d": True, "e": None, "f": {"g": 1}, "h": [1, 2], "i": [{"j": 1}]}, None],
            [{"a": 1, "b": 0.5, "c": "x", "d": True, "e": None, "f": {"g": 1}, "h": [1, 2], "i": [{"j": 1}]}, None],
        ),
        ("MAP", ['{"a": 1}', {}], [{"a": 1}, {}]),
        (
            *("MAP", [{"a": MOMENT, "b": b"x", "c": NAN, "d": UUID_OF_ALL, "e": Decimal("1.5")}]),
            [{"a": 1704164645, "b": "eA==", "c": None, "d": str(UUID_OF_ALL), "e": "1.5"}],
        ),
        ("MAP_LIST", [[{"a": 1}], [], None, '[{"a": 1}]'], [[{"a": 1}], [], None, [{"a": 1}]]),
        ("STRUCT", [{"a": 1}, None, '{"a": 1}', 5], [{"a": 1}, None, {"a": 1}, {"_value": "5"}]),
        ("STRUCT_LIST", [[{"a": 1}], None, '[{"a": 1}]'], [[{"a": 1}], None, [{"a": 1}]]),
        ("VALUE_LIST", [[[1, 2], [], None, [3]], None, []], [[[1, 2], None, None, [3]], None, []]),
        ("VALUE_LIST", [[["a"], [0.5]], [[[1], [2]]], [{1}]], [[["a"], [0.5]], [[[1], [2]]], [[1]]]),
        ("VALUE_SET", [[[1], [2]]], [[[1], [2]]]),
        ("SCALAR_MAP", [{1: 2}, None], [None, None]),
        (
            *(
                "ZONED_TIMESTAMP",
                [IN_TWO_HOURS_ZONE, MOMENT, MOMENT.replace(tzinfo=ZoneInfo("America/New_York")), None],
            ),
            ["2024-01-02T03:04:05+02:00", "2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05-05:00", None],
        ),
        ("ZONED_TIMESTAMP", [datetime(1969, 12, 31, 23, 59, 58, 500_000)], ["1969-12-31T23:59:59+00:00"]),
        # Found by asking Feast 0.67.0's python_values_to_proto_values for random columns of odd values.
        ("ZONED_TIMESTAMP", [[1], MOMENT], [None, "2024-01-02T03:04:05+00:00"]),
        ("STRING", [pandas.NA], [None]),
        ("INT64", [5, pandas.NA, pandas.NaT], [5, None, None]),
        ("BYTES", [b""], [None]),
        ("BYTES", [b"", b"x", None], ["", "eA==", None]),
        ("JSON", [NAN, None], ["NaN", None]),
        ("STRUCT", [NAN, None], [{"_value": "nan"}, None]),
        ("MAP", [{"a": numpy.array([1, 2]), "b": NAN}], [{"a": [1, 2], "b": None}]),
    ],
)
def test_values_come_out_as_in_feast(value_type: str, values: list[Any], expected: list[Any]) -> None:
    found = json_values(values, ValueType[value_type])
    assert [(type(value), value) for value in found] == [(type(value), value) for value in expected]
    assert repr(found) == repr(expected), "1 is not 1.0, inside of lists either"


@pytest.mark.parametrize(
    ("value_type", "values"),
    [
        *(("INT32", [2**31]), ("INT32", ["x"]), ("INT64", [2**63]), ("INT64", [INF]), ("FLOAT", ["x"])),
        *(("DOUBLE", ["0.5"]), ("DOUBLE", [1.0, "0.5"]), ("BOOL", ["x"]), ("BOOL", [True, 1.5]), ("BOOL", [0.0])),
        *(("BYTES", ["x"]), ("PDF_BYTES", ["x"]), ("UNIX_TIMESTAMP", ["2024-01-02"]), ("UNIX_TIMESTAMP", [2**63])),
        *(("INT32_LIST", [[1.0]]), ("INT32_LIST", [[2**31]]), ("INT32_LIST", [[True]]), ("INT64_LIST", [["1"]])),
        *(("INT64_LIST", [[1], ["2"]]), ("FLOAT_LIST", [["x"]]), ("DOUBLE_LIST", [[True]]), ("DOUBLE_LIST", [5])),
        *(("STRING_LIST", [[5]]), ("BOOL_LIST", [[1]]), ("BYTES_LIST", [["x"]]), ("STRING_SET", [{5}])),
        *(("UNIX_TIMESTAMP_LIST", [["7"]]), ("UNIX_TIMESTAMP_LIST", [[NAN]]), ("DECIMAL_LIST", [[1.5]])),
        *(("JSON", ["no json"]), ("JSON_LIST", [["x"]]), ("MAP", [5]), ("MAP", [[1]]), ("MAP_LIST", [[5]])),
        *(("MAP", [{"a": 2**63}]), ("STRING", ["\ud800"]), ("MAP", [{"\ud800": 1}]), ("ZONED_TIMESTAMP", [5])),
    ],
)
def test_values_that_feast_refuses_are_refused(value_type: str, values: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError, AttributeError)):
        json_values(values, ValueType[value_type])
