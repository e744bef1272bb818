"""Two answers, compared: what is the same, what is not, and that no text has a value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yummy_fast.diagnosis.differences import MAX_NAMED_ROWS, OUTCOMES, PARTS, SAME, Answer, compare_answers

TIME = "2026-03-01T00:00:00Z"


def answer(columns: dict[str, list[Any]], *, status: str = "PRESENT", time: str = TIME, **metadata: Any) -> Answer:
    results = [
        {"values": values, "statuses": [status] * len(values), "event_timestamps": [time] * len(values)}
        for values in columns.values()
    ]
    body = {"metadata": {"feature_names": list(columns), **metadata}, "results": results}
    return Answer(200, json.dumps(body).encode())


def test_the_order_of_columns_does_not_matter() -> None:
    assert compare_answers(answer({"a": [1], "b": ["x"]}), answer({"b": ["x"], "a": [1]})) == SAME
    assert (
        compare_answers(answer({"a": [float("nan")], "b": [[1.5]]}), answer({"b": [[1.5]], "a": [float("nan")]}))
        == SAME
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (1, 1.0),
        (1, True),
        (0, None),
        ("1", 1),
        ([1], [1.0]),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"b": 1}),
        ([1], [1, 1]),
    ],
)
def test_a_value_has_its_type(theirs: Any, ours: Any) -> None:
    compared = compare_answers(answer({"a": [7, theirs]}), answer({"a": [7, ours]}))
    (difference,) = compared.differences
    assert compared.outcome == "different"
    assert (difference.part, difference.column, list(difference.rows)) == ("values", "a", [1])
    assert difference.text == "a: values differ in 1 of 2 rows: 1"
    assert difference.values() == [f"row 1: {json.dumps(theirs)} from Feast, {json.dumps(ours)} here"]


def test_many_rows_are_counted_and_few_are_named() -> None:
    (difference,) = compare_answers(answer({"a": [0] * 9}), answer({"a": [1] * 9})).differences
    assert difference.text == "a: values differ in 9 of 9 rows: 0, 1, 2, 3, 4, ..."
    assert len(difference.values()) == MAX_NAMED_ROWS
    assert list(difference.rows) == list(range(9))


def test_what_else_can_differ() -> None:
    one = answer({"a": [1]})
    found = {
        "statuses": answer({"a": [1]}, status="NOT_FOUND"),
        "event_timestamps": answer({"a": [1]}, time="1970-01-01T00:00:00Z"),
        "columns": answer({"a": [1], "b": [2]}),
        "metadata": answer({"a": [1]}, feature_view_versions={"a": 2}),
        "status": Answer(404, b'"x"'),
        "body": Answer(200, b"{}"),
    }
    for part, other in found.items():
        assert part in PARTS
        assert {difference.part for difference in compare_answers(one, other).differences} == {part}
    assert {each.part for each in compare_answers(one, answer({"a": [1, 2]})).differences} == {"rows"}
    (only_feasts,) = compare_answers(found["columns"], one).differences
    assert (only_feasts.part, only_feasts.text) == ("columns", "b: only Feast answers it")
    assert "Feast does not answer it" in compare_answers(one, found["columns"]).differences[0].text


def test_statuses_that_are_not_feasts_can_be_left_out() -> None:
    one, other = answer({"a": [1]}), answer({"a": [1]}, status="OUTSIDE_MAX_AGE")
    assert compare_answers(one, other, with_statuses=False) == SAME
    assert compare_answers(one, other).outcome == "different"


def test_feasts_500_is_no_difference_and_ours_is_one() -> None:
    assert compare_answers(Answer(500, b"x"), Answer(400, b"y")).outcome == "feast_failed"
    assert compare_answers(Answer(404, b"x"), Answer(404, b"y")) == SAME
    (difference,) = compare_answers(answer({"a": [1]}), Answer(500, b"")).differences
    assert difference.text == "status 200 from Feast, 500 here"


def test_no_rows_are_without_timestamps_in_feasts_answer() -> None:
    """Feast 0.67, for empty columns: {"values": [], "statuses": []}."""
    body = {"metadata": {"feature_names": ["a"]}, "results": [{"values": [], "statuses": []}]}
    assert compare_answers(Answer(200, json.dumps(body).encode()), answer({"a": []})) == SAME


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"metadata":{},"results":[]}'),
        b'{"metadata":{"feature_names":["a"]},"results":[]}',
        b'{"metadata":{"feature_names":["a"]},"results":[{"values":5}]}',
        b'{"metadata":{"feature_names":[[]]},"results":[{}]}',
    ],
)
def test_any_body_is_compared(body: bytes) -> None:
    (difference,) = compare_answers(Answer(200, body), answer({"a": [1]})).differences
    assert difference.text == "Feast's answer has no columns"
    assert (
        compare_answers(answer({"a": [1]}), Answer(200, body)).differences[0].text == "the answer here has no columns"
    )


def test_texts_have_no_values_and_fit_a_line() -> None:
    theirs, ours = answer({"a\n" + "x" * 500: ["s3cret"]}), answer({"a\n" + "x" * 500: ["s3cret too"]})
    for difference in compare_answers(theirs, ours).differences:
        assert "s3cret" not in difference.text
        assert "\n" not in difference.text
        assert len(difference.text) < 200


def test_a_column_twice() -> None:
    twice = json.loads(answer({"a": [1]}).body)
    twice["metadata"]["feature_names"] *= 2
    twice["results"] *= 2
    (difference,) = compare_answers(Answer(200, json.dumps(twice).encode()), answer({"a": [1]})).differences
    assert difference.part == "columns"


def test_all_of_a_collection_counts() -> None:
    """Equal lists and maps are the same, and one item that differs is enough."""
    one = answer({"a": [[1, 2], {"x": 1, "y": [None, "z"]}], "b": [1, 2]})
    assert compare_answers(one, answer({"b": [1, 2], "a": [[1, 2], {"y": [None, "z"], "x": 1}]})) == SAME
    other = answer({"a": [[1, 3], {"x": 1, "y": [None, "w"]}], "b": [1, 2]})
    (difference,) = compare_answers(one, other).differences
    assert list(difference.rows) == [0, 1]


def test_every_difference_of_an_answer_is_found() -> None:
    """What is left out or equal in one column ends neither it nor the next ones."""
    theirs = answer({"a": [1], "b": [1], "c": [1]}, versions=1, more=1)
    ours = answer(
        {"a": [1, 1], "b": [1], "c": [2]}, time="1970-01-01T00:00:00Z", status="NOT_FOUND", versions=2, more=1
    )
    found = compare_answers(theirs, ours, with_statuses=False).differences
    assert [(each.part, each.column) for each in found] == [
        ("rows", "a"),
        ("rows", "a"),
        ("event_timestamps", "b"),
        ("values", "c"),
        ("event_timestamps", "c"),
        ("metadata", ""),
    ]
    assert found[0].text == "a: 1 values from Feast, 2 here"
    assert found[-1].text == "metadata.versions differs"


def test_five_rows_are_named_whole() -> None:
    (difference,) = compare_answers(answer({"a": [0] * 5}), answer({"a": [1] * 5})).differences
    assert difference.text == "a: values differ in 5 of 5 rows: 0, 1, 2, 3, 4"


def test_equal_bytes_are_the_same_whatever_they_are() -> None:
    assert compare_answers(Answer(200, b"{}"), Answer(200, bytearray(b"{}"))) == SAME


def test_every_outcome_has_its_name() -> None:
    """`compare` and `--shadow` have a number for each, and one that is not there would be an error of theirs."""
    one = answer({"a": [1]})
    others = (one, answer({"a": [2]}), Answer(500, b""))
    assert tuple(compare_answers(theirs, one).outcome for theirs in others) == OUTCOMES


def test_names_and_values_are_cut_beyond_their_length() -> None:
    for size, shown in ((100, "n" * 100), (101, "n" * 97 + "...")):
        (difference,) = compare_answers(answer({"n" * size: [0]}), answer({"n" * size: [1]})).differences
        assert difference.text == f"{shown}: values differ in 1 of 1 rows: 0"
    for size, shown in ((58, f'"{"ü" * 58}"'), (59, f'"{"ü" * 56}...')):
        (difference,) = compare_answers(answer({"a": ["ü" * size]}), answer({"a": [None]})).differences
        assert difference.values() == [f"row 0: {shown} from Feast, null here"]
