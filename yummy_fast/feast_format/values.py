"""Feast's stored Values in: what each stored feature is in JSON.

Facts of Feast 0.67.0's format: feast/types/Value.proto (Values), feast/feature_server_utils.py (their JSON). Keys and
field names are in `keys`, timestamps in `timestamps`.

Values are decoded many at a time. A serialised `Value` is one field of a oneof, and in a message the entries of a
repeated field may come singly and in any order. So stored Values, joined, *are* one message: `Values`, which has the
same fields with the same numbers, but repeated. One parse in C decodes a whole row or column
(perf/experiments/decode_by_column_or_row.py). A row of three features, declared as int32, double, int32:

    18 07                        Value {int32_val: 7}        0x18 is field 3, a varint
    29 00 00 00 00 00 00 f8 3f   Value {double_val: 1.5}     0x29 is field 5, of 8 bytes
    18 2a                        Value {int32_val: 42}
    joined and parsed            Values {int32_val: [7, 42], double_val: [1.5]}
    in the features' order       [7, 1.5, 42]

What makes this safe is the count: each stored Value must yield exactly one value of the type its feature was declared
with. If the counts are wrong (a null, a missing feature, another type), `ColumnDecoder` and `RowDecoder` take slower
ways, down to one Value at a time. The counts are right in spite of these corrupt Values: one that holds a second value
of another type, or a piece of one; a number that is encoded as a list (packed); and several whose faults cancel out,
such as one with two values and one that has bytes but no value.

Decoded values are what `json` takes, except that floats may be NaN or infinite: `spell_non_finite` is for those.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntEnum
from functools import cache, lru_cache, partial
from operator import attrgetter, itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto.value_pb2 import Value, Values
from yummy_fast.feast_format.wire_format import varint


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
        return cls.UNKNOWN  # a type of a later Feast; each of its values is decoded as the type that it says it has


def base64_text(value: bytes) -> str:
    """What JSON says for bytes."""
    return b64encode(value).decode("ascii")


def _list(message: Any) -> list[Any]:
    return list(message.val)


def _map(message: Any, *, exact: bool = False) -> dict[str, Any]:
    return {key: json_value(value, exact=exact) for key, value in message.val.items()}


def _nested(message: Any, *, exact: bool = False) -> list[Any]:
    return [json_value(value, exact=exact) for value in message.val]


def _maps(message: Any, *, exact: bool = False) -> list[Any]:
    return [_map(value, exact=exact) for value in message.val]


def _scalar_map(message: Any) -> dict[str, Any]:
    """A map whose keys are no text: JSON has only text for keys."""
    return {map_key_text(entry.key): json_value(entry.value, exact=True) for entry in message.val}


def map_key_text(key: Any) -> str:
    """The key of an entry of a scalar map as the name of a JSON object's member: 1, 2.5, true, or text as it is.

    A timestamp is in seconds and bytes are base64, as they are for values.
    """
    field = key.WhichOneof("key")
    if field is None:
        return "null"
    value = getattr(key, field)
    if isinstance(value, bytes):
        return base64_text(value)
    if isinstance(value, str):
        return value
    spelled = spell_non_finite(value)
    return spelled if isinstance(spelled, str) else json.dumps(spelled)


def _base64_list(message: Any) -> list[str]:
    return [base64_text(value) for value in message.val]


def _null(_: object) -> None:
    return None


_FIXED_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{2}):?(\d{2})")
NULL_TIMESTAMP = -(1 << 63)
"""Numpy's NaT, which Feast writes for a null timestamp."""


_MAX_KNOWN_ZONES = 512
"""Names of zones that are remembered, also of zones that do not exist. There are 600 IANA names, of 5 KB at most."""
_MAX_ZONE_CHARS = 64
"""The longest IANA name has 32."""


def zone(name: str) -> tzinfo:
    """The zone of a stored name: an IANA name, or an offset such as UTC-07:00. All else is UTC (feast/type_map.py)."""
    return _known_zone(name) if len(name) <= _MAX_ZONE_CHARS else _fixed_offset(name)


