"""How a hash of Feast's is read: HMGET or HGETALL, and the fields out of a reply.

Up to hash-max-listpack-entries (512) fields, Redis keeps a hash as one list: HMGET walks it once per field asked for,
HGETALL once in all. So the knee is a number of fields asked for, nearly whatever the hash holds: the numbers are in
perf/experiments/hmget_or_hgetall.py. A longer hash, or one with a value over 64 bytes, is a table, where HMGET is cheap
and HGETALL ships everything: what the registry says of the features decides, and a look at the replies now and then.

Pure: commands and replies; `stores.redis` sends and receives them.
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
"""From so many fields asked for, HGETALL costs less than HMGET (perf/experiments/hmget_or_hgetall.py)."""

_BOUNDED = frozenset(
    (
        *(ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE, ValueType.BOOL),
        *(ValueType.UNIX_TIMESTAMP, ValueType.UUID, ValueType.TIME_UUID, ValueType.DECIMAL),
    )
)
"""Types whose stored values are never long. Strings mostly are not either: a look at the replies tells."""

MakeRow = Callable[[list[Any]], Row]


class HashReader:
    """Reads one Lookup: its command, and what makes a row of a reply."""

    __slots__ = ("__weakref__", "_fields", "_key_suffix", "_stored", "command", "make_row", "name")

    LOOK_EVERY = 1000
    """Replies to HGETALL between two looks at how long their values are."""

    def __init__(self, lookup: Lookup, read: str, key_suffix: bytes) -> None:
        """`read` is hmget, hgetall or auto; `key_suffix` ends every key."""
        self._fields = [feature_field(feature.view, feature.name) for feature in lookup.features]
        self._fields += map(timestamp_field, lookup.views)
        self._stored = max(lookup.holds.fields, len(self._fields))
        self._key_suffix = key_suffix
        self.name = choose_command(lookup) if read == "auto" else read
        """hmget or hgetall."""
        watched = read == "auto" and _has_unbounded(lookup)
        self.command = self._command()
        # Nothing here may refer back to this reader: a catalog that has gone must not wait for the cycle collector.
        self.make_row: MakeRow = partial(_whole, len(self._fields))
        """Raises ValueError for a reply that is none of a hash's."""
        if self.name == "hgetall":
            self.make_row = self._watch(HashPicker(self._fields)) if watched else HashPicker(self._fields)

    def _command(self) -> CommandTemplate:
        if self.name == "hgetall":
            return CommandTemplate(b"HGETALL", (), self._key_suffix)
        return CommandTemplate(b"HMGET", self._fields, self._key_suffix)

    def __str__(self) -> str:
        return f"{self.name.upper()} {len(self._fields)} of {self._stored}"

    def _watch(self, pick: HashPicker) -> MakeRow:
        """As `pick`, but change to HMGET when a value turns out long: Redis has a table there, and ships too much."""

        reader = weakref.ref(self)
        look_in = 1

        def make_row(reply: list[Any]) -> Row:
            nonlocal look_in
            look_in -= 1
            if look_in == 0:
                look_in = HashReader.LOOK_EVERY
                if max(map(len, reply), default=0) > LISTPACK_VALUE_BYTES and (mine := reader()) is not None:
                    mine._change_to_hmget()  # replies under way are still picked here
            return pick(reply)

        return make_row

    def _change_to_hmget(self) -> None:
        self.name = "hmget"
        self.command, self.make_row = self._command(), partial(_whole, len(self._fields))
        logger.info("values over %d bytes: from HGETALL to %s", LISTPACK_VALUE_BYTES, self)


def _whole(fields: int, reply: list[Any]) -> Row:
    """HMGET: the reply is the row."""
    if len(reply) != fields:
        raise ValueError
    return reply


