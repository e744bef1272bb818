"""Arrays and objects of entity columns: what Feast would store for them, and what it refuses.

Feast's rules are those of feast/type_map.py python_values_to_proto_values and _python_dict_to_map_proto (Feast 0.67.0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from yummy_fast.errors import RequestError
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.collection_values import convert_collection, infer_array
from yummy_fast.features.entities import convert_column

REFUSED = (TypeError, ValueError, OverflowError)


@pytest.mark.parametrize(
    ("items", "value_type"),
    [
        ([1, 2**70], ValueType.INT64_LIST),
        (["a", ""], ValueType.STRING_LIST),
        ([0.5], ValueType.DOUBLE_LIST),
        ([True, False], ValueType.BOOL_LIST),
        ([{"a": 1}, "b"], ValueType.MAP_LIST),  # Feast looks at the first alone
    ],
)
def test_an_array_has_the_type_of_its_items(items: list[Any], value_type: ValueType) -> None:
    assert infer_array(items) is value_type


@pytest.mark.parametrize("items", [[1, "a"], [1, 2.5], [1, True], [1, None], [None], [[1]], [1, {"a": 1}]], ids=str)
def test_an_array_of_several_types_has_none(items: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        infer_array(items)


@pytest.mark.parametrize(
    ("value_type", "value", "converted"),
    [
        (ValueType.INT64_LIST, [1, None, -(2**63), 2**63 - 1], [1, 0, -(2**63), 2**63 - 1]),
        (ValueType.DOUBLE_LIST, [0.5, None, 2], [0.5, 0.0, 2.0]),
        (ValueType.STRING_LIST, ["a", None], ["a", ""]),
        (ValueType.BOOL_LIST, [True, None, 0, "x", []], [True, False, False, True, False]),
        (ValueType.MAP_LIST, [{"a": None}, {}], [{"a": None}, {}]),
        (
            ValueType.MAP,
            {"n": None, "i": 1, "b": True, "s": "x", "d": 0.5, "nan": float("nan"), "l": [1, 2], "m": {"k": {}}},
            {"n": None, "i": 1, "b": True, "s": "x", "d": 0.5, "nan": None, "l": [1, 2], "m": {"k": {}}},
        ),
        (ValueType.INT64_LIST, [], []),
        (ValueType.MAP, {}, {}),
    ],
)
def test_what_is_stored_for_them(value_type: ValueType, value: Any, converted: Any) -> None:
    found = convert_collection(value_type, value)
    assert repr(found) == repr(converted)  # 2 is not 2.0, and 1 is not True


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType.INT64_LIST, [True]),  # an integer to Python, and none to Feast
        (ValueType.INT64_LIST, [1.5]),
        (ValueType.INT64_LIST, ["1"]),
        (ValueType.INT64_LIST, [2**63]),
        (ValueType.INT64_LIST, [-(2**63) - 1]),
        (ValueType.INT64_LIST, 1),
        (ValueType.INT64_LIST, {"a": 1}),
        (ValueType.DOUBLE_LIST, ["1.5"]),
        (ValueType.DOUBLE_LIST, [2**63]),
        (ValueType.STRING_LIST, [1]),
        (ValueType.MAP_LIST, [1]),
        (ValueType.MAP, [1]),
        (ValueType.MAP, {"a": 2**63}),
        (ValueType.MAP, {"a": []}),
        (ValueType.MAP, {"a": [1, "b"]}),
    ],
    ids=str,
)
def test_what_is_refused(value_type: ValueType, value: Any) -> None:
    with pytest.raises(REFUSED):
        convert_collection(value_type, value)


def test_the_first_array_of_a_column_decides_the_type_of_the_others() -> None:
    assert convert_column("x", ValueType.UNKNOWN, [[1], [2, None]]) == [[1], [2, 0]]
    with pytest.raises(RequestError) as caught:
        convert_column("x", ValueType.UNKNOWN, [[1], [True]])
    assert str(caught.value) == "entities.x[1]: expected an array that fits INT64_LIST, got [true]"


# The deepest that Feast 0.67.0 takes (python_values_to_proto_values): one more, and protobuf refuses.
@pytest.mark.parametrize(
    ("innermost", "wrap", "most"),
    [
        (1, lambda inner: {"a": inner}, 33),
        ({}, lambda inner: {"a": inner}, 33),
        ([1], lambda inner: {"a": inner}, 33),
        ([{"b": 1}], lambda inner: {"a": inner}, 32),
        ({"b": 1}, lambda inner: {"a": [inner]}, 24),
    ],
    ids=["number", "empty object", "array", "array of objects", "arrays of objects"],
)
def test_objects_may_be_as_deep_as_protobuf_goes(innermost: Any, wrap: Callable[[Any], Any], most: int) -> None:
    value = innermost
    for _ in range(most):
        value = wrap(value)
    assert convert_column("x", ValueType.UNKNOWN, [value]) == [value]
    with pytest.raises(RequestError, match=r"^entities\.x\[0\]: expected an object, got "):
        convert_column("x", ValueType.UNKNOWN, [wrap(value)])
