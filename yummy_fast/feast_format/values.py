"""Feast's stored Values in: what each stored feature is in JSON.

A fact of Feast 0.67.0's format: feast/types/Value.proto (Values), feast/feature_server_utils.py (what each Value looks
like in JSON). Keys and field names are in `keys`, timestamps in `timestamps`.

Values are decoded many at a time. A serialised `Value` is one field of a oneof; the wire format lets a repeated field
arrive in pieces; so stored Values, joined, *are* one `Values` message whose fields carry the same numbers made
repeated, and a single parse in C decodes a whole row or column (perf/experiments/decode_by_column_or_row.py). What
makes this safe is the count: each stored Value must yield exactly one value of the type its feature was declared with.
Where it does not (a null, a missing field, another type), the slower ways below are taken, down to one Value at a
time. What the count cannot see are corrupt Values: one that holds a second value of another type or a piece of one, a
number whose tag says that it is a list (packed), and several whose damage cancels out, such as one that holds two
values and one that holds none but is not empty.

Decoded values are Python objects as `json` would take them, except that floats may be NaN or infinite: `vectors`
spells those.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntEnum
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf.message import DecodeError

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto.value_pb2 import Value, Values


class ValueType(IntEnum):
    """The types that Feast's registry gives to features and entity columns (feast/value_type.py)."""

    UNKNOWN = 0
    BYTES = 1
    STRING = 2
    INT32 = 3
    INT64 = 4
    DOUBLE = 5
    FLOAT = 6
    BOOL = 7
    UNIX_TIMESTAMP = 8
    BYTES_LIST = 11
    STRING_LIST = 12
    INT32_LIST = 13
    INT64_LIST = 14
    DOUBLE_LIST = 15
    FLOAT_LIST = 16
    BOOL_LIST = 17
    UNIX_TIMESTAMP_LIST = 18
    NULL = 19
    MAP = 20
    MAP_LIST = 21
    BYTES_SET = 22
    STRING_SET = 23
    INT32_SET = 24
    INT64_SET = 25
    DOUBLE_SET = 26
    FLOAT_SET = 27
    BOOL_SET = 28
    UNIX_TIMESTAMP_SET = 29
    PDF_BYTES = 30
    IMAGE_BYTES = 31
    JSON = 32
    JSON_LIST = 33
    STRUCT = 34
    STRUCT_LIST = 35
    UUID = 36
    TIME_UUID = 37
    UUID_LIST = 38
    TIME_UUID_LIST = 39
    UUID_SET = 40
    TIME_UUID_SET = 41
    VALUE_LIST = 42
    VALUE_SET = 43
    DECIMAL = 44
    DECIMAL_LIST = 45
    DECIMAL_SET = 46
    SCALAR_MAP = 47
    ZONED_TIMESTAMP = 48

    @classmethod
    def _missing_(cls, value: object) -> ValueType:
        return cls.UNKNOWN  # a type of a later Feast: its values are decoded one at a time, by what they say they are


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _list(message: Any) -> list[Any]:
    return list(message.val)


def _map(message: Any) -> dict[str, Any]:
    return {key: _native(value) for key, value in message.val.items()}


def _nested(message: Any) -> list[Any]:
    return [_native(value) for value in message.val]


def _maps(message: Any) -> list[Any]:
    return [_map(value) for value in message.val]


def _base64_list(message: Any) -> list[str]:
    return [_base64(value) for value in message.val]


def _nothing(_: object) -> None:
    return None


_FIXED_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{2}):?(\d{2})")
NULL_TIMESTAMP = -(1 << 63)
"""Numpy's NaT, which Feast writes for a null."""


def zone(name: str) -> tzinfo:
    """A stored zone: an IANA name or an offset like UTC-07:00; anything else is UTC (feast/type_map.py)."""
    if name in ("", "UTC", "GMT"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        offset = _FIXED_OFFSET.fullmatch(name.strip())
        if offset is None:
            return UTC
        sign, hours, minutes = offset.groups()
        delta = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-delta if sign == "-" else delta)


def _zoned_timestamp(message: Any) -> str | None:
    if message.unix_timestamp == NULL_TIMESTAMP:
        return None
    try:
        return datetime.fromtimestamp(message.unix_timestamp, tz=zone(message.zone)).isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise CorruptValueError(f"a zoned timestamp out of range: {error}") from None


