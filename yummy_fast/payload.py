"""JSON bodies: a request in, feature vectors out.

In: `parse_query` accepts and refuses what Feast's pydantic model does (feast/feature_server.py GetOnlineFeaturesRequest,
Feast 0.67.0), with FastAPI's 422 bodies; only the Content-Type does not matter here.

Out: an answer is text that the plan knew beforehand with values spliced in. Feast's shape is one object per column,

    {"values":[...],"statuses":[...],"event_timestamps":[...]}

and within one view all columns of an answer share statuses and timestamps. So `encode_vectors` makes the text between
two columns' values once per view (`_tail`), gets the values of a whole row or column as text from a single orjson call,
and joins. No Python object is built per value in order to be dumped again; none is looked up.

Pure. orjson is known here only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from yummy_fast.codec import (
    EPOCH_TEXT,
    FLAT,
    FLOATING,
    ColumnDecoder,
    CorruptValue,
    RowDecoder,
    TimestampTexts,
    decode_value,
    spell_non_finite,
)
from yummy_fast.errors import ValidationError
from yummy_fast.plan import Bound, Lookup, Plan

Row = Sequence[bytes | None]
"""One entity as a store answers it: the stored Values of a Lookup's features in order, then each view's timestamp."""

# ------------------------------------------------------------------------------------------------------- requests in


class Query(NamedTuple):
    """The body of a get-online-features request."""

    entities: dict[str, list[Any]]
    feature_service: str | None
    features: list[str]
    full_feature_names: bool
    version_metadata: bool


_TRUE = frozenset(("1", "on", "t", "true", "y", "yes"))
_FALSE = frozenset(("0", "off", "f", "false", "n", "no"))


def parse_query(body: bytes) -> Query:
    """The request in `body`. Unknown keys are ignored. Raises ValidationError with FastAPI's details."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _not_json(body, error) from None
    if type(data) is not dict:
        raise ValidationError(
            [
                _detail(
                    "model_attributes_type",
                    (),
                    "Input should be a valid dictionary or object to extract fields from",
                    data,
                )
            ]
        )
    problems: list[dict[str, Any]] = []
    entities = data.get("entities")
    if type(entities) is not dict:
        if "entities" in data:
            problems.append(_detail("dict_type", ("entities",), "Input should be a valid dictionary", entities))
        else:
            problems.append(_detail("missing", ("entities",), "Field required", data))
    else:
        problems += [
            _detail("list_type", ("entities", name), "Input should be a valid list", values)
            for name, values in entities.items()
            if type(values) is not list
        ]
    service = data.get("feature_service")
    if service is not None and type(service) is not str:
        problems.append(_detail("string_type", ("feature_service",), "Input should be a valid string", service))
    features = data.get("features", [])
    if type(features) is not list:
        problems.append(_detail("list_type", ("features",), "Input should be a valid list", features))
    else:
        problems += [
            _detail("string_type", ("features", place), "Input should be a valid string", ref)
            for place, ref in enumerate(features)
            if type(ref) is not str
        ]
    full_names = _boolean(data, "full_feature_names", problems)
    version_metadata = _boolean(data, "include_feature_view_version_metadata", problems)
    if problems:
        raise ValidationError(problems)
    return Query(entities, service, features, full_names, version_metadata)


def _boolean(data: dict[str, Any], key: str, problems: list[dict[str, Any]]) -> bool:
    """A boolean as pydantic's lax mode reads one; anything else is added to `problems`."""
    value = data.get(key, False)
    if type(value) is bool:
        return value
    text = value.lower() if isinstance(value, str) else str(int(value)) if _is_whole_number(value) else None
    if text in _TRUE:
        return True
    if text is None:
        problems.append(_detail("bool_type", (key,), "Input should be a valid boolean", value))
    elif text not in _FALSE:
        problems.append(
            _detail("bool_parsing", (key,), "Input should be a valid boolean, unable to interpret input", value)
        )
    return False


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int | float) and value == value // 1 and abs(value) < 1 << 63


