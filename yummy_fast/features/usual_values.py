"""The short path for a push of one row: a single value to a stored Value, if it needs no conversion.

Most pushes are one row whose values have the declared types. For these, `stored_values.encode_column` does too much: it
looks through a column for nulls and for values to convert. Here, one function for each type makes the same bytes of one
value:

    INT64, 300     ->  20 ac 02
    INT64, 2**63   ->  the function raises; `encode_column` then decides whether the value is refused, and how
    INT64, "7"     ->  the function is not called: `usual_encoder` says which types it takes

If a value of the row is not encoded here, `writes` encodes the row with `encode_column`. Pure: it knows types, not
views.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from yummy_fast.feast_format.values import ValueType
from yummy_fast.feast_format.wire_format import (
    BLOCK,
    FIXED32,
    FIXED64,
    LOW_64_BITS,
    ONE_BYTE,
    VARINT,
    block,
    field_tag,
    varint,
)
from yummy_fast.features.stored_values import (
    FALSE,
    INTEGER_LIMITS,
    ITEM,
    ITEM_TYPES,
    PACKED,
    TRUE,
    MismatchError,
    Pack,
    distinct,
)


def usual_encoder(value_type: ValueType) -> tuple[frozenset[type], Callable[[Any], bytes]] | None:
    """The Python types that a function takes; and the function, which makes the stored Value of a single value.

    It makes what `encode_column` makes, in a third of the time. For a value that `encode_column` may refuse or convert
    it raises one of `stored_values.REFUSALS`. None for a rare `value_type`.
    """
    return _USUAL.get(value_type)


def _one_integer(value_type: ValueType) -> Callable[[Any], bytes]:
    tag = field_tag(value_type, VARINT)
    least, most = INTEGER_LIMITS[value_type]

    def encode(value: Any) -> bytes:
        if not least <= value <= most:
            raise MismatchError
        return tag + varint(value & LOW_64_BITS)

    return encode


def _one_fixed(tag: bytes, code: str) -> Callable[[Any], bytes]:
    pack = struct.Struct(f"<{code}").pack

    def encode(value: Any) -> bytes:
        if value != value:
            raise MismatchError  # NaN is stored as a null
        return tag + pack(value)

    return encode


def _one_text(tag: bytes) -> Callable[[Any], bytes]:
    return lambda value: block(tag, value.encode())


def _one_boolean(value: Any) -> bytes:
    return TRUE if value else FALSE


def _one_collection(value_type: ValueType, pack: Pack) -> Callable[[Any], bytes]:
    """A list or set of values, encoded as `stored_values` encodes a column of these."""
    tag = field_tag(value_type, BLOCK)
    kind, _, collection = value_type.name.rpartition("_")

    def encode(items: list[Any]) -> bytes:
        if not items:
            return tag + ONE_BYTE[0]
        if collection == "SET":
            items = distinct(items, pack)
        content = pack(items)(0, len(items))
        return block(tag, block(ITEM, content) if kind in PACKED else content)

    return encode


_USUAL: Mapping[ValueType, tuple[frozenset[type], Callable[[Any], bytes]]] = {
    **{value_type: (frozenset((int,)), _one_integer(value_type)) for value_type in INTEGER_LIMITS},
    ValueType.FLOAT: (frozenset((float, int)), _one_fixed(field_tag(ValueType.FLOAT, FIXED32), "f")),
    ValueType.DOUBLE: (frozenset((float, int)), _one_fixed(field_tag(ValueType.DOUBLE, FIXED64), "d")),
    ValueType.BOOL: (frozenset((bool,)), _one_boolean),
    ValueType.STRING: (frozenset((str,)), _one_text(field_tag(ValueType.STRING, BLOCK))),
    **{
        value_type: (frozenset((list,)), _one_collection(value_type, pack))
        for kind, (pack, _) in ITEM_TYPES.items()
        for value_type in (ValueType[f"{kind}_LIST"], ValueType[f"{kind}_SET"])
    },
}
