"""Bodies of pushes: what Feast's pydantic models take and refuse, and what pandas makes a DataFrame of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yummy_fast.errors import LimitError, RequestError, ValidationError
from yummy_fast.features.write_query import MAX_COLUMNS, parse_push, parse_write


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


def test_too_many_columns() -> None:
    with pytest.raises(LimitError, match="columns"):
        parse_push(push({str(number): [1] for number in range(MAX_COLUMNS + 1)}))


def test_numbers_of_any_length() -> None:
    body = b'{"push_source_name": "s", "df": {"a": [123456789012345678901234567890]}}'
    assert isinstance(parse_push(body).columns["a"][0], float)
    assert parse_push(body, exact=True).columns["a"] == [123456789012345678901234567890]
