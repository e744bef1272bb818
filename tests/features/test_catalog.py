"""Which plan a service or a list of features becomes, and which error wins when it cannot.

Feast's order of checks is that of feast/utils.py _prepare_entities_to_read_from_online_store (Feast 0.67.0).
"""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterable
from typing import Any

import pytest

from tests.registries import PROJECT, Item, catalog, earlier, entity, fields, projection, service, view
from yummy_fast.errors import CollisionError, NotFoundError, RequestError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features import catalog as module
from yummy_fast.features.catalog import Catalog, Compiled
from yummy_fast.features.plan import Feature, HashContents, Plan

INT64, FLOAT, STRING = ValueType.INT64, ValueType.FLOAT, ValueType.STRING
DRIVER = {"driver_id": INT64}

STATS = view("stats", ["driver"], DRIVER, {"trips": INT64, "rate": FLOAT})
STATS2 = view("stats2", ["driver"], DRIVER, {"rate": FLOAT, "a:b": INT64})
COMBO = view("combo", ["driver", "customer"], {"driver_id": INT64, "customer_id": STRING}, {"pair": INT64})
GLOBAL = view("glob", ["__dummy"], {}, {"g": INT64})
ENTITIES: list[Item] = [entity("driver", "driver_id"), entity("customer", "customer_id", STRING)]
BASE: list[Item] = [*ENTITIES, STATS, STATS2, COMBO, GLOBAL]


def plan_of(catalog: Catalog[object], *features: str, full_names: bool = False) -> Plan:
    return catalog.plan_for(None, list(features), full_names).plan


def plan_of_service(catalog: Catalog[object], service: str, *, full_names: bool = False) -> Plan:
    return catalog.plan_for(service, [], full_names).plan


def names(plan: Plan) -> list[str]:
    return [column.name for column in plan.columns]


def refusal(catalog: Catalog[object], *features: str, full_names: bool = False) -> RequestError:
    with pytest.raises(RequestError) as caught:
        plan_of(catalog, *features, full_names=full_names)
    return caught.value


# ------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize("features", [[], ["stats:trips"]])
def test_an_unknown_service_is_feasts_404(features: list[str]) -> None:
    with pytest.raises(NotFoundError) as caught:
        catalog(*BASE).plan_for("nosvc", features, False)
    assert json.loads(json.loads(caught.value.body())) == {
        "module": "feast.errors",
        "class": "FeatureServiceNotFoundException",
        "message": f"Feature service nosvc does not exist in project {PROJECT}",
    }


@pytest.mark.parametrize(
    ("feature", "feast_class", "message"),
    [
        ("nofv:x", "FeatureViewNotFoundException", f"Feature view nofv does not exist in project {PROJECT}"),
        ("lost:x", "EntityNotFoundException", f"Entity ghost does not exist in project {PROJECT}"),
    ],
)
def test_an_unknown_view_or_entity_is_feasts_404(feature: str, feast_class: str, message: str) -> None:
    error = refusal(catalog(*BASE, view("lost", ["ghost"], {}, {"x": INT64})), feature)
    assert (error.status, error.feast_class, str(error)) == (404, feast_class, message)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["stats:nope"], "features[0]: Feature nope not found in projection stats"),
        (["stats:trips", "stats:"], "features[1]: Feature  not found in projection stats"),
        (["stats:driver_id"], "features[0]: Feature driver_id not found in projection stats"),
        ([], "features: No features specified for retrieval"),
    ],
)
def test_an_unknown_feature_is_named_with_its_place(features: list[str], message: str) -> None:
    error = refusal(catalog(*BASE), *features)
    assert (error.status, str(error)) == (400, message)


def test_a_place_counts_what_the_caller_wrote() -> None:
    error = refusal(catalog(*BASE), "stats:trips", "stats@latest:trips", "stats:nope", full_names=True)
    assert str(error) == "features[2]: Feature nope not found in projection stats"


@pytest.mark.parametrize(
    ("features", "status", "begins"),
    [
        (["bad", "nofv:x"], 400, "features[0]: Invalid"),
        (["nofv:x", "stats:nope"], 404, "Feature view nofv"),
        (["stats:trips", "stats:trips", "lost:x"], 404, "Entity ghost"),
        (["stats:nope", "stats2:nope"], 400, "Duplicate features named nope"),
    ],
)
def test_which_of_two_mistakes_is_told_is_feasts_order(features: list[str], status: int, begins: str) -> None:
    error = refusal(catalog(*BASE, view("lost", ["ghost"], {}, {"x": INT64})), *features)
    assert error.status == status
    assert str(error).startswith(begins)


# -------------------------------------------------------------------------------------------------------- collisions


