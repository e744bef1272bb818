"""Feast's own keys in feature_store.yaml: which project, which registry, which online store.

They are read as Feast reads them (feast/repo_config.py, Feast 0.67.0): types are strict, unknown keys at the top and in
`registry` are ignored, relative paths start at the repository's folder. A message names the file and the key, and
quotes no value that may hold a password.

What is accepted but does not do what its author wants becomes a `Notice`: a key that Feast ignores because it is
misspelt, such as `online_config`, or one of `feature_server` that asks for what this server does not do.

The keys of `online_store` belong to its store, which checks them; `find_path`, handed in, knows where files are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from yummy_fast.errors import ConfigError


class Notice(NamedTuple):
    """Something in the configuration that its author should know. It prevents nothing."""

    text: str
    """One line that names file and key."""
    is_problem: bool = False
    """Whether answers are probably not what the author wants: then `check` ends with exit code 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What feature_store.yaml says about a Feast repository."""

    source: str
    """Where the file came from, for messages. No secrets in it."""
    folders: tuple[str, str]
    """Where relative paths start: the repository's folder, then the file's own. See `sources.file.find_path`."""
    project: str
    registry: Mapping[str, Any]
    """Feast's `registry:` block; a bare path has become {"path": ...}."""
    registry_path: str
    """An absolute path, or a URL as it was given, secrets and all: `download.without_secrets` is for messages."""
    online_store: Mapping[str, Any]
    """Feast's `online_store:` block; `type` is always there."""
    key_version: int
    """entity_key_serialization_version."""
    versioning: bool
    """registry.enable_online_feature_view_versioning."""
    serve_materializing: bool
    """registry.serve_features_while_materializing."""
    notices: tuple[Notice, ...] = ()


def parse_repository(
    data: Mapping[str, Any], source: str, folders: tuple[str, str], find_path: Callable[[str], str]
) -> Repository:
    """The repository that the file's keys describe. Raises ConfigError.

    `find_path` makes an absolute path of a relative one.
    """
    registry = _registry(data, source)
    _check_auth(data, source)
    return Repository(
        source=source,
        folders=folders,
        project=_project(data, source),
        registry=registry,
        registry_path=_registry_path(registry, source, find_path),
        online_store=_online_store(data, source),
        key_version=_key_version(data, source),
        versioning=registry.get("enable_online_feature_view_versioning", False),
        serve_materializing=registry.get("serve_features_while_materializing", False),
        notices=tuple(_notices(data, source)),
    )


def used_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of Feast's keys that is used here. A variable that is not set is an error in these values only."""
    used = {key: data[key] for key in ("project", "online_store", "entity_key_serialization_version") if key in data}
    registry = data.get("registry")
    if isinstance(registry, dict):
        registry = {key: value for key, value in registry.items() if key in _REGISTRY_KEYS}
    return {**used, "registry": registry}


def asks_for_metrics(data: Mapping[str, Any]) -> bool:
    """Feast's feature_server.metrics.enabled. All else in that block is about Feast's server, and Feast's to check."""
    server = data.get("feature_server")
    metrics = server.get("metrics") if isinstance(server, dict) else None
    return isinstance(metrics, dict) and metrics.get("enabled") is True


def _notices(data: Mapping[str, Any], source: str) -> Iterator[Notice]:
    for key in data:
        meant = _meant(key)
        if meant and meant not in data:
            yield Notice(f"{source}: {key}: Feast knows no such key and ignores it; did you mean {meant}?", True)
        elif meant:
            yield Notice(f"{source}: {key}: Feast knows no such key and ignores it; {meant} is used")
    if data.get("entity_key_serialization_version", 3) in (0, 1, 2):
        yield Notice(
            f"{source}: entity_key_serialization_version: versions below 3 are deprecated in Feast; set it to 3 and "
            "materialize again"
        )
    server = data.get("feature_server")
    metrics = server.get("metrics") if isinstance(server, dict) else None
    for where, block in (("feature_server", server), ("feature_server.metrics", metrics)):
        for key, value in block.items() if isinstance(block, dict) else ():
            why = next((why for name, why in _IDLE_KEYS.items() if str(key).startswith(name)), None)
            if why and _asks_for_something(value):
                yield Notice(f"{source}: {where}.{key} has no effect: {why}")


