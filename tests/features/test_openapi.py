"""What /openapi.json says of a registry. tests/page has a tool ask a real server by it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from tests.registries import PROJECT, Item, catalog, earlier, entity, fields, parsed, projection, service, view
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features import openapi as module
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.openapi import Served, openapi
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.vectors import Layout, Tails

INT64, FLOAT, STRING, BOOL = ValueType.INT64, ValueType.FLOAT, ValueType.STRING, ValueType.BOOL
SERVED = Served("1.2.3")
STATS = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64, "rate": FLOAT})
LOST = view("lost", ["driver"], {"driver_id": INT64}, {"x": INT64})  # which the registry does not have
GLOBAL = view("glob", ["__dummy"], {}, {"g": INT64})
ITEMS: list[Item] = [
    entity("driver", "driver_id"),
    STATS,
    GLOBAL,
    service("ranking", projection(STATS)),
    service("world", projection(GLOBAL)),
    service("broken", projection(LOST)),
]


def document(*items: Item, served: Served = SERVED, **options: Any) -> Any:
    return json.loads(openapi(catalog(*items, **options), served))


def bodies(found: Any, path: str = "/get-online-features") -> dict[str, Any]:
    """The schemas of a path's body by their titles."""
    schema = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return {each["title"]: each for each in schema["anyOf"]}


def test_each_service_that_can_be_served_has_its_name_and_its_typed_keys() -> None:
    found = bodies(document(*ITEMS))
    assert list(found) == ["ranking", "world", "a list of features"]
    entities = found["ranking"]["properties"]["entities"]
    assert found["ranking"]["properties"]["feature_service"] == {"const": "ranking"}
    assert entities["required"] == ["driver_id"]
    assert entities["properties"] == {"driver_id": {"type": "array", "items": {"$ref": "#/components/schemas/INT64"}}}
    assert found["ranking"]["x-features"] == [
        {"name": "trips", "type": "INT64", "from": "stats:trips", "keys": {"driver_id": "driver_id"}},
        {"name": "rate", "type": "FLOAT", "from": "stats:rate", "keys": {"driver_id": "driver_id"}},
    ]
    assert found["ranking"]["examples"] == [{"feature_service": "ranking", "entities": {"driver_id": [1001]}}]
    assert found["world"]["properties"]["entities"] == {
        "type": "object",
        "required": [],
        "properties": {},
        "additionalProperties": {"type": "array"},  # else 422, as in Feast
    }


def test_features_by_name_and_what_they_need() -> None:
    found = document(*ITEMS)
    assert found["x-feature-views"] == {
        "stats": {"join_keys": {"driver_id": "INT64"}, "features": {"trips": "INT64", "rate": "FLOAT"}},
        "glob": {"join_keys": {}, "features": {"g": "INT64"}},
    }
    by_name = bodies(found)["a list of features"]["properties"]
    assert by_name["features"]["items"] == {"enum": ["stats:trips", "stats:rate", "glob:g"]}


def test_request_data_is_asked_for_beside_the_join_keys() -> None:
    inputs = messages.OnDemandSource(feature_view_projection=projection(STATS))
    vip = messages.DataSource(name="vip", request_data_options={"schema": fields({"is_vip": BOOL})})
    scored = messages.OnDemandFeatureView(
        spec=messages.OnDemandFeatureViewSpec(
            name="scored",
            project=PROJECT,
            mode="python",
            features=fields({"score": FLOAT}),
            sources={"stats": inputs, "vip": messages.OnDemandSource(request_data_source=vip)},
        )
    )
    uses = messages.FeatureViewProjection(feature_view_name="scored", feature_columns=scored.spec.features)
    found = document(*ITEMS, scored, service("scores", uses))
    assert found["x-feature-views"]["scored"] == {
        "join_keys": {"driver_id": "INT64"},
        "features": {"score": "FLOAT"},
        "request_data": {"is_vip": "BOOL"},
        "computed": True,
    }
    needed = bodies(found)["scores"]["properties"]["entities"]
    assert needed["required"] == ["driver_id", "is_vip"]
    assert needed["properties"]["is_vip"]["items"] == {"$ref": "#/components/schemas/BOOL"}


def test_a_value_comes_from_a_view_under_the_columns_that_are_its_key() -> None:
    pinned = projection(STATS, ["rate"], alias="origin", join_key_map={"driver_id": "origin_id"}, version=2)
    current = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64, "rate": FLOAT}, version=3)
    items = [*ITEMS[:1], current, earlier(STATS, 2), service("pinned", pinned)]
    assert bodies(document(*items, versioning=True))["pinned"]["x-features"] == [
        {"name": "rate", "type": "FLOAT", "from": "stats@v2:rate", "keys": {"driver_id": "origin_id"}}
    ]


