"""Values as JSON text, written at once and taken apart again. More in property/test_json_text.py."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from yummy_fast.features import json_text as module
from yummy_fast.features.json_text import about_bytes, array_text, column_texts, json_text, string_text, value_texts

INFINITIES = [float("inf"), float("-inf"), float("nan")]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([], []),
        ([7, 0.5, "ab", None, True], [b"7", b"0.5", b'"ab"', b"null", b"true"]),
        ([7, "a,b"], [b"7", b'"a,b"']),
        (["a,\n b", ",\n  "], [rb'"a,\n b"', rb'",\n  "']),
        ([[], {}, "x,"], [b"[]", b"{}", b'"x,"']),
        ([[1, 2], "x"], [b"[1,2]", b'"x"']),
        ([{"a": [1, {"b": ","}]}, 2], [b'{"a":[1,{"b":","}]}', b"2"]),
        (["é\u2028"], ['"é\u2028"'.encode()]),
        ([*INFINITIES, None, "null"], [b'"Infinity"', b'"-Infinity"', b'"NaN"', b"null", b'"null"']),
        ([[1.5, INFINITIES[2]], {"a": INFINITIES[0]}], [b'[1.5,"NaN"]', b'{"a":"Infinity"}']),
    ],
    ids=str,
)
def test_each_value_has_its_text(values: list[Any], texts: list[bytes]) -> None:
    assert value_texts(values) == texts
    assert value_texts(tuple(values)) == texts
    assert array_text(values) == b",".join(texts)


@pytest.mark.parametrize(
    ("columns", "texts"),
    [
        ([[1, 2], ["a", "b"]], [b"1,2", b'"a","b"']),
        ([["],["], ["x"]], [b'"],["', b'"x"']),
        ([[[1], [2]], [3, 4]], [b"[1],[2]", b"3,4"]),
        ([[1.5], [float("nan")]], [b"1.5", b'"NaN"']),
        ([[None, 1], ["null", "x"]], [b"null,1", b'"null","x"']),
    ],
    ids=str,
)
def test_each_column_has_its_text(columns: list[list[Any]], texts: list[bytes]) -> None:
    assert column_texts(columns) == texts


class Counting:
    """orjson, and how often it was called."""

    OPT_INDENT_2 = orjson.OPT_INDENT_2

    def __init__(self) -> None:
        self.calls = 0

    def dumps(self, value: object, option: int = 0) -> bytes:
        self.calls += 1
        return orjson.dumps(value, option=option)


@pytest.mark.parametrize(
    ("values", "calls"),
    [(list(range(50)), 1), (["a", None], 1), (["a,b"] * 50, 2), ([[], "a,b"], 2), ([[1, 2]] * 50, 2 + 50)],
    ids=["numbers", "null", "commas", "empty array", "arrays"],
)
def test_how_many_calls_the_values_of_a_row_take(
    values: list[Any], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting()
    monkeypatch.setattr(module, "orjson", counting)
    value_texts(values)
    assert counting.calls == calls


def test_columns_take_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    monkeypatch.setattr(module, "orjson", counting)
    assert len(column_texts([list(range(10))] * 50)) == 50
    assert counting.calls == 1


def test_a_text_that_is_kept_holds_no_larger_buffer() -> None:
    assert json_text({"a": [1, None]}) == b'{"a":[1,null]}'
    assert json_text([]).__sizeof__() == b"[]".__sizeof__()


@pytest.mark.parametrize(
    "value", ["", "abc", 7, None, True, 1.5, [], [1, "abc", [None]], (1, 2), {}, {"a": 1, "bc": ["d", {"e": 0}]}]
)
def test_about_how_long_a_text_is(value: object) -> None:
    """A bound for what has no long numbers in it: eight bytes for each of these."""
    assert about_bytes(value) + 8 >= len(json_text(value))
    assert about_bytes([value] * 100) >= 100 * about_bytes(value)


def test_a_long_text_is_not_taken_for_a_short_one() -> None:
    """Wherever it is; only texts can be long."""
    text = "x" * 1000
    for value in (text, [text], {"a": text}, {text: 1}, [[{"a": (text,)}]]):
        assert 1000 <= about_bytes(value) < 1100


@pytest.mark.parametrize("text", ["", 'a"b\n', "é\u2028", "x" * 10_000])
def test_a_string(text: str) -> None:
    assert orjson.loads(string_text(text)) == text
