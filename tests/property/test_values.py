"""The decoders of columns and rows find what protobuf finds one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property import second_opinion
from tests.property.strategies import FIELDS, anything, nothing, stored, value_types, well_stored
from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import ColumnDecoder, RowDecoder, ValueType, decode_value, spell_non_finite

each_type = pytest.mark.parametrize("value_type", ValueType, ids=lambda value_type: value_type.name)
few = settings(max_examples=20)  # of each type


def agrees(found: Any, stored: list[bytes | None]) -> bool:
    expected = [second_opinion.value_of_stored(one) for one in stored]
    return second_opinion.same(spell_non_finite(list(found)), expected)


def test_the_strategies_know_every_field_of_a_value() -> None:
    assert set(FIELDS) == {field.name for field in Value.DESCRIPTOR.oneofs_by_name["val"].fields}


@given(anything)
def test_a_value(one: bytes) -> None:
    assert second_opinion.same(spell_non_finite(decode_value(one)), second_opinion.value_of_stored(one))


@each_type
@few
@given(data=st.data())
def test_a_column(value_type: ValueType, data: st.DataObject) -> None:
    column = data.draw(st.lists(stored(value_type), min_size=1, max_size=6))
    assert agrees(ColumnDecoder(value_type)(column), column)


@each_type
@few
@given(data=st.data())
def test_a_column_with_gaps_only(value_type: ValueType, data: st.DataObject) -> None:
    column = data.draw(st.lists(st.one_of(well_stored(value_type), nothing), min_size=1, max_size=6))
    assert agrees(ColumnDecoder(value_type)(column), column)


@given(data=st.data())
def test_a_row(data: st.DataObject) -> None:
    types = data.draw(st.lists(value_types, min_size=1, max_size=8))
    row = [data.draw(stored(value_type)) for value_type in types]
    decode = RowDecoder(types)
    assert agrees(decode(row), row)
    assert agrees(decode(row), row), "a decoder keeps nothing of the row before"


@given(data=st.data())
def test_a_row_with_gaps_only(data: st.DataObject) -> None:
    types = data.draw(st.lists(value_types, min_size=1, max_size=8))
    row = [data.draw(st.one_of(well_stored(value_type), nothing)) for value_type in types]
    assert agrees(RowDecoder(types)(row), row)


@given(data=st.data())
def test_a_row_whose_values_changed_places(data: st.DataObject) -> None:
    # Two features that exchanged their types after their values were written: the counts are right all the same.
    types = data.draw(st.lists(value_types, min_size=2, max_size=5))
    row = [data.draw(well_stored(value_type)) for value_type in types]
    moved = data.draw(st.permutations(row))
    assert agrees(RowDecoder(types)(moved), list(moved))


@given(value_types, st.lists(st.one_of(anything, st.binary(max_size=6)), min_size=1, max_size=4))
def test_bytes_of_any_kind_decode_or_raise_what_is_documented(value_type: ValueType, column: list[bytes]) -> None:
    for decode in (ColumnDecoder(value_type), RowDecoder([value_type] * len(column))):
        try:
            decode(column)
        except CorruptValueError:
            continue
