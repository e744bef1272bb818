"""Feast's Redis layout: one command per entity row, one round trip.

Feast keeps all views of an entity in one hash (feast/infra/online_stores/redis.py, Feast 0.67.0): key = entity key +
project, fields = hashes of "view:feature" and "_ts:view". So a Lookup of any number of views costs one HMGET, or one
HGETALL where that is cheaper (`choose_command`), per entity; and a request costs one write, shared with all requests
of the same tick of the event loop.

One connection is multiplexed by all requests. Replies come in the order of the commands, so requests wait in a FIFO,
and a request that was given up *keeps its place*: its replies are read and dropped. (Where a client forgets it, one
caller gets another's data: CVE-2023-28858.) A reply reaches its request by `future.set_result` only: nothing that a
request does can run, or raise, on this connection's stack.

redis-py reads the connection string, connects and authenticates; then its transport is taken over, because its own
pipeline costs ten times the CPU. This file does not know HTTP, and does not decode Values.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from yummy_fast.codec import ValueType, feature_field, timestamp_field
from yummy_fast.config import Config
from yummy_fast.errors import ConfigError, StoreError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.plan import Lookup
from yummy_fast.resp import CommandTemplate, ProtocolError, ReplyError, ReplyParser
from yummy_fast.stores import Rows

logger = logging.getLogger("yummy_fast")

_KEYS = frozenset(
    (
        *("type", "redis_type", "sentinel_master", "connection_string", "key_ttl_seconds"),
        *("full_scan_for_deletion", "skip_dedup", "client"),
    )
)
"""Keys of Feast's RedisOnlineStoreConfig; it refuses others, and so do we."""

RETRY_FIRST_S, RETRY_LAST_S = 0.05, 0.5
"""Pauses between attempts to connect: doubling, with jitter, and short enough to be back a second after Redis is."""


