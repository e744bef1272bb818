"""Stored event timestamps, as Feast 0.67.0 reads them. More in property/test_timestamps.py.

It reads them in feast/infra/online_stores/redis.py, and writes them as text in feast/feature_server_utils.py.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamp, decode_timestamps, encode_timestamp, total_nanos


@pytest.mark.parametrize(
    ("seconds", "nanos", "moment"),
    [
        (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_700_000_000, 0, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000, 123_456_000, datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)),
        (1_700_000_000, 1_000, datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)),
        (
            1_700_000_000,
            123_456_789,
            datetime(2023, 11, 14, 22, 13, 20, 123_457, tzinfo=UTC),
        ),  # Redis' rule: through a float
        (-1, 0, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253_402_300_799, 0, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_timestamps_have_microseconds(seconds: int, nanos: int, moment: datetime) -> None:
    stored = Timestamp(seconds=seconds, nanos=nanos).SerializeToString()
    assert decode_timestamp(stored) == moment
    assert decode_timestamps([stored, stored, stored]) == [moment] * 3


def test_timestamps_of_all_kinds_are_decoded_side_by_side() -> None:
    stored = [
        Timestamp(seconds=1_700_000_000).SerializeToString(),
        Timestamp(seconds=1_700_000_000, nanos=500_000_000).SerializeToString(),
        None,
        b"",
        Timestamp(seconds=-1, nanos=1).SerializeToString(),
    ]
    assert decode_timestamps(stored) == [decode_timestamp(one) for one in stored]


@pytest.mark.parametrize("stored", [b"\xff", b"\x08", Timestamp(seconds=2**62).SerializeToString()])
def test_bytes_that_are_no_timestamp_raise(stored: bytes) -> None:
    with pytest.raises(CorruptValueError, match="not a timestamp"):
        decode_timestamp(stored)
    with pytest.raises(CorruptValueError, match="not a timestamp"):
        decode_timestamps([Timestamp(seconds=1).SerializeToString(), stored])


@pytest.mark.parametrize("absent", [None, b""])
def test_an_absent_timestamp_is_the_epoch(absent: bytes | None) -> None:
    assert decode_timestamp(absent) == datetime(1970, 1, 1, tzinfo=UTC)
    assert decode_timestamps([absent]) == [datetime(1970, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("seconds", [0, 1, -1, 1_700_000_000])
def test_a_timestamp_written_is_read_again(seconds: int) -> None:
    stored = encode_timestamp(seconds)
    assert Timestamp.FromString(stored) == Timestamp(seconds=seconds)
    assert decode_timestamp(stored) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (0, 1), (1_700_000_000, 123_456_789), (-1, 500_000_000)])
def test_all_nanoseconds_of_a_stored_timestamp(seconds: int, nanos: int) -> None:
    """Whatever a datetime has no room for."""
    assert total_nanos(encode_timestamp(seconds, nanos)) == seconds * 10**9 + nanos


def test_no_timestamp_is_the_epoch_and_other_bytes_are_none() -> None:
    assert total_nanos(None) == total_nanos(b"") == 0
    with pytest.raises(CorruptValueError, match=r"^2 bytes that are not a timestamp$"):
        total_nanos(b"\x08\xff")
