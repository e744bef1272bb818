"""The body of /openapi.json: what a server answers, with the names and types of its registry (OpenAPI 3.1).

It is made once, when a catalog is compiled, and served as it is. Each feature service has a schema of its own: its
name, and the join keys and request data that it needs, with their types. `x-feature-views` lists what may be asked for
by name; OpenAPI has no word for that. The page for people makes its forms of both.

A schema says what a client should send. Feast, and so this server, takes more: the text "1001" for an integer, or
"yes" for true. What a schema cannot say is left to a 400: that columns have one length, or which of the join keys the
features of a list need.

Pure: records in, bytes out. Its size is bounded: of a large registry, MAX_FEATURES features are described.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from yummy_fast.errors import RequestError
from yummy_fast.feast_format.registry import (
    DUMMY_JOIN_KEY,
    FeatureView,
    OnDemandFeatureView,
    Registry,
    Throttle,
    unthrottled,
)
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.collection_values import INT64_LIMITS
from yummy_fast.features.entities import INT32_LIMITS
from yummy_fast.features.plan import Plan
from yummy_fast.features.write_query import TO
from yummy_fast.features.written import WrittenView

MAX_FEATURES = 10_000
"""Features that are described of services, as many of views, and as many of what may be written: 3 MB in all."""

_VERSIONED = re.compile(r"(.+)_v(\d+)")
"""What a pinned version of a view is called in the store; a reference has VIEW@vN."""
_FLOAT32_MAX = 3.4028234663852886e38
_SCALARS: Mapping[ValueType, dict[str, Any]] = {
    ValueType.INT32: {"type": "integer", "format": "int32", "minimum": INT32_LIMITS[0], "maximum": INT32_LIMITS[1]},
    ValueType.INT64: {"type": "integer", "format": "int64", "minimum": INT64_LIMITS[0], "maximum": INT64_LIMITS[1]},
    ValueType.UNIX_TIMESTAMP: {
        "type": "integer",
        "description": "Seconds since 1970.",
        "minimum": INT64_LIMITS[0],
        "maximum": INT64_LIMITS[1],
    },
    ValueType.STRING: {"type": "string"},
    ValueType.FLOAT: {"type": "number", "format": "float", "minimum": -_FLOAT32_MAX, "maximum": _FLOAT32_MAX},
    ValueType.DOUBLE: {"type": "number", "format": "double"},
    ValueType.BOOL: {"type": "boolean"},
    ValueType.UUID: {"type": "string", "format": "uuid"},
    ValueType.TIME_UUID: {"type": "string", "format": "uuid"},
    ValueType.DECIMAL: {"type": "string", "description": "A decimal number, as text."},
    ValueType.BYTES: {"type": "string"},
    ValueType.MAP: {"type": "object"},
    ValueType.STRUCT: {"type": "object"},
}
_STATUSES = ("PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE", "INVALID")

_ERRORS: Mapping[int, str] = {
    400: "The request cannot be answered as it is; the text says what was expected, and where.",
    401: "No bearer token, or an unknown one.",
    403: "Nothing may be written here, or not with this token.",
    404: "No such feature service, feature view or column of request data.",
    408: "The client was too slow.",
    413: "The request, or its answer, is too large.",
    422: "The body is not a request of this kind.",
    500: "The function of an on-demand feature view failed.",
    501: "Only Feast's own server answers this.",
    502: "The online store answered with an error.",
    503: "Too many requests at once, or no connection to the online store.",
    504: "The online store, or the request, took too long.",
}


class Served(NamedTuple):
    """What a server answers beside the features of its registry."""

    version: str
    needs_token: bool = False
    has_probes: bool = True
    """Whether /livez, /readyz and /metrics are served here, and not on an admin listener."""
    forwarded: tuple[tuple[str, str], ...] = ()
    """Path and method of what Feast's own server answers."""


class _Space:
    """How many features may still be described."""

    def __init__(self) -> None:
        self._left = MAX_FEATURES
        self.exhausted = False

    def take(self, features: int) -> bool:
        """Whether this many more fit: then there is space for so many fewer."""
        if features > self._left:
            self.exhausted = True
            return False
        self._left -= features
        return True