@pytest.mark.parametrize("features", [["stats:rate", "stats2:rate"], ["stats:rate", "stats:rate"]])
def test_short_names_collide(features: list[str]) -> None:
    error = refusal(catalog(*BASE), *features)
    assert isinstance(error, CollisionError)
    assert str(error) == (
        "Duplicate features named rate found.\nTo resolve this collision, either use the full feature name by setting "
        "'full_feature_names=True', or ensure that the features in question have different names."
    )


def test_full_names_collide_only_for_one_reference_twice() -> None:
    assert str(refusal(catalog(*BASE), "stats:trips", "stats:trips", full_names=True)).startswith(
        "Duplicate features named stats__trips found.\nTo resolve this collision, please ensure"
    )
    assert names(plan_of(catalog(*BASE), "stats:rate", "stats2:rate", full_names=True)) == [
        *("stats__rate", "stats2__rate"),
    ]


def test_two_references_that_only_look_alike_as_full_names_are_two_columns() -> None:
    """Feast 0.67.0 compares the references as they are (_validate_feature_refs), and answers both under one name."""
    alike = view("a__b", ["driver"], {"driver_id": INT64}, {"c": INT64}), view("a", ["driver"], {}, {"b__c": INT64})
    assert names(plan_of(catalog(*BASE, *alike), "a__b:c", "a:b__c", full_names=True)) == ["a__b__c", "a__b__c"]


def test_one_feature_by_two_references_is_one_column() -> None:
    assert names(plan_of(catalog(*BASE), "stats:trips", "stats@latest:trips", full_names=True)) == ["stats__trips"]


# ----------------------------------------------------------------------------------------------------------- plans


def test_columns_come_in_the_order_of_the_request() -> None:
    plan = plan_of(catalog(*BASE), "stats2:a:b", "stats:trips", "combo:pair", "stats:rate")
    assert names(plan) == ["a:b", "trips", "pair", "rate"]
    assert [plan.lookups[column.lookup].features[column.position].name for column in plan.columns] == names(plan)


def test_views_of_one_entity_share_a_lookup() -> None:
    plan = plan_of(catalog(*BASE), "stats:rate", "combo:pair", "stats2:a:b", "stats:trips", "glob:g")
    stats, combo, glob = plan.lookups
    assert stats.features == (
        Feature("stats", "rate", FLOAT),
        Feature("stats2", "a:b", INT64),
        Feature("stats", "trips", INT64),
    )
    assert (stats.views, stats.view_of) == (("stats", "stats2"), (0, 1, 0))
    assert stats.join_keys == (("driver_id", "driver_id"),)
    assert stats.holds == HashContents(fields=4 + 2, types={INT64: 2, FLOAT: 2})
    assert combo.join_keys == (("customer_id", "customer_id"), ("driver_id", "driver_id"))
    assert glob.join_keys == (("__dummy_id", "__dummy_id"),)


@pytest.mark.parametrize("entities", [["driver", "customer"], ["customer", "driver"]])
def test_views_share_a_hash_whatever_the_order_of_their_entities(entities: list[str]) -> None:
    """The store sorts join keys, so the hash of a pair holds the features of all views of the pair."""
    pair = {"driver_id": INT64, "customer_id": STRING}
    other = view("other", entities, pair, {"x": FLOAT, "y": FLOAT})
    (lookup,) = plan_of(catalog(*BASE, other), "combo:pair").lookups
    assert lookup.join_keys == (("customer_id", "customer_id"), ("driver_id", "driver_id"))
    assert lookup.holds == HashContents(fields=1 + 2 + 2, types={INT64: 1, FLOAT: 2})


def test_a_service_has_its_projections_in_order_and_only_what_they_choose() -> None:
    svc = service("svc", projection(STATS2, ["rate"]), projection(STATS, ["trips"]))
    compiled = catalog(*BASE, svc)
    assert names(plan_of_service(compiled, "svc")) == ["rate", "trips"]
    assert names(plan_of_service(compiled, "svc", full_names=True)) == ["stats2__rate", "stats__trips"]


def test_a_service_wins_over_features_and_an_empty_name_does_not() -> None:
    compiled = catalog(*BASE, service("svc", projection(STATS, ["trips"])))
    assert names(compiled.plan_for("svc", ["bogus"], False).plan) == ["trips"]
    assert names(compiled.plan_for("", ["stats:rate"], False).plan) == ["rate"]


