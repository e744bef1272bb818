"""Bodies in by pydantic's rules for GetOnlineFeaturesRequest of feast/feature_server.py. More in property/.

The tables of refusals were answered by FastAPI 0.165.0 and pydantic 2.14.3, which Feast 0.67.0 runs on.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from yummy_fast.errors import LimitError, UnreadableBodyError, ValidationError
from yummy_fast.features.query import LARGE_BODY_BYTES, MAX_PROBLEMS, Query, parse_exactly, parse_query


def details(body: bytes) -> list[dict[str, Any]]:
    with pytest.raises(ValidationError) as caught:
        parse_query(body)
    found: list[dict[str, Any]] = json.loads(caught.value.body())["detail"]
    return found


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (b'{"entities":{}}', Query({}, None, [], False, False)),
        (b'{"entities":{"a":[1,null,"x",[]]},"unknown":1}', Query({"a": [1, None, "x", []]}, None, [], False, False)),
        (b'{"entities":{"":[]},"feature_service":null}', Query({"": []}, None, [], False, False)),
        (b'{"entities":{},"feature_service":""}', Query({}, "", [], False, False)),
        (b'{"entities":{},"features":["a:b",""]}', Query({}, None, ["a:b", ""], False, False)),
        (b'{"entities":{"a":[1]},"entities":{"b":[2]}}', Query({"b": [2]}, None, [], False, False)),
        (
            b' {"entities": {"\\u00e9": [9223372036854775807]}, "feature_service": "svc", "full_feature_names": true,'
            b' "include_feature_view_version_metadata": true} ',
            Query({"é": [2**63 - 1]}, "svc", [], True, True),
        ),
    ],
)
def test_a_request_is_read(body: bytes, query: Query) -> None:
    assert parse_query(body) == query


@pytest.mark.parametrize("key", ["full_feature_names", "include_feature_view_version_metadata"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("true", '"yes"', '"ON"', '"t"', '"Y"', '"1"', '"True"', "1", "1.0")),
        *((text, False) for text in ("false", '"no"', '"Off"', '"f"', '"N"', '"0"', '"FALSE"', "0", "0.0", "-0.0")),
    ],
)
def test_booleans_are_lax(key: str, text: str, value: bool) -> None:
    query = parse_query(f'{{"entities":{{}},"{key}":{text}}}'.encode())
    assert (query.full_feature_names, query.version_metadata) == (
        value if key == "full_feature_names" else False,
        value if key != "full_feature_names" else False,
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, "bool_parsing") for text in ("2", "-1", "1e18", '""', '"maybe"', '" true"', "9223372036854775807")),
        *((text, "bool_type") for text in ("0.5", "1e300", "null", "[]", "{}", "9223372036854775808")),
    ],
)
def test_what_is_no_boolean_is_refused(text: str, kind: str) -> None:
    messages = {
        "bool_parsing": "Input should be a valid boolean, unable to interpret input",
        "bool_type": "Input should be a valid boolean",
    }
    assert details(f'{{"entities":{{}},"full_feature_names":{text}}}'.encode()) == [
        {"type": kind, "loc": ["body", "full_feature_names"], "msg": messages[kind], "input": json.loads(text)}
    ]


NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


@pytest.mark.parametrize(
    ("body", "kind", "loc", "message", "given"),
    [
        (b"", "missing", [], "Field required", None),
        (b"[]", "model_attributes_type", [], NO_OBJECT, []),
        (b"null", "model_attributes_type", [], NO_OBJECT, None),
        (b'"x"', "model_attributes_type", [], NO_OBJECT, "x"),
        (b"{}", "missing", ["entities"], "Field required", {}),
        (b'{"features":["a:b"]}', "missing", ["entities"], "Field required", {"features": ["a:b"]}),
        (b'{"entities":null}', "dict_type", ["entities"], "Input should be a valid dictionary", None),
        (
            b'{"entities":[{"driver_id":1001}]}',
            *("dict_type", ["entities"], "Input should be a valid dictionary", [{"driver_id": 1001}]),
        ),
        (b'{"entities":{"d":1001}}', "list_type", ["entities", "d"], "Input should be a valid list", 1001),
        (b'{"entities":{},"features":null}', "list_type", ["features"], "Input should be a valid list", None),
        (b'{"entities":{},"features":"a"}', "list_type", ["features"], "Input should be a valid list", "a"),
        (b'{"entities":{},"features":["a",1]}', "string_type", ["features", 1], "Input should be a valid string", 1),
        (
            b'{"entities":{},"feature_service":1}',
            "string_type",
            ["feature_service"],
            "Input should be a valid string",
            1,
        ),
    ],
)
def test_another_shape_is_refused_as_fastapi_does(
    body: bytes, kind: str, loc: list[str | int], message: str, given: object
) -> None:
    assert details(body) == [{"type": kind, "loc": ["body", *loc], "msg": message, "input": given}]


@pytest.mark.parametrize("what", ["features", "entities"])
def test_of_many_mistakes_of_a_kind_the_first_are_told(what: str) -> None:
    """Else a request of 2 bytes for each would be answered with 100 bytes for each."""
    many = 9 * MAX_PROBLEMS
    wrong = (
        {"features": list(range(many)), "entities": {}}
        if what == "features"
        else {"entities": {f"column {number}": number for number in range(many)}}
    )
    found = details(json.dumps(wrong).encode())
    assert len(found) == MAX_PROBLEMS
    assert [one["input"] for one in found] == list(range(MAX_PROBLEMS))


def test_every_mistake_is_told_in_the_order_of_the_fields() -> None:
    found = details(
        b'{"include_feature_view_version_metadata":3,"full_feature_names":"x","features":{},"feature_service":[],'
        b'"entities":{"d":null,"e":"x","f":[1],"g":{}}}'
    )
    assert [(one["type"], *one["loc"][1:]) for one in found] == [
        ("list_type", "entities", "d"),
        ("list_type", "entities", "e"),
        ("list_type", "entities", "g"),
        ("string_type", "feature_service"),
        ("list_type", "features"),
        ("bool_parsing", "full_feature_names"),
        ("bool_parsing", "include_feature_view_version_metadata"),
    ]


@pytest.mark.parametrize(
    "body", [b"nope", b"{", b'{"a":1', b'{"a" 1}', b"[1,]", b'{"a":1}x', b'"abc', b'{"a":"\\x"}', b"\x00"]
)
def test_what_is_no_json_is_refused_with_the_words_of_pythons_parser(body: bytes) -> None:
    """Which are Feast's, and not the same in all versions of Python."""
    with pytest.raises(json.JSONDecodeError) as theirs:
        json.loads(body)
    assert details(body) == [
        {
            "type": "json_invalid",
            "loc": ["body", theirs.value.pos],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": theirs.value.msg},
        }
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"entities":{"a":["\xff"]}}',
        b'\xff{"entities":{"a":[1]}}',
        b'{"entities":{"a":[' + b"1" * 5_000 + b"]}}",
        b"[" + b"1" * 5_000 + b",",
    ],
    ids=["not UTF-8", "not UTF-8 at all", "a number of 5000 digits", "such a number and a mistake"],
)
def test_a_body_that_pythons_parser_gives_up_on_is_a_400_as_of_fastapi(body: bytes) -> None:
    """`feast serve` 0.67.0 answers each of these with 400 {"detail":"There was an error parsing the body"}."""
    with pytest.raises(UnreadableBodyError) as caught:
        parse_query(body)
    assert caught.value.status == 400
    assert json.loads(caught.value.body())["detail"].startswith("There was an error parsing the body: ")


