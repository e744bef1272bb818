"""One large stored Value, step by step: the same text, and steps that are short."""

from __future__ import annotations

from typing import Any

import pytest

from yummy_fast.errors import CorruptValueError, LimitError
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import decode_value
from yummy_fast.features.json_text import array_text
from yummy_fast.features.large_values import (
    CHARS_PER_STEP,
    ENTRIES_PER_STEP,
    ITEMS_PER_STEP,
    TEXT_PER_STEP,
    large_value_text,
    python_text,
)
from yummy_fast.features.steps import Budget, at_once

NUMBERS = [number / 7 for number in range(3 * ITEMS_PER_STEP + 1)]
LONG_TEXT = '\x01\U0001f600"\u00e9' * CHARS_PER_STEP
LONG_BYTES = b"\xff\x00" * CHARS_PER_STEP
ENTRIES = {f'"{number}"': Value(int64_val=number) for number in range(500)}


@pytest.mark.parametrize(
    ("value", "least_steps"),
    [
        (Value(double_list_val=values.DoubleList(val=NUMBERS)), 5),
        (Value(double_list_val=values.DoubleList(val=[float("nan"), float("-inf"), 0.5])), 2),
        (Value(bytes_set_val=values.BytesList(val=[b"\xff"] * (2 * ITEMS_PER_STEP))), 3),
        (Value(string_list_val=values.StringList(val=["a,b", "]"])), 2),
        (Value(map_val=values.Map(val=ENTRIES)), 500 // ENTRIES_PER_STEP),
        (Value(struct_list_val=values.MapList(val=[values.Map(val=ENTRIES)] * 3)), 3 * (500 // ENTRIES_PER_STEP)),
        (Value(list_val=values.RepeatedValue(val=[Value(map_val=values.Map(val=ENTRIES)), Value(), Value()])), 7),
        (Value(string_val=LONG_TEXT), 4),
        (Value(json_list_val=values.StringList(val=["a", LONG_TEXT, "", LONG_TEXT])), 8),
        (Value(map_val=values.Map(val={LONG_TEXT: Value(string_val="a")})), 4),
        (Value(bytes_val=LONG_BYTES), 3),
        (Value(bytes_list_val=values.BytesList(val=[b"a", LONG_BYTES])), 3),
        (Value(string_list_val=values.StringList(val=["a" * 100] * ITEMS_PER_STEP)), 2),
        (Value(int64_list_val=values.Int64List()), 1),
    ],
    ids=[
        *("doubles", "no numbers", "bytes", "strings", "map", "maps", "nested", "string", "string in a list"),
        *("key", "long bytes", "long bytes in a list", "much of short strings", "empty"),
    ],
)
def test_the_text_is_that_of_the_decoded_value(value: Value, least_steps: int) -> None:
    stored = value.SerializeToString()
    assert at_once(large_value_text(stored)) == array_text([decode_value(stored)])
    assert sum(1 for _ in large_value_text(stored)) >= least_steps


@pytest.mark.parametrize("stored", [None, b"", Value().SerializeToString()])
def test_nothing_is_null(stored: bytes | None) -> None:
    assert at_once(large_value_text(stored)) == b"null"


def test_what_is_corrupt_is_said_to_be() -> None:
    stored: Any = Value(double_list_val=values.DoubleList(val=NUMBERS)).SerializeToString()[:-3]
    with pytest.raises(CorruptValueError):
        at_once(large_value_text(stored))


FUNCTIONS_MAKE: dict[str, list[Any]] = {
    "nothing": [],
    "numbers": [1, None, 0.5, float("nan")] * ITEMS_PER_STEP,
    "short texts": ["a" * 50, ""] * ITEMS_PER_STEP,
    "a long text": ["a", LONG_TEXT, LONG_TEXT, "b"],
    "a long text at the end": [None, LONG_TEXT],
    "lists": [[number / 7 for number in range(768)], []] * 500,
    "a long list": [0, NUMBERS * 5, None, NUMBERS * 5],
    "maps": [{"a": 1, "b": NUMBERS * 5, '"': {"c": [LONG_TEXT, {}, None]}}, {}, {"d": []}] * 2,
    "lists in lists": [[[[1, float("inf")]] * TEXT_PER_STEP, []], []],
}


@pytest.mark.parametrize("made", FUNCTIONS_MAKE.values(), ids=FUNCTIONS_MAKE)
def test_what_functions_make_is_written_in_pieces_to_the_same(made: list[Any]) -> None:
    expected = array_text(made)
    pieces, budget = at_once(python_text(made, Budget(1 << 30, 1))), Budget(1 << 30, 1)
    assert b"".join(pieces) == expected
    most = max((len(piece) for piece in pieces if not isinstance(piece, bytearray)), default=0)
    assert most <= 4 * TEXT_PER_STEP  # what is cut smaller in steps is a bytearray
    assert sum(1 for _ in python_text(made, budget)) >= len(expected) // (12 * TEXT_PER_STEP)
    assert budget.taken_bytes >= len(expected) * 0.9


def test_what_functions_make_is_within_the_budget() -> None:
    steps = python_text([NUMBERS] * 10_000, Budget(1 << 20, 10_000))
    with pytest.raises(LimitError, match="longer than 1048576 bytes"):
        at_once(steps)
