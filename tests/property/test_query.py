"""Bodies in agree with pydantic's rules."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from tests.property import second_opinion
from tests.property.strategies import json_values, texts
from yummy_fast.errors import UnreadableBodyError, ValidationError
from yummy_fast.features.query import _checked_query, _usual_query, parse_query

lax_booleans = st.one_of(
    st.sampled_from(
        [True, False, 0, 1, 2, -1, 0.0, 1.0, 0.5, None, "yes", "NO", "on", "off", "t", "F", "1", "0", "2", ""]
    ),
    json_values,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "entities": st.one_of(
            st.dictionaries(texts, st.one_of(st.lists(json_values, max_size=3), json_values)), json_values
        ),
        "features": st.one_of(st.lists(st.one_of(texts, json_values), max_size=3), json_values),
        "feature_service": st.one_of(st.none(), texts, json_values),
        "full_feature_names": lax_booleans,
        "include_feature_view_version_metadata": lax_booleans,
        "unknown": json_values,
    },
)


@given(st.one_of(bodies, json_values))
def test_a_body_is_taken_or_refused_as_pydantic_does(data: Any) -> None:
    try:
        query = parse_query(json.dumps(data).encode())
    except ValidationError as error:
        assert not second_opinion.accepts(data)
        details = json.loads(error.body())["detail"]
        assert details
        assert all(set(one) >= {"type", "loc", "msg", "input"} and one["loc"][0] == "body" for one in details)
        return
    assert second_opinion.accepts(data)
    assert second_opinion.same(query.entities, data["entities"])
    assert query.feature_service == data.get("feature_service")
    assert query.features == data.get("features", [])
    assert query.full_feature_names == second_opinion.boolean(data.get("full_feature_names", False))
    assert query.version_metadata == second_opinion.boolean(data.get("include_feature_view_version_metadata", False))


usual_bodies = st.fixed_dictionaries(
    {"feature_service": texts, "entities": st.dictionaries(texts, st.lists(json_values, max_size=3), max_size=3)}
)


nearly_usual_bodies = st.fixed_dictionaries(
    {
        "feature_service": st.one_of(texts, texts, json_values),
        "entities": st.dictionaries(texts, st.one_of(st.lists(json_values, max_size=3), json_values), max_size=3),
    },
    optional={"features": st.lists(texts, max_size=2), "full_feature_names": lax_booleans},
)


@given(st.one_of(nearly_usual_bodies, bodies, json_values))
def test_the_short_way_through_a_body_ends_where_the_long_one_does(data: Any) -> None:
    usual = _usual_query(data)
    if usual is None:
        return
    assert usual == _checked_query(data, b"")


@given(usual_bodies)
def test_the_usual_body_takes_the_short_way(data: Any) -> None:
    assert _usual_query(data) is not None


def is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


pieces = st.lists(
    st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b'"entities"',
            b'"a"',
            b"null",
            b"1",
            b"-",
            b"1e9",
            b"\\u",
            b"\xff",
            b" ",
        ]
    ),
    max_size=20,
).map(b"".join)


@given(st.one_of(st.binary(max_size=40), pieces))
@example(b"9" * 5_000)
@example(b'{"entities":{"a":[-' + b"9" * 5_000 + b"]}}")
@example(b"[" * 1_000 + b"]" * 1_000)
@example(b"\xef\xbb\xbf{}")
def test_bytes_of_any_kind_are_a_request_or_an_error_that_is_told(body: bytes) -> None:
    try:
        parse_query(body)
    except (UnreadableBodyError, ValidationError) as error:
        refusal = error.body()
    else:
        return
    assert is_json(refusal)
