"""What Feast takes for a value of an entity column, and what a caller reads when it does not.

Feast's rules are those of feast/type_map.py python_values_to_proto_values (Feast 0.67.0).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from yummy_fast.errors import InexactNumberError, RequestError
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.entities import VALUES_PER_STEP, convert_column, request_data_in_steps, shown
from yummy_fast.features.steps import at_once

MOST, LEAST = 2**63 - 1, -(2**63)


@pytest.mark.parametrize(
    ("value_type", "values", "converted"),
    [
        (ValueType.INT64, [1, -1, MOST, LEAST], [1, -1, MOST, LEAST]),
        (ValueType.INT64, ["1001", " 1001 ", "1_001"], [1001, 1001, 1001]),
        (ValueType.INT64, [1001.7, 1e3, -0.5, True], [1001, 1000, 0, 1]),
        (ValueType.INT64, [], []),
        (ValueType.INT32, [2**31 - 1, "-2147483648", 1.9], [2**31 - 1, -(2**31), 1]),
        (ValueType.UNIX_TIMESTAMP, [1_700_000_000, "1700000000"], [1_700_000_000, 1_700_000_000]),
        (ValueType.STRING, ["a", "", "é"], ["a", "", "é"]),
        (ValueType.STRING, [5, 1.5, True, 1e16], ["5", "1.5", "True", "1e+16"]),
        (ValueType.BOOL, [True, 0, 2], [True, False, True]),
        (ValueType.FLOAT, [0.5, 1, "1.5", 0.1], [0.5, 1.0, 1.5, 0.10000000149011612]),
        (ValueType.DOUBLE, [0.5, 1], [0.5, 1.0]),
        (ValueType.UUID, ["00000000-0000-0000-0000-000000000001"], ["00000000-0000-0000-0000-000000000001"]),
        (ValueType.DECIMAL, ["1.50"], ["1.50"]),
    ],
)
def test_values_are_converted_by_the_declared_type(
    value_type: ValueType, values: list[Any], converted: list[Any]
) -> None:
    found = convert_column("id", value_type, values)
    assert found == converted
    assert list(map(type, found)) == list(map(type, converted))


@pytest.mark.parametrize(
    "value_type", [ValueType.INT32, ValueType.INT64, ValueType.STRING, ValueType.UNIX_TIMESTAMP, ValueType.BOOL]
)
def test_null_arrays_and_objects_are_empty_values(value_type: ValueType) -> None:
    assert convert_column("id", value_type, [1, None, [1], {"a": 1}])[1:] == [None, None, None]


@pytest.mark.parametrize(
    ("value_type", "values", "message"),
    [
        (ValueType.INT64, [1, 2, 3, "abc"], 'entities.driver_id[3]: expected an integer, got "abc"'),
        (ValueType.INT64, [""], 'entities.driver_id[0]: expected an integer, got ""'),
        (ValueType.INT64, ["1.5"], 'entities.driver_id[0]: expected an integer, got "1.5"'),
        (ValueType.INT64, [MOST + 1], f"entities.driver_id[0]: expected an integer in range, got {MOST + 1}"),
        (ValueType.INT64, [0, LEAST - 1], f"entities.driver_id[1]: expected an integer in range, got {LEAST - 1}"),
        (ValueType.INT64, [1e19], "entities.driver_id[0]: expected an integer in range, got 1e+19"),
        (ValueType.INT32, [2**31], "entities.driver_id[0]: expected a 32-bit integer in range, got 2147483648"),
        (
            *(ValueType.UNIX_TIMESTAMP, ["2024-01-02T03:04:05Z"]),
            'entities.driver_id[0]: expected seconds since the epoch, got "2024-01-02T03:04:05Z"',
        ),
        (ValueType.FLOAT, ["x"], 'entities.driver_id[0]: expected a number, got "x"'),
        (ValueType.DOUBLE, ["1.5"], 'entities.driver_id[0]: expected a number, got "1.5"'),
        (ValueType.BOOL, ["true"], 'entities.driver_id[0]: expected a boolean, got "true"'),
        (ValueType.BYTES, ["AP8Q"], 'entities.driver_id[0]: expected bytes, which JSON cannot carry, got "AP8Q"'),
        (ValueType.UNKNOWN, [1, "a"], 'entities.driver_id[1]: expected an integer, got "a"'),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_place(
    value_type: ValueType, values: list[Any], message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        convert_column("driver_id", value_type, values)
    assert str(caught.value) == message
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("values", "converted"),
    [
        ([1, 2.5], [1, 2]),
        ([2.5, 1], [2.5, 1.0]),
        ([1.5, True, False], [1.5, 1.0, 0.0]),  # Feast looks at the type of the first only
        ([{"a": float("nan")}], [{"a": None}]),
        (["a", 5, None, True], ["a", "5", None, "True"]),
        ([True, 2], [True, True]),
        ([None, None], [None, None]),
        ([None, 7], [None, 7]),
        ([[], [1, 2], None], [[], [1, 2], None]),
        ([{}, {"a": 1}, None], [{}, {"a": 1}, None]),
        ([[{"a": 1}]], [[{"a": 1}]]),
    ],
    ids=str,
)
def test_an_undeclared_column_goes_by_its_first_value_as_feasts_does(values: list[Any], converted: list[Any]) -> None:
    found = convert_column("x", ValueType.UNKNOWN, values)
    assert found == converted
    assert list(map(type, found)) == list(map(type, converted))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[], None], "entities.x: expected a value to infer a type from, got only empty ones"),
        ([{}], "entities.x: expected a value to infer a type from, got only empty ones"),
        ([[1], 1], "entities.x[1]: expected an array that fits INT64_LIST, got 1"),
        ([{"a": 1}, 1], "entities.x[1]: expected an object, got 1"),
        ([[1], ["a"]], 'entities.x[1]: expected an array that fits INT64_LIST, got ["a"]'),
        ([[1, "a"]], 'entities.x[0]: expected an array of one type of string, number or boolean, got [1, "a"]'),
        ([[None]], "entities.x[0]: expected an array of one type of string, number or boolean, got [null]"),
    ],
    ids=str,
)
def test_an_undeclared_column_that_feast_refuses_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        convert_column("x", ValueType.UNKNOWN, values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "value",
    [None, True, False, 7, 1.5, "abc", "", 'say "hi"', "two\nlines", "é", [1, "a", None], {"a": [True]}],
    ids=repr,
)
def test_a_value_is_shown_as_the_json_that_the_caller_wrote(value: object) -> None:
    assert json.loads(shown(value)) == value
    assert type(json.loads(shown(value))) is type(value)


@pytest.mark.parametrize("value", ["x" * 5_000, ["x"] * 5_000, 10**200])
def test_a_long_value_is_cut(value: object) -> None:
    assert len(shown(value)) == 80
    assert shown(value).endswith("...")


def test_a_nan_is_a_null_but_for_a_timestamp() -> None:
    """To Feast any float is a null timestamp, for which it stores numpy's NaT, the least integer."""
    nan = float("nan")
    for value_type in (ValueType.INT64, ValueType.DOUBLE, ValueType.STRING, ValueType.BOOL):
        assert convert_column("x", value_type, [nan]) == [None]
    assert convert_column("x", ValueType.UNIX_TIMESTAMP, [nan, 1.5, 7]) == [LEAST, LEAST, 7]


