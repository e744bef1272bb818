"""Asks Feast's server and ours the same thing, thousands of times, and reports every difference.

    python tests/differential/run.py --requests 3000 --seed 1 [--feast-python .venv-feast/bin/python]

For each of `--repositories` seeds: an empty Valkey, a repository of Feast's own making (feast_repository.py, which runs
in Feast's venv), `feast serve` and `yummy-fast serve` on both, and its share of the requests (traffic.py). Versions of
the entity key, and versioned views, alternate between the repositories; of three, one has SQLite for its store. What
the same answer is, is decided by the conformance tests' replay.py; a difference is a failure, or it is in ALLOWED
below, with its reason.

Of failures that look alike one is cut down to the least request that still fails, and printed. The last line is
'N passed, M failed'; the exit code is 1 if any failed. The same seed makes the same requests: there is no other source
of randomness here (Feast's column order, which is random, is not compared).
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import itertools
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this is run as a script

from tests.differential.servers import build_repository, feast_server, valkey, yummy_server  # noqa: E402
from tests.differential.traffic import Asked, Query, Traffic, ask  # noqa: E402

TIMEOUT_S = 30.0
SHRINK_TRIES = 150
SHOWN_BODY_CHARS = 700


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    content_type: str
    body: str


# ----------------------------------------------------------------------------------------------------- the same answer


def _load_replay() -> Callable[[dict[str, Any], int, str, str], str | None]:
    spec = importlib.util.spec_from_file_location("replay", ROOT / "tests" / "conformance" / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    replay = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(replay)
    found: Callable[[dict[str, Any], int, str, str], str | None] = replay.difference
    return found


_replay_difference = _load_replay()


def difference(asked: Asked, theirs: Answer, ours: Answer) -> str | None:
    """What is not the same in the answers to a request, or None."""
    try:
        if theirs.status == 200 and '"statuses":[]}' in theirs.body:  # no rows: Feast leaves the timestamps out
            theirs, ours = _without_rows(theirs), _without_rows(ours)
        case = {"request": {"body": asked.body}, "response": {"status": theirs.status, "body": theirs.body}}
        why = _replay_difference(case, ours.status, ours.content_type, ours.body)
        if why is None and theirs.status == 200 and theirs.body:
            names = [sorted(json.loads(body)["metadata"]["feature_names"]) for body in (ours.body, theirs.body)]
            if names[0] != names[1]:  # replay.py takes names as a set
                why = f"names {names[0]} Feast {names[1]}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"incomparable: {type(error).__name__}: {error}"
    return why


def _without_rows(answer: Answer) -> Answer:
    """The answer with a mark in place of timestamps that are not there, since replay.py looks them up."""
    body = json.loads(answer.body)
    if answer.status == 200:
        for column in body["results"]:
            column.setdefault("event_timestamps", "absent")
    return answer._replace(body=json.dumps(body))


# ------------------------------------------------------------------------------------------------- allowed differences


class Allowed(NamedTuple):
    """A difference that is meant. `applies` must be narrow: what it accepts is not looked at any further."""

    name: str
    reason: str
    applies: Callable[[Asked, Answer, Answer], bool]
    """Of the request, Feast's answer, ours."""


PYTHON_MODE = re.compile(r"(in_python|one_row|request_only|raising|other|tagged|keyed|paired)(@v\d+)?__")
"""How the columns of the repository's on-demand views in python mode begin, under full names."""


TRANSFORMATION_FAILED = "\"On-demand feature view '"


def _answered(ours: Answer) -> bool:
    """The body was read, and the request answered by what it says."""
    return ours.status in (200, 400, 404) or (ours.status == 500 and ours.body.startswith(TRANSFORMATION_FAILED))


def _python_full_names(asked: Asked, theirs: Answer, ours: Answer) -> bool:
    if theirs.status == 200 and ours.status == 500:  # what Feast threw away unseen, here is not what was declared
        return ours.body.startswith(TRANSFORMATION_FAILED) and bool(asked.query and asked.query["full_feature_names"])
    if theirs.status != 200 or ours.status != 200:
        return False
    answer = json.loads(ours.body)
    names = answer["metadata"]["feature_names"]
    wanted = set(json.loads(theirs.body)["metadata"]["feature_names"])
    kept = [place for place, name in enumerate(names) if name in wanted]
    if not all(PYTHON_MODE.match(name) for name in names if name not in wanted):
        return False
    answer["metadata"]["feature_names"] = [names[place] for place in kept]
    answer["results"] = [answer["results"][place] for place in kept]
    return difference(asked, theirs, ours._replace(body=json.dumps(answer))) is None


