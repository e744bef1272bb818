"""Decoded values to JSON text, as many of them as possible in one call of orjson.

Feast answers by column: each value of an entity's row stands in an array of its own. So for one entity the text of
each value is needed by itself, and for many the text of each column without its brackets. orjson writes a whole list
at once, and these functions take the text apart again. They split at bytes that stand between two values, and then
count: as many pieces as values prove that no such byte stood within a value.

A float that JSON has no number for is written by Feast 0.67 as its name, "NaN", "Infinity" or "-Infinity". orjson
writes null for it. So where a text holds more nulls than the values have Nones, it is written again with the names.

Pure. It knows neither columns' names nor statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from yummy_fast.feast_format.values import spell_non_finite


def json_text(value: object) -> bytes:
    """Any value as JSON.

    It is a copy, to be kept: what orjson returns holds on to the whole buffer that it was written in.
    """
    return bytes(memoryview(orjson.dumps(value)))


def about_bytes(value: object) -> int:
    """About how long the text of a value is: cheap for what is short."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, list | tuple):
        return 2 + sum(map(about_bytes, value))
    if isinstance(value, dict):
        return 2 + sum(about_bytes(key) + about_bytes(item) for key, item in value.items())
    return 8


def string_text(value: str) -> bytes:
    """A string as JSON, which may be long: it is not copied once more."""
    return orjson.dumps(value)


def array_text(values: Sequence[Any]) -> bytes:
    """The values as JSON with commas between them: an array without its brackets."""
    text = orjson.dumps(values)
    if b"null" in text and _has_unwritten_floats(text, values):
        text = orjson.dumps(spell_non_finite(values))
    return text[1:-1]


def column_texts(columns: Sequence[Sequence[Any]]) -> list[bytes]:
    """The `array_text` of each column.

        columns        [[1, 2], ["a", "b"]]
        one text       [[1,2],["a","b"]]
        split at ],[   1,2 | "a","b"

    A string may hold these three bytes, and a column of lists does: then there are more pieces than columns, and each
    column is written by itself. So it is if there may be a float that has no number.
    """
    text = orjson.dumps(columns)
    if b"null" not in text:
        texts = text[2:-2].split(b"],[")
        if len(texts) == len(columns):
            return texts
    return list(map(array_text, columns))


def value_texts(values: Sequence[Any]) -> list[bytes]:
    """Each value as JSON. Three ways, of which the first that can be taken apart again is the fastest:

    1. One text, split at commas. `[7, 0.5, "ab"]` is written as `[7,0.5,"ab"]`: three pieces for three values.

    2. One text with one value a line. `[7, "a,b"]` would be three pieces; with OPT_INDENT_2 it is

           [
             7,
             "a,b"
           ]

       and is split at comma, line end and two spaces. Within a string that cannot occur, since line ends are escaped
       there. What can take several lines are arrays and objects, and the number of line ends says whether one did.

    3. Value by value.
    """
    text = orjson.dumps(values)
    if b"null" in text and _has_unwritten_floats(text, values):
        values = spell_non_finite(values)
        text = orjson.dumps(values)
    texts = text[1:-1].split(b",")
    if len(texts) == len(values):
        return texts
    text = orjson.dumps(values, option=orjson.OPT_INDENT_2)
    if text.count(b"\n") == len(values) + 1:
        return text[4:-2].split(b",\n  ")
    return [array_text([value]) for value in values]


def _has_unwritten_floats(text: bytes, values: Sequence[Any]) -> bool:
    """Whether orjson may have written null for a float. (It may be a string that holds the word: no harm is done.)"""
    return text.count(b"null") > values.count(None)
