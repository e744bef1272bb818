"""How a hash is kept: two features whose names have the same 32-bit hash are one field of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import registries
from tests.harness import Server, Valkey, command_line
from yummy_fast.feast_format.keys import feature_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Feature
from yummy_fast.stores.redis_hash import collisions

# Found by trying some 60,000 likely names.
ONE = Feature("driver_profile", "stops_count_320h", ValueType.INT64)
OTHER = Feature("rides", "tips_mean_279h", ValueType.INT64)


def test_the_pair_is_one() -> None:
    assert feature_field(ONE.view, ONE.name) == feature_field(OTHER.view, OTHER.name)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ([], []),
        ([ONE], []),
        ([ONE, ONE], []),  # asked for twice, or with another type: no matter
        ([ONE, ONE._replace(type=ValueType.STRING)], []),
        ([ONE, Feature("a", "b", ValueType.INT64), OTHER], [(ONE, OTHER)]),
        ([OTHER, ONE], [(OTHER, ONE)]),
        # "a:b" + "c" and "a" + "b:c" are the same text to Feast.
        (
            [Feature("a:b", "c", ValueType.INT64), Feature("a", "b:c", ValueType.INT64)],
            [(Feature("a:b", "c", ValueType.INT64), Feature("a", "b:c", ValueType.INT64))],
        ),
    ],
)
def test_collisions_are_found(features: list[Feature], found: list[tuple[Feature, Feature]]) -> None:
    assert collisions(features) == found


def registry(entities: tuple[str, str]) -> list[registries.Item]:
    """ONE and OTHER in views of these entities."""
    views = [
        registries.view(feature.view, [name], {f"{name}_id": ValueType.INT64}, {feature.name: feature.type})
        for feature, name in zip((ONE, OTHER), entities, strict=True)
    ]
    return [*(registries.entity(name, f"{name}_id") for name in ("driver", "rider")), *views]


@pytest.mark.parametrize(
    ("store", "entities", "pairs"),
    [
        ("redis", ("driver", "driver"), 1),
        ("redis", ("driver", "rider"), 0),  # two hashes
        ("sqlite", ("driver", "driver"), 0),  # names are written out
    ],
)
def test_collisions_are_said_when_the_registry_is_compiled(
    tmp_path: Path, valkey: Valkey, store: str, entities: tuple[str, str], pairs: int
) -> None:
    (tmp_path / "registry.db").write_bytes(registries.serialised(registry(entities)))
    online = {"type": store, **({"connection_string": f"127.0.0.1:{valkey.port}"} if store == "redis" else {})}
    (tmp_path / "feature_store.yaml").write_text(
        f"project: {registries.PROJECT}\nregistry: registry.db\nonline_store: {json.dumps(online)}\n"
    )
    pair = "driver_profile:stops_count_320h and rides:tips_mean_279h, both of driver_id"
    with Server(tmp_path) as server:
        warnings = [line.partition("WARNING ")[2] for line in server.lines if "WARNING" in line]
        said = f"{tmp_path}/registry.db: hash collision: these features share one Redis field; rename one: {pair}"
        assert [line for line in warnings if "hash collision" in line] == [said] * pairs
    check = command_line("-c", tmp_path, "check")
    assert check.out.count(f"hash collision: these features share one Redis field; rename one: {pair}\n") == pairs
    assert (check.code == 1) == bool(pairs)
    assert json.loads(command_line("-c", tmp_path, "check", "--json").out)["collisions"] == [pair] * pairs


def test_versions_that_are_stored_beside_the_current_ones_are_looked_at_too() -> None:
    # With versioning, version 1 of view "x" is stored as "x_v1".
    current = registries.view("x", ["driver"], {"driver_id": ValueType.INT64}, {"n": ValueType.INT64})
    items: list[registries.Item] = [registries.entity("driver", "driver_id"), current, registries.earlier(current, 1)]
    asked: list[set[str]] = []

    def collect(features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        asked.append({feature.view for feature in features})
        return []

    registries.catalog(*items, versioning=True, collisions=collect)
    registries.catalog(*items, versioning=False, collisions=collect)
    assert asked == [{"x", "x_v1"}, {"x"}]
