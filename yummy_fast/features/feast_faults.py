"""What Feast answers wrongly of a registry: one sentence for each kind, which names the views and services.

With --compat feast the answers are Feast's also where Feast is wrong, as far as a client can have come to depend on
them. The log says so once, at the start or after the reload that brings it, and `yummy-fast check` does; this module
finds out of what. With --compat strict none of it holds. docs/compatibility.md has the table, and
tests/conformance/feast_is_wrong what Feast 0.67.0 answers in each case.

Pure. It only describes: what is answered is decided where plans are compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from yummy_fast.feast_format.registry import (
    DUMMY_JOIN_KEY,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    Projection,
    Registry,
)
from yummy_fast.feast_format.values import ValueType

AS_IN_FEAST = "wrong as in Feast, right with --compat strict"
"""How a line for operators begins that ends with one of the sentences."""
MAX_NAMES = 10
"""Names in a sentence."""
_FRACTIONS = (ValueType.FLOAT, ValueType.DOUBLE)


def feast_faults(registry: Registry, *, versioning: bool) -> list[str]:
    """The sentences, of all kinds. `versioning`: registry.enable_online_feature_view_versioning."""
    conflicts = list(map(str, key_type_conflicts(registry)))
    sentence = "views that declare a join key with different types are null when they are asked for together: {}"
    return [
        *faults_but_key_types(registry, versioning=versioning),
        *([sentence.format(_listed(conflicts))] if conflicts else ()),
    ]


def faults_but_key_types(registry: Registry, *, versioning: bool) -> list[str]:
    """The sentences, but for that about `key_type_conflicts`."""
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
            "what Feast pushes to feature views without entities is not read: {}",
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
    ]
    sentences = ((sentence, list(dict.fromkeys(names))) for sentence, names in found)
    return [sentence.format(_listed(names)) for sentence, names in sentences if names]


class KeyTypeConflict(NamedTuple):
    """A join key that views declare with different types, though a request has one value for all of them."""

    name: str
    """The join key, as a request for the service calls it."""
    service: str
    """The feature service that has these views; empty if none has them together: a request may list them all the same.
    """
    views: Mapping[ValueType, Sequence[str]]
    """The views that declare each of the types."""

    def __str__(self) -> str:
        of_service = f" in feature service {self.service}" if self.service else ""
        return f"{self.name}{of_service} ({self.declared()})"

    def declared(self) -> str:
        """Which views declare which types, for people."""
        return ", ".join(f"{kind.name} in {_listed(list(views))}" for kind, views in self.views.items())


def key_type_conflicts(registry: Registry) -> list[KeyTypeConflict]:
    """Those of each service, in order of name; then those of views that no service has together."""
    found = []
    of_services: set[str] = set()  # the registry's names of join keys of which a service has been named
    for service in sorted(registry.services.values(), key=lambda service: service.name):
        types: dict[str, dict[ValueType, list[str]]] = {}
        join_keys: dict[str, set[str]] = {}
        for view, join_key_map in _stored_views(registry, service):
            for column in view.entity_columns:
                name = join_key_map.get(column.name, column.name)
                join_keys.setdefault(name, set()).add(column.name)
                _append(types.setdefault(name, {}).setdefault(column.type, []), view.name)
        for name, by_type in types.items():
            if len(by_type) > 1:
                of_services |= join_keys[name]
                found.append(KeyTypeConflict(name, service.name, by_type))
    types = {}
    for any_view in sorted(registry.views.values(), key=lambda view: view.name):
        for column in any_view.entity_columns if isinstance(any_view, FeatureView) else ():
            types.setdefault(column.name, {}).setdefault(column.type, []).append(any_view.name)
    for name, by_type in sorted(types.items()):
        if len(by_type) > 1 and name not in of_services:
            found.append(KeyTypeConflict(name, "", by_type))
    return found


def _append(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


def _stored_views(registry: Registry, service: FeatureService) -> Iterator[tuple[FeatureView, Mapping[str, str]]]:
    """The views that a service reads, those behind on-demand views too, with the names of their join keys in it."""
    for projection in service.projections:
        view = registry.views.get(projection.view)
        if isinstance(view, FeatureView):
            yield view, projection.join_key_map
        elif view is not None:
            for source in view.sources:
                behind = registry.views.get(source.view)
                if isinstance(behind, FeatureView):
                    yield behind, source.join_key_map


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
