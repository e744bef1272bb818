"""JSON values of a request's `entities` to typed values, by Feast's rules.

Feast turns every column of `entities` into Values before it looks at what the columns are for (feast/type_map.py
python_values_to_proto_values, Feast 0.67.0): columns that it then ignores can still fail a request. A column is
converted by the type its join key was declared with; one whose type is not declared goes by its first non-empty value.
The rules are Feast's (int() of text and fractions, str() of anything); the messages are ours, and say where.

A converted value is None where Feast stores an empty Value: null, and arrays and objects in a scalar column.
Pure, and below `plan`: it knows types, not views.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from yummy_fast.errors import InexactNumberError, RequestError
from yummy_fast.feast_format.values import NULL_TIMESTAMP, ValueType

INT32_LIMITS = (-(1 << 31), (1 << 31) - 1)
INT64_LIMITS = (-(1 << 63), (1 << 63) - 1)


def convert_column(name: str, value_type: ValueType, values: list[Any], *, exact: bool = False) -> list[Any]:
    """The values of column `name` as Python values of `value_type`. Raises RequestError naming the value's place.

    - `exact`: a float is what the caller wrote. Else it may have been an integer beyond 64 bits (orjson), and where
      that makes a difference, InexactNumberError is raised.
    """
    if value_type is ValueType.UNKNOWN:
        value_type = _infer(name, values)
    if value_type is ValueType.INT64 and set(map(type, values)) == {int}:
        # The usual case at the speed of C. The range is checked by the largest and smallest.
        if INT64_LIMITS[0] <= min(values) and max(values) <= INT64_LIMITS[1]:
            return values
    elif value_type is ValueType.STRING and set(map(type, values)) == {str}:
        return values
    convert = (_EXACT.get(value_type) if exact else None) or _CONVERTERS.get(value_type)
    if convert is None:
        return _convert_collection(name, value_type, values)
    converted: list[Any] = []
    for place, value in enumerate(values):
        if value is None or isinstance(value, list | dict) or _is_null(value, value_type):
            converted.append(None)
            continue
        try:
            converted.append(convert(value))
        except _OutOfRangeError:
            raise _mistake(name, place, f"{_EXPECTED[value_type]} in range", value) from None
        except _InexactError:
            mistake = _mistake(name, place, f"{_EXPECTED[value_type]} in range", value)
            raise InexactNumberError(str(mistake)) from None
        except (ValueError, TypeError, OverflowError):
            raise _mistake(name, place, _EXPECTED[value_type], value) from None
    return converted


class _OutOfRangeError(Exception):
    """The right kind of value, but the type does not reach so far."""


class _InexactError(Exception):
    """A float that may have been an integer, and it matters."""


def _mistake(name: str, place: int, expected: str, value: object) -> RequestError:
    return RequestError(f"entities.{name}[{place}]: expected {expected}, got {shown(value)}")


def shown(value: object) -> str:
    """A value of the caller's in a message: as JSON has it, cut where it gets long."""
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
            raise _InexactError  # it may have been an integer a little below
        number = int(value)  # as Feast: "1001", " 1_001 ", 1001.7 and true are integers
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
    """A NaN is a null, but for a timestamp: see `_seconds`."""
    return bool(value != value) and value_type is not ValueType.UNIX_TIMESTAMP


def _seconds(value: Any) -> int:
    # Feast takes any float for a null timestamp, and writes numpy's NaT for it (_python_datetime_to_int_timestamp).
    return NULL_TIMESTAMP if isinstance(value, float) else _integer(INT64_LIMITS)(value)


def _real(value: Any) -> float:
    if not isinstance(value, float):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _string(value: Any) -> str:
    if isinstance(value, float) and not -(1 << 63) < value < 1 << 64 and math.isfinite(value):
        raise _InexactError  # the digits of an integer are gone
    return str(value)


def _no_bytes(_: Any) -> bytes:
    raise TypeError


