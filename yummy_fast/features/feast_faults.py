"""What Feast answers wrongly of a registry: one sentence for each kind, which names the views and services.

With --compat feast the answers are Feast's also where Feast is wrong, as far as a client can have come to depend on
them. The log says so once at the start, and this module finds out of what. With --compat strict none of it
holds. docs/compatibility.md has the table, and tests/conformance/feast_is_wrong what Feast 0.67.0 answers in each case.

Pure. It only describes: what is answered is decided where plans are compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from yummy_fast.feast_format.registry import (
    DUMMY_JOIN_KEY,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    Projection,
    Registry,
)
from yummy_fast.feast_format.values import ValueType

MAX_NAMES = 10
"""Names in a sentence."""
_FRACTIONS = (ValueType.FLOAT, ValueType.DOUBLE)


def feast_faults(registry: Registry, *, versioning: bool) -> list[str]:
    """The sentences. `versioning`: registry.enable_online_feature_view_versioning."""
    stored = [view for view in registry.views.values() if isinstance(view, FeatureView)]
    on_demand = [view for view in registry.views.values() if isinstance(view, OnDemandFeatureView)]
    every: list[FeatureView | OnDemandFeatureView] = [*stored, *on_demand]
    join_keys = {view.name: _join_keys(registry, view) for view in stored}
    found = [
        (
            "version 0 is read where no version is pinned: {}",
            _unpinned(registry, on_demand) if versioning else (),
        ),
        (
            "values of type SCALAR_MAP are null: {}",
            (
                f"{view.name}:{field.name}"
                for view in every
                for field in view.features
                if field.type is ValueType.SCALAR_MAP
            ),
        ),
        (
            "of several rows only the first is computed, by singleton on-demand feature views: {}",
            (view.name for view in on_demand if view.singleton and view.mode == "python"),
        ),
        (
            "what is pushed to feature views without entities is not read: {}",
            (name for name, keys in join_keys.items() if keys == [DUMMY_JOIN_KEY]),
        ),
        (
            "nothing is found where request data is called like one of several join keys: {}",
            (
                f"{field.name} of {view.name}"
                for view in on_demand
                for field in view.request_data
                if any(field.name in keys and len(keys) > 1 for keys in _keys_of_sources(view, join_keys))
            ),
        ),
        (
            "request data declared as FLOAT or DOUBLE loses its fractions where a whole number comes first: {}",
            (
                f"{field.name} of {view.name}"
                for view in on_demand
                for field in view.request_data
                if field.type in _FRACTIONS
            ),
        ),
        (
            "views that declare a join key with different types are null when they are asked for together: {}",
            key_type_conflicts(registry),
        ),
    ]
    sentences = ((sentence, list(dict.fromkeys(names))) for sentence, names in found)
    return [sentence.format(_listed(names)) for sentence, names in sentences if names]


def key_type_conflicts(registry: Registry) -> list[str]:
    """The join keys that views declare with different types: which views, and which services have several of them."""
    types: dict[str, dict[str, ValueType]] = {}
    for view in registry.views.values():
        for column in view.entity_columns if isinstance(view, FeatureView) else ():
            types.setdefault(column.name, {})[view.name] = column.type
    conflicts = []
    for join_key, of_views in sorted(types.items()):
        if len(set(of_views.values())) > 1:
            services = sorted(
                service.name for service in registry.services.values() if _disagrees(service, join_key, of_views)
            )
            declared: dict[str, list[str]] = {}
            for name, kind in of_views.items():
                declared.setdefault(kind.name, []).append(name)
            text = ", ".join(f"{kind} in {_listed(sorted(names))}" for kind, names in sorted(declared.items()))
            of_services = f", together in feature services {_listed(services)}" if services else ""
            conflicts.append(f"{join_key} ({text}{of_services})")
    return conflicts


def _disagrees(service: FeatureService, join_key: str, of_views: Mapping[str, ValueType]) -> bool:
    """Whether views of a service give one name of a request different types."""
    kinds: dict[str, set[ValueType]] = {}
    for projection in service.projections:
        if projection.view in of_views:
            name = projection.join_key_map.get(join_key, join_key)
            kinds.setdefault(name, set()).add(of_views[projection.view])
    return any(len(some) > 1 for some in kinds.values())


def _unpinned(registry: Registry, on_demand: Iterable[OnDemandFeatureView]) -> Iterator[str]:
    """The projections of services and of on-demand views that have Feast read version 0 of a view with a later one."""
    for service in registry.services.values():
        for view in _not_current(registry, service.projections):
            yield f"{view.name} in feature service {service.name} (now at version {view.version})"
    for computed in on_demand:
        for view in _not_current(registry, computed.sources):
            yield f"{view.name} in on-demand feature view {computed.name} (now at version {view.version})"


def _not_current(registry: Registry, projections: Iterable[Projection]) -> Iterator[FeatureView]:
    for projection in projections:
        view = registry.views.get(projection.view)
        if projection.version is None and isinstance(view, FeatureView) and view.version > 0:
            yield view


def _join_keys(registry: Registry, view: FeatureView) -> list[str]:
    return [registry.entities[entity].join_key for entity in view.entities if entity in registry.entities]


def _keys_of_sources(view: OnDemandFeatureView, join_keys: Mapping[str, list[str]]) -> Iterator[list[str]]:
    for source in view.sources:
        yield [source.join_key_map.get(key, key) for key in join_keys.get(source.view, ())]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
