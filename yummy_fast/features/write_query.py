"""The JSON body of a push, or of a write to one view: bytes in, a WriteQuery or a refusal out.

It accepts and refuses what Feast's pydantic models do (PushFeaturesRequest and WriteToFeatureStoreRequest in
feast/feature_server.py, Feast 0.67.0), with FastAPI's 422 bodies; and of `df` the forms that pandas makes a DataFrame
of, with messages of our own:

    {"driver_id": [1, 2], "trips": [7, 8]}                columns of equal length
    {"driver_id": [1, 2], "event_timestamp": "2026..."}   what is no list stands for all rows
    {"driver_id": {"0": 1, "1": 2}}                       what DataFrame.to_dict() makes: columns of rows by their names

Pure. What the columns mean is not known here: `writes` finds out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from yummy_fast.errors import LimitError, RequestError
from yummy_fast.features.query import boolean, detail, parse_json, parse_losslessly, refusal

MAX_NESTED = 100_000
"""Lists, objects and keys in a large body: a feature may be a list in each row. As many take 10 to 40 ms to parse."""
MAX_COLUMNS = 10_000

TO = ("online", "offline", "online_and_offline")


class WriteQuery(NamedTuple):
    """What is to be written."""

    name: str
    """The push source, or the feature view."""
    columns: dict[str, Any]
    """Lists of one length; what is no list stands for all rows."""
    rows: int
    allow_registry_cache: bool
    to: str
    transform_on_write: bool


def parse_push(body: bytes, *, exact: bool = False) -> WriteQuery:
    """The body of /push. Raises RequestError, LimitError."""
    return _parse(body, "push_source_name", exact)


def parse_write(body: bytes, *, exact: bool = False) -> WriteQuery:
    """The body of /write-to-online-store. Raises RequestError, LimitError."""
    return _parse(body, "feature_view_name", exact)


def _parse(body: bytes, name_key: str, exact: bool) -> WriteQuery:
    """`exact`: with a slower parser that changes no number."""
    data = parse_losslessly(body) if exact else parse_json(body, MAX_NESTED)
    if type(data) is dict and len(data) == 2 and type(data.get(name_key)) is str and type(data.get("df")) is dict:
        return WriteQuery(data[name_key], *_columns(data["df"]), True, "online", True)  # the usual one
    if type(data) is not dict:
        message = "Input should be a valid dictionary or object to extract fields from"
        raise refusal([detail("model_attributes_type", (), message, data)], body)
    problems: list[dict[str, Any]] = []
    name = data.get(name_key)
    if type(name) is not str:
        problems.append(
            detail("string_type", (name_key,), "Input should be a valid string", name)
            if name_key in data
            else detail("missing", (name_key,), "Field required", data)
        )
    frame = data.get("df")
    if type(frame) is not dict:
        problems.append(
            detail("dict_type", ("df",), "Input should be a valid dictionary", frame)
            if "df" in data
            else detail("missing", ("df",), "Field required", data)
        )
    may_be_old = boolean(data, "allow_registry_cache", problems, default=True)
    to = data.get("to", "online") if name_key == "push_source_name" else "online"
    if type(to) is not str:
        problems.append(detail("string_type", ("to",), "Input should be a valid string", to))
    transform = boolean(data, "transform_on_write", problems, default=True)
    if problems:
        raise refusal(problems, body)
    assert type(name) is str  # noqa: S101  # or there would be a problem
    assert type(frame) is dict  # noqa: S101
    columns, rows = _columns(frame)
    if to not in TO:
        raise RequestError(f"to: expected one of {', '.join(TO)}, got {to!r}")
    return WriteQuery(name, columns, rows, may_be_old, to, transform)


def _columns(frame: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The columns, as lists or as one value for all rows, and the number of rows. Raises RequestError, LimitError."""
    if len(frame) > MAX_COLUMNS:
        raise LimitError(413, f"Content Too Large: df: the limit is {MAX_COLUMNS} columns")
    if not frame:
        return frame, 0
    kinds = set(map(type, frame.values()))
    if kinds == {list}:
        lengths = set(map(len, frame.values()))
        if len(lengths) == 1:
            return frame, lengths.pop()
    if dict in kinds:
        return _by_name(frame)
    if list not in kinds:
        raise RequestError("df: expected an array for each column, got none")
    first, rows = next((name, len(column)) for name, column in frame.items() if type(column) is list)
    for name, column in frame.items():
        if type(column) is list and len(column) != rows:
            raise RequestError(f"df.{name}: expected {rows} values, as in df.{first}, got {len(column)}")
    return frame, rows


def _by_name(frame: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """As `_columns`, of columns whose rows have names. All have the same rows, in the order of the first column."""
    first, names = next((name, list(column)) for name, column in frame.items() if type(column) is dict)
    columns: dict[str, Any] = {}
    for key, column in frame.items():
        if type(column) is list:
            raise RequestError(f"df.{key}: expected an object, as df.{first} is, got an array")
        columns[key] = column
        if type(column) is dict:
            if len(column) != len(names) or not column.keys() >= set(names):
                raise RequestError(f"df.{key}: expected the rows that df.{first} has")
            columns[key] = [column[name] for name in names]
    return columns, len(names)
