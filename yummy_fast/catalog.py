"""Compile a registry's feature services, and callers' lists of features, into plans.

Everything that depends on the registry and the configuration alone is worked out here, once: which views are read and
under which names, which of them share an entity key, how the answer's columns are called, in Feast's order of checks,
because that decides which error wins (feast/utils.py _get_online_request_context, Feast 0.67.0).

A `Catalog` is one version of the registry. It is immutable but for a bounded cache of plans for lists of features; a
reload makes a new catalog, and the cache dies with the old one. Pure: the store's and the answer's share of a plan come
from the functions it is handed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from yummy_fast.codec import ValueType
from yummy_fast.errors import CollisionError, NotFoundError, RequestError
from yummy_fast.plan import Column, ComputedView, Feature, HashContents, JoinKeys, Lookup, Plan
from yummy_fast.registry import (
    DUMMY_JOIN_KEY,
    FeatureService,
    FeatureView,
    Field,
    OnDemandFeatureView,
    Projection,
    Registry,
)

MAX_AD_HOC_PLANS = 512
"""Plans kept for lists of features."""
MAX_AD_HOC_REFS = 50_000
"""Features in all plans kept. A plan takes half a kilobyte a feature, so these take 25 MB."""


class Ref(NamedTuple):
    """One feature that is asked for. `view` is the name it is asked under: an alias, in a service."""

    view: str
    version: int | None
    feature: str
    text: str


_VERSION = re.compile(r"[vV](\d+)")


def parse_ref(text: str, place: int) -> Ref:
    """ "view:feature" or "view@v2:feature" (feast/utils.py _parse_feature_ref). Raises RequestError."""
    view, colon, feature = text.partition(":")
    if not colon:
        raise RequestError(
            f"features[{place}]: Invalid feature reference '{text}'. "
            "Expected format: '<feature_view>:<feature>' or '<feature_view>@<version>:<feature>'"
        )
    name, at, tag = view.partition("@")
    if at:
        if not tag or tag.lower() == "latest":
            return Ref(name, None, feature, text)
        version = _VERSION.fullmatch(tag)
        if version and len(version[1]) <= 300:  # int() of a text without end would be slow work for an attacker
            return Ref(name, int(version[1]), feature, text)
    return Ref(view, None, feature, text)


class _Use(NamedTuple):
    """One use of a view by a request: the same view may be used under several aliases with other keys."""

    name: str
    """What requests call the view: alias or name, with @vN."""
    metadata: tuple[str, int]
    """What `feature_view_metadata` says of it: a name, and a version where Feast tells it."""
    store_name: str
    view: FeatureView
    features: Mapping[str, Field]
    join_key_map: Mapping[str, str]


class _OnDemandUse(NamedTuple):
    """One use of an on-demand view."""

    view: OnDemandFeatureView
    transform: Any
    features: Mapping[str, Field]
    sources: tuple[_Use, ...]


class _Uses:
    """The views that a request uses, by the names it uses them under."""

    def __init__(self) -> None:
        self.stored: dict[str, _Use] = {}
        self.on_demand: dict[str, _OnDemandUse] = {}
        self.sources: list[_Use] = []
        """What stored on-demand views were computed from. They are not read, but their join keys are typed by them."""

    def add(self, use: _Use) -> None:
        """A view may be used directly and as a source, or twice by a service: what either has can be asked for."""
        before = self.stored.get(use.name)
        if before is not None:
            use = before._replace(features={**before.features, **use.features})
        self.stored[use.name] = use


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
        collisions: Callable[[Sequence[Feature]], list[tuple[Feature, Feature]]] = lambda features: [],
    ) -> None:
        """
        - `key_version`: entity_key_serialization_version.
        - `versioning`: registry.enable_online_feature_view_versioning.
        - `prepare`: the online store's, called once a plan.
        - `render`: what `payload` needs to answer for a plan, made once a plan.
        - `load`: makes an on-demand view's function callable, once a catalog. Where it raises a RequestError, so do
          requests for that view.
        - `collisions`: the online store's, called once for all features under the same join keys.
        """
        self.registry = registry
        self._join_keys = JoinKeys(registry, key_version)
        self._versioning = versioning
        self._prepare = prepare
        self._render = render
        by_join_keys = self._features_by_join_keys()
        self._contents = {join_keys: HashContents.of(features) for join_keys, features in by_join_keys.items()}
        self.collisions = [
            f"{one.view}:{one.name} and {other.view}:{other.name}, both of {', '.join(join_keys)}"
            for join_keys, features in by_join_keys.items()
            for one, other in collisions([*features, *self._earlier_features(join_keys)])
        ]
        """Features that the store keeps in one place, though they are two: whichever was written last is served."""
        self._transforms: dict[tuple[str, int | None], Any] = {
            (view.name, version): _try(load, view)
            for view, version in (
                *((view, None) for view in registry.views.values()),
                *((view, version) for (_, version), view in registry.versions.items()),
            )
            if isinstance(view, OnDemandFeatureView)
        }
        # A service that cannot be compiled is an error for those who ask for it; the others are fine.
        self._services: dict[tuple[str, bool], Plan | RequestError] = {
            (service.name, full_names): _try(self._compile_service, service, full_names)
            for service in registry.services.values()
            for full_names in (False, True)
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
                raise _again(found)
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
        """Each feature service with its plan (with full names where short ones collide), or why it has none."""
        for name in self.registry.services:
            found = self._services[name, False]
            yield name, self._services[name, True] if isinstance(found, CollisionError) else found

    def broken_views(self) -> Iterable[tuple[str, RequestError]]:
        """The on-demand views that cannot be computed, and why."""
        return [
            (name, made)
            for (name, version), made in self._transforms.items()
            if version is None and isinstance(made, RequestError)
        ]

    # ------------------------------------------------------------------------------------------------- views

    def _compile_service(self, service: FeatureService, full_names: bool) -> Plan:
        refs = [
            Ref(
                projection.alias or projection.view,
                projection.version,
                field.name,
                f"{_used_name(projection)}:{field.name}",
            )
            for projection in service.projections
            for field in projection.features
        ]
        uses = _Uses()
        for projection in service.projections:
            self._use(uses, projection.view, projection.version, projection)
        plan = self._compile(f"feature_service {service.name}", refs, uses, full_names)
        plan.service = service.name
        return plan

    def _compile_refs(self, features: list[str], full_names: bool) -> Plan:
        if not features:
            raise RequestError("features: No features specified for retrieval")
        refs = [parse_ref(text, place) for place, text in enumerate(features)]
        uses = _Uses()
        for view, version in dict.fromkeys((ref.view, ref.version) for ref in refs):
            self._use(uses, view, version, None)
        return self._compile("features", refs, uses, full_names)

    def _use(self, uses: _Uses, name: str, version: int | None, projection: Projection | None) -> None:
        """Add a view to `uses`, with the sources of one that is on demand."""
        view = self._find_view(name, version)
        if not isinstance(view, OnDemandFeatureView):
            uses.add(self._stored_use(view, version, projection))
            uses.sources += [self._source_use(source) for source in view.sources]
            return
        transform = self._transforms[view.name, version]
        if isinstance(transform, RequestError):
            raise _again(transform)
        features = {field.name: field for field in view.features}
        if projection is not None:
            features = _project(view.name, features, projection)
        sources = tuple(map(self._source_use, view.sources))
        for source in sources:
            uses.add(source)
        used_name = _used_name(projection) if projection is not None else _versioned(view.name, version)
        uses.on_demand[used_name] = _OnDemandUse(view, transform, features, sources)

    def _source_use(self, source: Projection) -> _Use:
        view = self.registry.views.get(source.view)
        if not isinstance(view, FeatureView):
            raise self._no_view(source.view)
        return self._stored_use(view, source.version, source)

    def _find_view(self, name: str, version: int | None) -> FeatureView | OnDemandFeatureView:
        """Look a view up as Feast does: existence, then disabled, then state."""
        project = self.registry.project
        view: FeatureView | OnDemandFeatureView | None
        if version is not None:
            if not self._versioning:
                raise RequestError(
                    f"Version-qualified ref '{name}@v{version}' not supported: online versioning is disabled. Set "
                    "'enable_online_feature_view_versioning: true' under 'registry' in feature_store.yaml."
                )
            view = self.registry.versions.get((name, version))
            if view is None:
                raise NotFoundError(
                    "FeatureViewVersionNotFound",
                    f"Version v{version} of feature view {name} does not exist in project {project}",
                )
        else:
            view = self.registry.views.get(name)
            if view is None:
                raise self._no_view(name)
        if view.disabled:
            raise RequestError(
                f"Feature view '{name}' is disabled and cannot serve features. "
                f"Enable it with `feast feature-views enable {name}` or set enabled=True."
            )
        if view.state not in ("STATE_UNSPECIFIED", "AVAILABLE_ONLINE"):
            raise RequestError(
                f"Feature view '{name}' is in state '{view.state}' and cannot serve features. "
                "Only AVAILABLE_ONLINE feature views can serve."
            )
        return view

    def _no_view(self, name: str) -> NotFoundError:
        return NotFoundError(
            "FeatureViewNotFoundException",
            f"Feature view {name} does not exist in project {self.registry.project}",
        )

    def _stored_use(self, view: FeatureView, version: int | None, projection: Projection | None) -> _Use:
        # A service's projection of the current version reads the unversioned rows (Feast: FeatureView.__copy__).
        stored_version = version if version is not None else view.version if projection is None else 0
        store_name = f"{view.name}_v{stored_version}" if self._versioning and stored_version > 0 else view.name
        features = {field.name: field for field in view.features}
        if projection is None:
            return _Use(_versioned(view.name, version), (view.name, view.version), store_name, view, features, {})
        return _Use(
            _used_name(projection),
            (projection.alias or view.name, 0),
            store_name,
            view,
            _project(view.name, features, projection),
            projection.join_key_map,
        )

    # ------------------------------------------------------------------------------------------------- plans

    def _compile(self, where: str, refs: list[Ref], uses: _Uses, full_names: bool) -> Plan:
        """`where` begins the messages about a feature: what named it."""
        if not refs:
            raise RequestError(f"{where}: No features specified for retrieval")
        types = self._entity_types([*uses.stored.values(), *uses.sources])
        _check_collisions(refs, full_names)
        asked: dict[tuple[str, str], None] = {}  # stored features, as (view, feature)
        computed: dict[str, list[str]] = {}  # features of on-demand views, by view
        read: dict[tuple[str, str], None] = {}  # what is asked for, and what on-demand views need
        for place, ref in enumerate(refs):
            name = _ref_name(ref)
            use = uses.stored.get(name) or uses.on_demand[name]
            if ref.feature not in use.features:
                raise RequestError(f"{where}[{place}]: Feature {ref.feature} not found in projection {name}")
            if isinstance(use, _OnDemandUse):
                computed.setdefault(name, []).append(ref.feature)
                read.update(((source.name, field), None) for source in use.sources for field in source.features)
            else:
                asked[name, ref.feature] = read[name, ref.feature] = None
        lookups, places = self._lookups(read, uses.stored)
        metadata: dict[str, int] = {}
        for name, _ in read:
            metadata.setdefault(*uses.stored[name].metadata)  # two versions of a view: the first speaks for both
        plan = Plan(
            self._join_keys,
            lookups=lookups,
            columns=tuple(
                Column(f"{name}__{feature}" if full_names else feature, *places[name, feature])
                for name, feature in asked
            ),
            computed=tuple(
                _computed_view(name, uses.on_demand[name], features, places, full_names)
                for name, features in computed.items()
            ),
            types=types,
            view_metadata=tuple(metadata.items()),
        )
        plan.prepared = self._prepare(lookups)
        plan.rendering = self._render(plan)
        return plan

    def _entity_types(self, uses: Iterable[_Use]) -> dict[str, ValueType]:
        """Request name -> declared type, of all join keys of the views used; later views win (_get_entity_maps)."""
        types: dict[str, ValueType] = {}
        for use in uses:
            for entity in use.view.entities:
                if entity not in self.registry.entities:
                    raise NotFoundError(
                        "EntityNotFoundException", f"Entity {entity} does not exist in project {self.registry.project}"
                    )
                join_key = self._join_keys.of_entity[entity]
                types.setdefault(use.join_key_map.get(join_key, join_key), ValueType.UNKNOWN)
            for column in use.view.entity_columns:
                types[use.join_key_map.get(column.name, column.name)] = column.type
        types.pop(DUMMY_JOIN_KEY, None)
        return types

    def _lookups(
        self, asked: Iterable[tuple[str, str]], uses: Mapping[str, _Use]
    ) -> tuple[tuple[Lookup, ...], dict[tuple[str, str], tuple[int, int]]]:
        """Group what is asked for by join keys; and where each feature ended up, as (lookup, place)."""
        groups: dict[tuple[tuple[str, str], ...], dict[tuple[str, str], None]] = {}
        for name, feature in asked:
            use = uses[name]
            join_keys = tuple(
                sorted(
                    (key, use.join_key_map.get(key, key))
                    for key in (self._join_keys.of_entity[e] for e in use.view.entities)
                )
            )
            groups.setdefault(join_keys, {})[name, feature] = None
        lookups: list[Lookup] = []
        places: dict[tuple[str, str], tuple[int, int]] = {}
        for join_keys, group in groups.items():
            views = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in group))}
            for place, ref in enumerate(group):
                places[ref] = (len(lookups), place)
            lookups.append(
                Lookup(
                    features=tuple(
                        Feature(uses[name].store_name, feature, uses[name].features[feature].type)
                        for name, feature in group
                    ),
                    views=tuple(uses[name].store_name for name in views),
                    view_of=tuple(views[name] for name, _ in group),
                    join_keys=join_keys,
                    holds=self._contents.get(tuple(key for key, _ in join_keys)) or HashContents.of(()),
                    ttls_s=tuple(uses[name].view.ttl_s for name in views),
                )
            )
        return tuple(lookups), places

    def _features_by_join_keys(self) -> dict[tuple[str, ...], list[Feature]]:
        features: dict[tuple[str, ...], list[Feature]] = {}
        for view in self.registry.views.values():
            join_keys = self._join_keys_of(view)
            if join_keys is not None:
                features.setdefault(join_keys, []).extend(Feature(view.name, f.name, f.type) for f in view.features)
        return features

    def _earlier_features(self, join_keys: tuple[str, ...]) -> Iterable[Feature]:
        """Those of the versions of views that are stored beside the current ones."""
        for (name, version), view in self.registry.versions.items() if self._versioning else ():
            if version > 0 and self._join_keys_of(view) == join_keys:
                yield from (Feature(f"{name}_v{version}", field.name, field.type) for field in view.features)

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
        return error.with_traceback(None)  # whose frames would keep everything alive until the collector comes


def _again(error: RequestError) -> RequestError:
    """A copy of an error that is kept, to raise: the kept one would hold the frames it goes through, and they us."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy


