"""What a plan says of itself: what it counts, and whether any request can be answered by it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tests.registries import PROJECT, Item, catalog, entity, fields, projection, service, view
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature, HashContents, Plan

INT64, DOUBLE = ValueType.INT64, ValueType.DOUBLE
DRIVER = {"driver_id": INT64}

STATS = view("stats", ["driver"], DRIVER, {"trips": INT64, "rate": DOUBLE})
MORE = view("more", ["driver"], DRIVER, {"seen": INT64})
RATED = view("rated", ["rating"], {"rating_id": DOUBLE}, {"r": INT64})
DERIVED = messages.OnDemandFeatureView(
    spec=messages.OnDemandFeatureViewSpec(
        name="derived",
        project=PROJECT,
        mode="python",
        features=fields({"sum": INT64, "half": DOUBLE}),
        sources={"more": messages.OnDemandSource(feature_view_projection=projection(MORE))},
    )
)
BASE: list[Item] = [entity("driver", "driver_id"), entity("rating", "rating_id"), STATS, MORE, RATED, DERIVED]


def plan_of(*features: str) -> Plan:
    return catalog(*BASE).plan_for(None, list(features), False).plan


@pytest.mark.parametrize(
    ("features", "feature_count", "view_count"),
    [
        (["stats:trips"], 1, 1),
        (["stats:trips", "stats:rate"], 2, 1),
        (["stats:trips", "more:seen", "stats:rate"], 3, 2),
        (["derived:sum"], 1, 1),  # what it reads of `more` is not asked for
        (["derived:sum", "derived:half", "stats:trips"], 3, 2),
        (["derived:sum", "more:seen"], 2, 2),
    ],
)
def test_features_and_views_are_counted_as_asked_for(features: list[str], feature_count: int, view_count: int) -> None:
    plan = plan_of(*features)
    assert (plan.feature_count, plan.view_count) == (feature_count, view_count)


def test_two_aliases_of_a_view_are_two() -> None:
    two = service("two", projection(MORE, alias="a"), projection(MORE, alias="b"))
    plan = catalog(*BASE, two).plan_for("two", [], True).plan
    assert (plan.feature_count, plan.view_count) == (2, 2)


def test_a_join_key_of_a_type_that_no_key_has_is_an_obstacle() -> None:
    assert plan_of("stats:trips").obstacle() is None
    assert str(plan_of("stats:trips", "rated:r").obstacle()) == (
        "entities.rating_id: values of type DOUBLE cannot be part of an entity key; "
        "expected one of BYTES, INT32, INT64, STRING, UNIX_TIMESTAMP"
    )


def test_it_knows_its_service() -> None:
    svc = service("svc", projection(STATS))
    assert catalog(*BASE, svc).plan_for("svc", [], False).plan.service == "svc"
    assert plan_of("stats:trips").service == ""


def test_it_does_not_change() -> None:
    plan: Any = plan_of("stats:trips")
    with pytest.raises(FrozenInstanceError):
        plan.service = "other"


def test_a_hash_holds_its_features_and_a_timestamp_for_each_view() -> None:
    features = [Feature("a", "x", INT64), Feature("a", "y", INT64), Feature("b", "x", DOUBLE)]
    assert HashContents.of(features) == HashContents(fields=5, types={INT64: 2, DOUBLE: 1})
