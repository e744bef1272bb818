"""The native room in Python: the reference for what is in C, and what serves without a compiler.

Each class and function is what `_native.pyi` says of its namesake, but for what no Redis writes: hiredis, which reads
the replies here, does not look at the two bytes behind a bulk string, and reads all of RESP3; of an array or a map that
stands for a hash, the types of what is not wanted are not looked at, and a map with a list for a name ends the reading.
Of a reply to no command, the native room reads no byte; here it may have to be whole before it is told from a push.
There is no BodyWriter here: its twin is `features.vectors`.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import hiredis

Row = Sequence["bytes | None"]

_Owner = TypeVar("_Owner")

_SLOTS = 16_384

_INCOMPLETE: Any = object()

_CELLS = frozenset((bytes, type(None)))


MakeRow = Callable[[list[Any]], Row]
"""Makes a row of a reply. Raises ValueError, or what Python raises, for what is no hash's."""

MAX_ORDER = 512
"""The order of a hash of more fields is not remembered: it is an unusual one. hash-max-listpack-entries, by default."""


class Picker:
    """Which fields of a hash make a row, and how they come."""

    __slots__ = ("_replies_to_check", "longest", "make_row", "named")

    CHECK_EVERY = 1000
    """One reply of this many is looked at for the length of its longest part. All of them would take a tenth more."""

    def __init__(self, names: Sequence[bytes], named: bool) -> None:
        self.make_row: MakeRow = HashPicker(names) if named else partial(_whole_reply, len(names))
        self.named = named
        self.longest = 0
        self._replies_to_check = 1

    def is_due(self) -> bool:
        """Whether the next reply is one to be checked."""
        self._replies_to_check -= 1
        return self._replies_to_check == 0

    def check(self, reply: list[Any]) -> None:
        self._replies_to_check = self.CHECK_EVERY
        lengths = (len(part) for part in reply if type(part) is bytes)
        self.longest = max(self.longest, max(lengths, default=0))


def _whole_reply(fields: int, reply: list[Any]) -> Row:
    """The row of an HMGET: its reply."""
    if len(reply) != fields:
        raise ValueError
    return reply


_Block = tuple[int, list[bytes], int]
"""The fields of one view as they stand in a reply: Feast writes a view's timestamp and its features at once.

How many items of the reply they take (names and values); their names; and the block's number among those that have
fields that are asked for, or -1 if it has none.
"""