@lru_cache(_MAX_KNOWN_ZONES)
def _known_zone(name: str) -> tzinfo:
    """ZoneInfo remembers zones, but searches the disk each time for one that there is not: 80 to 170 us."""
    if name in ("", "UTC", "GMT"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return _fixed_offset(name)


def _fixed_offset(name: str) -> tzinfo:
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


_TO_JSON: Mapping[str, Callable[[Any], Any] | None] = {
    "int32_val": None,
    "int64_val": None,
    "double_val": None,
    "float_val": None,
    "bool_val": None,
    "unix_timestamp_val": None,
    "string_val": None,
    "json_val": None,
    "uuid_val": None,
    "time_uuid_val": None,
    "decimal_val": None,
    "bytes_val": base64_text,
    "null_val": _null,
    "map_val": _map,
    "struct_val": _map,
    "map_list_val": _maps,
    "struct_list_val": _maps,
    "list_val": _nested,
    "set_val": _nested,
    "bytes_list_val": _base64_list,
    "bytes_set_val": _base64_list,
    "scalar_map_val": _null,  # as Feast's server answers; see _EXACT_TO_JSON
    "zoned_timestamp_val": _zoned_timestamp,
    "json_list_val": _list,
    "string_list_val": _list,
    "int32_list_val": _list,
    "int64_list_val": _list,
    "double_list_val": _list,
    "float_list_val": _list,
    "bool_list_val": _list,
    "unix_timestamp_list_val": _list,
    "uuid_list_val": _list,
    "time_uuid_list_val": _list,
    "decimal_list_val": _list,
    "string_set_val": _list,
    "int32_set_val": _list,
    "int64_set_val": _list,
    "double_set_val": _list,
    "float_set_val": _list,
    "bool_set_val": _list,
    "unix_timestamp_set_val": _list,
    "uuid_set_val": _list,
    "time_uuid_set_val": _list,
    "decimal_set_val": _list,
}
"""Field of the oneof -> what makes a JSON value of its content; None where the content is one already."""

_EXACT_TO_JSON: Mapping[str, Callable[[Any], Any] | None] = {
    **_TO_JSON,
    **dict.fromkeys(("map_val", "struct_val"), partial(_map, exact=True)),
    **dict.fromkeys(("map_list_val", "struct_list_val"), partial(_maps, exact=True)),
    **dict.fromkeys(("list_val", "set_val"), partial(_nested, exact=True)),
    "scalar_map_val": _scalar_map,
}
"""The same where no value may look like a null that is none: --compat strict."""


@cache
def _field(value_type: ValueType) -> str:
    """The field of `Value` in which a feature of this type is stored; "" if it is not known."""
    if value_type in (ValueType.PDF_BYTES, ValueType.IMAGE_BYTES):
        return "bytes_val"
    if value_type in (ValueType.VALUE_LIST, ValueType.VALUE_SET):
        return value_type.name.lower().removeprefix("value_") + "_val"
    name = value_type.name.lower() + "_val"
    return name if name in _TO_JSON else ""


def scalar_items(value: Value) -> Sequence[Any] | None:
    """The items of a list or set of scalars, without a copy; None if this is something else."""
    field = value.WhichOneof("val")
    if field is None or _TO_JSON[field] not in (_list, _base64_list):
        return None
    items: Sequence[Any] = getattr(value, field).val
    return items


def json_value(value: Value, *, exact: bool = False) -> Any:
    """What JSON says for a parsed Value. Of a map whose keys are no text Feast's server says null; `exact`, the map."""
    field = value.WhichOneof("val")
    if field is None:
        return None
    to_json = (_EXACT_TO_JSON if exact else _TO_JSON)[field]
    return getattr(value, field) if to_json is None else to_json(getattr(value, field))


def decode_value(stored: bytes | None, *, exact: bool = False) -> Any:
    """The JSON value of one stored Value. Absent, empty and null are all None. Raises CorruptValueError."""
    message = parse_value(stored)
    return None if message is None else json_value(message, exact=exact)


def is_of_unknown_type(stored: bytes) -> bool:
    """Whether stored bytes hold a Value of a type that this program does not know: it has no JSON for it, but it is no
    null either. Raises CorruptValueError.
    """
    message = parse_value(stored)
    return message is not None and message.WhichOneof("val") is None


_SLOW_FIELDS = frozenset(
    (
        *("map_val", "struct_val", "map_list_val", "struct_list_val", "list_val", "set_val"),
        *("scalar_map_val", "zoned_timestamp_val"),
    )
)


def stored_type(stored: bytes) -> str:
    """The type of a stored Value as the field of `Value` has it, such as int64; "" for a null. Raises
    CorruptValueError."""
    message = parse_value(stored)
    return "" if message is None else (message.WhichOneof("val") or "").removesuffix("_val").replace("null", "")


def declared_type(value_type: ValueType) -> str:
    """The same for a declared type: what `stored_type` says of a Value of this type; "" if it is not known."""
    return _field(value_type).removesuffix("_val")


def bytes_at_once(value_types: Iterable[ValueType]) -> int:
    """How many stored bytes of features of these types may be decoded and written in one go; 0 is any number.

    Numbers and strings take 10 ns a byte or less, and each decoder bounds what it is given. Lists of scalars and bytes
    become Python's objects item by item, maps and nested lists entry by entry, which takes 300 ns a byte.
    """
    fields = {_field(value_type) for value_type in value_types}
    if not all(fields) or any(field in _SLOW_FIELDS for field in fields):
        return 16 << 10
    return MAX_LIST_BYTES if any(_TO_JSON[field] is not None for field in fields) else 0


def parse_value(stored: bytes | None) -> Value | None:
    """One stored Value as a message; None if it is absent or empty. Raises CorruptValueError."""
    if not stored:
        return None
    try:
        return Value.FromString(stored)
    except DecodeError:
        raise CorruptValueError(f"{len(stored)} bytes that are not a feast.types.Value") from None


_PARSED_AT_ONCE = 64 << 10
"""Bytes of packed numbers, or of a small Value, that are parsed in one step: 1 ms."""
_ENTRIES_AT_ONCE = 8 << 10
"""Bytes of entries that are parsed in one step. Usually it takes 0.1 ms; but protobuf's map of 100,000 entries, shortly
before it grows, takes 20 us to find room for each: 10 ms.
"""
_VAL = 0x0A
"""The tag of `val`, the one field of all messages of lists and maps: number 1, with a length."""
_PACKED_WIDTHS: Mapping[int, int] = {FieldDescriptor.TYPE_DOUBLE: 8, FieldDescriptor.TYPE_FLOAT: 4}


def parse_in_steps(stored: bytes | None) -> Generator[None, None, Value | None]:
    """As `parse_value`, with a step after each _PARSED_AT_ONCE or _ENTRIES_AT_ONCE bytes, as far as a Value can be cut.

    A message that is parsed into another one is merged with it (Value.MergeFromString): items are appended to a list,
    entries added to a map. So what is parsed are messages with some of the entries each, and the outcome is the same,
    down to the order of a map. The map {"a": 1, "b": 2, ...} is

        stored    a2 01 <length>   0a 07 0a 01 61 12 02 20 01   0a 07 0a 01 62 12 02 20 02   ...
        parsed    a2 01 09         0a 07 0a 01 61 12 02 20 01
                  a2 01 09                                      0a 07 0a 01 62 12 02 20 02
    """
    if not stored or len(stored) <= _PARSED_AT_ONCE:
        return parse_value(stored)
    message = Value()
    try:
        tag, at = _varint(stored, 0)
        size, start = _varint(stored, at)
        field = Value.DESCRIPTOR.fields_by_number.get(tag >> 3)
        inner = field.message_type.fields_by_name.get("val") if field is not None and field.message_type else None
        if tag & 7 != 2 or start + size != len(stored) or inner is None:
            return parse_value(stored)  # of another kind: a string, or what Feast does not write
        length, items = _varint(stored, start + 1)
        if stored[start] == _VAL and items + length == len(stored) and inner.type in _PACKABLE:
            cuts, head = _packed_cuts(stored, items, _PACKED_WIDTHS.get(inner.type, 1)), bytes([_VAL])
        else:
            cuts, head = _entry_cuts(stored, start), b""
        for end in cuts:
            begin = items if head else start
            some = stored[begin:end]
            if head:
                some = head + varint(len(some)) + some
                items = end
            else:
                start = end
            message.MergeFromString(stored[:at] + varint(len(some)) + some)
            yield
    except (DecodeError, IndexError, _OddError):
        return parse_value(stored)
    return message


class _OddError(Exception):
    """A message that Feast does not write: it is parsed in one go."""


_PACKABLE = frozenset(
    (
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_FLOAT,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
    )
)
"""Types of items that are stored without tags, one after the other."""


def _entry_cuts(stored: bytes, start: int) -> Iterable[int]:
    """Where to cut the entries from `start` on. Raises IndexError, _OddError."""
    at, cut = start, start
    while at < len(stored):
        if stored[at] != _VAL:
            raise _OddError
        size = stored[at + 1]
        at += 2
        if size > 0x7F:
            size, at = _varint(stored, at - 1)
        at += size
        if at - cut >= _ENTRIES_AT_ONCE and at < len(stored):
            cut = at
            yield at
    if at != len(stored):
        raise _OddError
    yield at


def _packed_cuts(stored: bytes, start: int, width: int) -> Iterable[int]:
    """Where to cut packed numbers of `width` bytes; of 1 byte or more, if that is 1: only the last has no high bit."""
    end = start
    while end < len(stored):
        end = min(end + _PARSED_AT_ONCE, len(stored))
        while width == 1 and end < len(stored) and stored[end - 1] > 0x7F:
            end += 1
        yield end


def _varint(stored: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits in each byte, and where it ends. Raises IndexError, _OddError."""
    number = shift = 0
    while shift < 64:
        byte = stored[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte <= 0x7F:
            return number, at
        shift += 7
    raise _OddError


MAX_SCALAR_BYTES, MAX_LIST_BYTES = 64 << 10, 1 << 20
"""Stored bytes that a decoder takes in one call. An answer has up to 250 columns or so of scalars, and their bytes are
not added up beforehand; those of lists are (`bytes_at_once`).
"""


class LargeValuesError(Exception):
    """Stored Values have too many bytes together to be decoded in one go: they are to be written in steps."""


def _joined(stored: Sequence[bytes], max_bytes: int) -> bytes:
    """Values as one message of `Values`. Raises TypeError if one is absent, LargeValuesError."""
    joined = b"".join(stored)
    if len(joined) > max_bytes:
        raise LargeValuesError
    return joined


class ColumnDecoder:
    """Decodes the stored Values of one feature for many entities.

    A column has one type, so the list that a parse yields is the column, if it is as long as the column:

    1. Parse the joined Values.
    2. If one is absent (None) or null (b""), put a *filler* in for it, a stored zero of the declared type such as
       18 00, and parse again. Then put None where the fillers were.
    3. Decode one Value at a time: some of them have another type than the declared one, or are corrupt.
    """

    __slots__ = ("_exact", "_field", "_filler", "_max_bytes", "_to_json")

    def __init__(self, value_type: ValueType, *, exact: bool = False) -> None:
        """`exact`: see `json_value`."""
        self._exact = exact
        self._max_bytes = MAX_LIST_BYTES if bytes_at_once([value_type]) else MAX_SCALAR_BYTES
        self._field = _field(value_type)
        self._to_json = (_EXACT_TO_JSON if exact else _TO_JSON).get(self._field)
        self._filler = _filler(self._field)

    def __call__(self, stored: Sequence[bytes | None]) -> list[Any]:
        """The values in the order of `stored`; None for absent, empty and null.

        Raises CorruptValueError, LargeValuesError.
        """
        if not self._field:
            return [decode_value(one, exact=self._exact) for one in stored]
        try:
            values: Any = getattr(Values.FromString(_joined(stored, self._max_bytes)), self._field)  # type: ignore[arg-type]  # None raises
        except (TypeError, DecodeError):
            values = ()
        if len(values) == len(stored):
            return values[:] if self._to_json is None else [self._to_json(value) for value in values]
        return self._with_fillers(stored)

    def _with_fillers(self, stored: Sequence[bytes | None]) -> list[Any]:
        """The second way and the third."""
        try:
            values = getattr(
                Values.FromString(_joined([one or self._filler for one in stored], self._max_bytes)), self._field
            )
        except DecodeError:
            values = ()
        if len(values) != len(stored):
            return [decode_value(one, exact=self._exact) for one in stored]
        to_json = self._to_json
        if to_json is None:
            return [value if one else None for value, one in zip(values, stored, strict=True)]
        return [to_json(value) if one else None for value, one in zip(values, stored, strict=True)]


@cache
def column_decoder(value_type: ValueType, *, exact: bool = False) -> ColumnDecoder:
    """The decoder of a type. All features of the type share it: a registry has many features and few types."""
    return ColumnDecoder(value_type, exact=exact)


class RowDecoder:
    """Decodes the stored Values of many features for one entity.

    It takes the same three ways as `ColumnDecoder`, but a row has several types. Features declared as int32, double,
    int32 are two groups, and what depends on the types alone is compiled:

        _groups    gets the lists of both groups from a parsed message: ([7, 42], [1.5])
        _counts    how long they have to be: [2, 1]
        _arrange   puts the values of all groups, [7, 42, 1.5], into the features' order, [7, 1.5, 42]
        _tags      what each stored Value has to begin with: 18, 29, 18

    The tags are compared when there are several groups, because then the counts are not enough. If the registry has
    exchanged the types of two features, a row from before that has the right counts, and the values of each other.
    """

    __slots__ = (
        *("_arrange", "_counts", "_exact", "_fillers", "_first_bytes", "_groups", "_max_bytes", "_tags", "_to_json"),
    )

    def __init__(self, value_types: Sequence[ValueType], *, exact: bool = False) -> None:
        """
        - `value_types`: the declared type of each feature, in the order in which they will be decoded.
        - `exact`: see `json_value`.
        """
        self._exact = exact
        self._max_bytes = MAX_LIST_BYTES if bytes_at_once(value_types) else MAX_SCALAR_BYTES
        fields = [_field(value_type) for value_type in value_types]
        groups = {field: [i for i, other in enumerate(fields) if other == field] for field in dict.fromkeys(fields)}
        # For one group attrgetter returns its list, for several a tuple of lists.
        self._groups = attrgetter(*(field or "null_val" for field in groups))
        # No group is -1 long: a row with a type that is not known is decoded one Value at a time.
        self._counts = [len(positions) if field else -1 for field, positions in groups.items()]
        to_json = [(_EXACT_TO_JSON if exact else _TO_JSON).get(field) for field in groups]
        self._to_json = to_json if any(to_json) else None
        self._fillers = [_filler(field) for field in fields]
        tags = [_tag(field) for field in fields]
        self._tags = tags if len(groups) > 1 else None
        self._first_bytes = [tag[0] for tag in tags] if all(len(tag) == 1 for tag in tags) else None
        grouped = [position for positions in groups.values() for position in positions]
        self._arrange = None if grouped == sorted(grouped) else _arranger(grouped)

    def __call__(self, stored: Sequence[bytes | None]) -> Sequence[Any]:
        """The values in the order of `stored`; None for absent, empty and null.

        Raises CorruptValueError, LargeValuesError.
        """
        try:
            values = self._at_once(stored)  # type: ignore[arg-type]  # None raises
        except (TypeError, IndexError):
            values = None
        if values is not None:
            return values
        if not any(stored):
            return [None] * len(stored)
        values = self._at_once([one or filler for one, filler in zip(stored, self._fillers, strict=True)])
        if values is None:
            return [decode_value(one, exact=self._exact) for one in stored]
        return [value if one else None for value, one in zip(values, stored, strict=True)]

    def _at_once(self, stored: Sequence[bytes]) -> Sequence[Any] | None:
        """The values if each is of its feature's declared type, else None."""
        if self._tags is not None:
            if self._first_bytes is not None:  # comparing single bytes takes a third of the time
                if list(map(_first_byte, stored)) != self._first_bytes:
                    return None
            elif not all(map(bytes.startswith, stored, self._tags)):
                return None
        try:
            groups = self._groups(Values.FromString(_joined(stored, self._max_bytes)))
        except DecodeError:
            return None
        if len(self._counts) == 1:
            if len(groups) != self._counts[0]:
                return None
            return groups[:] if self._to_json is None else _all_to_json(groups, self._to_json[0])
        if list(map(len, groups)) != self._counts:
            return None
        if self._to_json is not None:
            groups = tuple(map(_all_to_json, groups, self._to_json))
        values: list[Any] = []
        for group in groups:
            values += group[:]  # a list: protobuf's own sequence is slower to iterate over than to copy
        return values if self._arrange is None else self._arrange(values)


def _all_to_json(values: Any, to_json: Callable[[Any], Any] | None) -> Any:
    return values if to_json is None else list(map(to_json, values))


_first_byte = itemgetter(0)


@cache
def _tag(field: str) -> bytes:
    """What a stored Value of this field begins with: one byte, or two for field numbers from 16 on."""
    return _filler(field)[: 1 if not field or Value.DESCRIPTOR.fields_by_name[field].number < 16 else 2]


@cache
def _filler(field: str) -> bytes:
    """A stored zero of this field (or "", or an empty list), to put in for a Value that is absent or null."""
    value = Value()
    if not field:
        return b"?"  # never parsed: no row or column with a type that is not known is decoded at once
    default = getattr(value, field)
    if hasattr(default, "SetInParent"):
        default.SetInParent()
    else:
        setattr(value, field, default)
    return value.SerializeToString()


def _arranger(grouped: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Puts values back into the order 0, 1, 2, ... `grouped` has the position of each in that order."""
    positions = sorted(range(len(grouped)), key=grouped.__getitem__)
    return itemgetter(*positions)  # there are two groups at least, so this returns a tuple


def spell_non_finite(value: Any) -> Any:
    """`value` with "NaN", "Infinity" and "-Infinity" for floats that JSON does not have, as Feast 0.67 writes them."""
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, list | tuple):
        return [spell_non_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: spell_non_finite(item) for key, item in value.items()}
    return value
