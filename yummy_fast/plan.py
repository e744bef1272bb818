"""Compile feature services into plans; bind entity values to keys.

A feature service (or a list of features) is a prepared statement. What depends on the registry and the configuration
alone is worked out once, when the catalog is compiled: which views are read under which names (`Catalog._compile`,
after feast/utils.py _get_online_request_context of Feast 0.67.0), which of them share an entity key (`Lookup`), how the
answer's columns are called. What depends also on *which* entity columns a caller sends (a `Binding`: their roles, types
and key headers) is worked out the first time that a set of columns is seen. A request then only converts its values
and packs them into keys (`Plan.bind`).

Catalogs are immutable but for two bounded caches; a reload makes a new catalog, and the caches die with the old one.
Pure: no store, no HTTP; the store's private form of the lookups comes from the `prepare` it is handed.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from yummy_fast.codec import KEY_TYPES, ValueType, entity_key_header, key_value_encoder
from yummy_fast.entities import convert_column
from yummy_fast.errors import CollisionError, NotFoundError, RequestError, YummyError
from yummy_fast.registry import (
    DUMMY_ENTITY,
    DUMMY_JOIN_KEY,
    DUMMY_VALUE,
    FeatureService,
    FeatureView,
    Field,
    OnDemandFeatureView,
    Projection,
    Registry,
)

MAX_AD_HOC_PLANS = 512
"""Plans kept for lists of features; a plan of 50 features takes about 20 KB."""
MAX_AD_HOC_REFS = 2_000
"""A longer list is served, but its plan is not kept: one caller must not fill the cache's memory."""
MAX_BINDINGS = 32
"""Sets of entity columns remembered per plan. A caller that invents columns pays for compiling them each time."""
MAX_BINDING_NAMES_CHARS = 1_000


class Feature(NamedTuple):
    """One stored feature: how the store knows it, and what it is declared to hold."""

    view: str
    """The view's name in the store: the real one, never an alias, with _vN for a pinned version."""
    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Lookup:
    """The features that are read under one set of join keys: one command per entity, whatever the number of views."""

    features: tuple[Feature, ...]
    views: tuple[str, ...]
    """The store names of the views, in the order in which their timestamps follow the values of a row."""
    view_of: tuple[int, ...]
    """For each feature, which of `views` it is of."""
    join_keys: tuple[tuple[str, str], ...]
    """(join key, the name that a request gives it), sorted by join key."""
    hash_features: tuple[Feature, ...]
    """Everything that the registry has under these join keys, whether asked for or not: what one key may hold."""
    ttls_s: tuple[float, ...] = ()


class Column(NamedTuple):
    """One column of the answer: where its values are found."""

    name: str
    lookup: int
    place: int


class Bound(NamedTuple):
    """A request's entities, bound to a plan."""

    rows: int
    echoes: list[list[Any]]
    """The values of the entity columns that come back, in the order of `Binding.echo_names`."""
    keys: list[list[bytes]]
    """For each Lookup, the entity keys to read, each once."""
    fans: list[list[int] | None]
    """For each Lookup, which key each row of the answer is of; None where there is one key per row, in order."""
    binding: Binding


class Binding:
    """A plan for one set of entity columns: what each column is for, compiled the first time the set is seen."""

    __slots__ = ("columns", "echo_names", "echoed", "feature_names", "key_makers", "missing", "needs_rows")

    columns: list[tuple[str, ValueType]]
    """Every column of the request, and the type its values are converted to."""
    echoed: list[str]
    """The columns whose values are answered, and ..."""
    echo_names: list[str]
    """... the join keys they are answered as."""
    key_makers: list[Callable[[Mapping[str, list[Any]], int], list[bytes]]]
    missing: RequestError | None
    """What to say when a view gets none of its join keys."""

    def __init__(self) -> None:
        self.columns, self.echoed, self.echo_names, self.key_makers = [], [], [], []
        self.missing = None
        self.feature_names: Any = None  # the metadata's text, rendered by `payload` at the first answer