def _transformation_failed(_: Asked, theirs: Answer, ours: Answer) -> bool:
    said = theirs.status == 500 and not theirs.body.startswith('"{')  # no error of Feast's own
    return said and ours.status == 500 and ours.body.startswith(TRANSFORMATION_FAILED)


def _column_twice(_: Asked, theirs: Answer, ours: Answer) -> bool:
    """Each of our columns is there in Feast's answer, and Feast's has none of another name."""
    if (theirs.status, ours.status) != (200, 200):
        return False
    columns = []
    for answer in (json.loads(theirs.body), json.loads(ours.body)):
        names = answer["metadata"]["feature_names"]
        # As text, so that 1, 1.0 and true are three things.
        columns.append(Counter((n, json.dumps(r)) for n, r in zip(names, answer["results"], strict=True)))
    return columns[0].total() > columns[1].total() and not columns[1] - columns[0] and _names(*columns)


def _names(theirs: Counter[tuple[str, str]], ours: Counter[tuple[str, str]]) -> bool:
    return {name for name, _ in theirs} == {name for name, _ in ours}


def _one_row_among_many(_: Asked, theirs: Answer, ours: Answer) -> bool:
    return bool(re.match(r'"Column \d+ named \w+ expected length', theirs.body)) and ours.status == 200


def _not_json_type(asked: Asked, theirs: Answer, ours: Answer) -> bool:
    kind = asked.headers.get("content-type", "").partition(";")[0].lower()
    refused = theirs.status == 422 and "model_attributes_type" in theirs.body
    return refused and kind != "application/json" and not kind.endswith("+json") and _answered(ours)


def _one_view_twice(_: Asked, theirs: Answer, ours: Answer) -> bool:
    return theirs.status == 500 and "'<' not supported between instances of" in theirs.body and ours.status == 200


def _precomputed(_: Asked, theirs: Answer, ours: Answer) -> bool:
    missing = "precompute_online=True but pre-computed vectors could not be read"
    return theirs.status == 500 and missing in theirs.body and ours.status == 200


def _no_entities(asked: Asked, theirs: Answer, ours: Answer) -> bool:
    if "pop from an empty set" not in theirs.body or json.loads(asked.body or "{}")["entities"] != {}:
        return False
    return ours.status == 200 and all(len(column["values"]) == 1 for column in json.loads(ours.body)["results"])


def _numbers(value: Any) -> Iterator[int | float]:
    if type(value) is dict:
        value = list(value.values())
    if type(value) is list:
        for item in value:
            yield from _numbers(item)
    elif type(value) in (int, float):
        yield value


def _beyond_64_bits(asked: Asked, theirs: Answer, ours: Answer) -> bool:
    if not any(not -(1 << 63) <= number < 1 << 63 for number in _numbers(asked.query)):
        return False
    return theirs.status == 500 and "Value out of range" in theirs.body and ours.status == 200


def _letters_for_items(_: Asked, theirs: Answer, ours: Answer) -> bool:
    said = re.search(r"expected an array that fits \w+, got (\\\"|\{)", ours.body)
    return theirs.status == 200 and ours.status == 400 and said is not None


REQUEST_DATA = ("amount", "note", "tags")
"""The columns that the repository's on-demand views declare, and that are no keys."""


def _query_of(asked: Asked) -> Query:
    """What the body says, also of a request that was not made as one of JSON."""
    found = json.loads(asked.body or "{}")
    return found if isinstance(found, dict) else {}