class _Prepared(NamedTuple):
    """A Lookup, ready to be read."""

    command: CommandTemplate
    row: Callable[[list[Any]], Sequence[bytes | None]] | None
    """What makes a row of a reply; None where the reply is the row."""
    description: str


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
        self._suffix = config.project.encode()
        self._timeout_s = config.store_timeout_ms / 1000
        self._read = config.redis_read
        self._wire: _Wire | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            client = self._client()
        except (TypeError, ValueError, RedisError) as error:
            raise ConfigError(f"{where}.connection_string: {error}") from None
        options = client.connection_pool.connection_kwargs
        self.address = f"{options.get('host', options.get('path', 'localhost'))}:{options.get('port', 6379)}"

    def _client(self) -> redis.asyncio.Redis:
        return redis.asyncio.Redis(
            # One attempt at a time: `_keep_connected` is the loop around it. RESP2, so that a hash is a flat list.
            **{"socket_connect_timeout": self._timeout_s, "socket_timeout": self._timeout_s, **self._client_options},
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
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def ping(self) -> str:
        client = self._client()
        try:
            info = await client.info("server")
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"{self.address}: {_reason(error)}") from None
        finally:
            await client.aclose()
        server = "Valkey" if "valkey_version" in info else "Redis"
        return f"{server} {info.get('valkey_version', info.get('redis_version'))} at {self.address}"

    async def _keep_connected(self, attempted: asyncio.Event) -> None:
        """Connect, wait for the end of the connection, connect again; for ever."""
        down = False
        pause = RETRY_FIRST_S
        while True:
            client = self._client()
            connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await connection.connect()
                # The one use of a private name: redis-py has no public way to give its connected transport away.
                transport = connection._writer.transport
                wire = _Wire(transport, self._timeout_s, self.address)
            except (RedisError, OSError, TimeoutError) as error:
                if not down:
                    logger.error("online store %s: cannot connect: %s; trying on", self.address, _reason(error))
                down = True
                attempted.set()
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # jitter, no secret
                pause = min(2 * pause, RETRY_LAST_S)
                continue
            if down:
                logger.warning("online store %s: connected again", self.address)
            down, pause = False, RETRY_FIRST_S
            self._wire = wire
            attempted.set()
            try:
                await wire.lost
            finally:
                self._wire = None
                transport.abort()
                await connection.disconnect(nowait=True)
            logger.error("online store %s: connection lost: %s", self.address, wire.lost.result())
            down = True

    # --------------------------------------------------------------------------------------------------- reading

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[_Prepared]:
        return [self._prepare(lookup) for lookup in lookups]

    def _prepare(self, lookup: Lookup) -> _Prepared:
        fields = [feature_field(feature.view, feature.name) for feature in lookup.features]
        fields += map(timestamp_field, lookup.views)
        stored = len(lookup.hash_features) + len({feature.view for feature in lookup.hash_features})
        command = choose_command(lookup) if self._read == "auto" else self._read
        description = f"{command.upper()} {len(fields)} of {max(stored, len(fields))}"
        if command == "hgetall":
            return _Prepared(CommandTemplate(b"HGETALL", (), self._suffix), HashPicker(fields), description)
        return _Prepared(CommandTemplate(b"HMGET", fields, self._suffix), None, description)

    def describe(self, prepared: list[_Prepared]) -> list[str]:
        return [lookup.description for lookup in prepared]

    def fetch(self, prepared: list[_Prepared], keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        assert self._loop is not None, "open() comes first"  # noqa: S101
        future: asyncio.Future[Rows] = self._loop.create_future()
        if not prepared:
            future.set_result([])
        elif self._wire is None:
            future.set_exception(StoreUnavailableError("The online store cannot be reached"))
        else:
            self._wire.send(_PendingFetch(future, prepared, [len(group) for group in keys]), prepared, keys)
        return future


class _PendingFetch:
    """A fetch in the FIFO: what it waits for, and what has come so far."""

    __slots__ = ("_counts", "_prepared", "deadline", "expected", "future", "replies")

    def __init__(self, future: asyncio.Future[Rows], prepared: list[_Prepared], counts: list[int]) -> None:
        self.future = future
        self.expected = sum(counts)
        self.replies: list[Any] = []
        self.deadline = 0.0
        self._prepared = prepared
        self._counts = counts

    def finish(self) -> None:
        """All replies are there: hand them over, if anybody still waits."""
        if self.future.done():
            return
        rows: list[Sequence[Any]] = []
        start = 0
        for (_, make_row, _), count in zip(self._prepared, self._counts, strict=True):
            replies = self.replies[start : start + count]
            start += count
            for reply in replies:
                if type(reply) is not list:
                    self.future.set_exception(_store_error(reply))
                    return
            rows.append(replies if make_row is None else list(map(make_row, replies)))
        self.future.set_result(rows)


class _Wire(asyncio.Protocol):
    """One connection to Redis: commands out, replies in, the FIFO between them."""

    def __init__(self, transport: Any, timeout_s: float, address: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._timeout_s = timeout_s
        self._parser = ReplyParser()
        self._waiting: deque[_PendingFetch] = deque()
        self._commands: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """Gets the reason when the connection has ended."""
        self.address = address
        transport.set_protocol(self)
        transport.resume_reading()

    def send(self, pending: _PendingFetch, prepared: list[_Prepared], keys: Sequence[Sequence[bytes]]) -> None:
        """Put a fetch into the FIFO, and its commands into this tick's write."""
        pending.deadline = self._loop.time() + self._timeout_s
        if not self._commands:
            self._loop.call_soon(self._flush)
        for lookup, group in zip(prepared, keys, strict=True):
            self._commands.append(lookup.command.render(group))
        self._waiting.append(pending)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check_deadlines)

    def _flush(self) -> None:
        commands = b"".join(self._commands)
        self._commands.clear()
        if not self._transport.is_closing():
            self._transport.write(commands)

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        waiting = self._waiting
        try:
            for reply in self._parser:
                head = waiting[0]
                head.replies.append(reply)
                if len(head.replies) == head.expected:
                    waiting.popleft()
                    head.finish()
        except ProtocolError as error:
            self._end(f"protocol error: {error}")
        except IndexError:
            self._end("a reply that nobody asked for")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "closed by the other side")

    def _end(self, reason: str) -> None:
        """The connection is of no more use: everybody who waits on it hears so."""
        if self.lost.done():
            return
        self.lost.set_result(reason)
        if self._timer is not None:
            self._timer.cancel()
        for pending in self._waiting:
            if not pending.future.done():
                pending.future.set_exception(StoreUnavailableError("The connection to the online store was lost"))
        self._waiting.clear()
        self._transport.abort()

    def _check_deadlines(self) -> None:
        """Give up on what is overdue. It keeps its place: its replies may still come, and must not be another's."""
        self._timer = None
        now = self._loop.time()
        for pending in self._waiting:
            if pending.deadline > now:
                self._timer = self._loop.call_at(pending.deadline, self._check_deadlines)
                break
            if not pending.future.done():
                pending.future.set_exception(StoreTimeoutError("The online store did not answer in time"))
        if self._waiting:
            if now - self._waiting[0].deadline >= self._timeout_s:
                self._end(f"no reply for {2 * self._timeout_s:g} s")
            elif self._timer is None:
                self._timer = self._loop.call_later(self._timeout_s, self._check_deadlines)


