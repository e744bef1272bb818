"""Feast's connection_string: its addresses and options, and what these mean for each `redis_type`.

Feast's grammar: parts between commas. A part without "=" is host:port; the value of a part with "=" is read as JSON if
it is JSON, else as text:

    localhost:6379,db=1,password=secret     ->   localhost:6379   {"db": 1, "password": "secret"}

What the addresses are depends on `redis_type`: for `redis` the first one counts, for `redis_cluster` all are seeds, for
`redis_sentinel` all are sentinels. Beyond Feast, this server takes spaces after commas, IPv6 addresses in brackets, and
redis://, rediss:// and unix:// URLs, as Yummy does.

Host names are not resolved here, but in each attempt to connect. No message quotes a value, which may be a password,
except that of `ssl` and the path of a missing file.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
from redis.asyncio.connection import parse_url

from yummy_fast.errors import ConfigError
from yummy_fast.stores.redis_slots import Address

CLUSTER_OPTIONS: Mapping[str, str] = {
    "read_from_replicas": "used",
    "load_balancing_strategy": "used: any spreads reads over all nodes",
    "skip_full_coverage_check": "of Feast's docstring, and of redis-py before 4",
    "require_full_coverage": "slots without a node fail the requests for them alone",
    "dynamic_startup_nodes": "the seeds are always kept",
    "reinitialize_steps": "every change of the topology is followed",
    "cluster_error_retry_attempts": "the store's timeout decides",
    "max_connections": "there is one connection to a node",
}
"""Options that only RedisCluster has: the two that have an effect, and why the others have none."""

SENTINEL_OPTIONS = ("min_other_sentinels", "sentinel_kwargs", "force_master_ip")
"""Options that only Sentinel has."""

_OF_ONE_ADDRESS = ("host", "port", "unix_socket_path")
_SECONDS = ("socket_timeout", "socket_connect_timeout")


@dataclass(frozen=True, slots=True)
class Target:
    """What a connection_string says."""

    addresses: tuple[Address, ...]
    """Empty for a Unix socket."""
    options: Mapping[str, Any]
    """Keyword arguments of redis-py's for connections to Redis itself, but for host and port."""
    read_from_replicas: bool = False
    sentinel_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for connections to sentinels."""
    notices: tuple[str, ...] = ()
    """What the author of the string should know: a line each."""
    min_other_sentinels: int = 0
    force_master_ip: str = ""

    @property
    def uses_tls(self) -> bool:
        return bool(self.options.get("ssl"))

    @property
    def lacks_certificate(self) -> bool:
        """Whether TLS is used without a client certificate."""
        return self.uses_tls and "ssl_certfile" not in self.options


def parse_target(text: str, redis_type: str, where: str) -> Target:
    """What the connection_string `text` means for a `redis_type`. Raises ConfigError."""
    addresses, options = (
        _parse_url(text, where) if re.match(r"\s*\w+://", text) else _parse_parts(text, redis_type, where)
    )
    notices = drop_dotnet_options(options, where)
    if str(options.pop("protocol", 2)) != "2":
        raise ConfigError(f"{where}: protocol: this server speaks version 2, as Feast does")
    target = Target(tuple(addresses), options)
    if redis_type == "redis_cluster":
        target = _cluster_target(addresses, options, where)
    elif redis_type == "redis_sentinel":
        target = _sentinel_target(addresses, options, where)
    for given in (target.options, target.sentinel_options):
        _check(given, where)
        if redis_type != "redis" and not given.keys().isdisjoint(_OF_ONE_ADDRESS):
            raise ConfigError(f"{where}: {', '.join(_OF_ONE_ADDRESS)}: not with redis_type: {redis_type}")
    return replace(target, notices=notices)


def _parse_url(text: str, where: str) -> tuple[list[Address], dict[str, Any]]:
    if re.search(r",\s*(?:(?:redis|rediss|unix)://|[^@/,\s]+:\d+(?=[,/]|$))", text):
        raise ConfigError(f"{where}: expected the URL of one Redis, got a list of URLs")
    try:
        parts = urlsplit(text)
        options: dict[str, Any] = dict(parse_url(text))
    except ValueError:
        # Its message would quote the part at fault, which may be a part of the password.
        raise ConfigError(
            f"{where}: expected a URL such as redis://:password@host:6379/0; special characters in the password "
            "have to be percent-encoded"
        ) from None
    # redis-py takes a comma for a part of the host's name or of the path, and passes over a path that is no number: it
    # would read another database than was meant, or without TLS.
    if "," in parts.netloc.rpartition("@")[2] + parts.path:
        raise ConfigError(f"{where}: options of a URL stand behind a question mark, such as redis://host:6379?db=1")
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/\d{1,9}/?", parts.path):
        raise ConfigError(f"{where}: expected the number of a database behind the host, such as redis://host:6379/0")
    options.pop("connection_class", None)
    if "path" in options:
        options["unix_socket_path"] = options.pop("path")
        return [], options
    if text.startswith("rediss://"):
        options["ssl"] = True
    return [Address(options.pop("host", "localhost"), options.pop("port", 6379))], options


def _parse_parts(text: str, redis_type: str, where: str) -> tuple[list[Address], dict[str, Any]]:
    options: dict[str, Any] = {}
    found: list[str] = []
    for part in text.split(","):
        key, equals, value = part.lstrip().partition("=")
        if not equals:
            found.append(part.strip())
            continue
        try:
            options[key] = json.loads(value)
        except (ValueError, RecursionError):  # also of a number, or of brackets, without end
            options[key] = value
    if not found:
        raise ConfigError(f"{where}: expected host:port, then options; found no host")
    if redis_type == "redis":
        del found[1:]  # Feast does not look at the others
    return [_parse_address(part, where) for part in found], options


def _parse_address(text: str, where: str) -> Address:
    host, colon, port = text.rpartition(":")
    if "@" in host:  # redis-py would take it for the host's name, and name it in errors, with the password
        raise ConfigError(
            f"{where}: expected host:port first, without a user or password: these are options, such as "
            "localhost:6379,username=...,password=..., or parts of a URL, redis://username:password@localhost:6379"
        )
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or not host:
        raise ConfigError(f"{where}: expected host:port first, such as localhost:6379 or [::1]:6379")
    return Address(host.strip("[]"), int(port))


def _cluster_target(addresses: list[Address], options: dict[str, Any], where: str) -> Target:
    if not addresses:
        raise ConfigError(f"{where}: a Redis Cluster has no Unix sockets; expected host:port")
    if options.pop("db", 0) not in (0, None):
        raise ConfigError(f"{where}: db: a Redis Cluster has database 0 only")
    own = {name: options.pop(name) for name in CLUSTER_OPTIONS if name in options}
    spread = own.get("read_from_replicas", False)
    if type(spread) is not bool:
        raise ConfigError(f"{where}: read_from_replicas: expected true or false")
    return Target(tuple(addresses), options, spread or bool(own.get("load_balancing_strategy")))


def _sentinel_target(addresses: list[Address], options: dict[str, Any], where: str) -> Target:
    if not addresses:
        raise ConfigError(f"{where}: expected the sentinels' host:port")
    own = {name: options.pop(name) for name in SENTINEL_OPTIONS if name in options}
    least = own.get("min_other_sentinels", 0)
    if type(least) is not int or least < 0:
        raise ConfigError(f"{where}: min_other_sentinels: expected a whole number")
    # redis-py: without sentinel_kwargs, the sentinels get the socket_* options, and no password or TLS.
    for_sentinels = own.get("sentinel_kwargs")
    if for_sentinels is None:
        for_sentinels = {name: value for name, value in options.items() if name.startswith("socket_")}
    elif not isinstance(for_sentinels, dict):
        raise ConfigError(f'{where}: sentinel_kwargs: expected JSON with one key, such as {{"password":"..."}}')
    forced = own.get("force_master_ip")
    return Target(
        tuple(addresses),
        options,
        sentinel_options=for_sentinels,
        min_other_sentinels=least,
        force_master_ip="" if forced is None else str(forced),
    )


def _check(options: Mapping[str, Any], where: str) -> None:
    known = inspect.signature(redis.asyncio.Redis).parameters
    for name in options:
        if name not in known or name in ("connection_pool", "retry", "auto_close_connection_pool", "from_pool"):
            # A password with a comma in it ends there, and what follows may look like an option.
            is_known = name in known or get_close_matches(name, [*known, *CLUSTER_OPTIONS, *SENTINEL_OPTIONS], 1, 0.7)
            raise ConfigError(f"{where}: {name if is_known else 'an option'}: no such option of redis-py's")
    for name in ("port", "db", *_SECONDS):  # redis-py checks them when it connects
        value = options.get(name, 0)
        if type(value) is not int and not (type(value) is float and name in _SECONDS):
            raise ConfigError(f"{where}: {name}: expected a number")


_DOTNET_OPTIONS = frozenset(
    (
        "abortConnect",
        "allowAdmin",
        "asyncTimeout",
        "channelPrefix",
        "checkCertificateRevocation",
        "configChannel",
        "configCheckSeconds",
        "connectRetry",
        "connectTimeout",
        "highIntegrity",
        "keepAlive",
        "name",
        "proxy",
        "resolveDns",
        "responseTimeout",
        "setlib",
        "sslHost",
        "sslProtocols",
        "syncTimeout",
        "tiebreaker",
        "version",
        "writeBuffer",
    )
)
"""Options of StackExchange.Redis, the .NET client: Azure's portal shows a connection string for it. These say how that
client connects, and do not change what is read. Ignoring them is safe: without sslHost, the host's name is checked.
"""
_DOTNET_NAMES = {"user": "username", "defaultDatabase": "db"}
"""Options of that client that change which data is read, or as which user; and what Feast calls them."""


def drop_dotnet_options(options: dict[str, Any], where: str) -> tuple[str, ...]:
    """Remove the options of the .NET client; returns notices. Raises ConfigError for one that Feast calls otherwise."""
    known = {name.lower(): name for name in _DOTNET_OPTIONS}
    for name, ours in _DOTNET_NAMES.items():
        for given in options:
            if given.lower() == name.lower():
                raise ConfigError(f"{where}: {given}: an option of .NET clients; Feast calls it {ours}")
    found = [given for given in options if given.lower() in known]
    for given in found:
        del options[given]
    # True and False are not JSON, so Feast reads them as texts, and any text turns TLS on.
    notices = [f"{where}: {', '.join(found)}: ignored: only .NET clients know these options"] if found else []
    if options.get("ssl") in ("False", "FALSE"):
        notices.append(f"{where}: ssl={options['ssl']} turns TLS on, as in Feast: only ssl=false turns it off")
    return tuple(notices)


_FILE_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


def check_files(options: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError if a file for TLS is missing. redis-py would find out when it connects, and name no file."""
    for name in _FILE_OPTIONS:
        path = options.get(name)
        if isinstance(path, str) and not Path(path).exists():
            raise ConfigError(f"{where}: {name}: there is no file {path}")
