"""Feast's entity keys and field names out: the bytes under which a row and its features are stored.

Facts of Feast 0.67.0's format: feast/infra/key_encoding_utils.py (entity keys),
feast/infra/online_stores/helpers.py (field hashes).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import mmh3

from yummy_fast.feast_format.values import ValueType

_STRING_TAG = struct.pack("<I", ValueType.STRING)

KEY_TYPES = frozenset((ValueType.BYTES, ValueType.STRING, ValueType.INT32, ValueType.INT64, ValueType.UNIX_TIMESTAMP))
"""The types that can be part of an entity key."""


def entity_key_header(join_keys: Sequence[str], version: int) -> bytes:
    """The part of an entity key that names the join keys, which must be sorted. It precedes all values.

    `version` is entity_key_serialization_version: 3 counts the keys and gives each its length, older ones do neither.
    """
    parts = [struct.pack("<I", len(join_keys))] if version > 2 else []
    for join_key in join_keys:
        name = join_key.encode()
        parts += (_STRING_TAG, struct.pack("<I", len(name)), name) if version > 2 else (_STRING_TAG, name)
    return b"".join(parts)


def key_value_encoder(value_type: ValueType, version: int) -> Callable[[Any], bytes]:
    """How one value of `value_type` stands in an entity key: type, length and bytes, integers little-endian.

    The returned function takes what `entities` makes of a request's value. Raises KeyError for a type outside
    KEY_TYPES; the function raises struct.error where an int64 does not fit version 1's four bytes.
    """
    if value_type is ValueType.INT64 and version < 2:
        pack = struct.Struct("<IIi").pack
        return lambda value: pack(ValueType.INT64, 4, value)
    return _KEY_VALUE_ENCODERS[value_type]


def _integer_encoder(value_type: ValueType, code: str, size: int) -> Callable[[int], bytes]:
    head = struct.pack("<II", value_type, size)
    pack = struct.Struct("<" + code).pack
    return lambda value: head + pack(value)


def _text_encoder(value_type: ValueType) -> Callable[[str], bytes]:
    pack = struct.Struct("<II").pack

    def encode(value: str) -> bytes:
        text = value.encode()
        return pack(value_type, len(text)) + text

    return encode


_KEY_VALUE_ENCODERS: dict[ValueType, Callable[[Any], bytes]] = {
    ValueType.INT32: _integer_encoder(ValueType.INT32, "i", 4),
    ValueType.INT64: _integer_encoder(ValueType.INT64, "q", 8),
    ValueType.UNIX_TIMESTAMP: _integer_encoder(ValueType.UNIX_TIMESTAMP, "q", 8),
    ValueType.STRING: _text_encoder(ValueType.STRING),
    # JSON has no bytes: `entities` refuses them, so no request comes this far. Data is written with them all the same.
    ValueType.BYTES: lambda value: struct.pack("<II", ValueType.BYTES, len(value)) + value,
}


def feature_field(view: str, feature: str) -> bytes:
    """The name of a feature's field in the Redis hash of an entity: murmur3_32 of "view:feature", little-endian."""
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def timestamp_field(view: str) -> bytes:
    """The name of the field that holds when a view's row happened."""
    return b"_ts:" + view.encode()