def _detail(kind: str, loc: tuple[str | int, ...], message: str, value: object) -> dict[str, Any]:
    return {"type": kind, "loc": ["body", *loc], "msg": message, "input": value}


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> ValidationError:
    if not body:
        return ValidationError([_detail("missing", (), "Field required", None)])
    try:
        json.loads(body)  # for its message, which is the one that Feast's callers know
        message, place = str(error), error.pos
    except json.JSONDecodeError as theirs:
        message, place = theirs.msg, theirs.pos
    except (UnicodeDecodeError, RecursionError):
        message, place = str(error).partition(":")[0], error.pos
    detail = _detail("json_invalid", (place,), "JSON decode error", {})
    return ValidationError([{**detail, "ctx": {"error": message}}])


# ------------------------------------------------------------------------------------------------ feature vectors out

_VALUES = b'{"values":['
_STATUSES = b'],"statuses":['
_TIMESTAMPS = b'],"event_timestamps":['
_NEXT = b"]},"
_OPEN = b'{"results":['
_CLOSE = b']}],"metadata":{"feature_names":'
_PRESENT = b'"PRESENT"'
_EPOCH = b'"' + EPOCH_TEXT + b'"'
_ONE_ECHO_TAIL = _STATUSES + _PRESENT + _TIMESTAMPS + _EPOCH + _NEXT + _VALUES

timestamp_texts = TimestampTexts()


class _LookupRendering:
    """How the rows of one Lookup become text."""

    __slots__ = ("columns", "fields", "flat", "floating", "may_float", "row", "runs", "width")

    def __init__(self, lookup: Lookup) -> None:
        types = [feature.type for feature in lookup.features]
        self.width = len(types)
        self.row = RowDecoder(types)
        self.columns = [ColumnDecoder(value_type) for value_type in types]
        self.floating = [value_type in FLOATING for value_type in types]
        self.may_float = any(self.floating)
        self.flat = FLAT.issuperset(types)
        self.fields = lookup.features
        # Which view's timestamp goes with each feature, as (place in the row, how many features on end).
        self.runs: list[tuple[int, int]] = []
        for view in lookup.view_of:
            place = self.width + view
            if self.runs and self.runs[-1][0] == place:
                self.runs[-1] = (place, self.runs[-1][1] + 1)
            else:
                self.runs.append((place, 1))


class Rendering:
    """What `encode_vectors` needs to know of a plan, made when the plan is compiled."""

    __slots__ = ("arrange", "lookups", "names", "version_metadata")

    def __init__(self, plan: Plan) -> None:
        self.lookups = [_LookupRendering(lookup) for lookup in plan.lookups]
        self.names = [column.name for column in plan.columns]
        entries = [
            {"name": name, "version": version} if version else {"name": name} for name, version in plan.view_metadata
        ]
        self.version_metadata = b',"feature_view_metadata":' + orjson.dumps(entries)
        # The lookups' columns one after the other -> the columns of the answer; None if that is the same.
        starts = [0]
        for lookup in plan.lookups:
            starts.append(starts[-1] + len(lookup.features))
        order = [starts[column.lookup] + column.place for column in plan.columns]
        self.arrange = None if order == list(range(len(order))) else itemgetter(*order)


