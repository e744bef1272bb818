"""What can be set beyond Feast's own keys, in groups; and `Config`, which holds them all.

A setting is one field of one group, and is declared there and nowhere else: its flag, the kind of its values, its
default, and its text in `--help`. Its environment variable and its key under `yummy_fast:` in feature_store.yaml follow
from the flag. The command line is made from SETTINGS, and so are the messages about values that do not fit. Limits give
their precedents beside them.

    @dataclass(frozen=True, slots=True)
    class HttpLimits(Group):
        max_body_bytes: int = setting("--max-body-bytes", kinds.BYTES, 8 << 20, "Maximum size of a request's body.")

A part of the server is handed the group that it needs, never the whole: its signature says what can change it. A group
says nothing about what it is used for. Which of several values decides is in `feature_store_yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar, get_type_hints

from yummy_fast.config import kinds
from yummy_fast.config.kinds import Kind, one_of, whole_number
from yummy_fast.config.repository import Repository
from yummy_fast.errors import how_to_install

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set."""

    name: str
    """Its key under `yummy_fast:`."""
    flag: str
    letter: str
    """A short flag, as Feast's; or nothing."""
    kind: Kind[Any]
    default: Any
    help: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"YUMMY_FAST_{_words(self.flag).upper()}"

    @property
    def named_after_flag(self) -> bool:
        """Whether its key in the file is what everybody would expect."""
        return self.name == _words(self.flag)


