"""The JSON body of a request: bytes in, a Query or a refusal out.

`parse_query` accepts and refuses what Feast's pydantic model does (GetOnlineFeaturesRequest in feast/feature_server.py,
Feast 0.67.0), with FastAPI's 422 bodies. Only the Content-Type does not matter here. Bodies that would keep the parser
busy for long are refused before they are parsed.

Pure. It knows neither features nor entities: `catalog` and `binding` find out what the names in a Query mean.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, NamedTuple

import orjson

from yummy_fast.errors import LimitError, UnreadableBodyError, ValidationError


class Query(NamedTuple):
    """The body of a get-online-features request."""

    entities: dict[str, list[Any]]
    feature_service: str | None
    features: list[str]
    full_feature_names: bool
    version_metadata: bool


LARGE_BODY_BYTES = 64 << 10
"""A longer body is checked before it is parsed, and no piece of it is quoted in an answer: parsing and quoting are slow
work, which an attacker could cause at little cost. Ordinary bodies are shorter: 1,000 rows of 250 features by name take
30 KB.
"""
MAX_NESTED = 10_000
"""Lists, objects and keys in a large body. An ordinary one has a list for each entity column and one for the features.
8 MiB of empty lists would keep the parser busy for a second, in which no other request is answered. 10,000 lists take a
millisecond.
"""
MAX_VALUES = 1_000_000
"""Commas in a large body: enough for ten entity columns with as many rows as --max-rows allows by default. A million
values are parsed in 30 to 70 ms.
"""
MAX_FEATURES = 10_000
"""Features that one request may name. To look at 10,000 takes 20 ms. With 100 rows they reach --max-cells."""
MAX_ENTITY_COLUMNS = 1_000
"""Entity columns of one request, used or not. To look at 1,000 takes 3 ms. A view has one to five join keys."""
MAX_PROBLEMS = 100
"""Mistakes of one kind that an answer lists. Each takes 100 bytes of it, for 2 bytes of the request."""

_ONLY_LISTS = frozenset((list,))
_TRUE = frozenset(("1", "on", "t", "true", "y", "yes"))
_FALSE = frozenset(("0", "off", "f", "false", "n", "no"))


def parse_query(body: bytes) -> Query:
    """The request in `body`. Unknown keys are ignored. Raises ValidationError with FastAPI's details, LimitError."""
    try:
        data = orjson.loads(body) if len(body) <= LARGE_BODY_BYTES else parse_json(body)
    except orjson.JSONDecodeError as error:
        data = _loads_leniently(body, error)
    usual = _usual_query(data)
    return _checked_query(data, body) if usual is None else usual


def parse_json(body: bytes, max_nested: int = MAX_NESTED) -> Any:
    """What a body holds. Raises ValidationError, LimitError, UnreadableBodyError."""
    if len(body) > LARGE_BODY_BYTES:
        _check_structure(body, max_nested)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _loads_leniently(body, error)


def parse_exactly(body: bytes) -> Query:
    """As `parse_query`, for a body that it has accepted, with a slower parser that changes no number.

    For bodies up to LARGE_BODY_BYTES. Raises UnreadableBodyError if the body exceeds a limit of this parser.
    """
    return _checked_query(parse_losslessly(body), body)


def parse_losslessly(body: bytes) -> Any:
    """What a body holds, by the parser that changes no number. Raises UnreadableBodyError."""
    try:
        return json.loads(body)
    except RecursionError:
        raise UnreadableBodyError("it is nested too deep") from None
    except ValueError:
        raise UnreadableBodyError("it has a number of too many digits") from None


def _usual_query(data: Any) -> Query | None:
    """The Query of a body like nearly all: a feature service's name, lists of entities and nothing else. Else None."""
    if type(data) is dict and len(data) == 2:
        service, entities = data.get("feature_service"), data.get("entities")
        if (
            type(service) is str
            and type(entities) is dict
            and len(entities) <= MAX_ENTITY_COLUMNS
            and _ONLY_LISTS.issuperset(map(type, entities.values()))
        ):
            # As Query(...), without its __new__, which a NamedTuple has in Python.
            return tuple.__new__(Query, (entities, service, [], False, False))
    return None