# Field of the oneof -> what makes a JSON value of it; None where the decoded value is one already.
_NATIVE: dict[str, Callable[[Any], Any] | None] = {
    **dict.fromkeys(("int32_val", "int64_val", "double_val", "float_val", "bool_val", "unix_timestamp_val")),
    **dict.fromkeys(("string_val", "json_val", "uuid_val", "time_uuid_val", "decimal_val")),
    "bytes_val": _base64,
    "null_val": _nothing,
    "map_val": _map,
    "struct_val": _map,
    "map_list_val": _maps,
    "struct_list_val": _maps,
    "list_val": _nested,
    "set_val": _nested,
    "bytes_list_val": _base64_list,
    "bytes_set_val": _base64_list,
    "scalar_map_val": _nothing,
    "zoned_timestamp_val": _zoned_timestamp,
    **{
        f"{item}_{collection}_val": _list
        for collection in ("list", "set")
        for item in (
            *("string", "int32", "int64", "double", "float", "bool"),
            *("unix_timestamp", "uuid", "time_uuid", "decimal"),
        )
    },
    "json_list_val": _list,
}


@cache
def _field(value_type: ValueType) -> str:
    """The field of `Value` in which a feature of this type is stored; "" if that cannot be said."""
    if value_type in (ValueType.PDF_BYTES, ValueType.IMAGE_BYTES):
        return "bytes_val"
    if value_type in (ValueType.VALUE_LIST, ValueType.VALUE_SET):
        return value_type.name.lower().removeprefix("value_") + "_val"
    name = value_type.name.lower() + "_val"
    return name if name in _NATIVE else ""


def _native(value: Value) -> Any:
    field = value.WhichOneof("val")
    if field is None:
        return None
    native = _NATIVE[field]
    return getattr(value, field) if native is None else native(getattr(value, field))


def decode_value(stored: bytes | None) -> Any:
    """One stored Value as what JSON says for it. Absent, empty and null are all None. Raises CorruptValueError."""
    message = parse_value(stored)
    return None if message is None else _native(message)


def parse_value(stored: bytes | None) -> Value | None:
    """One stored Value as a message; None if it is absent or empty. Raises CorruptValueError."""
    if not stored:
        return None
    try:
        return Value.FromString(stored)
    except DecodeError:
        raise CorruptValueError(f"{len(stored)} bytes that are no feast.types.Value") from None


class ColumnDecoder:
    """Decodes the stored Values of one feature for many entities."""

    __slots__ = ("_field", "_filler", "_native")

    def __init__(self, value_type: ValueType) -> None:
        self._field = _field(value_type)
        self._native = _NATIVE.get(self._field)
        self._filler = _filler(self._field)

    def __call__(self, stored: Sequence[bytes | None]) -> list[Any]:
        """The values in the order of `stored`; None for absent, empty and null. Raises CorruptValueError."""
        if not self._field:
            return [decode_value(one) for one in stored]
        try:
            values: Any = getattr(Values.FromString(b"".join(stored)), self._field)  # type: ignore[arg-type]  # None raises
        except (TypeError, DecodeError):
            values = ()
        if len(values) == len(stored):
            return values[:] if self._native is None else [self._native(value) for value in values]
        return self._with_gaps(stored)

    def _with_gaps(self, stored: Sequence[bytes | None]) -> list[Any]:
        """As `__call__`, when something is absent or empty: fill the gaps in, decode all, take the fillings out."""
        try:
            filled = getattr(Values.FromString(b"".join([one or self._filler for one in stored])), self._field)
        except DecodeError:
            filled = ()
        if len(filled) != len(stored):
            return [decode_value(one) for one in stored]
        native = self._native
        if native is None:
            return [value if one else None for value, one in zip(filled, stored, strict=True)]
        return [native(value) if one else None for value, one in zip(filled, stored, strict=True)]


@cache
def column_decoder(value_type: ValueType) -> ColumnDecoder:
    """The decoder of a type; a registry has many features and few types."""
    return ColumnDecoder(value_type)


