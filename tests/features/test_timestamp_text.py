"""Stored timestamps as text, by Feast's recorded answers, and what of it is remembered.

Feast makes the text in feast/feature_server_utils.py _timestamp_to_str (Feast 0.67.0).
"""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.errors import CorruptValueError
from yummy_fast.features.timestamp_text import (
    MAX_KNOWN_TIMESTAMPS,
    MAX_TIMESTAMP_BYTES,
    TimestampMemo,
    TimestampTexts,
)

EPOCH = b'"1970-01-01T00:00:00Z"'


def stamp(seconds: int = 0, nanos: int = 0) -> bytes:
    return Timestamp(seconds=seconds, nanos=nanos).SerializeToString()


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (bytes.fromhex("08bbf08dd80610c0a9d33a"), b'"2026-11-22T23:18:19.123Z"'),  # recorded
        (None, EPOCH),
        (b"", EPOCH),
        (stamp(), EPOCH),
        (stamp(1_700_000_000), b'"2023-11-14T22:13:20Z"'),
        (stamp(1_700_000_000, 500_000_000), b'"2023-11-14T22:13:20.500Z"'),
        (stamp(1_700_000_000, 123_456_000), b'"2023-11-14T22:13:20.123456Z"'),
        (stamp(1_700_000_000, 1_000), b'"2023-11-14T22:13:20.000001Z"'),
        (stamp(1_700_000_000, 1_000_000), b'"2023-11-14T22:13:20.001Z"'),
        (stamp(-1), b'"1969-12-31T23:59:59Z"'),
    ],
)
def test_a_fraction_has_no_three_or_six_digits(stored: bytes | None, text: bytes) -> None:
    texts = TimestampTexts()
    for _ in range(10):  # new, remembered or beside others
        assert texts.joined([stored]) == text
        assert texts.joined([stored, None, stored]) == b",".join([text, EPOCH, text])


def test_a_known_timestamp_does_not_hide_a_corrupt_one() -> None:
    texts = TimestampTexts()
    good = stamp(7)
    for _ in range(9):
        assert texts.joined([good, good]) == b'"1970-01-01T00:00:07Z","1970-01-01T00:00:07Z"'
    for stored in ([good, b"\x08"], [b"\x08", good]):
        with pytest.raises(CorruptValueError, match="not a timestamp"):
            texts.joined(stored)


# --------------------------------------------------------------------------------------------------- what is remembered


def test_of_eight_times_one_is_remembered() -> None:
    memo = TimestampMemo()
    assert [memo.is_due() for _ in range(17)] == [True, *[False] * 7] * 2 + [True]


def test_a_memo_is_bounded() -> None:
    memo = TimestampMemo()
    stamps = [stamp(second) for second in range(3 * MAX_KNOWN_TIMESTAMPS)]
    for first in range(0, len(stamps), 10):
        some = stamps[first : first + 10]
        memo.remember(some, some)
        assert memo.texts[some[-1]] == some[-1]
        assert len(memo.texts) <= MAX_KNOWN_TIMESTAMPS


def test_a_long_column_of_different_timestamps_does_not_replace_what_is_known() -> None:
    memo = TimestampMemo()
    memo.remember([None], [EPOCH])
    stamps = [stamp(second) for second in range(MAX_KNOWN_TIMESTAMPS // 2 + 1)]
    memo.remember(stamps, stamps)
    assert memo.texts == {None: EPOCH}
    memo.remember(stamps[1:] * 2, stamps[1:] * 2)  # so many different ones are taken in, however often they come
    assert len(memo.texts) == 1 + len(stamps[1:])


def test_long_bytes_are_not_remembered() -> None:
    """A Timestamp may have fields of somebody else's, of any length."""
    foreign = stamp(7) + b"\x1a\xff\x01" + bytes(255)
    texts = TimestampTexts()
    for _ in range(9):
        assert texts.joined([foreign, None]) == b'"1970-01-01T00:00:07Z",' + EPOCH
    assert texts._memo.texts == {}
    longest = stamp(-1, 999_999_999)
    assert len(longest) <= MAX_TIMESTAMP_BYTES
    memo = TimestampMemo()
    memo.remember([longest], [EPOCH])
    assert memo.texts == {longest: EPOCH}


def test_two_memos_know_nothing_of_each_other() -> None:
    one, other = TimestampTexts(), TimestampTexts()
    one.joined([stamp(7)])
    assert stamp(7) in one._memo.texts
    assert other._memo.texts == {}