class _Parts:
    """Lists that are text already, and what stands for them in the document until that is text as well."""

    def __init__(self) -> None:
        self._lists: dict[str, list[str]] = {}

    def stand_in(self, items: list[str]) -> str:
        name = f"\0{len(self._lists)}"
        self._lists[_dump(name)] = items
        return name

    def filled(self, text: str) -> str:
        for name, items in self._lists.items():
            before, _, after = text.partition(name)
            text = f"{before}[{','.join(items)}]{after}"
        return text


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def openapi(catalog: Catalog[Any], served: Served, throttle: Throttle = unthrottled) -> bytes:
    """The document of a catalog.

    Its long parts are written as text one by one: json.dumps holds the interpreter's lock, and of the whole document
    that would take 10 ms, in which a server that reloads its registry answers no request.
    """
    registry, parts = catalog.registry, _Parts()
    space = _Space()
    services = _services(catalog, space, throttle)
    of_views, of_writes = _Space(), _Space()
    views = _views(registry, of_views, throttle)
    paths: dict[str, Any] = {}
    for path, method in served.forwarded:
        paths.setdefault(path, {})[method] = _forwarded()
    paths["/get-online-features"] = {"post": _get_online_features(parts, services, views)}
    for path, operation in _writes(catalog, parts, of_writes, throttle, forwards=bool(served.forwarded)):
        paths[path] = {"post": operation}
    paths["/health"] = {
        "get": _plain("health", "200 as long as the server runs.", 200),
        "post": _plain("postHealth", "As GET, for clients that ask so.", 200),
    }
    if served.has_probes:
        paths["/livez"] = {"get": _plain("livez", "Whether the server can go on.", 200, 503, has_json=True)}
        paths["/readyz"] = {"get": _plain("readyz", "Whether to send requests here.", 200, 503, has_json=True)}
        paths["/metrics"] = {"get": _metrics()}
    paths["/openapi.json"] = {"get": _plain("openapi", "This document.", 200, has_json=True)}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"Features of {registry.project}",
            "version": registry.version or "0",
            "description": f"Served by yummy-fast {served.version}, with the answers of Feast's feature server.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _schemas()},
        "x-feature-views": views,
    }
    if any(each.exhausted for each in (space, of_views, of_writes)):
        document["x-truncated"] = f"At most {MAX_FEATURES} features are described here; all are served."
    if served.needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in paths.items():
            if path not in ("/health", "/livez", "/readyz"):
                for operation in operations.values():
                    operation["security"] = [{"token": []}]
    return parts.filled(_dump(document)).encode("utf-8", "backslashreplace")


# ------------------------------------------------------------------------------------------------ requests for features


def _services(catalog: Catalog[Any], space: _Space, throttle: Throttle) -> list[str]:
    """A schema for each feature service that can be served."""
    schemas = []
    for name, found in throttle(catalog.services()):
        if isinstance(found, RequestError) or not space.take(found.plan.feature_count):
            continue
        columns = _columns_of(found.plan)
        body: dict[str, Any] = {
            "title": name,
            "type": "object",
            "required": ["feature_service", "entities"],
            "properties": {
                "feature_service": {"const": name},
                "entities": _entities(columns),
                "full_feature_names": {"$ref": "#/components/schemas/FullFeatureNames"},
            },
            "x-features": _features(catalog.registry, found.plan),
            "examples": [
                {"feature_service": name, "entities": {key: [_example(kind)] for key, kind in columns.items()}}
            ],
        }
        if catalog.needs_full_names(name):  # else the server answers 400, since two features would have one name
            body["required"].append("full_feature_names")
            body["properties"]["full_feature_names"] = {"const": True}
            body["examples"][0]["full_feature_names"] = True
        schemas.append(_dump(body))
    return schemas


def _columns_of(plan: Plan) -> dict[str, ValueType]:
    """What a request has to give: join keys, then request data, with their types."""
    needed = {name: kind for lookup in plan.lookups for _, name in lookup.join_keys for kind in (plan.types.get(name),)}
    columns = {name: kind or ValueType.UNKNOWN for name, kind in needed.items() if name != DUMMY_JOIN_KEY}
    for computed in plan.computed:
        for field in computed.view.request_data:
            columns.setdefault(field.name, field.type)
    return columns


def _features(registry: Registry, plan: Plan) -> list[dict[str, Any]]:
    """The columns of the answer, and where the values come from: a stored feature, and the columns that are its key."""
    stored = []
    for name, number, position in plan.columns:
        lookup = plan.lookups[number]
        view, feature, kind = lookup.features[position]
        if view not in registry.views and (version := _VERSIONED.fullmatch(view)) and version[1] in registry.views:
            view = f"{version[1]}@v{version[2]}"
        keys = {key: column for key, column in lookup.join_keys if key != DUMMY_JOIN_KEY}
        stored.append({"name": name, "type": kind.name, "from": f"{view}:{feature}", "keys": keys})
    computed = [
        {"name": name, "computed": f"{view.view.name}:{feature}"}
        for view in plan.computed
        for feature, name in view.outputs
    ]
    return [*stored, *computed]


