"""A single value to a stored Value: the bytes that test_stored_values.py expects of a column, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.test_stored_values import ENCODED_BY_PROTOBUF, REFUSED_SETS, SCALARS, STORED_BY_FEAST, Type, message
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.stored_values import REFUSALS
from yummy_fast.features.usual_values import usual_encoder

EXPECTED = [*STORED_BY_FEAST, *((kind, value, message(**fields)) for kind, value, fields in ENCODED_BY_PROTOBUF)]
BEYOND_32_BITS = 1e39
"""A float that a column makes infinite; alone it is refused."""


def encoder(value_type: ValueType, value: Any) -> Callable[[Any], bytes] | None:
    """What encodes the value alone; None if it is of a type that needs a conversion, or of a rare one."""
    kinds, encode_one = usual_encoder(value_type) or (frozenset(), None)
    return encode_one if type(value) in kinds else None


USUAL = [
    (value_type, value, expected)
    for value_type, value, expected in EXPECTED
    if encoder(value_type, value) is not None and value != BEYOND_32_BITS
]


def test_most_types_are_usual() -> None:
    found = {value_type for value_type, _, _ in USUAL}
    assert found >= {*SCALARS, Type.INT64_LIST, Type.FLOAT_LIST, Type.STRING_LIST, Type.STRING_SET}


@pytest.mark.parametrize(("value_type", "value", "expected"), USUAL)
def test_a_value_alone_is_stored_as_in_a_column(value_type: ValueType, value: Any, expected: str) -> None:
    encode_one = encoder(value_type, value)
    assert encode_one is not None
    assert encode_one(value).hex() == expected


@given(st.data())
def test_any_value_is_encoded_as_protobuf_encodes_it(data: st.DataObject) -> None:
    value_type = data.draw(st.sampled_from(list(SCALARS)))
    field, values = SCALARS[value_type]
    value = data.draw(values)
    encode_one = encoder(value_type, value)
    assert encode_one is not None
    assert encode_one(value).hex() == message(**{field: value})


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (Type.INT64, "77"),
        (Type.INT64, 3.7),
        (Type.INT64, True),
        (Type.INT64, None),
        (Type.FLOAT, "1.5"),
        (Type.BOOL, 1),
        (Type.STRING, 12),
        (Type.STRING_LIST, "ab"),
        (Type.JSON, "{}"),
        (Type.MAP, {}),
        (Type.ZONED_TIMESTAMP, "1970-01-01T00:00:00Z"),
    ],
)
def test_what_has_to_be_converted_or_is_rare_is_not_usual(value_type: ValueType, value: Any) -> None:
    """1 == True: the types are compared, not the values."""
    assert encoder(value_type, value) is None


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (Type.INT32, 1 << 31),
        (Type.INT64, 1 << 63),
        (Type.UNIX_TIMESTAMP, -(1 << 63) - 1),
        (Type.FLOAT, math.nan),
        (Type.FLOAT, BEYOND_32_BITS),
        (Type.INT64_LIST, [1, None]),
        (Type.STRING_SET, [1]),
        *REFUSED_SETS,
    ],
)
def test_what_is_not_encoded_alone(value_type: ValueType, value: Any) -> None:
    """Whether it is refused, or what it becomes, is decided in one place."""
    encode_one = encoder(value_type, value)
    assert encode_one is not None
    with pytest.raises(REFUSALS):
        encode_one(value)
