"""The writer of bodies: what it writes, and what it leaves to Python, whoever is wrong."""

from __future__ import annotations

from array import array as numbers
from collections.abc import Sequence
from typing import Any

import pytest

from tests.native.resp import array
from tests.native.rooms import native_room, needs_native
from yummy_fast.feast_format._proto.value_pb2 import Value

pytestmark = needs_native

ONE, TWO, TIME = b"\x18\x01", b"\x12\x01b", b"\x08\x01"
TAIL = b'],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:01Z"]}'
PLAIN_TAIL = b'],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]}'


def rows(*cells: Sequence[bytes | None]) -> list[Any]:
    reader = native_room.ReplyReader()
    reader.expect(native_room.Picker([b""] * len(cells[0]), False), len(cells))
    (found,) = reader.feed(b"".join(map(array, cells)))
    return list(found)


# Made when the tests are collected, which is also done where there is no native room.
NARROW, USUAL, WIDE = ([rows([ONE, TWO, TIME, TIME][:cells])] if native_room else [] for cells in (2, 3, 4))


def writer(lookups: list[int], columns: list[int]) -> Any:
    return native_room.BodyWriter(numbers("I", lookups).tobytes(), numbers("I", columns).tobytes())


@pytest.fixture
def two() -> Any:
    """Of two features of one view."""
    return writer([2, 1], [0, 0, 0, 0, 1, 0])


def test_a_body(two: Any) -> None:
    body = two.write([[7]], [rows([ONE, TWO, TIME])], [None], 1, b"]end")
    columns = [b'{"values":[7' + PLAIN_TAIL, b'{"values":[1' + TAIL, b'{"values":["b"' + TAIL]
    assert body == b'{"results":[' + b",".join(columns) + b"]end"


def test_columns_of_several_lookups_in_any_order() -> None:
    mixed = writer([1, 1, 1, 1], [1, 0, 1, 0, 0, 0])
    found = [rows([ONE, TIME]), rows([TWO, None])]
    columns = [b'{"values":["b"' + PLAIN_TAIL, b'{"values":[1' + TAIL]
    assert mixed.write([], found, [None, None], 1, b"]") == b'{"results":[' + b",".join(columns) + b"]"


def test_statuses_that_are_exact() -> None:
    """Of three rows, one is there, one has nothing but a stored null, and one is from before the ttl."""
    exact = native_room.BodyWriter(
        numbers("I", [2, 1]).tobytes(), numbers("I", [0, 0, 0, 0, 1, 0]).tobytes(), numbers("q", [5_000_000]).tobytes()
    )
    found = rows([ONE, TWO, b"\x08\x0a"], [b"", None, b"\x08\x0a"], [ONE, TWO, TIME])
    body = exact.write([], [found], [None], 3, b"]", 6_000_001)
    times = b'"1970-01-01T00:00:10Z","1970-01-01T00:00:10Z","1970-01-01T00:00:01Z"]}'
    assert body == (
        b'{"results":[{"values":[1,null,1],"statuses":["PRESENT","NULL_VALUE","OUTSIDE_MAX_AGE"],"event_timestamps":['
        + times
        + b',{"values":["b",null,"b"],"statuses":["PRESENT","NOT_FOUND","OUTSIDE_MAX_AGE"],"event_timestamps":['
        + times
        + b"]"
    )
    assert b"OUTSIDE" not in exact.write([], [found], [None], 3, b"]", 6_000_000), "as old as the ttl is not too old"


def test_no_columns() -> None:
    assert writer([], []).write([], [], [], 1, b"]") == b'{"results":[]'


def test_rows_that_are_repeated(two: Any) -> None:
    found = rows([ONE, TWO, TIME], [b"", None, None])
    repeated = two.write([[1, 2, 3]], [found], [[1, 0, 1]], 3, b"]")
    assert repeated == two.write([[1, 2, 3]], [[found[1], found[0], found[1]]], [None], 3, b"]")
    assert b'{"values":[null,1,null]' in repeated


@pytest.mark.parametrize(
    ("entities", "found", "row_to_key", "count"),
    [
        ([[7]], [[[ONE, TWO, TIME]]], [None], 1),  # the twin's rows
        ([[7]], [[(ONE, TWO, TIME)]], [None], 1),
        ([[7]], NARROW, [None], 1),
        ([[7]], WIDE, [None], 1),
        ([[7]], USUAL, [None], 2),  # fewer than there are to be
        ([[7, 8]], USUAL, [None], 1),
        ([[7]], USUAL, [[1]], 1),  # a key that there is not
        ([[7]], USUAL, [[-1]], 1),
        ([[7]], USUAL, [[1 << 70]], 1),
        ([[7]], USUAL, [[0.0]], 1),
        ([[7]], USUAL, [(0,)], 1),
        ([[7]], USUAL, [[0, 0]], 1),
        ([[7]], USUAL, [], 1),
        ([[7]], [], [], 1),
        ([[7]], [None], [None], 1),
        ([[7]], (), [None], 1),
        ([(7,)], USUAL, [None], 1),
        ([[True]], USUAL, [None], 1),
        ([[]], [[]], [None], 0),
        ((), USUAL, [None], 1),
    ],
)
def test_what_it_leaves_to_python(two: Any, entities: Any, found: Any, row_to_key: Any, count: int) -> None:
    assert two.write(entities, found, row_to_key, count, b"]") is None


@pytest.mark.parametrize(("stored_bytes", "written"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_a_long_value_is_left_to_who_writes_it_in_steps(two: Any, stored_bytes: int, written: bool) -> None:
    """7 MB of control characters were written in one go: a text of 42 MB."""
    text = Value(string_val="\x01" * (stored_bytes - 4)).SerializeToString()
    assert len(text) == stored_bytes
    body = two.write([[7]], [rows([ONE, text, TIME])], [None], 1, b"]")
    assert (body is not None) is written


@pytest.mark.parametrize(("count", "length"), [(1, 9 << 20), (9, 1 << 20)])
def test_a_large_body_is_left_to_who_makes_it_in_steps(two: Any, count: int, length: int) -> None:
    value = b"\x12" + b"%c%c%c%c" % (
        length & 127 | 128,
        length >> 7 & 127 | 128,
        length >> 14 & 127 | 128,
        length >> 21,
    )
    value += b"x" * length
    found = rows([ONE, value, TIME])
    assert two.write([[0] * count], [found], [[0] * count], count, b"]") is None
    assert native_room.value_text(value) == b'"' + b"x" * length + b'"'


@pytest.mark.parametrize(
    ("lookups", "columns"),
    [
        ([], [0, 0, 0]),
        ([1, 1], [1, 0, 0]),
        ([1, 1], [0, 1, 0]),
        ([1, 1], [0, 0, 1]),
    ],
)
def test_columns_that_there_are_not(lookups: list[int], columns: list[int]) -> None:
    with pytest.raises(ValueError, match="of no lookup, feature or view"):
        writer(lookups, columns)


@pytest.mark.parametrize(
    "arguments", [(), ([], [], [], 1), ([], [], [], "1", b""), ([], [], [], 1, "]"), ([], [], [], 1, b"", 1)]
)
def test_nonsense_is_refused(two: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        two.write(*arguments)
