"""feature_store.yaml, flags and environment to one frozen `Config`.

Feast's file is read as Feast reads it (feast/repo_config.py, Feast 0.67.0): environment variables are expanded in the
text before it is YAML, types are strict, unknown keys at the top and in `registry` are ignored, relative paths start at
the repository's folder. What Feast has no key for stands under `yummy_fast:`, which Feast ignores. A setting comes from
its flag, else its environment variable, else the file, else its default. A variable that is not set stays in the text,
as in Feast; where it ends up in a value that is used here, that is an error.

Pure but for reading the file; it knows no store but by name. What can be set is the table in `settings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yummy_fast.config.settings import SETTINGS
from yummy_fast.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that was decided before start. Paths are absolute; nothing in it is looked up again."""

    source: str
    """Where the file came from, for messages."""
    folders: tuple[Path, Path]
    """Where relative paths begin: the repository's folder, then the file's own. See `find_path`."""
    project: str
    registry: Mapping[str, Any]
    """Feast's `registry:` block; a bare path has become {"path": ...}."""
    registry_path: str
    """A file, or a URL as it was given, secrets and all: `download.without_secrets` is for messages."""
    online_store: Mapping[str, Any]
    """Feast's `online_store:` block; `type` is always there."""
    key_version: int
    """entity_key_serialization_version."""
    versioning: bool
    """registry.enable_online_feature_view_versioning."""
    serve_materializing: bool
    """registry.serve_features_while_materializing."""
    log_level: str
    log_format: str
    access_log_sample: float
    otel: bool
    host: str
    port: int
    admin: str
    """Where the admin listener is; empty if there is none."""
    admin_reload: bool
    """Whether it takes reloads. Not where Feast's --metrics asked for it: that is at every address there is."""
    workers: int
    uds: str
    uds_mode: str
    registry_ttl_sec: int
    keep_alive_timeout: int
    tls_key: str
    tls_cert: str
    tls_client_ca: str
    auth_tokens: str
    store_timeout_ms: int
    max_reply_bytes: int
    max_body_bytes: int
    max_header_bytes: int
    max_target_bytes: int
    max_rows: int
    max_cells: int
    header_timeout: int
    body_timeout: int
    send_timeout: int
    request_timeout_ms: int
    max_in_flight: int
    max_pipelined: int
    worker_connections: int
    drain_delay: float
    drain_idle: float
    shutdown_timeout: float
    worker_timeout: float
    worker_max_rss_mb: int
    compat: str
    redis_read: str


# ------------------------------------------------------------------------------------------------------------ the file


class YamlText(NamedTuple):
    """feature_store.yaml as it was read, before anything in it is expanded."""

    text: str
    source: str
    """Where it came from, for messages. No secrets in it."""
    folders: tuple[Path, Path]
    """As in Config."""


def parse_config(
    yaml_text: YamlText, flags: Mapping[str, str], environ: Mapping[str, str], *, metrics: bool = False
) -> Config:
    """Settle every setting. Raises ConfigError naming file and key. The parameters are those of `load_config`."""
    text, source, (repo, beside) = yaml_text
    text, unset = _expand(text, environ)
    data = _parse(text, source, unset)
    _check_set(_used(data), f"{source}: ", unset)
    registry = _registry(data, source)
    settings = _settle(data.get("yummy_fast"), source, flags, environ, unset)
    if bool(settings["tls_key"]) != bool(settings["tls_cert"]):
        raise ConfigError("--key and --cert go together: TLS needs both")
    if settings["tls_client_ca"] and not settings["tls_cert"]:
        raise ConfigError("--client-ca needs --key and --cert: without TLS no client can show a certificate")
    _check_auth(data, source)
    admin_reload = bool(settings["admin"])
    if not admin_reload and (metrics or _asks_for_metrics(data)):
        settings["admin"] = FEAST_METRICS_ADDRESS
    return Config(
        source=source,
        folders=(repo, beside),
        project=_project(data, source),
        registry=registry,
        registry_path=_registry_path(registry, repo, beside, source),
        online_store=_online_store(data, source),
        key_version=_key_version(data, source),
        versioning=registry.get("enable_online_feature_view_versioning", False),
        serve_materializing=registry.get("serve_features_while_materializing", False),
        admin_reload=admin_reload,
        **settings,
    )


FEAST_METRICS_ADDRESS = ":8000"
"""Where Feast's --metrics listens (feast/metrics.py, Feast 0.67.0)."""

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})", re.ASCII)