def _checked_query(data: Any, body: bytes) -> Query:
    if type(data) is not dict:
        message = "Input should be a valid dictionary or object to extract fields from"
        raise refusal([detail("model_attributes_type", (), message, data)], body)
    problems: list[dict[str, Any]] = []
    entities = data.get("entities")
    if type(entities) is not dict:
        if "entities" in data:
            problems.append(detail("dict_type", ("entities",), "Input should be a valid dictionary", entities))
        else:
            problems.append(detail("missing", ("entities",), "Field required", data))
    else:
        if len(entities) > MAX_ENTITY_COLUMNS:
            raise LimitError(413, f"Content Too Large: entities: the limit is {MAX_ENTITY_COLUMNS} columns")
        wrong_columns = ((name, values) for name, values in entities.items() if type(values) is not list)
        problems += [
            detail("list_type", ("entities", name), "Input should be a valid list", values)
            for name, values in islice(wrong_columns, MAX_PROBLEMS)
        ]
    service = data.get("feature_service")
    if service is not None and type(service) is not str:
        problems.append(detail("string_type", ("feature_service",), "Input should be a valid string", service))
    features = data.get("features", [])
    if type(features) is not list:
        problems.append(detail("list_type", ("features",), "Input should be a valid list", features))
    elif len(features) > MAX_FEATURES:
        raise LimitError(413, f"Content Too Large: features: the limit is {MAX_FEATURES} features")
    elif not {str}.issuperset(map(type, features)):
        wrong_refs = ((position, ref) for position, ref in enumerate(features) if type(ref) is not str)
        problems += [
            detail("string_type", ("features", position), "Input should be a valid string", ref)
            for position, ref in islice(wrong_refs, MAX_PROBLEMS)
        ]
    full_names = boolean(data, "full_feature_names", problems)
    version_metadata = boolean(data, "include_feature_view_version_metadata", problems)
    if problems:
        raise refusal(problems, body)
    assert entities is not None  # noqa: S101  # or there would be a problem
    context = data.get("request_context")
    if type(context) is dict:  # where clients of Feast's Go server put what on-demand views need; Python's ignores it
        entities = entities | {
            name: values for name, values in context.items() if type(values) is list and name not in entities
        }
        if len(entities) > MAX_ENTITY_COLUMNS:
            raise LimitError(413, f"Content Too Large: entities: the limit is {MAX_ENTITY_COLUMNS} columns")
    return Query(entities, service, features, full_names, version_metadata)


def boolean(data: dict[str, Any], key: str, problems: list[dict[str, Any]], default: bool = False) -> bool:
    """A boolean as pydantic's lax mode reads one. What it does not take for one is added to `problems`."""
    value = data.get(key, default)
    if type(value) is bool:
        return value
    text = value.lower() if isinstance(value, str) else str(int(value)) if _is_whole_number(value) else None
    if text in _TRUE:
        return True
    if text is None:
        problems.append(detail("bool_type", (key,), "Input should be a valid boolean", value))
    elif text not in _FALSE:
        problems.append(
            detail("bool_parsing", (key,), "Input should be a valid boolean, unable to interpret input", value)
        )
    return False


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int | float) and value == value // 1 and abs(value) < 1 << 63


def detail(kind: str, loc: tuple[str | int, ...], message: str, value: object) -> dict[str, Any]:
    return {"type": kind, "loc": ["body", *loc], "msg": message, "input": value}


def refusal(problems: list[dict[str, Any]], body: bytes) -> ValidationError:
    """The error for `problems`. FastAPI quotes pieces of the body in it; of a large body that could be all of it."""
    if len(body) > LARGE_BODY_BYTES:
        problems = [{**problem, "input": None} for problem in problems]
    return ValidationError(problems)


def _check_structure(body: bytes, max_nested: int) -> None:
    """Refuse a body that would keep a parser busy for long. Raises LimitError.

    Counting bytes is much faster than parsing: "[" and "{" begin lists and objects, ":" follows a key, "," stands
    between two values. Strings may hold these bytes as well, so the counts can be too high, but they are never too
    low. Before a body is refused, what entity keys are known to hold is left out of the counts:

        {"guid_id":["{9f1c0e34-...}"]}    a bracket right behind a quote belongs to a string
        {"driver_id":["driver:7"]}        a colon follows a key only right behind a quote, if spaces are left out
    """
    nested = body.count(b"[") + body.count(b"{")
    if nested > max_nested:
        nested -= body.count(b'"[') + body.count(b'"{')
    if nested <= max_nested and body.count(b":") > max_nested:
        nested += body.translate(None, b" \t\r\n").count(b'":')
    if nested > max_nested:
        raise LimitError(413, f"Content Too Large: the limit is {max_nested} lists, objects and keys")
    if body.count(b",") > MAX_VALUES:
        raise LimitError(413, f"Content Too Large: the limit is {MAX_VALUES} values")


def _loads_leniently(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """A body that orjson has refused, read by the standard library's parser, as Feast does: it takes NaN and Infinity.

    Raises ValidationError with the message of the standard library, which Feast's callers know, and UnreadableBodyError
    for what FastAPI refuses with another error.
    """
    if not body:
        raise ValidationError([detail("missing", (), "Field required", None)])
    message, position = str(error).partition(":")[0], error.pos
    if len(body) <= LARGE_BODY_BYTES:  # a larger one is not parsed a second time
        try:
            data = json.loads(body)
            json.dumps(data, ensure_ascii=False).encode()  # what cannot be written cannot be answered
        except json.JSONDecodeError as theirs:
            message, position = theirs.msg, theirs.pos
        except UnicodeEncodeError:
            pass  # half of a surrogate pair
        except UnicodeDecodeError:
            raise UnreadableBodyError("it is not UTF-8") from None
        except RecursionError:
            raise UnreadableBodyError("it is nested too deep") from None
        except ValueError:
            raise UnreadableBodyError("it has a number of too many digits") from None
        else:
            return data
    invalid = detail("json_invalid", (position,), "JSON decode error", {})
    raise ValidationError([{**invalid, "ctx": {"error": message}}])
