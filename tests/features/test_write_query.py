"""Bodies of pushes: what Feast's pydantic models take and refuse, and what pandas makes a DataFrame of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yummy_fast.errors import LimitError, RequestError, ValidationError
from yummy_fast.features.write_query import parse_push, parse_write


def push(frame: Any, **more: Any) -> bytes:
    return json.dumps({"push_source_name": "s", "df": frame, **more}).encode()


def test_defaults() -> None:
    query = parse_push(push({"a": [1, 2]}))
    assert query == ("s", {"a": [1, 2]}, 2, True, "online", True)


def test_a_write_to_one_view_goes_nowhere_else() -> None:
    body = json.dumps({"feature_view_name": "v", "df": {"a": [1]}, "to": "offline", "allow_registry_cache": "no"})
    query = parse_write(body.encode())
    assert (query.name, query.to, query.allow_registry_cache) == ("v", "online", False)


@pytest.mark.parametrize(
    ("frame", "columns", "rows"),
    [
        ({}, {}, 0),
        ({"a": [], "b": 5}, {"a": [], "b": 5}, 0),
        ({"a": [1, 2], "b": "x"}, {"a": [1, 2], "b": "x"}, 2),
        ({"a": {"0": 1, "1": 2}, "b": {"1": 4, "0": 3}}, {"a": [1, 2], "b": [3, 4]}, 2),
        ({"a": {"0": 1}, "b": None}, {"a": [1], "b": None}, 1),
    ],
)
def test_frames(frame: Any, columns: Any, rows: int) -> None:
    query = parse_push(push(frame))
    assert (query.columns, query.rows) == (columns, rows)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"a": 1, "b": "x"}, "df: expected an array for each column, got none"),
        ({"a": [1], "b": [1, 2]}, "df.b: expected 1 values, as in df.a, got 2"),
        ({"a": {"0": 1}, "b": [1]}, "df.b: expected an object, as df.a is, got an array"),
        ({"a": {"0": 1}, "b": {"1": 1}}, "df.b: expected the rows that df.a has"),
        ({"a": {"0": 1}, "b": {"0": 1, "1": 1}}, "df.b: expected the rows that df.a has"),
        ({"c": 1, "a": {"0": 1, "1": 1}, "b": {"0": 1}}, "df.b: expected the rows that df.a has"),
        ({"a": [1], "b": {"0": 1}}, "df.a: expected an object, as df.b is, got an array"),
        ({"c": 1, "a": [1, 2], "b": [1]}, "df.b: expected 2 values, as in df.a, got 1"),
    ],
)
def test_frames_that_are_refused(frame: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_push(push(frame))
    assert (caught.value.status, str(caught.value)) == (400, message)


def test_where_it_may_go() -> None:
    assert parse_push(push({"a": [1]}, to="online_and_offline")).to == "online_and_offline"
    with pytest.raises(RequestError, match=r"^to: expected one of online, offline, online_and_offline, got 'x'$"):
        parse_push(push({"a": [1]}, to="x"))


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({}, [("missing", "push_source_name"), ("missing", "df")]),
        ({"push_source_name": 1, "df": []}, [("string_type", "push_source_name"), ("dict_type", "df")]),
        (
            {"push_source_name": "s", "df": {}, "to": 1, "transform_on_write": "x"},
            [("string_type", "to"), ("bool_parsing", "transform_on_write")],
        ),
        ([], [("model_attributes_type", "body")]),
    ],
)
def test_pydantics_refusals(body: Any, kinds: list[tuple[str, str]]) -> None:
    """FastAPI's types, as Feast's server gives them for such bodies."""
    with pytest.raises(ValidationError) as caught:
        parse_push(json.dumps(body).encode())
    assert [(detail["type"], detail["loc"][-1]) for detail in caught.value.details] == kinds


def test_a_refusal_has_what_pydantic_says() -> None:
    """In full: the place within the body, the message, and what was given instead."""
    body = {"push_source_name": 1, "df": [2], "allow_registry_cache": "x", "to": 3}
    with pytest.raises(ValidationError) as caught:
        parse_push(json.dumps(body).encode())
    name, frame, cache, to = caught.value.details
    assert name == {
        "type": "string_type",
        "loc": ["body", "push_source_name"],
        "msg": "Input should be a valid string",
        "input": 1,
    }
    assert frame == {
        "type": "dict_type",
        "loc": ["body", "df"],
        "msg": "Input should be a valid dictionary",
        "input": [2],
    }
    assert (cache["type"], cache["loc"], cache["input"]) == ("bool_parsing", ["body", "allow_registry_cache"], "x")
    assert (to["loc"], to["input"]) == (["body", "to"], 3)
    with pytest.raises(ValidationError) as caught:
        parse_push(b'{"to": "online"}')
    for problem, missing in zip(caught.value.details, ("push_source_name", "df"), strict=True):
        assert problem == {
            "type": "missing",
            "loc": ["body", missing],
            "msg": "Field required",
            "input": {"to": "online"},
        }
    with pytest.raises(ValidationError) as caught:
        parse_push(b"[1]")
    (whole,) = caught.value.details
    assert whole == {
        "type": "model_attributes_type",
        "loc": ["body"],
        "input": [1],
        "msg": "Input should be a valid dictionary or object to extract fields from",
    }


def test_flags_are_those_of_the_body() -> None:
    query = parse_push(push({"a": [1]}, allow_registry_cache=False, transform_on_write=False))
    assert (query.allow_registry_cache, query.transform_on_write) == (False, False)
    for to in ("online", "offline"):
        assert parse_push(push({"a": [1]}, to=to)).to == to


def test_too_many_columns() -> None:
    assert len(parse_push(push({str(number): [1] for number in range(10_000)})).columns) == 10_000
    with pytest.raises(LimitError, match="columns") as caught:
        parse_push(push({str(number): [1] for number in range(10_001)}))
    assert caught.value.status == 413


def test_too_many_lists() -> None:
    """Only a large body is counted: tests/features/test_query.py. Each costs the parser an object."""
    nested = push({"a": [[] for _ in range(200_000)]})
    with pytest.raises(LimitError):
        parse_push(nested)
    assert parse_push(push({"a": [[] for _ in range(90_000)]})).rows == 90_000


def test_numbers_of_any_length() -> None:
    body = b'{"push_source_name": "s", "df": {"a": [123456789012345678901234567890]}}'
    assert isinstance(parse_push(body).columns["a"][0], float)
    assert parse_push(body, exact=True).columns["a"] == [123456789012345678901234567890]
    body = body.replace(b"push_source_name", b"feature_view_name")
    assert isinstance(parse_write(body).columns["a"][0], float)
    assert parse_write(body, exact=True).columns["a"] == [123456789012345678901234567890]
