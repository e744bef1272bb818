"""Compile a registry's feature services, and callers' lists of features, into plans.

Everything that depends on the registry and the configuration alone is worked out here, once: which features are read
together because their views share an entity key, how the answer's columns are called, what on-demand views need, in
Feast's order of checks, because that decides which error wins (feast/utils.py _get_online_request_context, Feast
0.67.0). Which views a request uses is found by `views`.

A `Catalog` is one version of the registry. It is immutable but for a bounded cache of plans for lists of features; a
reload makes a new catalog, and the cache dies with the old one. Pure: the store's and the answer's share of a plan come
from the functions it is handed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, product
from typing import Any

from yummy_fast.errors import CollisionError, NotFoundError, RequestError
from yummy_fast.feast_format.registry import (
    DUMMY_JOIN_KEY,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    Registry,
    Throttle,
    unthrottled,
)
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.plan import Column, ComputedView, Feature, HashContents, JoinKeys, Lookup, Plan
from yummy_fast.features.views import (
    Ref,
    ResolvedOnDemandView,
    ResolvedView,
    ResolvedViews,
    Views,
    parse_ref,
    refs_of,
    stored_name,
)

MAX_AD_HOC_PLANS = 512
"""Plans kept for lists of features."""
MAX_AD_HOC_REFS = 50_000
"""Features in all plans kept. A plan takes half a kilobyte a feature, so these take 25 MB."""


class Catalog:
    """All plans of one version of the registry."""

    def __init__(
        self,
        registry: Registry,
        *,
        key_version: int,
        versioning: bool,
        prepare: Callable[[tuple[Lookup, ...]], Any],
        render: Callable[[Plan], Any],
        load: Callable[[OnDemandFeatureView], Any],
        collisions: Callable[[Iterable[Feature]], list[tuple[Feature, Feature]]] = lambda features: [],
        serve_materializing: bool = False,
        throttle: Throttle = unthrottled,
    ) -> None:
        """
        - `key_version`: entity_key_serialization_version.
        - `versioning`: registry.enable_online_feature_view_versioning.
        - `prepare`: the online store's, called once a plan.
        - `render`: what `vectors` needs to answer for a plan, made once a plan.
        - `load`: makes an on-demand view's function callable, once a catalog. Where it raises a RequestError, so do
          requests for that view.
        - `collisions`: the online store's, called once for all features under the same join keys.
        - `serve_materializing`: registry.serve_features_while_materializing.
        - `throttle`: how fast to go on from view to view, and from feature to feature of a service.
        """
        self.registry = registry
        self._join_keys = JoinKeys(registry, key_version)
        self._versioning = versioning
        self._prepare = prepare
        self._render = render
        by_join_keys = self._features_by_join_keys(throttle)
        self._contents = {join_keys: HashContents.of(features) for join_keys, features in by_join_keys.items()}
        self.collisions = [
            f"{one.view}:{one.name} and {other.view}:{other.name}, both of {', '.join(join_keys)}"
            for join_keys, features in by_join_keys.items()
            for one, other in collisions(throttle(chain(features, self._earlier_features(join_keys))))
        ]
        """Features that the store keeps in one place, though they are two: whichever was written last is served."""
        self._functions: dict[tuple[str, int | None], Any] = {
            (view.name, version): _try(load, view)
            for view, version in (
                *((view, None) for view in registry.views.values()),
                *((view, version) for (_, version), view in registry.versions.items()),
            )
            if isinstance(view, OnDemandFeatureView)
        }
        self._views = Views(registry, self._functions, versioning=versioning, serve_materializing=serve_materializing)
        # A service that cannot be compiled is an error for those who ask for it; the others are fine.
        self._services: dict[tuple[str, bool], Plan | RequestError] = {
            (service.name, full_names): _try(self._compile_service, service, full_names, throttle)
            for service, full_names in product(registry.services.values(), (False, True))
        }
        self._ad_hoc: dict[tuple[tuple[str, ...], bool], Plan] = {}
        self._ad_hoc_refs = 0

    def plan_for(self, service: str | None, features: list[str], full_names: bool) -> Plan:
        """The plan of a service, or of a list of features when `service` is empty. Raises RequestError."""
        if service:
            found = self._services.get((service, full_names))
            if found is None:
                raise NotFoundError(
                    "FeatureServiceNotFoundException",
                    f"Feature service {service} does not exist in project {self.registry.project}",
                )
            if isinstance(found, RequestError):
                raise found.fresh_copy()
            return found
        key = (tuple(features), full_names)
        plan = self._ad_hoc.get(key)
        if plan is None:
            plan = self._compile_refs(features, full_names)
            self._keep(key, plan)
        return plan

    def _keep(self, key: tuple[tuple[str, ...], bool], plan: Plan) -> None:
        """Remember a plan for a list of features, and forget the oldest ones that it leaves no room for."""
        refs = len(key[0])
        if refs > MAX_AD_HOC_REFS:
            return
        while len(self._ad_hoc) >= MAX_AD_HOC_PLANS or self._ad_hoc_refs + refs > MAX_AD_HOC_REFS:
            oldest = next(iter(self._ad_hoc))
            del self._ad_hoc[oldest]
            self._ad_hoc_refs -= len(oldest[0])
        self._ad_hoc[key] = plan
        self._ad_hoc_refs += refs

    def pieces(self) -> list[object]:
        """What nearly all of its memory is in, for who would rather free it bit by bit than all at once."""
        registry = self.registry
        records = (registry.views, registry.services, registry.versions)
        return [*self._services.values(), *self._ad_hoc.values(), *(one for some in records for one in some.values())]

    def services(self) -> Iterable[tuple[str, Plan | RequestError]]:
        """Each feature service with its plan (with full names where short ones collide), or why it cannot be served."""
        for name in self.registry.services:
            found = self._services[name, False]
            if isinstance(found, CollisionError):
                found = self._services[name, True]
            yield name, found if isinstance(found, RequestError) else found.obstacle() or found

    def broken_services(self) -> Sequence[tuple[str, RequestError]]:
        """The feature services that cannot be served, and why."""
        return [(name, found) for name, found in self.services() if isinstance(found, RequestError)]

    def broken_views(self) -> Sequence[tuple[str, RequestError]]:
        """The on-demand views that cannot be computed, and why."""
        return [
            (name, made)
            for (name, version), made in self._functions.items()
            if version is None and isinstance(made, RequestError)
        ]

    def _compile_service(self, service: FeatureService, full_names: bool, throttle: Throttle) -> Plan:
        resolved = self._views.of_service(service)
        plan = self._compile(f"feature_service {service.name}", refs_of(service), resolved, full_names, throttle)
        plan.service = service.name
        return plan

    def _compile_refs(self, features: list[str], full_names: bool) -> Plan:
        if not features:
            raise RequestError("features: No features specified for retrieval")
        refs = [parse_ref(text, place) for place, text in enumerate(features)]
        return self._compile("features", refs, self._views.of_refs(refs), full_names)

    def _compile(
        self, where: str, refs: list[Ref], resolved: ResolvedViews, full_names: bool, throttle: Throttle = unthrottled
    ) -> Plan:
        """`where` begins the messages about a feature: what named it."""
        if not refs:
            raise RequestError(f"{where}: No features specified for retrieval")
        types = self._entity_types([*resolved.stored.values(), *resolved.sources])
        _check_collisions(refs, full_names)
        asked: dict[tuple[str, str], None] = {}  # stored features, as (view, feature)
        computed: dict[str, list[str]] = {}  # features of on-demand views, by view
        read: dict[tuple[str, str], None] = {}  # what is asked for, and what on-demand views need
        for place, ref in enumerate(throttle(refs)):
            name = ref.used_name
            used = resolved.stored.get(name) or resolved.on_demand[name]
            if ref.feature not in used.features:
                raise RequestError(f"{where}[{place}]: Feature {ref.feature} not found in projection {name}")
            if isinstance(used, ResolvedOnDemandView):
                computed.setdefault(name, []).append(ref.feature)
                read.update(((source.name, field), None) for source in used.sources for field in source.features)
            else:
                asked[name, ref.feature] = read[name, ref.feature] = None
        lookups, places = self._lookups(throttle(read), resolved.stored)
        metadata: dict[str, int] = {}
        for name, _ in read:
            metadata.setdefault(*resolved.stored[name].metadata)  # two versions of a view: the first speaks for both
        plan = Plan(
            self._join_keys,
            lookups=lookups,
            columns=tuple(
                Column(f"{name}__{feature}" if full_names else feature, *places[name, feature])
                for name, feature in throttle(asked)
            ),
            computed=tuple(
                _computed_view(name, resolved.on_demand[name], features, places, full_names)
                for name, features in computed.items()
            ),
            types=types,
            view_metadata=tuple(metadata.items()),
        )
        plan.prepared = self._prepare(lookups)
        plan.rendering = self._render(plan)
        return plan

    def _entity_types(self, resolved: Iterable[ResolvedView]) -> dict[str, ValueType]:
        """Request name -> declared type, of all join keys of the views used; later views win (_get_entity_maps)."""
        types: dict[str, ValueType] = {}
        for used in resolved:
            for entity in used.view.entities:
                if entity not in self.registry.entities:
                    raise NotFoundError(
                        "EntityNotFoundException", f"Entity {entity} does not exist in project {self.registry.project}"
                    )
                join_key = self._join_keys.of_entity[entity]
                types.setdefault(used.join_key_map.get(join_key, join_key), ValueType.UNKNOWN)
            for column in used.view.entity_columns:
                types[used.join_key_map.get(column.name, column.name)] = column.type
        types.pop(DUMMY_JOIN_KEY, None)
        return types

    def _lookups(
        self, asked: Iterable[tuple[str, str]], resolved: Mapping[str, ResolvedView]
    ) -> tuple[tuple[Lookup, ...], dict[tuple[str, str], tuple[int, int]]]:
        """Group what is asked for by join keys; and where each feature ended up, as (lookup, place)."""
        join_keys_of: dict[str, tuple[tuple[str, str], ...]] = {}
        groups: dict[tuple[tuple[str, str], ...], dict[tuple[str, str], None]] = {}
        for name, feature in asked:
            if name not in join_keys_of:
                used = resolved[name]
                own = (self._join_keys.of_entity[entity] for entity in used.view.entities)
                join_keys_of[name] = tuple(sorted((key, used.join_key_map.get(key, key)) for key in own))
            groups.setdefault(join_keys_of[name], {})[name, feature] = None
        lookups: list[Lookup] = []
        places: dict[tuple[str, str], tuple[int, int]] = {}
        for join_keys, group in groups.items():
            views = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in group))}
            for place, ref in enumerate(group):
                places[ref] = (len(lookups), place)
            lookups.append(
                Lookup(
                    features=tuple(
                        Feature(resolved[name].store_name, feature, resolved[name].features[feature].type)
                        for name, feature in group
                    ),
                    views=tuple(resolved[name].store_name for name in views),
                    view_of=tuple(views[name] for name, _ in group),
                    join_keys=join_keys,
                    holds=self._contents.get(tuple(key for key, _ in join_keys)) or HashContents.of(()),
                    ttls_s=tuple(resolved[name].view.ttl_s for name in views),
                )
            )
        return tuple(lookups), places

    def _features_by_join_keys(self, throttle: Throttle) -> dict[tuple[str, ...], list[Feature]]:
        features: dict[tuple[str, ...], list[Feature]] = {}
        for view in throttle(self.registry.views.values()):
            join_keys = self._join_keys_of(view)
            if join_keys is not None:
                features.setdefault(join_keys, []).extend(Feature(view.name, f.name, f.type) for f in view.features)
        return features

    def _earlier_features(self, join_keys: tuple[str, ...]) -> Iterable[Feature]:
        """Those of the versions of views that are stored beside the current ones."""
        for (name, version), view in self.registry.versions.items() if self._versioning else ():
            if version > 0 and self._join_keys_of(view) == join_keys:
                yield from (Feature(stored_name(name, version), field.name, field.type) for field in view.features)

    def _join_keys_of(self, view: FeatureView | OnDemandFeatureView) -> tuple[str, ...] | None:
        """What a view is stored under; None for one that is not, or whose entities there are not."""
        of_entity = self._join_keys.of_entity
        if isinstance(view, OnDemandFeatureView) or not all(entity in of_entity for entity in view.entities):
            return None
        return tuple(sorted(of_entity[entity] for entity in view.entities))


def _try(make: Callable[..., Any], *arguments: Any) -> Any:
    """What `make` returns, or the RequestError that it raises: for whoever asks for the thing, when they do."""
    try:
        return make(*arguments)
    except RequestError as error:
        # A copy: the traceback of this one, or of what it was raised for, holds frames, and they the catalog.
        return error.fresh_copy()


def _computed_view(
    name: str,
    used: ResolvedOnDemandView,
    features: list[str],
    places: Mapping[tuple[str, str], tuple[int, int]],
    full_names: bool,
) -> ComputedView:
    inputs = tuple(
        Column(f"{source.view.name}__{field}", *places[source.name, field])
        for source in used.sources
        for field in source.features
    )
    outputs = tuple((feature, f"{name}__{feature}" if full_names else feature) for feature in dict.fromkeys(features))
    return ComputedView(used.view, used.function, inputs, outputs)


def _check_collisions(refs: list[Ref], full_names: bool) -> None:
    """Two features must not come under one name (feast/utils.py _validate_feature_refs)."""
    names = [ref.text if full_names else ref.feature for ref in refs]
    twice = [name.replace(":", "__") if full_names else name for name, times in Counter(names).items() if times > 1]
    if not twice:
        return
    if full_names:
        remedy = (
            "To resolve this collision, please ensure that the feature views or their own features have different "
            "names. If you're intentionally joining the same feature view twice on different sets of entities, please "
            "rename one of the feature views with '.with_name'."
        )
    else:
        remedy = (
            "To resolve this collision, either use the full feature name by setting 'full_feature_names=True', or "
            "ensure that the features in question have different names."
        )
    raise CollisionError(f"Duplicate features named {', '.join(twice)} found.\n{remedy}")