_FEAST_KEYS = (
    "auth",
    "batch_engine",
    "coerce_tz_aware",
    "data_quality_monitoring",
    "embedding_model",
    "entity_key_serialization_version",
    "feature_server",
    "flags",
    "materialization",
    "mlflow",
    "offline_store",
    "online_store",
    "openlineage",
    "project",
    "project_description",
    "provider",
    "registry",
    "repo_path",
)
"""The keys at the top of the file: the aliases of Feast's RepoConfig. It takes others too, and ignores them."""

_ATTRIBUTES: Mapping[str, str] = {
    "online_config": "online_store",
    "offline_config": "offline_store",
    "registry_config": "registry",
}
"""What Feast's code calls a key: a likely mistake that looks little like the key."""

_SIMILARITY = 0.8
"""difflib's ratio: registery and online-store are near misses, `online` is none."""


def _meant(key: object) -> str | None:
    """The key at the top of the file that `key` is probably a misspelling of."""
    if not isinstance(key, str) or key in (*_FEAST_KEYS, "yummy_fast", "batch_engine_config"):
        return None
    words = key.lower().replace("-", "_")
    near = get_close_matches(words, (*_FEAST_KEYS, "yummy_fast"), 1, _SIMILARITY)
    return _ATTRIBUTES.get(words) or (near[0] if near else None)


_IDLE_KEYS: Mapping[str, str] = {
    "audit_logging": "this server writes no audit log",
    "feature_logging": "this server logs no features that it has served",
    "mcp": "this server does not speak MCP",
    "offline_push_batching_": "this server writes to no offline store",
}
"""How keys of `feature_server` begin that do nothing here, and why."""


def _asks_for_something(value: object) -> bool:
    """Whether a key of `feature_server` has a value that turns something on in Feast."""
    return value.get("enabled") is True if isinstance(value, dict) else value not in (None, False)


_PROJECT = re.compile(r"(?!_)\w+")


def _project(data: Mapping[str, Any], source: str) -> str:
    project = data.get("project")
    if not isinstance(project, str) or not _PROJECT.fullmatch(project):
        raise ConfigError(
            f"{source}: project: expected a name of letters, digits and underscores that does not begin with an "
            f"underscore, got {project!r}{_hint(data, 'project')}"
        )
    return project


def _hint(data: Mapping[str, Any], wanted: str) -> str:
    """The end of a message about a key: the one in the file that is probably meant to be it."""
    found = next((key for key in data if wanted not in data and _meant(key) == wanted), None)
    return f"; there is {found!r}, which is probably meant to be it" if found else ""


_REGISTRY_KEYS: Mapping[str, tuple[type, str]] = {
    "registry_type": (str, "a name"),
    "registry_store_type": (str, "a name"),
    "path": (str, "a path or URL"),
    "read_path": (str, "a URL"),
    "cache_ttl_seconds": (int, "a whole number of seconds"),
    "cache_mode": (str, "sync or thread"),
    "s3_additional_kwargs": (dict, "keys and values"),
    "sqlalchemy_config_kwargs": (dict, "keys and values"),
    "enable_online_feature_view_versioning": (bool, "true or false"),
    "serve_features_while_materializing": (bool, "true or false"),
}
"""What is read of Feast's RegistryConfig and SqlRegistryConfig, and of which type it has to be."""
_NULLABLE = ("registry_store_type", "read_path", "s3_additional_kwargs")

_SCHEMES = ("s3", "gs", "http", "https")
_REGISTRY_STORES = ("FileRegistryStore", "S3RegistryStore", "GCSRegistryStore")
"""registry_store_type. It is only checked that this server can read such a registry: the path's scheme decides how."""


