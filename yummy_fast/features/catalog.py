"""Compile a registry's feature services, and callers' lists of features, into plans.

Everything that depends only on the registry and the configuration is worked out here, once: which features are read
together because their views share an entity key, how the columns of the answer are called, what on-demand views need.
It is done in Feast's order of checks, because that decides which error wins (feast/utils.py
_get_online_request_context, Feast 0.67.0). Which views a request uses is found by `views`.

A `Catalog` is one version of the registry. It is immutable but for a bounded cache of plans for lists of features. A
reload makes a new catalog, and the cache dies with the old one. It has no reference cycles (see "No cycles" in
docs/architecture.md). It does not know which store there is: its maker hands it the store's functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Generic, ParamSpec, TypeVar

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
from yummy_fast.features.binding import Binder, JoinKeys
from yummy_fast.features.plan import Column, ComputedView, Feature, HashContents, Lookup, Plan
from yummy_fast.features.python_values import UserFunction
from yummy_fast.features.spelling import hint
from yummy_fast.features.vectors import Layout
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
from yummy_fast.features.writes import Writes
from yummy_fast.features.written import WrittenView
from yummy_fast.telemetry.metrics import ServiceSlots

MAX_AD_HOC_PLANS = 512
"""Plans kept for lists of features."""
MAX_AD_HOC_REFS = 50_000
"""Features in all plans kept. A plan takes half a kilobyte for each, so these take 25 MB."""

Prepared = TypeVar("Prepared", covariant=True)
"""The online store's private form of a plan's lookups. Only the store knows what it is."""
P = ParamSpec("P")
T = TypeVar("T")

JoinKeyNames = tuple[tuple[str, str], ...]
"""(join key, the name that requests give it), sorted by join key: what a Lookup is read by."""
FeatureName = tuple[str, str]
"""What a request calls a feature: (name of the view as in `ResolvedViews`, name of the feature)."""


@dataclass(slots=True, eq=False)
class Compiled(Generic[Prepared]):
    """A plan, and beside it what others make of it before the first request. What may be None comes later."""

    plan: Plan
    binder: Binder
    """Binds the entities of requests to the plan."""
    prepared: Prepared
    """What the online store reads."""
    layout: Layout
    """What `vectors` answers by."""
    follows_up: bool
    """Whether there is something to do between the store's answer and ours: on-demand views, or `Plan.pushed`."""
    slots: ServiceSlots | None = None
    """Where requests are counted. None before the first one: a registry may hold plans that are never asked for."""
    other_layout: Layout | None = None
    """What `vectors` answers by for a request that wants other statuses than the server's. None before the first."""