def test_half_a_surrogate_pair_is_refused() -> None:
    [found] = details(b'{"entities":{"a":["\\ud800"]}}')
    assert (found["type"], found["msg"]) == ("json_invalid", "JSON decode error")


def test_a_body_that_is_parsed_exactly_keeps_every_digit() -> None:
    body = b'{"feature_service":"s","entities":{"a":[123456789012345678901234567890,1e22,"x"]}}'
    query = parse_exactly(body)
    assert query.entities == {"a": [123456789012345678901234567890, 1e22, "x"]}
    assert query._replace(entities={}) == parse_query(body)._replace(entities={})


@pytest.mark.parametrize("body", [b"[" * 60_000, b"[" * 30_000 + b"]" * 30_000], ids=["open", "closed"])
def test_a_body_too_deep_for_orjson_is_read_if_python_can(body: bytes) -> None:
    """From 3.14 on it can. Before, `feast serve` 0.67.0 answers 400."""
    expected = "model_attributes_type"  # read, and no object
    try:
        json.loads(body)
    except RecursionError:
        with pytest.raises(UnreadableBodyError):
            parse_query(body)
        return
    except json.JSONDecodeError:
        expected = "json_invalid"
    [found] = details(body)
    assert found["type"] == expected


def test_the_numbers_that_only_python_writes_are_read_as_python_reads_them() -> None:
    query = parse_query(b'{"entities":{"a":[NaN,Infinity,-Infinity,1e999,100000000000000000000]}}')
    assert [str(value) for value in query.entities["a"]] == ["nan", "inf", "-inf", "inf", "100000000000000000000"]


