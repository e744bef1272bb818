"""Requests of `yummy-fast compare`, and what it says of the answers; tests/cli/test_compare.py has the command."""

from __future__ import annotations

import io

import pytest

from yummy_fast.diagnosis import compare
from yummy_fast.diagnosis.compare import MAX_KINDS, Asked, Tally, read_requests
from yummy_fast.diagnosis.differences import Answer, Comparison, Difference
from yummy_fast.errors import ConfigError


def test_requests_are_lines() -> None:
    found = list(read_requests(io.BytesIO(b' {"a": 1} \r\n\n{"b": 2}'), "r"))
    assert found == [Asked("r:1", b'{"a": 1}'), Asked("r:3", b'{"b": 2}')]
    for text in (b"x", b"[" * 100_000, b"\xff", b"{}{}"):
        with pytest.raises(ConfigError, match="r:1: expected the body"):
            list(read_requests(io.BytesIO(text), "r"))
    with pytest.raises(ConfigError, match="r:1: longer than"):
        list(read_requests(io.BytesIO(b" " * (compare.MAX_REQUEST_BYTES + 1)), "r"))


def test_kinds_are_bounded() -> None:
    tally = Tally()
    for number in range(MAX_KINDS + 5):
        tally.add(Asked("r:1", b""), Comparison("different", [Difference("values", f"c{number}: x", f"c{number}")]))
    tally.add(Asked("r:2", b""), Comparison("feast_failed"))
    lines = compare.lines(tally, [], values=False)
    assert len(tally.kinds) == MAX_KINDS
    assert lines[-3:] == [
        "DIFFERENT  5 more differences",
        "not compared: 1 request that Feast answered with a 5xx, first r:2",
        f"{MAX_KINDS + 6} requests: 0 the same, {MAX_KINDS + 5} different",
    ]


def test_ours_is_asked_first() -> None:
    asked: list[str] = []

    def ask(name: str) -> Answer:
        asked.append(name)
        return Answer(404, b"")

    tally = compare.compare(
        [Asked("r:1", b"{}")],
        lambda _: ask("Feast"),
        lambda _: ask("here"),
        lambda _, __: Comparison("same"),
    )
    assert (asked, tally.outcomes["same"]) == (["here", "Feast"], 1)


def tally() -> Tally:
    """Of three requests: two that differ alike, one that Feast failed to answer."""
    found = Tally()
    difference = Difference("values", "trips: values differ in 1 of 2 rows: 1", "trips", (1,), (7,), (8,))
    for number in (1, 2):
        found.add(Asked(f"r:{number}", b""), Comparison("different", [difference]))
    found.add(Asked("r:3", b""), Comparison("feast_failed"))
    return found


def test_differences_for_people() -> None:
    end = [
        "           in 2 requests, first in r:1",
        "not compared: 1 request that Feast answered with a 5xx, first r:3",
        "not asked: feature service svc: it wants request data: bonus",
        "3 requests: 0 the same, 2 different",
    ]
    left_out = ["feature service svc: it wants request data: bonus"]
    first = "DIFFERENT  trips: values differ in 1 of 2 rows: 1"
    assert compare.lines(tally(), left_out, values=False) == [first, *end]
    with_values = compare.lines(tally(), left_out, values=True)
    assert with_values == [first, "             row 1: 7 from Feast, 8 here", *end]


def test_differences_for_programs() -> None:
    difference = {
        "part": "values",
        "column": "trips",
        "text": "trips: values differ in 1 of 2 rows: 1",
        "requests": 2,
        "first_in": "r:1",
        "rows": [1],
    }
    whole = {
        "requests": 3,
        "same": 0,
        "different": 2,
        "feast_failed": 1,
        "differences": [difference],
        "more_differences": 0,
        "not_asked": ["x"],
    }
    assert compare.as_json(tally(), ["x"], values=False) == whole
    difference |= {"from_feast": [7], "here": [8]}
    assert compare.as_json(tally(), ["x"], values=True) == whole


def test_requests_are_counted_before_they_are_asked() -> None:
    counts: list[int] = []
    requests = [Asked("r:1", b"a"), Asked("r:2", b"b")]
    assert list(compare.counted(requests, counts.append)) == requests
    assert counts == [0, 1]
