"""Where Feast 0.67.0 is wrong: its own answer with --compat feast, the right one with --compat strict.

Registry, rows and answers are Feast's, with Redis and with SQLite: feast_is_wrong/record.py has them from it. What is
right is said here, for each case: it follows from what repository.py wrote and declared. Where Feast has no answer (its
status is 500), both give the right one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conformance.feast_is_wrong.cases import REQUESTS
from tests.harness import Answer, Server, Valkey, repository
from yummy_fast.features.feast_faults import AS_IN_FEAST

HERE = Path(__file__).resolve().parent / "feast_is_wrong"
STORES = {"redis": "feast_is_wrong", "sqlite": "feast_is_wrong/sqlite"}
"""The repository of each store, as the harness knows it."""
FEAST = {
    store: {
        line["case"]: line
        for line in map(json.loads, (HERE.parent / folder / "answers.jsonl").read_text().splitlines())
    }
    for store, folder in STORES.items()
}
NOT_FOUND, PRESENT = "NOT_FOUND", "PRESENT"

OF_KEYS = {
    "true": 1,
    "2.5": "x",
    "1.50": [1, 2],
    "00000000-0000-0000-0000-000000000005": True,
    "/w==": 2.5,
    str(1_767_225_600): "when",
}
"""The map that repository.py writes with a key of each type; the last is 2026-01-01."""

RIGHT: Mapping[str, Mapping[str, list[Any]]] = {
    "versions: a list": {"a": [101], "b": [201]},
    "versions: a service": {"a": [101], "b": [201]},
    "versions: an alias": {"a": [101], "b": [201], "p": [31], "q": [41]},
    "versions: an on-demand view": {"twice": [202]},
    "versions: a service of an on-demand view": {"twice": [202]},
    "versions: pinned and not": {"stats@v0__a": [100], "pushed__p": [31], "pushed__q": [41], "trips__km": [7]},
    "maps": {"m": [{"1": "a", "2": 5}, None], "of_keys": [OF_KEYS, None], "nested": [{"7": {"8": "deep"}}, None]},
    "maps: one row": {"m": [{"1": "a", "2": 5}]},
    "maps: computed": {"computed_map": [{"1": "one", "2.5": None}]},
    "singleton: one row": {"longer": [11]},
    "singleton: two rows": {"longer": [11, 21], "distance": [10, 20]},
    "singleton: one list": {"pair": [[10, 0]]},
    "singleton: full names": {"one__longer": [11, 21]},
    "singleton: before pandas": {"longer": [11, 21], "half": [5.0, 10.0]},
    "singleton: after pandas": {"half": [5.0, 10.0], "longer": [11, 21]},
    "singleton: a constant": {"always": [5, 5], "distance": [10, 20]},
    "no entities": {
        "pushed_last_n": [2, 2],
        "pushed_last_t": ["pushed"] * 2,
        "pushed_first_n": [1, 1],
        "pushed_first_t": ["materialized"] * 2,
        "only_pushed_n": [2, 2],
        "only_pushed_t": ["pushed"] * 2,
    },
    "no entities: a service": {
        "pushed_last_n": [2],
        "pushed_last_t": ["pushed"],
        "pushed_first_n": [1],
        "pushed_first_t": ["materialized"],
        "only_pushed_n": [2],
        "only_pushed_t": ["pushed"],
    },
    "request data: a key": {"driver_id": [1], "sum": [51]},
    "request data: a key and its view": {"driver_id": [1, 1], "sum": [51, 51], "fare": [50, 50]},
    "request data: one of two keys": {"driver_id": [1], "customer_id": [9], "points": [70], "earned": [79]},
    "request data: an empty list": {"tag_count": [0]},
    "request data: empty lists": {"tag_count": [0, 0]},
    "request data: a list and an empty one": {"tag_count": [0, 1]},
    "request data: lists of nulls": {"tag_count": [1]},
    "request data: whole numbers first": {"scaled": [2.0, 5.0]},
    "key types: number last": {"title": ["corner"], "sold": [12]},
    "key types: text last": {"title": ["corner"], "sold": [12]},
    "key types: a label view": {"sold": [12], "verdict": ["good"], "labeler": ["anna"]},
    "key types: labels first": {"verdict": ["good", None], "sold": [12, None]},
    "key types: texts of numbers": {"title": ["corner"], "sold": [12]},
}
ONLY_OUR_COLUMNS = ("singleton: full names",)
"""Feast answers these, but without the columns: both give them."""
MISTAKES: Mapping[str, str] = {
    "request data: empty for text": "entities.note: expected a value to infer a type from, got only empty ones",
    "missing key": (
        "entities: Missing join key values for keys: ['account_id']. No values provided for keys: ['account_id']. "
        "Provided join_key_values: []; did you mean 'account_id' instead of 'acount_id'?"
    ),
}


class Servers(NamedTuple):
    store: str
    feast: Server
    strict: Server


@pytest.fixture(scope="module", params=STORES)
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A server of each --compat, on each store."""
    with Valkey() as valkey:
        valkey.load("feast_is_wrong")
        folder = repository(tmp_path_factory.mktemp("wrong"), STORES[request.param], f"127.0.0.1:{valkey.port}")
        with Server(folder) as feast, Server(folder, "--compat", "strict") as strict:
            yield Servers(request.param, feast, strict)


