"""Texts that were written at once and taken apart again are the texts of the values one by one."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from tests.property.strategies import int64s, texts
from yummy_fast.feast_format.values import spell_non_finite
from yummy_fast.features.json_text import array_text, column_texts, value_texts

# Strings of all that JSON is written with, and floats that it has no numbers for.
awkward_texts = st.one_of(texts, st.text(',[]{}":nul\\\n ', max_size=8), st.just("null"), st.just("],["))
scalars = st.one_of(st.none(), st.booleans(), int64s, st.floats(), awkward_texts)
decoded_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(awkward_texts, inner, max_size=3)),
    max_leaves=5,
)


@given(st.one_of(st.lists(scalars, max_size=5), st.lists(decoded_values, max_size=5)))
@example([])
@example([","])
@example([[1, 2]])
@example([[], {}])
@example([None, float("nan"), "null"])
@example(["a,b", 1])
def test_the_text_of_each_value_is_its_own(values: list[Any]) -> None:
    """Where the text of many values is split, there is one value on each side."""
    for of_them in (values, tuple(values)):
        assert value_texts(of_them) == [orjson.dumps(spell_non_finite(value)) for value in values]


@given(st.integers(1, 3).flatmap(lambda rows: st.lists(st.lists(decoded_values, min_size=rows, max_size=rows))))
@example([["],["], ["a"]])
@example([[[1], [2]], [[], []]])
@example([["null"], [float("inf")]])
def test_the_text_of_each_column_is_its_own(columns: list[list[Any]]) -> None:
    assert column_texts(columns) == [orjson.dumps(spell_non_finite(column))[1:-1] for column in columns]


@given(st.lists(decoded_values, max_size=5))
@example([float("nan"), "null", None])
def test_the_text_of_an_array_is_that_of_its_values(values: list[Any]) -> None:
    assert array_text(values) == b",".join(orjson.dumps(spell_non_finite(value)) for value in values)
