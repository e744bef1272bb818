"""The native room's doors in Python: the reference for what is behind them in C, and what serves without a compiler.

Each class is what `_native.pyi` says of its namesake, but for what no Redis writes: hiredis, which reads the replies
here, does not look at the two bytes behind a bulk string, and reads RESP3 as well; and of an array that stands for a
hash, the types of the values are not looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import hiredis

Row = Sequence["bytes | None"]

_INCOMPLETE: Any = object()


_Block = tuple[int, list[bytes], int]
"""The fields of one view as they stand in a hash: Feast writes a view's timestamp, then its features, at once.

How much of a reply they take, their names, and which of the wanted views this is; -1 for one that is not wanted.
"""


class Picker:
    """Which fields of a hash make a row, and how they come: the fastest way that fits.

    1. The names stand where they stood the last time: one `itemgetter`. All views of an entity are usually written in
       one order for all entities.
    2. The views come in another order, but each with its own fields in the same order: block by block.
    3. By name.
    """

    __slots__ = (
        *("_absent", "_arrange", "_blocks", "_complete", "_first", "_misses", "_named", "_names", "_order", "_pick"),
        *("_seen", "_wanted", "longest"),
    )

    LEARN_EVERY = 64
    """Replies picked by name between two that are learned from: orders may have changed, or be all different."""
    LOOK_EVERY = 1000
    """Replies between two looks at how long their names and values are: at each, it would cost a tenth of reading."""
    MAX_ORDER = 512
    """A longer hash is nobody's usual one, and too much to remember. 512 is hash-max-listpack-entries."""

    def __init__(self, names: Sequence[bytes], named: bool) -> None:
        self._names = tuple(names)
        self._named = named
        self._absent = (None,) * len(self._names)
        self._first: bytes | None = None
        self._order: list[bytes] = []
        self._pick: Callable[[list[Any]], Any] = list
        """The names at the remembered places of the fields, then the values that follow them."""
        self._complete = False
        """Whether the remembered order has all fields. If not, only the whole order tells that some are absent."""
        self._blocks: dict[bytes, _Block] = {}
        self._wanted = 0
        """How many of the blocks hold fields of ours."""
        self._arrange: Callable[[list[bytes | None]], Row] = list
        self._misses = 0
        self._seen = 0
        self.longest = 0

    def row(self, reply: list[Any]) -> Row | None:
        """The values in the order of the names, None for those that are not there; None for no hash's reply."""
        if self._seen % self.LOOK_EVERY == 0:
            self.longest = max(self.longest, *(len(part) for part in reply if type(part) is bytes), 0)
        self._seen += 1
        if not self._named:
            return reply if len(reply) == len(self._names) else None
        if not reply:
            return self._absent
        if reply[0] == self._first and not len(reply) % 2:
            if self._complete:
                try:
                    picked = self._pick(reply)
                except IndexError:
                    picked = ()
                # A name stands once in a hash: what follows it there is its value, whatever else there is.
                wanted = len(self._names)
                if picked[:wanted] == self._names:
                    return picked[wanted:]  # type: ignore[no-any-return]  # of what `itemgetter` makes
            elif reply[::2] == self._order:
                reply.append(None)  # at -1, for the fields that are not there
                return self._pick(reply)[len(self._names) :]  # type: ignore[no-any-return]  # as above
        row = self._by_blocks(reply)
        return self._by_name(reply) if row is None else row

    def _by_blocks(self, reply: list[Any]) -> Row | None:
        blocks = self._blocks
        parts: list[list[bytes | None]] = [[]] * self._wanted
        place, end, found = 0, len(reply), 0
        while place < end:
            name = reply[place]
            block = blocks.get(name) if type(name) is bytes else None
            if block is None:
                return None
            width, names, part = block
            if part >= 0:
                if reply[place : place + width : 2] != names:
                    return None
                parts[part] = reply[place + 1 : place + width : 2]
                found += 1
            place += width
        if found < self._wanted or place > end:
            # Not there, or stepped over: a block that we do not look into may have been shorter than it was.
            return None
        return self._arrange(list(chain.from_iterable(parts)))

    def _by_name(self, reply: list[Any]) -> Row | None:
        names = reply[::2]
        if len(reply) % 2 or not {bytes}.issuperset(map(type, names)):
            return None
        if self._misses % self.LEARN_EVERY == 0 and len(names) <= self.MAX_ORDER:
            self._learn(names)
        self._misses += 1
        by_name = dict(zip(names, reply[1::2], strict=True))
        return list(map(by_name.get, self._names))

    def _learn(self, names: list[bytes]) -> None:
        """Remember this order, and where its views begin and end."""
        if not self._names:
            return
        places = {name: 2 * place for place, name in enumerate(names)}
        found = [places.get(name, -2) for name in self._names]
        self._first, self._order, self._complete = names[0], names, -2 not in found
        self._pick = itemgetter(*found, *(place + 1 for place in found))
        starts = [place for place, name in enumerate(names) if name.startswith(b"_ts:")]
        if not starts or starts[0] != 0:
            return
        blocks = [names[start:end] for start, end in zip(starts, [*starts[1:], len(names)], strict=True)]
        wanted = [block for block in blocks if not set(block).isdisjoint(self._names)]
        held = list(chain.from_iterable(wanted))
        if not set(self._names).issubset(held) or len(held) < 2 or len(self._names) < 2:
            return  # a view is missing here: not a hash to learn all blocks from
        self._blocks = {
            block[0]: (2 * len(block), block, wanted.index(block) if block in wanted else -1) for block in blocks
        }
        self._wanted = len(wanted)
        place_of = {name: place for place, name in enumerate(held)}
        self._arrange = itemgetter(*(place_of[name] for name in self._names))