_CONVERTERS: dict[ValueType, Callable[[Any], Any]] = {
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
_EXACT: dict[ValueType, Callable[[Any], Any]] = {
    ValueType.INT64: _integer(INT64_LIMITS, exact=True),
    ValueType.STRING: str,
}
_EXPECTED = {
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


# ---------------------------------------------------------------------------------------------------------- inference

_SCALAR_TYPES = {
    int: ValueType.INT64,
    str: ValueType.STRING,
    float: ValueType.DOUBLE,
    bool: ValueType.BOOL,
}


def _infer(name: str, values: Sequence[Any]) -> ValueType:
    """The type of a column by its first value that is neither null nor an empty array or object."""
    for place, value in enumerate(values):
        if value is None or (isinstance(value, list | dict) and not value):
            continue
        if isinstance(value, dict):
            return ValueType.MAP
        if isinstance(value, list):
            return _infer_list(name, place, value)
        return _SCALAR_TYPES[type(value)]
    if any(value is not None for value in values):
        raise RequestError(f"entities.{name}: expected values of a type that can be told, got only empty ones")
    return ValueType.NULL


def _infer_list(name: str, place: int, items: list[Any]) -> ValueType:
    if isinstance(items[0], dict):
        return ValueType.MAP_LIST
    kinds = {_SCALAR_TYPES.get(type(item)) for item in items}
    kind = kinds.pop()
    if kinds or kind is None:
        raise _mistake(name, place, "an array of one type of string, number or boolean", items)
    return ValueType[kind.name + "_LIST"]


def _convert_collection(name: str, value_type: ValueType, values: list[Any]) -> list[Any]:
    """Columns of arrays, objects or nulls. They are never keys, but Feast refuses what protobuf would not take."""
    if value_type is ValueType.NULL:
        return values
    converted: list[Any] = []
    for place, value in enumerate(values):
        try:
            converted.append(None if value is None else _collection(value_type, value))
        except (TypeError, ValueError, _OutOfRangeError):
            expected = "an object" if value_type is ValueType.MAP else f"an array that fits {value_type.name}"
            raise _mistake(name, place, expected, value) from None
    return converted


MAX_LEVEL = 99
"""The deepest level of a message, from 0. A protobuf parser goes no deeper, and Feast has one copy what it builds.
An object takes three levels (a Map, its entry, the Value in that), an array one."""


def _collection(value_type: ValueType, value: Any, level: int = -1) -> Any:
    """One array or object as Feast would store it, at a level. Raises TypeError, ValueError or _OutOfRangeError."""
    if value_type is ValueType.MAP:
        return _map(value, level + 1)
    if not isinstance(value, list):
        raise TypeError
    if level > MAX_LEVEL:
        raise ValueError
    if value_type is ValueType.MAP_LIST:
        return [_map(item, level + 1) for item in value]
    convert, default = _ITEMS[value_type]
    return [default if item is None else convert(item) for item in value]


def _map(value: Any, level: int) -> dict[str, Any]:
    """An object: each value by its own type, as Feast infers it (feast/type_map.py _python_dict_to_map_proto)."""
    if not isinstance(value, dict):
        raise TypeError
    if level + (2 if value else 0) > MAX_LEVEL:
        raise ValueError
    converted: dict[str, Any] = {}
    for key, item in value.items():
        if item is None or isinstance(item, dict):
            converted[key] = None if item is None else _map(item, level + 3)
        elif isinstance(item, list):
            if not item:
                raise ValueError
            try:
                converted[key] = _collection(_infer_list("", 0, item), item, level + 3)
            except RequestError:
                raise ValueError from None
        else:
            # A NaN that stands alone is a null.
            converted[key] = _checked_integer(item) if isinstance(item, int) else item if item == item else None
    return converted


def _checked_integer(item: Any) -> int:
    if not isinstance(item, int):
        raise TypeError
    if not INT64_LIMITS[0] <= item <= INT64_LIMITS[1]:
        raise _OutOfRangeError
    return item


def _integer_item(item: Any) -> int:
    if isinstance(item, bool):
        raise TypeError
    return _checked_integer(item)


# Arrays: what an item becomes, and what a null among the items does. Only the first array's items decide the type.
_ITEMS: dict[ValueType, tuple[Callable[[Any], Any], Any]] = {
    ValueType.INT64_LIST: (_integer_item, 0),
    ValueType.DOUBLE_LIST: (lambda item: float(_checked_integer(item) if isinstance(item, int) else _real(item)), 0.0),
    ValueType.STRING_LIST: (_text, ""),
    ValueType.BOOL_LIST: (bool, False),
}
