"""feature_store.yaml, flags and environment to one frozen `Config`.

Feast's file is read as Feast reads it (feast/repo_config.py, Feast 0.67.0): environment variables are expanded in the
text before it is YAML, types are strict, unknown keys at the top and in `registry` are ignored, relative paths start at
the repository's folder. What Feast has no key for stands under `yummy_fast:`, which Feast ignores. A setting comes from
its flag, else its environment variable, else the file, else its default. A variable that is not set stays in the text,
as in Feast; where it ends up in a value that is used here, that is an error.

SETTINGS is the one table of settings: the command line, the environment variables, the `yummy_fast:` block and the
documentation are made from it. Pure but for reading the file; it knows no store but by name.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yummy_fast import download
from yummy_fast.errors import ConfigError
from yummy_fast.patience import Patience

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


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 86_400:  # nor what is no number at all
        raise ValueError
    return number


def _workers(text: str) -> int:
    number = int(text)
    if number < 1 and number != -1:
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


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise ValueError
    return text


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def _switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _redis_read(text: str) -> str:
    if text not in ("auto", "hmget", "hgetall"):
        raise ValueError
    return text


def split_address(text: str) -> tuple[str, int]:
    """ "HOST:PORT", with brackets around IPv6; ":PORT" is for all addresses there are. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or (":" in host and host[:1] + host[-1:] != "[]"):
        raise ValueError
    return host.strip("[]"), _port(port)


def _address(text: str) -> str:
    if text:
        split_address(text)
    return text


FEAST_METRICS_ADDRESS = ":8000"
"""Where Feast's --metrics listens (feast/metrics.py, Feast 0.67.0)."""


def _mode(text: str) -> str:
    # Of what YAML makes of 0660, 432, its owner could not write: it is refused, and not taken for another mode.
    if int(text, 8) & ~0o777 or int(text, 8) & 0o600 != 0o600:
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
    Setting(
        *("log_format", "--log-format", "text", _log_format, "text or json"),
        "how to write the log, to standard error",
    ),
    Setting(
        *("access_log_sample", "--access-log-sample", 0.0, _share, "a number from 0 to 1"),
        "log this share of the requests: 0.01 is one of a hundred",
    ),
    Setting(
        *("otel", "--otel", False, _switch, "true or false"),
        # One switch; all else about tracing is OpenTelemetry's own: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER...
        "write OpenTelemetry spans of the requests, as the environment's OTEL_* variables say; needs the extra otel",
    ),
    Setting("host", "--host", "127.0.0.1", str, "an address", "the address to listen on", "-h"),
    Setting("port", "--port", 6566, _port, "a port number", "the port to listen on; 0 takes a free one", "-p"),
    Setting("uds", "--uds", "", str, "a path", "listen on this Unix socket, and on no address"),  # as uvicorn
    Setting(
        *("uds_mode", "--uds-mode", "660", _mode, "a mode of three octal digits that lets the owner read and write"),
        "the permissions of the Unix socket: who may connect",
    ),
    Setting(
        *("admin", "--admin", "", _address, "HOST:PORT, such as 127.0.0.1:8000"),
        "answer probes, metrics, status and reloads at this address, apart from requests; without it, /livez, /readyz "
        "and /metrics are beside them",
    ),
    Setting(
        *("workers", "--workers", 1, _workers, "a number of processes, or -1"),
        *("how many processes serve; -1: twice the CPUs and one", "-w"),
    ),
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
        *("tls_client_ca", "--client-ca", "", str, "a path"),
        "accept only clients with a certificate that one of these authorities signed (mTLS); needs --cert",
    ),
    Setting(
        *("auth_tokens", "--auth-tokens", "", str, "a path"),
        "answer 401 to requests without a bearer token that is a line of this file; probes need none",
    ),
    Setting(
        *("store_timeout_ms", "--store-timeout-ms", 1000, _positive, "milliseconds"),
        "give up on the online store after this long, and answer 504",
    ),
    Setting(
        *("max_reply_bytes", "--max-reply-bytes", 64 << 20, _positive, "a number of bytes"),
        "refuse to read more than this from Redis for one entity row (502)",  # Redis itself: 512 MB a value
    ),
    Setting(
        *("max_body_bytes", "--max-body-bytes", 8 << 20, _positive, "a number of bytes"),
        "refuse requests with a longer body (413)",  # 8 MiB: 100 rows x 250 features by name take 15 KB
    ),
    Setting(
        *("max_header_bytes", "--max-header-bytes", 64 << 10, _positive, "a number of bytes"),
        "refuse requests with longer headers (431)",  # nginx 32 KB, node 16 KB, h11 80 KB
    ),
    Setting(
        *("max_target_bytes", "--max-target-bytes", 8 << 10, _positive, "a number of bytes"),
        "refuse requests with a longer path and query (414)",  # RFC 9112 3: at least 8000; nginx and Apache 8 KB
    ),
    Setting(
        *("max_rows", "--max-rows", 100_000, _positive, "a number of rows"),
        # A Redis reads 30,000 to 100,000 hashes in the second of --store-timeout-ms: more would be a 504.
        "refuse requests for more entity rows (413)",
    ),
    Setting(
        *("max_cells", "--max-cells", 1_000_000, _positive, "a number of values"),
        "refuse requests for more entity rows x features (413)",  # 4,000 rows of 250 features
    ),
    Setting(
        *("header_timeout", "--header-timeout", 10, _positive, "seconds"),
        "give the headers of a request this many seconds to come (408)",  # Apache 20 to 40, node and nginx 60
    ),
    Setting(
        *("body_timeout", "--body-timeout", 30, _positive, "seconds"),
        "give the body of a request this many seconds to come (408)",  # Apache 20 and more, nginx 60 between two reads
    ),
    Setting(
        *("send_timeout", "--send-timeout", 30, _positive, "seconds"),
        "close a connection whose client has read nothing of its answers for this many seconds",  # nginx 60
    ),
    Setting(
        *("request_timeout_ms", "--request-timeout-ms", 15_000, _positive, "milliseconds"),
        # As an Envoy route. X-Request-Timeout-Ms can only shorten it.
        "answer 504 to a request that takes longer; a client may ask for less with X-Request-Timeout-Ms",
    ),
    Setting(
        *("max_in_flight", "--max-in-flight", 1024, _positive, "a number of requests"),
        "answer 503 when so many requests are under way",  # as an Envoy cluster (max_requests)
    ),
    Setting(
        *("max_pipelined", "--max-pipelined", 16, _positive, "a number of requests"),
        "read no more of a client that waits for so many answers",  # browsers once sent 4 to 8 at a time
    ),
    Setting(
        *("worker_connections", "--worker-connections", 1000, _positive, "a number of connections"),
        "answer 503 to clients that would be one connection more",  # as gunicorn, and so `feast serve`
    ),
    Setting(
        *("drain_delay", "--drain-delay", 0.0, _seconds, "seconds"),
        # Envoy's and Kubernetes' preStop sleeps: 5 to 15, for the endpoints to be told.
        "told to stop, say that we are not ready and go on for this many seconds",
    ),
    Setting(
        *("drain_idle", "--drain-idle", 0.5, _seconds, "seconds"),
        "then keep connections without a request for this many seconds: their next answer is their last",
    ),
    Setting(
        *("shutdown_timeout", "--shutdown-timeout", 10.0, _seconds, "seconds"),
        # `docker stop` kills after 10; gunicorn (graceful_timeout) 30.
        "and cut off the requests that are not answered after this many seconds more",
    ),
    Setting(
        *("worker_timeout", "--worker-timeout", 30.0, _seconds, "seconds"),
        # gunicorn's --timeout
        "replace a worker whose event loop has not turned for this many seconds; 0 never does",
    ),
    Setting(
        *("worker_max_rss_mb", "--worker-max-rss-mb", 0, _not_negative, "megabytes"),
        # uwsgi's reload-on-rss
        "replace a worker that has more resident memory, without losing requests; 0 never does",
    ),
    Setting(
        *("compat", "--compat", "feast", _compat, "feast or strict"),
        "feast: Feast's statuses; strict: NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE and INVALID where they hold",
    ),
    Setting(
        *("redis_read", "--redis-read", "auto", _redis_read, "auto, hmget or hgetall"),
        "how to read a Redis hash: hmget, hgetall, or auto for whichever costs less",
    ),
)

