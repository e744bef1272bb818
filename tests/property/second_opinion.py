"""What Feast 0.67.0 does, written plainly and slowly: one value at a time, dictionaries, `json`.

It does what these files of Feast's do: feast/infra/key_encoding_utils.py, feast/infra/online_stores/redis.py,
feast/utils.py, feast/feature_server.py and feast/feature_server_utils.py.

Nothing here may import from yummy_fast but the messages.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value

# ----------------------------------------------------------------------------------- entity keys: key_encoding_utils.py

_TYPE_NUMBERS = {"BYTES": 1, "STRING": 2, "INT32": 3, "INT64": 4, "UNIX_TIMESTAMP": 8}


def entity_key(version: int, parts: Mapping[str, tuple[str, Any]]) -> bytes:
    """The key of join key -> (type, value)."""
    key = b""
    if version > 2:
        key += struct.pack("<I", len(parts))
    for join_key in sorted(parts):
        name = join_key.encode("utf-8")
        key += struct.pack("<I", 2)
        if version > 2:
            key += struct.pack("<I", len(name))
        key += name
    for join_key in sorted(parts):
        kind, value = parts[join_key]
        match kind:
            case "STRING":
                data = value.encode("utf-8")
            case "BYTES":
                data = value
            case "INT32":
                data = struct.pack("<i", value)
            case _:
                data = struct.pack("<q", value)
        key += struct.pack("<I", _TYPE_NUMBERS[kind]) + struct.pack("<I", len(data)) + data
    return key


# -------------------------------------------------------------------------------------- values: feature_server_utils.py


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.standard_b64encode(value).decode()
    return _number(value) if isinstance(value, float) else value


def _key_text(key: values.MapKey) -> str:
    """The key of a scalar map, by protobuf's own JSON."""
    (text,) = MessageToDict(key).values() or [None]
    return text if isinstance(text, str) else json.dumps(text)


def value_of(message: Value, *, exact: bool = False) -> Any:
    """What Feast's server answers for a Value (feature_server_utils.py); `exact`: with its scalar maps."""
    field = message.WhichOneof("val")
    if field is None or field == "null_val" or (field == "scalar_map_val" and not exact):
        return None
    found: Any = getattr(message, field)
    match found:
        case values.ScalarMap():
            return {_key_text(entry.key): value_of(entry.value, exact=exact) for entry in found.val}
        case values.Map():
            return {key: value_of(found.val[key], exact=exact) for key in found.val}
        case values.MapList():
            return [{key: value_of(one.val[key], exact=exact) for key in one.val} for one in found.val]
        case values.RepeatedValue():
            return [value_of(one, exact=exact) for one in found.val]
        case values.ZonedTimestamp():  # the strategies stay with UTC; feast_format/test_values.py has the zones
            return datetime.fromtimestamp(found.unix_timestamp, tz=UTC).isoformat()
        case bytes() | str() | int() | float():
            return _scalar(found)
        case _:
            return [_scalar(one) for one in found.val]


def value_of_stored(stored: bytes | None, *, exact: bool = False) -> Any:
    return value_of(Value.FromString(stored), exact=exact) if stored else None


def is_of_unknown_type(stored: bytes | None) -> bool:
    """Whether there are bytes, and they say of no type that this version of the format has."""
    return bool(stored) and Value.FromString(stored or b"").WhichOneof("val") is None


def moment_of_stored(stored: bytes | None) -> datetime:
    """A stored Timestamp, in UTC."""
    timestamp = Timestamp.FromString(stored or b"")
    return datetime.fromtimestamp(timestamp.seconds + timestamp.nanos / 1e9, tz=UTC)


def timestamp_of_stored(stored: bytes | None) -> str:
    """A stored Timestamp in Feast's text (2.8)."""
    moment = moment_of_stored(stored)
    fraction = f"{moment.microsecond:06d}"
    if fraction.endswith("000"):
        fraction = fraction[:3]
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}Z" if moment.microsecond == 0 else f"{text}.{fraction}Z"


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: 1, 1.0 and true are three things."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# ---------------------------------------------------------------------------------------------------- answers: utils.py


def response(
    echoes: Sequence[tuple[str, Sequence[Any]]],
    columns: Sequence[tuple[str, Sequence[bytes | None], Sequence[bytes | None]]],
) -> dict[str, Any]:
    """The body of an answer by Feast on Redis.

    - `echoes`: name and values of each entity column.
    - `columns`: name, stored Values and stored Timestamps of each feature.
    """
    results = [
        {
            "values": list(echo),
            "statuses": ["PRESENT"] * len(echo),
            "event_timestamps": [timestamp_of_stored(b"")] * len(echo),
        }
        for _, echo in echoes
    ]
    for _, stored, stamps in columns:
        results.append(
            {
                "values": [value_of_stored(one) for one in stored],
                "statuses": ["PRESENT"] * len(stored),
                "event_timestamps": [timestamp_of_stored(stamp) for stamp in stamps],
            }
        )
    names = [name for name, _ in echoes] + [name for name, _, _ in columns]
    return {"results": results, "metadata": {"feature_names": names}}


# -------------------------------------------------------------------------------------------- bodies: feature_server.py


def accepts(data: object) -> bool:
    """Whether pydantic takes `data` for a GetOnlineFeaturesRequest."""
    if not isinstance(data, dict) or not isinstance(data.get("entities"), dict):
        return False
    if not all(isinstance(column, list) for column in data["entities"].values()):
        return False
    features = data.get("features", [])
    if not isinstance(features, list) or not all(isinstance(ref, str) for ref in features):
        return False
    if not isinstance(data.get("feature_service"), str | None):
        return False
    return all(
        boolean(data.get(key, False)) is not None
        for key in ("full_feature_names", "include_feature_view_version_metadata")
    )


def boolean(value: object) -> bool | None:
    """A boolean in pydantic's lax mode; None where it is none."""
    if isinstance(value, str):
        if value.lower() in ("1", "on", "t", "true", "y", "yes"):
            return True
        return False if value.lower() in ("0", "off", "f", "false", "n", "no") else None
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    return None