# -------------------------------------------------------------------------------------------------- HMGET or HGETALL

LISTPACK_ENTRIES = 512
"""hash-max-listpack-entries, by default."""
HGETALL_FROM_FIELDS = 32

_SMALL = frozenset(
    (
        *(ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE, ValueType.BOOL),
        ValueType.UNIX_TIMESTAMP,
    )
)


def choose_command(lookup: Lookup) -> str:
    """ "hmget" or "hgetall", whichever costs less CPU by what the registry says of the hash.

    Up to hash-max-listpack-entries (512) fields, Redis keeps a hash as one list: HMGET walks it once per field asked
    for, HGETALL once in all. So the knee is a number of fields asked for, nearly whatever the hash holds: the numbers
    are in perf/experiments/hmget_or_hgetall.py. A longer hash, or one with a value over 64 bytes, is a table, where
    HMGET is cheap and HGETALL ships everything; so features of any size that are not asked for decide for HMGET too.
    """
    asked = len(lookup.features) + len(lookup.views)
    stored = len(lookup.hash_features) + len({feature.view for feature in lookup.hash_features})
    wanted = set(lookup.features)
    if stored > LISTPACK_ENTRIES or any(f.type not in _SMALL for f in lookup.hash_features if f not in wanted):
        return "hmget"
    return "hgetall" if asked >= HGETALL_FROM_FIELDS else "hmget"


class HashPicker:
    """The fields of a Lookup out of HGETALL replies.

    A store writes the fields of an entity in an order that few writers share out: the same names in the same order come
    back for most entities. So the last order is remembered with its `itemgetter`, and a reply with these names is
    picked by one call in C. Other orders have been seen before (a bounded number of them), or are picked by name.
    """

    __slots__ = ("_fields", "_names", "_orders", "_pick")

    _MAX_ORDERS = 64

    def __init__(self, fields: Sequence[bytes]) -> None:
        self._fields = tuple(fields)
        self._names: list[bytes] = []
        self._pick: Callable[[list[Any]], Sequence[bytes | None]] = self._picker([])
        self._orders: dict[tuple[bytes, ...], Callable[[list[Any]], Sequence[bytes | None]]] = {}

    def __call__(self, reply: list[Any]) -> Sequence[bytes | None]:
        names = reply[::2]
        reply.append(None)  # at -1, for the fields that are not there
        if names == self._names:
            return self._pick(reply)
        order = tuple(names)
        pick = self._orders.get(order)
        if pick is None:
            if len(self._orders) >= self._MAX_ORDERS:
                by_name = dict(zip(names, reply[1::2], strict=False))
                return [by_name.get(field) for field in self._fields]
            pick = self._orders[order] = self._picker(names)
        self._names, self._pick = names, pick
        return pick(reply)

    def _picker(self, names: list[bytes]) -> Callable[[list[Any]], Sequence[bytes | None]]:
        places = {name: 2 * place + 1 for place, name in enumerate(names)}
        picked = [places.get(field, -1) for field in self._fields]
        return itemgetter(*picked)  # a feature and its timestamp at the least: a tuple


# -------------------------------------------------------------------------------------------------------- the details

_UNAVAILABLE = frozenset(("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "OOM"))


def _store_error(reply: object) -> StoreError:
    """What to tell a request whose reply is `reply`, an error or something that is no hash."""
    if isinstance(reply, ReplyError):
        code = str(reply).partition(" ")[0]
        if code in _UNAVAILABLE:
            return StoreUnavailableError(f"The online store answered {code}")
        return StoreError(f"The online store answered {code}")
    return StoreError("The online store answered with something that is no hash")


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
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
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
    if not colon or not port.isdigit() or not host:
        raise ConfigError(f"{where}: expected host:port first, such as localhost:6379 or [::1]:6379")
    return {"host": host.strip("[]"), "port": int(port), **options}
