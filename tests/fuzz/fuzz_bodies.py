"""Fuzz request bodies: what is not answered with features is answered with a 4xx, and what is answered is JSON.

    pip install atheris
    python tests/fuzz/fuzz_bodies.py FOLDER -dict=tests/fuzz/bodies.dict -max_len=1000 -max_total_time=1200

FOLDER gets the inputs that were kept (corpus.py), and what libFuzzer adds to them.

A body goes as far as it goes without a store: to a query, to a plan of the conformance corpus's registry, to entity
keys, and to an answer about entities that are not there. A finding is any exception but RequestError and LimitError, an
answer that is no JSON, and rows or columns too few or too many.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(
    include=[
        "yummy_fast.features.query",
        "yummy_fast.features.vectors",
        "yummy_fast.features.statuses",
        "yummy_fast.features.json_text",
        "yummy_fast.features.timestamp_text",
        "yummy_fast.features.plan",
        "yummy_fast.features.binding",
        "yummy_fast.features.entities",
        "yummy_fast.features.collection_values",
        "yummy_fast.features.catalog",
        "yummy_fast.errors",
    ]
):
    from tests.fuzz import corpus
    from yummy_fast.errors import LimitError, RequestError
    from yummy_fast.features.binding import Bound
    from yummy_fast.features.catalog import Compiled
    from yummy_fast.features.query import Query, parse_query
    from yummy_fast.features.vectors import encode_vectors
    from yummy_fast.server.app import build_catalog, open_store
    from yummy_fast.sources.yaml_text import load_config

CONFIG = load_config(chdir=str(ROOT / "tests" / "conformance" / "redis"), environ={})
CATALOG = build_catalog(CONFIG, open_store(CONFIG), Path(CONFIG.repository.registry_path).read_bytes())


def test_one_input(body: bytes) -> None:
    try:
        query = parse_query(body)
        compiled = CATALOG.plan_for(query.feature_service, query.features, query.full_feature_names)
        bound = compiled.binder.bind(query.entities)
    except (RequestError, LimitError) as error:
        refusal = error
    else:
        check_answer(query, compiled, bound)
        return
    assert 400 <= refusal.status < 500
    json.loads(refusal.body(), parse_constant=_refuse)


def check_answer(query: Query, compiled: Compiled[object], bound: Bound) -> None:
    """What would be answered if the store had none of the keys."""
    plan = compiled.plan
    if plan.computed:
        return  # functions of users' begin here
    absent = [
        [[None] * (len(lookup.features) + len(lookup.views))] * len(keys)
        for lookup, keys in zip(plan.lookups, bound.keys, strict=True)
    ]
    text = encode_vectors(
        compiled.layout, bound, absent, version_metadata=query.version_metadata, now=datetime(2026, 1, 1), computed=()
    )
    answer = json.loads(text, parse_constant=_refuse)
    assert len(answer["results"]) == len(answer["metadata"]["feature_names"]) >= len(plan.columns)
    for column in answer["results"]:
        assert len(column["values"]) == len(column["statuses"]) == len(column["event_timestamps"]) == bound.rows


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


if __name__ == "__main__":
    corpus.unpack("bodies", Path(sys.argv[1]))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
