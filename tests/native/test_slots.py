"""Keys to the nodes of a Redis Cluster, and rows back to their positions: both rooms.

That the slots are those of a real server is tested in tests/stores/test_redis_slots.py, by whichever room is in use.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.rooms import both, native_room, needs_native, twin_room

SLOTS = 16_384
BY_SLOT = [f"slot {slot}" for slot in range(SLOTS)]
"""A table in which each slot belongs to somebody else."""
BY_THIRD = [(None, "a", "b")[slot * 3 // SLOTS] for slot in range(SLOTS)]

keys = st.one_of(st.binary(max_size=80), st.text("{}ab", max_size=12).map(str.encode))


@both
@pytest.mark.parametrize(
    ("key", "counted"),
    [
        # https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/: CRC16 of 123456789 is 31C3
        (b"123456789", b"123456789rides"),
        (b"", b"rides"),
        (b"{user1000}.following", b"user1000"),
        (b"foo{}{bar}", b"foo{}{bar}rides"),
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"foo{bar", b"foo{barrides"),
        (b"}foo{bar", b"}foo{barrides"),
        (b"{", b"{rides"),
        (b"\xff{\x00}", b"\x00"),
    ],
)
def test_a_slot(room: Any, key: bytes, counted: bytes) -> None:
    assert room.slot_of(key, b"rides") == crc_hqx(counted, 0) % SLOTS
    assert room.slot_of(b"123456789", b"") == 0x31C3


@both
def test_keys_by_the_owners_of_their_slots(room: Any) -> None:
    """The slots by the table of the cluster specification: foo 12182, bar 5061, hello 866."""
    given_keys = [b"foo", b"bar", b"hello", b"foo", b"{bar}1"]
    table = [(None, "a", "b")[(slot > 1000) + (slot > 6000)] for slot in range(SLOTS)]
    parts = room.split_keys(given_keys, b"", table)
    assert list(parts.items()) == [
        ("b", ([b"foo", b"foo"], [0, 3])),
        ("a", ([b"bar", b"{bar}1"], [1, 4])),
        (None, ([b"hello"], [2])),
    ]
    assert room.split_keys(given_keys, b"", ["all"] * SLOTS) == {"all": None}
    assert room.split_keys(given_keys, b"", [("equal", slot)[:1] for slot in range(SLOTS)]) == {("equal",): None}
    assert room.split_keys([], b"", table) == {}


@both
def test_rows_to_their_positions(room: Any) -> None:
    table: list[Any] = [None] * 4
    room.put_rows(["r3", "r0"], [3, 0], table)
    assert table == ["r0", None, None, "r3"]
    room.put_rows([], [], table)
    for rows, positions, error in (["r"], [4], IndexError), (["r"], [], ValueError), (["r"], ["0"], TypeError):
        with pytest.raises(error):
            room.put_rows(rows, positions, table)
    assert table == ["r0", None, None, "r3"]


@needs_native
@given(st.lists(keys, max_size=12), st.binary(max_size=9).filter(lambda suffix: b"{" not in suffix))
def test_both_rooms_split_alike(some: list[bytes], suffix: bytes) -> None:
    for table in BY_SLOT, BY_THIRD:
        found = native_room.split_keys(some, suffix, table)
        assert list(found.items()) == list(twin_room.split_keys(some, suffix, table).items())
    for key in some:
        assert native_room.slot_of(key, suffix) == twin_room.slot_of(key, suffix)


@needs_native
@pytest.mark.parametrize(
    "call",
    [
        lambda: native_room.slot_of(b"key"),
        lambda: native_room.slot_of("key", b""),
        lambda: native_room.slot_of(b"key", None),
        lambda: native_room.split_keys([b"key"], b""),
        lambda: native_room.split_keys((b"key",), b"", BY_SLOT),
        lambda: native_room.split_keys([b"key"], b"", BY_SLOT[:-1]),
        lambda: native_room.split_keys([b"key", "key"], b"", BY_SLOT),
        lambda: native_room.split_keys([b"key"], b"", [[]] * SLOTS),  # has no hash
        lambda: native_room.split_keys([b"foo", b"bar"], b"", [[slot] for slot in range(SLOTS)]),
        lambda: native_room.put_rows(["row"], [0]),
        lambda: native_room.put_rows(["row"], (0,), [None]),
        lambda: native_room.put_rows(5, [0], [None]),
    ],
)
def test_what_is_of_another_type_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        call()
