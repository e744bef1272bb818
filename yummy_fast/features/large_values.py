"""The JSON text of one large stored Value, or of what functions have computed, step by step.

A Value may hold a list of a million numbers, or a map of maps. `feast_format.values` decodes a Value in one go, which
is right for all but such ones: a million doubles would take the event loop 100 ms. Here lists are written by pieces of
ITEMS_PER_STEP items, maps entry by entry, and long strings by pieces of CHARS_PER_STEP characters, with a step after
each piece (see `slices`).

    double_list_val {val: [0.5, 1, ...]}      [   0.5,1.0,...   ,   ...   ]
    map_val {val: {"a": 1, "b": [2, 3]}}      {   "a":   1   ,"b":   [   2,3   ]   }

The text is what `json_text` gives for the decoded value. The message is parsed in steps as well (`parse_in_steps`).
What cannot be cut is the parsing of one entry of a map or list; --max-reply-bytes bounds it.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from yummy_fast.feast_format.values import base64_text, json_value, map_key_text, parse_in_steps, scalar_items
from yummy_fast.features.json_text import about_bytes, array_text, string_text
from yummy_fast.features.steps import Budget, Steps

ITEMS_PER_STEP = 4096
"""Items of a list that are written at once: 0.3 ms of doubles, 0.2 ms of short strings."""
ENTRIES_PER_STEP = 64
"""Entries of a map or a list of Values that are written at once, if they are short: 0.3 ms."""
TEXT_PER_STEP = 128 << 10
"""Bytes of text that are made at once of what functions have computed: 1 ms of doubles."""
CHARS_PER_STEP = 3 << 16
"""Characters, or bytes, that are written at once: 1 ms of control characters, each of which takes six. Base64 makes
four characters of three bytes, so that a piece has to be a multiple of three.
"""


def large_value_text(stored: bytes | None, *, exact: bool = False) -> Steps[bytearray]:
    """The JSON of a stored Value; `exact` as for `json_value`. Raises CorruptValueError."""
    text = bytearray()
    message = yield from parse_in_steps(stored)
    if message is None:
        return text + b"null"
    yield
    yield from _write(message, text, exact)
    return text


def _write(value: Any, text: bytearray, exact: bool) -> Steps[None]:
    field = value.WhichOneof("val")
    if field in ("map_val", "struct_val"):
        yield from _write_map(getattr(value, field).val.items(), text, exact)
    elif field == "scalar_map_val" and exact:
        entries = {map_key_text(entry.key): entry.value for entry in value.scalar_map_val.val}
        yield from _write_map(entries.items(), text, exact)
    elif field in ("map_list_val", "struct_list_val"):
        maps = getattr(value, field).val
        yield from _write_array((_write_map(one.val.items(), text, exact) for one in maps), text)
    elif field in ("list_val", "set_val"):
        yield from _write_array((_write(one, text, exact) for one in getattr(value, field).val), text)
    elif (items := scalar_items(value)) is not None:
        text += b"["
        for start in range(0, len(items), ITEMS_PER_STEP):
            some = items[start : start + ITEMS_PER_STEP]
            text += b"," if start else b""
            if isinstance(some[0], str | bytes) and sum(map(len, some)) > CHARS_PER_STEP:
                for number, one in enumerate(some):
                    text += b"," if number else b""
                    yield from _write_string(one, text)
            else:
                text += array_text(list(map(base64_text, some)) if field.startswith("bytes_") else some)
                yield
        text += b"]"
    elif field is not None and isinstance(scalar := getattr(value, field), str | bytes):
        yield from _write_string(scalar, text)
    else:
        text += array_text([json_value(value)])


def _write_map(entries: Iterable[tuple[str, Any]], text: bytearray, exact: bool) -> Steps[None]:
    text += b"{"
    for number, (key, value) in enumerate(entries):
        text += b"," if number else b""
        yield from _write_string(key, text)
        text += b":"
        yield from _write(value, text, exact)
        if (number + 1) % ENTRIES_PER_STEP == 0:
            yield
    text += b"}"


def _write_array(writers: Iterable[Steps[None]], text: bytearray) -> Steps[None]:
    text += b"["
    for number, writer in enumerate(writers):
        text += b"," if number else b""
        yield from writer
        if (number + 1) % ENTRIES_PER_STEP == 0:
            yield
    text += b"]"


def python_text(values: Sequence[Any], budget: Budget) -> Steps[list[bytes | bytearray]]:
    """What `array_text` writes of values that a function has computed, in pieces, with a step after each.

    Raises LimitError.
    """
    pieces: list[bytes | bytearray] = []
    yield from _write_items(values, pieces, budget)
    return pieces


def _write_items(values: Sequence[Any], pieces: list[bytes | bytearray], budget: Budget) -> Steps[None]:
    start = size = 0
    for end, value in enumerate(values, 1):
        of_value = about_bytes(value)
        size += of_value
        if size < TEXT_PER_STEP and end - start < ITEMS_PER_STEP and end < len(values):
            continue
        pieces.append(b"," if start else b"")
        last = end - 1 if of_value > TEXT_PER_STEP else end
        if last > start:
            text = array_text(values[start:last])
            budget.take(len(text) + 1)
            pieces.append(text)
            yield
        if last < end:
            pieces.append(b"," if last > start else b"")
            yield from _write_python(value, pieces, budget)
        start, size = end, 0


def _write_python(value: Any, pieces: list[bytes | bytearray], budget: Budget) -> Steps[None]:
    """A value whose text is long."""
    if isinstance(value, str):
        text = bytearray()
        yield from _write_string(value, text)
        budget.take(len(text))
        pieces.append(text)
    elif isinstance(value, dict):
        pieces.append(b"{")
        for number, (key, item) in enumerate(value.items()):
            pieces += (b"," if number else b"", array_text([key]), b":")
            budget.take(len(pieces[-2]) + 2)
            yield from _write_items([item], pieces, budget)
        pieces.append(b"}")
    else:
        pieces.append(b"[")
        yield from _write_items(value, pieces, budget)
        pieces.append(b"]")


def _write_string(value: str | bytes, text: bytearray) -> Steps[None]:
    """A string, or the base64 of bytes. JSON escapes each character by itself, so that a string may be cut anywhere."""
    if len(value) <= CHARS_PER_STEP:
        text += _string_text(value)
        return
    text += b'"'
    for start in range(0, len(value), CHARS_PER_STEP):
        text += _string_text(value[start : start + CHARS_PER_STEP])[1:-1]
        yield
    text += b'"'


def _string_text(value: str | bytes) -> bytes:
    return string_text(base64_text(value) if isinstance(value, bytes) else value)
