"""A Feast SDK that reads through a feature server: `online_store: {type: remote}`. Runs in Feast's venv only.

Each question is asked of three FeatureStores that share a registry: one that reads Redis itself, one that goes through
`feast serve`, one that goes through yummy-fast. What must hold:
- Through us is as through Feast: the same dictionary, or an exception there as well. The remote store has limits of its
  own (it cannot type an empty list or a null in one; sets come as lists); they are the same for both servers. Which of
  several such values it meets first depends on the order of the columns, which is random in Feast.
- Through us is as from Redis, for the values that JSON can say: integers, floats, strings, booleans, null.
- What is written, pushed or materialized through us is in Redis. (To materialize is Feast's own to do: `--forward-to`.)
- A mistake raises the same class as it does without a server, where the server told which
  (FeastError.from_error_detail in feast/errors.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import re
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureService, FeatureStore
from feast.repo_config import RepoConfig, load_repo_config

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this is run as a script

from tests.differential.traffic import Query, Traffic  # noqa: E402

NOT_JSON = object()
BETTER = (
    "precompute_online=True but",
    "expected length",
    "'<' not supported between",
    "pop from an empty set",
    "Couldn't infer value type from empty value",
)
"""What Feast's own reader raises where we answer all the same; ALLOWED in tests/differential/run.py says why."""
KEY_AS_REQUEST_DATA = ("keyed:", "paired:")
"""Features whose request data are named like a join key, which Feast then misses: `_key_as_request_data` there."""
UNTYPABLE = (TypeError, ValueError)
SHOWN = 30
SHOWN_CHARS = 600


def through(config: RepoConfig, port: int) -> Any:
    """The FeatureStore of a client that has a registry, and a server instead of a store."""
    given = config.model_dump(by_alias=True, exclude_none=True)
    kept = {name: given[name] for name in ("project", "provider", "entity_key_serialization_version")}
    return FeatureStore(
        config=RepoConfig(
            **kept,
            registry={"path": str(given["registry"]["path"])},
            online_store={"type": "remote", "path": f"http://127.0.0.1:{port}"},
            offline_store={"type": "file"},
            repo_path=config.repo_path,
        )
    )


def answer(store: Any, query: Query) -> dict[str, Any] | Exception:
    """What the SDK returns, or raises."""
    name = query.get("feature_service")
    try:
        features = store.get_feature_service(name) if name else query["features"]
        found = store.get_online_features(
            features=features,
            entity_rows=query["entities"],
            full_feature_names=bool(query.get("full_feature_names")),
        )
        values: dict[str, Any] = found.to_dict()
    except Exception as error:  # whatever it is, it is what a user of the SDK gets
        return error
    return values


def same(one: Any, other: Any) -> bool:
    """Equal in type and value, with NaN like itself. Exceptions: values that the remote store cannot type."""
    if isinstance(one, Exception):
        return isinstance(one, UNTYPABLE) and isinstance(other, UNTYPABLE)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def as_json(value: Any) -> Any:
    """A value from Redis as it comes through a server, if JSON can say it: NOT_JSON otherwise."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"  # the remote store leaves it so
    if type(value) in (int, float, str, bool, type(None)):
        return value
    if type(value) is list:
        items = [as_json(item) for item in value]
        return NOT_JSON if NOT_JSON in items else items
    return NOT_JSON


def comparable(
    through_us: dict[str, Any], from_redis: dict[str, Any], parsed: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both without the columns that have values that JSON cannot say (bytes, times, sets, maps), and the `parsed`."""
    wanted = {name: as_json(column) for name, column in from_redis.items() if name not in parsed}
    wanted = {name: column for name, column in wanted.items() if column is not NOT_JSON}
    return {name: column for name, column in through_us.items() if name in wanted}, wanted


def parsed_names(manifest: dict[str, Any]) -> set[str]:
    """Features with JSON text, which the SDK parses where it knows the type: not where it comes through a server."""
    found = [
        (view["name"], feature)
        for view in manifest["views"]
        for feature, kind in view["features"].items()
        if kind in ("json", "json_list")
    ]
    return {feature for _, feature in found} | {f"{view}__{feature}" for view, feature in found}