@pytest.mark.parametrize("body", [b'{"entities":NaN}', b'{"entities":{"a":Infinity}}', b"[NaN]"])
def test_a_refusal_is_json_even_if_the_body_was_not_quite(body: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_query(body)
    json.loads(caught.value.body(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("depth", [10, 500, 990, 1_000, 1_010, 1_020, 1_024])
def test_a_body_as_deep_as_can_be_read_is_answered(depth: int) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_query(b"[" * depth + b"]" * depth)
    assert caught.value.body().startswith(b'{"detail":[{"type":"')


@pytest.mark.parametrize(
    "text",
    [
        '"entities": {"a": [1], "b": ["x"]}, "feature_service": "s"',
        '"feature_service": "", "entities": {}',
        '"feature_service": "s", "entities": {"a": []}',
    ],
)
@pytest.mark.parametrize("more", ["", ', "features": []', ', "unknown": 1'])
def test_the_usual_body_and_the_same_with_more_keys_say_one_thing(text: str, more: str) -> None:
    data = json.loads("{" + text + "}")
    expected = Query(data["entities"], data["feature_service"], [], False, False)
    assert parse_query(("{" + text + more + "}").encode()) == expected


def large(body: bytes) -> bytes:
    """`body` with an unknown key that makes it a large one."""
    return b'{"x":"%b",%b' % (b"a" * LARGE_BODY_BYTES, body.removeprefix(b"{"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"entities":{"a":[%b1]}}' % (b"1," * 900_000),
        b'{"entities":{"a":[%b""]}}' % (b'"{3F2504E0-4F89-11D3-9A0C-0305E82C3301}",' * 20_000),
        b'{"entities":{"a":[%b""]}}' % (b'"[x",' * 20_000),
        b'{"entities":{"a":[%b""]}}' % (b'"urn:li:member:7" , ' * 20_000),
        b'{"entities":{"a":[1]},"features":[%b"a:b"]}' % (b'"view:feature",\n ' * 9_000),
        b'{"entities":{"a":[%b[]]}}' % (b"[]," * 9_000),
        b'{"entities":{"a":[1]},"x":{%b"":0}}' % (b'"y":0,' * 9_000),
    ],
    ids=["numbers", "GUIDs", "brackets", "colons", "features", "lists", "keys"],
)
def test_what_people_send_in_a_large_body_passes(body: bytes) -> None:
    parse_query(large(body))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_001,
        b'{"entities":{"a":[%b1]}}' % (b"[]," * 10_001),
        b'{"entities":{"a":[%b1]}}' % (b'{},"{",' * 10_001),
        b'{"entities":{"a":[%b1]}}' % (b"[[],{}]," * 3_400),
        b'{"entities":{"a":[1]},"x":{%b"":0}}' % b"".join(b'"%d":0,' % number for number in range(10_001)),
        b'{"entities":{"a":[1]},"x":{%b"":0}}' % b"".join(b'"%d,"\n \t\r:0,' % number for number in range(10_001)),
        b'{"entities":{"a":[%b1]}}' % (b'{"a" : 1},' * 10_001),
    ],
    ids=["deep", "lists", "objects", "in each other", "keys", "keys and spaces", "objects with keys"],
)
def test_a_large_body_that_keeps_a_parser_busy_is_refused(body: bytes) -> None:
    with pytest.raises(LimitError, match=r"^Content Too Large: the limit is 10000 lists, ") as caught:
        parse_query(large(body))
    assert caught.value.status == 413


def test_a_million_values_are_too_many() -> None:
    with pytest.raises(LimitError, match=r"^Content Too Large: the limit is 1000000 values$"):
        parse_query(b'{"entities":{"a":[%b1]}}' % (b"1," * 1_000_001))


def test_a_large_body_is_not_quoted() -> None:
    for body in (b'{"entities":[1]}', b'{"entities":{"a":"b"},"features":[{}]}', b"[1]"):
        for sent, quoted in ((body, True), (large(body) if body[:1] == b"{" else b"[%b1]" % (b"1," * 40_000), False)):
            with pytest.raises(ValidationError) as caught:
                parse_query(sent)
            details = json.loads(caught.value.body())["detail"]
            assert all((detail["input"] is not None) is quoted for detail in details)
            assert len(caught.value.body()) < 1_000


def test_the_request_context_of_go_clients() -> None:
    """Feast's Go server takes request data there. What is no column is ignored, and entities come first."""
    body: dict[str, Any] = {
        "feature_service": "s",
        "entities": {"a": [1]},
        "request_context": {"a": [2], "b": [3], "c": 4},
    }
    assert parse_query(json.dumps(body).encode()).entities == {"a": [1], "b": [3]}
    body["request_context"] = 5
    assert parse_query(json.dumps(body).encode()).entities == {"a": [1]}
