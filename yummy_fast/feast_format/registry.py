"""Registry bytes to frozen records: what one project of a Feast registry says about serving.

A registry is one serialised feast.core.Registry and may hold many projects. Here everything is filtered by project, as
Feast filters every lookup (feast/infra/registry/proto_registry_utils.py, Feast 0.67.0). Records use Feast's words, and
know nothing of requests or stores.

The message is first parsed to `RegistryPieces`, in which every view, entity and service is a field of bytes; then the
pieces are parsed one by one, with pauses if there is a Throttle. To parse all at once would hold up the event loop.

Pure: bytes in, records out; `sources` fetches the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError

from yummy_fast.errors import RegistryError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.values import ValueType

DUMMY_ENTITY = "__dummy"
"""What Feast gives a view without entities (feast/feature_view.py): this entity, ..."""
DUMMY_JOIN_KEY = "__dummy_id"
"""... its join key, ..."""
DUMMY_VALUE = ""
"""... and the value of that, under which the view's only row is stored."""


T = TypeVar("T")


class Throttle(Protocol):
    """Passes items on, and may pause between two of them, so that a long loop leaves time to the event loop.

    Parsing a registry and compiling a catalog take a Throttle, because a reload does both while requests are served
    (server/reload.py, HalfSpeed). It is declared here because this is the lowest module that takes one.
    """

    def __call__(self, items: Iterable[T], /) -> Iterable[T]: ...


def unthrottled(items: Iterable[T]) -> Iterable[T]:
    """No throttling."""
    return items


@dataclass(frozen=True, slots=True)
class Field:
    """A feature or an entity column."""

    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Entity:
    """What a view describes, such as a driver, and the join key whose value says which driver."""

    name: str
    join_key: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Projection:
    """What a feature service, or an on-demand view, takes from a view."""

    view: str
    features: tuple[Field, ...]
    alias: str = ""
    """The view's name in this use; empty if it is the view's own."""
    join_key_map: Mapping[str, str] = field(default_factory=dict)
    """Join key -> its name in this use."""
    version: int | None = None
    """The version that is pinned, if one is."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the registry says about writing to a view."""

    push_source: str = ""
    """The push source that feeds it; empty if none does."""
    field_mapping: Mapping[str, str] = field(default_factory=dict)
    """Column -> the name by which the view knows it: a feature, a join key or a timestamp."""
    timestamp_field: str = ""
    """The column of the event time."""
    created_column: str = ""
    """The column that says when a row was made; empty if there is none."""
    vector: str = ""
    """The feature that is indexed as a vector, if there is one, and ..."""
    vector_length: int = 0
    """... the length of all its values; 0 for that of the first one."""
    is_label_view: bool = False
    computed: OnDemandFeatureView | None = None
    """For an on-demand view that is computed when it is written: what computes it."""


NOT_WRITTEN = Written()


@dataclass(frozen=True, slots=True)
class FeatureView:
    """A feature view, stream feature view or label view: all three are served in the same way."""

    name: str
    entities: tuple[str, ...]
    features: tuple[Field, ...]
    entity_columns: tuple[Field, ...]
    ttl_s: float = 0.0
    """How old a value may be; 0 for any age."""
    version: int = 0
    state: str = "STATE_UNSPECIFIED"
    disabled: bool = False
    sources: tuple[Projection, ...] = ()
    """For an on-demand view that is computed when it is written: the views that it is computed from."""
    online: bool = False
    """Whether `feast materialize` writes it to the online store."""
    is_pushed: bool = False
    """Whether its rows may come from a push source or a stream."""
    materialized_until_s: float | None = None
    """The latest end of its materialization intervals, in seconds since the epoch; None if there are none."""
    written: Written = NOT_WRITTEN


@dataclass(frozen=True, slots=True)
class OnDemandFeatureView:
    """A view that a user's function computes from other views and from request data."""

    name: str
    features: tuple[Field, ...]
    sources: tuple[Projection, ...]
    request_data: tuple[Field, ...]
    mode: str
    function: bytes
    """The function as a dill pickle."""
    source: str = ""
    """The source text of the function, with its decorators."""
    function_name: str = ""
    """The name of the function in that text."""
    singleton: bool = False
    aggregates: bool = False
    state: str = "STATE_UNSPECIFIED"
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class FeatureService:
    """Features of several views under one name."""

    name: str
    projections: tuple[Projection, ...]


