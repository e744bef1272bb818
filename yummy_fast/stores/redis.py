"""Feast's Redis layout: one command per entity row, one round trip.

Feast keeps all views of an entity in one hash (feast/infra/online_stores/redis.py, Feast 0.67.0): key = entity key +
project, fields = hashes of "view:feature" and "_ts:view". So a Lookup of any number of views costs one HMGET, or one
HGETALL where that is cheaper (`redis_hash`), per entity; and a request costs one write, shared with all requests
of the same tick of the event loop.

One connection is multiplexed by all requests (`redis_wire`); this file makes it, and makes it again.

A Redis that is known to be gone costs a request nothing: without a connection, and while one has been silent for the
store's timeout, a fetch fails at once. What was asked before keeps its place, so the first bytes of an answer end the
silence; after twice the timeout the connection is given up. docs/reliability.md has the table of faults.

redis-py reads the connection string, looks the name up, connects and authenticates, from the beginning every time; then
its transport is taken over, because its own pipeline costs ten times the CPU. This file does not know HTTP, and does
not decode Values.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import random
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError

from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.errors import ConfigError, StoreUnavailableError
from yummy_fast.features.plan import Feature, Lookup, Rows
from yummy_fast.stores import redis_hash
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import PendingFetch, RedisConnection
from yummy_fast.stores.redis_hash import HashReader

logger = logging.getLogger("yummy_fast")

_KEYS = frozenset(
    (
        *("type", "redis_type", "sentinel_master", "connection_string", "key_ttl_seconds"),
        *("full_scan_for_deletion", "skip_dedup", "client"),
    )
)
"""Keys of Feast's RedisOnlineStoreConfig; it refuses others, and so do we."""

MAX_TOLD = 10
"""Different reasons for not connecting that are logged until it connects again."""

_CANNOT_CONNECT = (RedisError, OSError, RuntimeError, TypeError, ValueError, OverflowError)
"""What redis-py raises when it cannot connect: the last three for options of a wrong type, RuntimeError out of uvloop
for a connection that is reset before the first command is written.
"""

RETRY_FIRST_S, RETRY_LAST_S = 0.05, 0.5
"""Between attempts to connect: doubling, with jitter, and short enough to be back a second after Redis is."""

CONNECT_STEP_S = 0.5
"""How long each step of connecting may take (TCP and TLS, then each reply); or half the store's timeout, if more.

An attempt that hangs when the fault ends must not use up the second in which we want to be back.
"""

SETTLED_S = 1.0
"""A connection that ends sooner counts as a failed attempt: the next one waits its turn."""

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 5, 1, 3
"""An idle connection is asked after this long whether anybody is there. Redis asks its clients after 300 s."""

LEAST_USER_TIMEOUT_MS = 1000
"""TCP_USER_TIMEOUT is the store's timeout, but leaves time for a lost packet to be sent again: Linux waits 200 ms."""


