r"""Columns of a push to stored Values: JSON values in; out come the bytes that Feast would store for them.

The rules are Feast's (feast/type_map.py python_values_to_proto_values, Feast 0.67.0), but for what pandas spoils: in a
DataFrame, a null makes floats of a column's integers. Here each value is converted by itself. What Feast answers with
500, or stores as a null without a word, is refused, and the message says where it is:

    df.trips[3]: expected an integer, got "abc"

A column is encoded at once where its values have the type that is declared. Joined integers are one packed field of
protobuf, written in C, and a varint ends with its first byte below 0x80, so a regular expression cuts it apart:

    [7, 300]  ->  0a 03 07 ac 02  ->  07 | ac 02  ->  20 07 | 20 ac 02

`large_values` and `values` decode what is encoded here; `usual_values` is quicker for one value. Pure: it knows types,
not views; `writes` says what is what.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

import orjson

from yummy_fast.errors import InexactNumberError, RequestError
from yummy_fast.feast_format._proto.value_pb2 import Int32List, Int64List
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
from yummy_fast.features.collection_values import INT64_LIMITS, MAX_LEVEL
from yummy_fast.features.entities import INT32_LIMITS, shown
from yummy_fast.features.event_times import parse_time

NULL = b""
"""What Feast stores for a null: a Value without a value."""


class MismatchError(Exception):
    """A value that its column does not take. The message is what was expected."""


class _InexactError(Exception):
    """A float that may have been an integer of more digits before it was parsed, where that makes a difference."""


REFUSALS = (
    MismatchError,
    _InexactError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    RecursionError,
    struct.error,
)
"""What is raised for a value that does not fit."""


def encode_column(
    name: str, value_type: ValueType, values: Sequence[Any], *, exact: bool = False, start: int = 0
) -> list[bytes]:
    """The stored Value of each of a column's values; of a null, NULL. Raises RequestError.

    - `name`: what the push calls the column.
    - `exact`: numbers are what the caller wrote. Without it, a float may have been an integer of more than 64 bits;
      where that makes a difference, InexactNumberError is raised.
    - `start`: which row of the push the first value belongs to.
    """
    encoder = _ENCODERS.get(value_type)
    if encoder is None:
        raise RequestError(f"df.{name}: values of type {value_type.name} cannot be written by a push")
    present = values
    kinds = set(map(type, values))
    if type(None) in kinds:
        kinds.discard(type(None))
        present = [value for value in values if value is not None]
    if float in kinds and encoder.nan_is_null and any(value != value for value in present):
        values = [None if value != value else value for value in values]
        present = [value for value in values if value is not None]
    try:
        if not kinds <= encoder.kinds:
            convert = encoder.convert
            present = [convert(value, exact) for value in present]
        encoded = encoder.encode(present)
    except REFUSALS:
        raise _refusal(name, encoder, values, exact, start) from None
    if len(encoded) == len(values):
        return encoded
    following = iter(encoded)
    return [NULL if value is None else next(following) for value in values]


def convert_column(
    name: str, value_type: ValueType, values: Sequence[Any], *, exact: bool = False, start: int = 0
) -> list[Any]:
    """The values of a key column as Python's, by the same rules. Raises RequestError, also for a null."""
    encoder = _ENCODERS.get(value_type)
    if encoder is None:
        return list(values)  # of a type that no key has, or of none: that is found out when keys are made
    if set(map(type, values)) <= encoder.kinds:
        least, most = INTEGER_LIMITS.get(value_type, (0, 0))
        if not least or not values or (least <= min(values) and max(values) <= most):
            return list(values)
    converted: list[Any] = []
    for row, value in enumerate(values, start):
        try:
            if value is None or value != value:
                raise MismatchError("a key value")
            plain = encoder.convert(value, exact)
            encoder.encode([plain])
        except REFUSALS as error:
            raise _mistake(name, row, encoder, value, error) from None
        converted.append(plain)
    return converted