class Plan:
    """A feature service or list of features, ready to be bound to entities, read and answered."""

    __slots__ = (
        *("_bindings", "_catalog", "_required", "_types", "columns", "label", "lookups", "prepared", "rendering"),
        *("view_metadata",),
    )

    def __init__(
        self,
        catalog: Catalog,
        label: str,
        lookups: tuple[Lookup, ...],
        columns: tuple[Column, ...],
        types: Mapping[str, ValueType],
        view_metadata: tuple[tuple[str, int], ...],
    ) -> None:
        self.label = label
        self.lookups = lookups
        self.columns = columns
        self.view_metadata = view_metadata
        self.prepared: Any = catalog.prepare(lookups)
        self.rendering: Any = catalog.render(self)
        self._catalog = catalog
        self._types = types
        self._bindings: dict[tuple[str, ...], Binding] = {}

    def bind(self, entities: Mapping[str, list[Any]]) -> Bound:
        """Convert the values of a request's entity columns and make their entity keys. Raises RequestError."""
        names = tuple(entities)
        binding = self._bindings.get(names) or self._bind_names(names)
        values: dict[str, list[Any]] = {}
        rows = -1
        for name, value_type in binding.columns:
            column = convert_column(name, value_type, entities[name])
            if len(column) != rows:
                if rows >= 0:
                    raise RequestError(
                        f"entities.{name}: All entity rows must have the same columns. "
                        f"Expected {rows} values, as in the columns before, got {len(column)}"
                    )
                rows = len(column)
            values[name] = column
        if binding.missing is not None:
            raise binding.missing
        if rows < 1:
            if rows == 0:
                raise self._catalog.missing_join_keys(names, empty=names)
            rows = 1  # no columns at all, and none needed: the one row of views without entities
        keys: list[list[bytes]] = []
        fans: list[list[int] | None] = []
        for make_keys in binding.key_makers:
            made = make_keys(values, rows)
            if rows > 1:
                places: dict[bytes, int] = {}
                fan = [places.setdefault(key, len(places)) for key in made]
                if len(places) < rows:
                    keys.append(list(places))
                    fans.append(fan)
                    continue
            keys.append(made)
            fans.append(None)
        return Bound(rows, [values[name] for name in binding.echoed], keys, fans, binding)

    def _bind_names(self, names: tuple[str, ...]) -> Binding:
        """Find out what each of a request's columns is for (feast/utils.py _prepare_entities_to_read...)."""
        catalog = self._catalog
        binding = Binding()
        source_of: dict[str, str] = {}  # join key as the answer names it -> the column it comes from
        for name in names:
            binding.columns.append((name, self._types.get(name, ValueType.UNKNOWN)))
            if name in self._types or name in catalog.join_keys:
                source_of[name] = name
            elif name in catalog.join_key_of:  # the entity's name instead of its join key: Feast's old habit
                source_of[catalog.join_key_of[name]] = name
        for echo_name, name in source_of.items():
            binding.echo_names.append(echo_name)
            binding.echoed.append(name)
        for lookup in self.lookups:
            maker = self._key_maker(lookup, source_of)
            if maker is None:
                binding.missing = catalog.missing_join_keys(tuple(source_of))
                break
            binding.key_makers.append(maker)
        if sum(map(len, names)) <= MAX_BINDING_NAMES_CHARS:
            if len(self._bindings) >= MAX_BINDINGS:
                self._bindings.clear()
            self._bindings[names] = binding
        return binding

    def _key_maker(
        self, lookup: Lookup, source_of: Mapping[str, str]
    ) -> Callable[[Mapping[str, list[Any]], int], list[bytes]] | None:
        """What makes the entity keys of `lookup`; None if none of its join keys is given.

        A key of which only a part is given is made of that part, as in Feast: nothing will be found under it.
        """
        version = self._catalog.key_version
        if lookup.join_keys == ((DUMMY_JOIN_KEY, DUMMY_JOIN_KEY),):
            header = entity_key_header([DUMMY_JOIN_KEY], version)
            key = header + key_value_encoder(ValueType.STRING, version)(DUMMY_VALUE)
            return lambda values, rows: [key] * rows
        join_key_of = {request_name: join_key for join_key, request_name in lookup.join_keys}
        own = set(join_key_of.values())
        given: dict[str, str] = {}  # join key -> the column it comes from; of two, the later in the request
        for echo_name, name in source_of.items():
            join_key = join_key_of.get(echo_name, echo_name)
            if join_key in own:
                given[join_key] = name
        if not given:
            return None
        join_keys = sorted(given)
        header = entity_key_header(join_keys, version)
        encoders = [self._encoder(given[join_key]) for join_key in join_keys]
        names = [given[join_key] for join_key in join_keys]
        if len(names) == 1:
            name, encode = names[0], encoders[0]
            return lambda values, rows: [header + part for part in encode(values[name])]

        def make_keys(values: Mapping[str, list[Any]], rows: int) -> list[bytes]:
            parts = [encode(values[name]) for name, encode in zip(names, encoders, strict=True)]
            return [header + b"".join(row) for row in zip(*parts, strict=True)]

        return make_keys

    def _encoder(self, name: str) -> Callable[[list[Any]], list[bytes]]:
        """What turns the converted values of column `name` into their parts of the entity keys."""
        declared = self._types.get(name, ValueType.UNKNOWN)
        version = self._catalog.key_version

        def encode(values: list[Any]) -> list[bytes]:
            # A column that no view declares has the type of its values; Feast infers it the same way.
            value_type = declared or {int: ValueType.INT64, str: ValueType.STRING}.get(
                type(values[0]), ValueType.UNKNOWN
            )
            if None in values:
                raise RequestError(f"entities.{name}[{values.index(None)}]: expected a key value, got null")
            if value_type not in KEY_TYPES:
                kind = value_type.name if declared else type(values[0]).__name__
                raise RequestError(
                    f"entities.{name}: values of type {kind} cannot be part of an entity key; expected one of "
                    f"{', '.join(sorted(key_type.name for key_type in KEY_TYPES))}"
                )
            try:
                return list(map(key_value_encoder(value_type, version), values))
            except (struct.error, UnicodeEncodeError):
                raise RequestError(
                    f"entities.{name}: a value does not fit an entity key of version {version}"
                ) from None

        return encode


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
        if version and len(version[1]) < 10:
            return Ref(name, int(version[1]), feature, text)
    return Ref(view, None, feature, text)


