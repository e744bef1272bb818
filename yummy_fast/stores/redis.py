"""Feast's Redis layout: one command per entity row, one round trip.

Feast keeps all views of an entity in one hash (feast/infra/online_stores/redis.py, Feast 0.67.0). The key is the entity
key followed by the project; the fields are hashes of "view:feature", and "_ts:view" for the timestamps. Driver 1001 of
the project `rides`, with a view `stats`:

    key    01000000 02000000 09000000 "driver_id" 04000000 08000000 e903000000000000 "rides"
    field  eb342a65    -> the Value of stats:trips
    field  "_ts:stats" -> when this row of stats happened

So a Lookup costs one HMGET per entity, or one HGETALL where that is cheaper (`redis_hash`), whatever the number of its
views; and a request costs one write, which it shares with all requests of the same tick of the event loop.

All requests share one connection (`redis_connection`). This file makes it, and makes a new one when it ends.

A request does not wait for a Redis that is known to be gone. Without a connection, and while a connection has been
silent for the store's timeout, a fetch fails at once. What was sent before stays in the connection's FIFO, so that the
first bytes of a reply end the silence; after twice the timeout the connection is closed. docs/reliability.md has the
table of faults.

redis-py reads the connection string, resolves the name, connects and authenticates, all of it again for each attempt.
Then this file takes over redis-py's transport, because its own pipeline costs ten times the CPU. This file does not
know HTTP, and does not decode Values.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import random
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis.asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, ClusterError, MovedError, NoPermissionError, RedisError

from yummy_fast.config.repository import Repository
from yummy_fast.config.settings import StoreOptions
from yummy_fast.errors import ConfigError, StoreUnavailableError
from yummy_fast.feast_format.keys import entity_key_header, timestamp_field
from yummy_fast.features.plan import Feature, Lookup, Rows
from yummy_fast.features.written import Chosen, WrittenView
from yummy_fast.native.owner import Picker
from yummy_fast.stores import redis_hash
from yummy_fast.stores.online_store import StoreState, check_keys
from yummy_fast.stores.redis_connection import PendingFetch, PendingWrite, RedisConnection
from yummy_fast.stores.redis_hash import HashReader
from yummy_fast.stores.redis_rows import HashWriter, RowsCommand
from yummy_fast.stores.redis_turns import Part, cost_of
from yummy_fast.stores.resp import render_command
from yummy_fast.telemetry.once_log import OnceLog

if TYPE_CHECKING:
    from yummy_fast.stores.looks import Looks
    from yummy_fast.stores.survey import Survey

logger = logging.getLogger("yummy_fast")

_KEYS = frozenset(
    (
        "type",
        "redis_type",
        "sentinel_master",
        "connection_string",
        "key_ttl_seconds",
        "full_scan_for_deletion",
        "skip_dedup",
        "client",
    )
)
"""Keys of Feast's RedisOnlineStoreConfig; it refuses others, and so do we."""

MAX_REASONS_LOGGED = 10
"""While Redis cannot be reached, each reason is logged once, and no more reasons than these."""

_CANNOT_CONNECT = (RedisError, OSError, RuntimeError, TypeError, ValueError, OverflowError)
"""What redis-py raises when it cannot connect. RuntimeError comes from uvloop, for a connection that is reset before
the first command is written; the last three come from options of a wrong type.
"""

RETRY_FIRST_S, RETRY_LAST_S = 0.05, 0.5
"""The first and the longest pause between attempts to connect. A pause is twice the one before, with jitter; the
longest is short enough to be connected a second after Redis is back.
"""

CONNECT_STEP_S = 0.5
"""How long each step of connecting may take (TCP and TLS, then each reply); or half the store's timeout, if more.

An attempt that hangs when the fault ends must not use up the second in which we want to be connected again.
"""

CHECK_EVERY_S = 0.01
"""While fetches are sent, their order is checked so often (`RedisConnection`). A check costs a few microseconds: at a
hundred a second, a thousandth of what a request does."""

RENDERED_AT_ONCE = 32
"""Rows of a push that are rendered in one go: a millisecond, of 250 features each. More have turns."""

_PROBE_FIELD = timestamp_field("")
_PROBE_PICKERS = {"hmget": Picker([_PROBE_FIELD], False), "hgetall": Picker([_PROBE_FIELD], True)}

SETTLED_S = 1.0
"""A connection that ends sooner counts as a failed attempt, so there is a pause before the next attempt."""

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 5, 1, 3
"""TCP keep-alive: the kernel probes a connection that has been idle for 5 s. Redis probes its clients after 300 s."""