def _refusal(name: str, encoder: _Encoder, values: Sequence[Any], exact: bool, start: int) -> RequestError:
    """The error for the first value of a column that does not fit."""
    for row, value in enumerate(values, start):
        if value is None:
            continue
        try:
            encoder.encode([encoder.convert(value, exact)])
        except REFUSALS as error:
            return _mistake(name, row, encoder, value, error)
    return RequestError(f"df.{name}: expected {encoder.expected}")


def _mistake(name: str, row: int, encoder: _Encoder, value: Any, error: Exception) -> RequestError:
    expected = str(error) if isinstance(error, MismatchError) and str(error) else encoder.expected
    kind = InexactNumberError if isinstance(error, _InexactError) else RequestError
    return kind(f"df.{name}[{row}]: expected {expected}, got {shown(value)}")


class _Encoder(NamedTuple):
    """How values of one type are stored."""

    convert: Callable[[Any, bool], Any]
    """One value, as JSON has it, to what `encode` takes. The second argument is `exact`."""
    encode: Callable[[Sequence[Any]], list[bytes]]
    """Values, none of them a null, to stored Values."""
    expected: str
    kinds: frozenset[type] = frozenset()
    """The types that need no conversion."""
    nan_is_null: bool = True


# ------------------------------------------------------------------------------------------------------ whole columns

ITEM = field_tag(1, BLOCK)
"""The tag of what is in a list's message, and of a map's entries."""
_split_varints: Callable[[bytes], list[bytes]] = re.compile(rb"[\x80-\xff]*[\x00-\x7f]").findall


def _varints(message: Any, numbers: Sequence[int]) -> list[bytes]:
    """Each number as protobuf writes it. `message` is Int32List or Int64List, and says what is out of range."""
    if not numbers:
        return []
    least, most = min(numbers), max(numbers)
    if least >= 0 and most < 0x80:
        return [ONE_BYTE[number] for number in numbers]
    if len(numbers) <= FEW:
        if not _RANGES[message][0] <= least <= most <= _RANGES[message][1]:
            raise OverflowError
        return [varint(number & LOW_64_BITS) for number in numbers]
    packed = message(val=numbers).SerializeToString()
    return _split_varints(packed)[2:]  # without the list's own tag and length


FEW = 16
"""For so few numbers, protobuf takes longer than we do."""
_RANGES: Mapping[Any, tuple[int, int]] = {Int32List: INT32_LIMITS, Int64List: INT64_LIMITS}


def _integers(tag: bytes, message: Any) -> Callable[[Sequence[int]], list[bytes]]:
    return lambda values: [tag + number for number in _varints(message, values)]


def _fixed(tag: bytes, code: str) -> Callable[[Sequence[float]], list[bytes]]:
    pack = struct.Struct(f"<{code}").pack

    def encode(values: Sequence[float]) -> list[bytes]:
        try:
            return [tag + packed for packed in map(pack, values)]
        except OverflowError:
            if code == "d":
                raise
            return [tag + _float32(value) for value in values]

    return encode


def _float32(value: float) -> bytes:
    """Four bytes. What is beyond 32 bits is infinite, as in protobuf; of a float of 64 bits it never is."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _texts(tag: bytes) -> Callable[[Sequence[str]], list[bytes]]:
    heads = tuple(tag + ONE_BYTE[length] for length in range(0x80))

    def encode(values: Sequence[str]) -> list[bytes]:
        return [(heads[len(text)] + text) if len(text) < 0x80 else block(tag, text) for text in map(str.encode, values)]

    return encode


def _booleans(values: Sequence[bool]) -> list[bytes]:
    return [TRUE if value else FALSE for value in values]


FALSE, TRUE = (field_tag(ValueType.BOOL, VARINT) + ONE_BYTE[value] for value in (0, 1))
"""The stored Values of the two booleans."""

# -------------------------------------------------------------------------------------------------------------- scalars


def _integer(value: Any, exact: bool) -> int:
    """As int() in Feast: "77", 3.7 and true are integers."""
    if isinstance(value, float) and not -(1 << 63) < value < 1 << 63 and not exact:
        raise MismatchError("an integer in range")
    return int(_scalar(value))


def _seconds(value: Any, exact: bool) -> int:
    """Seconds since the epoch, or, unlike in Feast, ISO 8601."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return int(parse_time(value).timestamp())
    return _integer(value, exact)


