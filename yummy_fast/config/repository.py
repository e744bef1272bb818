"""Feast's own keys in feature_store.yaml: which project, which registry, which online store.

They are read as Feast reads them (feast/repo_config.py, Feast 0.67.0): types are strict, unknown keys at the top and in
`registry` are ignored, relative paths start at the repository's folder. A message names the file and the key, and
quotes no value that may hold a password.

The keys of `online_store` belong to its store, which checks them; `find_path`, handed in, knows where files are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from yummy_fast.errors import ConfigError


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


_PROJECT = re.compile(r"(?!_)\w+", re.ASCII)


def _project(data: Mapping[str, Any], source: str) -> str:
    project = data.get("project")
    if not isinstance(project, str) or not _PROJECT.fullmatch(project):
        raise ConfigError(
            f"{source}: project: expected a name of letters, digits and underscores that does not begin with an "
            f"underscore, got {project!r}"
        )
    return project


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
        raise ConfigError(f"{source}: registry: expected a path, or keys with a `path` among them, got {got}")
    for key, (kind, expected) in _REGISTRY_KEYS.items():
        value = registry.get(key)
        if key in registry and type(value) is not kind and not (value is None and key in _NULLABLE):
            got = type(value).__name__ if kind is dict else repr(value)  # there may be a password in it
            raise ConfigError(f"{source}: registry.{key}: expected {expected}, got {got}")
    return registry


def _registry_path(registry: Mapping[str, Any], source: str, find_path: Callable[[str], str]) -> str:
    path: str = registry.get("path", "")
    if not path:
        raise ConfigError(f"{source}: registry.path: expected a path or URL, got nothing")
    kind = registry.get("registry_type", "file")
    if kind == "sql":
        key, path = ("read_path", registry["read_path"]) if registry.get("read_path") else ("path", path)
        if "://" not in path:
            raise ConfigError(f"{source}: registry.{key}: expected a database URL, such as postgresql://host/database")
        # As Feast does: SQLAlchemy by itself would use psycopg2 for such a URL.
        return "postgresql+psycopg" + path.removeprefix("postgresql") if path.startswith("postgresql://") else path
    if kind != "file":
        raise ConfigError(
            f"{source}: registry.registry_type: this server reads registries of type file and sql, not {kind!r}"
        )
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
    if isinstance(store, str):
        store = {"type": store}
    if not isinstance(store, dict):
        raise ConfigError(f"{source}: online_store: expected a type, or keys with a `type` among them")
    return {"type": "sqlite", **store}


def _key_version(data: Mapping[str, Any], source: str) -> int:
    version = data.get("entity_key_serialization_version", 3)
    if type(version) is not int or not 0 <= version <= 3:  # to Feast, 0 is another word for 1
        raise ConfigError(f"{source}: entity_key_serialization_version: expected 3, 2 or 1, got {version!r}")
    return version
