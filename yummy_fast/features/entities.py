"""The entity columns of a request: JSON values converted to typed ones, by Feast's rules.

Feast turns every column of `entities` into Values before it looks at what the columns are for (feast/type_map.py
python_values_to_proto_values, Feast 0.67.0). So a column that it then ignores can still fail the request. A column is
converted by the type that its join key is declared with. If no type is declared, its first value that is not empty
decides. The rules are Feast's: int() of text and of fractions, str() of anything. The messages are ours, and say where.

A converted value is None where Feast stores an empty Value: for a null, and for an array or object in a scalar column.

Pure, and below `plan`: it knows types, not views. Arrays and objects, which are never keys, are converted by
`collection_values`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from yummy_fast.errors import InexactNumberError, RequestError
from yummy_fast.feast_format.values import NULL_TIMESTAMP, ValueType
from yummy_fast.features.collection_values import INT64_LIMITS, SCALAR_TYPES, convert_collection, infer_array
from yummy_fast.features.steps import Steps

INT32_LIMITS = (-(1 << 31), (1 << 31) - 1)
_LEAST_INT64, _MOST_INT64 = INT64_LIMITS
_UNKNOWN, _INT64, _STRING = ValueType.UNKNOWN, ValueType.INT64, ValueType.STRING  # to look one up in an Enum takes long


class Convert(Protocol):
    """`convert_column`, with or without `exact`."""

    def __call__(self, name: str, value_type: ValueType, values: list[Any], *, start: int = 0) -> list[Any]: ...


VALUES_PER_STEP = 4_096
"""Values of a column that are converted in one step: 2 to 4 ms, if Python has to look at each."""


def convert_in_steps(name: str, value_type: ValueType, values: list[Any], convert: Convert) -> Steps[list[Any]]:
    """As `convert`, part by part. The type of a column without a declared one is inferred from all of it."""
    if len(values) <= VALUES_PER_STEP:
        return convert(name, value_type, values)
    if value_type is ValueType.UNKNOWN:
        value_type = _infer(name, values)
        yield
    converted: list[Any] = []
    for start in range(0, len(values), VALUES_PER_STEP):
        part = values[start : start + VALUES_PER_STEP]
        converted += convert(name, value_type, part, start=start)
        yield
    return converted


def convert_column(
    name: str, value_type: ValueType, values: list[Any], *, exact: bool = False, start: int = 0
) -> list[Any]:
    """The values of column `name` as Python values of `value_type`. Raises RequestError that names column and row.

    - `start`: which row of the request the first value belongs to.
    - `exact`: the numbers are what the caller wrote. Without it, a float may have been an integer of more than 64 bits
      before orjson parsed it; where that makes a difference, InexactNumberError is raised.
    """
    if value_type is _UNKNOWN:
        value_type = _infer(name, values)
    # The usual cases: one entity; several of one type, in C. If the least and the greatest are in range, all are.
    if value_type is _INT64:
        if len(values) == 1:
            if type(values[0]) is int and _LEAST_INT64 <= values[0] <= _MOST_INT64:
                return values
        elif set(map(type, values)) == {int} and min(values) >= _LEAST_INT64 and max(values) <= _MOST_INT64:
            return values
    elif value_type is _STRING and set(map(type, values)) == {str}:
        return values
    convert = (_EXACT.get(value_type) if exact else None) or _CONVERTERS.get(value_type)
    if convert is None:
        return _convert_collections(name, value_type, values, start)
    converted: list[Any] = []
    for row, value in enumerate(values, start):
        if value is None or isinstance(value, list | dict) or _is_null(value, value_type):
            converted.append(None)
            continue
        try:
            converted.append(convert(value))
        except _OutOfRangeError:
            raise _mistake(name, row, f"{_EXPECTED[value_type]} in range", value) from None
        except _InexactError:
            mistake = _mistake(name, row, f"{_EXPECTED[value_type]} in range", value)
            raise InexactNumberError(str(mistake)) from None
        except (ValueError, TypeError, OverflowError):
            raise _mistake(name, row, _EXPECTED[value_type], value) from None
    return converted


_INFERRED_FOR: Mapping[ValueType, ValueType] = {
    **dict.fromkeys((ValueType.INT32_LIST, ValueType.INT32_SET, ValueType.INT64_SET), ValueType.INT64_LIST),
    **dict.fromkeys((ValueType.UNIX_TIMESTAMP_LIST, ValueType.UNIX_TIMESTAMP_SET), ValueType.INT64_LIST),
    **dict.fromkeys((ValueType.FLOAT_LIST, ValueType.FLOAT_SET, ValueType.DOUBLE_SET), ValueType.DOUBLE_LIST),
    **dict.fromkeys((ValueType.STRING_SET, ValueType.UUID_LIST, ValueType.UUID_SET), ValueType.STRING_LIST),
    **dict.fromkeys((ValueType.TIME_UUID_LIST, ValueType.TIME_UUID_SET), ValueType.STRING_LIST),
    **dict.fromkeys((ValueType.DECIMAL_LIST, ValueType.DECIMAL_SET), ValueType.STRING_LIST),
    ValueType.BOOL_SET: ValueType.BOOL_LIST,
    ValueType.STRUCT: ValueType.MAP,
    ValueType.STRUCT_LIST: ValueType.MAP_LIST,
}
"""Declared type -> the type that Feast infers from JSON values that fit it, where that is another."""
_AS_SENT: Mapping[ValueType, tuple[type, ...]] = {
    ValueType.JSON: (list, dict),
    ValueType.JSON_LIST: (list,),
    ValueType.VALUE_LIST: (list,),
    ValueType.VALUE_SET: (list,),
    ValueType.SCALAR_MAP: (dict,),
}
"""Declared type -> the JSON values that a function gets as they were sent, where Feast infers no type from them."""


def request_data_in_steps(
    name: str, declared: ValueType, values: list[Any], convert: Convert, *, strict: bool
) -> Steps[list[Any]]:
    """As `convert_in_steps`, for request data of an on-demand view, which declares it with a type.

    Feast does not look at that type. It infers one from the first value, and fails where it cannot: for the columns
    [[]] and [1, "a"]. There the declared type is used. Where answers are `strict` it is used for numbers as well: of
    [1, 2.5] in a column declared as DOUBLE, Feast's function sees [1, 2].
    """
    given = set(map(type, values)) - {type(None)}
    if strict and declared in (ValueType.FLOAT, ValueType.DOUBLE) and given == {int, float}:
        converted = yield from convert_in_steps(name, ValueType.DOUBLE, values, convert)
        return converted
    try:
        converted = yield from convert_in_steps(name, ValueType.UNKNOWN, values, convert)
        return converted
    except InexactNumberError:
        raise
    except RequestError:
        if declared in _AS_SENT:
            if not given <= set(_AS_SENT[declared]):
                raise
            return values
        kind = _INFERRED_FOR.get(declared, declared)
        if kind is ValueType.UNKNOWN or (kind in _CONVERTERS and given & {list, dict}):
            raise
    converted = yield from convert_in_steps(name, kind, values, convert)
    return converted


class _OutOfRangeError(Exception):
    """A number that is too large or too small for the type."""


class _InexactError(Exception):
    """A float that may have been another number before it was parsed, where that makes a difference."""


def _mistake(name: str, row: int, expected: str, value: object) -> RequestError:
    return RequestError(f"entities.{name}[{row}]: expected {expected}, got {shown(value)}")


def shown(value: object) -> str:
    """A value of the caller's for an error message: as JSON, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "brackets in brackets"
    return text if len(text) <= 80 else text[:77] + "..."


