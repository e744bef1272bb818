"""The times in a push: ISO 8601 in, a moment out. A time without a zone is UTC, as everywhere in Feast.

    2026-03-01T10:00:00          a date and a time
    2026-03-01 11:00:00+01:00    the same moment
    2026-03-01T10:00:00.5Z       half a second later; digits beyond microseconds are cut off, as Feast cuts them
    2026-03-01                   midnight

Each time is read by itself. In Feast, pandas expects all times of a column in the form of the first one, and reads
further forms ("March 1, 2026"), which are refused here: their meaning depends on the program that reads them. A number
is refused as well, since Feast reads it as nanoseconds and nearly everybody who sends one means seconds.

`datetime.fromisoformat` alone would take more (Python 3.11): any character as the separator, weeks, and seconds of an
offset, which Feast refuses, and "10:00.5" as half a second after ten, where ISO 8601 and Feast have half a minute.
These are refused. A space before the zone is no ISO 8601, but Feast takes it.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from yummy_fast.errors import RequestError
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.features.entities import shown

_is_time = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})"
    r"(?:[Tt ][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)? ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
).fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(NamedTuple):
    """A point in time, in the forms in which it is needed."""

    nanos: int
    """Nanoseconds since the epoch."""
    stored: bytes
    """A serialised google.protobuf.Timestamp."""


def parse_time(text: str) -> datetime:
    """A time in UTC. Raises ValueError, OverflowError."""
    if not _is_time(text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def moment_of(time: datetime) -> Moment:
    """`time`, which has a zone, as a Moment."""
    since = time - _EPOCH
    seconds, nanos = since.days * 86_400 + since.seconds, since.microseconds * 1000
    return Moment(seconds * 1_000_000_000 + nanos, encode_timestamp(seconds, nanos))


def parse_times(name: str, values: Sequence[Any], start: int = 0) -> list[Moment]:
    """A column of times. Raises RequestError. `start` is the row of the first value."""
    known: dict[Any, Moment] = {}
    moments = []
    for row, value in enumerate(values, start):
        moment = known.get(value) if type(value) is str else None
        if moment is None:
            try:
                moment = known[value] = moment_of(parse_time(value))
            except (TypeError, ValueError, OverflowError):
                raise RequestError(
                    f"df.{name}[{row}]: expected a time as ISO 8601, such as 2026-03-01T10:00:00Z, got {shown(value)}"
                ) from None
        moments.append(moment)
    return moments
