"""feature_store.yaml, flags and environment to one frozen `Config`.

Feast's file is read as Feast reads it (feast/repo_config.py, Feast 0.67.0): environment variables are expanded in the
text before it is YAML, unknown top-level keys are ignored, relative paths start at the repository's folder. What Feast
has no key for stands under `yummy_fast:`, which Feast ignores. A setting comes from its flag, else its environment
variable, else the file, else its default.

SETTINGS is the one table of settings: the command line, the environment variables, the `yummy_fast:` block and the
documentation are made from it. Pure but for reading the file; it connects to nothing and knows no store but by name.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yummy_fast.errors import ConfigError

# ------------------------------------------------------------------------------------------------------------ settings


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError
    return number


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _log_level(text: str) -> str:
    level = text.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError
    return level.lower()


def _compat(text: str) -> str:
    if text not in ("feast", "strict"):
        raise ValueError
    return text


def _redis_read(text: str) -> str:
    if text not in ("auto", "hmget", "hgetall"):
        raise ValueError
    return text


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set: `name` is its key under `yummy_fast:`, its field of Config and its variable's name."""

    name: str
    flag: str
    default: Any
    parse: Callable[[str], Any]
    expected: str
    """What `parse` takes, for the message when it does not."""
    help: str
    letter: str = ""

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"YUMMY_FAST_{self.flag.removeprefix('--').replace('-', '_').upper()}"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        *("log_level", "--log-level", "info", _log_level, "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        "the least important messages to log",
    ),
    Setting("host", "--host", "127.0.0.1", str, "an address", "the address to listen on", "-h"),
    Setting("port", "--port", 6566, _port, "a port number", "the port to listen on; 0 takes a free one", "-p"),
    Setting(
        *("registry_ttl_sec", "--registry_ttl_sec", 60, _not_negative, "seconds"),
        *("how often to look for a changed registry, in seconds; 0 never looks", "-r"),
    ),
    Setting(
        *("keep_alive_timeout", "--keep-alive-timeout", 30, _positive, "seconds"),
        "close a client's connection after this many seconds without a request",
    ),
    Setting("tls_key", "--key", "", str, "a path", "the private key of the TLS certificate; needs --cert", "-k"),
    Setting("tls_cert", "--cert", "", str, "a path", "the TLS certificate; needs --key", "-c"),
    Setting(
        *("store_timeout_ms", "--store-timeout-ms", 1000, _positive, "milliseconds"),
        "give up on the online store after this long, and answer 504",
    ),
    Setting(
        *("max_body_bytes", "--max-body-bytes", 8 << 20, _positive, "a number of bytes"),
        "refuse requests with a longer body (413)",  # 8 MiB: 100 rows x 250 features by name take 15 KB
    ),
    Setting(
        *("compat", "--compat", "feast", _compat, "feast or strict"),
        "feast: the statuses that Feast answers; strict: NOT_FOUND, NULL_VALUE and OUTSIDE_MAX_AGE where they hold",
    ),
    Setting(
        *("redis_read", "--redis-read", "auto", _redis_read, "auto, hmget or hgetall"),
        "how to read a Redis hash: hmget, hgetall, or auto for whichever costs less",
    ),
)

IGNORED_FLAGS: Mapping[str, str] = {
    "--workers": "one process serves",
    "--worker-connections": "connections are not limited",
    "--max-requests": "workers need no recycling",
    "--max-requests-jitter": "workers need no recycling",
}
"""Flags of `feast serve` with a value that do nothing here, and why."""


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
    online_store: Mapping[str, Any]
    """Feast's `online_store:` block; `type` is always there."""
    key_version: int
    """entity_key_serialization_version."""
    versioning: bool
    """registry.enable_online_feature_view_versioning."""
    log_level: str
    host: str
    port: int
    registry_ttl_sec: int
    keep_alive_timeout: int
    tls_key: str
    tls_cert: str
    store_timeout_ms: int
    max_body_bytes: int
    compat: str
    redis_read: str


# ------------------------------------------------------------------------------------------------------------ the file


