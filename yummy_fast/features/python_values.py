"""The Python values that users' functions take and return: from stored Values, and to the JSON of an answer.

Which Python type a Value becomes, and which results of a function a declared type accepts, are Feast's rules
(feast/type_map.py, Feast 0.67.0). What a function sees is made by the rules of feast_value_type_to_python_type. What
becomes of its results is what python_values_to_proto_values and then Feast's server make of them, in one step.

Pure. Only `transforms` knows which values these are.
"""

from __future__ import annotations

import json
import math
import struct
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.values import NULL_TIMESTAMP, ValueType, parse_value, zone

UserFunction = Callable[[Any], Any]
"""The function of an on-demand view, loaded: from a dictionary to one, or in pandas mode from a DataFrame to one."""

# ------------------------------------------------------------------------------------- stored bytes to Python's values


def utc_datetime(seconds: int) -> datetime | None:
    """A stored timestamp as a datetime; None for Feast's null timestamp."""
    return None if seconds == NULL_TIMESTAMP else datetime.fromtimestamp(seconds, tz=UTC)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "unix_timestamp": utc_datetime,
    "uuid": uuid.UUID,
    "time_uuid": uuid.UUID,
    "decimal": Decimal,
    "json": _json,
}


def python_value(stored: bytes | None, value_type: ValueType = ValueType.UNKNOWN) -> Any:
    """A stored Value as Feast hands it to Python (feast_value_type_to_python_type). Raises CorruptValueError.

    `value_type` is its declared type. It matters for UUIDs alone, which were stored as text before Feast had a type for
    them.
    """
    message = parse_value(stored)
    if message is None:
        return None
    try:
        value = _python_value(message)
        return _with_uuids(value) if value_type in _UUIDS else value
    except (ValueError, ArithmeticError, OSError):
        # Text that is not a UUID or not a number, or a time after the year 9999.
        raise CorruptValueError(f"a {message.WhichOneof('val')} that Python has no value for") from None


_UUIDS = frozenset(ValueType[f"{kind}{many}"] for kind in ("UUID", "TIME_UUID") for many in ("", "_LIST", "_SET"))


def _with_uuids(value: Any) -> Any:
    if isinstance(value, str):
        return uuid.UUID(value)
    return type(value)(map(_with_uuids, value)) if isinstance(value, list | set) else value


def _python_value(message: Any) -> Any:
    field = message.WhichOneof("val")
    if field is None:
        return None
    value = getattr(message, field)
    if field == "null_val":
        return int(value)  # Feast's functions see 0
    if field == "scalar_map_val":
        return {_key(entry.key): _python_value(entry.value) for entry in value.val}
    if field == "zoned_timestamp_val":
        moment = value.unix_timestamp
        return None if moment == NULL_TIMESTAMP else datetime.fromtimestamp(moment, tz=zone(value.zone))
    if field in ("map_val", "struct_val"):
        return {key: _python_value(item) for key, item in value.val.items()}
    if field in ("map_list_val", "struct_list_val"):
        return [{key: _python_value(item) for key, item in entry.val.items()} for entry in value.val]
    if field in ("list_val", "set_val"):
        return [_python_value(item) for item in value.val]
    kind, _, collection = field.removesuffix("_val").rpartition("_")
    if collection in ("list", "set"):
        convert = _SCALARS.get(kind)
        items = list(value.val) if convert is None else [convert(item) for item in value.val]
        return set(items) if collection == "set" and kind != "json" else items
    convert = _SCALARS.get(field.removesuffix("_val"))
    return value if convert is None else convert(value)


def _key(message: Any) -> Any:
    field = message.WhichOneof("key")
    if field is None:
        return None
    convert = _SCALARS.get(field.removesuffix("_key"))
    key = getattr(message, field)
    return key if convert is None else convert(key)


# ---------------------------------------------------------------------------------------- Python's values to the answer


