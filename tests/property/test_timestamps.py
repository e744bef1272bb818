"""Event timestamps are decoded as by the second opinion, one by one and many at once."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tests.property import second_opinion
from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamp, decode_timestamps


@given(st.integers(-62_135_596_800 + 86_400 * 366_000, 253_402_300_798), st.integers(0, 999_999_999))
def test_a_timestamp(seconds: int, nanos: int) -> None:
    serialised = Timestamp(seconds=seconds, nanos=nanos).SerializeToString()
    assert decode_timestamp(serialised) == second_opinion.moment_of_stored(serialised)


moments = st.builds(
    lambda seconds, nanos: Timestamp(seconds=seconds, nanos=nanos).SerializeToString(),
    st.integers(-(2**33), 2**33),
    st.one_of(st.just(0), st.integers(0, 999_999_999), st.integers(0, 999_999).map(lambda micros: micros * 1000)),
)


@given(st.lists(st.one_of(moments, moments, st.none(), st.just(b"")), max_size=6))
def test_timestamps_decoded_at_once_are_those_decoded_alone(stored: list[bytes | None]) -> None:
    assert decode_timestamps(stored) == [second_opinion.moment_of_stored(one) for one in stored]


@given(st.binary(max_size=24))
def test_bytes_of_any_kind_are_a_timestamp_or_raise_what_is_documented(data: bytes) -> None:
    try:
        moment = decode_timestamp(data)
    except CorruptValueError:
        return
    assert moment == second_opinion.moment_of_stored(data)