def _typed_by_declaration(asked: Asked, theirs: Answer, ours: Answer) -> bool:
    """A column of request data has values of several types, or none whose type can be told."""
    if theirs.status != 500 or theirs.body.startswith('"{') or not _answered(ours) or ours.status == 400:
        return False
    entities = _query_of(asked)["entities"]
    columns = [[one for one in entities.get(name, [None]) if one is not None] for name in REQUEST_DATA]
    return any(
        len(set(map(type, column))) > 1
        or (column and not any(item is not None for one in column for item in _items(one)))
        for column in columns
    )


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _key_as_request_data(asked: Asked, theirs: Answer, ours: Answer) -> bool:
    said = "Missing join key values for keys" in theirs.body or "multiple values for keyword argument" in theirs.body
    features = _query_of(asked).get("features")
    refs = [re.split("[@:]", ref)[0] for ref in features if isinstance(ref, str)] if isinstance(features, list) else []
    if theirs.status != 500 or not said or not {"keyed", "paired"}.intersection(refs):
        return False
    return ours.status == 200 or ours.body.startswith(TRANSFORMATION_FAILED)


def _lone_surrogate(asked: Asked, _: Answer, ours: Answer) -> bool:
    return "\\ud800" in (asked.body or "") and ours.status == 422 and "json_invalid" in ours.body


def _health(asked: Asked, theirs: Answer, ours: Answer) -> bool:
    return asked.method in ("POST", "HEAD") and "ealth" in asked.path and (theirs.status, ours.status) == (405, 200)


ALLOWED = (
    Allowed(
        "full names in python mode",
        "Feast computes an on-demand view in python mode and then, under full feature names, loses its columns. Here "
        "they are in the answer. (The other columns are compared.)",
        _python_full_names,
    ),
    Allowed(
        "a transformation that raises",
        "Both answer 500: it is the fault of the view's author. Ours names the view, Feast only repeats the error.",
        _transformation_failed,
    ),
    Allowed(
        "a singleton beside a pandas view",
        "For two rows or more Feast fails to put the single value and the others into one table (500). Here both come.",
        _one_row_among_many,
    ),
    Allowed(
        "a pinned view beside an on-demand view over it",
        "Of a view pinned to a version and an on-demand view that reads its current one, Feast answers the pinned "
        "columns twice, the second time with the current values. Here they come once, as pinned.",
        _column_twice,
    ),
    Allowed(
        "content type",
        "Feast refuses a body that does not come as application/json (422). Here it is read all the same.",
        _not_json_type,
    ),
    Allowed(
        "a view twice in a service",
        "Feast answers 500 to every request for a service that has a view twice, once without an alias, because it "
        "sorts the aliases and None is among them (FeatureService.__eq__). Here the service is served.",
        _one_view_twice,
    ),
    Allowed(
        "precompute_online without vectors",
        "Feast answers 500 until somebody has precomputed the service's vectors. Here the views are read.",
        _precomputed,
    ),
    Allowed(
        "no entities for views without entities",
        "Feast wants some column, whatever it is, to tell the number of rows (500 without). Here it is one row.",
        _no_entities,
    ),
    Allowed(
        "numbers beyond 64 bits",
        "The JSON parser here makes floats of integers that 64 bits cannot hold, so an unneeded column may have them "
        "(Feast: 500).",
        _beyond_64_bits,
    ),
    Allowed(
        "text for an array",
        "In a column that no view has, and that begins with arrays, Feast takes a text or an object further down for "
        "the array of its letters or names. Here that is a mistake of the caller's (400).",
        _letters_for_items,
    ),
    Allowed(
        "request data that tells no type",
        "Feast infers the type of request data from its first value, and fails where lists are empty or another value "
        "does not fit (500). Here the on-demand view's declaration then says which type it is.",
        _typed_by_declaration,
    ),
    Allowed(
        "request data called like a join key",
        "Feast takes the value for the request data alone, and then misses the join key (500). Here it is both.",
        _key_as_request_data,
    ),
    Allowed(
        "lone surrogates",
        "Half a UTF-16 pair is no text, and cannot be encoded as UTF-8: here such JSON is refused (422).",
        _lone_surrogate,
    ),
    Allowed(
        "POST and HEAD /health",
        "Yummy's clients ask with POST, and health checks of proxies with HEAD, so here both are answered as GET is.",
        _health,
    ),
)


# ------------------------------------------------------------------------------------------------------------- asking


