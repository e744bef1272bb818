"""What can be set beyond Feast's own keys: SETTINGS, the one table of it.

Each entry has a key under `yummy_fast:` in feature_store.yaml, a flag, an environment variable, a default, and what its
value must look like. The command line is made from the table, and so are the messages about values that do not fit.
Limits give their precedents beside them.

Who decides when several of these say something, and what the values end up as: `config`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return parse


def _log_level(text: str) -> str:
    level = text.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError
    return level.lower()


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def _switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


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
        *("log_format", "--log-format", "text", _one_of("text", "json"), "text or json"),
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
        *("workers", "--workers", 1, _workers, "a number of processes, 1 or more, or -1"),
        *("how many processes serve; -1: twice the CPUs and one", "-w"),
    ),
    Setting(
        *("registry_ttl_sec", "--registry_ttl_sec", 60, _not_negative, "a whole number of seconds, 0 or more"),
        *("how often to look for a changed registry, in seconds; 0 never looks", "-r"),
    ),
    Setting(
        *("keep_alive_timeout", "--keep-alive-timeout", 30, _positive, "a whole number of seconds, 1 or more"),
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
        *("store_timeout_ms", "--store-timeout-ms", 1000, _positive, "a whole number of milliseconds, 1 or more"),
        "give up on the online store after this long, and answer 504",
    ),
    Setting(
        *("max_reply_bytes", "--max-reply-bytes", 64 << 20, _positive, "a whole number of bytes, 1 or more"),
        "refuse to read more than this from Redis for one entity row (502)",  # Redis itself: 512 MB a value
    ),
    Setting(
        *("max_body_bytes", "--max-body-bytes", 8 << 20, _positive, "a whole number of bytes, 1 or more"),
        "refuse requests with a longer body (413)",  # 8 MiB: 100 rows x 250 features by name take 15 KB
    ),
    Setting(
        *("max_header_bytes", "--max-header-bytes", 64 << 10, _positive, "a whole number of bytes, 1 or more"),
        "refuse requests with longer headers (431)",  # nginx 32 KB, node 16 KB, h11 80 KB
    ),
    Setting(
        *("max_target_bytes", "--max-target-bytes", 8 << 10, _positive, "a whole number of bytes, 1 or more"),
        "refuse requests with a longer path and query (414)",  # RFC 9112 3: at least 8000; nginx and Apache 8 KB
    ),
    Setting(
        *("max_rows", "--max-rows", 100_000, _positive, "a whole number of rows, 1 or more"),
        # A Redis reads 30,000 to 100,000 hashes in the second of --store-timeout-ms: more would be a 504.
        "refuse requests for more entity rows (413)",
    ),
    Setting(
        *("max_cells", "--max-cells", 1_000_000, _positive, "a whole number of values, 1 or more"),
        "refuse requests for more entity rows x features (413)",  # 4,000 rows of 250 features
    ),
    Setting(
        *("header_timeout", "--header-timeout", 10, _positive, "a whole number of seconds, 1 or more"),
        "give the headers of a request this many seconds to come (408)",  # Apache 20 to 40, node and nginx 60
    ),
    Setting(
        *("body_timeout", "--body-timeout", 30, _positive, "a whole number of seconds, 1 or more"),
        "give the body of a request this many seconds to come (408)",  # Apache 20 and more, nginx 60 between two reads
    ),
    Setting(
        *("send_timeout", "--send-timeout", 30, _positive, "a whole number of seconds, 1 or more"),
        "close a connection whose client has read nothing of its answers for this many seconds",  # nginx 60
    ),
    Setting(
        *("request_timeout_ms", "--request-timeout-ms", 15_000, _positive, "a whole number of milliseconds, 1 or more"),
        # As an Envoy route. X-Request-Timeout-Ms can only shorten it.
        "answer 504 to a request that takes longer; a client may ask for less with X-Request-Timeout-Ms",
    ),
    Setting(
        *("max_in_flight", "--max-in-flight", 1024, _positive, "a whole number of requests, 1 or more"),
        "answer 503 when so many requests are under way",  # as an Envoy cluster (max_requests)
    ),
    Setting(
        *("max_pipelined", "--max-pipelined", 16, _positive, "a whole number of requests, 1 or more"),
        "read no more of a client that waits for so many answers",  # browsers once sent 4 to 8 at a time
    ),
    Setting(
        *("worker_connections", "--worker-connections", 1000, _positive, "a whole number of connections, 1 or more"),
        "answer 503 to clients that would be one connection more",  # as gunicorn, and so `feast serve`
    ),
    Setting(
        *("drain_delay", "--drain-delay", 0.0, _seconds, "seconds, from 0 to 86400"),
        # Envoy's and Kubernetes' preStop sleeps: 5 to 15, for the endpoints to be told.
        "told to stop, say that we are not ready and go on for this many seconds",
    ),
    Setting(
        *("drain_idle", "--drain-idle", 0.5, _seconds, "seconds, from 0 to 86400"),
        "then keep connections without a request for this many seconds: their next answer is their last",
    ),
    Setting(
        *("shutdown_timeout", "--shutdown-timeout", 10.0, _seconds, "seconds, from 0 to 86400"),
        # `docker stop` kills after 10; gunicorn (graceful_timeout) 30.
        "and cut off the requests that are not answered after this many seconds more",
    ),
    Setting(
        *("worker_timeout", "--worker-timeout", 30.0, _seconds, "seconds, from 0 to 86400"),
        # gunicorn's --timeout
        "replace a worker whose event loop has not turned for this many seconds; 0 never does",
    ),
    Setting(
        *("worker_max_rss_mb", "--worker-max-rss-mb", 0, _not_negative, "a whole number of megabytes, 0 or more"),
        # uwsgi's reload-on-rss
        "replace a worker that has more resident memory, without losing requests; 0 never does",
    ),
    Setting(
        *("compat", "--compat", "feast", _one_of("feast", "strict"), "feast or strict"),
        "feast: Feast's statuses; strict: NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE and INVALID where they hold",
    ),
    Setting(
        *("redis_read", "--redis-read", "auto", _one_of("auto", "hmget", "hgetall"), "auto, hmget or hgetall"),
        "how to read a Redis hash: hmget, hgetall, or auto for whichever costs less",
    ),
)

IGNORED_FLAGS: Mapping[str, str] = {
    "--max-requests": "workers need no recycling",
    "--max-requests-jitter": "workers need no recycling",
}
"""Flags of `feast serve` with a value that do nothing here, and why."""