IGNORED_FLAGS: Mapping[str, str] = {
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
    """A file, or a URL as it was given, secrets and all: `download.without_secrets` is for messages."""
    online_store: Mapping[str, Any]
    """Feast's `online_store:` block; `type` is always there."""
    key_version: int
    """entity_key_serialization_version."""
    versioning: bool
    """registry.enable_online_feature_view_versioning."""
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


def load_config(
    *,
    chdir: str | None = None,
    feature_store_yaml: str | None = None,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    metrics: bool = False,
) -> Config:
    """Read feature_store.yaml and settle every setting. Raises ConfigError naming file and key.

    `flags` holds what the command line gave, by Setting.name; `environ` defaults to the process's own; `metrics` is
    Feast's flag.
    """
    environ = os.environ if environ is None else environ
    chdir = chdir or environ.get("YUMMY_FAST_CHDIR") or environ.get("FEATURE_REPO_DIR_ENV_VAR")
    repo = Path(chdir or ".").absolute()
    text, source, beside = _read_file(repo, feature_store_yaml, environ)
    text, unset = _expand(text, environ)
    data = _parse(text, source, unset)
    _check_set(_used(data), f"{source}: ", unset)
    registry = _registry(data, source)
    settings = _settle(data.get("yummy_fast"), source, flags or {}, environ, unset)
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
        admin_reload=admin_reload,
        **settings,
    )


MAX_YAML_BYTES = 1 << 20
"""Of a file behind a URL; people write a few hundred bytes."""


def _read_file(repo: Path, given: str | None, environ: Mapping[str, str]) -> tuple[str, str, Path]:
    """The text, its name for messages, and the folder it lies in."""
    encoded = environ.get("FEATURE_STORE_YAML_BASE64")
    if encoded:
        try:
            return base64.b64decode(encoded, validate=True).decode(), "FEATURE_STORE_YAML_BASE64", repo
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError("FEATURE_STORE_YAML_BASE64: expected the file's text in base64") from None
    given = given or environ.get("YUMMY_FAST_FEATURE_STORE_YAML") or environ.get("FEAST_FS_YAML_FILE_PATH")
    if given and given.startswith(("https://", "http://")):
        name = download.without_secrets(given)
        try:
            reply = Patience(2 * download.TIMEOUT_S).wait_for(lambda: download.get(given, MAX_YAML_BYTES))
            return reply.body.decode(), name, repo
        except (OSError, UnicodeDecodeError) as error:
            why = download.reason(error) if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"{name}: cannot be read: {why}") from None
    path = Path(given or repo / "feature_store.yaml").absolute()
    try:
        return path.read_text(), str(path), path.parent
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None


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
        raise ConfigError(f"{source}{place}: not YAML: {getattr(error, 'problem', None) or error}{hint}") from None
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