class _Use(NamedTuple):
    """One use of a view by a request: the same view may be used under several aliases with other keys."""

    name: str
    """What the answer calls the view: alias or name, with @vN."""
    metadata: tuple[str, int]
    """What `feature_view_metadata` says of it: a name, and a version where Feast tells it."""
    store_name: str
    view: FeatureView
    features: Mapping[str, Field]
    join_key_map: Mapping[str, str]


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
    ) -> None:
        """
        - `key_version`: entity_key_serialization_version.
        - `versioning`: registry.enable_online_feature_view_versioning.
        - `prepare`: the online store's, called once a plan.
        - `render`: what `payload` needs to answer for a plan, made once a plan.
        """
        self.registry = registry
        self.key_version = key_version
        self.prepare = prepare
        self.render = render
        self._versioning = versioning
        self.join_key_of = {entity.name: entity.join_key for entity in registry.entities.values()}
        self.join_keys = frozenset(self.join_key_of.values())
        self._hash_features = self._features_by_join_keys()
        self._plans: dict[tuple[str | tuple[str, ...], bool], Plan | YummyError] = {}
        for name in registry.services:
            for full_names in (False, True):
                self._plans[name, full_names] = self._try_service(name, full_names)
        self._ad_hoc: dict[tuple[str | tuple[str, ...], bool], Plan] = {}

    def plan_for(self, service: str | None, features: list[str], full_names: bool) -> Plan:
        """The plan of a service, or of a list of features when `service` is empty. Raises RequestError."""
        if service:
            plan = self._plans.get((service, full_names))
            if plan is None:
                raise NotFoundError(
                    "FeatureServiceNotFoundException",
                    f"Feature service {service} does not exist in project {self.registry.project}",
                )
            if isinstance(plan, YummyError):
                raise plan
            return plan
        key = (tuple(features), full_names)
        plan = self._ad_hoc.get(key)
        if plan is None:
            plan = self._compile_refs(features, full_names)
            if len(features) <= MAX_AD_HOC_REFS:
                if len(self._ad_hoc) >= MAX_AD_HOC_PLANS:
                    self._ad_hoc.pop(next(iter(self._ad_hoc)))  # the oldest
                self._ad_hoc[key] = plan
        return plan

    def services(self) -> Iterable[tuple[str, Plan | YummyError]]:
        """Each feature service with its plan (short names; full ones where short names collide) or why it has none."""
        for name in self.registry.services:
            plan = self._plans[name, False]
            yield name, self._plans[name, True] if isinstance(plan, CollisionError) else plan

    def missing_join_keys(self, given: Sequence[str], empty: Sequence[str] = ()) -> RequestError:
        """Feast's complaint about a view of which no join key is given."""
        keys = sorted(self.join_keys - {DUMMY_JOIN_KEY})
        return RequestError(
            f"entities: Missing join key values for keys: {[key for key in keys if key not in given]}. "
            f"No values provided for keys: {[key for key in keys if key not in given or key in empty]}. "
            f"Provided join_key_values: {list(given)}"
        )

    # ------------------------------------------------------------------------------------------------- compiling

    def _try_service(self, name: str, full_names: bool) -> Plan | YummyError:
        try:
            return self._compile_service(self.registry.services[name], full_names)
        except RequestError as error:
            return error  # for whoever asks for this service; the others are fine

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
        uses: dict[str, _Use] = {}
        for projection in service.projections:
            use = self._use(projection.view, projection.version, projection)
            self._add_use(uses, use)
        return self._compile(f"service {service.name}", refs, uses, full_names)

    def _compile_refs(self, features: list[str], full_names: bool) -> Plan:
        if not features:
            raise RequestError("features: No features specified for retrieval")
        refs = [parse_ref(text, place) for place, text in enumerate(features)]
        uses: dict[str, _Use] = {}
        for view, version in dict.fromkeys((ref.view, ref.version) for ref in refs):
            self._add_use(uses, self._use(view, version, None))
        return self._compile("features", refs, uses, full_names)

    @staticmethod
    def _add_use(uses: dict[str, _Use], use: _Use) -> None:
        before = uses.get(use.name)
        if before is not None:  # the same projection twice: what either has can be asked for
            use = before._replace(features={**before.features, **use.features})
        uses[use.name] = use

    def _use(self, name: str, version: int | None, projection: Projection | None) -> _Use:
        """Look a view up as Feast does: existence, then disabled, then state (feast/utils.py _get_feature_views_to_use)."""
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
                raise NotFoundError(
                    "FeatureViewNotFoundException", f"Feature view {name} does not exist in project {project}"
                )
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
        if isinstance(view, OnDemandFeatureView):
            raise RequestError(
                f"Feature view '{name}' is an on-demand feature view, which this server cannot compute yet"
            )
        store_name = view.name
        # A service's projection of the current version reads the unversioned rows (Feast: FeatureView.__copy__).
        stored_version = version if version is not None else view.version if projection is None else 0
        if self._versioning and stored_version > 0:
            store_name = f"{view.name}_v{stored_version}"
        features = {field.name: field for field in view.features}
        if projection is None:
            used_name = view.name if version is None else f"{view.name}@v{version}"
            return _Use(used_name, (view.name, view.version), store_name, view, features, {})
        unknown = [field.name for field in projection.features if field.name not in features]
        if unknown:
            raise RequestError(
                f"The projection for {name} cannot be applied because it contains {', '.join(unknown)}, "
                "which the feature view does not have"
            )
        chosen = {field.name: features[field.name] for field in projection.features}
        return _Use(
            _used_name(projection), (projection.alias or name, 0), store_name, view, chosen, projection.join_key_map
        )

    def _compile(self, label: str, refs: list[Ref], uses: dict[str, _Use], full_names: bool) -> Plan:
        if not refs:
            raise RequestError(f"{label}: No features specified for retrieval")
        types = self._entity_types(uses.values())
        _check_collisions(refs, full_names)
        asked = dict.fromkeys((_ref_name(ref), ref.feature) for ref in refs)
        for place, (name, feature) in enumerate(asked):
            if feature not in uses[name].features:
                raise RequestError(f"features[{place}]: Feature {feature} not found in projection {name}")
        lookups, places = self._lookups(asked, uses)
        columns = tuple(
            Column(f"{name}__{feature}" if full_names else feature, *places[name, feature]) for name, feature in asked
        )
        read = dict.fromkeys(name for name, _ in asked)
        metadata: dict[str, int] = {}
        for name in read:
            metadata.setdefault(*uses[name].metadata)  # two versions of a view: the first speaks for both
        return Plan(self, label, lookups, columns, types, tuple(metadata.items()))

    def _entity_types(self, uses: Iterable[_Use]) -> dict[str, ValueType]:
        """Request name -> declared type, of all join keys of the views used; later views win (_get_entity_maps)."""
        types: dict[str, ValueType] = {}
        for use in uses:
            for entity in use.view.entities:
                if entity not in self.registry.entities:
                    raise NotFoundError(
                        "EntityNotFoundException", f"Entity {entity} does not exist in project {self.registry.project}"
                    )
                join_key = self.join_key_of[entity]
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
                    (key, use.join_key_map.get(key, key)) for key in (self.join_key_of[e] for e in use.view.entities)
                )
            )
            groups.setdefault(join_keys, {})[name, feature] = None
        lookups: list[Lookup] = []
        places: dict[tuple[str, str], tuple[int, int]] = {}
        for join_keys, group in groups.items():
            views = list(dict.fromkeys(name for name, _ in group))
            for place, ref in enumerate(group):
                places[ref] = (len(lookups), place)
            lookups.append(
                Lookup(
                    features=tuple(
                        Feature(uses[name].store_name, feature, uses[name].features[feature].type)
                        for name, feature in group
                    ),
                    views=tuple(uses[name].store_name for name in views),
                    view_of=tuple(views.index(name) for name, _ in group),
                    join_keys=join_keys,
                    hash_features=self._hash_features.get(tuple(key for key, _ in join_keys), ()),
                    ttls_s=tuple(uses[name].view.ttl_s for name in views),
                )
            )
        return tuple(lookups), places

    def _features_by_join_keys(self) -> dict[tuple[str, ...], tuple[Feature, ...]]:
        features: dict[tuple[str, ...], list[Feature]] = {}
        for view in self.registry.views.values():
            if isinstance(view, FeatureView) and all(entity in self.join_key_of for entity in view.entities):
                join_keys = tuple(sorted(self.join_key_of[entity] for entity in view.entities))
                features.setdefault(join_keys, []).extend(Feature(view.name, f.name, f.type) for f in view.features)
        return {join_keys: tuple(found) for join_keys, found in features.items()}


def _used_name(projection: Projection) -> str:
    name = projection.alias or projection.view
    return name if projection.version is None else f"{name}@v{projection.version}"


def _ref_name(ref: Ref) -> str:
    return ref.view if ref.version is None else f"{ref.view}@v{ref.version}"


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


__all__ = ["DUMMY_ENTITY", "Binding", "Bound", "Catalog", "Column", "Feature", "Lookup", "Plan", "Ref", "parse_ref"]
