"""The status of each cell of an answer: PRESENT, NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE or INVALID.

Feast 0.67.0 says PRESENT of a stored null too, never looks at the ttl of a view, and on Redis takes what is absent for
a null (feast/utils.py and feast/infra/online_stores/redis.py). Whether the statuses are those that Feast would answer
on this store, or those that are true (`--compat strict`), is a StatusPolicy: one is the server's, and a request may ask
for another (X-Feast-Compat).

Pure. `vectors`, `large_answers` and native/body.c write the text around the statuses. body.c, which knows those of
stored values that are nothing unusual, has to say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamp, decode_timestamps
from yummy_fast.feast_format.values import decode_value, is_of_unknown_type
from yummy_fast.features.plan import Lookup, Row


class StatusPolicy(Enum):
    """Which statuses the cells of an answer have."""

    PRESENT = "present"
    """All are PRESENT: Feast on a store in which an absent value looks like a null (Redis)."""
    MISSING_AWARE = "missing_aware"
    """NOT_FOUND for an absent value, else PRESENT: Feast on a store that distinguishes it from a null (SQLite)."""
    EXACT = "exact"
    """NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE where they hold, and INVALID for what is corrupt: --compat strict."""


def status_policy(compat: str, *, absent_is_present: bool) -> StatusPolicy:
    """What --compat and X-Feast-Compat, each feast or strict, mean on a store with this `absent_is_present`."""
    if compat == "strict":
        return StatusPolicy.EXACT
    return StatusPolicy.PRESENT if absent_is_present else StatusPolicy.MISSING_AWARE


PRESENT = b'"PRESENT"'
NOT_FOUND = b'"NOT_FOUND"'
NULL_VALUE = b'"NULL_VALUE"'
OUTSIDE_MAX_AGE = b'"OUTSIDE_MAX_AGE"'
INVALID = b'"INVALID"'

NO_MOMENT = datetime.min.replace(tzinfo=UTC)
"""Stands for the time of a request where no policy asks for ages."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FAR_US = 1 << 60

_LONGEST_TTL_S = timedelta.max.total_seconds() - 1
"""A registry can hold a longer ttl than a timedelta. It means "for ever" all the same."""


def microseconds_of(moment: datetime) -> int:
    """Since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


class LookupStatuses:
    """The statuses of one Lookup's cells."""

    __slots__ = ("_expires", "_ttls", "policy", "view_of")

    def __init__(self, lookup: Lookup, policy: StatusPolicy) -> None:
        self.policy = policy
        self.view_of = lookup.view_of
        self._ttls = [timedelta(seconds=min(ttl_s, _LONGEST_TTL_S)) if ttl_s else None for ttl_s in lookup.ttls_s]
        self._expires = policy is StatusPolicy.EXACT and any(self._ttls)

    @property
    def ttls_us(self) -> list[int]:
        """The ttl of each view in microseconds; 0 for none, and for one that no two times can be apart."""
        microseconds = [0 if ttl is None else ttl // _MICROSECOND for ttl in self._ttls]
        return [one if -_FAR_US < one < _FAR_US else 0 for one in microseconds]

    def all_fresh(self, stamps: Sequence[bytes | None], now: datetime) -> bool:
        """Whether no view's values are too old. Raises CorruptValueError for a timestamp that does not decode."""
        return not self._expires or OUTSIDE_MAX_AGE not in self.of_values(decode_timestamps(stamps), now)

    def of_values(self, moments: Sequence[datetime], now: datetime) -> list[bytes]:
        """For each view, the status of its values that are there, by the event timestamps of a row."""
        if self.policy is not StatusPolicy.EXACT:
            return [PRESENT] * len(moments)
        return [
            OUTSIDE_MAX_AGE if ttl is not None and now - moment > ttl else PRESENT
            for moment, ttl in zip(moments, self._ttls, strict=True)
        ]

    def of_cell(self, stored: bytes | None, value: Any, of_value: bytes) -> bytes:
        """The status of one cell: `of_value` if there is a value. `value` is what `stored` was decoded to."""
        if stored is None:
            return NOT_FOUND
        if value is None:
            if stored is CORRUPT:
                return INVALID
            if self.policy is not StatusPolicy.EXACT:
                return PRESENT
            return INVALID if stored and is_of_unknown_type(stored) else NULL_VALUE
        return of_value

    def mark_corrupt(self, row: Row) -> Row:
        """`row` with CORRUPT for each Value that does not decode, and for each that is there of a view whose event
        timestamp does not: it cannot be said whether these are too old.
        """
        width = len(self.view_of)
        marked = [stored if _decodes(decode_value, stored) else CORRUPT for stored in row[:width]]
        marked, stamps = self.mark_corrupt_views(marked, row[width:])
        return [*marked, *stamps]

    def mark_corrupt_views(
        self, values: Sequence[bytes | None], stamps: Sequence[bytes | None]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """The second half of `mark_corrupt`: the values and event timestamps of a row, without decoding the values."""
        marked, kept = list(values), list(stamps)
        for view, stamp in enumerate(stamps):
            if not _decodes(decode_timestamp, stamp):
                kept[view] = None
                marked = [
                    CORRUPT if stored and of == view else stored
                    for of, stored in zip(self.view_of, marked, strict=True)
                ]
        return marked, kept


class _CorruptBytes(bytes):
    """Empty bytes, which decode like a stored null, but are another object than b""."""


CORRUPT = _CorruptBytes()
"""Stands in a row for stored bytes that do not decode."""


def _decodes(decode: Callable[[bytes | None], object], stored: bytes | None) -> bool:
    try:
        decode(stored)
    except CorruptValueError:
        return False
    return True