class Catalog(Generic[Prepared]):
    """All plans of one version of the registry."""

    def __init__(
        self,
        registry: Registry,
        *,
        key_version: int,
        versioning: bool,
        prepare: Callable[[tuple[Lookup, ...]], Prepared],
        lay_out: Callable[[Plan], Layout],
        load: Callable[[OnDemandFeatureView], UserFunction],
        collisions: Callable[[Iterable[Feature]], list[tuple[Feature, Feature]]] = lambda features: [],
        prepare_write: Callable[[WrittenView], object] | None = None,
        compares_times: bool = True,
        serve_materializing: bool = False,
        strict: bool = False,
        throttle: Throttle = unthrottled,
    ) -> None:
        """
        - `key_version`: entity_key_serialization_version.
        - `versioning`: registry.enable_online_feature_view_versioning.
        - `prepare`: the online store's, called once for each plan.
        - `lay_out`: makes a plan's Layout, once.
        - `load`: makes an on-demand view's function callable, once for each view. If it raises a RequestError, so do
          requests for that view.
        - `collisions`: the online store's, called once for all features under the same join keys.
        - `prepare_write`, `compares_times`: the online store's; nothing can be written without the first.
        - `serve_materializing`: registry.serve_features_while_materializing.
        - `strict`: whether to answer what is right where Feast's answer is wrong; the module `feast_faults` lists that.
        """
        self.registry = registry
        self._strict = strict
        self._join_keys = JoinKeys(registry, key_version)
        self._versioning = versioning
        self._prepare = prepare
        self._lay_out = lay_out
        by_join_keys = self._features_by_join_keys(throttle)
        self._contents = {join_keys: HashContents.of(features) for join_keys, features in by_join_keys.items()}
        self.collisions = [
            f"{one.view}:{one.name} and {other.view}:{other.name}, both of {', '.join(join_keys)}"
            for join_keys, features in by_join_keys.items()
            for one, other in collisions(throttle(chain(features, self._earlier_features(join_keys))))
        ]
        """Features that the store cannot keep apart: whichever was written last is served for both."""
        self._functions: dict[tuple[str, int | None], UserFunction | RequestError] = {
            (view.name, version): _try(load, view)
            for view, version in (
                *((view, None) for view in registry.views.values()),
                *((view, version) for (_, version), view in registry.versions.items()),
            )
            if isinstance(view, OnDemandFeatureView)
        }
        self._views = Views(
            registry, self._functions, versioning=versioning, serve_materializing=serve_materializing, strict=strict
        )
        # A service that cannot be compiled is an error for those who ask for it. The others are served.
        self._services: dict[tuple[str, bool], Compiled[Prepared] | RequestError] = {
            (service.name, full_names): _try(self._compile_service, service, full_names, throttle)
            for service, full_names in product(registry.services.values(), (False, True))
        }
        self.writes: Writes[Prepared] | None = None
        """What pushes may write; None if nothing."""
        if prepare_write is not None:
            self.writes = Writes(
                registry,
                key_version=key_version,
                versioning=versioning,
                prepare_times=prepare if compares_times else lambda _: prepare(()),
                prepare_write=prepare_write,
                load=load,
                throttle=throttle,
            )
        self.openapi = b""
        """The body of /openapi.json. Whoever serves the catalog fills it in, once, by the function of the module
        `openapi`."""
        self._ad_hoc: dict[tuple[tuple[str, ...], bool], Compiled[Prepared]] = {}
        self._ad_hoc_refs = 0

    def plan_for(self, service: str | None, features: list[str], full_names: bool) -> Compiled[Prepared]:
        """The plan of a service, or of a list of features if `service` is empty. Raises RequestError."""
        if service:
            found = self._services.get((service, full_names))
            if found is None:
                raise NotFoundError(
                    "FeatureServiceNotFoundException",
                    f"Feature service {service} does not exist in project {self.registry.project}"
                    f"{hint(service, self.registry.services)}",
                )
            if isinstance(found, RequestError):
                raise found.fresh_copy()
            return found
        key = (tuple(features), full_names)
        compiled = self._ad_hoc.get(key)
        if compiled is None:
            compiled = self._compile_refs(features, full_names)
            self._keep(key, compiled)
        return compiled

    def _keep(self, key: tuple[tuple[str, ...], bool], compiled: Compiled[Prepared]) -> None:
        """Remember the plan of a list of features, and forget the oldest ones until it fits."""
        refs = len(key[0])
        if refs > MAX_AD_HOC_REFS:
            return
        while len(self._ad_hoc) >= MAX_AD_HOC_PLANS or self._ad_hoc_refs + refs > MAX_AD_HOC_REFS:
            oldest = next(iter(self._ad_hoc))
            del self._ad_hoc[oldest]
            self._ad_hoc_refs -= len(oldest[0])
        self._ad_hoc[key] = compiled
        self._ad_hoc_refs += refs

    def pieces(self) -> list[object]:
        """The large objects of a catalog, so that a caller can free them one by one."""
        registry = self.registry
        records = (registry.views, registry.services, registry.versions)
        written = [] if self.writes is None else self.writes.pieces()
        return [
            *self._services.values(),
            *self._ad_hoc.values(),
            *written,
            *(one for some in records for one in some.values()),
        ]

    def services(self) -> Iterable[tuple[str, Compiled[Prepared] | RequestError]]:
        """Each feature service with its plan (with full names if short ones collide), or why it cannot be served."""
        for name in self.registry.services:
            found = self._services[name, False]
            if isinstance(found, CollisionError):
                found = self._services[name, True]
            yield name, found if isinstance(found, RequestError) else found.plan.obstacle() or found

    def needs_full_names(self, service: str) -> bool:
        """Whether short names collide, so that requests for a service get 400 unless they ask for full names."""
        return isinstance(self._services.get((service, False)), CollisionError)

    def broken_services(self) -> Sequence[tuple[str, RequestError]]:
        """The feature services that cannot be served, and why."""
        return [(name, found) for name, found in self.services() if isinstance(found, RequestError)]

    def broken_views(self) -> Sequence[tuple[str, RequestError]]:
        """The on-demand views that cannot be computed, and why."""
        return [
            (name, function)
            for (name, version), function in self._functions.items()
            if version is None and isinstance(function, RequestError)
        ]

    # -------------------------------------------------------------------------------------------------------- compiling

    def _compile_service(self, service: FeatureService, full_names: bool, throttle: Throttle) -> Compiled[Prepared]:
        views = self._views.of_service(service)
        plan = self._plan(f"feature_service {service.name}", refs_of(service), views, full_names, throttle)
        return self._compile(replace(plan, service=service.name))

    def _compile_refs(self, features: list[str], full_names: bool) -> Compiled[Prepared]:
        if not features:
            raise RequestError("features: No features specified for retrieval")
        refs = [parse_ref(text, position) for position, text in enumerate(features)]
        return self._compile(self._plan("features", refs, self._views.of_refs(refs), full_names))

    def _compile(self, plan: Plan) -> Compiled[Prepared]:
        prepared, layout = self._prepare(plan.lookups), self._lay_out(plan)
        return Compiled(plan, Binder(plan, self._join_keys), prepared, layout, bool(plan.computed or plan.pushed))

    def _plan(
        self, where: str, refs: list[Ref], views: ResolvedViews, full_names: bool, throttle: Throttle = unthrottled
    ) -> Plan:
        """The plan of what is asked for. `where` begins the messages about a feature: it says what named it."""
        if not refs:
            raise RequestError(f"{where}: No features specified for retrieval")
        types = self._entity_types([*views.stored.values(), *views.typing])
        _check_collisions(refs, full_names)
        asked: dict[FeatureName, None] = {}  # stored features that are asked for
        computed: dict[str, list[str]] = {}  # features of on-demand views that are asked for, by view
        read: dict[FeatureName, None] = {}  # all that is read: what is asked for, and what on-demand views need
        for position, ref in enumerate(throttle(refs)):
            name = ref.view_name
            view = views.stored.get(name) or views.on_demand[name]
            if ref.feature not in view.features:
                raise RequestError(
                    f"{where}[{position}]: Feature {ref.feature} not found in projection {name}"
                    f"{hint(ref.feature, view.features)}"
                )
            if isinstance(view, ResolvedOnDemandView):
                computed.setdefault(name, []).append(ref.feature)
                read.update(((source.name, field), None) for source in view.sources for field in source.features)
            else:
                asked[name, ref.feature] = read[name, ref.feature] = None
        lookups, positions, pushed = self._lookups(throttle(read), views.stored, types)
        per_row = self._per_row({name: views.on_demand[name].view for name in computed}, full_names)
        metadata: dict[str, int] = {}
        for name, _ in read:
            metadata.setdefault(*views.stored[name].metadata)  # of two versions of a view, the first speaks for both
        return Plan(
            lookups=lookups,
            columns=tuple(
                Column(f"{name}__{feature}" if full_names else feature, *positions[name, feature])
                for name, feature in throttle(asked)
            ),
            computed=tuple(
                _computed_view(name, views.on_demand[name], features, positions, full_names, name in per_row)
                for name, features in computed.items()
            ),
            types=types,
            view_metadata=tuple(metadata.items()),
            pushed=pushed,
            strict=self._strict,
        )

    def _entity_types(self, views: Iterable[ResolvedView]) -> dict[str, ValueType]:
        """Request name -> declared type, of all join keys of the views. Later views win (_get_entity_maps)."""
        types: dict[str, ValueType] = {}
        for resolved in views:
            for entity in resolved.view.entities:
                if entity not in self.registry.entities:
                    raise NotFoundError(
                        "EntityNotFoundException", f"Entity {entity} does not exist in project {self.registry.project}"
                    )
                join_key = self._join_keys.of_entity[entity]
                types.setdefault(resolved.join_key_map.get(join_key, join_key), ValueType.UNKNOWN)
            for column in resolved.view.entity_columns:
                types[resolved.join_key_map.get(column.name, column.name)] = column.type
        types.pop(DUMMY_JOIN_KEY, None)
        return types

    def _per_row(self, computed: Mapping[str, OnDemandFeatureView], full_names: bool) -> set[str]:
        """The singletons whose functions are called for each row: all of them where answers are strict.

        Feast calls them for the first row alone, and answers one value for two rows. Where it has no answer, they are
        called for each row as well: with full names it loses their columns, and with one value beside the columns of a
        view in pandas mode it fails, unless it has made its table of columns before.
        """
        if self._strict or full_names:
            return set(computed)
        modes = [view.mode for view in computed.values()]
        begins_pandas = modes.index("pandas") if "pandas" in modes else 0
        return set(list(computed)[:begins_pandas])

    def _lookups(
        self, read: Iterable[FeatureName], views: Mapping[str, ResolvedView], types: Mapping[str, ValueType]
    ) -> tuple[tuple[Lookup, ...], dict[FeatureName, tuple[int, int]], tuple[tuple[int, int], ...]]:
        """Group what is read by join keys. Beside the lookups, the position of each feature: (lookup, feature in it);
        and `Plan.pushed`."""
        keys_of: dict[str, tuple[JoinKeyNames, tuple[ValueType, ...]]] = {}
        groups: dict[tuple[JoinKeyNames, tuple[ValueType, ...]], dict[FeatureName, None]] = {}
        for name, feature in read:
            if name not in keys_of:
                resolved = views[name]
                own = (self._join_keys.of_entity[entity] for entity in resolved.view.entities)
                names = tuple(sorted((key, resolved.join_key_map.get(key, key)) for key in own))
                keys_of[name] = names, self._key_types(resolved.view, names, types)
            groups.setdefault(keys_of[name], {})[name, feature] = None
        lookups: list[Lookup] = []
        positions: dict[FeatureName, tuple[int, int]] = {}
        pushed: list[tuple[int, int]] = []
        for (join_keys, key_types), group in groups.items():
            view_numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in group))}
            for position, feature_name in enumerate(group):
                positions[feature_name] = (len(lookups), position)
            lookups.append(
                Lookup(
                    features=tuple(
                        Feature(views[name].store_name, feature, views[name].features[feature].type)
                        for name, feature in group
                    ),
                    views=tuple(views[name].store_name for name in view_numbers),
                    view_of=tuple(view_numbers[name] for name, _ in group),
                    join_keys=join_keys,
                    holds=self._contents.get(tuple(key for key, _ in join_keys)) or HashContents.of(()),
                    ttls_s=tuple(views[name].view.ttl_s for name in view_numbers),
                    key_types=key_types,
                )
            )
            if self._strict and join_keys == ((DUMMY_JOIN_KEY, DUMMY_JOIN_KEY),):
                pushed.append((len(lookups) - 1, len(lookups)))
                lookups.append(replace(lookups[-1], is_pushed=True))
        return tuple(lookups), positions, tuple(pushed)

    def _key_types(
        self, view: FeatureView, join_keys: JoinKeyNames, types: Mapping[str, ValueType]
    ) -> tuple[ValueType, ...]:
        """The types of a view's join keys where they are not the plan's; empty if they are, or as Feast has them: of
        all views of a request, whichever comes last types a join key for all of them."""
        if not self._strict:
            return ()
        declared = {column.name: column.type for column in view.entity_columns}
        usual = tuple(types.get(name, ValueType.UNKNOWN) for _, name in join_keys)
        own = tuple(declared.get(key) or kind for (key, _), kind in zip(join_keys, usual, strict=True))
        return () if own == usual or join_keys == ((DUMMY_JOIN_KEY, DUMMY_JOIN_KEY),) else own

    # ------------------------------------------------------------------------------------------------ what a hash holds

    def _features_by_join_keys(self, throttle: Throttle) -> dict[tuple[str, ...], list[Feature]]:
        features: dict[tuple[str, ...], list[Feature]] = {}
        for view in throttle(self.registry.views.values()):
            join_keys = self._join_keys_of(view)
            if join_keys is not None:
                features.setdefault(join_keys, []).extend(Feature(view.name, f.name, f.type) for f in view.features)
        return features

    def _earlier_features(self, join_keys: tuple[str, ...]) -> Iterable[Feature]:
        """The features of all versions of views, which are stored beside the current ones if versioning is on."""
        for (name, version), view in self.registry.versions.items() if self._versioning else ():
            if version > 0 and self._join_keys_of(view) == join_keys:
                yield from (Feature(stored_name(name, version), field.name, field.type) for field in view.features)

    def _join_keys_of(self, view: FeatureView | OnDemandFeatureView) -> tuple[str, ...] | None:
        """The join keys that a view is stored under. None if it is not stored, or if an entity of it is missing."""
        of_entity = self._join_keys.of_entity
        if isinstance(view, OnDemandFeatureView) or not all(entity in of_entity for entity in view.entities):
            return None
        return tuple(sorted(of_entity[entity] for entity in view.entities))


def _try(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | RequestError:
    """What `make` returns, or the RequestError that it raises: requests for the thing will get it."""
    try:
        return make(*args, **kwargs)
    except RequestError as error:
        # A copy: the traceback of this one, and of what it was raised for, holds frames, and these hold the catalog.
        return error.fresh_copy()


def _computed_view(
    name: str,
    resolved: ResolvedOnDemandView,
    features: list[str],
    positions: Mapping[FeatureName, tuple[int, int]],
    full_names: bool,
    per_row: bool,
) -> ComputedView:
    inputs = tuple(
        Column(f"{source.view.name}__{field}", *positions[source.name, field])
        for source in resolved.sources
        for field in source.features
    )
    outputs = tuple((feature, f"{name}__{feature}" if full_names else feature) for feature in dict.fromkeys(features))
    return ComputedView(resolved.view, resolved.function, inputs, outputs, per_row)


def _check_collisions(refs: list[Ref], full_names: bool) -> None:
    """Raise CollisionError if two features come under one name (feast/utils.py _validate_feature_refs)."""
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
