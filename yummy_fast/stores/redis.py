"""Feast's Redis layout: one command per entity row, one round trip.

Feast keeps all views of an entity in one hash (feast/infra/online_stores/redis.py, Feast 0.67.0): key = entity key +
project, fields = hashes of "view:feature" and "_ts:view". So a Lookup of any number of views costs one HMGET, or one
HGETALL where that is cheaper (`redis_hash`), per entity; and a request costs one write, shared with all requests
of the same tick of the event loop.

One connection is multiplexed by all requests. Replies come in the order of the commands, so requests wait in a FIFO,
and a request that was given up *keeps its place*: its replies are read and dropped. (Where a client forgets it, one
caller gets another's data: CVE-2023-28858.) A reply reaches its request by `future.set_result` only: nothing that a
request does can run, or raise, on this connection's stack.

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
import json
import logging
import random
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from yummy_fast.config import Config
from yummy_fast.errors import ConfigError, StoreError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.plan import Feature, Lookup
from yummy_fast.resp import ProtocolError, ReplyError, ReplyParser
from yummy_fast.stores import Rows, StoreState, redis_hash
from yummy_fast.stores.redis_hash import HashReader, MakeRow

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

BITE_BYTES = 32 << 10
"""Replies are worked through in pieces of this size, with a turn of the event loop between two: meanwhile answers leave
and requests come in, so that Redis has work while we have ours. perf/experiments/replies_in_bites.py: 100 rows of 50
features, five clients, went from 150 to 220 requests/s."""
MAX_BITES = 8
"""With more pieces than these, Redis is not read; it keeps the rest, and the kernel's buffers."""

SILENT_S = 0.9
"""A connection that has said nothing for so long is asked for a PONG. By a clock of a second's ticks: each of them."""
_PING = b"*1\r\n$4\r\nPING\r\n"

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

LATE_S, GRACE_S = 0.02, 0.1
"""A timer that comes this late may find replies unread that came in time. It lets them be read, so long at the most."""


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
        self._wire: _Wire | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
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
                wire = _Wire(transport, self._timeout_s, self.address, self._max_reply_bytes, self.state)
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

    def nudge(self) -> None:
        if self._wire is not None:
            self._wire.ping_if_silent()

    # --------------------------------------------------------------------------------------------------- reading

    def prepare(self, lookups: tuple[Lookup, ...]) -> list[HashReader]:
        return [HashReader(lookup, self._read, self._suffix) for lookup in lookups]

    def collisions(self, features: Sequence[Feature]) -> list[tuple[Feature, Feature]]:
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
            self._wire.send(_PendingFetch(future, parts), commands)
        return future


class _PendingFetch:
    """A fetch in the FIFO: what it waits for, and what has come so far."""

    __slots__ = ("_error", "_found", "_future", "_make_row", "_missing", "_parts", "_rows", "deadline")

    def __init__(self, future: asyncio.Future[Rows], parts: list[tuple[MakeRow, int]]) -> None:
        """`parts`: for each lookup, what makes a row of a reply, and how many replies to come are its: one at least."""
        self.deadline = 0.0
        self._future = future
        self._error: StoreError | None = None
        self._make_row, self._missing = parts[0]
        self._rows: list[Any] = []
        """The rows of the lookup whose replies are coming."""
        self._found: list[Any] = [self._rows]
        self._parts = parts

    def add(self, reply: Any) -> bool:
        """Take the next reply, and make a row of it while it is in the processor's cache. Whether it was the last."""
        if type(reply) is not list:
            self._error = self._error or _store_error(reply)
        else:
            try:
                self._rows.append(self._make_row(reply))
            except (AttributeError, IndexError, TypeError, ValueError):  # a list, but not of a hash's fields
                self._error = self._error or _store_error(reply)
        self._missing -= 1
        return self._missing == 0 and self._is_last()

    def _is_last(self) -> bool:
        """Whether no other lookup follows; or else turn to it."""
        done = len(self._found)
        if done == len(self._parts):
            return True
        self._make_row, self._missing = self._parts[done]
        self._rows = []
        self._found.append(self._rows)
        return False

    def finish(self) -> None:
        """All replies are there: hand them over, if anybody still waits."""
        if self._future.done():
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._found)

    def fail(self, error: StoreError) -> None:
        """Tell whoever still waits. The place in the FIFO is kept or given up by the connection."""
        if not self._future.done():
            self._future.set_exception(error)


class _Ping:
    """A PING in the FIFO. Whatever comes in its place, something does: nobody waits for it."""

    deadline = 0.0

    def add(self, _: Any) -> bool:
        return True

    def finish(self) -> None:
        pass

    def fail(self, error: StoreError) -> None:
        pass