def _words(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def setting(flag: str, kind: Kind[T], default: T, text: str, *, letter: str = "", name: str = "") -> T:
    """A field of a group. `name` is its key under `yummy_fast:` if that does not follow from the flag."""
    declared = Setting(name or _words(flag), flag, letter, kind, default, text)
    return field(default=default, metadata={"setting": declared})


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together."""

    title: ClassVar[str]
    """Of their section in `--help`. Several groups may share one."""

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """The group's settings, by the names of their fields."""
        return {each.name: each.metadata["setting"] for each in fields(cls) if "setting" in each.metadata}


@dataclass(frozen=True, slots=True)
class Address(Group):
    """Where clients connect."""

    title = "address"

    host: str = setting("--host", kinds.HOST, "127.0.0.1", "Address or host name to listen on.", letter="-h")
    port: int = setting("--port", kinds.PORT, 6566, "Port to listen on; 0 takes a free one.", letter="-p")
    uds: str = setting(  # as uvicorn
        "--uds", kinds.PATH, "", "Unix socket to listen on, instead of --host and --port."
    )
    uds_mode: str = setting(
        "--uds-mode", kinds.MODE, "660", "Permissions of the Unix socket, in octal: they decide who can connect."
    )


@dataclass(frozen=True, slots=True)
class Tls(Group):
    """TLS, if there is a certificate."""

    title = "TLS and authentication"

    key: str = setting(
        "--key",
        kinds.FILE,
        "",
        "Private key of the TLS certificate, in PEM; needs --cert.",
        letter="-k",
        name="tls_key",
    )
    cert: str = setting(
        "--cert", kinds.FILE, "", "TLS certificate and its chain, in PEM; needs --key.", letter="-c", name="tls_cert"
    )
    client_ca: str = setting(
        "--client-ca",
        kinds.FILE,
        "",
        "Certificates of authorities, in PEM: only clients with a certificate signed by one of them can connect "
        "(mutual TLS); needs --key and --cert.",
        name="tls_client_ca",
    )


@dataclass(frozen=True, slots=True)
class Auth(Group):
    """Which clients get answers."""

    title = Tls.title

    tokens: str = setting(
        "--auth-tokens",
        kinds.FILE,
        "",
        "File of bearer tokens, one per line: a request without one of them gets 401. Probes need none. To write needs "
        "a token with the word write behind it.",
    )


@dataclass(frozen=True, slots=True)
class Features(Group):
    """What is served, how, and how much of it for one request."""

    title = "features, registry and online store"

    registry_ttl_s: int = setting(
        "--registry_ttl_sec",
        whole_number("seconds", "SECONDS", least=0),
        60,
        "Maximum seconds between two reads of the registry; a change that its source shows is read sooner. With 0, the "
        "registry is read again only on request.",
        letter="-r",
    )
    compat: str = setting(
        "--compat",
        one_of("feast", "strict"),
        "feast",
        "Which answers to give: feast answers as Feast does, also where Feast is wrong; strict answers what is right, "
        "with NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE and INVALID wherever they apply. A request may ask for either's "
        "statuses by the header X-Feast-Compat.",
    )
    max_rows: int = setting(
        # A Redis reads 30,000 to 100,000 hashes in the second of --store-timeout-ms: more would be a 504.
        "--max-rows",
        whole_number("rows", "N"),
        100_000,
        "Maximum entity rows of a request; a request for more gets 413.",
    )
    max_cells: int = setting(
        "--max-cells",
        whole_number("values", "N"),
        1_000_000,  # 4,000 rows of 250 features
        "Maximum entity rows x features of a request; a request for more gets 413.",
    )
    max_answer_bytes: int = setting(
        "--max-answer-bytes",
        kinds.BYTES,
        64 << 20,  # --max-cells values with their statuses and timestamps take 45 MB
        "Maximum size of an answer; a request whose answer is longer gets 413.",
    )


@dataclass(frozen=True, slots=True)
class StoreOptions(Group):
    """How the online store is read."""

    title = Features.title

    timeout_ms: int = setting(
        "--store-timeout-ms",
        kinds.MILLISECONDS,
        1000,
        "Milliseconds to wait for the online store before the request gets 504.",
    )
    max_reply_bytes: int = setting(
        "--max-reply-bytes",
        kinds.BYTES,
        8 << 20,  # a string of 8 MB takes 10 to 60 ms to write, and cannot be cut; a row of 512 features, 50 KB
        "Maximum size of what Redis replies for one entity row; if it is larger, the request gets 502.",
    )
    max_commands: int = setting(
        # As --max-rows: a Redis answers 30,000 to 100,000 in the second of --store-timeout-ms.
        "--max-store-commands",
        whole_number("commands", "N"),
        100_000,
        "Maximum commands per worker that wait for the online store, one for each entity row and set of join keys; a "
        "request for more gets 503, unless nothing else waits.",
    )
    redis_read: str = setting(
        "--redis-read",
        one_of("auto", "hmget", "hgetall"),
        "auto",
        "Command that reads a Redis hash; auto chooses the one that costs less.",
    )
    cache_mb: int = setting(
        "--cache-mb",
        whole_number("megabytes", "MB", least=0),
        0,
        "Megabytes per worker for a cache of stored rows, which Redis 7 or newer keeps true; 0 means none.",
    )
    redis_password_file: str = setting(
        "--redis-password-file",
        kinds.FILE,
        "",
        "File with the password for Redis, which is read each time a connection is made.",
    )
    redis_credentials: str = setting(
        "--redis-credentials",
        kinds.PROVIDER,
        "",
        "Function that makes a provider of users and passwords or tokens for Redis, such as my_package.iam:provider.",
    )


@dataclass(frozen=True, slots=True)
class Writes(Group):
    """What is written here, and what goes to Feast's own server."""

    title = "writes, and what Feast's own server answers"

    read_only: bool = setting(
        "--read-only",
        kinds.SWITCH,
        False,
        "Refuse to write: /push and /write-to-online-store get 403.",
    )
    forward_to: str = setting(
        "--forward-to",
        kinds.URL,
        "",
        "URL of a Feast feature server, to which everything goes that is not answered here: /materialize, searches, "
        "pushes to the offline store, /docs, MCP. Without one, these get 501.",
    )
    forward_timeout_s: float = setting(
        "--forward-timeout",
        kinds.SECONDS,
        600.0,
        "Seconds that server may be silent: then a request that it has not begun to answer gets 504, and an answer "
        "that it has begun is broken off. Materializing takes minutes without a word.",
    )


@dataclass(frozen=True, slots=True)
class Shadow(Group):
    """A Feast server to compare answers with."""

    title = "comparison with Feast's own server"

    url: str = setting(
        "--shadow",
        kinds.URL,
        "",
        "URL of a Feast feature server that gets a share of the requests for features as well, after they are answered "
        "here. What is not the same in the two answers is counted, and logged without values.",
    )
    share: float = setting(
        "--shadow-share",
        kinds.FRACTION,
        0.01,
        "Fraction of the requests that --shadow compares: 0.01 compares one in a hundred.",
    )


@dataclass(frozen=True, slots=True)
class HttpLimits(Group):
    """What one client, and all clients of a worker together, may have the HTTP side hold."""

    title = "limits"

    max_body_bytes: int = setting(
        "--max-body-bytes",
        kinds.BYTES,
        8 << 20,  # 100 rows x 250 features by name take 15 KB
        "Maximum size of a request's body; a request with a larger one gets 413.",
    )
    max_header_bytes: int = setting(
        "--max-header-bytes",
        kinds.BYTES,
        64 << 10,  # nginx 32 KB, node 16 KB, h11 80 KB
        "Maximum size of a request's headers; a request with larger ones gets 431.",
    )
    max_target_bytes: int = setting(
        "--max-target-bytes",
        kinds.BYTES,
        8 << 10,  # RFC 9112 3: at least 8000; nginx and Apache 8 KB
        "Maximum size of a request's path and query; a request with a longer one gets 414.",
    )
    max_in_flight: int = setting(
        "--max-in-flight",
        whole_number("requests", "N"),
        1024,  # as an Envoy cluster (max_requests)
        "Maximum requests in progress per worker; further ones get 503.",
    )
    max_pipelined: int = setting(
        "--max-pipelined",
        whole_number("requests", "N"),
        16,  # browsers once sent 4 to 8 at a time
        "Maximum requests in progress per connection; the next ones are not read until one is answered.",
    )
    max_unsent_bytes: int = setting(
        "--max-unsent-bytes",
        kinds.BYTES,
        256 << 20,  # Redis's client-output-buffer-limit for replicas
        "Maximum bytes of answers per worker that clients have not read yet; while there are more, requests get 503.",
    )
    max_connections: int = setting(
        "--worker-connections",
        whole_number("connections", "N"),
        1000,  # as gunicorn, and so `feast serve`
        "Maximum open connections per worker; further ones get 503.",
    )


@dataclass(frozen=True, slots=True)
class Timeouts(Group):
    """How long the HTTP side waits for a client, and a client for its answer."""

    title = "timeouts"

    keep_alive_s: int = setting(
        "--keep-alive-timeout",
        kinds.WHOLE_SECONDS,
        30,
        "Seconds that a connection may stay open without a request before it is closed.",
    )
    header_s: int = setting(
        "--header-timeout",
        kinds.WHOLE_SECONDS,
        10,  # Apache 20 to 40, node and nginx 60
        "Seconds that a client gets to send a request's headers before the answer is 408, and to finish a TLS "
        "handshake.",
    )
    body_s: int = setting(
        "--body-timeout",
        kinds.WHOLE_SECONDS,
        30,  # Apache 20 and more, nginx 60 between two reads
        "Seconds that a client gets to send a request's body before the answer is 408.",
    )
    send_s: int = setting(
        "--send-timeout",
        kinds.WHOLE_SECONDS,
        30,  # nginx 60
        "Seconds that a client may read nothing of its answers before its connection is closed.",
    )
    request_ms: int = setting(
        "--request-timeout-ms",
        kinds.MILLISECONDS,
        15_000,  # as an Envoy route
        "Milliseconds that a request may take before it gets 504; its X-Request-Timeout-Ms header can ask for less.",
    )


@dataclass(frozen=True, slots=True)
class Workers(Group):
    """The serving processes, and when one of them is replaced."""

    title = "workers"

    count: int = setting(
        "--workers",
        kinds.PROCESSES,
        1,
        "Number of processes that serve; -1 means two for each CPU, and one more.",
        letter="-w",
    )
    timeout_s: float = setting(
        "--worker-timeout",
        kinds.SECONDS,
        30.0,  # gunicorn's --timeout
        "Seconds that the event loop of a worker may be stuck before the worker is replaced; 0 means never.",
    )
    max_rss_mb: int = setting(
        "--worker-max-rss-mb",
        whole_number("megabytes", "MB", least=0),
        0,  # uwsgi's reload-on-rss
        "Megabytes of resident memory above which a worker is replaced, without losing requests; 0 means never.",
    )


@dataclass(frozen=True, slots=True)
class Drain(Group):
    """From SIGTERM to the end."""

    title = "shutdown"

    delay_s: float = setting(
        "--drain-delay",
        kinds.SECONDS,
        0.0,  # Envoy's and Kubernetes' preStop sleeps: 5 to 15, for the endpoints to be told
        "Seconds to keep serving after SIGTERM while /readyz returns 503.",
    )
    idle_s: float = setting(
        "--drain-idle",
        kinds.SECONDS,
        0.5,
        "Seconds to keep idle connections open after --drain-delay, for one last request each.",
    )
    timeout_s: float = setting(
        "--shutdown-timeout",
        kinds.SECONDS,
        10.0,  # `docker stop` kills after 10; gunicorn (graceful_timeout) 30
        "Seconds in-flight requests get to finish before they are aborted.",
    )


@dataclass(frozen=True, slots=True)
class Admin(Group):
    """The admin listener, if it has an address."""

    title = "probes, metrics, logs and traces"

    address: str = setting(
        "--admin",
        kinds.ADDRESS,
        "",
        "Separate address for probes, metrics, status and reloads. Without one, /livez, /readyz and /metrics are "
        "served beside the features.",
    )
    ui: bool = setting(
        "--ui",
        kinds.SWITCH,
        False,
        "Serve a page for people on the address of --admin, under /-/ui: features of entities, why one is null, live "
        "numbers. With --auth-tokens, it asks for a token before it shows values.",
    )
    reload: bool = False
    """Whether it takes reloads. Not where Feast's --metrics asked for it: that listens on all addresses."""
    key: str = "--admin"
    """What asked for it, for messages."""


@dataclass(frozen=True, slots=True)
class Telemetry(Group):
    """What is logged and traced."""

    title = Admin.title

    log_level: str = setting(
        "--log-level", kinds.LOG_LEVEL, "info", "Minimum level to log: debug, info, warning, error or critical."
    )
    log_format: str = setting(
        "--log-format", one_of("text", "json"), "text", "Format of the log, which is written to standard error."
    )
    access_log_sample: float = setting(
        "--access-log-sample",
        kinds.FRACTION,
        0.0,
        "Fraction of the requests to log: 0.01 logs one in a hundred. If standard error is a terminal, the default is "
        "1: all are logged.",
    )
    otel: bool = setting(
        # One switch; all else about tracing is OpenTelemetry's own: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER...
        "--otel",
        kinds.SWITCH,
        False,
        f"Send OpenTelemetry spans of requests, as the OTEL_* environment variables say. Needs the extra otel: "
        f"{how_to_install('otel')}.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was decided before start. Nothing in it is looked up again."""

    repository: Repository
    address: Address
    tls: Tls
    auth: Auth
    features: Features
    store: StoreOptions
    writes: Writes
    shadow: Shadow
    limits: HttpLimits
    timeouts: Timeouts
    workers: Workers
    drain: Drain
    admin: Admin
    telemetry: Telemetry


GROUPS: Mapping[str, type[Group]] = {
    name: group for name, group in get_type_hints(Config).items() if issubclass(group, Group)
}
"""The groups by their fields of Config, in the order of `--help`."""

SETTINGS: tuple[Setting, ...] = tuple(each for group in GROUPS.values() for each in group.settings().values())

IGNORED_FLAGS: Mapping[str, str] = {
    "--max-requests": "workers need no recycling",
    "--max-requests-jitter": "workers need no recycling",
}
"""Flags of `feast serve` with a value that do nothing here, and why."""
IGNORED_SWITCHES: Mapping[str, str] = {
    "--go": "no other server is started",
    "--no-feature-log": "what is served is never logged",
}
"""The same, without a value. Feast 0.67 has neither; Feast 0.26, with which Yummy compares itself, has both."""
