"""Feast's stored event timestamps: google.protobuf.Timestamp in, and out for stores that keep them otherwise."""

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

    Its seconds go through a float and a datetime of microseconds, as in Feast's Redis store: the last digits follow.
    """
    if not stored:
        return _EPOCH
    try:
        timestamp = Timestamp.FromString(stored)
        return datetime.fromtimestamp(timestamp.seconds + timestamp.nanos / 1_000_000_000.0, tz=UTC)
    except (DecodeError, ValueError, OverflowError, OSError):
        raise CorruptValueError(f"{len(stored)} bytes that are no timestamp") from None


def decode_timestamps(stored: Sequence[bytes | None]) -> list[datetime]:
    """As `decode_timestamp` for many, at once where they are all alike."""
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


def encode_timestamp(seconds: int) -> bytes:
    """A moment as a store of ours hands it on: a serialised google.protobuf.Timestamp, of whole seconds."""
    return Timestamp(seconds=seconds).SerializeToString()