# What Feast 0.67.0 makes of numbers beyond 64 bits, asked as JSON of `feast serve`: floats by str(), integers by their
# digits. orjson makes a float of both.
@pytest.mark.parametrize("value", [1e22, -1e300, float(2**64), float(-(2**63))])
def test_a_float_that_may_have_been_an_integer_is_no_text_until_it_is_parsed_exactly(value: float) -> None:
    with pytest.raises(InexactNumberError, match=r"^entities\.x\[1\]: expected a string in range, got "):
        convert_column("x", ValueType.STRING, ["a", value])
    assert convert_column("x", ValueType.STRING, ["a", value], exact=True) == ["a", str(value)]


@pytest.mark.parametrize("value", [float(2**63), 1e19, 1.8e19, float(-(2**63) + 1024)])
def test_a_float_whose_integer_would_have_been_parsed_exactly_is_text_as_pythons(value: float) -> None:
    """orjson makes floats of integers from 2 ** 64 on, and below -(2 ** 63): what is between was written as a float."""
    assert convert_column("x", ValueType.STRING, [value]) == [str(value)]


def test_an_infinity_is_none_and_text_as_pythons() -> None:
    assert convert_column("x", ValueType.STRING, [float("inf"), float("-inf")]) == ["inf", "-inf"]