class _Wire(asyncio.Protocol):
    """One connection to Redis: commands out, replies in, the FIFO between them."""

    def __init__(self, transport: Any, timeout_s: float, address: str, max_reply_bytes: int, state: StoreState) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._timeout_s = timeout_s
        self._max_reply_bytes = max_reply_bytes
        self._unfinished_bytes = 0
        """How much has come of a reply that is not whole: about, since the read that the last one ended in counts."""
        self._parser = ReplyParser()
        self._waiting: deque[_PendingFetch | _Ping] = deque()
        self._commands: list[bytes] = []
        self._bites: deque[bytes] = deque()
        """What was received and not yet looked at."""
        self._reading = True
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._state = state
        self._heard_at = state.answered_at = self._loop.time()
        """When bytes came last. A long answer takes long; only silence means that Redis is gone."""
        self._silent_at = 0.0
        """When a fetch last got nothing within its time. As long as nothing has been heard since, others do not try."""
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """Gets the reason when the connection has ended."""
        self.address = address
        transport.set_protocol(self)
        transport.resume_reading()
        transport.set_write_buffer_limits(high=0)  # for uvloop: write at once, not when everybody has had a turn

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def ping_if_silent(self) -> None:
        """Ask for a reply, if the last one is a second old and none is due: so silence is noticed without requests."""
        if not self._waiting and self._loop.time() - self._heard_at >= SILENT_S:
            self.send(_Ping(), [_PING])

    def send(self, pending: _PendingFetch | _Ping, commands: list[bytes]) -> None:
        """Put a fetch into the FIFO, and its commands into this tick's write."""
        if self.lost.done():  # in this very tick: `_keep_connected` has not had its turn yet
            pending.fail(StoreUnavailableError("The connection to the online store was lost"))
            return
        if self._silent_at > self._heard_at:
            pending.fail(StoreUnavailableError("The online store does not answer"))
            return
        pending.deadline = self._loop.time() + self._timeout_s
        if not self._commands:
            self._loop.call_soon(self._flush)
        self._commands += commands
        self._waiting.append(pending)
        if self._timer is None:
            self._check_at(pending.deadline)

    def _flush(self) -> None:
        commands = b"".join(self._commands)
        self._commands.clear()
        if not self._transport.is_closing():
            self._transport.write(commands)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._state.answered_at = self._loop.time()
        bites = self._bites
        if not bites:
            if len(data) <= BITE_BYTES:
                self._take(data)
                return
            self._loop.call_soon(self._take_next)
        bites.extend(data[start : start + BITE_BYTES] for start in range(0, len(data), BITE_BYTES))
        if len(bites) > MAX_BITES and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _take_next(self) -> None:
        bites = self._bites
        if not bites:  # the connection has ended since
            return
        self._take(bites.popleft())
        if bites:
            self._loop.call_soon(self._take_next)
        if not self._reading and len(bites) <= MAX_BITES // 2 and not self.lost.done():
            self._reading = True
            self._transport.resume_reading()

    def _take(self, data: bytes) -> None:
        """Give the replies that `data` completes to those who wait for them."""
        waiting = self._waiting
        unfinished_bytes = self._unfinished_bytes + len(data)
        try:
            for reply in self._parser.read(data):
                unfinished_bytes = 0
                if waiting[0].add(reply):
                    waiting.popleft().finish()
            self._unfinished_bytes = unfinished_bytes
            if unfinished_bytes > self._max_reply_bytes:
                self._refuse_reply()
        except ProtocolError as error:
            self._end(f"protocol error: {error}")
        except IndexError:
            self._end("a reply that nobody asked for")
        except Exception as error:
            # A transport ends itself when its callback raises; but a bite may be taken by the loop, where what is left
            # would wait for ever. hiredis raises a TypeError for a map with a list for a key.
            self._end(f"cannot read its replies: {error!r}")
            raise

    def connection_lost(self, exc: Exception | None) -> None:
        while self._bites:  # these replies did come
            self._take(self._bites.popleft())
        self._end(str(exc) if exc else "closed by the other side")

    def _end(self, reason: str) -> None:
        """The connection is of no more use: everybody who waits on it hears so."""
        if self.lost.done():
            return
        self.lost.set_result(reason)
        if self._timer is not None:
            self._timer.cancel()
        for pending in self._waiting:
            pending.fail(StoreUnavailableError("The connection to the online store was lost"))
        self._waiting.clear()
        self._bites.clear()
        self._transport.abort()

    def _refuse_reply(self) -> None:
        """Give up on a reply that is too long. Who does not read it to its end cannot read on: the connection goes."""
        limit = f"more than {self._max_reply_bytes} bytes for one entity (--max-reply-bytes)"
        if self._waiting:
            self._waiting.popleft().fail(StoreError(f"The online store holds {limit}"))
        self._end(f"a reply of {limit}")

    def _check_at(self, when: float) -> None:
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._check_deadlines)

    def _check_deadlines(self) -> None:
        """Give up on what is overdue. It keeps its place: its replies may still come, and must not be another's."""
        self._timer = None
        now = self._loop.time()
        late = now - self._timer_at
        if late > LATE_S and self._waiting:
            # Something else held up the loop. Timers come before sockets then, and what is overdue may lie in ours.
            self._check_at(now + min(late, GRACE_S))
            return
        if self._bites:
            self._heard_at = now  # Redis has spoken, it is we who have not listened yet
        for pending in self._waiting:
            if pending.deadline > now:
                self._check_at(pending.deadline)
                break
            pending.fail(StoreTimeoutError("The online store did not answer in time"))
        if self._waiting and self._waiting[0].deadline <= now:
            if now - self._heard_at >= self._timeout_s:
                self._silent_at = now
            if now - max(self._waiting[0].deadline, self._heard_at) >= self._timeout_s:
                self._end(f"no reply for {2 * self._timeout_s:g} s")
            elif self._timer is None:
                self._check_at(now + self._timeout_s)


# -------------------------------------------------------------------------------------------------------- the details

_UNAVAILABLE = frozenset(
    (
        *("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "OOM"),
        *("NOPERM", "NOAUTH"),  # an operator's mistake, and his to end
    )
)
"""Codes of errors that are about the store as a whole and will pass; others are about what was asked for."""


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
