"""Requests that are made up for `compare`: from Feast's own registry and from keys as Feast writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server
from yummy_fast.diagnosis.made_requests import ROWS, MadeRequests, make_requests
from yummy_fast.feast_format.keys import KeyPart, compile_key
from yummy_fast.feast_format.registry import parse_registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.statuses import status_policy
from yummy_fast.features.transforms import load
from yummy_fast.features.vectors import Layout, Tails

CORPUS = Path(__file__).parents[1] / "conformance" / "redis"
INT64, STRING = ValueType.INT64, ValueType.STRING


@pytest.fixture(scope="module")
def catalog() -> Catalog[Any]:
    registry = parse_registry((CORPUS / "registry.db").read_bytes(), "corpus", "registry.db")
    policy = status_policy("feast", absent_is_present=True)
    return Catalog(
        registry,
        key_version=3,
        versioning=False,
        prepare=lambda lookups: None,
        lay_out=partial(Layout, policy=policy, tails=Tails()),
        load=load,
    )


def keys(version: int, **columns: Sequence[Any]) -> list[bytes]:
    types = {int: INT64, str: STRING}
    parts = [KeyPart(name, name, types[type(values[0])]) for name, values in sorted(columns.items())]
    return compile_key(parts, version)(columns, len(next(iter(columns.values()))))


def query(made: MadeRequests, what: str) -> dict[str, Any]:
    return dict(dict(made.queries)[what])


@pytest.mark.parametrize("version", [2, 3])
def test_stored_entities_and_one_that_is_not(catalog: Catalog[Any], version: int) -> None:
    made = make_requests(catalog, keys(version, driver_id=[1001, 1002]))
    asked = query(made, "feature view driver_stats")
    assert asked["entities"] == {"driver_id": [1001, 1002, -1]}
    assert "driver_stats:trips" in asked["features"]
    assert query(made, "feature service svc_all")["feature_service"] == "svc_all"
    json.dumps(made.queries)


def test_what_has_no_key_in_the_sample_is_asked_for_what_is_absent(catalog: Catalog[Any]) -> None:
    made = make_requests(catalog, [])
    assert query(made, "feature view driver_stats")["entities"] == {"driver_id": [-1]}
    assert query(made, "feature view customer_orders")["entities"] == {"customer_id": ["(absent)"]}


def test_rows_are_bounded(catalog: Catalog[Any]) -> None:
    made = make_requests(catalog, keys(3, driver_id=list(range(500))))
    assert len(query(made, "feature view driver_stats")["entities"]["driver_id"]) == ROWS + 1


def test_other_bytes_are_no_keys(catalog: Catalog[Any]) -> None:
    made = make_requests(catalog, [b"", b"\xff" * 40, keys(3, driver_id=[1])[0][:-1]])
    assert query(made, "feature view driver_stats")["entities"] == {"driver_id": [-1]}


def test_request_data_cannot_be_made_up(catalog: Catalog[Any]) -> None:
    made = make_requests(catalog, [])
    assert "feature service svc_odfv: it wants request data: bonus" in made.left_out
    assert "feature service svc_odfv" not in dict(made.queries)


def test_composite_keys_are_whole(catalog: Catalog[Any]) -> None:
    """A pair that is stored is asked for as a pair, in each service that reads it."""
    stored = keys(3, driver_id=[1001, 1002, 1003], customer_id=["b", "a", "c"]) + keys(3, driver_id=[7])
    pairs = {(1001, "b"), (1002, "a"), (1003, "c"), (-1, "(absent)")}
    found = 0
    for _, asked in make_requests(catalog, stored).queries:
        columns = asked["entities"]
        if set(columns) == {"driver_id", "customer_id"} and len(columns["driver_id"]) == 4:
            assert set(zip(columns["driver_id"], columns["customer_id"], strict=True)) == pairs
            found += 1
    assert found


def test_stored_keys_come_before_absent_ones(catalog: Catalog[Any]) -> None:
    """Where no pair is stored, what is stored of one of its join keys is asked for."""
    stored = keys(3, driver_id=[1001]) + keys(3, __dummy_id=[""])
    asked = query(make_requests(catalog, stored), "feature service svc_mixed")["entities"]
    assert asked["driver_id"] == [1001, -1]
    assert asked["customer_id"] == ["(absent)", "(absent)"]


def test_every_made_request_is_answered(catalog: Catalog[Any], server: Server) -> None:
    """Two answers that refuse the same request would be the same."""
    for stored in ([], keys(3, driver_id=[1001, 1002])):
        for what, asked in make_requests(catalog, stored).queries:
            assert server.ask("/get-online-features", asked).status == 200, what