def test_aliases_name_the_columns_and_the_real_view_the_store() -> None:
    temp = view("locfv", ["location"], {"loc_id": INT64}, {"temp": FLOAT})
    svc = service(
        "fs_alias",
        projection(temp, alias="origin", join_key_map={"loc_id": "origin_id"}),
        projection(temp, alias="dest", join_key_map={"loc_id": "dest_id"}),
    )
    compiled = catalog(entity("location", "loc_id"), temp, svc)
    plan = plan_of_service(compiled, "fs_alias", full_names=True)
    assert names(plan) == ["origin__temp", "dest__temp"]
    assert [lookup.features for lookup in plan.lookups] == [(Feature("locfv", "temp", FLOAT),)] * 2
    assert [lookup.join_keys for lookup in plan.lookups] == [(("loc_id", "origin_id"),), (("loc_id", "dest_id"),)]
    with pytest.raises(CollisionError):
        compiled.plan_for("fs_alias", [], False)
    assert [(name, type(found)) for name, found in compiled.services()] == [("fs_alias", Compiled)]


def test_a_projection_of_what_the_view_has_not_fails_its_service_and_no_other() -> None:
    gone = messages.FeatureViewProjection(feature_view_name="stats", feature_columns=fields({"gone": INT64}))
    compiled = catalog(*BASE, service("bad", gone), service("good", projection(STATS)))
    for _ in range(2):
        with pytest.raises(RequestError, match="The projection for stats cannot be applied because it contains gone"):
            compiled.plan_for("bad", [], False)
    assert names(plan_of_service(compiled, "good")) == ["trips", "rate"]


def test_a_kept_error_does_not_grow_with_each_request_that_gets_it() -> None:
    gone = messages.FeatureViewProjection(feature_view_name="stats", feature_columns=fields({"gone": INT64}))
    compiled = catalog(*BASE, service("bad", gone))
    lengths = []
    for _ in range(3):
        with pytest.raises(RequestError) as caught:
            compiled.plan_for("bad", [], False)
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1


# -------------------------------------------------------------------------------------------------------- versions


OLD = view("stats", ["driver"], DRIVER, {"trips": FLOAT, "old": INT64})
NOW = view("stats", ["driver"], DRIVER, {"trips": INT64}, version=2)
VERSIONED: list[Item] = [*ENTITIES, NOW, earlier(OLD, 0), earlier(OLD, 1), earlier(NOW, 2)]


@pytest.mark.parametrize(
    ("feature", "name", "stored"),
    [
        ("stats@v1:old", "stats@v1__old", Feature("stats_v1", "old", INT64)),
        ("stats@V1:trips", "stats@v1__trips", Feature("stats_v1", "trips", FLOAT)),
        ("stats@v0:old", "stats@v0__old", Feature("stats", "old", INT64)),
        ("stats@v2:trips", "stats@v2__trips", Feature("stats_v2", "trips", INT64)),
        ("stats:trips", "stats__trips", Feature("stats_v2", "trips", INT64)),
    ],
)
def test_a_version_has_its_own_fields_in_the_store(feature: str, name: str, stored: Feature) -> None:
    plan = plan_of(catalog(*VERSIONED, versioning=True), feature, full_names=True)
    assert names(plan) == [name]
    assert plan.lookups[0].features == (stored,)
    assert plan.lookups[0].views == (stored.view,)


def test_short_names_do_not_tell_the_version() -> None:
    assert names(plan_of(catalog(*VERSIONED, versioning=True), "stats@v1:old")) == ["old"]


def test_without_versioning_the_store_has_one_version_and_references_to_others_are_refused() -> None:
    compiled = catalog(*VERSIONED)
    assert plan_of(compiled, "stats:trips").lookups[0].features == (Feature("stats", "trips", INT64),)
    assert str(refusal(compiled, "stats@v1:trips")) == (
        "Version-qualified ref 'stats@v1' not supported: online versioning is disabled. "
        "Set 'enable_online_feature_view_versioning: true' under 'registry' in feature_store.yaml."
    )


def test_a_service_reads_the_version_it_pins_and_else_the_unversioned_rows() -> None:
    compiled = catalog(
        *VERSIONED, service("pinned", projection(OLD, ["old"], version=1)), service("free", projection(NOW)),
        versioning=True,
    )  # fmt: skip
    assert plan_of_service(compiled, "pinned", full_names=True).lookups[0].features == (
        Feature("stats_v1", "old", INT64),
    )
    assert names(plan_of_service(compiled, "pinned", full_names=True)) == ["stats@v1__old"]
    assert plan_of_service(compiled, "free").lookups[0].features == (Feature("stats", "trips", INT64),)


@pytest.mark.parametrize(
    ("features", "version"), [(["stats@v2:trips", "stats@v1:old"], 2), (["stats@v1:old", "stats@v2:trips"], 1)]
)
def test_of_two_versions_of_a_view_the_first_is_told(features: list[str], version: int) -> None:
    """`feature_view_metadata` has one entry for each name of a view."""
    old = view("stats", ["driver"], DRIVER, {"old": INT64}, version=1)
    compiled = catalog(*ENTITIES, NOW, earlier(old, 1), earlier(NOW, 2), versioning=True)
    assert plan_of(compiled, *features).view_metadata == (("stats", version),)