def _expand(text: str, environ: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """`$NAME` and `${NAME}` in the text, as os.path.expandvars does it; and those that are not set, which stay."""
    unset = frozenset(found[0] for found in _VARIABLE.finditer(text) if found[1].strip("{}") not in environ)
    return _VARIABLE.sub(lambda found: environ.get(found[1].strip("{}"), found[0]), text), unset


def _used(data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the file that is used here, but for our own settings."""
    used = {key: data[key] for key in ("project", "online_store", "entity_key_serialization_version") if key in data}
    registry = data.get("registry")
    if isinstance(registry, dict):
        registry = {key: value for key, value in registry.items() if key in _REGISTRY_KEYS}
    return {**used, "registry": registry}


def _check_set(value: object, where: str, unset: frozenset[str]) -> None:
    """Raises ConfigError for a variable of the file's that is not set. A `$` out of another's value is no variable."""
    for place, text in _texts(value, where):
        for found in _VARIABLE.finditer(text):
            if found[0] in unset:
                raise ConfigError(f"{place}: {found[0]}: there is no such environment variable")


def _texts(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Every string in a value, and where it stands."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{where}{key}" if where.endswith(" ") else f"{where}.{key}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _texts(item, f"{where}[{place}]")


def _parse(text: str, source: str, unset: frozenset[str]) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # An unset variable keeps its braces, and those mean something in YAML.
        hint = f"; there are no environment variables for {', '.join(sorted(unset))}" if unset else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(f"{source}{place}: not YAML: {problem}{hint}") from None
    except (ValueError, RecursionError):  # a date that is none, a thousand brackets
        raise ConfigError(f"{source}: not YAML that can be read") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected keys and values, such as `project: my_project`")
    return data


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
"""What is read of Feast's RegistryConfig and SqlRegistryConfig. Others are Feast's business, or nobody's."""
_NULLABLE = ("registry_store_type", "read_path", "s3_additional_kwargs")

_SCHEMES = ("s3", "gs", "http", "https")
_REGISTRY_STORES = ("FileRegistryStore", "S3RegistryStore", "GCSRegistryStore")
"""registry_store_type. Only that it can be read is asked; the path's scheme decides, as it does without."""


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


def _registry_path(registry: Mapping[str, Any], repo: Path, beside: Path, source: str) -> str:
    path: str = registry.get("path", "")
    if not path:
        raise ConfigError(f"{source}: registry.path: expected a path or URL, got nothing")
    kind = registry.get("registry_type", "file")
    if kind == "sql":
        key, path = ("read_path", registry["read_path"]) if registry.get("read_path") else ("path", path)
        if "://" not in path:
            raise ConfigError(f"{source}: registry.{key}: expected a database URL, such as postgresql://host/database")
        # As Feast: SQLAlchemy would take psycopg2 for it.
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
        return find_path(path, repo, beside)
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"{source}: registry.path: expected a file's path, or a URL with {', '.join(_SCHEMES)}, got {scheme}://"
        )
    return path


def _check_auth(data: Mapping[str, Any], source: str) -> None:
    """Refuse a repository that asks for authentication: to serve it without would be to serve it to everybody."""
    auth = data.get("auth")
    kind = auth.get("type") if isinstance(auth, dict) else auth
    if kind not in (None, "no_auth"):
        raise ConfigError(
            f"{source}: auth.type: this server checks no tokens of that kind ({kind}); put a proxy in front of it that "
            "does, or use --auth-tokens, and give it a feature_store.yaml without `auth`"
        )


def _asks_for_metrics(data: Mapping[str, Any]) -> bool:
    """Feast's feature_server.metrics.enabled. The block is Feast's to check: all else in it is about its server."""
    server = data.get("feature_server")
    metrics = server.get("metrics") if isinstance(server, dict) else None
    return isinstance(metrics, dict) and metrics.get("enabled") is True


def _online_store(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    store = data.get("online_store", {"type": "sqlite"})
    if isinstance(store, str):
        store = {"type": store}
    if not isinstance(store, dict):
        raise ConfigError(f"{source}: online_store: expected a type, or keys with a `type` among them")
    return {"type": "sqlite", **store}


def _key_version(data: Mapping[str, Any], source: str) -> int:
    version = data.get("entity_key_serialization_version", 3)
    if type(version) is not int or not 0 <= version <= 3:
        raise ConfigError(f"{source}: entity_key_serialization_version: expected 3, 2 or 1, got {version!r}")
    return version


def find_path(path: str, repo: Path, beside: Path) -> str:
    """A relative path as Feast takes it, from the repository's folder; failing that, from the file's own.

    The second is for `-f some/where/feature_store.yaml`, where Feast would look in the current folder only.
    """
    if (repo / path).exists() or not (beside / path).exists():
        return str(repo / path)
    return str(beside / path)


# --------------------------------------------------------------------------------------------------------- settling


def _settle(
    block: object, source: str, flags: Mapping[str, str], environ: Mapping[str, str], unset: frozenset[str]
) -> dict[str, Any]:
    """Flag, environment, file, default: the first that speaks decides."""
    block = {} if block is None else block
    if not isinstance(block, dict):
        raise ConfigError(f"{source}: yummy_fast: expected keys and values, got {block!r}")
    known = {setting.name for setting in SETTINGS}
    for key in block:
        if key not in known:
            raise ConfigError(f"{source}: yummy_fast.{key}: no such setting; there are: {', '.join(sorted(known))}")
    settled: dict[str, Any] = {}
    for setting in SETTINGS:
        in_file = f"{source}: yummy_fast.{setting.name}"
        for value, place in (
            (flags.get(setting.name), setting.flag),
            (environ.get(setting.variable) or None, setting.variable),  # `NAME=` in an environment file: not set
            (block.get(setting.name), in_file),
        ):
            if value is None:
                continue
            if place is in_file:
                _check_set(value, place, unset)
            try:
                settled[setting.name] = setting.parse(str(value))
            except (ValueError, KeyError):
                raise ConfigError(f"{place}: expected {setting.expected}, got {value!r}") from None
            break
        else:
            settled[setting.name] = setting.default
    return settled