class ReplyReader:
    """Replies of Redis, out of bytes that were cut anywhere."""

    __slots__ = ("_expected", "_reader", "_replies", "failed", "unfinished_bytes")

    _PIECE_BYTES = 16 << 10
    """hiredis moves what is left of its buffer after every reply: of 500 KB fed at once, it moves 25 MB."""

    def __init__(self) -> None:
        # The default for "not enough data" is False, which is a value in RESP3.
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._expected: deque[tuple[Picker | None, int]] = deque()
        self._replies: list[Row | str | None] = []
        """The replies so far of what is expected first."""
        self.failed: str | None = None
        self.unfinished_bytes = 0

    def expect(self, picker: Picker | None, replies: int) -> None:
        if replies < 1 or not (picker is None or isinstance(picker, Picker)):
            raise TypeError("expected a Picker or None, and a number of replies above zero")
        self._expected.append((picker, replies))

    def feed(self, data: bytes) -> list[list[Row | str | None]]:
        full: list[list[Row | str | None]] = []
        if self.failed is not None:
            return full
        size = len(data)
        reader = self._reader
        self.unfinished_bytes += size
        try:
            for start in range(0, size, self._PIECE_BYTES):
                reader.feed(data, start, min(self._PIECE_BYTES, size - start))
                self._read(full)
        except hiredis.ProtocolError as error:
            self.failed = str(error)
        except TypeError as error:  # of hiredis's, for a map of RESP3 that has a list for a key
            self.failed = str(error)
        return full

    def _read(self, full: list[list[Row | str | None]]) -> None:
        """Take the replies that are whole."""
        replies = iter(self._reader.gets, _INCOMPLETE)
        while self._expected:
            picker, wanted = self._expected[0]
            missing = wanted - len(self._replies)
            if picker is None:
                found: list[Row | str | None] = [_no_row(reply) for reply in islice(replies, missing)]
            else:
                row = picker.row
                found = [row(reply) if type(reply) is list else _no_row(reply) for reply in islice(replies, missing)]
            if found:
                self.unfinished_bytes = 0  # about: the reply after them may have begun in what was fed
            self._replies += found
            if len(found) < missing:
                return
            full.append(self._replies)
            self._replies = []
            self._expected.popleft()
        if next(replies, _INCOMPLETE) is not _INCOMPLETE or self._reader.has_data():
            self.failed = "a reply that nobody asked for"


def _no_row(reply: object) -> str | None:
    return str(reply) if isinstance(reply, hiredis.ReplyError) else None


class BodyWriter:
    """The body of an answer, made by `features.vectors`: here, no body is a usual one."""

    __slots__ = ()

    def __init__(self, lookups: bytes, columns: bytes) -> None:
        pass

    def write(
        self,
        entity_columns: list[list[Any]],
        rows: Sequence[Sequence[Row]],
        row_to_key: list[list[int] | None],
        count: int,
        end: bytes,
    ) -> None:
        """None, always."""