MIN_USER_TIMEOUT_MS = 1000
"""TCP_USER_TIMEOUT is the store's timeout, but not less than this, so that there is time to send a lost packet again:
Linux does so after 200 ms.
"""


class RedisStore:
    """An `OnlineStore`: Feast's `type: redis` with `redis_type: redis`."""

    absent_is_present = True
    notices: tuple[str, ...]

    def __init__(self, repository: Repository, options: StoreOptions) -> None:
        block = repository.online_store
        where = f"{repository.source}: online_store"
        check_keys(block, _KEYS, where)
        if block.get("redis_type", "redis") != "redis":
            raise ConfigError(f"{where}.redis_type: this server reads a single Redis, not {block['redis_type']!r}")
        connection_string = block.get("connection_string", "localhost:6379")
        if isinstance(connection_string, list):
            raise ConfigError(f"{where}.connection_string: expected the address of one Redis, got a list")
        self._client_options = parse_connection_string(str(connection_string), f"{where}.connection_string")
        self.notices = drop_dotnet_options(self._client_options, f"{where}.connection_string")
        check_files(self._client_options, f"{where}.connection_string")
        ttl_s = block.get("key_ttl_seconds")
        if ttl_s is not None and (type(ttl_s) is not int or ttl_s < 0):
            raise ConfigError(f"{where}.key_ttl_seconds: expected a whole number of seconds, got {ttl_s!r}")
        skip_dedup = block.get("skip_dedup", False)
        if type(skip_dedup) is not bool:
            raise ConfigError(f"{where}.skip_dedup: expected true or false, got {skip_dedup!r}")
        self._ttl_s = ttl_s or 0
        self.compares_times = not skip_dedup
        self.state = StoreState()
        self._suffix = repository.project.encode()
        self._timeout_s = options.timeout_ms / 1000
        self._connect_step_s = max(CONNECT_STEP_S, self._timeout_s / 2)
        self._max_reply_bytes = options.max_reply_bytes
        self._max_commands = options.max_commands
        self._read = options.redis_read
        self._probe_by_name: dict[str, tuple[bytes, ...]] = {}
        """For each command that plans use, one that reads what is not there."""
        self._refusals: dict[str, str] = {}
        """The code of the error that each of these got last."""
        self._connection: RedisConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if str(self._client_options.pop("protocol", 2)) != "2":
            raise ConfigError(f"{where}.connection_string: protocol: this server speaks version 2, as Feast does")
        for name in self._client_options:
            if name not in inspect.signature(redis.asyncio.Redis).parameters:
                raise ConfigError(f"{where}.connection_string: {name}: no such option of redis-py's")
        for name in ("port", "db", "socket_timeout", "socket_connect_timeout"):  # redis-py checks them when it connects
            value = self._client_options.get(name, 0)
            if type(value) is not int and not (type(value) is float and name.startswith("socket")):
                raise ConfigError(f"{where}.connection_string: {name}: expected a number")
        try:
            client = self._client()
        except (TypeError, ValueError, RedisError) as error:
            raise ConfigError(f"{where}.connection_string: {error}") from None
        given = client.connection_pool.connection_kwargs
        self.address = given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"

    def _client(self) -> redis.asyncio.Redis:
        return redis.asyncio.Redis(
            # One attempt, because `_keep_connected` does the retrying. RESP2, so that a hash is a flat list.
            **{
                "socket_connect_timeout": self._connect_step_s,
                "socket_timeout": self._connect_step_s,
                **self._client_options,
            },
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    # ------------------------------------------------------------------------------------------------ connecting

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        attempted = asyncio.Event()
        self._connecting = self._loop.create_task(self._keep_connected(attempted))
        await attempted.wait()

    async def close(self) -> None:
        if self._connecting is not None:
            while not self._connecting.done():  # redis-py may swallow a cancellation while it connects
                self._connecting.cancel()
                await asyncio.wait((self._connecting,), timeout=0.1)

    async def ping(self) -> str:
        client = self._client()
        try:
            for command in self._probes().values():
                await client.execute_command(*command)  # type: ignore[no-untyped-call]
            try:
                info = await client.info("server")
            except NoPermissionError:  # it is enough for us that the user may read hashes
                return f"Redis or Valkey at {self.address} (this user may not ask for its version)"
        except _CANNOT_CONNECT as error:
            raise StoreUnavailableError(f"{self.address}: {self._reason(error)}") from None
        finally:
            await client.aclose()
        server = "Valkey" if "valkey_version" in info else "Redis"
        return f"{server} {info.get('valkey_version', info.get('redis_version'))} at {self.address}"

    async def survey(self, views: Sequence[str]) -> Survey:
        return await asyncio.to_thread(self._survey, views)

    def _survey(self, views: Sequence[str]) -> Survey:
        from yummy_fast.stores.redis_survey import survey_redis

        with contextlib.closing(self.looks()) as looks:
            return survey_redis(looks, self._suffix, views)

    def looks(self) -> Looks:
        from yummy_fast.stores.redis_looks import RedisLooks  # which nothing that serves needs

        return RedisLooks(
            self.address,
            self._client_options,
            timeout_s=self._connect_step_s,
            key_ttl_s=self._ttl_s,
            reason=self._reason,
        )

    async def _keep_connected(self, attempted: asyncio.Event) -> None:
        """Connect, wait until the connection ends, connect again, for ever. `attempted` is set after the first attempt,
        whether or not it succeeded.
        """
        loop = asyncio.get_running_loop()
        once_log = OnceLog(logger, max_messages=MAX_REASONS_LOGGED)
        down = False
        pause_s = RETRY_FIRST_S
        while True:
            began = loop.time()
            try:
                connector, connection = await self._connect()
            except Exception as error:  # of any kind: if this task ended, the server would never connect again
                once_log.log(
                    logging.ERROR, "online store %s: cannot connect: %s; retrying", self.address, self._reason(error)
                )
                down = True
                self.state.failures += 1
                attempted.set()
                pause_s = await self._pause(pause_s, loop.time() - began)
                continue
            if down:
                logger.warning("online store %s: connected again", self.address)
            down = False
            once_log.forget()
            self._connection = connection
            self._refusals.clear()
            self.state.refusal = ""
            self.state.crowded = False
            self.state.connects += 1
            self.state.connections = 1
            attempted.set()
            began = loop.time()
            try:
                await connection.lost
                self.state.losses += 1
            finally:
                self._connection = None
                self.state.connections = 0
                connection.abort()
                with contextlib.suppress(*_CANNOT_CONNECT):
                    await connector.disconnect(nowait=True)
            logger.error("online store %s: connection lost: %s", self.address, connection.lost.result())
            down = True
            if loop.time() - began < SETTLED_S:
                pause_s = await self._pause(pause_s, 0)
            else:
                pause_s = RETRY_FIRST_S

    async def _connect(self) -> tuple[Any, RedisConnection]:
        """Attempt once to connect. Returns redis-py's connection, and ours, which has taken over its transport."""
        # A new object for each attempt, because one that exists would not resolve the name again.
        connector = self._client().connection_pool.make_connection()  # type: ignore[no-untyped-call]
        await connector.connect()
        # Without a password, or the right to read, one may connect all the same; but then every request would fail.
        for command in self._probes().values():
            await connector.send_command(*command)
            await connector.read_response()
        # The one use of a private name: redis-py has no public way to hand over its transport.
        transport = connector._writer.transport
        self._let_kernel_detect_dead_peer(transport)
        connection = RedisConnection(
            transport, self._timeout_s, self._max_reply_bytes, self.state, self._max_commands, CHECK_EVERY_S
        )
        return connector, connection

    def _reason(self, error: BaseException) -> str:
        options = self._client_options
        if isinstance(error, ClusterError | ClusterDownError | MovedError):  # MOVED, ASK, CLUSTERDOWN, CROSSSLOT
            return f"this is a node of a Redis Cluster, and online_store.redis_type is redis: {error}"
        return _reason(error, tls_without_certificate=bool(options.get("ssl")) and "ssl_certfile" not in options)

    async def _pause(self, pause_s: float, spent_s: float) -> float:
        """Sleep before the next attempt; the last one took `spent_s` of the pause. Returns the pause after it."""
        jitter = random.uniform(0.5, 1)  # noqa: S311  # no secret
        await asyncio.sleep(jitter * max(pause_s - spent_s, RETRY_FIRST_S))
        return min(2 * pause_s, RETRY_LAST_S)

    def _let_kernel_detect_dead_peer(self, transport: Any) -> None:
        """Have the kernel end a connection whose other machine is gone: otherwise it only looks idle or slow."""
        tcp = transport.get_extra_info("socket")
        if tcp is None or tcp.family == getattr(socket, "AF_UNIX", None) or "socket_keepalive" in self._client_options:
            return
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        user_timeout_ms = max(MIN_USER_TIMEOUT_MS, round(self._timeout_s * 1000))
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", user_timeout_ms),  # Linux only; elsewhere our own deadlines end the connection, later
        ):
            option = getattr(socket, name, None)
            if option is not None:
                tcp.setsockopt(socket.IPPROTO_TCP, option, value)

    @property
    def in_flight(self) -> int:
        connection = self._connection  # one read: another thread may call this while the connection ends
        return 0 if connection is None else connection.in_flight

    def ping_if_idle(self) -> None:
        for name, command in self._probes().items():
            if self._connection is not None:
                found = partial(self._probed, name, self._connection)
                self._connection.probe(render_command(*command), _PROBE_PICKERS[name], found)

    def _probes(self) -> dict[str, tuple[bytes, ...]]:
        """For each command by which requests read (hmget, hgetall), one that reads a hash that is not there."""
        return dict(self._probe_by_name) or {"hgetall" if self._read == "hgetall" else "hmget": self._probe(self._read)}

    def _probe(self, name: str, join_keys: Sequence[str] = ()) -> tuple[bytes, ...]:
        """The key begins and ends as those of entities do, because a user may be allowed keys by a pattern."""
        key = entity_key_header(list(join_keys), 3) + self._suffix
        return (b"HGETALL", key) if name == "hgetall" else (b"HMGET", key, _PROBE_FIELD)

    def _probed(self, name: str, connection: RedisConnection, refusal: str) -> None:
        """A probe was answered, with this error if it is not empty."""
        self._refusals[name] = refusal.partition(" ")[0]
        code = next(filter(None, self._refusals.values()), "")
        if refusal and not self.state.refusal:
            logger.error("online store %s: refuses to be read: %s", self.address, refusal)
        elif self.state.refusal and not code:
            logger.warning("online store %s: can be read again", self.address)
        self.state.refusal = code
        if code == "NOAUTH":
            connection.abort()  # a new one may be let in, this one is not any more

    # --------------------------------------------------------------------------------------------------- reading

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[HashReader]:
        readers = [HashReader(lookup, self._read, self._suffix) for lookup in lookups]
        for reader, lookup in zip(readers, lookups, strict=True):
            if reader.name not in self._probe_by_name:
                join_keys = [join_key for join_key, _ in lookup.join_keys]
                self._probe_by_name[reader.name] = self._probe(reader.name, join_keys)
        return readers

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        return redis_hash.collisions(features)

    def describe(self, prepared: list[HashReader]) -> list[str]:
        return [str(reader) for reader in prepared]

    def check_room(self, keys: int) -> None:
        if self._connection is not None:
            self._connection.check_room(keys)

    def fetch(self, prepared: list[HashReader], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        future: asyncio.Future[Rows] = self._loop.create_future()
        if not prepared:
            future.set_result([])
        elif self._connection is None:
            future.set_exception(StoreUnavailableError("The online store cannot be reached"))
        else:
            for reader in prepared:
                reader.check_lengths()
            count = len(keys[0]) if len(keys) == 1 else sum(map(len, keys))
            if count <= self._connection.room:
                parts = [(reader.picker, len(group)) for reader, group in zip(prepared, keys, strict=True)]
                commands = [reader.command.render(group) for reader, group in zip(prepared, keys, strict=True)]
                cost = cost_of(count, len(commands[0]) if len(commands) == 1 else sum(map(len, commands)))
                self._connection.send(PendingFetch(future, parts), commands, cost)
            else:
                turns = [
                    Part(reader.command, reader.picker, group) for reader, group in zip(prepared, keys, strict=True)
                ]
                self._connection.send_in_turns(future, turns)
        return future

    # --------------------------------------------------------------------------------------------------- writing

    def prepare_write(self, view: WrittenView) -> HashWriter:
        return HashWriter(view, self._suffix, self._ttl_s)

    def write(self, writes: Sequence[tuple[HashWriter, Chosen]]) -> asyncio.Future[None]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        future: asyncio.Future[None] = self._loop.create_future()
        count = sum(len(chosen.numbers) for _, chosen in writes)
        if not count:
            future.set_result(None)
            return future
        connection = self._connection
        if connection is None:
            future.set_exception(StoreUnavailableError("The online store cannot be reached"))
            return future
        replies_of = writes[0][0].replies
        if count <= RENDERED_AT_ONCE:
            commands = [writer.render(chosen.rows, chosen.numbers) for writer, chosen in writes if chosen.numbers]
            cost = cost_of(count * replies_of, sum(map(len, commands)))
            if cost <= connection.room:
                connection.send(PendingWrite(future, count * replies_of), commands, cost)
                return future
        parts = [Part(RowsCommand(*one), None, one[1].numbers) for one in writes if one[1].numbers]
        connection.write_in_turns(future, parts, replies_of)
        return future


# -------------------------------------------------------------------------------------------------------- the details


def parse_connection_string(text: str, where: str) -> dict[str, Any]:
    """Keyword arguments for redis-py from Feast's connection_string. Raises ConfigError, which never quotes it.

    Feast's grammar: parts between commas. A part without "=" is host:port, and the first such part counts; the value
    of a part with "=" is read as JSON if it is JSON, else as text:

        localhost:6379,db=1,password=secret   ->   {"host": "localhost", "port": 6379, "db": 1, "password": "secret"}

    Beyond Feast: spaces after commas, IPv6 addresses in brackets, and redis://, rediss:// and unix:// URLs, which Yummy
    takes.
    """
    if "://" in text:
        if re.search(r",\s*(?:(?:redis|rediss|unix)://|[^@/,\s]+:\d+(?=[,/]|$))", text):
            raise ConfigError(f"{where}: expected the URL of one Redis, got a list of URLs")
        try:
            options: dict[str, Any] = dict(parse_url(text))
        except ValueError:
            # Its message would quote the part at fault, which may be a part of the password.
            raise ConfigError(
                f"{where}: expected a URL such as redis://:password@host:6379/0; special characters in the password "
                "have to be percent-encoded"
            ) from None
        options.pop("connection_class", None)
        if "path" in options:
            options["unix_socket_path"] = options.pop("path")
        return options | ({"ssl": True} if text.startswith("rediss://") else {})
    options = {}
    addresses: list[str] = []
    for part in text.split(","):
        key, equals, value = part.lstrip().partition("=")
        if not equals:
            addresses.append(part.strip())
            continue
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    if not addresses:
        raise ConfigError(f"{where}: expected host:port, then options; found no host")
    host, colon, port = addresses[0].rpartition(":")
    if "@" in host:  # redis-py would take it for the host's name, and name it in errors, with the password
        raise ConfigError(
            f"{where}: expected host:port first, without a user or password: these are options, such as "
            "localhost:6379,username=...,password=..., or parts of a URL, redis://username:password@localhost:6379"
        )
    if not colon or not port.isdecimal() or int(port) > 65535 or not host:
        raise ConfigError(f"{where}: expected host:port first, such as localhost:6379 or [::1]:6379")
    return {"host": host.strip("[]"), "port": int(port), **options}


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
client connects, and change nothing of what is read. To ignore one is safe: without sslHost, the host's name is checked.
"""
_DOTNET_NAMES = {"user": "username", "defaultDatabase": "db"}
"""Those that do change what is read, and what Feast calls them."""


def drop_dotnet_options(options: dict[str, Any], where: str) -> tuple[str, ...]:
    """Remove what only the .NET client knows; a line for people about it. Raises ConfigError for what matters here."""
    known = {name.lower(): name for name in _DOTNET_OPTIONS}
    for name, ours in _DOTNET_NAMES.items():
        for given in options:
            if given.lower() == name.lower():
                raise ConfigError(f"{where}: {given}: an option of .NET clients; Feast calls it {ours}")
    found = [given for given in options if given.lower() in known]
    for given in found:
        del options[given]
    # Feast reads a value as JSON if it is JSON, and True and False are none: they are texts, and any text means yes.
    notices = [f"{where}: {', '.join(found)}: ignored: only .NET clients know these options"] if found else []
    if options.get("ssl") in ("False", "FALSE"):
        notices.append(f"{where}: ssl={options['ssl']} turns TLS on, as in Feast: only ssl=false turns it off")
    return tuple(notices)


_FILE_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


def check_files(options: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError for a file that TLS needs and that is not there: when it connects, redis-py names no file."""
    for name in _FILE_OPTIONS:
        path = options.get(name)
        if isinstance(path, str) and not Path(path).exists():
            raise ConfigError(f"{where}: {name}: there is no file {path}")


def _reason(error: BaseException, *, tls_without_certificate: bool = False) -> str:
    """Why a connection failed, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    # A server that demands a certificate says so in an alert, or just ends the connection, before or after the
    # handshake: in TLS 1.3, the client is done before the server has looked.
    cause: BaseException | None = error
    while tls_without_certificate and cause is not None:
        if isinstance(cause, ConnectionResetError | BrokenPipeError) or _TLS_ALERT.search(str(cause)):
            return (
                f"{text.rstrip('.')}; if the server demands a client certificate, give ssl_certfile=... and "
                "ssl_keyfile=... in online_store.connection_string"
            )
        cause = cause.__cause__ or cause.__context__
    return text


_TLS_ALERT = re.compile(r"(?i)certificate.required|handshake.failure|connection closed by server")