def test_the_least_integer_may_be_a_float() -> None:
    with pytest.raises(InexactNumberError):  # or it was the integer below, which is out of range
        convert_column("x", ValueType.INT64, [float(LEAST)])
    assert convert_column("x", ValueType.INT64, [float(LEAST)], exact=True) == [LEAST]
    with pytest.raises(RequestError, match="in range"):
        convert_column("x", ValueType.INT64, [LEAST - 1], exact=True)


# --------------------------------------------------------------------------------------------------------- request data


def request_data(declared: ValueType, values: list[Any], *, strict: bool = False) -> list[Any]:
    return at_once(request_data_in_steps("x", declared, values, convert_column, strict=strict))


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        *((ValueType.STRING_LIST, [[]]), (ValueType.STRING_LIST, [[], None, []]), (ValueType.INT32_LIST, [[], []])),
        *((ValueType.FLOAT_SET, [[]]), (ValueType.MAP, [{}]), (ValueType.STRUCT, [{}, None])),
        *((ValueType.MAP_LIST, [[]]), (ValueType.STRUCT_LIST, [[]]), (ValueType.SCALAR_MAP, [{}])),
        *((ValueType.VALUE_LIST, [[]]), (ValueType.VALUE_LIST, [[[1], []]]), (ValueType.JSON_LIST, [[]])),
        *((ValueType.JSON, [[]]), (ValueType.JSON, [{}, []]), (ValueType.UNIX_TIMESTAMP_LIST, [[]])),
        (ValueType.UUID_LIST, [[]] * (VALUES_PER_STEP + 1)),
    ],
)
def test_empty_request_data_is_of_the_declared_type(declared: ValueType, values: list[Any]) -> None:
    assert request_data(declared, values) == values


@pytest.mark.parametrize(
    ("declared", "values", "converted"),
    [
        (ValueType.STRING_LIST, [[None]], [[""]]),  # as Feast has it of [["a"], [None]]
        (ValueType.STRING, [1, "a"], ["1", "a"]),
        (ValueType.DOUBLE, [1, 2.5], [1, 2]),
        (ValueType.DOUBLE, [1, 2], [1, 2]),
        (ValueType.INT64, [1.5, 2], [1.5, 2.0]),
    ],
)
def test_the_first_value_types_request_data_if_it_can(
    declared: ValueType, values: list[Any], converted: list[Any]
) -> None:
    found = request_data(declared, values)
    assert found == converted
    assert list(map(type, found)) == list(map(type, converted))


def test_where_answers_are_strict_numbers_keep_their_fractions() -> None:
    assert request_data(ValueType.DOUBLE, [1, None, 2.5], strict=True) == [1.0, None, 2.5]
    assert request_data(ValueType.FLOAT, [1, 2.5], strict=True) == [1.0, 2.5]
    assert request_data(ValueType.INT64, [1, 2.5], strict=True) == [1, 2]


@pytest.mark.parametrize(
    ("declared", "values", "message"),
    [
        (ValueType.STRING, [[]], "entities.x: expected a value to infer a type from, got only empty ones"),
        (ValueType.UNKNOWN, [[]], "entities.x: expected a value to infer a type from, got only empty ones"),
        (ValueType.VALUE_LIST, [{}], "entities.x: expected a value to infer a type from, got only empty ones"),
        (ValueType.MAP, [[]], "entities.x[0]: expected an object, got []"),
        (ValueType.STRING_LIST, [{}], "entities.x[0]: expected an array that fits STRING_LIST, got {}"),
        (ValueType.INT64, [1, "a"], 'entities.x[1]: expected an integer, got "a"'),
        (ValueType.BYTES, [1, "a"], "entities.x[0]: expected bytes, which JSON cannot carry, got 1"),
    ],
)
def test_what_fits_neither_is_refused(declared: ValueType, values: list[Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        request_data(declared, values)
    assert str(caught.value) == message


def test_numbers_beyond_64_bits_are_read_again() -> None:
    with pytest.raises(InexactNumberError):
        request_data(ValueType.STRING, ["a", 1e20])