def collisions(features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
    """Pairs of features with one field between them: Feast names fields by 32 bits, and looks for none of this.

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
        if value_type not in _BOUNDED and value_type is not ValueType.STRING and features > asked[value_type]:
            return "hmget"
    return "hgetall" if len(lookup.features) + len(lookup.views) >= HGETALL_FROM_FIELDS else "hmget"


def _has_unbounded(lookup: Lookup) -> bool:
    return not _BOUNDED.issuperset(lookup.holds.types)


_Block = tuple[int, list[bytes], int]
"""The fields of one view as they stand in a hash: Feast writes a view's timestamp, then its features, at once.

How much of a reply they take, their names, and which of the asked views this is; -1 for one that is not asked for.
"""


class HashPicker:
    """The fields of a Lookup out of HGETALL replies, the fastest way that fits.

    1. The names in the places where they were the last time: one `itemgetter`. All views of an entity are usually
       written in one order for all entities.
    2. The views in another order, but each with its own fields in the same order: block by block.
    3. By name.
    """

    __slots__ = (
        *("_absent", "_arrange", "_asked", "_blocks", "_complete", "_fields", "_first", "_misses", "_names", "_pick"),
    )

    LEARN_EVERY = 64
    """Replies picked by name between two that are learned from: orders may have changed, or be all different."""

    def __init__(self, fields: Sequence[bytes]) -> None:
        self._fields = tuple(fields)
        self._absent = (None,) * len(fields)
        self._first = b""
        self._names: list[bytes] = []
        self._pick: MakeRow = self._picker([])
        """The names at the remembered places of the fields, then the values that follow them."""
        self._complete = False
        """Whether the remembered order had all fields. If not, only the whole order tells that some are absent."""
        self._blocks: dict[bytes, _Block] = {}
        self._asked = 0
        """How many of the blocks hold fields of ours."""
        self._misses = 0
        self._arrange: Callable[[list[bytes | None]], Row] = list

    def __call__(self, reply: list[Any]) -> Row:
        """The values in the order of the fields; None for those that are not there."""
        if not reply:
            return self._absent
        if reply[0] == self._first:  # else there is no need to look further
            if self._complete:
                try:
                    picked = self._pick(reply)
                except IndexError:
                    picked = ()
                # A name stands once in a hash: what follows it there is its value, whatever else there is.
                asked = len(self._fields)
                if picked[:asked] == self._fields:
                    return picked[asked:]
            elif reply[::2] == self._names:
                reply.append(None)  # at -1, for the fields that are not there
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
        blocks = self._blocks
        parts: list[list[bytes | None]] = [[]] * self._asked
        place, end, found = 0, len(reply), 0
        while place < end:
            block = blocks.get(reply[place])
            if block is None:
                return None
            width, names, part = block
            if part >= 0:
                if reply[place : place + width : 2] != names:
                    return None
                parts[part] = reply[place + 1 : place + width : 2]
                found += 1
            place += width
        if found < self._asked:
            # Not there, or stepped over: a block that we do not look into may have been shorter than it was.
            return None
        return self._arrange(list(chain.from_iterable(parts)))

    def _learn(self, names: list[bytes]) -> None:
        """Remember this order, and where its views begin and end."""
        if len(names) > LISTPACK_ENTRIES:
            return  # nobody's usual hash, and too much to remember
        self._first, self._names, self._pick = names[0], names, self._picker(names)
        self._complete = set(self._fields).issubset(names)
        starts = [place for place, name in enumerate(names) if name.startswith(b"_ts:")]
        if not starts or starts[0] != 0:
            return
        blocks = [names[start:end] for start, end in zip(starts, [*starts[1:], len(names)], strict=True)]
        asked = [block for block in blocks if not set(block).isdisjoint(self._fields)]
        held = list(chain.from_iterable(asked))
        if not set(self._fields).issubset(held) or len(held) < 2:
            return  # a view is missing here: not a hash to learn all blocks from
        self._blocks = {
            block[0]: (2 * len(block), block, asked.index(block) if block in asked else -1) for block in blocks
        }
        self._asked = len(asked)
        places = {name: place for place, name in enumerate(held)}
        self._arrange = itemgetter(*(places[field] for field in self._fields))

    def _picker(self, names: list[bytes]) -> MakeRow:
        places = {name: 2 * place for place, name in enumerate(names)}
        found = [places.get(field, -2) for field in self._fields]
        return itemgetter(*found, *(place + 1 for place in found))