def _float(value: Any, _: bool) -> float:
    return float(_scalar(value))


def _double(value: Any, _: bool) -> float:
    if type(value) not in (int, float):
        raise MismatchError
    return float(value)


def _boolean(value: Any, _: bool) -> bool:
    if not isinstance(value, int):
        raise MismatchError
    return bool(value)


def _text(value: Any, exact: bool) -> str:
    if isinstance(value, float) and not -(1 << 63) < value < 1 << 64 and math.isfinite(value) and not exact:
        raise _InexactError  # it may have been an integer of more than 64 bits, whose digits are gone
    return str(_scalar(value))


def _only_text(value: Any, _: bool) -> str:
    if not isinstance(value, str):
        raise MismatchError
    return value


def _json_text(value: Any, _: bool = True) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        json.loads(value)  # it takes NaN, as Feast does
    return value


def _zoned(value: Any, _: bool) -> datetime:
    return datetime.fromisoformat(value)


def _zoned_timestamps(values: Sequence[datetime]) -> list[bytes]:
    encoded = []
    for moment in values:
        zone = "" if moment.tzinfo is None else str(moment.tzinfo)
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds = int(aware.timestamp())
        content = b"\x08" + varint(seconds & (1 << 64) - 1) if seconds else b""
        content += block(b"\x12", zone.encode()) if zone else b""
        encoded.append(block(field_tag(ValueType.ZONED_TIMESTAMP, BLOCK), content))
    return encoded


def _scalar(value: Any) -> Any:
    if isinstance(value, list | dict):
        raise MismatchError
    return value


def _bytes(value: Any, _: bool) -> bytes:
    """JSON carries none, but the function of an on-demand view may return some."""
    if not isinstance(value, bytes):
        raise MismatchError
    return value


# ------------------------------------------------------------------------------------------------------- lists and sets

_Cut = Callable[[int, int], bytes]
"""The items from one position to another, as they stand in a list's message."""
Pack = Callable[[list[Any]], _Cut]
"""Encodes items: those of all lists of a column, one list behind the other. Raises what REFUSALS has."""


def _joined(parts: Sequence[bytes]) -> _Cut:
    return lambda start, end: b"".join(parts[start:end])


def _pack_integers(message: Any) -> Pack:
    def pack(items: list[Any]) -> _Cut:
        if not {int}.issuperset(map(type, items)):
            raise MismatchError
        return _joined(_varints(message, items))

    return pack


def _pack_floats(code: str) -> Pack:
    size = struct.calcsize(code)

    def pack(items: list[Any]) -> _Cut:
        if not {int, float}.issuperset(map(type, items)):
            raise MismatchError
        try:
            packed = struct.pack(f"<{len(items)}{code}", *items)
        except OverflowError:
            if code == "d":
                raise
            packed = b"".join(map(_float32, items))
        return lambda start, end: packed[start * size : end * size]

    return pack


def _pack_texts(items: list[Any]) -> _Cut:
    if not {str}.issuperset(map(type, items)):
        raise MismatchError
    return _joined(_item_texts(items))


_item_texts = _texts(ITEM)


def _pack_booleans(items: list[Any]) -> _Cut:
    if not {bool}.issuperset(map(type, items)):
        raise MismatchError
    packed = bytes(items)
    return lambda start, end: packed[start:end]


def _pack_timestamps(items: list[Any]) -> _Cut:
    if not {int, str}.issuperset(map(type, items)):
        raise MismatchError
    return _joined(_varints(Int64List, [_seconds(item, True) for item in items]))


