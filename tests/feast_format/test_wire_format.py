"""Protobuf's wire format: the examples of its documentation (Encoding), and whatever protobuf's own encoder writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.wire_format import BLOCK, FIXED32, FIXED64, LOW_64_BITS, VARINT, block, field_tag, varint


def test_the_examples_of_the_documentation() -> None:
    assert field_tag(1, VARINT) + varint(150) == bytes.fromhex("089601")
    assert block(field_tag(2, BLOCK), b"testing") == bytes.fromhex("120774657374696e67")
    assert varint(-2 & LOW_64_BITS) == bytes.fromhex("feffffffffffffffff01")


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001"), (LOW_64_BITS, "ff" * 9 + "01")],
)
def test_a_byte_of_a_varint_has_seven_bits(number: int, expected: str) -> None:
    assert varint(number).hex() == expected


@pytest.mark.parametrize(
    ("wire_type", "stored"),
    [
        (VARINT, Value(int64_val=7)),
        (FIXED64, Value(double_val=1.5)),
        (BLOCK, Value(string_val="x")),
        (FIXED32, Value(float_val=1.5)),
        (BLOCK, Value(float_list_val={"val": [1.5]})),  # field 16: the first whose tag has two bytes
    ],
)
def test_tags_are_those_that_protobuf_writes(wire_type: int, stored: Value) -> None:
    (descriptor, _), *_ = stored.ListFields()
    assert stored.SerializeToString().startswith(field_tag(descriptor.number, wire_type))


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_varints_are_those_that_protobuf_writes(number: int) -> None:
    written = field_tag(Value.DESCRIPTOR.fields_by_name["int64_val"].number, VARINT) + varint(number & LOW_64_BITS)
    assert written == Value(int64_val=number).SerializeToString()


@given(st.binary(max_size=300))
def test_blocks_are_those_that_protobuf_writes(content: bytes) -> None:
    tag = field_tag(Value.DESCRIPTOR.fields_by_name["bytes_val"].number, BLOCK)
    assert block(tag, content) == Value(bytes_val=content).SerializeToString()