def test_two_features_of_one_name_need_full_names() -> None:
    other = view("other", ["driver"], {"driver_id": INT64}, {"rate": FLOAT})
    both = service("both", projection(STATS, ["rate"]), projection(other))
    found = bodies(document(*ITEMS, other, both))["both"]
    assert found["required"] == ["feature_service", "entities", "full_feature_names"]
    assert found["properties"]["full_feature_names"] == {"const": True}
    assert [each["name"] for each in found["x-features"]] == ["stats__rate", "other__rate"]


def test_what_is_served_depends_on_the_server() -> None:
    open_paths = document(*ITEMS)["paths"]
    assert {"/health", "/livez", "/readyz", "/metrics", "/openapi.json"} <= set(open_paths)
    assert "/push" not in open_paths  # this catalog writes nothing
    forwarded = (("/docs", "get"), ("/mcp", "get"), ("/mcp", "post"))
    found = document(*ITEMS, served=replace_served(needs_token=True, has_probes=False, forwarded=forwarded))
    assert not {"/livez", "/readyz", "/metrics"} & set(found["paths"])
    assert set(found["paths"]["/mcp"]) == {"get", "post"}
    assert found["paths"]["/get-online-features"]["post"]["security"] == [{"token": []}]
    assert "security" not in found["paths"]["/health"]["get"]
    assert found["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def replace_served(**changes: Any) -> Served:
    return SERVED._replace(**changes)


def test_of_a_large_registry_a_part_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FEATURES", 2)
    found = document(*ITEMS)
    assert list(bodies(found)) == ["ranking", "a list of features"]  # that of `world` would be the third
    assert list(found["x-feature-views"]) == ["stats"]
    assert found["x-truncated"].startswith("At most 2 features are described here")
    assert "x-truncated" not in document(*ITEMS[:2])


def test_every_reference_leads_somewhere() -> None:
    found = document(*ITEMS)
    text = json.dumps(found)
    for piece in text.split('"$ref": "#/components/schemas/')[1:]:
        assert piece.partition('"')[0] in found["components"]["schemas"]


@pytest.mark.parametrize("forwards", [False, True])
def test_what_may_be_written(forwards: bool) -> None:
    """A push source has the columns of its views, and where the rows may go: offline only if they are forwarded."""
    pushed = view("pushed", ["driver"], {"driver_id": INT64}, {"trips": INT64})
    source = messages.DataSource(type=9, name="src", timestamp_field="at")  # PUSH_SOURCE
    pushed.spec.stream_source.CopyFrom(source)
    writing: Catalog[object] = Catalog(
        parsed(entity("driver", "driver_id"), pushed),
        key_version=3,
        versioning=False,
        prepare=lambda lookups: lookups,
        lay_out=partial(Layout, policy=StatusPolicy.PRESENT, tails=Tails()),
        load=lambda _: lambda inputs: inputs,
        prepare_write=lambda written: written,
    )
    document = json.loads(openapi(writing, Served("1.2.3", forwarded=(("/push", "POST"),) if forwards else ())))
    found = {}
    for path, key in (("/push", "push_source_name"), ("/write-to-online-store", "feature_view_name")):
        operation = document["paths"][path]["post"]
        assert {"200", "400", "413", "422", "503"} <= set(operation["responses"])
        (body,) = bodies_of(document, operation)
        assert body["title"] == {"push_source_name": "src", "feature_view_name": "pushed"}[key]
        assert {key, "df"} <= set(body["required"])
        found[path] = body["properties"]
        frame = json.dumps(found[path]["df"])
        for column in ("driver_id", "trips"):
            assert f'"{column}"' in frame
    to = ["online", "offline", "online_and_offline"] if forwards else ["online"]
    assert found["/push"]["to"] == {"enum": to, "default": "online"}
    assert "to" not in found["/write-to-online-store"]
    assert found["/write-to-online-store"]["transform_on_write"]["default"] is True


def bodies_of(document: Any, operation: Any) -> list[Any]:
    """The schemas that a body may have, with references followed."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]

    def followed(part: Any) -> Any:
        if "$ref" in part:
            found = document
            for name in part["$ref"].split("/")[1:]:
                found = found[name]
            return found
        return part

    return [followed(each) for each in followed(schema).get("anyOf", [schema])]
