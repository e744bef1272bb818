import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeatureViewState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[FeatureViewState]
    CREATED: _ClassVar[FeatureViewState]
    GENERATED: _ClassVar[FeatureViewState]
    MATERIALIZING: _ClassVar[FeatureViewState]
    AVAILABLE_ONLINE: _ClassVar[FeatureViewState]
STATE_UNSPECIFIED: FeatureViewState
CREATED: FeatureViewState
GENERATED: FeatureViewState
MATERIALIZING: FeatureViewState
AVAILABLE_ONLINE: FeatureViewState

class Registry(_message.Message):
    __slots__ = ("entities", "registry_schema_version", "version_id", "last_updated", "feature_views", "feature_services", "on_demand_feature_views", "stream_feature_views", "projects", "feature_view_version_history", "label_views")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_UPDATED_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEWS_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SERVICES_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_FEATURE_VIEWS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FEATURE_VIEWS_FIELD_NUMBER: _ClassVar[int]
    PROJECTS_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEW_VERSION_HISTORY_FIELD_NUMBER: _ClassVar[int]
    LABEL_VIEWS_FIELD_NUMBER: _ClassVar[int]
    entities: _containers.RepeatedCompositeFieldContainer[Entity]
    registry_schema_version: str
    version_id: str
    last_updated: _timestamp_pb2.Timestamp
    feature_views: _containers.RepeatedCompositeFieldContainer[FeatureView]
    feature_services: _containers.RepeatedCompositeFieldContainer[FeatureService]
    on_demand_feature_views: _containers.RepeatedCompositeFieldContainer[OnDemandFeatureView]
    stream_feature_views: _containers.RepeatedCompositeFieldContainer[StreamFeatureView]
    projects: _containers.RepeatedCompositeFieldContainer[Project]
    feature_view_version_history: FeatureViewVersionHistory
    label_views: _containers.RepeatedCompositeFieldContainer[LabelView]
    def __init__(self, entities: _Optional[_Iterable[_Union[Entity, _Mapping]]] = ..., registry_schema_version: _Optional[str] = ..., version_id: _Optional[str] = ..., last_updated: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., feature_views: _Optional[_Iterable[_Union[FeatureView, _Mapping]]] = ..., feature_services: _Optional[_Iterable[_Union[FeatureService, _Mapping]]] = ..., on_demand_feature_views: _Optional[_Iterable[_Union[OnDemandFeatureView, _Mapping]]] = ..., stream_feature_views: _Optional[_Iterable[_Union[StreamFeatureView, _Mapping]]] = ..., projects: _Optional[_Iterable[_Union[Project, _Mapping]]] = ..., feature_view_version_history: _Optional[_Union[FeatureViewVersionHistory, _Mapping]] = ..., label_views: _Optional[_Iterable[_Union[LabelView, _Mapping]]] = ...) -> None: ...

