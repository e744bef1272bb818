"""The JSON text of one large stored Value, step by step.

A Value may hold a list of a million numbers, or a map of maps. `feast_format.values` decodes a Value in one go, which
is right for all but such ones: a million doubles would take the event loop 100 ms. Here lists are written by pieces of
ITEMS_PER_STEP items, and maps entry by entry, with a step after each piece (see `slices`).

    double_list_val {val: [0.5, 1, ...]}      [   0.5,1.0,...   ,   ...   ]
    map_val {val: {"a": 1, "b": [2, 3]}}      {   "a":   1   ,"b":   [   2,3   ]   }

The pieces, joined, are the text that `json_text` gives for the decoded value. What cannot be cut is one string, or the
parsing of the message itself; --max-reply-bytes bounds both.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from yummy_fast.feast_format.values import base64_text, json_value, map_key_text, parse_value, scalar_items
from yummy_fast.features.json_text import array_text, string_text
from yummy_fast.features.steps import Steps

ITEMS_PER_STEP = 4096
"""Items of a list that are written at once: 0.3 ms of doubles, 0.2 ms of short strings."""


def large_value_text(stored: bytes | None, *, exact: bool = False) -> Steps[list[bytes]]:
    """The JSON of a stored Value, in pieces; `exact` as for `json_value`. Raises CorruptValueError."""
    message = parse_value(stored)
    if message is None:
        return [b"null"]
    yield
    pieces: list[bytes] = []
    yield from _write(message, pieces, exact)
    return pieces


def _write(value: Any, pieces: list[bytes], exact: bool) -> Steps[None]:
    field = value.WhichOneof("val")
    if field in ("map_val", "struct_val"):
        yield from _write_map(getattr(value, field).val.items(), pieces, exact)
    elif field == "scalar_map_val" and exact:
        entries = {map_key_text(entry.key): entry.value for entry in value.scalar_map_val.val}
        yield from _write_map(entries.items(), pieces, exact)
    elif field in ("map_list_val", "struct_list_val"):
        maps = getattr(value, field).val
        yield from _write_array((_write_map(one.val.items(), pieces, exact) for one in maps), pieces)
    elif field in ("list_val", "set_val"):
        yield from _write_array((_write(one, pieces, exact) for one in getattr(value, field).val), pieces)
    elif (items := scalar_items(value)) is not None:
        pieces.append(b"[")
        for start in range(0, len(items), ITEMS_PER_STEP):
            some = items[start : start + ITEMS_PER_STEP]
            if field.startswith("bytes_"):
                some = list(map(base64_text, some))
            pieces += (b"," if start else b"", array_text(some))
            yield
        pieces.append(b"]")
    else:
        scalar = json_value(value)
        pieces.append(string_text(scalar) if isinstance(scalar, str) else array_text([scalar]))
        yield


def _write_map(entries: Iterable[tuple[str, Any]], pieces: list[bytes], exact: bool) -> Steps[None]:
    pieces.append(b"{")
    for number, (key, value) in enumerate(entries):
        pieces += (b"," if number else b"", array_text([key]), b":")
        yield from _write(value, pieces, exact)
    pieces.append(b"}")


def _write_array(writers: Iterable[Steps[None]], pieces: list[bytes]) -> Steps[None]:
    pieces.append(b"[")
    for number, writer in enumerate(writers):
        if number:
            pieces.append(b",")
        yield from writer
    pieces.append(b"]")
