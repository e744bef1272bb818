"""Fuzz what a store may hold: stored Values, stored timestamps. What it may say is fuzz_native.py's.

    pip install atheris
    python tests/fuzz/fuzz_values.py FOLDER -max_len=200 -max_total_time=1200

FOLDER gets the inputs that were kept (corpus.py), and what libFuzzer adds to them.

A finding is a value that protobuf reads in another way, whether it stands alone, in a column, in a row, or beside sound
ones; and any exception but CorruptValueError. Not asked for is that protobuf's choice be ours where one Value begins
with no tag of a Value, or holds none and is not empty, or several, or one and a piece of another, which no Feast writes
and no cut makes: with the right neighbours, their number comes out right. See feast_format/values.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["yummy_fast.feast_format.values"]):
    from google.protobuf.message import DecodeError

    from tests.fuzz import corpus
    from tests.property import second_opinion
    from yummy_fast.errors import CorruptValueError
    from yummy_fast.feast_format._proto.value_pb2 import Value, Values
    from yummy_fast.feast_format.timestamps import decode_timestamp, decode_timestamps
    from yummy_fast.feast_format.values import (
        ColumnDecoder,
        RowDecoder,
        ValueType,
        _tag,
        decode_value,
        spell_non_finite,
    )

TYPES = list(ValueType)
COLUMNS = {value_type: ColumnDecoder(value_type) for value_type in TYPES}
TAGS = tuple(_tag(field.name) for field in Value.DESCRIPTOR.oneofs_by_name["val"].fields)
SOUND = Value(int64_val=5).SerializeToString(), Value(string_val="a").SerializeToString()


def test_one_input(data: bytes) -> None:
    """The first byte says what the rest is."""
    if not data:
        return
    kind, rest = data[0], data[1:]
    if kind == 0xFE:
        check_timestamp(rest)
    else:
        check_value(TYPES[kind % len(TYPES)], rest)


def check_value(value_type: ValueType, stored: bytes) -> None:
    expected = outcome(second_opinion.value_of_stored, stored)
    compare(lambda: decode_value(stored), expected)
    odd = is_odd(stored)
    neighbours = [outcome(second_opinion.value_of_stored, sound) for sound in SOUND]
    compare(lambda: COLUMNS[value_type]([stored])[0], expected, odd)
    for place in range(3):
        column: list[bytes | None] = [SOUND[0], SOUND[1]]
        column.insert(place, stored)
        wanted = list(neighbours)
        wanted.insert(place, expected)
        types = [ValueType.INT64, ValueType.STRING]
        types.insert(place, value_type)
        for decode in (COLUMNS[value_type], RowDecoder(types)):
            compare(partial(all_of, decode, column), None if expected is None else wanted, odd)


def all_of(decode: Callable[[Sequence[bytes | None]], Sequence[Any]], stored: Sequence[bytes | None]) -> list[Any]:
    return list(decode(stored))


def is_odd(stored: bytes) -> bool:
    """Whether there is a value and then more, or none in bytes that are well-formed, or it begins as no Value does."""
    if stored and not stored.startswith(TAGS):
        return True
    try:
        if stored and Value.FromString(stored).WhichOneof("val") is None:
            return True
        return sum(len(found) for _, found in Values.FromString(stored).ListFields()) > 1
    except DecodeError:
        return any(outcome(Value.FromString, stored[:place]) is not None for place in range(1, len(stored)))


def outcome(decode: Callable[[bytes], Any], stored: bytes) -> Any:
    """What protobuf reads, in a list; None if it does not, or reads what no JSON can hold."""
    try:
        return [spell_non_finite(decode(stored))]
    except (DecodeError, ValueError, OverflowError, OSError):
        return None


def compare(decode: Callable[[], Any], expected: Any, either_will_do: bool = False) -> None:
    """What `decode` reads is what was expected; or it does not read it, and says so."""
    try:
        found = spell_non_finite(decode())
    except CorruptValueError:
        return
    if either_will_do:
        return
    assert expected is not None, found
    wanted = expected[0] if len(expected) == 1 else [one for [one] in expected]
    assert second_opinion.same(found, wanted), (found, wanted)


def check_timestamp(stored: bytes) -> None:
    try:
        moment = decode_timestamp(stored)
    except CorruptValueError:
        return
    assert moment == second_opinion.moment_of_stored(stored)
    assert decode_timestamps([stored, None, stored]) == [moment, decode_timestamp(None), moment]


if __name__ == "__main__":
    corpus.unpack("values", Path(sys.argv[1]))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
