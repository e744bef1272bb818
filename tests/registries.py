"""Small registries, written as the messages that `feast apply` leaves behind, and catalogs compiled from them.

A registry here is a list of messages; `serialised` makes the bytes of it. The project is always PROJECT. `answer` is a
request from entities to body over a dictionary for a store, without HTTP or Redis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from unittest import mock

import pytest

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.registry import Registry, parse_registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features import large_answers, large_values
from yummy_fast.features.catalog import Catalog, Compiled
from yummy_fast.features.large_answers import encode_in_steps
from yummy_fast.features.plan import ComputedColumn, Feature, Lookup
from yummy_fast.features.statuses import NO_MOMENT, StatusPolicy
from yummy_fast.features.steps import Budget, at_once
from yummy_fast.features.vectors import Layout, Tails, encode_vectors

PROJECT = "rides"

Item = (
    messages.Entity
    | messages.FeatureView
    | messages.StreamFeatureView
    | messages.OnDemandFeatureView
    | messages.LabelView
    | messages.FeatureService
    | messages.FeatureViewVersionRecord
    | messages.Project
)

Store = Mapping[tuple[bytes, str, str], bytes | None]
"""(entity key, view, feature) -> stored Value; under the feature "" lies the view's timestamp."""


def entity(
    name: str, join_key: str, value_type: ValueType = ValueType.INT64, project: str = PROJECT
) -> messages.Entity:
    return messages.Entity(
        spec=messages.EntitySpec(name=name, join_key=join_key, value_type=value_type, project=project)
    )


def fields(types: Mapping[str, ValueType]) -> list[messages.Feature]:
    return [messages.Feature(name=name, value_type=value_type) for name, value_type in types.items()]


def view(
    name: str,
    entities: Sequence[str],
    columns: Mapping[str, ValueType],
    features: Mapping[str, ValueType],
    *,
    project: str = PROJECT,
    disabled: bool = False,
    state: messages.FeatureViewState = messages.STATE_UNSPECIFIED,
    version: int = 0,
) -> messages.FeatureView:
    """`columns` are the entity columns: join key -> type."""
    spec = messages.FeatureViewSpec(
        name=name,
        project=project,
        entities=entities,
        features=fields(features),
        entity_columns=fields(columns),
        disabled=disabled,
    )
    return messages.FeatureView(spec=spec, meta=messages.FeatureViewMeta(state=state, current_version_number=version))


def projection(
    of: messages.FeatureView,
    features: Sequence[str] = (),
    *,
    alias: str = "",
    join_key_map: Mapping[str, str] | None = None,
    version: int | None = None,
) -> messages.FeatureViewProjection:
    """A service's use of a view: of all its features, or of those named."""
    return messages.FeatureViewProjection(
        feature_view_name=of.spec.name,
        feature_columns=[field for field in of.spec.features if not features or field.name in features],
        feature_view_name_alias=alias,
        join_key_map=join_key_map or {},
        version_tag=version,
    )


def service(name: str, *projections: messages.FeatureViewProjection, project: str = PROJECT) -> messages.FeatureService:
    return messages.FeatureService(spec=messages.FeatureServiceSpec(name=name, project=project, features=projections))


def earlier(of: messages.FeatureView, version: int, project: str = PROJECT) -> messages.FeatureViewVersionRecord:
    """An entry of the version history."""
    return messages.FeatureViewVersionRecord(
        feature_view_name=of.spec.name,
        project_id=project,
        version_number=version,
        feature_view_type="feature_view",
        feature_view_proto=of.SerializeToString(),
    )


def serialised(items: Iterable[Item], version_id: str = "") -> bytes:
    registry = messages.Registry(registry_schema_version="1", version_id=version_id)
    for item in items:
        match item:
            case messages.Entity():
                registry.entities.append(item)
            case messages.FeatureView():
                registry.feature_views.append(item)
            case messages.StreamFeatureView():
                registry.stream_feature_views.append(item)
            case messages.OnDemandFeatureView():
                registry.on_demand_feature_views.append(item)
            case messages.LabelView():
                registry.label_views.append(item)
            case messages.FeatureService():
                registry.feature_services.append(item)
            case messages.FeatureViewVersionRecord():
                registry.feature_view_version_history.records.append(item)
            case messages.Project():
                registry.projects.append(item)
    return registry.SerializeToString()


def parsed(*items: Item) -> Registry:
    return parse_registry(serialised(items), PROJECT, "registry.db")


def catalog(
    *items: Item,
    key_version: int = 3,
    versioning: bool = False,
    statuses: StatusPolicy = StatusPolicy.PRESENT,
    strict: bool = False,
    collisions: Callable[[Iterable[Feature]], list[tuple[Feature, Feature]]] = lambda features: [],
) -> Catalog[tuple[Lookup, ...]]:
    """A catalog whose store needs no preparing, and whose on-demand views have functions that nobody may call."""
    return Catalog(
        parsed(*items),
        key_version=key_version,
        versioning=versioning,
        prepare=lambda lookups: lookups,
        lay_out=partial(Layout, policy=statuses, tails=Tails()),
        load=lambda view: _not_called,
        strict=strict,
        collisions=collisions,
    )


def _not_called(_: object) -> object:
    raise AssertionError("a function of an on-demand view was called")


def answer(
    compiled: Compiled[object],
    entities: Mapping[str, list[Any]],
    store: Store | None = None,
    *,
    version_metadata: bool = False,
    now: datetime = NO_MOMENT,
    computed: Sequence[ComputedColumn] = (),
) -> bytes:
    """The body that answers `entities`, with `store` for the online store, and `computed` by on-demand views."""
    stored = store or {}
    bound = compiled.binder.bind(entities)
    rows = [
        [
            [
                *(stored.get((key, feature.view, feature.name)) for feature in lookup.features),
                *(stored.get((key, name, "")) for name in lookup.views),
            ]
            for key in keys
        ]
        for lookup, keys in zip(compiled.plan.lookups, bound.keys, strict=True)
    ]
    assert at_once(compiled.binder.bind_in_steps(entities))[:-1] == bound[:-1]

    def in_steps(most_cells: int, most_bytes: int) -> bytes:
        """The same, as a large answer is made, by small steps."""
        with (
            mock.patch.object(large_answers, "MAX_BLOCK_CELLS", most_cells),
            mock.patch.object(large_answers, "MAX_BLOCK_BYTES", most_bytes),
            mock.patch.object(large_answers, "CELLS_PER_STEP", 2),
            mock.patch.object(large_values, "ITEMS_PER_STEP", 2),
        ):
            steps = encode_in_steps(
                compiled.layout,
                bound,
                rows,
                computed,
                budget=Budget(1 << 30, bound.rows),
                version_metadata=version_metadata,
                now=now,
            )
            return bytes(at_once(steps))

    try:
        body = encode_vectors(compiled.layout, bound, rows, computed, version_metadata=version_metadata, now=now)
    except CorruptValueError as error:
        for most_bytes in (1 << 20, 1):
            with pytest.raises(CorruptValueError, match=re.escape(str(error))):
                in_steps(1, most_bytes)
        raise
    # Whatever the tests ask: in steps it is the same, block by block, row by row, and value by value.
    assert in_steps(3, 1 << 20) == in_steps(1, 1 << 20) == in_steps(3, 1) == body
    return body


def columns(body: bytes) -> dict[str, list[Any]]:
    """An answer's values by column name."""
    data = json.loads(body)
    names = data["metadata"]["feature_names"]
    return {name: result["values"] for name, result in zip(names, data["results"], strict=True)}
