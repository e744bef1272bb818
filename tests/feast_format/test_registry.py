"""Registry bytes to records: the project's own, in Feast's order of precedence.

It is that of get_any_feature_view in feast/infra/registry/proto_registry_utils.py (Feast 0.67.0).
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tests import registries
from tests.registries import PROJECT, earlier, entity, parsed, projection, serialised, service, view
from yummy_fast.errors import RegistryError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.registry import FeatureView, Field, OnDemandFeatureView, parse_registry
from yummy_fast.feast_format.values import ValueType

DRIVER = {"driver_id": ValueType.INT64}


def named_view(name: str, feature: str, project: str = PROJECT) -> messages.FeatureView:
    return view(name, ["driver"], DRIVER, {feature: ValueType.INT64}, project=project)


def test_a_view_keeps_what_serving_needs() -> None:
    stats = view(
        "stats",
        ["driver"],
        DRIVER,
        {"trips": ValueType.INT64, "rate": ValueType.FLOAT},
        disabled=True,
        state=messages.MATERIALIZING,
        version=3,
    )
    stats.spec.ttl.seconds, stats.spec.ttl.nanos = 86_400, 500_000_000
    assert parsed(stats).views["stats"] == FeatureView(
        name="stats",
        entities=("driver",),
        features=(Field("trips", ValueType.INT64), Field("rate", ValueType.FLOAT)),
        entity_columns=(Field("driver_id", ValueType.INT64),),
        ttl_s=86_400.5,
        version=3,
        state="MATERIALIZING",
        disabled=True,
    )


def test_a_view_without_ttl_never_ends() -> None:
    stats = parsed(named_view("stats", "a")).views["stats"]
    assert isinstance(stats, FeatureView)
    assert stats.ttl_s == 0


def test_other_projects_are_named_and_not_served() -> None:
    registry = parsed(
        named_view("stats", "ours"),
        named_view("stats", "theirs", project="b"),
        named_view("more", "theirs", project="b"),
        entity("driver", "driver_id"),
        entity("rider", "rider_id", project="c"),
        service("svc", project="b"),
        messages.Project(spec=messages.ProjectSpec(name="a")),
        messages.Project(spec=messages.ProjectSpec(name=PROJECT)),
    )
    assert {name: found.features[0].name for name, found in registry.views.items()} == {"stats": "ours"}
    assert set(registry.entities) == {"driver", "__dummy"}
    assert not registry.services
    assert registry.other_projects == ("a", "b", "c")


def of_kind(kind: str) -> registries.Item:
    features = [messages.Feature(name=kind, value_type=ValueType.INT64)]
    match kind:
        case "feature":
            return messages.FeatureView(spec=messages.FeatureViewSpec(name="same", project=PROJECT, features=features))
        case "stream":
            return messages.StreamFeatureView(
                spec=messages.StreamFeatureViewSpec(name="same", project=PROJECT, features=features)
            )
        case "on demand":
            return messages.OnDemandFeatureView(
                spec=messages.OnDemandFeatureViewSpec(name="same", project=PROJECT, features=features)
            )
        case _:
            return messages.LabelView(spec=messages.LabelViewSpec(name="same", project=PROJECT, features=features))


@pytest.mark.parametrize("kinds", [("feature", "stream"), ("stream", "on demand"), ("on demand", "label")])
def test_of_two_views_of_one_name_feasts_order_of_kinds_decides(kinds: tuple[str, str]) -> None:
    registry = parsed(*(of_kind(kind) for kind in reversed(kinds)))
    assert registry.views["same"].features[0].name == kinds[0]


def test_an_entity_without_join_key_is_its_own() -> None:
    registry = parsed(entity("driver", ""), entity("rider", "rider_id", ValueType.STRING))
    assert [(e.name, e.join_key, e.type) for e in registry.entities.values()] == [
        ("driver", "driver", ValueType.INT64),
        ("rider", "rider_id", ValueType.STRING),
        ("__dummy", "__dummy_id", ValueType.STRING),
    ]


def test_a_projection_keeps_choice_alias_keys_and_version() -> None:
    stats = view("stats", ["driver"], DRIVER, {"a": ValueType.INT64, "b": ValueType.STRING})
    registry = parsed(
        service(
            "svc",
            projection(stats, ["b"], alias="other", join_key_map={"driver_id": "id"}, version=0),
            projection(stats),
        )
    )
    first, second = registry.services["svc"].projections
    assert (first.view, first.alias, first.join_key_map) == ("stats", "other", {"driver_id": "id"})
    assert (first.features, first.version) == ((Field("b", ValueType.STRING),), 0)
    assert (second.alias, second.join_key_map, second.version) == ("", {}, None)


def test_earlier_versions_are_kept_by_name_and_number() -> None:
    old, new = named_view("stats", "old"), named_view("stats", "new")
    registry = parsed(new, earlier(old, 1), earlier(new, 2), earlier(old, 1, project="b"))
    assert {key: found.features[0].name for key, found in registry.versions.items()} == {
        ("stats", 1): "old",
        ("stats", 2): "new",
    }
    first = registry.versions["stats", 1]
    assert isinstance(first, FeatureView)
    assert first.version == 1


def on_demand(**spec: Any) -> messages.OnDemandFeatureView:
    return messages.OnDemandFeatureView(
        spec=messages.OnDemandFeatureViewSpec(
            name="odv", project=PROJECT, features=registries.fields({"out": ValueType.DOUBLE}), **spec
        )
    )


def test_an_on_demand_view_keeps_its_sources_request_data_and_function() -> None:
    stats = named_view("stats", "trips")
    message = on_demand(
        mode="python",
        singleton=True,
        sources={
            "a": messages.OnDemandSource(feature_view_projection=projection(stats)),
            "b": messages.OnDemandSource(
                request_data_source=messages.DataSource(
                    request_data_options=messages.RequestDataOptions(
                        schema=registries.fields({"val": ValueType.INT64}), deprecated_schema={"old": ValueType.FLOAT}
                    )
                )
            ),
        },
        feature_transformation=messages.FeatureTransformation(
            user_defined_function=messages.UserDefinedFunction(name="f", body=b"pickle")
        ),
    )
    found = parsed(message).views["odv"]
    assert isinstance(found, OnDemandFeatureView)
    assert [source.view for source in found.sources] == ["stats"]
    assert found.request_data == (Field("val", ValueType.INT64), Field("old", ValueType.FLOAT))
    assert (found.mode, found.singleton, found.function) == ("python", True, b"pickle")


def test_an_old_on_demand_view_has_its_function_elsewhere_and_is_of_pandas() -> None:
    found = parsed(on_demand(user_defined_function=messages.UserDefinedFunction(name="f", body=b"old"))).views["odv"]
    assert isinstance(found, OnDemandFeatureView)
    assert (found.mode, found.function) == ("pandas", b"old")


def test_an_on_demand_view_computed_when_written_is_a_view_like_any_other() -> None:
    found = parsed(on_demand(write_to_online_store=True, entities=["driver"])).views["odv"]
    assert isinstance(found, FeatureView)
    assert (found.entities, found.features) == (("driver",), (Field("out", ValueType.DOUBLE),))


def test_a_type_or_state_of_a_later_feast_does_not_stop_the_rest() -> None:
    later = named_view("later", "a")
    later.spec.features[0].value_type = 9_999
    later.meta.state = 99  # type: ignore[assignment]  # an open enum
    found = parsed(later).views["later"]
    assert found.features == (Field("a", ValueType.UNKNOWN),)
    assert found.state == "99"


def test_an_empty_registry_is_one() -> None:
    registry = parse_registry(b"", PROJECT, "registry.db")
    assert (dict(registry.views), dict(registry.services), registry.other_projects) == ({}, {}, ())


def test_the_version_is_feasts_version_id() -> None:
    assert parse_registry(serialised([], "abc-1"), PROJECT, "registry.db").version == "abc-1"


@pytest.mark.parametrize("data", [b"not a registry", serialised([entity("driver", "driver_id")])[:-5]])
def test_bytes_that_are_no_registry_are_named_by_their_source(data: bytes) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_registry(data, PROJECT, "/data/registry.db")
    assert str(caught.value) == f"/data/registry.db: not a Feast registry ({len(data)} bytes that do not parse)"


def test_a_version_that_does_not_parse_is_named() -> None:
    broken = earlier(named_view("stats", "a"), 4)
    broken.feature_view_proto = b"\xff"
    with pytest.raises(RegistryError) as caught:
        parsed(broken)
    assert str(caught.value) == "registry.db: version 4 of feature view stats does not parse"


def test_records_cannot_be_changed() -> None:
    registry = parsed(named_view("stats", "a"))
    mapping: Any = registry.views
    with pytest.raises(TypeError):
        mapping["other"] = registry.views["stats"]
    with pytest.raises(FrozenInstanceError):
        registry.project = "other"  # type: ignore[misc]  # that is what is tested