class RowDecoder:
    """Decodes the stored Values of many features for one entity."""

    __slots__ = ("_arrange", "_counts", "_fillers", "_first_bytes", "_groups", "_natives", "_tags")

    def __init__(self, value_types: Sequence[ValueType]) -> None:
        """`value_types`: the declared type of each feature, in the order in which they will be decoded."""
        fields = [_field(value_type) for value_type in value_types]
        groups = {field: [i for i, other in enumerate(fields) if other == field] for field in dict.fromkeys(fields)}
        # The values of each type in a message: of one type the values, of several a tuple of them.
        self._groups = attrgetter(*(field or "null_val" for field in groups))
        # A row with a type that we do not know is never decoded at once: no group can have this count.
        self._counts = [len(places) if field else -1 for field, places in groups.items()]
        natives = [_NATIVE.get(field) for field in groups]
        self._natives = natives if any(natives) else None
        self._fillers = [_filler(field) for field in fields]
        # Of several types the counts alone do not tell: two features may hold each other's type, from before a change.
        tags = [_tag(field) for field in fields]
        self._tags = tags if len(groups) > 1 else None
        self._first_bytes = [tag[0] for tag in tags] if all(len(tag) == 1 for tag in tags) else None
        grouped = [place for places in groups.values() for place in places]
        self._arrange = None if grouped == sorted(grouped) else _arranger(grouped)

    def __call__(self, stored: Sequence[bytes | None]) -> Sequence[Any]:
        """The values in the order of `stored`; None for absent, empty and null. Raises CorruptValueError."""
        try:
            values = self._at_once(stored)  # type: ignore[arg-type]  # None raises
        except (TypeError, IndexError):
            values = None
        if values is not None:
            return values
        if not any(stored):
            return [None] * len(stored)
        # Fill the gaps in, decode all, take the fillings out.
        values = self._at_once([one or filler for one, filler in zip(stored, self._fillers, strict=True)])
        if values is None:
            return [decode_value(one) for one in stored]
        return [value if one else None for value, one in zip(values, stored, strict=True)]

    def _at_once(self, stored: Sequence[bytes]) -> Sequence[Any] | None:
        """The values if each is of its feature's declared type, else None."""
        if self._tags is not None:
            if self._first_bytes is not None:  # the same in a third of the time
                if list(map(_first_byte, stored)) != self._first_bytes:
                    return None
            elif not all(map(bytes.startswith, stored, self._tags)):
                return None
        try:
            groups = self._groups(Values.FromString(b"".join(stored)))
        except DecodeError:
            return None
        if len(self._counts) == 1:
            if len(groups) != self._counts[0]:
                return None
            return groups[:] if self._natives is None else _natively(groups, self._natives[0])
        if list(map(len, groups)) != self._counts:
            return None
        if self._natives is not None:
            groups = tuple(map(_natively, groups, self._natives))
        values: list[Any] = []
        for group in groups:
            values += group[:]  # the copy: what goes over a list goes faster than over protobuf's
        return values if self._arrange is None else self._arrange(values)


def _natively(values: Any, native: Callable[[Any], Any] | None) -> Any:
    return values if native is None else list(map(native, values))


_first_byte = itemgetter(0)


@cache
def _tag(field: str) -> bytes:
    """What a stored Value of this field begins with: one byte, or two for fields from 16 on."""
    return _filler(field)[: 1 if not field or Value.DESCRIPTOR.fields_by_name[field].number < 16 else 2]


@cache
def _filler(field: str) -> bytes:
    """A stored Value to stand where there is none, so that the others can still be decoded at once."""
    value = Value()
    if not field:
        return b"?"  # of a type that is never decoded at once: this is not, either
    default = getattr(value, field)
    if hasattr(default, "SetInParent"):
        default.SetInParent()
    else:
        setattr(value, field, default)
    return value.SerializeToString()


def _arranger(grouped: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Puts values that stand in the order `grouped` back to the order 0, 1, 2, ..."""
    places = sorted(range(len(grouped)), key=grouped.__getitem__)
    return itemgetter(*places)  # two groups at least, so two items at least: a tuple


def spell_non_finite(value: Any) -> Any:
    """`value` with "NaN", "Infinity" and "-Infinity" where JSON has no number, as Feast 0.67 spells them."""
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, list | tuple):
        return [spell_non_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: spell_non_finite(item) for key, item in value.items()}
    return value