def _pack_json(items: list[Any]) -> _Cut:
    if None in items:
        raise MismatchError
    return _joined(_item_texts([_json_text(item) for item in items]))


def _pack_bytes(items: list[Any]) -> _Cut:
    if not {bytes}.issuperset(map(type, items)):
        raise MismatchError
    return _joined([block(ITEM, item) for item in items])


PACKED = ("INT32", "INT64", "UNIX_TIMESTAMP", "FLOAT", "DOUBLE", "BOOL")
"""Lists of these are one field of bytes: their items have no tags of their own."""


def _collection(value_type: ValueType, pack: Pack, expected: str) -> _Encoder:
    tag = field_tag(value_type, BLOCK)
    kind, _, collection = value_type.name.rpartition("_")
    inner = ITEM if kind in PACKED else b""
    empty = tag + ONE_BYTE[0]

    def encode(values: Sequence[Any]) -> list[bytes]:
        if not {list}.issuperset(map(type, values)):
            raise MismatchError
        if collection == "SET":
            values = [distinct(items, pack) for items in values]
        cut = pack(list(chain.from_iterable(values)))
        encoded: list[bytes] = []
        start = 0
        for items in values:
            if not items:
                encoded.append(empty)
                continue
            end = start + len(items)
            content = cut(start, end)
            start = end
            if inner:
                content = inner + varint(len(content)) + content
            encoded.append(tag + varint(len(content)) + content)
        return encoded

    return _Encoder(_as_it_is, encode, expected)


def distinct(items: list[Any], pack: Pack) -> list[Any]:
    """The items of a set, each once. Raises what REFUSALS has.

    1 == True == 1.0, so the first of these stands for all: [1, true] would be the integers {1}, and [true, 1] would be
    refused. So `pack` gets the items of several types before they are compared.
    """
    found = list(dict.fromkeys(items))
    if len(found) < len(items) and len(set(map(type, items))) > 1:
        pack(items)
    return found


def _as_it_is(value: Any, _: bool) -> Any:
    return value


# ----------------------------------------------------------------------------------------------------- maps and structs

_NESTED_LISTS: Mapping[type, tuple[ValueType, Pack]] = {
    int: (ValueType.INT64_LIST, _pack_integers(Int64List)),
    float: (ValueType.DOUBLE_LIST, _pack_floats("d")),
    str: (ValueType.STRING_LIST, _pack_texts),
    bool: (ValueType.BOOL_LIST, _pack_booleans),
    bytes: (ValueType.BYTES_LIST, _pack_bytes),
}
"""The type that Feast infers from a list's first item, where none is declared."""

_INT64, _DOUBLE = field_tag(ValueType.INT64, VARINT), field_tag(ValueType.DOUBLE, FIXED64)


def _nested(value: Any, level: int) -> bytes:
    """What is inside maps and lists: each by its own type, since none is declared. `level` is the Value's."""
    if value is None or value != value:
        return NULL
    if isinstance(value, dict):
        return block(field_tag(ValueType.MAP, BLOCK), _map(value, level + 1))
    if isinstance(value, list):
        return _nested_list(value, level)
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, int):
        if not INT64_LIMITS[0] <= value <= INT64_LIMITS[1]:
            raise MismatchError("integers in range")
        return _INT64 + varint(value & (1 << 64) - 1)
    if isinstance(value, float):
        return _DOUBLE + struct.pack("<d", value)
    if isinstance(value, bytes):
        return block(field_tag(ValueType.BYTES, BLOCK), value)
    return block(field_tag(ValueType.STRING, BLOCK), value.encode())