class Link:
    """A connection that is kept, and made anew when the server has closed it: Feast does after each of its errors."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def ask(self, asked: Asked) -> Answer:
        body = None if asked.body is None else asked.body.encode("utf-8", "surrogateescape")  # \udcff is the byte ff
        fresh = self._connection.sock is None
        try:
            return self._ask(asked, body)
        except (http.client.RemoteDisconnected, ConnectionError):
            self._connection.close()
            if fresh:
                raise
        return self._ask(asked, body)

    def _ask(self, asked: Asked, body: bytes | None) -> Answer:
        self._connection.request(asked.method, asked.path, body, dict(asked.headers))
        response = self._connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        return Answer(response.status, response.headers.get("content-type", ""), text)

    def close(self) -> None:
        self._connection.close()


class Judge:
    """Both servers, and what is said of their answers to one request."""

    def __init__(self, feast: Link, yummy: Link) -> None:
        self._feast, self._yummy = feast, yummy
        self.allowed: Counter[str] = Counter()
        self.statuses: Counter[tuple[int, int]] = Counter()

    def ask(self, asked: Asked) -> tuple[str | None, Answer, Answer]:
        """Why the answers are not the same, or None; Feast's, ours."""
        theirs = self._feast.ask(asked)
        try:
            ours = self._yummy.ask(asked)
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {type(error).__name__}: {error}", theirs, Answer(0, "", "")
        self.statuses[theirs.status, ours.status] += 1
        why = difference(asked, theirs, ours)
        if why is not None:
            for allowed in ALLOWED:
                if allowed.applies(asked, theirs, ours):
                    self.allowed[allowed.name] += 1
                    return None, theirs, ours
        return why, theirs, ours


# ----------------------------------------------------------------------------------------------------- cutting it down


def _smaller(query: Query) -> Iterator[Query]:
    """Queries that are a little less than `query`."""
    for name in query:
        if name != "entities":
            yield {key: value for key, value in query.items() if key != name}
    features = query.get("features")
    if type(features) is list:
        for part in _smaller_list(features):
            yield {**query, "features": part}
    entities = query.get("entities")
    if type(entities) is not dict:
        return
    for name in entities:
        yield {**query, "entities": {key: value for key, value in entities.items() if key != name}}
    columns = {name: values for name, values in entities.items() if type(values) is list}
    rows = {len(values) for values in columns.values()}
    if len(rows) == 1:
        for kept in _smaller_list(list(range(rows.pop()))):
            if kept:
                yield {**query, "entities": {**entities, **{n: [v[i] for i in kept] for n, v in columns.items()}}}