def _project(name: str, features: Mapping[str, Field], projection: Projection) -> dict[str, Field]:
    """The features of a view that a projection has chosen. Raises RequestError for one that the view has not."""
    unknown = [field.name for field in projection.features if field.name not in features]
    if unknown:
        raise RequestError(
            f"The projection for {name} cannot be applied because it contains {', '.join(unknown)}, "
            "which the feature view does not have"
        )
    return {field.name: features[field.name] for field in projection.features}


def _computed_view(
    name: str,
    use: _OnDemandUse,
    features: list[str],
    places: Mapping[tuple[str, str], tuple[int, int]],
    full_names: bool,
) -> ComputedView:
    inputs = tuple(
        Column(f"{source.view.name}__{field}", *places[source.name, field])
        for source in use.sources
        for field in source.features
    )
    outputs = tuple((feature, f"{name}__{feature}" if full_names else feature) for feature in dict.fromkeys(features))
    return ComputedView(use.view, use.transform, inputs, outputs)


def _used_name(projection: Projection) -> str:
    return _versioned(projection.alias or projection.view, projection.version)


def _versioned(name: str, version: int | None) -> str:
    return name if version is None else f"{name}@v{version}"


def _ref_name(ref: Ref) -> str:
    return _versioned(ref.view, ref.version)


def _check_collisions(refs: list[Ref], full_names: bool) -> None:
    """Two features must not come under one name (feast/utils.py _validate_feature_refs)."""
    names = [ref.text.replace(":", "__") if full_names else ref.feature for ref in refs]
    twice = [name for name, times in Counter(names).items() if times > 1]
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
