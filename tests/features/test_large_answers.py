"""Answers with a budget of bytes. That they are the same as small ones is asserted in `registries.answer`."""

from __future__ import annotations

import json

import pytest

from tests import registries
from yummy_fast.errors import LimitError
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features import large_answers
from yummy_fast.features.binding import Bound
from yummy_fast.features.catalog import Compiled
from yummy_fast.features.large_answers import encode_in_steps
from yummy_fast.features.plan import ComputedColumn, Rows
from yummy_fast.features.steps import Budget, at_once
from yummy_fast.features.vectors import MAX_CELLS_AT_ONCE, encode_vectors

TYPES = {"embedding": ValueType.DOUBLE_LIST, "map": ValueType.MAP, "trips": ValueType.INT64, "name": ValueType.STRING}
CATALOG = registries.catalog(
    registries.entity("item", "item"), registries.view("stats", ["item"], {"item": ValueType.INT64}, TYPES)
)
EMBEDDING = Value(double_list_val=values.DoubleList(val=[number / 7 for number in range(768)])).SerializeToString()
TRIPS = Value(int64_val=11).SerializeToString()


def bound_to(*features: str, rows: list[int]) -> tuple[Compiled[object], Bound]:
    compiled = CATALOG.plan_for(None, [f"stats:{feature}" for feature in features], False)
    return compiled, compiled.binder.bind({"item": rows})


def encode(compiled: Compiled[object], bound: Bound, rows: Rows, max_bytes: int) -> bytes:
    return bytes(at_once(encode_in_steps(compiled.layout, bound, rows, budget=Budget(max_bytes, bound.rows))))


@pytest.mark.parametrize("rows", [[1] * 100, list(range(100))], ids=["one entity", "many"])
def test_the_budget_is_exact(rows: list[int]) -> None:
    compiled, bound = bound_to("embedding", "trips", rows=rows)
    found: Rows = [[[EMBEDDING, TRIPS, None]] * len(bound.keys[0])]
    whole = encode_vectors(compiled.layout, bound, found)
    slack = 400  # names of columns, and brackets
    assert encode(compiled, bound, found, len(whole) + slack) == whole
    with pytest.raises(LimitError, match=r"the answer for 100 entity rows is longer than \d+ bytes") as caught:
        encode(compiled, bound, found, len(whole) - slack)
    assert caught.value.status == 413


def test_what_is_too_long_for_sure_is_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("it was decoded")

    compiled, bound = bound_to("embedding", rows=[1] * 10_000)
    monkeypatch.setattr(large_answers, "array_text", lambda _: b"1")
    monkeypatch.setattr(compiled.layout.lookups[0], "columns", [decoded])
    with pytest.raises(LimitError):
        encode(compiled, bound, [[[EMBEDDING, None]]], len(EMBEDDING) * 2_000)


def test_a_distinct_row_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, bound = bound_to("embedding", rows=[1, 2] * 500)
    (lookup,) = compiled.layout.lookups
    decode, decoded = lookup.columns[0], []

    def counted(column: list[bytes]) -> list[object]:
        decoded.extend(column)
        return decode(column)

    monkeypatch.setattr(lookup, "columns", [counted])
    encode(compiled, bound, [[[EMBEDDING, None]] * 2], 1 << 30)
    assert len(decoded) == 2


@pytest.mark.parametrize(
    ("feature", "stored", "rows", "fits"),
    [
        ("trips", TRIPS, MAX_CELLS_AT_ONCE, True),
        ("trips", TRIPS, MAX_CELLS_AT_ONCE + 1, False),
        ("embedding", EMBEDDING, 100, True),
        ("embedding", EMBEDDING, 200, False),
        ("map", Value(map_val=values.Map(val={"a": Value(int64_val=1)})).SerializeToString(), 10, True),
        ("map", Value(map_val=values.Map(val={"a": Value(int64_val=1)})).SerializeToString(), 10_000, False),
        ("name", Value(string_val="x" * 100).SerializeToString(), 1_000, True),
    ],
)
def test_what_is_made_at_once(feature: str, stored: bytes, rows: int, fits: bool) -> None:
    compiled, bound = bound_to(feature, rows=[1] * rows)
    assert compiled.layout.fits_at_once(bound, [[[stored, None]]]) is fits


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ([1.5] * 1_000, True),
        (["x" * 1_000] * 1_000, False),
        ([[0.5] * 100] * 1_000, False),
        ([{"a": [1] * 100_000}], False),
    ],
    ids=["numbers", "texts", "lists", "maps"],
)
def test_what_functions_compute_may_be_long_as_well(values: list[object], fits: bool) -> None:
    compiled, bound = bound_to("trips", rows=list(range(len(values))))
    found: Rows = [[[TRIPS, None]] * len(values)]
    assert compiled.layout.fits_at_once(bound, found, [ComputedColumn("made", list(values))]) is fits


def test_what_is_read_for_functions_alone_gets_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of each embedding is a short answer, however long they are, by rows in blocks and by rows that are long."""

    def decoded(*_: object) -> None:
        raise AssertionError("it was decoded")

    for stored, rows in ((EMBEDDING, 100), (EMBEDDING * 20, 2)):
        compiled, bound = bound_to("embedding", "trips", rows=list(range(rows)))
        found: Rows = [[[stored, TRIPS, None]] * rows]
        made = [ComputedColumn("sum", [0.5] * rows)]
        monkeypatch.setattr(compiled.layout, "arrange", [1])
        with monkeypatch.context() as patched:
            (lookup,) = compiled.layout.lookups
            patched.setattr(lookup, "columns", [decoded, lookup.columns[1]])
            budget = Budget(len(stored) * rows // 3, rows)
            body = bytes(at_once(encode_in_steps(compiled.layout, bound, found, made, budget=budget)))
        assert [column["values"] for column in json.loads(body)["results"]] == [
            list(range(rows)),
            [11] * rows,
            [0.5] * rows,
        ]