def _entities(columns: Mapping[str, ValueType]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(columns),
        "properties": {name: _column(kind) for name, kind in columns.items()},
        "additionalProperties": {"type": "array"},  # what is no join key of the request is ignored, or answered
    }


def _column(kind: ValueType) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{kind.name}"}}


def _views(registry: Registry, space: _Space, throttle: Throttle) -> dict[str, Any]:
    """What may be asked for by name: features by view, and what a request for them has to give."""
    found: dict[str, Any] = {}
    for name, view in throttle(registry.views.items()):
        if view.disabled or not space.take(len(view.features)):
            continue
        request_data = view.request_data if isinstance(view, OnDemandFeatureView) else ()
        found[name] = {
            "join_keys": {key: kind.name for key, kind in _join_keys(registry, view).items()},
            "features": {field.name: field.type.name for field in view.features},
            **({"request_data": {field.name: field.type.name for field in request_data}} if request_data else {}),
            **({"ttl_s": view.ttl_s} if isinstance(view, FeatureView) and view.ttl_s else {}),
            **({"computed": True} if isinstance(view, OnDemandFeatureView) else {}),
        }
    return found


def _join_keys(registry: Registry, view: FeatureView | OnDemandFeatureView) -> dict[str, ValueType]:
    """The join keys of a view, or of all that an on-demand view is computed from, with their types."""
    if isinstance(view, OnDemandFeatureView):
        keys: dict[str, ValueType] = {}
        for source in view.sources:
            below = registry.views.get(source.view)
            if isinstance(below, FeatureView):
                keys.update(
                    (source.join_key_map.get(key, key), kind) for key, kind in _join_keys(registry, below).items()
                )
        return keys
    types = {column.name: column.type for column in view.entity_columns}
    entities = [registry.entities[name] for name in view.entities if name in registry.entities]
    return {
        entity.join_key: types.get(entity.join_key) or entity.type
        for entity in entities
        if entity.join_key != DUMMY_JOIN_KEY
    }


def _get_online_features(parts: _Parts, services: list[str], views: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, ValueType] = {}
    for view in views.values():
        for name, kind in {**view["join_keys"], **view.get("request_data", {})}.items():
            columns.setdefault(name, ValueType[kind])
    refs = [f"{name}:{feature}" for name, view in views.items() for feature in view["features"]]
    items: dict[str, Any] = {"enum": refs} if refs else {"type": "string"}
    by_name = {
        "title": "a list of features",
        "type": "object",
        "required": ["features", "entities"],
        "properties": {
            "features": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": items,
                "description": "Each as VIEW:FEATURE; x-feature-views has them.",
            },
            "entities": {**_entities(columns), "required": []},
            "full_feature_names": {"$ref": "#/components/schemas/FullFeatureNames"},
            "include_feature_view_version_metadata": {"type": "boolean", "default": False},
        },
    }
    return {
        "operationId": "getOnlineFeatures",
        "summary": "The features of some entities.",
        "parameters": [
            {
                "name": "X-Feast-Compat",
                "in": "header",
                "description": "Whose statuses the answer has, whatever the server's default is.",
                "schema": {"enum": ["feast", "strict"]},
            }
        ],
        "requestBody": _json_body({"anyOf": parts.stand_in([*services, _dump(by_name)])}),
        "responses": {
            "200": {
                "description": "A column for each name in metadata.feature_names, with a value for each entity row.",
                "headers": {"X-Feast-Compat": {"schema": {"enum": ["feast", "strict"]}}},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OnlineFeatures"}}},
            },
            **_errors(400, 401, 404, 408, 413, 422, 500, 502, 503, 504),
        },
    }


# --------------------------------------------------------------------------------------------------------------- writes