def json_values(values: Iterable[Any], value_type: ValueType, *, exact: bool = False) -> list[Any]:
    """A column that a function has returned as JSON values, by the declared type (python_values_to_proto_values).

    `exact`: also maps whose keys are no text, which Feast's server answers as null.

    Raises TypeError, ValueError, OverflowError or AttributeError for a value that the type does not accept.
    """
    if value_type is ValueType.UNIX_TIMESTAMP:
        return [_timestamp(value) for value in values]
    plain = [_plain(value) for value in values]
    if exact and value_type is ValueType.SCALAR_MAP:
        return [None if _is_null(value) else _scalar_map(value) for value in plain]
    if value_type in (ValueType.JSON, ValueType.STRUCT):  # of these, NaN and empty bytes are values as well
        return [None if value is None else _json_value(value, value_type) for value in plain]
    if value_type.name in _OUTPUTS and not any(map(_is_not_empty, plain)):
        return [None] * len(plain)
    return [None if _is_null(value) else _json_value(value, value_type) for value in plain]


def _timestamp(value: Any) -> int | None:
    """To Feast any float is a null timestamp. It answers numpy's NaT for it, and for a NaT in a DataFrame."""
    if isinstance(value, float):
        return NULL_TIMESTAMP
    if hasattr(value, "dtype") and value.dtype.kind == "M" and value.ndim == 0:
        return int(value.astype("datetime64[s]").astype("int64"))
    plain = _plain(value)
    return None if _is_null(plain) or isinstance(plain, _COLLECTIONS) else _checked_integer(64)(plain)


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays as Python's own values."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        if value.dtype.kind == "M":
            value = value.astype("datetime64[us]")
        return value.tolist()
    return value


def _is_null(value: Any) -> bool:
    try:
        return value is None or bool(value != value)  # NaN, NaT
    except TypeError:  # of pandas' NA, a comparison with itself is neither true nor false
        return True


def _is_not_empty(value: Any) -> bool:
    """Whether a value is neither a null nor empty bytes.

    To Feast, a column that has no such value is one of nulls. In any other column, empty bytes are bytes.
    """
    return value is not None and not (isinstance(value, bytes) and not value)


def _seconds(value: Any) -> int:
    if isinstance(value, datetime):
        return int((value if value.utcoffset() is not None else value.replace(tzinfo=UTC)).timestamp())
    return int(value)


def _float32(value: Any) -> float:
    number = float(value)
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:  # beyond 32 bits, as in protobuf
        return math.copysign(math.inf, number)


def _double(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError("DOUBLE: text")
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, int):
        raise TypeError(f"BOOL: a value of type {type(value).__name__}")
    return bool(value)


def _text(value: Any) -> str:
    text = str(value)
    text.encode()  # raises for half of a surrogate pair, which cannot be answered
    return text


def _json_text(value: Any) -> str:
    if isinstance(value, str):
        json.loads(value)
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _zoned(value: Any) -> str:
    moment = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
    return datetime.fromtimestamp(int(moment.timestamp()), tz=moment.tzinfo).isoformat()


