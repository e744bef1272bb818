"""Question: stored Values one at a time, or many in one parse? And what does a gap cost?

A serialised `Value` is one field of a oneof; joined, N of them are one `Values` message with the same numbers made
repeated. So a row (one entity, many features) or a column (one feature, many entities) can be parsed at once.

Asked on 2026-11-23; protobuf 7.36.2 (upb), orjson 3.13.0, Python 3.11.7, two shared AMD EPYC cores. Nanoseconds a value
from stored bytes to JSON text, as this script prints them:

              one by one  row at once  row, 2 gaps   column
    int32            670           62          159       58
    double           691           80          179       75
    string           714          127          231      121
    mixed            727          143          235        -

Verdict: decode at once, rows and columns alike. A value that is missing is replaced by a stored zero and taken out
again afterwards, so that one gap does not send a whole row down the slow path. Strings pay for making Python strings; a
row of several types pays 30 ns a value for looking at every tag, because two features that hold each other's type would
have the right counts and the wrong values.

Ask again when protobuf gains a faster way to many small messages, or when orjson takes pre-rendered fragments in lists
cheaper than joining bytes.
"""

from __future__ import annotations

import random
import timeit
from collections.abc import Callable

import orjson

from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import ColumnDecoder, RowDecoder, ValueType, decode_value

VALUES = 50
TYPES: dict[str, list[ValueType]] = {
    "int32": [ValueType.INT32] * VALUES,
    "double": [ValueType.DOUBLE] * VALUES,
    "string": [ValueType.STRING] * VALUES,
    "mixed": [ValueType.INT64, ValueType.DOUBLE, ValueType.FLOAT, ValueType.STRING, ValueType.BOOL] * (VALUES // 5),
}
SAMPLES: dict[ValueType, Callable[[random.Random], object]] = {
    ValueType.INT32: lambda dice: dice.randrange(1, 9999),
    ValueType.INT64: lambda dice: dice.randrange(10**12),
    ValueType.DOUBLE: lambda dice: dice.random(),
    ValueType.FLOAT: lambda dice: dice.random(),
    ValueType.STRING: lambda dice: f"{dice.randrange(10**9):x}",
    ValueType.BOOL: lambda dice: dice.random() < 0.5,
}


def stored(value_type: ValueType, dice: random.Random) -> bytes:
    field = f"{value_type.name.lower()}_val"
    return Value(**{field: SAMPLES[value_type](dice)}).SerializeToString()  # type: ignore[arg-type]


def nanoseconds(run: Callable[[], object]) -> float:
    """Per value, the best of seven: what the machine's other work adds is not what is asked."""
    return min(timeit.repeat(run, number=2000, repeat=7)) / 2000 / VALUES * 1e9


def main() -> None:
    dice = random.Random(1)
    print(f"{'':8} {'one by one':>11} {'row at once':>12} {'row, 2 gaps':>12} {'column':>8}")
    for name, types in TYPES.items():
        row = [stored(value_type, dice) for value_type in types]
        gaps = [None if place in (7, 31) else value for place, value in enumerate(row)]
        decode_row = RowDecoder(types)
        figures = [
            nanoseconds(lambda row=row: orjson.dumps([decode_value(value) for value in row])),
            nanoseconds(lambda row=row, decode=decode_row: orjson.dumps(decode(row))),
            nanoseconds(lambda row=gaps, decode=decode_row: orjson.dumps(decode(row))),
        ]
        column = "-"
        if len(set(types)) == 1:
            decode_column = ColumnDecoder(types[0])
            column = f"{nanoseconds(lambda row=row, decode=decode_column: orjson.dumps(decode(row))):.0f}"
        print(f"{name:8} {figures[0]:11.0f} {figures[1]:12.0f} {figures[2]:12.0f} {column:>8}")


if __name__ == "__main__":
    main()