class HashPicker:
    """Picks the fields of a Lookup out of replies to HGETALL, in the fastest of three ways that fits the reply.

    Feast writes a hash view by view, in one HSET each, the timestamp first. With F1 to F3 for the hashed names of
    features, the reply for an entity with the views `stats` (F1, F2) and `profile` (F3) is

         0          1   2   3   4   5   6            7   8   9
        [_ts:stats, t1, F1, v1, F2, v2, _ts:profile, t2, F3, v3]

    and a Lookup of F3, F2 and both timestamps wants the row [v3, v2, t2, t1].

    1. By position, where an earlier reply had the names: itemgetter(8, 4, 6, 0, 9, 5, 7, 1) gets the names asked for
       and the values behind them in one call. If the first half *is* the names asked for, the second half is the row,
       whatever else the hash has. This fits when all entities had their views written in the same order.
    2. By blocks. Another entity has `profile` before `stats`, but each view's fields, a block, are still in the learned
       order. A block is found by its first name, compared whole, and its values are put where they belong; a block
       without a field that is asked for is stepped over.
    3. By name, in a dict of the whole reply. This is a miss. The first miss is learned from, and every 64th after it:
       orders may have changed, or be different for each entity, and learning costs more than the dict.

    A reply that lacks some of the fields is learned from as well; by position, its successors must then have exactly
    its names, because no name at a position can show that another one is absent.
    """

    __slots__ = (
        "_absent",
        "_arrange",
        "_blocks",
        "_complete",
        "_fields",
        "_first_name",
        "_misses",
        "_names",
        "_parts",
        "_pick",
    )

    LEARN_EVERY = 64
    """One miss of this many is learned from."""

    def __init__(self, fields: Sequence[bytes]) -> None:
        self._fields = tuple(fields)
        self._absent = (None,) * len(fields)
        self._misses = 0
        # What was learned for the first way:
        self._first_name = b""
        self._names: list[bytes] = []
        """All names, in order."""
        self._pick: MakeRow = self._picker([])
        """The names at the positions of the fields, then the values behind them."""
        self._complete = False
        """Whether all fields were there."""
        # And for the second:
        self._blocks: dict[bytes, _Block] = {}
        """By their first names."""
        self._parts = 0
        """How many of the blocks have fields that are asked for."""
        self._arrange: Callable[[list[bytes | None]], Row] = list
        """Makes the row of the values of these blocks."""

    def __call__(self, reply: list[Any]) -> Row:
        """The values in the order of the fields; None for those that the hash does not have."""
        if not reply:
            return self._absent
        if len(reply) % 2:
            raise ValueError
        if reply[0] == self._first_name:  # else the order is another one for certain
            if self._complete:
                try:
                    picked = self._pick(reply)
                except IndexError:
                    picked = ()
                # A name occurs once in a hash, so what stands behind it is its value.
                asked = len(self._fields)
                if picked[:asked] == self._fields:
                    return picked[asked:]
            elif reply[::2] == self._names:
                reply.append(None)  # at -1, where `_pick` finds the value of a field that is absent
                return self._pick(reply)[len(self._fields) :]
        row = self._by_blocks(reply)
        if row is not None:
            return row
        names = reply[::2]
        if not {bytes}.issuperset(map(type, names)):
            raise ValueError
        if self._misses % self.LEARN_EVERY == 0:
            self._learn(names)
        self._misses += 1
        by_name = dict(zip(names, reply[1::2], strict=True))
        return list(map(by_name.get, self._fields))

    def _by_blocks(self, reply: list[Any]) -> Row | None:
        """The row, if every field asked for lies in a block in its learned order; else None."""
        blocks = self._blocks
        parts: list[list[bytes | None]] = [[]] * self._parts
        start, end, found = 0, len(reply), 0
        while start < end:
            block = blocks.get(reply[start])
            if block is None:
                return None
            items, names, part = block
            if part >= 0:
                if reply[start : start + items : 2] != names:
                    return None
                parts[part] = reply[start + 1 : start + items : 2]
                found += 1
            start += items
        if found < self._parts:
            # The block is not there; or it was stepped over, with one that is shorter here than where it was learned.
            return None
        return self._arrange(list(chain.from_iterable(parts)))

    def _learn(self, names: list[bytes]) -> None:
        """Remember this order for the first way, and where its views begin and end for the second."""
        if len(names) > MAX_ORDER:
            return  # an unusual hash, and too much to remember
        self._first_name, self._names, self._pick = names[0], names, self._picker(names)
        self._complete = set(self._fields).issubset(names)
        starts = [position for position, name in enumerate(names) if name.startswith(b"_ts:")]
        if not starts or starts[0] != 0:
            return  # not written by Feast, view by view
        blocks = [names[start:end] for start, end in zip(starts, [*starts[1:], len(names)], strict=True)]
        asked = [block for block in blocks if not set(block).isdisjoint(self._fields)]
        held = list(chain.from_iterable(asked))
        if not set(self._fields).issubset(held) or len(held) < 2:  # of one name, itemgetter would make no row
            return  # a view that is asked for is missing, so keep the blocks of a hash that had all
        self._blocks = {
            block[0]: (2 * len(block), block, asked.index(block) if block in asked else -1) for block in blocks
        }
        self._parts = len(asked)
        positions = {name: position for position, name in enumerate(held)}
        self._arrange = itemgetter(*(positions[field] for field in self._fields))

    def _picker(self, names: list[bytes]) -> MakeRow:
        """`_pick` for a reply with these names. A field that is absent is looked for at -2, and its value at -1."""
        positions = {name: 2 * position for position, name in enumerate(names)}
        found = [positions.get(field, -2) for field in self._fields]
        if not found:
            return lambda _: ()
        return itemgetter(*found, *(position + 1 for position in found))


class _Answer:
    """What is expected for one `expect`, and what has come of it."""

    __slots__ = ("_make_row", "_missing", "_picker", "_rows", "content")

    def __init__(self, picker: Picker | None, replies: int) -> None:
        self._picker = picker
        self._make_row = None if picker is None else picker.make_row
        self._missing = replies
        self._rows: list[Row] = []
        self.content: list[Row] | str | None = self._rows
        """The rows; or, once something else came, the first that did."""

    def take(self, reply: Any) -> bool:
        """Take the next reply, and make a row of it while it is in the processor's cache. True if it was the last."""
        if type(reply) is list and self._make_row is not None:
            if self._picker.is_due():  # type: ignore[union-attr]  # it has made `_make_row`
                self._picker.check(reply)  # type: ignore[union-attr]  # as above
            try:
                row = self._make_row(reply)
                if not _CELLS.issuperset(map(type, row)):
                    raise ValueError
                self._rows.append(row)
            except (AttributeError, IndexError, TypeError, ValueError):  # a list, but not the fields of a hash
                self._refuse(None)
        elif type(reply) is dict:  # as RESP3 has a hash
            if self._picker is None or not self._picker.named:
                raise TypeError("a map where none was asked for")
            return self.take(list(chain.from_iterable(reply.items())))
        else:
            self._refuse(str(reply) if isinstance(reply, hiredis.ReplyError) else None)
        self._missing -= 1
        return self._missing == 0

    def _refuse(self, problem: str | None) -> None:
        if self.content is self._rows:
            self.content = problem


