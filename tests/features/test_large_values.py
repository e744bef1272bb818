"""One large stored Value, step by step: the same text, and steps that are short."""

from __future__ import annotations

from typing import Any

import pytest

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import decode_value
from yummy_fast.features.json_text import array_text
from yummy_fast.features.large_values import CHARS_PER_STEP, ENTRIES_PER_STEP, ITEMS_PER_STEP, large_value_text
from yummy_fast.features.steps import at_once

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