def _nested_list(items: list[Any], level: int) -> bytes:
    if not items:
        raise MismatchError("no empty array in it, whose type cannot be known")
    if isinstance(items[0], dict):
        return block(field_tag(ValueType.MAP_LIST, BLOCK), _maps(items, level + 1))
    found = _NESTED_LISTS.get(type(items[0]))
    if found is None:
        raise MismatchError
    value_type, pack = found
    if level + 1 > MAX_LEVEL:
        raise MismatchError("fewer brackets in brackets")
    content = pack(items)(0, len(items))
    if value_type.name.removesuffix("_LIST") in PACKED:
        content = block(ITEM, content)
    return block(field_tag(value_type, BLOCK), content)


def _map(value: Mapping[str, Any], level: int) -> bytes:
    """The content of a Map's message, which is at this level: its entries, each with a key and a Value."""
    if level + (2 if value else 0) > MAX_LEVEL:
        raise MismatchError("fewer brackets in brackets")
    return b"".join(
        [
            block(ITEM, block(b"\x0a", key.encode()) + block(b"\x12", _nested(item, level + 2)))
            for key, item in value.items()
        ]
    )


def _maps(items: Sequence[Any], level: int) -> bytes:
    return b"".join([block(ITEM, _map(_object(item), level + 1)) for item in items])


def _object(value: Any) -> Mapping[str, Any]:
    """A map may come as JSON text, as Feast's remote store sends it."""
    parsed = json.loads(value) if isinstance(value, str) else value
    if not isinstance(parsed, dict):
        raise MismatchError
    return parsed


def _to_map(value: Any, _: bool) -> bytes:
    return _map(_object(value), 1)


def _to_maps(value: Any, _: bool) -> bytes:
    items = json.loads(value) if isinstance(value, str) else value
    if not isinstance(items, list):
        raise MismatchError
    return _maps(items, 1)


def _to_struct(value: Any, _: bool) -> bytes:
    parsed = json.loads(value) if isinstance(value, str) else value
    return _map(parsed if isinstance(parsed, dict) else {"_value": str(parsed)}, 1)


def _to_scalar_map(value: Any, _: bool) -> bytes:
    if value != {}:
        raise MismatchError
    return b""


def _to_lists(value: Any, _: bool) -> bytes:
    return _lists(value, 1)


def _lists(value: Any, level: int) -> bytes:
    """The content of a RepeatedValue: lists in a list. An inner one that is empty is stored as a null."""
    if not isinstance(value, list):
        raise MismatchError
    if level + 1 > MAX_LEVEL:
        raise MismatchError("fewer brackets in brackets")
    inner = []
    for items in value:
        if items is not None and not isinstance(items, list):
            raise MismatchError
        if not items:
            inner.append(NULL)
        elif any(isinstance(item, list) for item in items):
            inner.append(block(field_tag(ValueType.VALUE_LIST, BLOCK), _lists(items, level + 2)))
        else:
            inner.append(_nested_list(items, level + 1))
    return b"".join([block(ITEM, content) for content in inner])


def _blocks(value_type: ValueType) -> Callable[[Sequence[bytes]], list[bytes]]:
    tag = field_tag(value_type, BLOCK)
    return lambda contents: [block(tag, content) for content in contents]


# ------------------------------------------------------------------------------------------------------------ the table

INTEGER_LIMITS: Mapping[ValueType, tuple[int, int]] = {
    ValueType.INT32: INT32_LIMITS,
    ValueType.INT64: INT64_LIMITS,
    ValueType.UNIX_TIMESTAMP: INT64_LIMITS,
}
"""The least and the greatest value of each type that is stored as a varint, but for booleans."""
_INT, _STR = frozenset((int,)), frozenset((str,))
_NO_BYTES = "bytes, which JSON cannot carry"