def _registry(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    registry = data.get("registry")
    if isinstance(registry, str):
        return {"path": registry}
    if not isinstance(registry, dict):
        got = "a list" if isinstance(registry, list) else repr(registry)
        hint = _hint(data, "registry")
        raise ConfigError(f"{source}: registry: expected a path, or keys with a `path` among them, got {got}{hint}")
    for key, (kind, expected) in _REGISTRY_KEYS.items():
        value = registry.get(key)
        if key in registry and type(value) is not kind and not (value is None and key in _NULLABLE):
            got = type(value).__name__ if kind is dict else repr(value)  # there may be a password in it
            raise ConfigError(f"{source}: registry.{key}: expected {expected}, got {got}")
    return registry


def _registry_path(registry: Mapping[str, Any], source: str, find_path: Callable[[str], str]) -> str:
    kind = registry.get("registry_type", "file")
    if kind not in ("file", "sql"):  # first: a registry of another type has other keys
        raise ConfigError(
            f"{source}: registry.registry_type: this server reads registries of type file and sql, not {kind!r}"
        )
    path: str = registry.get("path", "")
    if not path:
        raise ConfigError(f"{source}: registry.path: expected a path or URL, got nothing")
    if kind == "sql":
        key, path = ("read_path", registry["read_path"]) if registry.get("read_path") else ("path", path)
        if "://" not in path:
            raise ConfigError(f"{source}: registry.{key}: expected a database URL, such as postgresql://host/database")
        # As Feast does: SQLAlchemy by itself would use psycopg2 for such a URL.
        return "postgresql+psycopg" + path.removeprefix("postgresql") if path.startswith("postgresql://") else path
    store = registry.get("registry_store_type")
    if store is not None and store.rpartition(".")[2] not in _REGISTRY_STORES:
        raise ConfigError(
            f"{source}: registry.registry_store_type: expected {' or '.join(_REGISTRY_STORES)}, got {store!r}"
        )
    scheme, separator, _ = path.partition("://")
    if not separator:
        return find_path(path)
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"{source}: registry.path: expected a file's path, or a URL with {', '.join(_SCHEMES)}, got {scheme}://"
        )
    return path


def _check_auth(data: Mapping[str, Any], source: str) -> None:
    """Refuse a repository that asks for authentication: without it, the features would be open to everybody."""
    auth = data.get("auth")
    kind = auth.get("type") if isinstance(auth, dict) else auth
    if kind not in (None, "no_auth"):
        raise ConfigError(
            f"{source}: auth.type: this server checks no tokens of that kind ({kind}); put a proxy in front of it that "
            "does, or use --auth-tokens, and give it a feature_store.yaml without `auth`"
        )


def _online_store(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    store = data.get("online_store", {"type": "sqlite"})
    if store is None or (isinstance(store, str) and store.lower() in ("none", "null")):
        raise ConfigError(f"{source}: online_store: expected a type; a repository without online store serves nothing")
    if isinstance(store, str):
        store = {"type": store}
    if not isinstance(store, dict):
        raise ConfigError(f"{source}: online_store: expected a type, or keys with a `type` among them")
    kind = store.get("type", "sqlite")
    return {**store, "type": _STORE_CLASSES.get(kind, kind) if isinstance(kind, str) else kind}


_STORE_CLASSES: Mapping[str, str] = {
    "feast.infra.online_stores.redis.RedisOnlineStore": "redis",
    "feast.infra.online_stores.sqlite.SqliteOnlineStore": "sqlite",
}
"""Feast takes the name of a class for a type (ONLINE_STORE_CLASS_FOR_TYPE)."""


def _key_version(data: Mapping[str, Any], source: str) -> int:
    version = data.get("entity_key_serialization_version", 3)
    if type(version) is not int or not 0 <= version <= 3:  # to Feast, 0 is another word for 1
        raise ConfigError(f"{source}: entity_key_serialization_version: expected 3, 2 or 1, got {version!r}")
    return version
