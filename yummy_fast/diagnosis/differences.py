"""What is not the same in two answers to one request: Feast's own, and the one of this server.

Columns are compared by name, because the order of Feast's own columns differs from process to process:

    Feast  {"metadata":{"feature_names":["driver_id","trips","rating"]},"results":[...,{"values":[5],"statuses":...
    here   {"metadata":{"feature_names":["driver_id","rating","trips"]},"results":[...
    trips  values differ in 1 of 1 rows: 0

A value has its JSON type: 1, 1.0 and true are three values. A difference names a column and rows, and never a value, so
it can be logged; `values` shows values to who asked for them. Feast's 5xx is no difference: Feast answers 500 to many
mistakes of the caller, where this server says in a 4xx which one it is. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

PARTS = ("status", "body", "columns", "rows", "values", "statuses", "event_timestamps", "metadata")
"""What can differ: the HTTP status, an answer that is not Feast's JSON, the columns that there are, the number of rows
of a column, its values, statuses or event timestamps, and what else is in `metadata`.
"""
OUTCOMES = ("same", "different", "feast_failed")

MAX_NAMED_ROWS = 5
"""Of the rows that differ, a text names these."""
MAX_NAME_CHARS = 100
MAX_VALUE_CHARS = 60


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    body: bytes | bytearray


class Difference(NamedTuple):
    """One part that is not the same."""

    part: str
    """One of PARTS."""
    text: str
    """For people, without values."""
    column: str = ""
    rows: Sequence[int] = ()
    """The rows that differ."""
    theirs: Sequence[Any] = ()
    """Of each of these rows what Feast answered, and ..."""
    ours: Sequence[Any] = ()
    """... what this server did."""

    def values(self) -> list[str]:
        """A line for each of the first rows that differ, with what both have answered."""
        rows = zip(self.rows, self.theirs, self.ours, strict=True)
        return [
            f"row {row}: {_shown(theirs)} from Feast, {_shown(ours)} here"
            for row, theirs, ours in islice(rows, MAX_NAMED_ROWS)
        ]


class Comparison(NamedTuple):
    """What came of the comparison of two answers."""

    outcome: str
    """One of OUTCOMES."""
    differences: Sequence[Difference] = ()


SAME = Comparison("same")


def compare_answers(theirs: Answer, ours: Answer, *, with_statuses: bool = True) -> Comparison:
    """Compare what Feast answered with what this server did.

    Without `with_statuses`, the statuses of features are left out: those of `--compat strict` are not Feast's.
    """
    if theirs.status >= 500:
        return Comparison("feast_failed")
    if theirs.status != ours.status:
        return _different([Difference("status", f"status {theirs.status} from Feast, {ours.status} here")])
    if theirs.status != 200 or theirs.body == ours.body:
        return SAME
    bodies = []
    for answer, whose in ((theirs, "Feast's answer"), (ours, "the answer here")):
        body = _read(answer.body)
        if body is None:
            return _different([Difference("body", f"{whose} has no columns")])
        bodies.append(body)
    differences = list(_of_bodies(*bodies, with_statuses=with_statuses))
    return _different(differences) if differences else SAME


def _different(differences: Sequence[Difference]) -> Comparison:
    return Comparison("different", differences)


class _Body(NamedTuple):
    columns: Mapping[str, Mapping[str, Any]]
    repeated: Sequence[str]
    """The names of columns that come more than once. Of these the first is compared."""
    metadata: Mapping[str, Any]


def _read(body: bytes | bytearray) -> _Body | None:
    """An answer with features, or None for anything else."""
    try:
        found = json.loads(body)
        metadata = dict(found["metadata"])
        names, results = metadata.pop("feature_names"), found["results"]
        columns: dict[str, Mapping[str, Any]] = {}
        repeated = []
        for name, column in zip(names, results, strict=True):
            if name in columns:
                repeated.append(name)
            # For a request without rows, Feast leaves the event timestamps out.
            columns.setdefault(
                name, {part: column.get(part, []) for part in ("values", "statuses", "event_timestamps")}
            )
            if not all(isinstance(cells, list) for cells in columns[name].values()):
                return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return _Body(columns, repeated, metadata)


def _of_bodies(theirs: _Body, ours: _Body, *, with_statuses: bool) -> Iterator[Difference]:
    for name in theirs.columns:
        if name not in ours.columns:
            yield Difference("columns", f"{_name(name)}: only Feast answers it", name)
    for name in ours.columns:
        if name not in theirs.columns:
            yield Difference("columns", f"{_name(name)}: Feast does not answer it", name)
    if sorted(theirs.repeated) != sorted(ours.repeated):
        yield Difference("columns", "the columns that come more than once are not the same")
    for name, column in theirs.columns.items():
        if name in ours.columns:
            yield from _of_columns(name, column, ours.columns[name], with_statuses=with_statuses)
    for key in sorted({*theirs.metadata, *ours.metadata}):
        if not _same(theirs.metadata.get(key), ours.metadata.get(key)):
            yield Difference("metadata", f"metadata.{_name(key)} differs")


def _of_columns(
    name: str, theirs: Mapping[str, Any], ours: Mapping[str, Any], *, with_statuses: bool
) -> Iterator[Difference]:
    for part in theirs:
        if part == "statuses" and not with_statuses:
            continue
        if len(theirs[part]) != len(ours[part]):
            text = f"{_name(name)}: {len(theirs[part])} {_words(part)} from Feast, {len(ours[part])} here"
            yield Difference("rows", text, name)
            continue
        if theirs[part] == ours[part] and part != "values":  # texts, which have one type
            continue
        pairs = list(zip(theirs[part], ours[part], strict=True))
        rows = [row for row, (their, our) in enumerate(pairs) if not _same(their, our)]
        if rows:
            more = ", ..." if len(rows) > MAX_NAMED_ROWS else ""
            named = ", ".join(map(str, rows[:MAX_NAMED_ROWS])) + more
            text = f"{_name(name)}: {_words(part)} differ in {len(rows)} of {len(pairs)} rows: {named}"
            yield Difference(part, text, name, rows, [pairs[row][0] for row in rows], [pairs[row][1] for row in rows])


def _words(part: str) -> str:
    return part.replace("_", " ")


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, their types included; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


def _name(name: object) -> str:
    """A column's name for one line of a log. It may be the client's: entity columns are called as it calls them."""
    text = str(name)
    text = text if len(text) <= MAX_NAME_CHARS else f"{text[: MAX_NAME_CHARS - 3]}..."
    return text if text.isprintable() else ascii(text)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 3]}..."