_SCALARS: Mapping[ValueType, _Encoder] = {
    ValueType.INT32: _Encoder(
        _integer, _integers(field_tag(ValueType.INT32, VARINT), Int32List), "a 32-bit integer in range", _INT
    ),
    ValueType.INT64: _Encoder(
        _integer, _integers(field_tag(ValueType.INT64, VARINT), Int64List), "an integer in range", _INT
    ),
    ValueType.UNIX_TIMESTAMP: _Encoder(
        _seconds,
        _integers(field_tag(ValueType.UNIX_TIMESTAMP, VARINT), Int64List),
        "seconds since the epoch, or ISO 8601",
        _INT,
    ),
    ValueType.FLOAT: _Encoder(
        _float, _fixed(field_tag(ValueType.FLOAT, FIXED32), "f"), "a number", frozenset((float, int))
    ),
    ValueType.DOUBLE: _Encoder(
        _double, _fixed(field_tag(ValueType.DOUBLE, FIXED64), "d"), "a number", frozenset((float, int))
    ),
    ValueType.BOOL: _Encoder(_boolean, _booleans, "a boolean", frozenset((bool,))),
    ValueType.STRING: _Encoder(_text, _texts(field_tag(ValueType.STRING, BLOCK)), "a string", _STR),
    **{
        value_type: _Encoder(_only_text, _texts(field_tag(value_type, BLOCK)), "a string", _STR)
        for value_type in (ValueType.UUID, ValueType.TIME_UUID, ValueType.DECIMAL)
    },
    **{
        value_type: _Encoder(_bytes, _blocks(ValueType.BYTES), _NO_BYTES)
        for value_type in (ValueType.BYTES, ValueType.PDF_BYTES, ValueType.IMAGE_BYTES)
    },
    ValueType.JSON: _Encoder(_json_text, _texts(field_tag(ValueType.JSON, BLOCK)), "JSON text", nan_is_null=False),
    ValueType.ZONED_TIMESTAMP: _Encoder(_zoned, _zoned_timestamps, "a time as ISO 8601"),
}

ITEM_TYPES: Mapping[str, tuple[Pack, str]] = {
    "INT32": (_pack_integers(Int32List), "integers"),
    "INT64": (_pack_integers(Int64List), "integers"),
    "UNIX_TIMESTAMP": (_pack_timestamps, "seconds since the epoch, or of ISO 8601"),
    "FLOAT": (_pack_floats("f"), "numbers"),
    "DOUBLE": (_pack_floats("d"), "numbers"),
    "BOOL": (_pack_booleans, "booleans"),
    "STRING": (_pack_texts, "strings"),
    "UUID": (_pack_texts, "strings"),
    "TIME_UUID": (_pack_texts, "strings"),
    "DECIMAL": (_pack_texts, "strings"),
    "BYTES": (_pack_bytes, "bytes, which JSON cannot carry"),
}

_ENCODERS: Mapping[ValueType, _Encoder] = {
    **_SCALARS,
    **{
        value_type: _collection(value_type, pack, f"an array of {items}, none of them null")
        for kind, (pack, items) in ITEM_TYPES.items()
        for value_type in (ValueType[f"{kind}_LIST"], ValueType[f"{kind}_SET"])
    },
    ValueType.JSON_LIST: _collection(ValueType.JSON_LIST, _pack_json, "an array of JSON texts, none of them null"),
    ValueType.MAP: _Encoder(_to_map, _blocks(ValueType.MAP), "an object, or its JSON text"),
    ValueType.STRUCT: _Encoder(_to_struct, _blocks(ValueType.STRUCT), "an object, or its JSON text"),
    ValueType.MAP_LIST: _Encoder(_to_maps, _blocks(ValueType.MAP_LIST), "an array of objects"),
    ValueType.STRUCT_LIST: _Encoder(_to_maps, _blocks(ValueType.STRUCT_LIST), "an array of objects"),
    ValueType.SCALAR_MAP: _Encoder(
        _to_scalar_map, _blocks(ValueType.SCALAR_MAP), "an empty object: JSON has no keys but text"
    ),
    ValueType.VALUE_LIST: _Encoder(_to_lists, _blocks(ValueType.VALUE_LIST), "an array of arrays"),
    ValueType.VALUE_SET: _Encoder(_to_lists, _blocks(ValueType.VALUE_SET), "an array of arrays"),
}