@dataclass(frozen=True, slots=True)
class Registry:
    """One project of a registry. `version` is Feast's version_id, which is new with every change."""

    project: str
    version: str
    entities: Mapping[str, Entity]
    views: Mapping[str, FeatureView | OnDemandFeatureView]
    services: Mapping[str, FeatureService]
    versions: Mapping[tuple[str, int], FeatureView | OnDemandFeatureView]
    """(view, number) -> the view at that version, for all versions in the history."""
    other_projects: tuple[str, ...] = ()


def parse_registry(data: bytes, project: str, source: str, throttle: Throttle = unthrottled) -> Registry:
    """Read a serialised Registry. Raises RegistryError for other bytes; its message begins with `source`."""
    try:
        return _read(messages.RegistryPieces.FromString(data), project, source, throttle)
    except DecodeError:
        raise RegistryError(f"{source}: not a Feast registry ({len(data)} bytes that do not parse)") from None


def _read(pieces: messages.RegistryPieces, project: str, source: str, throttle: Throttle) -> Registry:
    """What `parse_registry` returns. Raises DecodeError for a piece that does not parse."""
    projects = {messages.Project.FromString(piece).spec.name for piece in pieces.projects}

    def of_project(kind: Any, found: Iterable[bytes]) -> Iterator[Any]:
        for piece in throttle(found):
            item = kind.FromString(piece)
            projects.add(item.spec.project)
            if item.spec.project == project:
                yield item

    # Feast looks a name up in this order, so the first kind of view that has the name wins.
    views: dict[str, FeatureView | OnDemandFeatureView] = {}
    for item in of_project(messages.FeatureView, pieces.feature_views):
        views.setdefault(item.spec.name, _feature_view(item.spec, item.meta))
    for item in of_project(messages.StreamFeatureView, pieces.stream_feature_views):
        views.setdefault(item.spec.name, _feature_view(item.spec, item.meta))
    for item in of_project(messages.OnDemandFeatureView, pieces.on_demand_feature_views):
        views.setdefault(item.spec.name, _any_on_demand_view(item))
    for item in of_project(messages.LabelView, pieces.label_views):
        views.setdefault(item.spec.name, _label_view(item.spec))

    entities = {
        item.spec.name: Entity(item.spec.name, item.spec.join_key or item.spec.name, ValueType(item.spec.value_type))
        for item in of_project(messages.Entity, pieces.entities)
    }
    entities.setdefault(DUMMY_ENTITY, Entity(DUMMY_ENTITY, DUMMY_JOIN_KEY, ValueType.STRING))
    services = {
        item.spec.name: FeatureService(item.spec.name, tuple(map(_projection, item.spec.features)))
        for item in of_project(messages.FeatureService, pieces.feature_services)
    }
    return Registry(
        project=project,
        version=pieces.version_id,
        entities=MappingProxyType(entities),
        views=MappingProxyType(views),
        services=MappingProxyType(services),
        versions=MappingProxyType(_versions(pieces, project, source, throttle)),
        other_projects=tuple(sorted(projects - {"", project})),
    )


def _fields(items: Iterable[Any]) -> tuple[Field, ...]:
    return tuple(Field(item.name, ValueType(item.value_type)) for item in items)


def _feature_view(spec: Any, meta: Any = None) -> FeatureView:
    intervals = meta.materialization_intervals if meta is not None else ()
    ends = [interval.end_time.seconds + interval.end_time.nanos / 1e9 for interval in intervals]
    is_plain = isinstance(spec, messages.FeatureViewSpec)
    return FeatureView(
        name=spec.name,
        entities=tuple(spec.entities),
        features=_fields(spec.features),
        entity_columns=_fields(spec.entity_columns),
        ttl_s=spec.ttl.seconds + spec.ttl.nanos / 1e9,
        version=meta.current_version_number if meta is not None else 0,
        state=_state(meta.state) if meta is not None else "STATE_UNSPECIFIED",
        disabled=bool(getattr(spec, "disabled", False)),
        online=meta is not None and spec.online,
        is_pushed=spec.HasField("stream_source") if is_plain else True,  # a label view and a stream view
        materialized_until_s=max(ends, default=None),
        written=_written(spec.batch_source, spec.stream_source, spec) if meta is not None else NOT_WRITTEN,
    )


def _label_view(spec: Any) -> FeatureView:
    is_push_source = spec.source.type == _PUSH_SOURCE
    batch_source = spec.source.batch_source if is_push_source else spec.source
    return replace(_feature_view(spec), written=_written(batch_source, spec.source, spec, is_label_view=True))


