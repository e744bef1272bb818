"""Feast's entity keys and field names: the bytes under which an online store keeps a row and its features.

An entity key in version 3 of the format, Feast's default. This one is of driver_id = 1001, an INT64; every integer is
little-endian:

    01000000                                  the number of join keys: 1
    02000000 09000000 6472697665725f6964      the name of the join key: STRING, 9 bytes, "driver_id"
    04000000 08000000 e903000000000000        its value: INT64, 8 bytes, 1001

Of several join keys all names come first, sorted, and then all values in the order of the names. Version 2 has neither
the count nor the lengths of the names; version 1 moreover packs an INT64 into four bytes.

Everything before the first value depends on the join keys alone. So `compile_key` writes that part once, and the
function that it returns only appends values. The facts are of Feast 0.67.0: feast/infra/key_encoding_utils.py (entity
keys) and feast/infra/online_stores/helpers.py (field hashes). This file must not know plans or requests: an error here
names a column, and the caller adds where the column comes from.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import mmh3

from yummy_fast.feast_format.values import ValueType

KEY_TYPES = frozenset((ValueType.BYTES, ValueType.STRING, ValueType.INT32, ValueType.INT64, ValueType.UNIX_TIMESTAMP))
"""The types that can be part of an entity key."""

MakeKeys = Callable[[Mapping[str, Sequence[Any]], int], list[bytes]]
"""Makes the entity keys of a request: from its columns by name, and its number of rows, one key for each row.

The columns hold what `features.entities` converts JSON values to. Raises KeyValueError.
"""


class KeyPart(NamedTuple):
    """One join key of an entity key, and the column that its values come from."""

    join_key: str
    column: str
    type: ValueType
    """The declared type; UNKNOWN if there is none, and then the first value decides, as in Feast."""


class KeyValueError(Exception):
    """The values of a column cannot be part of an entity key. The message says why, and does not name the column."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


class NullKeyValueError(KeyValueError):
    """A value is null, or was converted to null."""

    def __init__(self, column: str, row: int) -> None:
        super().__init__(column, "a null cannot be part of an entity key")
        self.row = row


def not_a_key_type(kind: str) -> str:
    """The complaint about a column of another type than KEY_TYPES."""
    expected = ", ".join(sorted(key_type.name for key_type in KEY_TYPES))
    return f"values of type {kind} cannot be part of an entity key; expected one of {expected}"


# -------------------------------------------------------------------------------------------------------- compiled keys


def constant_key(join_key: str, value: str, version: int) -> MakeKeys:
    """The key of a view without entities: the same for each row. `value` is text."""
    key = entity_key_header([join_key], version) + key_value_encoder(ValueType.STRING, version)(value)
    return lambda columns, rows: [key] * rows


def compile_key(parts: Sequence[KeyPart], version: int) -> MakeKeys:
    """What makes the entity keys of these join keys, of which there is at least one.

    `version` is entity_key_serialization_version.
    """
    ordered = sorted(parts)
    header = entity_key_header([part.join_key for part in ordered], version)
    if len(ordered) > 1:
        return _composite_key(header, ordered, version)
    single = _single_key(header, ordered[0], version)
    if ordered[0].type is ValueType.INT64 and version > 1:
        return _integer_key(header, ordered[0], single)
    return single


def _integer_key(header: bytes, part: KeyPart, single: MakeKeys) -> MakeKeys:
    """The usual key, at half the price of `single`: type and length of the value are the same for each row as well."""
    column = part.column
    head = header + struct.pack("<II", ValueType.INT64, 8)
    pack = struct.Struct("<q").pack

    def make_keys(columns: Mapping[str, Sequence[Any]], rows: int) -> list[bytes]:
        try:
            return [head + pack(value) for value in columns[column]]
        except struct.error:
            return single(columns, rows)  # there is a null among the values: this raises the error that says where

    return make_keys


def _single_key(header: bytes, part: KeyPart, version: int) -> MakeKeys:
    """A key of one value of any type."""
    encode = _column_encoder(part, version)
    column = part.column
    return lambda columns, rows: [header + value for value in encode(columns[column])]


def _composite_key(header: bytes, parts: Sequence[KeyPart], version: int) -> MakeKeys:
    """A key of several values."""
    encoders = [_column_encoder(part, version) for part in parts]
    names = [part.column for part in parts]

    def make_keys(columns: Mapping[str, Sequence[Any]], rows: int) -> list[bytes]:
        encoded = [encode(columns[name]) for name, encode in zip(names, encoders, strict=True)]
        return [header + b"".join(values) for values in zip(*encoded, strict=True)]

    return make_keys


def _column_encoder(part: KeyPart, version: int) -> Callable[[Sequence[Any]], list[bytes]]:
    """What encodes the values of a column, all of one type, as they stand in entity keys. Raises KeyValueError."""

    def encode(values: Sequence[Any]) -> list[bytes]:
        if None in values:
            raise NullKeyValueError(part.column, values.index(None))
        value_type = part.type or _INFERRED.get(type(values[0]), ValueType.UNKNOWN)
        if value_type not in KEY_TYPES:
            kind = part.type.name if part.type else type(values[0]).__name__
            raise KeyValueError(part.column, not_a_key_type(kind))
        try:
            return list(map(key_value_encoder(value_type, version), values))
        except (struct.error, UnicodeEncodeError):
            # An INT64 of more than version 1's four bytes; half of a surrogate pair, which JSON can carry.
            raise KeyValueError(part.column, f"a value does not fit an entity key of version {version}") from None

    return encode


_INFERRED: Mapping[type, ValueType] = {int: ValueType.INT64, str: ValueType.STRING}
"""The types that Feast gives to values of a column that no view declares, as far as they are KEY_TYPES."""


# ---------------------------------------------------------------------------------------------------------- their parts


def entity_key_header(join_keys: Sequence[str], version: int) -> bytes:
    """The part of an entity key that precedes its values: the names of the join keys, which must be sorted."""
    parts = [struct.pack("<I", len(join_keys))] if version > 2 else []
    for join_key in join_keys:
        name = join_key.encode()
        parts += (_STRING_TAG, struct.pack("<I", len(name)), name) if version > 2 else (_STRING_TAG, name)
    return b"".join(parts)


_STRING_TAG = struct.pack("<I", ValueType.STRING)


def key_value_encoder(value_type: ValueType, version: int) -> Callable[[Any], bytes]:
    """What encodes one value of `value_type`: its type, its length and its bytes.

    Raises KeyError for a type outside KEY_TYPES. The returned function raises struct.error for an INT64 that does not
    fit into version 1's four bytes.
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


_KEY_VALUE_ENCODERS: Mapping[ValueType, Callable[[Any], bytes]] = {
    ValueType.INT32: _integer_encoder(ValueType.INT32, "i", 4),
    ValueType.INT64: _integer_encoder(ValueType.INT64, "q", 8),
    ValueType.UNIX_TIMESTAMP: _integer_encoder(ValueType.UNIX_TIMESTAMP, "q", 8),
    ValueType.STRING: _text_encoder(ValueType.STRING),
    # No request has bytes, since JSON has none. But the keys of some stored rows do.
    ValueType.BYTES: lambda value: struct.pack("<II", ValueType.BYTES, len(value)) + value,
}


# ---------------------------------------------------------------------------------------------------------- field names


def feature_field(view: str, feature: str) -> bytes:
    """The name of a feature's field in the Redis hash of an entity: murmur3_32 of "view:feature", little-endian."""
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def timestamp_field(view: str) -> bytes:
    """The name of the field that holds the event timestamp of a view's row."""
    return b"_ts:" + view.encode()