def _checked_integer(bits: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number = _seconds(value)
        if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            raise OverflowError(f"Value out of range: {number}")
        return number

    return convert


_OUTPUTS: Mapping[str, Callable[[Any], Any]] = {
    "INT32": _checked_integer(32),
    "INT64": _checked_integer(64),
    "UNIX_TIMESTAMP": _checked_integer(64),
    "FLOAT": _float32,
    "DOUBLE": _double,
    "STRING": _text,
    "BOOL": _bool,
    **dict.fromkeys(("BYTES", "PDF_BYTES", "IMAGE_BYTES"), lambda value: b64encode(value).decode("ascii")),
    "UUID": _text,
    "TIME_UUID": _text,
    "DECIMAL": _text,
    "ZONED_TIMESTAMP": _zoned,
}
_COLLECTIONS = (list, dict, set, tuple, frozenset)


# The types that an item of an array may have, and what stands for a null. Unlike a scalar, an item of another type is
# not converted.
_ITEMS: Mapping[str, tuple[tuple[type, ...], Any]] = {
    "INT32": ((int,), 0),
    "INT64": ((int,), 0),
    "UNIX_TIMESTAMP": ((int, datetime), NULL_TIMESTAMP),
    "FLOAT": ((float, int), 0.0),
    "DOUBLE": ((float, int), 0.0),
    "STRING": ((str,), ""),
    "BOOL": ((bool,), False),
    "BYTES": ((bytes,), b""),
    "UUID": ((str, uuid.UUID), ""),
    "TIME_UUID": ((str, uuid.UUID), ""),
    "DECIMAL": ((str, Decimal), ""),
}


def _item(item: Any, kind: str) -> Any:
    types, default = _ITEMS[kind]
    if item is None:
        item = default
    if type(item) not in types:
        raise TypeError(f"{kind}: an item of type {type(item).__name__}")
    return _OUTPUTS[kind](item)


def _json_value(value: Any, value_type: ValueType) -> Any:
    name = value_type.name
    if name in _OUTPUTS:
        # To Feast, an array in a scalar column is a null.
        return None if isinstance(value, _COLLECTIONS) else _spelled(_OUTPUTS[name](value))
    kind, _, collection = name.rpartition("_")
    if collection in ("LIST", "SET") and kind in _OUTPUTS:
        items = dict.fromkeys(value) if collection == "SET" else value
        return [_spelled(_item(_plain(item), kind)) for item in items]
    match name:
        case "JSON":
            return _json_text(value)
        case "JSON_LIST":
            return [_json_text(item) for item in value]
        case "SCALAR_MAP":  # Feast's server has no JSON for one
            return None
        case "MAP" | "STRUCT":
            value = _parsed(value)
            if name == "STRUCT" and not isinstance(value, Mapping):
                value = {"_value": str(value)}
            return _map(value)
        case "MAP_LIST" | "STRUCT_LIST":
            return [_map(_plain(item)) for item in _parsed(value)]
        case "VALUE_LIST" | "VALUE_SET":
            return _nested_lists(value)
    return _nested(value)


def _parsed(value: Any) -> Any:
    """A map, or several, may come as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _map(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a dict, got {type(value).__name__}")
    plain = {_text(key): _plain(item) for key, item in value.items()}
    return {key: None if _is_null(item) else _nested(item) for key, item in plain.items()}


def _scalar_map(value: Any) -> dict[str, Any]:
    """A map whose keys are no text, with their text for keys, as `feast_format.values` has it for stored ones."""
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a dict, got {type(value).__name__}")
    plain = {_plain(key): _plain(item) for key, item in value.items()}
    return {
        key if isinstance(key, str) else str(_scalar_key(key)): None
        if _is_null(item)
        else _scalar_map(item)
        if isinstance(item, Mapping)
        else _nested(item)
        for key, item in plain.items()
    }


def _scalar_key(key: Any) -> Any:
    nested = _nested(key)
    return nested if isinstance(nested, str) else json.dumps(nested)


def _nested_lists(value: Any) -> list[Any]:
    """Lists of lists. An inner list that is empty is stored by Feast as a null."""
    inner = [None if item is None else list(_plain(item)) for item in value]
    return [
        None
        if not items
        else _nested_lists(items)
        if any(isinstance(_plain(item), list | set | tuple) for item in items)
        else _nested(items)
        for items in inner
    ]


def _nested(value: Any) -> Any:
    """What is inside maps and lists: each by its own type, since none is declared."""
    value = _plain(value)
    if isinstance(value, Mapping):
        return _map(value)
    if isinstance(value, list | tuple | set):
        return [_nested(item) for item in value]
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, str | uuid.UUID | Decimal):
        return _text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _checked_integer(64)(value)
    return _spelled(value)


def _spelled(value: Any) -> Any:
    """Infinities by their names. So is a NaN within a list; one that stands alone is a null, and does not come here."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
