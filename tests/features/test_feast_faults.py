"""What the log says of a registry of which Feast answers wrongly; tests/conformance has one that Feast wrote."""

from __future__ import annotations

from tests.registries import Item, entity, fields, parsed, projection, service, view
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.feast_faults import MAX_NAMES, KeyTypeConflict, feast_faults, key_type_conflicts

INT64, STRING = ValueType.INT64, ValueType.STRING
SHOP = entity("shop", "shop_id", ValueType.UNKNOWN)
SALES = view("sales", ["shop"], {"shop_id": INT64}, {"sold": INT64})
NAMES = view("names", ["shop"], {"shop_id": STRING}, {"title": STRING})


def faults(*items: Item, versioning: bool = False) -> list[str]:
    return feast_faults(parsed(*items), versioning=versioning)


def test_there_is_nothing_to_say_of_an_ordinary_registry() -> None:
    assert faults(SHOP, SALES, service("svc", projection(SALES)), versioning=True) == []


def test_a_version_is_wrong_only_with_versioning_and_unpinned() -> None:
    current = view("sales", ["shop"], {"shop_id": INT64}, {"sold": INT64}, version=2)
    items = (SHOP, current, service("svc", projection(current)), service("pin", projection(current, version=1)))
    assert faults(*items) == []
    assert faults(*items, versioning=True) == [
        "version 0 is read where no version is pinned: sales in feature service svc (now at version 2)"
    ]


def test_views_that_disagree_are_named_with_each_service_that_has_both() -> None:
    both, one = service("both", projection(SALES), projection(NAMES)), service("one", projection(SALES))
    other = service("a_first", projection(NAMES), projection(SALES))
    declared = {INT64: ["sales"], STRING: ["names"]}
    assert key_type_conflicts(parsed(SHOP, SALES, NAMES, both, one, other)) == [
        KeyTypeConflict("shop_id", "a_first", declared),
        KeyTypeConflict("shop_id", "both", declared),
    ]
    assert key_type_conflicts(parsed(SHOP, SALES, NAMES, one)) == [KeyTypeConflict("shop_id", "", declared)]
    assert key_type_conflicts(parsed(SHOP, SALES, one)) == []


def test_a_sentence_names_the_service_and_the_views() -> None:
    both = service("both", projection(SALES), projection(NAMES))
    sentence = "views that declare a join key with different types are null when they are asked for together: shop_id"
    declared = "(INT64 in sales, STRING in names)"
    assert faults(SHOP, SALES, NAMES, both) == [f"{sentence} in feature service both {declared}"]
    assert faults(SHOP, SALES, NAMES) == [f"{sentence} (STRING in names, INT64 in sales)"]


def test_views_of_a_service_do_not_disagree_under_different_names() -> None:
    apart = service("apart", projection(SALES), projection(NAMES, join_key_map={"shop_id": "other_shop"}))
    (conflict,) = key_type_conflicts(parsed(SHOP, SALES, NAMES, apart))
    assert conflict.service == ""


def test_views_of_a_service_disagree_under_a_name_that_both_have_in_it() -> None:
    town = view("town", ["town"], {"town_id": STRING}, {"t": INT64})
    mapped = service("mapped", projection(SALES), projection(town, join_key_map={"town_id": "shop_id"}))
    assert key_type_conflicts(parsed(SHOP, entity("town", "town_id", ValueType.UNKNOWN), SALES, town, mapped)) == [
        KeyTypeConflict("shop_id", "mapped", {INT64: ["sales"], STRING: ["town"]})
    ]


def test_views_behind_an_on_demand_view_disagree_too() -> None:
    computed = messages.OnDemandFeatureView(
        spec=messages.OnDemandFeatureViewSpec(name="od", project="rides", mode="python", features=fields({"x": INT64}))
    )
    computed.spec.sources["names"].feature_view_projection.CopyFrom(projection(NAMES))
    chosen = messages.FeatureViewProjection(feature_view_name="od", feature_columns=fields({"x": INT64}))
    both = service("both", projection(SALES), chosen)
    assert key_type_conflicts(parsed(SHOP, SALES, NAMES, computed, both)) == [
        KeyTypeConflict("shop_id", "both", {INT64: ["sales"], STRING: ["names"]})
    ]


def test_a_long_list_is_cut() -> None:
    maps = view("maps", ["shop"], {"shop_id": INT64}, {f"m{number}": ValueType.SCALAR_MAP for number in range(12)})
    (said,) = faults(SHOP, maps)
    assert said.endswith(f"maps:m{MAX_NAMES - 1} and 2 more")


def test_request_data_called_like_the_only_join_key_is_answered_right() -> None:
    asked = messages.OnDemandFeatureView(
        spec=messages.OnDemandFeatureViewSpec(name="od", project="rides", mode="python", features=fields({"x": INT64}))
    )
    asked.spec.sources["asked"].request_data_source.request_data_options.schema.extend(fields({"shop_id": INT64}))
    asked.spec.sources["sales"].feature_view_projection.CopyFrom(projection(SALES))
    assert faults(SHOP, SALES, asked) == []
    pair = view("pair", ["shop", "town"], {"shop_id": INT64, "town_id": INT64}, {"p": INT64})
    asked.spec.sources["pair"].feature_view_projection.CopyFrom(projection(pair))
    assert faults(SHOP, entity("town", "town_id"), SALES, pair, asked) == [
        "nothing is found where request data is called like one of several join keys: shop_id of od"
    ]