def encode_vectors(plan: Plan, bound: Bound, rows: Sequence[Sequence[Row]], version_metadata: bool) -> bytes:
    """The body of an answer: `rows` holds a row per entity key, per Lookup. Raises CorruptValue naming the feature."""
    rendering: Rendering = plan.rendering
    texts: list[bytes] = []
    tails: list[bytes] = []
    if bound.rows == 1:
        for lookup, found in zip(rendering.lookups, rows, strict=True):
            _encode_row(lookup, found[0], texts, tails)
    else:
        for lookup, found, fan in zip(rendering.lookups, rows, bound.fans, strict=True):
            _encode_columns(lookup, found if fan is None else [found[place] for place in fan], texts, tails)
    if rendering.arrange is not None:
        texts, tails = list(rendering.arrange(texts)), list(rendering.arrange(tails))
    echo_tail = _ONE_ECHO_TAIL if bound.rows == 1 else _same_tail(bound.rows, _EPOCH)
    parts = [_OPEN, _VALUES]
    for values in bound.echoes:
        parts += (orjson.dumps(values)[1:-1], echo_tail)
    parts += chain.from_iterable(zip(texts, tails, strict=True))
    parts[-1] = parts[-1][: -len(_NEXT) - len(_VALUES)]  # the last column ends with the list of columns
    feature_names = bound.binding.feature_names
    if feature_names is None:
        feature_names = orjson.dumps([*bound.binding.echo_names, *rendering.names])
        bound.binding.feature_names = feature_names
    parts += (_CLOSE, feature_names)
    if version_metadata:
        parts.append(rendering.version_metadata)
    parts.append(b"}}")
    return b"".join(parts)


def _same_tail(rows: int, timestamp: bytes) -> bytes:
    """What follows a column's values when all its cells are PRESENT and have one timestamp."""
    return b"".join(
        (_STATUSES, b",".join([_PRESENT] * rows), _TIMESTAMPS, b",".join([timestamp] * rows), _NEXT, _VALUES)
    )


def _encode_row(lookup: _LookupRendering, row: Row, texts: list[bytes], tails: list[bytes]) -> None:
    """Add the text of each value of one entity, and what follows it."""
    try:
        values = lookup.row(row[: lookup.width])
    except CorruptValue:
        raise _named(lookup, row) from None
    if lookup.flat:
        # JSON escapes the newlines inside strings, so what the pretty-printer puts between scalars only occurs there.
        pieces = orjson.dumps(values, option=orjson.OPT_INDENT_2)[4:-2].split(b",\n  ")
    else:
        pieces = [orjson.dumps(value) for value in values]
    if lookup.may_float and any(b"null" in piece for piece in pieces):
        pieces = [
            orjson.dumps(spell_non_finite(value)) if b"null" in piece else piece
            for value, piece in zip(values, pieces, strict=True)
        ]
    texts += pieces
    for place, features in lookup.runs:
        stamp = row[place]
        tail = b"".join((_STATUSES, _PRESENT, _TIMESTAMPS, b'"', timestamp_texts[stamp], b'"', _NEXT, _VALUES))
        tails += [tail] * features


def _encode_columns(lookup: _LookupRendering, rows: Sequence[Row], texts: list[bytes], tails: list[bytes]) -> None:
    """Add the text of each column's values over all entities, and what follows them."""
    columns = list(zip(*rows, strict=True))
    for place, decode in enumerate(lookup.columns):
        try:
            values = decode(columns[place])
        except CorruptValue:
            raise _named(lookup, columns[: lookup.width]) from None
        text = orjson.dumps(values)
        if lookup.floating[place] and b"null" in text:
            text = orjson.dumps(spell_non_finite(values))
        texts.append(text[1:-1])
    statuses = b",".join([_PRESENT] * len(rows))
    for place, features in lookup.runs:
        stamps = b'","'.join(timestamp_texts.of(columns[place]))
        tails += [b"".join((_STATUSES, statuses, _TIMESTAMPS, b'"', stamps, b'"', _NEXT, _VALUES))] * features


def _named(lookup: _LookupRendering, stored: Sequence[Any]) -> CorruptValue:
    """The error for the first of the lookup's features that does not decode. Its place is not told: it is an entity."""
    for feature, found in zip(lookup.fields, stored, strict=False):
        try:
            for one in found if isinstance(found, tuple) else (found,):
                decode_value(one)
        except CorruptValue as error:
            return CorruptValue(f"The online store holds a corrupt value of {feature.view}:{feature.name}: {error}")
    return CorruptValue("The online store holds a corrupt value")
