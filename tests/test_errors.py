"""The answers that belong to exceptions: status, head lines, and Feast's three shapes of body.

A FeastError is JSON in a JSON string (feast/errors.py), any other exception is a JSON string of its text
(feast/feature_server.py), and what pydantic refuses is FastAPI's `detail`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from yummy_fast import errors


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.RequestError("wrong"), 400, b""),
        (errors.CollisionError("twice"), 400, b""),
        (errors.NotFoundError("FeatureViewNotFoundException", "gone"), 404, b""),
        (errors.ValidationError([]), 422, b""),
        (errors.RouteError(404, "Not Found"), 404, b""),
        (errors.RouteError(405, "Method Not Allowed", allow="GET, POST"), 405, b"allow: GET, POST\r\n"),
        (errors.ProtocolError(431, "too large"), 431, b""),
        (errors.ContentCodingError(), 415, b"accept-encoding: identity\r\n"),
        (errors.LimitError(413, "too large"), 413, b""),
        (errors.LimitError(503, "too many"), 503, b"retry-after: 1\r\n"),
        (errors.LimitError(504, "too late"), 504, b"retry-after: 1\r\n"),
        (errors.StoreError("odd answer"), 502, b""),
        (errors.StoreUnavailableError("down"), 503, b"retry-after: 1\r\n"),
        (errors.StoreOverloadedError("too much"), 503, b"retry-after: 1\r\n"),
        (errors.StoreTimeoutError("late"), 504, b"retry-after: 1\r\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_its_status_and_head_lines(error: errors.YummyError, status: int, headers: bytes) -> None:
    assert (error.status, error.headers) == (status, headers)


def test_start_up_errors_are_no_request_errors() -> None:
    for kind in (errors.ConfigError, errors.RegistryError):
        assert issubclass(kind, errors.YummyError)
        assert not issubclass(kind, errors.RequestError | errors.StoreError)


def test_a_plain_error_is_a_json_string() -> None:
    assert errors.RequestError("Invalid reference 'é'").body() == "\"Invalid reference 'é'\"".encode()


def test_a_feast_exception_is_encoded_twice_as_recorded() -> None:
    error = errors.NotFoundError(
        "FeatureServiceNotFoundException", "Feature service nosvc does not exist in project spec"
    )
    recorded = (
        r'"{\"module\": \"feast.errors\", \"class\": \"FeatureServiceNotFoundException\", '
        r'\"message\": \"Feature service nosvc does not exist in project spec\"}"'
    )
    assert error.body() == recorded.encode()


def test_a_collision_comes_under_feasts_class() -> None:
    inner = json.loads(json.loads(errors.CollisionError("Duplicate features named a found.\nRename").body()))
    assert inner == {
        "module": "feast.errors",
        "class": "FeatureNameCollisionError",
        "message": "Duplicate features named a found.\nRename",
    }


def test_validation_details_are_fastapis_and_the_message_names_the_places() -> None:
    details: list[dict[str, Any]] = [
        {"type": "list_type", "loc": ["body", "features"], "msg": "Input should be a valid list", "input": None},
        {"type": "string_type", "loc": ["body", "features", 2], "msg": "Input should be a valid string", "input": 1},
    ]
    error = errors.ValidationError(details)
    assert json.loads(error.body()) == {"detail": details}
    assert str(error) == (
        "body.features: Input should be a valid list; body.features.2: Input should be a valid string"
    )


@pytest.mark.parametrize("error", [errors.RouteError(404, "Not Found"), errors.ProtocolError(400, "Not Found")])
def test_routing_and_protocol_errors_are_details(error: errors.YummyError) -> None:
    assert error.body() == b'{"detail":"Not Found"}'


@pytest.mark.parametrize(
    "error",
    [
        errors.RequestError("got \ud800"),
        errors.NotFoundError("FeatureViewNotFoundException", "Feature view \ud800"),
        errors.RouteError(404, "\ud800"),
        errors.ValidationError([{"type": "t", "loc": ["body", "\ud800"], "msg": "m", "input": "\ud800"}]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_half_a_surrogate_pair_in_a_message_still_makes_json(error: errors.YummyError) -> None:
    assert "\\ud800" in error.body().decode()
    json.loads(error.body())


def test_an_input_nested_deeper_than_the_encoder_goes_still_makes_an_answer() -> None:
    nested: list[object] = []
    for _ in range(1020):  # orjson reads 1024 levels, so a body can bring these
        nested = [nested]
    body = errors.ValidationError([{"type": "list_type", "loc": ["body"], "msg": "m", "input": nested}]).body()
    assert body.startswith(b'{"detail":[{"type":"list_type"')


def test_errors_say_what_http_wants_besides() -> None:
    """RFC 9110: 405 lists the methods that there are (15.5.6), 401 the scheme of authentication (15.5.2)."""
    route = errors.RouteError(405, "Method Not Allowed", "GET, HEAD")
    assert (route.status, route.headers) == (405, b"allow: GET, HEAD\r\n")
    assert errors.RouteError(404, "Not Found").headers == b""
    token = errors.TokenError()
    assert (token.status, token.headers) == (401, b"www-authenticate: Bearer\r\n")
    assert token.body() == b'{"detail":"Invalid or expired access token"}'


def test_a_forwarded_request_fails_with_the_status_that_it_is_given() -> None:
    assert errors.ForwardError(504, "Feast's server did not answer in time").status == 504


def test_a_body_that_cannot_be_read_is_a_detail() -> None:
    """FastAPI's text for it, and why."""
    assert errors.UnreadableBodyError("not UTF-8").body() == (
        b'{"detail":"There was an error parsing the body: not UTF-8"}'
    )
