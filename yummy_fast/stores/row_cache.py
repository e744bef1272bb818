"""A bounded cache of stored rows that Redis keeps true: what may be in it, for how long, and what makes it forget.

An entry is a row as a reader made it, under the entity key and the fields that were asked for. It may be served as long
as all of these hold:

    its connection lives, and was heard of within SILENCE_S     a lost or silent one brings no invalidations
    Redis has not said since that the key has changed           `forget`, `end`
    its slot has the same primary as when it was read           `drop_slots`; a key that is absent moves unnoticed
    it is younger than the maximum age                          whatever else goes wrong

A reply that was asked for before any of that happened may bring the row from before, so it is not kept. Whoever fetches
takes a `ticket` first, and shows it with the rows. On one connection, replies and invalidations come in the order in
which Redis made them; but the rows of a fetch are given out when the last one is there, and a key may have changed
since the first. That is why the ticket counts, and not what came first:

    fetch, ticket 7     row of k     invalidate k (number 8)     the rest     put(k, ticket 7): refused, 8 > 7

The least recently used go first: OrderedDict knows them, in C, and an entry can be a plain tuple of numbers and bytes,
which the cycle collector stops looking at. A CLOCK would need entries that can be marked, so objects that it walks
through for ever. What CLOCK does better, it does for scans: those stay out, since a fetch of more than MAX_KEYS keys
neither asks nor fills the cache.

Pure: no sockets, no clock. `now` is the event loop's time, as it is for `redis_tracking`, which feeds this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from sys import getsizeof
from typing import Any, Protocol

from yummy_fast.features.plan import Row

SILENCE_S = 2.0
"""What a connection that was silent for longer has brought is served no more. It is probed every second."""
MAX_AGE_S = 60.0
"""How old a row may become, if its hash is kept for ever."""
TTL_SHARE = 0.1
"""A row may be no older than this part of key_ttl_seconds: Redis tells of a key that has expired when it deletes it,
which may be later."""
ABSENT_AGE_S = 2.0
"""How old a row without anything in it may become, where slots move: nobody tells of an absent key whose slot has moved
(SCALE rule 6), and until we know it, another node may have got the key."""
MAX_KEYS = 2000
"""A fetch of more keys is not for the cache: it would take a millisecond of the event loop, and the room of others."""
MAX_ROW_BYTES = 64 << 10
"""A longer row is not kept. It takes the place of a hundred usual ones, and the time for it goes into its text."""
MAX_SHAPES = 8
"""So many sets of fields of one key are kept."""
REMEMBERED = 1024
"""So many invalidations are remembered one by one, for the fetches that are under way."""
MANY_WRITTEN = 10_000
"""Who writes more rows than these has all forgotten: to forget them one by one would take milliseconds."""
READ_AGAIN_EVERY = 1000
"""One hit of so many is read again, to see that the cache is true."""
KEY_OVERHEAD_BYTES = 128
"""What OrderedDict takes for a key: 32 bytes for its place in the order, 84 in its tables when they have just grown,
and what malloc rounds up."""


class Counts(Protocol):
    """Where the cache counts: `online_store.StoreState`."""

    cache_hits: int
    cache_misses: int
    cache_flushes: int
    cache_bytes: int


class Generation:
    """One connection, as far as the cache is concerned, from one silence to the next."""

    __slots__ = ("heard_at", "number", "source")

    def __init__(self, number: int, source: object, now: float) -> None:
        self.number = number
        self.source = source
        """The connection."""
        self.heard_at = now
        """When bytes last came on it; -inf when it is over."""


Entry = tuple[Row, bytes, float, int, int, int, Any]
"""A row that is kept; its shape, which says what fields it has; when it is too old; the number of the generation that
has brought it; its slot; what memory it takes; and the entry of the same key with another shape, or None.