class ReplyReader:
    """Replies of Redis, out of bytes that were cut anywhere."""

    __slots__ = ("_expected", "_invalidated", "_push_due", "_reader", "failed", "unfinished_bytes")

    _PIECE_BYTES = 16 << 10
    """hiredis moves what is left of its buffer after every reply: of 500 KB fed at once, it moves 25 MB."""

    def __init__(self) -> None:
        # The default for "not enough data" is False, which is a value in RESP3.
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._expected: deque[_Answer] = deque()
        self._push_due = False
        """Whether something has begun when nothing was expected, which only a push may do."""
        self._invalidated: list[bytes | None] = []
        self.failed: str | None = None
        self.unfinished_bytes = 0

    def expect(self, picker: Picker | None, replies: int) -> None:
        if replies < 1 or not (picker is None or isinstance(picker, Picker)):
            raise TypeError("expected a Picker or None, and a number of replies above zero")
        self._expected.append(_Answer(picker, replies))

    def feed(self, data: bytes | memoryview) -> list[list[Row] | str | None]:
        answers: list[list[Row] | str | None] = []
        if self.failed is not None:
            return answers
        self.unfinished_bytes += len(data)
        try:
            self._read(data, answers)
        except (hiredis.ProtocolError, TypeError) as error:  # the latter for some maps of RESP3
            self.failed = str(error)
        return answers

    def take_invalidated(self) -> list[bytes | None]:
        taken, self._invalidated = self._invalidated, []
        return taken

    def _read(self, data: bytes | memoryview, answers: list[list[Row] | str | None]) -> None:
        reader, expected, size = self._reader, self._expected, len(data)
        for start in range(0, size, self._PIECE_BYTES):
            reader.feed(data, start, min(self._PIECE_BYTES, size - start))  # type: ignore[arg-type]  # it takes views
            for reply in iter(reader.gets, _INCOMPLETE):
                self.unfinished_bytes = 0  # about: how much of `data` follows this reply is not known
                if type(reply) is hiredis.PushNotification:
                    self._push_due = False
                    if reply[:1] == [b"invalidate"]:
                        self._invalidated += _keys(reply[1:])
                    continue
                if not expected or self._push_due:
                    self.failed = "a reply to no command"
                    return
                if expected[0].take(reply):
                    answers.append(expected.popleft().content)
        if not expected and reader.has_data():
            self._push_due = True


def _keys(parts: list[Any]) -> Iterator[bytes | None]:
    """What stands in a push, whatever it is nested in."""
    for part in parts:
        if isinstance(part, list):
            yield from _keys(part)
        elif part is None or isinstance(part, bytes):
            yield part


def slot_of(key: bytes, suffix: bytes) -> int:
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            return crc_hqx(key[start + 1 : end], 0) % _SLOTS
    return crc_hqx(key + suffix, 0) % _SLOTS


def split_keys(
    keys: list[bytes], suffix: bytes, table: list[_Owner]
) -> dict[_Owner, tuple[list[bytes], list[int]] | None]:
    if b"{" in b"".join(keys):
        slots = [slot_of(key, suffix) for key in keys]
    else:  # half the time
        slots = [crc_hqx(key + suffix, 0) % _SLOTS for key in keys]
    parts: dict[_Owner, tuple[list[bytes], list[int]] | None] = {}
    for position, (key, slot) in enumerate(zip(keys, slots, strict=True)):
        part = parts.get(table[slot])
        if part is None:
            part = parts[table[slot]] = ([], [])
        part[0].append(key)
        part[1].append(position)
    return dict.fromkeys(parts) if len(parts) == 1 else parts


def put_rows(rows: Sequence[Any], positions: list[int], table: list[Any]) -> None:
    for row, position in zip(rows, positions, strict=True):
        table[position] = row