def _smaller_list(items: list[Any]) -> Iterator[list[Any]]:
    if len(items) > 3:
        yield items[: len(items) // 2]
        yield items[len(items) // 2 :]
    for place in range(len(items)):
        yield items[:place] + items[place + 1 :]


def _shrink(judge: Judge, asked: Asked, sign: str) -> Asked:
    """The least request, cutting one thing at a time, that fails in the same way."""
    tries = SHRINK_TRIES
    again = asked.query is not None
    while again:
        again = False
        for query in _smaller(asked.query or {}):
            if not tries:
                return asked
            tries -= 1
            candidate = ask(query, asked.story)
            why, theirs, ours = judge.ask(candidate)
            if why is not None and _sign(why, theirs, ours) == sign:
                asked, again = candidate, True
                break
    return asked


def _sign(why: str, theirs: Answer, ours: Answer) -> str:
    """What differences that are likely one and the same have in common: statuses and errors, or the place and types."""
    if theirs.status != ours.status:
        bodies = [answer.body if answer.status != 200 else "" for answer in (theirs, ours)]
        why = f"{theirs.status}/{ours.status} {bodies[0][:200]} {bodies[1][:60]}"
    column = re.fullmatch(r"(.*?)\.(values|statuses|event_timestamps): .*", why, re.DOTALL)
    if column:
        why = f"{column[1]} {column[2]}"
    # Escaped quotes first: a Feast error is JSON inside a JSON string, of which only the class is kept.
    why = re.sub(r"""\\"message.*|'[^']*'|entities\S+|view\S+|-?\d+(\.\d+)?""", "#", why, flags=re.IGNORECASE)
    return why[:120]


# --------------------------------------------------------------------------------------------------------------- main


class Failure(NamedTuple):
    """One kind of difference, by its first request, cut down."""

    why: str
    asked: Asked
    theirs: Answer
    ours: Answer


class Tally:
    """What came of all requests."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: Counter[str] = Counter()
        self.first: dict[str, Failure] = {}
        self.allowed: Counter[str] = Counter()
        self.statuses: Counter[tuple[int, int]] = Counter()


def compare(arguments: argparse.Namespace, place: int, requests: int, tally: Tally) -> None:
    """One repository: build it, serve it twice, ask."""
    seed = arguments.seed + place
    options = ["--seed", str(seed), "--key-version", str(3 - place % 2)]
    options += ["--versioning"] * (place % 2) + ["--sqlite"] * (place % 3 == 2)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="differential-")))
        redis_port = stack.enter_context(valkey(folder))
        config = build_repository(arguments.feast_python, folder / "repository", redis_port, *options)
        ports = [
            stack.enter_context(feast_server(arguments.feast_python, config)),
            stack.enter_context(yummy_server(arguments.yummy, config)),
        ]
        links = [Link(port) for port in ports]
        judge = Judge(*links)
        for link in links:
            stack.callback(link.close)
        manifest = json.loads((config.parent / "manifest.json").read_text(encoding="utf-8"))
        traffic = Traffic(manifest, random.Random(f"{arguments.seed}/{place}"))
        began = time.monotonic()
        for number, asked in enumerate(itertools.islice(traffic, requests), 1):
            why, theirs, ours = judge.ask(asked)
            if why is None:
                tally.passed += 1
            else:
                sign = _sign(why, theirs, ours)
                tally.failed[sign] += 1
                if sign not in tally.first and len(tally.first) < arguments.show:
                    least = _shrink(judge, asked, sign)
                    tally.first[sign] = Failure(why, least, *judge.ask(least)[1:])
            if number % 500 == 0 or number == requests:
                throttle = number / (time.monotonic() - began)
                failed = tally.failed.total()
                print(f"repository {seed}: {number} of {requests} ({throttle:.0f}/s), {failed} failed", flush=True)
        tally.allowed.update(judge.allowed)
        tally.statuses.update(judge.statuses)
        if arguments.keep_serving:
            print(f"feast http://127.0.0.1:{ports[0]}  yummy-fast http://127.0.0.1:{ports[1]}  {config}; Enter ends")
            sys.stdin.readline()


def report(tally: Tally) -> None:
    for sign, failure in tally.first.items():
        asked = failure.asked
        print(f"\n--- {tally.failed[sign]} like this: {failure.why[:SHOWN_BODY_CHARS]}")
        print(f"    {asked.method} {asked.path} {dict(asked.headers)} [{asked.story}]")
        print(f"    {'' if asked.body is None else asked.body[:SHOWN_BODY_CHARS]}")
        print(f"    Feast {failure.theirs.status} {failure.theirs.body[:SHOWN_BODY_CHARS]}")
        print(f"    ours  {failure.ours.status} {failure.ours.body[:SHOWN_BODY_CHARS]}")
    pairs = ", ".join(f"{a}/{b}: {times}" for (a, b), times in sorted(tally.statuses.items()))
    print(f"\nstatuses, Feast's/ours (with what was asked again to cut failures down): {pairs}")
    for allowed in ALLOWED:
        print(f"allowed {tally.allowed[allowed.name]} times: {allowed.name}: {allowed.reason}")
    print(f"{tally.passed} passed, {tally.failed.total()} failed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="how many in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repositories", type=int, default=3, help="that share the requests (default: %(default)s)")
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    parser.add_argument("--yummy", default=str(Path(sys.executable).with_name("yummy-fast")), metavar="COMMAND")
    parser.add_argument("--show", type=int, default=40, help="kinds of differences to cut down and print")
    parser.add_argument("--keep-serving", action="store_true", help="leave the servers up, to ask by hand")
    arguments = parser.parse_args()
    tally = Tally()
    for place in range(arguments.repositories):
        compare(arguments, place, arguments.requests // arguments.repositories, tally)
    report(tally)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