A plain tuple: of a NamedTuple, the cycle collector would never find out that there is nothing in it for it.
"""


class RowCache:
    """Rows by entity key."""

    def __init__(self, max_bytes: int, state: Counts, *, ttl_s: float = 0, slots: int = 1) -> None:
        """`ttl_s`: how long hashes are kept, 0 for ever. `slots`: of the cluster; 1 where none moves."""
        self._max_bytes = max_bytes
        self._max_row_bytes = min(MAX_ROW_BYTES, max_bytes // 8)
        self._state = state
        self.max_age_s = min(MAX_AGE_S, ttl_s * TTL_SHARE) if ttl_s else MAX_AGE_S
        self._absent_age_s = min(ABSENT_AGE_S, self.max_age_s) if slots > 1 else self.max_age_s
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._generations: dict[int, Generation] = {}
        """Those that are not over."""
        self._made = 0
        """How many generations there have been."""
        self._horizon = [0.0] * slots
        """For each slot: an entry that is too old before this was read before the slot moved."""
        self._clock = 0
        """How many things have happened that may make a row under way an old one."""
        self._floor = 0
        """A ticket below this is worth nothing: something happened that concerns all keys."""
        self._changed: dict[bytes, int] = {}
        """When, by the clock, keys were last invalidated."""
        self._until_read_again = READ_AGAIN_EVERY

    def __len__(self) -> int:
        return len(self._entries)

    # ------------------------------------------------------------------------------------------------- asking

    def get(self, key: bytes, shape: bytes, now: float) -> Row | None:
        """The row of a key with these fields, if it may be served."""
        entry = self._entries.get(key)
        while entry is not None:
            row, other_shape, until, number, slot, _, entry = entry
            if other_shape == shape:
                source = self._generations.get(number)
                heard = source is not None and source.heard_at > now - SILENCE_S
                if heard and until > now and until > self._horizon[slot]:
                    self._entries.move_to_end(key)
                    self._state.cache_hits += 1
                    return row
                break
        self._state.cache_misses += 1
        return None

    def is_due(self, rows: int) -> bool:
        """Whether one of so many rows that were just served should be read again."""
        self._until_read_again -= rows
        if self._until_read_again > 0:
            return False
        self._until_read_again = READ_AGAIN_EVERY
        return True

    def source_of(self, key: bytes, shape: bytes, row: Row) -> object:
        """The connection that has brought this very row; None if it is over, or the row is not kept any more."""
        entry = self._entries.get(key)
        while entry is not None:
            kept, other_shape, _, number, _, _, entry = entry
            if other_shape == shape:
                generation = self._generations.get(number) if kept is row else None
                return None if generation is None else generation.source
        return None

    # ------------------------------------------------------------------------------------------------- filling

    def ticket(self, keys: int) -> int:
        """What the rows of a fetch of so many keys are put by. To be taken before the fetch is sent."""
        return self._clock if keys <= MAX_KEYS else -1

    def put(
        self,
        keys: Sequence[bytes],
        rows: Sequence[Row],
        *,
        shape: bytes,
        views: int,
        generation: Generation,
        ticket: int,
        now: float,
        slots: Sequence[int] | None = None,
    ) -> None:
        """Keep rows of some keys that have come on a connection. The last `views` cells of each are times of views.

        `slots`: those of the keys; None where none moves.
        """
        number, entries, changed = generation.number, self._entries, self._changed
        if ticket < self._floor or number not in self._generations:
            return
        held = self._state.cache_bytes
        for place, (key, row) in enumerate(zip(keys, rows, strict=True)):
            if changed and changed.get(key, -1) > ticket:
                continue
            size = bytes_of(row) + _ENTRY_BYTES
            if size > self._max_row_bytes:
                continue
            # A row without anything in it has no time of any view. Mostly, the last one is there.
            is_absent = row[-1] is None and row[-views:].count(None) == views
            until = now + (self._absent_age_s if is_absent else self.max_age_s)
            slot = 0 if slots is None else slots[place]
            before = entries.get(key)
            if before is None:
                entries[key] = (row, shape, until, number, slot, size, None)
                held += size + getsizeof(key) + KEY_OVERHEAD_BYTES
            else:
                other, freed = _without(before, shape)
                entries[key] = (row, shape, until, number, slot, size, other)
                entries.move_to_end(key)
                held += size - freed
            while held > self._max_bytes:
                held -= _bytes_of_entry(*entries.popitem(last=False))
        self._state.cache_bytes = held

    # ------------------------------------------------------------------------------------------------- forgetting

    def forget(self, keys: Iterable[bytes]) -> None:
        """Keys have changed."""
        self._clock += 1
        changed = self._changed
        for key in keys:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._state.cache_bytes -= _bytes_of_entry(key, entry)
            changed[key] = self._clock
        if len(changed) > REMEMBERED:
            self._forget_what_is_under_way()

    def begin(self, source: object, now: float) -> Generation:
        """A connection has come, whose rows may be kept."""
        self._forget_what_is_under_way()
        self._made += 1
        generation = self._generations[self._made] = Generation(self._made, source, now)
        return generation

    def end(self, generation: Generation) -> None:
        """Serve no row any more that this generation has brought."""
        if self._generations.pop(generation.number, None) is not None:
            generation.heard_at = float("-inf")
            self._state.cache_flushes += 1
            self._forget_what_is_under_way()

    def heard(self, generation: Generation, now: float) -> Generation:
        """Bytes have come: of the generation as before or, after a silence, of the next one."""
        if now - generation.heard_at < SILENCE_S:
            generation.heard_at = now
            return generation
        self.end(generation)
        return self.begin(generation.source, now)

    def drop_slots(self, slots: Iterable[int], now: float) -> None:
        """Slots have another primary now, or their keys have changed."""
        for slot in slots:
            self._horizon[slot] = now + self.max_age_s
        self._forget_what_is_under_way()

    def drop_all(self, now: float) -> None:
        """Everything may have changed."""
        self.drop_slots(range(len(self._horizon)), now)

    def _forget_what_is_under_way(self) -> None:
        self._clock += 1
        self._floor = self._clock
        self._changed.clear()


def bytes_of(row: Row) -> int:
    """What memory a row takes, which is a Row of the native room, or a list or tuple of its twin."""
    size = getsizeof(row)
    return size + sum(map(getsizeof, row)) if type(row) is list or type(row) is tuple else size


def _bytes_of_entry(key: bytes, entry: Entry | None) -> int:
    """What a key takes, with all that is kept of it."""
    size = getsizeof(key) + KEY_OVERHEAD_BYTES
    while entry is not None:
        size += entry[5]
        entry = entry[6]
    return size


def _without(entry: Entry | None, shape: bytes) -> tuple[Entry | None, int]:
    """The entries that stay when a row of this shape comes, but for the one too many; and the bytes of the others."""
    others: list[Entry] = []
    freed = 0
    while entry is not None:
        if entry[1] == shape or len(others) == MAX_SHAPES - 1:
            freed += entry[5]
        else:
            others.append(entry)
        entry = entry[6]
    kept: Entry | None = None
    for one in reversed(others):
        kept = (*one[:6], kept)
    return kept, freed


_ENTRY_BYTES = getsizeof((None,) * 7) + getsizeof(1.5) + 3 * getsizeof(1 << 20)
"""What an entry takes beside its row: the tuple, and the numbers in it. The shape is shared by all."""


def keys_without(suffix: bytes, keys: Sequence[bytes | None]) -> list[bytes]:
    """The entity keys of those that end with `suffix`; of the others, no row is kept."""
    length = len(suffix)
    return [key[:-length] if length else key for key in keys if key is not None and key.endswith(suffix)]
