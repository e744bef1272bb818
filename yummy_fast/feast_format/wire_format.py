"""Protobuf's wire format: the bytes of one field, written without a message.

For writers that know the field and what is in it. A field is a tag (its number, and how the bytes behind it are to be
read), and then those bytes. The int64 300 as field 4, and the text "hi" as field 2:

    20 ac 02            20 is 4 << 3 | VARINT    300 in bytes of seven bits, the lowest first: 0x2c | 0x80, 0x02
    12 02 68 69         12 is 2 << 3 | BLOCK     the length, 2, and so many bytes

Facts of protobuf: protobuf.dev/programming-guides/encoding. It must not know Feast's messages: which field means what
is in `values` and, for what is written, in `features.stored_values`.
"""

from __future__ import annotations

VARINT, FIXED64, BLOCK, FIXED32 = 0, 1, 2, 5
"""The wire types: how the bytes behind a tag are to be read."""
LOW_64_BITS = (1 << 64) - 1
"""A negative number is written as the unsigned one with the same 64 bits: `varint(-1 & LOW_64_BITS)`."""
ONE_BYTE = tuple(bytes((number,)) for number in range(256))
"""The numbers below 0x80 as varints, and further bytes."""


def varint(number: int) -> bytes:
    """An unsigned number as protobuf writes it: seven bits a byte, the lowest first."""
    if number < 0x80:
        return ONE_BYTE[number]
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def field_tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def block(tag: bytes, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return tag + varint(len(content)) + content