@pytest.mark.parametrize("versioning", [False, True])
def test_collisions_are_looked_for_among_all_that_is_stored_under_the_same_join_keys(versioning: bool) -> None:
    asked: list[list[Feature]] = []

    def collisions(features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        asked.append(list(features))
        return [(asked[-1][0], asked[-1][-1])]

    # Versions of another entity's view are none of this hash; 0 are the unversioned rows, which the view itself has.
    elsewhere = view("combo", ["driver", "customer"], {}, {"pair": INT64})
    compiled = catalog(*VERSIONED, earlier(elsewhere, 1), versioning=versioning, collisions=collisions)
    now = [Feature("stats", "trips", INT64)]
    before = [
        Feature("stats_v1", "trips", FLOAT),
        Feature("stats_v1", "old", INT64),
        Feature("stats_v2", "trips", INT64),
    ]
    assert asked == [now + before if versioning else now]
    last = "stats_v2:trips" if versioning else "stats:trips"
    assert compiled.collisions == [f"stats:trips and {last}, both of driver_id"]


def test_a_computed_feature_that_is_named_twice_is_one_column() -> None:
    on_demand = messages.OnDemandFeatureView(
        spec=messages.OnDemandFeatureViewSpec(
            name="derived",
            project=PROJECT,
            mode="python",
            features=fields({"sum": INT64}),
            sources={"stats": messages.OnDemandSource(feature_view_projection=projection(STATS))},
        )
    )
    plan = plan_of(catalog(*BASE, on_demand), "derived:sum", "derived@latest:sum", full_names=True)
    (computed,) = plan.computed
    assert computed.outputs == (("sum", "derived__sum"),)
    assert [name for name, _, _ in computed.inputs] == ["stats__trips", "stats__rate"]


# ----------------------------------------------------------------------------------------------------------- caches


def test_a_list_of_features_is_compiled_once() -> None:
    compiled = catalog(*BASE)
    first = plan_of(compiled, "stats:trips")
    assert plan_of(compiled, "stats:trips") is first
    assert plan_of(compiled, "stats:trips", full_names=True) is not first


def test_the_plans_kept_are_bounded_in_number_and_in_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AD_HOC_PLANS", 2)
    monkeypatch.setattr(module, "MAX_AD_HOC_REFS", 2)
    compiled = catalog(*BASE)
    oldest = plan_of(compiled, "stats:trips")
    plan_of(compiled, "stats:rate")
    newest = plan_of(compiled, "stats2:rate")
    assert plan_of(compiled, "stats2:rate") is newest
    assert plan_of(compiled, "stats:trips") is not oldest
    long = ["stats:trips", "stats2:rate", "combo:pair"]
    assert plan_of(compiled, *long) is not plan_of(compiled, *long)
    assert names(plan_of(compiled, *long)) == ["trips", "rate", "pair"]


def test_a_long_list_takes_the_place_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AD_HOC_REFS", 4)
    compiled = catalog(*BASE)
    first, second = plan_of(compiled, "stats:trips"), plan_of(compiled, "stats:rate")
    long = plan_of(compiled, "stats:trips", "stats2:rate", "combo:pair")
    assert plan_of(compiled, "stats:rate") is second
    assert plan_of(compiled, "stats:trips", "stats2:rate", "combo:pair") is long
    assert plan_of(compiled, "stats:trips") is not first


def test_each_plan_is_prepared_and_laid_out_once() -> None:
    calls: list[str] = []

    def note(what: str) -> Any:
        return lambda argument: calls.append(what)

    compiled = Catalog(
        catalog(*BASE, service("svc", projection(STATS))).registry,
        key_version=3,
        versioning=False,
        prepare=note("prepare"),
        lay_out=note("lay out"),
        load=note("load"),
    )
    assert calls == ["prepare", "lay out"] * 2, "at compile time: short names and full names"
    for _ in range(3):
        compiled.plan_for("svc", [], False)
    assert len(calls) == 4


def test_a_catalog_goes_without_the_cycle_collector() -> None:
    """A reload freezes it (`reload.gc_paused`): with a cycle in it, every reload would leave a catalog behind."""
    collects = gc.isenabled()
    gc.disable()
    try:
        made = catalog(
            *BASE, service("twice", projection(STATS), projection(STATS2)), service("one", projection(STATS))
        )
        with pytest.raises(CollisionError):
            made.plan_for("twice", [], False)
        made.plan_for("twice", [], True)
        with pytest.raises(NotFoundError):
            made.plan_for(None, ["nowhere:x"], False)
        made.plan_for(None, ["stats:trips"], False)
        gone = weakref.ref(made)
        del made
        assert gone() is None
    finally:
        if collects:
            gc.enable()