class Tally:
    """What passed, and what did not."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, right: bool, what: str, *seen: Any) -> None:
        if right:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= SHOWN:
            print(f"--- {what}")
            for each in seen:
                print(f"    {each!r}"[:SHOWN_CHARS])


def mistakes(manifest: dict[str, Any], direct: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    """Calls that must raise what they raise without a server; each with the class that is."""
    view = next(view for view in manifest["views"] if view["name"] == "driver_stats")
    rows = {"driver_id": [1001]}
    unknown = FeatureService(name="no_such_service", features=[direct.get_feature_view(view["name"])])
    twice = ["driver_stats:trips", "driver_stats:trips"]
    return [
        ("FeatureViewNotFoundException", lambda store: store.get_online_features(["nope:x"], rows)),
        ("FeatureServiceNotFoundException", lambda store: store.get_online_features(unknown, rows)),
        ("FeatureNameCollisionError", lambda store: store.get_online_features(twice, rows)),
        (
            "RequestDataNotFoundInEntityRowsException",
            lambda store: store.get_online_features(["in_python:py_total"], rows),
        ),
    ]


def frame(drivers: list[int], when: datetime, trips: int) -> pd.DataFrame:
    """Rows of `driver_stats`, whose types are five of those that JSON and pandas see differently."""
    return pd.DataFrame(
        {
            "driver_id": drivers,
            "trips": [trips + place for place in range(len(drivers))],
            "rate": [None if place == 1 else place / 7 for place in range(len(drivers))],
            "city": ["Łódź" if place % 2 else None for place in range(len(drivers))],
            "seen": [when] * len(drivers),
            "quota": pd.Series([place / 3 for place in range(len(drivers))], dtype="float32"),
            "event_timestamp": [when] * len(drivers),
        }
    )


def check_writes(by_us: Any, direct: Any, folder: Path, tally: Tally) -> None:
    """Write, push and materialize, each newer than the one before, and read Redis itself."""
    drivers = [1001, 1002, 1003]
    features = [f"driver_stats:{name}" for name in ("trips", "rate", "city", "seen", "quota")]
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

    def materialize(rows: pd.DataFrame) -> None:
        rows.to_parquet(folder / "none.parquet")
        end = later + timedelta(days=10)
        by_us.materialize(later - timedelta(days=1), end, feature_views=["driver_stats"], disable_event_timestamp=False)

    for number, (name, write) in enumerate(
        (
            ("write_to_online_store", lambda rows: by_us.write_to_online_store("driver_stats", rows)),
            ("push", lambda rows: by_us.push("driver_stats_push", rows)),
            ("materialize", materialize),
        )
    ):
        when = later + timedelta(minutes=number)
        rows = frame(drivers, when, 100 * number + 100)
        try:
            write(rows)  # type: ignore[no-untyped-call]
            found: Any = direct.get_online_features(features, {"driver_id": drivers}).to_dict()
        except Exception as error:
            found = error
        wanted = {
            "driver_id": drivers,
            "trips": [100 * number + 100 + place for place in range(3)],
            "rate": [0.0, None, 2 / 7],
            "city": [None, "Łódź", None],
            "seen": [when] * 3,
            "quota": [float(value) for value in rows["quota"]],
        }
        tally.check(same(found, wanted), f"{name}: not what is in Redis", found, wanted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name in ("--feast-port", "--yummy-port", "--seed", "--requests"):
        parser.add_argument(name, type=int, required=True)
    arguments = parser.parse_args()
    logging.disable()  # what Feast has to say of each request
    warnings.simplefilter("ignore")
    config = load_repo_config(arguments.folder, arguments.folder / "feature_store.yaml")
    direct = FeatureStore(repo_path=str(arguments.folder))
    by_feast, by_us = (through(config, port) for port in (arguments.feast_port, arguments.yummy_port))
    manifest = json.loads((arguments.folder / "manifest.json").read_text(encoding="utf-8"))
    traffic = Traffic(manifest, random.Random(arguments.seed))
    tally = Tally()
    values = 0
    parsed = parsed_names(manifest)
    on_demand = {each["name"] for each in manifest["on_demand"]}
    on_demand |= {each["name"] for each in manifest["services"] if each["name"].startswith("on_demand_")}
    for number in range(1, arguments.requests + 1):
        query = traffic.good()
        if on_demand & set(re.split(r'[":@]', json.dumps(query))):
            query["full_feature_names"] = False  # under which Feast loses columns (docs/compatibility.md)
        ours, real = answer(by_us, query), answer(direct, query)
        if isinstance(real, Exception):
            # Not asked of Feast's server: it would answer 500, and its client wait and ask three times more.
            better = any(text in str(real) for text in BETTER) or (
                "Missing join key values for keys" in str(real)
                and any(ref.startswith(KEY_AS_REQUEST_DATA) for ref in query.get("features") or ())
            )
            tally.check(better or isinstance(ours, Exception), "no error through yummy-fast", query, ours, real)
            continue
        theirs = answer(by_feast, query)
        tally.check(same(ours, theirs), "not as through feast serve", query, ours, theirs)
        if isinstance(ours, dict):
            mine, wanted = comparable(ours, real, parsed)
            tally.check(same(mine, wanted), "not as read from Redis", query, mine, wanted)
            values += sum(map(len, mine.values()))
        if number % 100 == 0:
            print(f"{number} of {arguments.requests}", flush=True)
    for name, call in mistakes(manifest, direct):
        try:
            got: Any = call(by_us)
        except Exception as error:
            got = error
        tally.check(type(got).__name__ == name, f"{name} expected", got)
    check_writes(by_us, direct, arguments.folder, tally)
    print(f"{values} values compared with what is in Redis")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