class RedisStore:
    """An `OnlineStore`: Feast's `type: redis` with `redis_type: redis`."""

    absent_is_present = True

    def __init__(self, config: Config) -> None:
        block = config.online_store
        where = f"{config.source}: online_store"
        for key in block:
            if key not in _KEYS:
                raise ConfigError(f"{where}.{key}: no such key; expected one of: {', '.join(sorted(_KEYS))}")
        if block.get("redis_type", "redis") != "redis":
            raise ConfigError(f"{where}.redis_type: this server reads a single Redis, not {block['redis_type']!r}")
        connection_string = block.get("connection_string", "localhost:6379")
        self._client_options = parse_connection_string(str(connection_string), f"{where}.connection_string")
        self.state = StoreState()
        self._suffix = config.project.encode()
        self._timeout_s = config.store_timeout_ms / 1000
        self._max_reply_bytes = config.max_reply_bytes
        self._read = config.redis_read
        self._wire: RedisConnection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        for name in self._client_options:
            if name not in inspect.signature(redis.asyncio.Redis).parameters:
                raise ConfigError(f"{where}.connection_string: {name}: no such option of redis-py's")
        for name in ("port", "db", "socket_timeout", "socket_connect_timeout"):  # redis-py finds out when it connects
            value = self._client_options.get(name, 0)
            if type(value) is not int and not (type(value) is float and name.startswith("socket")):
                raise ConfigError(f"{where}.connection_string: {name}: expected a number")
        try:
            client = self._client()
        except (TypeError, ValueError, RedisError) as error:
            raise ConfigError(f"{where}.connection_string: {error}") from None
        options = client.connection_pool.connection_kwargs
        self.address = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    def _client(self) -> redis.asyncio.Redis:
        step_s = max(CONNECT_STEP_S, self._timeout_s / 2)
        return redis.asyncio.Redis(
            # One attempt at a time: `_keep_connected` is the loop around it. RESP2, so that a hash is a flat list.
            **{"socket_connect_timeout": step_s, "socket_timeout": step_s, **self._client_options},
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    # ------------------------------------------------------------------------------------------------ connecting

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        connected = asyncio.Event()
        self._keeper = self._loop.create_task(self._keep_connected(connected))
        await connected.wait()  # for the first attempt to end, well or not

    async def close(self) -> None:
        if self._keeper is not None:
            while not self._keeper.done():  # while redis-py connects, a cancellation can get lost in it
                self._keeper.cancel()
                await asyncio.wait((self._keeper,), timeout=0.1)

    async def ping(self) -> str:
        client = self._client()
        try:
            info = await client.info("server")
        except NoPermissionError:  # a user who may read hashes, and no more, is enough
            return f"Redis or Valkey at {self.address}, whose version its user may not ask for"
        except _CANNOT_CONNECT as error:
            raise StoreUnavailableError(f"{self.address}: {_reason(error)}") from None
        finally:
            await client.aclose()
        server = "Valkey" if "valkey_version" in info else "Redis"
        return f"{server} {info.get('valkey_version', info.get('redis_version'))} at {self.address}"

    async def _keep_connected(self, attempted: asyncio.Event) -> None:
        """Connect, wait for the end of the connection, connect again; for ever."""
        loop = asyncio.get_running_loop()
        told: set[str] = set()
        """Why it could not connect since it last could; the log gets each reason once."""
        down = False
        pause = RETRY_FIRST_S
        while True:
            began = loop.time()
            try:
                # A new connection object each time: it looks the name up, and authenticates, from the beginning.
                connection = self._client().connection_pool.make_connection()  # type: ignore[no-untyped-call]
                await connection.connect()
                # The one use of a private name: redis-py has no public way to give its connected transport away.
                transport = connection._writer.transport
                self._notice_dead_peers(transport)
                wire = RedisConnection(transport, self._timeout_s, self._max_reply_bytes, self.state)
            except Exception as error:  # whatever it is: without another attempt, this server would be down for ever
                reason = _reason(error)
                if reason not in told and len(told) < MAX_TOLD:
                    told.add(reason)
                    logger.error("online store %s: cannot connect: %s; trying on", self.address, reason)
                down = True
                self.state.failures += 1
                attempted.set()
                pause = await self._pause(pause, loop.time() - began)
                continue
            if down:
                logger.warning("online store %s: connected again", self.address)
            down = False
            told.clear()
            self._wire = wire
            self.state.connects += 1
            self.state.connections = 1
            attempted.set()
            began = loop.time()
            try:
                await wire.lost
                self.state.losses += 1
            finally:
                self._wire = None
                self.state.connections = 0
                transport.abort()
                with contextlib.suppress(*_CANNOT_CONNECT):
                    await connection.disconnect(nowait=True)
            logger.error("online store %s: connection lost: %s", self.address, wire.lost.result())
            down = True
            if loop.time() - began < SETTLED_S:
                pause = await self._pause(pause, 0)
            else:
                pause = RETRY_FIRST_S

    async def _pause(self, pause: float, spent_s: float) -> float:
        """Wait for the next attempt's turn, of which the last one has taken `spent_s`. The pause after that."""
        jitter = random.uniform(0.5, 1)  # noqa: S311  # no secret
        await asyncio.sleep(jitter * max(pause - spent_s, RETRY_FIRST_S))
        return min(2 * pause, RETRY_LAST_S)

    def _notice_dead_peers(self, transport: Any) -> None:
        """Let the kernel end a connection to a machine that is gone, which would otherwise look idle or slow."""
        tcp = transport.get_extra_info("socket")
        if tcp is None or tcp.family == getattr(socket, "AF_UNIX", None) or "socket_keepalive" in self._client_options:
            return
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        user_timeout_ms = max(LEAST_USER_TIMEOUT_MS, round(self._timeout_s * 1000))
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", user_timeout_ms),  # Linux alone: without it, silence ends the connection, later
        ):
            option = getattr(socket, name, None)
            if option is not None:
                tcp.setsockopt(socket.IPPROTO_TCP, option, value)

    @property
    def in_flight(self) -> int:
        wire = self._wire
        return 0 if wire is None else wire.in_flight

    def ping_if_idle(self) -> None:
        if self._wire is not None:
            self._wire.ping_if_silent()

    # --------------------------------------------------------------------------------------------------- reading

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[HashReader]:
        return [HashReader(lookup, self._read, self._suffix) for lookup in lookups]

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        return redis_hash.collisions(features)

    def describe(self, prepared: list[HashReader]) -> list[str]:
        return [str(reader) for reader in prepared]

    def fetch(self, prepared: list[HashReader], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        future: asyncio.Future[Rows] = self._loop.create_future()
        if not prepared:
            future.set_result([])
        elif self._wire is None:
            future.set_exception(StoreUnavailableError("The online store cannot be reached"))
        else:
            parts = [(reader.make_row, len(group)) for reader, group in zip(prepared, keys, strict=True)]
            commands = [reader.command.render(group) for reader, group in zip(prepared, keys, strict=True)]
            self._wire.send(PendingFetch(future, parts), commands)
        return future


# -------------------------------------------------------------------------------------------------------- the details


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def parse_connection_string(text: str, where: str) -> dict[str, Any]:
    """Keyword arguments for redis-py from Feast's connection_string. Raises ConfigError, which never quotes it.

    Feast's grammar: pieces between commas; one without "=" is host:port, of which the first counts; the value of one
    with "=" is read as JSON if it can be. Beyond Feast: IPv6 addresses in brackets, and redis://, rediss:// and
    unix:// URLs, which Yummy takes.
    """
    if "://" in text:
        try:
            options: dict[str, Any] = dict(parse_url(text))
        except ValueError:
            # Its message would quote the piece that it stumbled over, which may be of the password.
            raise ConfigError(
                f"{where}: expected a URL such as redis://:password@host:6379/0; special characters in the password "
                "have to be percent-encoded"
            ) from None
        options.pop("connection_class", None)
        if "path" in options:
            options["unix_socket_path"] = options.pop("path")
        return options | ({"ssl": True} if text.startswith("rediss://") else {})
    options = {}
    nodes: list[str] = []
    for piece in text.split(","):
        key, equals, value = piece.partition("=")
        if not equals:
            nodes.append(piece)
            continue
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    if not nodes:
        raise ConfigError(f"{where}: expected host:port, then options; found no host")
    host, colon, port = nodes[0].rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or not host:
        raise ConfigError(f"{where}: expected host:port first, such as localhost:6379 or [::1]:6379")
    return {"host": host.strip("[]"), "port": int(port), **options}