_PUSH_SOURCE = 9
"""DataSource.SourceType.PUSH_SOURCE (feast/core/DataSource.proto)."""


def _written(batch_source: Any, stream_source: Any, spec: Any, *, is_label_view: bool = False) -> Written:
    vector = next((field for field in (*spec.features, *spec.entity_columns) if field.vector_index), None)
    return Written(
        push_source=stream_source.name if stream_source.type == _PUSH_SOURCE else "",
        field_mapping=MappingProxyType(dict(batch_source.field_mapping)),
        timestamp_field=batch_source.timestamp_field,
        created_column=batch_source.created_timestamp_column,
        vector=vector.name if vector is not None else "",
        vector_length=vector.vector_length if vector is not None else 0,
        is_label_view=is_label_view,
    )


def _any_on_demand_view(message: messages.OnDemandFeatureView) -> FeatureView | OnDemandFeatureView:
    spec, meta = message.spec, message.meta
    sources: list[Projection] = []
    request_data: list[Field] = []
    for source in spec.sources.values():
        match source.WhichOneof("source"):
            case "feature_view_projection":
                sources.append(_projection(source.feature_view_projection))
            case "feature_view":
                view = source.feature_view.spec
                sources.append(Projection(view.name, _fields(view.features)))
            case "request_data_source":
                options = source.request_data_source.request_data_options
                request_data += _fields(options.schema)
                request_data += (Field(name, ValueType(kind)) for name, kind in options.deprecated_schema.items())
    function = spec.feature_transformation.user_defined_function
    if not (function.body or function.body_text):
        function = spec.user_defined_function  # Feast before 0.33 kept it here
    on_demand = OnDemandFeatureView(
        name=spec.name,
        features=_fields(spec.features),
        sources=tuple(sources),
        request_data=tuple(request_data),
        mode=spec.mode or "pandas",
        function=function.body,
        source=function.body_text,
        function_name=function.name,
        singleton=spec.singleton,
        aggregates=len(spec.aggregations) > 0,
        state=_state(meta.state),
        disabled=spec.disabled,
    )
    if not spec.write_to_online_store:
        return on_demand
    # It is computed when it is written, so it is read like any other feature view.
    return FeatureView(
        name=spec.name,
        entities=tuple(spec.entities),
        features=_fields(spec.features),
        entity_columns=_fields(spec.entity_columns),
        version=meta.current_version_number,
        state=_state(meta.state),
        disabled=spec.disabled,
        sources=tuple(sources),
        online=True,
        is_pushed=True,
        written=Written(computed=on_demand),
    )


def _projection(message: Any) -> Projection:
    return Projection(
        view=message.feature_view_name,
        features=_fields(message.feature_columns),
        alias=message.feature_view_name_alias,
        join_key_map=MappingProxyType(dict(message.join_key_map)),
        version=message.version_tag if message.HasField("version_tag") else None,
    )


def _versions(
    pieces: messages.RegistryPieces, project: str, source: str, throttle: Throttle
) -> dict[tuple[str, int], FeatureView | OnDemandFeatureView]:
    kinds: dict[str, Any] = {
        "feature_view": messages.FeatureView,
        "stream_feature_view": messages.StreamFeatureView,
        "on_demand_feature_view": messages.OnDemandFeatureView,
        "label_view": messages.LabelView,
    }
    versions: dict[tuple[str, int], FeatureView | OnDemandFeatureView] = {}
    for record in throttle(pieces.feature_view_version_history.records):
        kind = kinds.get(record.feature_view_type)
        if record.project_id != project or kind is None:
            continue
        try:
            item = kind.FromString(record.feature_view_proto)
        except DecodeError:
            raise RegistryError(
                f"{source}: version {record.version_number} of feature view {record.feature_view_name} does not parse"
            ) from None
        view: FeatureView | OnDemandFeatureView
        if record.feature_view_type == "on_demand_feature_view":
            view = _any_on_demand_view(item)
        else:
            view = _feature_view(item.spec, getattr(item, "meta", None))
        if isinstance(view, FeatureView):
            view = replace(view, version=record.version_number)
        versions.setdefault((record.feature_view_name, record.version_number), view)
    return versions


def _state(number: int) -> str:
    return messages.FeatureViewState.Name(number) if number in messages.FeatureViewState.values() else str(number)
