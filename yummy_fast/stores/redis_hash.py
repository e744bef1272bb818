"""Reading a hash that Feast wrote: which command, HMGET or HGETALL, and how its reply becomes a row.

HMGET answers with the values, in the order in which their fields were asked for: the reply is the row. HGETALL answers
with names and values of the whole hash, in the order in which Redis keeps them, and a Picker picks the fields out.

Up to hash-max-listpack-entries (512) fields, Redis keeps a hash as one list: HMGET walks it once per field asked for,
HGETALL once in all. So HGETALL is cheaper from a certain number of fields asked for, nearly whatever the hash holds;
perf/experiments/hmget_or_hgetall.py has the numbers. A longer hash, or one with a value over 64 bytes, is a hash table
in Redis, where HMGET is cheap and HGETALL sends everything. The types in the registry say whether values can be that
long; where they can, the Picker says what was the longest that came, and a long value changes the command to HMGET.

This file does no I/O: `redis` sends the commands and receives the replies. It is not pure, though: it logs a change of
the command.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, Lookup
from yummy_fast.native.owner import Picker
from yummy_fast.stores.resp import CommandTemplate

logger = logging.getLogger("yummy_fast")

LISTPACK_ENTRIES = 512
"""hash-max-listpack-entries, by default."""
LISTPACK_VALUE_BYTES = 64
"""hash-max-listpack-value, by default."""
HGETALL_FROM_FIELDS = 24
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


class HashReader:
    """How one Lookup is read: its command, and the Picker that makes a row of a reply."""

    __slots__ = (
        "__weakref__",
        "_fields",
        "_hash_fields",
        "_key_suffix",
        "command",
        "may_change",
        "name",
        "picker",
        "shape",
        "views",
    )

    def __init__(self, lookup: Lookup, read: str, key_suffix: bytes) -> None:
        """`read` is hmget, hgetall or auto; `key_suffix` ends every key."""
        self._fields = [feature_field(feature.view, feature.name) for feature in lookup.features]
        self._fields += map(timestamp_field, lookup.views)
        self._hash_fields = max(lookup.holds.fields, len(self._fields))
        self._key_suffix = key_suffix
        self.views = len(lookup.views)
        """How many times of views end a row."""
        self.shape = shape_of(self._fields) if lookup.features else b""
        """Equal for readers whose rows are; empty if there are but times in them: what is read before a write."""
        self.name = ""
        """hmget or hgetall."""
        self._use(choose_command(lookup) if read == "auto" else read)
        may_be_long = not _SHORT_TYPES.issuperset(lookup.holds.types)
        self.may_change = read == "auto" and self.name == "hgetall" and may_be_long
        """Whether `check_lengths` may change the command."""

    def _use(self, name: str) -> None:
        self.name = name
        if name == "hgetall":
            self.command = CommandTemplate(b"HGETALL", (), self._key_suffix)
        else:
            self.command = CommandTemplate(b"HMGET", self._fields, self._key_suffix)
        self.picker = Picker(self._fields, name == "hgetall")

    def __str__(self) -> str:
        return f"{self.name.upper()} {len(self._fields)} of {self._hash_fields}"

    def check_lengths(self) -> None:
        """Change the command to HMGET if a reply had a long value: that hash is a table in Redis.

        Replies to HGETALL that are still due keep their Picker.
        """
        if self.may_change and self.picker.longest > LISTPACK_VALUE_BYTES:
            self.may_change = False
            self._use("hmget")
            logger.info("values over %d bytes: reading with %s instead of HGETALL", LISTPACK_VALUE_BYTES, self)


def shape_of(fields: Sequence[bytes]) -> bytes:
    """A name for a row of these fields."""
    return blake2b(b"".join(b"%d:%b" % (len(field), field) for field in fields), digest_size=16).digest()


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