# ------------------------------------------------------------------------------------------------------------ scalars


def _integer(limits: tuple[int, int], *, exact: bool = False) -> Callable[[Any], int]:
    least, most = limits

    def convert(value: Any) -> int:
        if isinstance(value, float) and value == -(1 << 63) and not exact:
            raise _InexactError  # the integers just below are parsed to the same float, and are out of range
        number = int(value)  # as in Feast: "1001", " 1_001 ", 1001.7 and true are integers
        if not least <= number <= most:
            raise _OutOfRangeError
        return number

    return convert


def _float32(value: Any) -> float:
    return float(struct.unpack("<f", struct.pack("<f", float(value)))[0])


def _double(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, int):
        raise TypeError
    return bool(value)


def _is_null(value: Any, value_type: ValueType) -> bool:
    """Whether this is a NaN that Feast takes for a null: in every column but one of timestamps, see `_seconds`."""
    return bool(value != value) and value_type is not ValueType.UNIX_TIMESTAMP


def _seconds(value: Any) -> int:
    # To Feast any float is a null timestamp, for which it stores numpy's NaT (_python_datetime_to_int_timestamp).
    return NULL_TIMESTAMP if isinstance(value, float) else _integer(INT64_LIMITS)(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _string(value: Any) -> str:
    if isinstance(value, float) and not -(1 << 63) < value < 1 << 64 and math.isfinite(value):
        raise _InexactError  # it may have been an integer of more than 64 bits, whose digits are gone
    return str(value)


def _no_bytes(_: Any) -> bytes:
    raise TypeError


_CONVERTERS: Mapping[ValueType, Callable[[Any], Any]] = {
    ValueType.INT32: _integer(INT32_LIMITS),
    ValueType.INT64: _integer(INT64_LIMITS),
    ValueType.UNIX_TIMESTAMP: _seconds,
    ValueType.STRING: _string,
    ValueType.FLOAT: _float32,
    ValueType.DOUBLE: _double,
    ValueType.BOOL: _bool,
    ValueType.UUID: _text,
    ValueType.TIME_UUID: _text,
    ValueType.DECIMAL: _text,
    ValueType.BYTES: _no_bytes,
}
_EXACT: Mapping[ValueType, Callable[[Any], Any]] = {
    ValueType.INT64: _integer(INT64_LIMITS, exact=True),
    ValueType.STRING: str,
}
_EXPECTED: Mapping[ValueType, str] = {
    ValueType.INT32: "a 32-bit integer",
    ValueType.INT64: "an integer",
    ValueType.UNIX_TIMESTAMP: "seconds since the epoch",
    ValueType.STRING: "a string",
    ValueType.FLOAT: "a number",
    ValueType.DOUBLE: "a number",
    ValueType.BOOL: "a boolean",
    ValueType.UUID: "a string",
    ValueType.TIME_UUID: "a string",
    ValueType.DECIMAL: "a string",
    ValueType.BYTES: "bytes, which JSON cannot carry",
}


# ----------------------------------------------------------------------------------------------- inference, collections


def _infer(name: str, values: Sequence[Any]) -> ValueType:
    """The type of a column by its first value that is neither null nor an empty array or object."""
    for row, value in enumerate(values):
        if value is None or (isinstance(value, list | dict) and not value):
            continue
        if isinstance(value, dict):
            return ValueType.MAP
        if not isinstance(value, list):
            return SCALAR_TYPES[type(value)]
        try:
            return infer_array(value)
        except ValueError:
            raise _mistake(name, row, "an array of one type of string, number or boolean", value) from None
    if any(value is not None for value in values):
        raise RequestError(f"entities.{name}: expected a value to infer a type from, got only empty ones")
    return ValueType.NULL


def _convert_collections(name: str, value_type: ValueType, values: list[Any], start: int) -> list[Any]:
    """A column of arrays, of objects or of nothing but nulls."""
    if value_type is ValueType.NULL:
        return values
    converted: list[Any] = []
    for row, value in enumerate(values, start):
        try:
            converted.append(None if value is None else convert_collection(value_type, value))
        except (TypeError, ValueError, OverflowError):
            expected = "an object" if value_type is ValueType.MAP else f"an array that fits {value_type.name}"
            raise _mistake(name, row, expected, value) from None
    return converted