def load_config(
    *,
    chdir: str | None = None,
    feature_store_yaml: str | None = None,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read feature_store.yaml and settle every setting. Raises ConfigError naming file and key.

    `flags` holds what the command line gave, by Setting.name; `environ` defaults to the process's own.
    """
    environ = os.environ if environ is None else environ
    chdir = chdir or environ.get("YUMMY_FAST_CHDIR") or environ.get("FEATURE_REPO_DIR_ENV_VAR")
    repo = Path(chdir or ".").absolute()
    text, source, beside = _read_file(repo, feature_store_yaml, environ)
    data = _parse(_expand(text, environ), source)
    registry = _registry(data, source)
    settings = _settle(data.get("yummy_fast"), source, flags or {}, environ)
    if bool(settings["tls_key"]) != bool(settings["tls_cert"]):
        raise ConfigError("--key and --cert go together: TLS needs both")
    return Config(
        source=source,
        folders=(repo, beside),
        project=_project(data, source),
        registry=registry,
        registry_path=find_path(str(registry["path"]), repo, beside),
        online_store=_online_store(data, source),
        key_version=_key_version(data, source),
        versioning=_boolean(registry, "enable_online_feature_view_versioning", f"{source}: registry"),
        **settings,
    )


def _read_file(repo: Path, given: str | None, environ: Mapping[str, str]) -> tuple[str, str, Path]:
    """The text, its name for messages, and the folder it lies in."""
    encoded = environ.get("FEATURE_STORE_YAML_BASE64")
    if encoded:
        try:
            return base64.b64decode(encoded, validate=True).decode(), "FEATURE_STORE_YAML_BASE64", repo
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError("FEATURE_STORE_YAML_BASE64: expected the file's text in base64") from None
    given = given or environ.get("YUMMY_FAST_FEATURE_STORE_YAML") or environ.get("FEAST_FS_YAML_FILE_PATH")
    path = Path(given or repo / "feature_store.yaml").absolute()
    try:
        return path.read_text(), str(path), path.parent
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None


_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})", re.ASCII)


def _expand(text: str, environ: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` in the text, as os.path.expandvars does it: unknown names stay as they are."""
    return _VARIABLE.sub(lambda found: environ.get(found[1].strip("{}"), found[0]), text)


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{place}: not YAML: {getattr(error, 'problem', None) or error}") from None
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


def _registry(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    registry = data.get("registry")
    if isinstance(registry, str):
        registry = {"path": registry}
    if not isinstance(registry, dict) or not registry.get("path"):
        raise ConfigError(f"{source}: registry: expected a path, or keys with a `path` among them, got {registry!r}")
    kind = registry.get("registry_type", "file")
    if kind != "file":
        raise ConfigError(f"{source}: registry.registry_type: this server reads registries of type file, not {kind!r}")
    if "://" in str(registry["path"]):
        raise ConfigError(f"{source}: registry.path: this server reads a local file, not {registry['path']!r}")
    return registry


def _online_store(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    store = data.get("online_store", {"type": "sqlite"})
    if isinstance(store, str):
        store = {"type": store}
    if not isinstance(store, dict):
        raise ConfigError(f"{source}: online_store: expected a type, or keys with a `type` among them, got {store!r}")
    return {"type": "sqlite", **store}


def _key_version(data: Mapping[str, Any], source: str) -> int:
    version = data.get("entity_key_serialization_version", 3)
    if type(version) is not int or not 0 <= version <= 3:
        raise ConfigError(f"{source}: entity_key_serialization_version: expected 3, 2 or 1, got {version!r}")
    return version


def _boolean(block: Mapping[str, Any], key: str, where: str) -> bool:
    value = block.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}.{key}: expected true or false, got {value!r}")
    return value


def find_path(path: str, repo: Path, beside: Path) -> str:
    """A relative path as Feast takes it, from the repository's folder; failing that, from the file's own.

    The second is for `-f some/where/feature_store.yaml`, where Feast would look in the current folder only.
    """
    if (repo / path).exists() or not (beside / path).exists():
        return str(repo / path)
    return str(beside / path)


# --------------------------------------------------------------------------------------------------------- settling


def _settle(block: object, source: str, flags: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
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
        for value, place in (
            (flags.get(setting.name), setting.flag),
            (environ.get(setting.variable), setting.variable),
            (block.get(setting.name), f"{source}: yummy_fast.{setting.name}"),
        ):
            if value is None:
                continue
            try:
                settled[setting.name] = setting.parse(str(value))
            except (ValueError, KeyError):
                raise ConfigError(f"{place}: expected {setting.expected}, got {value!r}") from None
            break
        else:
            settled[setting.name] = setting.default
    return settled
