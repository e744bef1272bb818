"""Reading a hash that Feast wrote: which command, HMGET or HGETALL, and how its reply becomes a row.

HMGET answers with the values, in the order in which their fields were asked for: the reply is the row. HGETALL answers
with names and values of the whole hash, in the order in which Redis keeps them, and `HashPicker` picks the fields out.

Up to hash-max-listpack-entries (512) fields, Redis keeps a hash as one list: HMGET walks it once per field asked for,
HGETALL once in all. So HGETALL is cheaper from a certain number of fields asked for, nearly whatever the hash holds;
perf/experiments/hmget_or_hgetall.py has the numbers. A longer hash, or one with a value over 64 bytes, is a hash table
in Redis, where HMGET is cheap and HGETALL sends everything. The types in the registry say whether values can be that
long; where they can, a reply is checked now and then, and a long value changes the command to HMGET.

This file does no I/O: `redis` sends the commands and receives the replies. It is not pure, though: it learns from
replies in which order fields come, and it logs a change of the command.
"""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, Lookup, Row
from yummy_fast.stores.resp import CommandTemplate

logger = logging.getLogger("yummy_fast")

LISTPACK_ENTRIES = 512
"""hash-max-listpack-entries, by default."""
LISTPACK_VALUE_BYTES = 64
"""hash-max-listpack-value, by default."""
HGETALL_FROM_FIELDS = 32
"""From this number of fields asked for, HGETALL costs less than HMGET (perf/experiments/hmget_or_hgetall.py)."""

_SHORT_TYPES = frozenset(
    (
        ValueType.INT32,
        ValueType.INT64,
        ValueType.FLOAT,
        ValueType.DOUBLE,
        ValueType.BOOL,
        ValueType.UNIX_TIMESTAMP,
        ValueType.UUID,
        ValueType.TIME_UUID,
        ValueType.DECIMAL,
    )
)
"""Types whose stored values are never long. Strings mostly are short too, but only the replies show it."""

MakeRow = Callable[[list[Any]], Row]
"""Makes the row of one entity from the reply to its command. Raises ValueError, or what Python raises, for nonsense."""


class HashReader:
    """How one Lookup is read: its command, and the function that makes a row of a reply."""

    __slots__ = ("__weakref__", "_fields", "_hash_fields", "_key_suffix", "command", "make_row", "name")

    CHECK_EVERY = 1000
    """One reply to HGETALL of this many is checked for long values."""

    def __init__(self, lookup: Lookup, read: str, key_suffix: bytes) -> None:
        """`read` is hmget, hgetall or auto; `key_suffix` ends every key."""
        self._fields = [feature_field(feature.view, feature.name) for feature in lookup.features]
        self._fields += map(timestamp_field, lookup.views)
        self._hash_fields = max(lookup.holds.fields, len(self._fields))
        self._key_suffix = key_suffix
        self.name = choose_command(lookup) if read == "auto" else read
        """hmget or hgetall."""
        may_change = read == "auto" and not _SHORT_TYPES.issuperset(lookup.holds.types)
        self.command = self._command()
        # `make_row` must not refer to this reader. Without cycles, reference counting frees an old catalog at once; the
        # cycle collector would not (server/reload.py, gc_paused).
        self.make_row: MakeRow = partial(_whole_reply, len(self._fields))
        if self.name == "hgetall":
            picker = HashPicker(self._fields)
            self.make_row = self._checking_lengths(picker) if may_change else picker

    def _command(self) -> CommandTemplate:
        if self.name == "hgetall":
            return CommandTemplate(b"HGETALL", (), self._key_suffix)
        return CommandTemplate(b"HMGET", self._fields, self._key_suffix)

    def __str__(self) -> str:
        return f"{self.name.upper()} {len(self._fields)} of {self._hash_fields}"

    def _checking_lengths(self, pick: HashPicker) -> MakeRow:
        """As `pick`, but change the command to HMGET when a reply has a long value: that hash is a table in Redis."""
        weak_self = weakref.ref(self)
        replies_to_check = 1

        def make_row(reply: list[Any]) -> Row:
            nonlocal replies_to_check
            replies_to_check -= 1
            if replies_to_check == 0:
                replies_to_check = HashReader.CHECK_EVERY
                if max(map(len, reply), default=0) > LISTPACK_VALUE_BYTES and (reader := weak_self()) is not None:
                    reader._change_to_hmget()  # replies to HGETALL that are still due keep this function
            return pick(reply)

        return make_row

    def _change_to_hmget(self) -> None:
        self.name = "hmget"
        self.command, self.make_row = self._command(), partial(_whole_reply, len(self._fields))
        logger.info("values over %d bytes: reading with %s instead of HGETALL", LISTPACK_VALUE_BYTES, self)


def _whole_reply(fields: int, reply: list[Any]) -> Row:
    """The row of an HMGET: its reply."""
    if len(reply) != fields:
        raise ValueError
    return reply


def collisions(features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
    """Pairs of features whose fields have the same name: Feast names a field by a hash of 32 bits.

    With 1,000 features under the same join keys, one registry in ten thousand has such a pair; with 10,000, one in 90.
    """
    first: dict[bytes, Feature] = {}
    return [
        (known, feature)
        for feature in features
        if (known := first.setdefault(feature_field(feature.view, feature.name), feature))[:2] != feature[:2]
    ]


def choose_command(lookup: Lookup) -> str:
    """ "hmget" or "hgetall", whichever costs less CPU by what the registry says of the hash."""
    if lookup.holds.fields > LISTPACK_ENTRIES:
        return "hmget"
    asked = Counter(feature.type for feature in lookup.features)
    for value_type, features in lookup.holds.types.items():
        # HGETALL would also send values that are not asked for, and these may be long.
        if value_type not in _SHORT_TYPES and value_type is not ValueType.STRING and features > asked[value_type]:
            return "hmget"
    return "hgetall" if len(lookup.features) + len(lookup.views) >= HGETALL_FROM_FIELDS else "hmget"


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
        if len(names) > LISTPACK_ENTRIES:
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
        return itemgetter(*found, *(position + 1 for position in found))
