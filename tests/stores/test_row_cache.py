"""The cache of stored rows: never an old row, whatever comes in which order; never more memory than it may take."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from sys import getsizeof
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.native.resp import array
from tests.native.rooms import both
from yummy_fast.stores import row_cache
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.row_cache import (
    ABSENT_AGE_S,
    MAX_AGE_S,
    MAX_KEYS,
    MAX_SHAPES,
    READ_AGAIN_EVERY,
    REMEMBERED,
    SILENCE_S,
    RowCache,
    bytes_of,
    keys_without,
)

STAMP = b"\x08\x01"
SHAPES = [b"a" * 16, b"b" * 16, b"c" * 16]
KEYS = [b"key%d" % number for number in range(4)]
SLOTS = 2


def slot_of(key: bytes) -> int:
    return KEYS.index(key) % SLOTS


def row(value: object) -> Sequence[bytes | None]:
    return [b"%d" % value if isinstance(value, int) else None, STAMP if value is not None else None]


class Changing(RuleBasedStateMachine):
    """A store whose rows change all the time: the cache serves what the store has, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.state = StoreState()
        self.limit = 4 * (bytes_of(row(1)) + 400)
        self.cache = RowCache(self.limit, self.state, slots=SLOTS)
        self.cache._max_row_bytes = self.limit
        self.now = 100.0
        self.generation = self.cache.begin("first", self.now)
        self.versions = dict.fromkeys(KEYS, 1)
        self.under_way: list[tuple[bytes, bytes, int, int, Any]] = []

    @rule(key=st.sampled_from(KEYS), shape=st.sampled_from(SHAPES))
    def ask(self, key: bytes, shape: bytes) -> None:
        found = self.cache.get(key, shape, self.now)
        if found is None:
            ticket = self.cache.ticket(1)
            self.under_way.append((key, shape, self.versions[key], ticket, self.generation))

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if not self.under_way:
            return
        place = data.draw(st.integers(0, len(self.under_way) - 1))
        key, shape, version, ticket, generation = self.under_way.pop(place)
        put(self.cache, generation, key, row(version), shape=shape, ticket=ticket, now=self.now, slots=[slot_of(key)])

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    def change(self, keys: list[bytes]) -> None:
        for key in keys:
            self.versions[key] += 1
        self.cache.forget(keys)

    @rule(sure=st.integers(0, 3))
    def empty(self, sure: int) -> None:
        if sure:
            return
        for key in KEYS:
            self.versions[key] += 1
        self.cache.end(self.generation)
        self.generation = self.cache.begin("next", self.now)

    @rule(slot=st.integers(0, SLOTS - 1))
    def move(self, slot: int) -> None:
        for key in KEYS:
            if slot_of(key) == slot:
                self.versions[key] += 1
        self.cache.drop_slots([slot], self.now)

    @rule(seconds=st.sampled_from([0.1, SILENCE_S / 2, 1.9]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.generation = self.cache.heard(self.generation, self.now)

    @rule(sure=st.integers(0, 3))
    def be_silent(self, sure: int) -> None:
        """Nothing comes for a while, and things change meanwhile."""
        if sure:  # seldom: it ends all that was built up
            return
        self.now += SILENCE_S
        for key in KEYS:
            self.versions[key] += 1
        assert all(self.cache.get(key, shape, self.now) is None for key in KEYS for shape in SHAPES)
        self.generation = self.cache.heard(self.generation, self.now)

    @invariant()
    def serves_what_is_stored(self) -> None:
        for key in KEYS:
            for shape in SHAPES:
                found = self.cache.get(key, shape, self.now)
                assert found is None or found == row(self.versions[key])

    @invariant()
    def is_bounded(self) -> None:
        sizes = 0
        for key, entry in self.cache._entries.items():
            sizes += getsizeof(key) + row_cache.KEY_OVERHEAD_BYTES
            shapes = set()
            while entry is not None:
                sizes += bytes_of(entry[0]) + row_cache._ENTRY_BYTES
                shapes.add(entry[1])
                entry = entry[6]
            assert 1 <= len(shapes) <= len(SHAPES)
        assert self.state.cache_bytes == sizes <= self.limit
        assert len(self.cache._changed) <= REMEMBERED


TestChanging = Changing.TestCase
TestChanging.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def filled(limit: int = 1 << 20, **keywords: Any) -> tuple[RowCache, StoreState, Any]:
    state = StoreState()
    cache = RowCache(limit, state, **keywords)
    return cache, state, cache.begin(None, 0.0)


def put(cache: RowCache, generation: Any, key: bytes, found: Any, *, now: float = 0.0, **more: Any) -> None:
    more = {"ticket": cache.ticket(1), "views": 1, "shape": SHAPES[0], **more}
    cache.put([key], [found], generation=generation, now=now, **more)


def test_the_least_recently_used_go_first() -> None:
    cache, state, generation = filled(64 << 10)
    for number in range(10):
        put(cache, generation, b"%d" % number, row(number))
    first = len(cache)
    for number in range(10, 2000):
        assert cache.get(b"3", SHAPES[0], 0.0) == row(3)
        put(cache, generation, b"%d" % number, row(number))
    assert first == 10
    assert 100 < len(cache) < 300
    kept = [number for number in range(2000) if cache.get(b"%d" % number, SHAPES[0], 0.0)]
    assert kept == [3, *range(2001 - len(cache), 2000)]
    assert state.cache_bytes <= 64 << 10


def test_a_row_that_was_asked_for_before_it_changed_is_not_kept() -> None:
    """Its reply may be from before, if the fetch has many rows; what is asked for later is not."""
    cache, _, generation = filled()
    before, other = cache.ticket(2), cache.ticket(2)
    cache.forget([b"k"])
    put(cache, generation, b"k", row(1), ticket=before)
    put(cache, generation, b"other", row(1), ticket=other)
    assert cache.get(b"k", SHAPES[0], 0.0) is None
    assert cache.get(b"other", SHAPES[0], 0.0) is not None
    put(cache, generation, b"k", row(2))
    assert cache.get(b"k", SHAPES[0], 0.0) == row(2)


def test_a_slot_that_moves_takes_its_rows_along() -> None:
    cache, _, generation = filled(slots=4)
    for slot in range(4):
        put(cache, generation, b"%d" % slot, row(slot or None), slots=[slot])
    under_way = cache.ticket(1)
    cache.drop_slots([0, 2], 0.0)
    put(cache, generation, b"9", row(9), slots=[0], ticket=under_way)
    assert [cache.get(key, SHAPES[0], 0.1) for key in (b"0", b"1", b"2", b"3", b"9")] == [
        *(None, row(1), None, row(3), None)
    ]
    put(cache, generation, b"0", row(5), slots=[0], now=0.1)
    assert cache.get(b"0", SHAPES[0], 0.2) == row(5)


def test_hits_and_misses_are_counted() -> None:
    cache, state, generation = filled()
    put(cache, generation, b"k", row(1))
    for key, shape in ((b"k", SHAPES[0]), (b"k", SHAPES[1]), (b"l", SHAPES[0]), (b"k", SHAPES[0])):
        cache.get(key, shape, 0.0)
    assert (state.cache_hits, state.cache_misses) == (2, 2)


def test_several_sets_of_fields_of_one_key() -> None:
    """They change together, and there are no more of them than that."""
    cache, state, generation = filled()
    shapes = [b"%016d" % number for number in range(MAX_SHAPES + 2)]
    for number, shape in enumerate(shapes):
        put(cache, generation, b"k", row(number), shape=shape)
        put(cache, generation, b"k", row(number), shape=shape)  # once more: nothing is counted twice
    found = [cache.get(b"k", shape, 0.0) for shape in shapes]
    assert found == [None, None, *map(row, range(2, MAX_SHAPES + 2))]
    cache.forget([b"k"])
    assert not any(cache.get(b"k", shape, 0.0) for shape in shapes)
    assert state.cache_bytes == 0


@pytest.mark.parametrize(
    ("keywords", "found", "age_s"),
    [
        ({}, row(1), MAX_AGE_S),
        ({}, row(None), MAX_AGE_S),
        ({"ttl_s": 100}, row(1), 10),
        ({"ttl_s": 10_000}, row(1), MAX_AGE_S),
        ({"slots": 2}, row(1), MAX_AGE_S),
        ({"slots": 2}, row(None), ABSENT_AGE_S),
        ({"slots": 2, "ttl_s": 10}, row(None), 1),
    ],
)
def test_ages(keywords: dict[str, Any], found: Any, age_s: float) -> None:
    cache, _, generation = filled(**keywords)
    put(cache, generation, b"k", found, now=50.0)
    for now, expected in ((50.0, found), (49.9 + age_s, found), (50.1 + age_s, None)):
        generation = cache.heard(generation, now) if now - generation.heard_at < SILENCE_S else generation
        generation.heard_at = now
        assert cache.get(b"k", SHAPES[0], now) == expected


def test_what_is_long_is_not_kept() -> None:
    cache, state, generation = filled()
    put(cache, generation, b"k", [b"x" * (64 << 10), STAMP])
    assert (cache.get(b"k", SHAPES[0], 0.0), state.cache_bytes) == (None, 0)
    put(cache, generation, b"k", [b"x" * (60 << 10), STAMP])
    assert cache.get(b"k", SHAPES[0], 0.0) is not None


def test_a_fetch_of_many_keys_fills_nothing() -> None:
    cache, _, generation = filled()
    put(cache, generation, b"k", row(1), ticket=cache.ticket(MAX_KEYS + 1))
    assert cache.get(b"k", SHAPES[0], 0.0) is None


def test_of_too_many_changes_none_is_remembered_and_nothing_is_kept() -> None:
    cache, _, generation = filled()
    ticket = cache.ticket(1)
    cache.forget(b"%d" % number for number in range(REMEMBERED + 1))
    put(cache, generation, b"other", row(1), ticket=ticket)
    assert cache.get(b"other", SHAPES[0], 0.0) is None
    put(cache, generation, b"other", row(1))
    assert cache.get(b"other", SHAPES[0], 0.0) is not None


def test_whose_row_it_is() -> None:
    cache, _, _ = filled()
    generation = cache.begin("connection", 0.0)
    found = row(1)
    put(cache, generation, b"k", found)
    assert cache.source_of(b"k", SHAPES[0], found) == "connection"
    assert cache.source_of(b"k", SHAPES[1], found) is None
    assert cache.source_of(b"k", SHAPES[0], row(1)) is None  # equal, but another one
    cache.end(generation)
    assert cache.source_of(b"k", SHAPES[0], found) is None


def test_one_hit_of_many_is_read_again() -> None:
    cache, _, _ = filled()
    assert sum(cache.is_due(1) for _ in range(5 * READ_AGAIN_EVERY)) == 5
    assert cache.is_due(3 * READ_AGAIN_EVERY)


def test_keys_of_this_project() -> None:
    keys = [b"onerides", b"two", b"rides", None, b"ridesthree"]
    assert keys_without(b"rides", keys) == [b"one", b""]
    assert keys_without(b"", keys[:2]) == [b"onerides", b"two"]


@both
def test_bytes_are_those_that_python_takes(room: Any) -> None:
    """Counted too low, the cache would outgrow its limit."""
    cache, state, generation = filled(8 << 20)
    reader = room.ReplyReader()
    picker = room.Picker([b"%d" % number for number in range(20)], False)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        number = 0
        while len(cache) == number:
            reader.expect(picker, 1)
            ((found,),) = reader.feed(array([b"%d" % (number + place) for place in range(20)]))
            put(cache, generation, b"%060d" % number, found, now=number / 1e9)
            number += 1
        del found
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert number > 2000
    assert 0.75 * state.cache_bytes < taken < 1.02 * state.cache_bytes
