"""Feast's stored event timestamps: google.protobuf.Timestamp in, and out for stores that keep them in another form.

Many timestamps are decoded in one parse, for the reason that `values` gives: joined, they are one message with repeated
fields.

    08 bb f0 8d d8 06 10 c0 a9 d3 3a    Timestamp {seconds: 1795389499, nanos: 123000000}
    twice, joined and parsed            Timestamps {seconds: [1795389499, 1795389499], nanos: [123000000, 123000000]}

A timestamp of whole seconds has no nanos, so this holds if all of them have nanos or none has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import repeat
from operator import add, truediv
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto.value_pb2 import Timestamps

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_timestamp(stored: bytes | None) -> datetime:
    """A stored google.protobuf.Timestamp in UTC; absent and empty are the epoch. Raises CorruptValueError.

    The seconds become a float, and that a datetime of microseconds, because Feast's Redis store does so: the last
    digits have to be the same.
    """
    if not stored:
        return _EPOCH
    try:
        timestamp = Timestamp.FromString(stored)
        return datetime.fromtimestamp(timestamp.seconds + timestamp.nanos / 1_000_000_000.0, tz=UTC)
    except (DecodeError, ValueError, OverflowError, OSError):
        raise CorruptValueError(f"{len(stored)} bytes that are not a timestamp") from None


def decode_timestamps(stored: Sequence[bytes | None]) -> list[datetime]:
    """As `decode_timestamp`, for many: in one parse if it yields the right counts, else one by one."""
    try:
        message = Timestamps.FromString(b"".join(stored))  # type: ignore[arg-type]  # None raises
        seconds: Any = message.seconds[:]
        nanos = message.nanos[:]
        if len(seconds) == len(stored) and len(nanos) in (0, len(stored)):
            if nanos:
                seconds = map(add, seconds, map(truediv, nanos, repeat(1_000_000_000.0)))
            return list(map(datetime.fromtimestamp, seconds, repeat(UTC)))
    except (TypeError, DecodeError, ValueError, OverflowError, OSError):
        pass
    return list(map(decode_timestamp, stored))


def encode_timestamp(seconds: int, nanos: int = 0) -> bytes:
    """A serialised google.protobuf.Timestamp. `nanos` count forward in time, also before the epoch."""
    return Timestamp(seconds=seconds, nanos=nanos).SerializeToString()


def total_nanos(stored: bytes | None) -> int:
    """A stored timestamp in nanoseconds since the epoch; absent and empty are the epoch. Raises CorruptValueError."""
    if not stored:
        return 0
    try:
        timestamp = Timestamp.FromString(stored)
    except DecodeError:
        raise CorruptValueError(f"{len(stored)} bytes that are not a timestamp") from None
    return int(timestamp.seconds) * 1_000_000_000 + int(timestamp.nanos)
