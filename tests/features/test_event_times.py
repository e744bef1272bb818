"""Times of a push, and the Timestamps that Feast stores for them."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.errors import RequestError
from yummy_fast.features.event_times import parse_times


def stored(text: str) -> str:
    (moment,) = parse_times("t", [text])
    return moment.stored.hex()


TAKEN_BY_FEAST = (
    "20260301T100000Z",
    "20260301 10:00",
    "2026-03-01T1000",
    "2026-03-01t10",
    "2026-03-01T10:00:00 Z",
    "2026-03-01 11:00:00 +0100",
    "2026-03-01T05-05",
    "2026-03-01T10:00:00-00:00",
)
"""Ways to write one moment, all of which `pandas.to_datetime` of Feast 0.67 reads so."""
REFUSED_BY_FEAST = (
    "2026-03-01x10:00:00",
    "2026-03-01_10:00:00",
    "2026-03-01é10:00:00",
    "2026-03-01010:00:00",
    "2026-W09-7",
    "2026W097T10:00:00",
    "2026-03-01T10:00:00+01:00:30",
    "2026-03-01T10:00:00x+01:00",
    "2026-03-01T10.5",
)
"""What `datetime.fromisoformat` of Python 3.11 reads, and `pandas.to_datetime` does not."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T10:00:00Z", "08a09c90cd06"),  # this and the next two as Feast has stored them
        ("1970-01-01T00:00:00", ""),
        ("2026-03-01T10:00:00", "08a09c90cd06"),
        ("2026-03-01 11:00:00+01:00", "08a09c90cd06"),
        ("2026-03-01", Timestamp(seconds=1772323200).SerializeToString().hex()),
        ("2026-03-01T10:00:00.123456789", Timestamp(seconds=1772359200, nanos=123456000).SerializeToString().hex()),
        *((text, "08a09c90cd06") for text in TAKEN_BY_FEAST),
        ("1969-12-31T23:59:59.5", Timestamp(seconds=-1, nanos=500000000).SerializeToString().hex()),
    ],
)
def test_a_time_is_stored_as_feast_does(text: str, expected: str) -> None:
    assert stored(text) == expected


def test_each_time_is_read_by_itself() -> None:
    same = ["2026-03-01T10:00:00Z", "2026-03-01 11:00:00+01:00", "2026-03-01T10:00:00.000"]
    assert len(set(parse_times("t", same))) == 1


def test_nanoseconds_are_those_of_the_stored_timestamp() -> None:
    for text in ("1969-12-31T23:59:59.5", "2026-03-01T10:00:00.123456", "0001-01-01", "9999-12-31T23:59:59"):
        (moment,) = parse_times("t", [text])
        timestamp = Timestamp.FromString(moment.stored)
        assert moment.nanos == timestamp.seconds * 10**9 + timestamp.nanos


@pytest.mark.parametrize("value", [None, 1767225600, 1.5, True, "", "garbage", "March 1, 2026", [], "2026-13-01"])
def test_what_is_no_time_is_refused_with_its_row(value: object) -> None:
    with pytest.raises(RequestError, match=r"^df\.t\[4\]: expected a time as ISO 8601"):
        parse_times("t", ["2026-03-01", value], 3)


@pytest.mark.parametrize("text", REFUSED_BY_FEAST)
def test_what_feast_refuses_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"^df\.t\[0\]: expected a time as ISO 8601"):
        parse_times("t", [text])


def test_a_fraction_of_a_minute_is_refused() -> None:
    """ISO 8601 and Feast have half a minute in it, and Python half a second."""
    with pytest.raises(RequestError, match=r"^df\.t\[0\]: expected a time as ISO 8601"):
        parse_times("t", ["2026-03-01T10:00.5Z"])


def test_a_time_that_no_year_has() -> None:
    with pytest.raises(RequestError, match=r"^df\.t\[0\]"):
        parse_times("t", ["0001-01-01T00:00:00+10:00"])