class RegistryPieces(_message.Message):
    __slots__ = ("entities", "version_id", "feature_views", "feature_services", "on_demand_feature_views", "stream_feature_views", "projects", "feature_view_version_history", "label_views")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEWS_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SERVICES_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_FEATURE_VIEWS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FEATURE_VIEWS_FIELD_NUMBER: _ClassVar[int]
    PROJECTS_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEW_VERSION_HISTORY_FIELD_NUMBER: _ClassVar[int]
    LABEL_VIEWS_FIELD_NUMBER: _ClassVar[int]
    entities: _containers.RepeatedScalarFieldContainer[bytes]
    version_id: str
    feature_views: _containers.RepeatedScalarFieldContainer[bytes]
    feature_services: _containers.RepeatedScalarFieldContainer[bytes]
    on_demand_feature_views: _containers.RepeatedScalarFieldContainer[bytes]
    stream_feature_views: _containers.RepeatedScalarFieldContainer[bytes]
    projects: _containers.RepeatedScalarFieldContainer[bytes]
    feature_view_version_history: FeatureViewVersionHistory
    label_views: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entities: _Optional[_Iterable[bytes]] = ..., version_id: _Optional[str] = ..., feature_views: _Optional[_Iterable[bytes]] = ..., feature_services: _Optional[_Iterable[bytes]] = ..., on_demand_feature_views: _Optional[_Iterable[bytes]] = ..., stream_feature_views: _Optional[_Iterable[bytes]] = ..., projects: _Optional[_Iterable[bytes]] = ..., feature_view_version_history: _Optional[_Union[FeatureViewVersionHistory, _Mapping]] = ..., label_views: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Project(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: ProjectSpec
    def __init__(self, spec: _Optional[_Union[ProjectSpec, _Mapping]] = ...) -> None: ...

class ProjectSpec(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Entity(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: EntitySpec
    def __init__(self, spec: _Optional[_Union[EntitySpec, _Mapping]] = ...) -> None: ...

class EntitySpec(_message.Message):
    __slots__ = ("name", "value_type", "join_key", "project")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    JOIN_KEY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value_type: int
    join_key: str
    project: str
    def __init__(self, name: _Optional[str] = ..., value_type: _Optional[int] = ..., join_key: _Optional[str] = ..., project: _Optional[str] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "value_type", "vector_index", "vector_length")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_INDEX_FIELD_NUMBER: _ClassVar[int]
    VECTOR_LENGTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    value_type: int
    vector_index: bool
    vector_length: int
    def __init__(self, name: _Optional[str] = ..., value_type: _Optional[int] = ..., vector_index: _Optional[bool] = ..., vector_length: _Optional[int] = ...) -> None: ...

class FeatureView(_message.Message):
    __slots__ = ("spec", "meta")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    spec: FeatureViewSpec
    meta: FeatureViewMeta
    def __init__(self, spec: _Optional[_Union[FeatureViewSpec, _Mapping]] = ..., meta: _Optional[_Union[FeatureViewMeta, _Mapping]] = ...) -> None: ...

class FeatureViewSpec(_message.Message):
    __slots__ = ("name", "project", "entities", "features", "ttl", "batch_source", "online", "stream_source", "entity_columns", "disabled")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    BATCH_SOURCE_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    STREAM_SOURCE_FIELD_NUMBER: _ClassVar[int]
    ENTITY_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    name: str
    project: str
    entities: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    ttl: _duration_pb2.Duration
    batch_source: DataSource
    online: bool
    stream_source: DataSource
    entity_columns: _containers.RepeatedCompositeFieldContainer[Feature]
    disabled: bool
    def __init__(self, name: _Optional[str] = ..., project: _Optional[str] = ..., entities: _Optional[_Iterable[str]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., batch_source: _Optional[_Union[DataSource, _Mapping]] = ..., online: _Optional[bool] = ..., stream_source: _Optional[_Union[DataSource, _Mapping]] = ..., entity_columns: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., disabled: _Optional[bool] = ...) -> None: ...

class MaterializationInterval(_message.Message):
    __slots__ = ("start_time", "end_time")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FeatureViewMeta(_message.Message):
    __slots__ = ("materialization_intervals", "current_version_number", "state")
    MATERIALIZATION_INTERVALS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_VERSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    materialization_intervals: _containers.RepeatedCompositeFieldContainer[MaterializationInterval]
    current_version_number: int
    state: FeatureViewState
    def __init__(self, materialization_intervals: _Optional[_Iterable[_Union[MaterializationInterval, _Mapping]]] = ..., current_version_number: _Optional[int] = ..., state: _Optional[_Union[FeatureViewState, str]] = ...) -> None: ...

class StreamFeatureView(_message.Message):
    __slots__ = ("spec", "meta")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    spec: StreamFeatureViewSpec
    meta: FeatureViewMeta
    def __init__(self, spec: _Optional[_Union[StreamFeatureViewSpec, _Mapping]] = ..., meta: _Optional[_Union[FeatureViewMeta, _Mapping]] = ...) -> None: ...

class StreamFeatureViewSpec(_message.Message):
    __slots__ = ("name", "project", "entities", "features", "entity_columns", "ttl", "batch_source", "stream_source", "online", "disabled")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ENTITY_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    BATCH_SOURCE_FIELD_NUMBER: _ClassVar[int]
    STREAM_SOURCE_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    name: str
    project: str
    entities: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    entity_columns: _containers.RepeatedCompositeFieldContainer[Feature]
    ttl: _duration_pb2.Duration
    batch_source: DataSource
    stream_source: DataSource
    online: bool
    disabled: bool
    def __init__(self, name: _Optional[str] = ..., project: _Optional[str] = ..., entities: _Optional[_Iterable[str]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., entity_columns: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., batch_source: _Optional[_Union[DataSource, _Mapping]] = ..., stream_source: _Optional[_Union[DataSource, _Mapping]] = ..., online: _Optional[bool] = ..., disabled: _Optional[bool] = ...) -> None: ...

class LabelView(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: LabelViewSpec
    def __init__(self, spec: _Optional[_Union[LabelViewSpec, _Mapping]] = ...) -> None: ...

class LabelViewSpec(_message.Message):
    __slots__ = ("name", "project", "entities", "features", "ttl", "source", "entity_columns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ENTITY_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    project: str
    entities: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    ttl: _duration_pb2.Duration
    source: DataSource
    entity_columns: _containers.RepeatedCompositeFieldContainer[Feature]
    def __init__(self, name: _Optional[str] = ..., project: _Optional[str] = ..., entities: _Optional[_Iterable[str]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., source: _Optional[_Union[DataSource, _Mapping]] = ..., entity_columns: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ...) -> None: ...

class OnDemandFeatureView(_message.Message):
    __slots__ = ("spec", "meta")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    spec: OnDemandFeatureViewSpec
    meta: OnDemandFeatureViewMeta
    def __init__(self, spec: _Optional[_Union[OnDemandFeatureViewSpec, _Mapping]] = ..., meta: _Optional[_Union[OnDemandFeatureViewMeta, _Mapping]] = ...) -> None: ...

class OnDemandFeatureViewSpec(_message.Message):
    __slots__ = ("name", "project", "features", "sources", "user_defined_function", "feature_transformation", "mode", "write_to_online_store", "entities", "entity_columns", "singleton", "aggregations", "disabled")
    class SourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OnDemandSource
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OnDemandSource, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    USER_DEFINED_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    FEATURE_TRANSFORMATION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WRITE_TO_ONLINE_STORE_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    ENTITY_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SINGLETON_FIELD_NUMBER: _ClassVar[int]
    AGGREGATIONS_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    name: str
    project: str
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    sources: _containers.MessageMap[str, OnDemandSource]
    user_defined_function: UserDefinedFunction
    feature_transformation: FeatureTransformation
    mode: str
    write_to_online_store: bool
    entities: _containers.RepeatedScalarFieldContainer[str]
    entity_columns: _containers.RepeatedCompositeFieldContainer[Feature]
    singleton: bool
    aggregations: _containers.RepeatedCompositeFieldContainer[Aggregation]
    disabled: bool
    def __init__(self, name: _Optional[str] = ..., project: _Optional[str] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., sources: _Optional[_Mapping[str, OnDemandSource]] = ..., user_defined_function: _Optional[_Union[UserDefinedFunction, _Mapping]] = ..., feature_transformation: _Optional[_Union[FeatureTransformation, _Mapping]] = ..., mode: _Optional[str] = ..., write_to_online_store: _Optional[bool] = ..., entities: _Optional[_Iterable[str]] = ..., entity_columns: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., singleton: _Optional[bool] = ..., aggregations: _Optional[_Iterable[_Union[Aggregation, _Mapping]]] = ..., disabled: _Optional[bool] = ...) -> None: ...

class OnDemandFeatureViewMeta(_message.Message):
    __slots__ = ("current_version_number", "state")
    CURRENT_VERSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    current_version_number: int
    state: FeatureViewState
    def __init__(self, current_version_number: _Optional[int] = ..., state: _Optional[_Union[FeatureViewState, str]] = ...) -> None: ...

class OnDemandSource(_message.Message):
    __slots__ = ("feature_view", "request_data_source", "feature_view_projection")
    FEATURE_VIEW_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DATA_SOURCE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEW_PROJECTION_FIELD_NUMBER: _ClassVar[int]
    feature_view: FeatureView
    request_data_source: DataSource
    feature_view_projection: FeatureViewProjection
    def __init__(self, feature_view: _Optional[_Union[FeatureView, _Mapping]] = ..., request_data_source: _Optional[_Union[DataSource, _Mapping]] = ..., feature_view_projection: _Optional[_Union[FeatureViewProjection, _Mapping]] = ...) -> None: ...

class UserDefinedFunction(_message.Message):
    __slots__ = ("name", "body", "body_text")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    BODY_TEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    body: bytes
    body_text: str
    def __init__(self, name: _Optional[str] = ..., body: _Optional[bytes] = ..., body_text: _Optional[str] = ...) -> None: ...

class FeatureTransformation(_message.Message):
    __slots__ = ("user_defined_function", "substrait_transformation")
    USER_DEFINED_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SUBSTRAIT_TRANSFORMATION_FIELD_NUMBER: _ClassVar[int]
    user_defined_function: UserDefinedFunction
    substrait_transformation: SubstraitTransformation
    def __init__(self, user_defined_function: _Optional[_Union[UserDefinedFunction, _Mapping]] = ..., substrait_transformation: _Optional[_Union[SubstraitTransformation, _Mapping]] = ...) -> None: ...

class SubstraitTransformation(_message.Message):
    __slots__ = ("substrait_plan",)
    SUBSTRAIT_PLAN_FIELD_NUMBER: _ClassVar[int]
    substrait_plan: bytes
    def __init__(self, substrait_plan: _Optional[bytes] = ...) -> None: ...

class Aggregation(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DataSource(_message.Message):
    __slots__ = ("type", "field_mapping", "timestamp_field", "created_timestamp_column", "request_data_options", "name", "batch_source")
    class FieldMappingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FIELD_MAPPING_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIMESTAMP_COLUMN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DATA_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BATCH_SOURCE_FIELD_NUMBER: _ClassVar[int]
    type: int
    field_mapping: _containers.ScalarMap[str, str]
    timestamp_field: str
    created_timestamp_column: str
    request_data_options: RequestDataOptions
    name: str
    batch_source: DataSource
    def __init__(self, type: _Optional[int] = ..., field_mapping: _Optional[_Mapping[str, str]] = ..., timestamp_field: _Optional[str] = ..., created_timestamp_column: _Optional[str] = ..., request_data_options: _Optional[_Union[RequestDataOptions, _Mapping]] = ..., name: _Optional[str] = ..., batch_source: _Optional[_Union[DataSource, _Mapping]] = ...) -> None: ...

class RequestDataOptions(_message.Message):
    __slots__ = ("deprecated_schema", "schema")
    class DeprecatedSchemaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DEPRECATED_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    deprecated_schema: _containers.ScalarMap[str, int]
    schema: _containers.RepeatedCompositeFieldContainer[Feature]
    def __init__(self, deprecated_schema: _Optional[_Mapping[str, int]] = ..., schema: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ...) -> None: ...

class FeatureService(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: FeatureServiceSpec
    def __init__(self, spec: _Optional[_Union[FeatureServiceSpec, _Mapping]] = ...) -> None: ...

class FeatureServiceSpec(_message.Message):
    __slots__ = ("name", "project", "features", "precompute_online")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    PRECOMPUTE_ONLINE_FIELD_NUMBER: _ClassVar[int]
    name: str
    project: str
    features: _containers.RepeatedCompositeFieldContainer[FeatureViewProjection]
    precompute_online: bool
    def __init__(self, name: _Optional[str] = ..., project: _Optional[str] = ..., features: _Optional[_Iterable[_Union[FeatureViewProjection, _Mapping]]] = ..., precompute_online: _Optional[bool] = ...) -> None: ...

class FeatureViewProjection(_message.Message):
    __slots__ = ("feature_view_name", "feature_columns", "feature_view_name_alias", "join_key_map", "version_tag")
    class JoinKeyMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FEATURE_VIEW_NAME_FIELD_NUMBER: _ClassVar[int]
    FEATURE_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEW_NAME_ALIAS_FIELD_NUMBER: _ClassVar[int]
    JOIN_KEY_MAP_FIELD_NUMBER: _ClassVar[int]
    VERSION_TAG_FIELD_NUMBER: _ClassVar[int]
    feature_view_name: str
    feature_columns: _containers.RepeatedCompositeFieldContainer[Feature]
    feature_view_name_alias: str
    join_key_map: _containers.ScalarMap[str, str]
    version_tag: int
    def __init__(self, feature_view_name: _Optional[str] = ..., feature_columns: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., feature_view_name_alias: _Optional[str] = ..., join_key_map: _Optional[_Mapping[str, str]] = ..., version_tag: _Optional[int] = ...) -> None: ...

class FeatureViewVersionHistory(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[FeatureViewVersionRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[FeatureViewVersionRecord, _Mapping]]] = ...) -> None: ...

class FeatureViewVersionRecord(_message.Message):
    __slots__ = ("feature_view_name", "project_id", "version_number", "feature_view_type", "feature_view_proto")
    FEATURE_VIEW_NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEW_TYPE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_VIEW_PROTO_FIELD_NUMBER: _ClassVar[int]
    feature_view_name: str
    project_id: str
    version_number: int
    feature_view_type: str
    feature_view_proto: bytes
    def __init__(self, feature_view_name: _Optional[str] = ..., project_id: _Optional[str] = ..., version_number: _Optional[int] = ..., feature_view_type: _Optional[str] = ..., feature_view_proto: _Optional[bytes] = ...) -> None: ...