def columns(answer: Answer, part: str = "values") -> dict[str, Any]:
    assert answer.status == 200, answer.body
    body = json.loads(answer.body)
    return {name: column[part] for name, column in zip(body["metadata"]["feature_names"], body["results"], strict=True)}


def ask(server: Server, case: str) -> Answer:
    return server.ask("/get-online-features", REQUESTS[case])


def test_each_case_has_an_answer_of_feasts_and_a_right_one() -> None:
    for answers in FEAST.values():
        assert answers.keys() == REQUESTS.keys() == RIGHT.keys() | MISTAKES.keys()


@pytest.mark.parametrize("case", RIGHT)
def test_strict_is_right(servers: Servers, case: str) -> None:
    answered = columns(ask(servers.strict, case))
    assert {name: answered[name] for name in RIGHT[case]} == RIGHT[case]
    for name, values in RIGHT[case].items():
        statuses = columns(ask(servers.strict, case), "statuses")[name]
        assert statuses == [NOT_FOUND if value is None else PRESENT for value in values], name


@pytest.mark.parametrize("case", RIGHT)
def test_feast_is_as_feast_where_feast_answers(servers: Servers, case: str) -> None:
    recorded = FEAST[servers.store][case]
    answer = ask(servers.feast, case)
    if recorded["status"] != 200:
        assert recorded["status"] == 500
        assert {name: columns(answer)[name] for name in RIGHT[case]} == RIGHT[case]
        return
    theirs = Answer(200, {}, recorded["body"].encode())
    ours = {part: columns(answer, part) for part in ("values", "statuses", "event_timestamps")}
    if case in ONLY_OUR_COLUMNS:
        assert {name: ours["values"].pop(name) for name in RIGHT[case]} == RIGHT[case]
        ours = {"values": ours["values"]}
    for part in ours:
        assert ours[part] == columns(theirs, part)
    metadata = [json.loads(body)["metadata"].get("feature_view_metadata") for body in (answer.body, recorded["body"])]
    assert metadata[0] == metadata[1]


@pytest.mark.parametrize("compat", ["feast", "strict"])
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_the_callers_and_says_what_is_wrong(servers: Servers, compat: str, case: str) -> None:
    answer = ask(getattr(servers, compat), case)
    assert (FEAST[servers.store][case]["status"], answer.status) == (500, 400)
    assert json.loads(answer.body) == MISTAKES[case]


def test_strict_says_which_versions_were_read(servers: Servers) -> None:
    """repository.py applied stats and pushed twice: what was first is version 0, and the current one version 1."""
    said = json.loads(ask(servers.strict, "versions: pinned and not").body)["metadata"]["feature_view_metadata"]
    assert said == [{"name": "stats"}, {"name": "pushed", "version": 1}, {"name": "trips"}]
    said = json.loads(ask(servers.strict, "versions: a service").body)["metadata"]["feature_view_metadata"]
    assert said == [{"name": "stats", "version": 1}]


def test_the_log_says_at_the_start_what_is_as_in_feast(servers: Servers) -> None:
    said = [line for line in servers.feast.log.splitlines() if AS_IN_FEAST in line]
    for kind, names in {
        "version 0": "stats in feature service svc (now at version 1), ",
        "SCALAR_MAP": "maps:m, maps:of_keys, maps:nested, count:computed_map",
        "singleton": ": one",
        "without entities": ": pushed_last, pushed_first, only_pushed",
        "one of several join keys": ": customer_id of earn",
        "fractions": ": factor of scale",
        "different types": "shop_id in feature service labelled (INT64 in sales, STRING in labels), shop_id in feature "
        "service number_last (STRING in names, INT64 in sales), shop_id in feature service text_last (INT64 in sales, "
        "STRING in names)",
    }.items():
        (line,) = (line for line in said if kind in line)
        assert names in line
    assert "twice" in next(line for line in said if "version 0" in line)
    assert AS_IN_FEAST not in servers.strict.log
