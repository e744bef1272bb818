"""`yummy-fast compare`: ask both servers the same, and say what is not the same in their answers.

Requests are the bodies of POST /get-online-features, one a line, as an access log or a test of the client has them. Of
differences that are alike (the same part of the same column) one is shown, with the line of its request: a migration
goes wrong in one column and not in one request. Values are shown only to who asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

from yummy_fast.diagnosis.differences import OUTCOMES, Answer, Comparison, Difference
from yummy_fast.errors import ConfigError

MAX_REQUEST_BYTES = 8 << 20
"""As --max-body-bytes."""
MAX_KINDS = 200
"""Of differences that are not alike, this many are kept; the others are counted."""

Ask = Callable[[bytes], Answer]


class Asked(NamedTuple):
    """One request to compare by."""

    name: str
    """Where it came from, for people: "requests.jsonl:3"."""
    body: bytes


def read_requests(file: IO[bytes], name: str) -> Iterator[Asked]:
    """The requests of a file, one a line; empty lines are none. Raises ConfigError for a line that is no object."""
    for number, line in enumerate(iter(lambda: file.readline(MAX_REQUEST_BYTES + 1), b""), 1):
        where = f"{name}:{number}"
        if len(line) > MAX_REQUEST_BYTES:
            raise ConfigError(f"{where}: longer than {MAX_REQUEST_BYTES} bytes")
        if not line.strip():
            continue
        try:
            is_object = isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            raise ConfigError(f"{where}: expected the body of a request, a JSON object in one line")
        yield Asked(where, line.strip())


def counted(requests: Iterable[Asked], count: Callable[[int], object]) -> Iterator[Asked]:
    """The requests, with a call of `count` before each, which says how many came before it."""
    for number, asked in enumerate(requests):
        count(number)
        yield asked


class Kind:
    """Differences that are alike: of the same part of the same column."""

    def __init__(self, first: Difference, name: str) -> None:
        self.first = first
        self.name = name
        """Where the first request came from."""
        self.requests = 0


class Tally:
    """What came of all requests."""

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.kinds: dict[tuple[str, str], Kind] = {}
        self.more = 0
        """Differences beyond MAX_KINDS."""
        self.failed_first = ""
        """The first request that Feast failed to answer."""

    @property
    def asked(self) -> int:
        """How many requests were compared."""
        return sum(self.outcomes.values())

    def add(self, asked: Asked, comparison: Comparison) -> None:
        """Count one request."""
        self.outcomes[comparison.outcome] += 1
        if comparison.outcome == "feast_failed" and not self.failed_first:
            self.failed_first = asked.name
        for difference in comparison.differences:
            key = (difference.part, difference.column or difference.text)
            if key not in self.kinds and len(self.kinds) >= MAX_KINDS:
                self.more += 1
                continue
            self.kinds.setdefault(key, Kind(difference, asked.name)).requests += 1


def compare(requests: Iterable[Asked], theirs: Ask, ours: Ask, judge: Callable[[Answer, Answer], Comparison]) -> Tally:
    """Ask both servers everything. `ours` is asked first: what it finds wrong is no load for the other one."""
    tally = Tally()
    for asked in requests:
        our = ours(asked.body)
        tally.add(asked, judge(theirs(asked.body), our))
    return tally


def lines(tally: Tally, left_out: Sequence[str], *, values: bool) -> list[str]:
    """For people. The last line says what came of it."""
    found = []
    for kind in tally.kinds.values():
        found.append(f"DIFFERENT  {kind.first.text}")
        if values:
            found += [f"             {line}" for line in kind.first.values()]
        found.append(f"           in {_count(kind.requests, 'request')}, first in {kind.name}")
    if tally.more:
        found.append(f"DIFFERENT  {_count(tally.more, 'more difference')}")
    if tally.outcomes["feast_failed"]:
        failed = _count(tally.outcomes["feast_failed"], "request")
        found.append(f"not compared: {failed} that Feast answered with a 5xx, first {tally.failed_first}")
    found += [f"not asked: {line}" for line in left_out]
    found.append(
        f"{_count(tally.asked, 'request')}: {tally.outcomes['same']} the same, {tally.outcomes['different']} different"
    )
    return found


def as_json(tally: Tally, left_out: Sequence[str], *, values: bool) -> dict[str, Any]:
    """For programs."""
    return {
        "requests": tally.asked,
        **tally.outcomes,
        "differences": [_as_json(kind, values=values) for kind in tally.kinds.values()],
        "more_differences": tally.more,
        "not_asked": list(left_out),
    }


def _as_json(kind: Kind, *, values: bool) -> dict[str, Any]:
    first = kind.first
    found: dict[str, Any] = {
        "part": first.part,
        "column": first.column or None,
        "text": first.text,
        "requests": kind.requests,
        "first_in": kind.name,
        "rows": list(first.rows),
    }
    return found | ({"from_feast": list(first.theirs), "here": list(first.ours)} if values else {})


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
