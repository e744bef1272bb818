"""Arrays and objects among a request's entities: what Feast would store for them, and what it refuses.

They are never part of an entity key. Yet Feast turns every column of a request into Values, used or not, and answers
with those of join keys. So an object that protobuf would not take fails the request here as it does there, and the
others come back as the Values would (feast/type_map.py python_values_to_proto_values and _python_dict_to_map_proto,
Feast 0.67.0). In an array a null becomes the zero of its type: the column `[[1], [2, null]]` is answered as
`[[1], [2, 0]]`. In an object it stays a null.

Pure. The functions here raise TypeError, ValueError or OverflowError for what is refused; `entities` says where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from yummy_fast.feast_format.values import ValueType

INT64_LIMITS = (-(1 << 63), (1 << 63) - 1)

SCALAR_TYPES: Mapping[type, ValueType] = {
    int: ValueType.INT64,
    str: ValueType.STRING,
    float: ValueType.DOUBLE,
    bool: ValueType.BOOL,
}
"""The type that Feast infers from a JSON value that is neither null nor an array nor an object."""

MAX_LEVEL = 99
"""The deepest level of a protobuf message, from 0. A parser goes no deeper, and Feast has one copy what it builds.

An object takes three levels (a Map, its entry, the Value in that), an array one.
"""


def infer_array(items: Sequence[Any]) -> ValueType:
    """The type of an array that is not empty. Raises ValueError if its items are not all of one type."""
    if isinstance(items[0], dict):
        return ValueType.MAP_LIST
    types = {SCALAR_TYPES.get(type(item)) for item in items}
    item_type = types.pop()
    if types or item_type is None:
        raise ValueError
    return ValueType[f"{item_type.name}_LIST"]


def convert_collection(value_type: ValueType, value: Any, level: int = -1) -> Any:
    """One array or object as Feast would store it, at a level. Raises TypeError, ValueError or OverflowError."""
    if value_type is ValueType.MAP:
        return _map(value, level + 1)
    if not isinstance(value, list):
        raise TypeError
    if level > MAX_LEVEL:
        raise ValueError
    if value_type is ValueType.MAP_LIST:
        return [_map(item, level + 1) for item in value]
    if value_type not in _ITEMS:  # a set, JSON: no array of a request is one
        raise TypeError
    convert, zero = _ITEMS[value_type]
    return [zero if item is None else convert(item) for item in value]


def _map(value: Any, level: int) -> dict[str, Any]:
    """An object. Feast infers the type of each of its values alone."""
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
            converted[key] = convert_collection(infer_array(item), item, level + 3)
        else:
            # A NaN that stands alone is a null.
            converted[key] = _in_range(item) if isinstance(item, int) else item if item == item else None
    return converted


def _integer(item: Any) -> int:
    if isinstance(item, bool) or not isinstance(item, int):
        raise TypeError
    return _in_range(item)


def _in_range(item: int) -> int:
    if not INT64_LIMITS[0] <= item <= INT64_LIMITS[1]:
        raise OverflowError
    return item


def _double(item: Any) -> float:
    if isinstance(item, int):
        return float(_in_range(item))
    if not isinstance(item, float):
        raise TypeError
    return item


def _text(item: Any) -> str:
    if not isinstance(item, str):
        raise TypeError
    return item


# What an item becomes, and what stands for a null. The first array of a column decides the type of all of them.
_ITEMS: Mapping[ValueType, tuple[Callable[[Any], Any], Any]] = {
    ValueType.INT64_LIST: (_integer, 0),
    ValueType.DOUBLE_LIST: (_double, 0.0),
    ValueType.STRING_LIST: (_text, ""),
    ValueType.BOOL_LIST: (bool, False),
}