def _writes(
    catalog: Catalog[Any], parts: _Parts, space: _Space, throttle: Throttle, *, forwards: bool
) -> Iterable[tuple[str, dict[str, Any]]]:
    """/push and /write-to-online-store, if the server writes."""
    if catalog.writes is None:
        return
    more = {"allow_registry_cache": {"type": "boolean", "default": True}}
    to = {"to": {"enum": list(TO if forwards else TO[:1]), "default": TO[0]}}
    transform = {"transform_on_write": {"type": "boolean", "default": True}}
    errors = _errors(400, 401, 403, 404, 408, 413, 422, 500, 501, 502, 503, 504)
    for path, operation, summary, key, found, options in (
        ("/push", "push", "Write rows by a push source.", "push_source_name", catalog.writes.sources(), to),
        (
            *("/write-to-online-store", "writeToOnlineStore", "Write rows of one feature view."),
            *("feature_view_name", catalog.writes.views(), transform),
        ),
    ):
        bodies = [
            _dump(_write(key, name, views, {**more, **options}))
            for name, views in throttle(found)
            if space.take(sum(len(view.features) for view in views))
        ]
        if bodies:
            # As Feast: of a push, no body and no Content-Type; else, null.
            body: dict[str, Any] = {} if path == "/push" else {"content": {"application/json": {}}}
            answers = {"200": {"description": "The rows are stored.", **body}, **errors}
            yield (
                path,
                {
                    "operationId": operation,
                    "summary": summary,
                    "requestBody": _json_body({"anyOf": parts.stand_in(bodies)}),
                    "responses": answers,
                },
            )


def _write(key: str, name: str, views: Iterable[WrittenView], more: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    required: list[str] = []
    for view in views:
        for column in (*view.keys, *view.inputs):
            columns.setdefault(column.name, _column(column.type))
            if len(column.given_as) == 1 and column.name not in required:
                required.append(column.name)
        for time in view.time[:1]:
            columns.setdefault(time, {"type": "array", "items": {"type": "string", "format": "date-time"}})
    return {
        "title": name,
        "type": "object",
        "required": [key, "df"],
        "properties": {
            key: {"const": name},
            "df": {"type": "object", "required": required, "properties": columns},
            **more,
        },
    }


# --------------------------------------------------------------------------------------------------------- small pieces


def _json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {
            "description": _ERRORS[status],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status in statuses
    }


def _plain(name: str, summary: str, *statuses: int, has_json: bool = False) -> dict[str, Any]:
    """An operation without a body."""
    content: dict[str, Any] = {"content": {"application/json": {}}} if has_json else {}
    described = {200: "Yes." if len(statuses) > 1 else summary, 503: "No; the body says why."}
    answers = {str(status): {"description": described[status], **content} for status in statuses}
    return {"operationId": name, "summary": summary, "responses": {**answers, **_errors(401, 408)}}


def _metrics() -> dict[str, Any]:
    return {
        "operationId": "metrics",
        "summary": "Numbers for Prometheus.",
        "responses": {
            "200": {"description": "As text, or in the OpenMetrics format.", "content": {"text/plain": {}}},
            **_errors(401, 408),
        },
    }


def _forwarded() -> dict[str, Any]:
    return {
        "summary": "Answered by Feast's own server, to which the request is forwarded.",
        "responses": {"default": {"description": "Feast's answer."}},
    }


def _example(kind: ValueType) -> Any:
    schema = _schema(kind)
    examples = {"integer": 1001, "number": 0.5, "boolean": True, "array": [], "object": {}}
    if schema.get("format") == "uuid":
        return "00000000-0000-0000-0000-000000000000"
    return examples.get(schema.get("type", ""), "1")


def _schema(kind: ValueType) -> dict[str, Any]:
    if kind.name.endswith(("_LIST", "_SET")):
        inner = ValueType.__members__.get(kind.name.rpartition("_")[0], ValueType.UNKNOWN)
        return {"type": "array", "items": _SCALARS.get(inner, {})}
    return _SCALARS.get(kind, {})


def _schemas() -> dict[str, Any]:
    column = {
        "type": "object",
        "required": ["values", "statuses", "event_timestamps"],
        "properties": {
            "values": {"type": "array"},
            "statuses": {"type": "array", "items": {"enum": list(_STATUSES)}},
            "event_timestamps": {"type": "array", "items": {"type": "string", "format": "date-time"}},
        },
    }
    return {
        **{kind.name: _schema(kind) for kind in ValueType},
        "FullFeatureNames": {
            "type": "boolean",
            "default": False,
            "description": "Call features VIEW__FEATURE in the answer.",
        },
        "OnlineFeatures": {
            "type": "object",
            "required": ["results", "metadata"],
            "properties": {
                "results": {"type": "array", "items": column},
                "metadata": {
                    "type": "object",
                    "required": ["feature_names"],
                    "properties": {"feature_names": {"type": "array", "items": {"type": "string"}}},
                },
            },
        },
        "Error": {
            "description": "A text; or an object whose detail is a text, or a list of what is wrong with the body.",
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {"detail": {"type": ["string", "array"]}},
                },
            ],
        },
    }
