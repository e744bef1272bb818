"""One node of Redis: a connection to it that is made, watched, and made again when it ends.

redis-py resolves the name, connects, does the TLS handshake and authenticates, all of it again for each attempt: names,
files of certificates and credentials may have changed. Then a `RedisConnection` takes over redis-py's transport,
because redis-py's own pipeline costs ten times the CPU.

    connect, AUTH [, READONLY], probe -> RedisConnection -> lost -> pause -> connect ...

A Link never says where to connect to: its `place` is asked before each attempt, and may wait or refuse. So a Sentinel's
master is never connected to by memory. A Link that is retired makes no new connection.

This file knows redis-py's connections, as do `redis_topology` and `redis_sentinel`, which get theirs here. It knows
neither keys nor slots, nor which Link a fetch goes to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError

from yummy_fast.native.owner import Picker
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import MAX_COMMANDS, RedisConnection
from yummy_fast.stores.redis_credentials import Credentials, Login
from yummy_fast.stores.redis_tracking import TrackedConnection, Tracker
from yummy_fast.stores.resp import render_command
from yummy_fast.telemetry.once_log import OnceLog

logger = logging.getLogger("yummy_fast")

MAX_REASONS_LOGGED = 10
"""While Redis cannot be reached, each reason is logged once, and no more reasons than these."""

CANNOT_CONNECT = (RedisError, OSError, RuntimeError, TypeError, ValueError, OverflowError)
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

SETTLED_S = 1.0
"""A connection that ends sooner counts as a failed attempt, so there is a pause before the next attempt."""

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 5, 1, 3
"""TCP keep-alive: the kernel probes a connection that has been idle for 5 s. Redis probes its clients after 300 s."""

MIN_USER_TIMEOUT_MS = 1000
"""TCP_USER_TIMEOUT is the store's timeout, but not less than this, so that there is time to send a lost packet again:
Linux does so after 200 ms.
"""

RESOLVE_EVERY_S, RESOLVE_AGAIN_S, RESOLUTIONS = 5.0, 1.0, 2
"""A name is resolved every 5 s, with jitter. An address that it does not stand for is left when a second resolution
says so, a second later. ElastiCache and Azure move a name at a failover; the old node may live on, as a replica."""

RENEW_LEAST_S = 1.0
"""No login is renewed sooner, whatever its provider says; and so soon, if the provider failed."""

ELSEWHERE = ("MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN")
"""Codes of replies that say nothing about whether we may read: Redis checks that first."""

_READONLY, _READWRITE = (render_command(word) for word in (b"READONLY", b"READWRITE"))


NODE_OF_CLUSTER = (
    "this is a node of a Redis Cluster, and online_store.redis_type is redis: set redis_type: redis_cluster"
)


def is_address(host: str) -> bool:
    """Whether a host is an IP address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def resolve(host: str) -> set[str]:
    """The addresses that a name stands for. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return {str(sockaddr[0]) for *_, sockaddr in found}


class WrongKindError(RedisError):
    """What answers is a Redis, but not of the `redis_type` that is configured."""


class Place(NamedTuple):
    """Where to connect to."""

    options: Mapping[str, Any]
    """host and port, or unix_socket_path."""
    server_name: str = ""
    """The name that the TLS certificate has to have, if it is not that of the host."""


class Access(NamedTuple):
    """What a client of redis-py needs to connect to one Redis and log in."""

    name: str
    """For people: which Redis."""
    options: Mapping[str, Any]
    """Keyword arguments."""
    server_name: str
    """As Place.server_name."""


class LinkSettings(NamedTuple):
    """What all links of a store have in common."""

    options: Mapping[str, Any]
    """Keyword arguments for redis-py."""
    timeout_s: float
    max_reply_bytes: int
    max_commands: int = MAX_COMMANDS
    in_cluster: bool = False
    several: bool = False
    """Whether there are several nodes, so that primaries and replicas have to be told apart."""
    credentials: Credentials | None = None
    """Who we are; None if `options` say it."""
    tracker: Tracker | None = None
    """What makes the connections of a store that has a cache."""


class _NamedConnection(SSLConnection):
    """redis-py's connection over TLS, whose certificate has to have another name than the host."""

    server_name = ""

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self.server_name}


async def login_for(settings: LinkSettings) -> Login | None:
    """Who we are now. Raises RedisError for whatever goes wrong."""
    if settings.credentials is None:
        return None
    try:
        return await settings.credentials.login()
    except Exception as error:
        raise RedisError(f"no credentials: {reason(error)}") from error


def access_to(name: str, settings: LinkSettings, place: Place, login: Login | None) -> Access:
    """How to connect to a Redis that is at a place."""
    step_s = max(CONNECT_STEP_S, settings.timeout_s / 2)
    options = {"socket_connect_timeout": step_s, "socket_timeout": step_s, **place.options, **settings.options}
    if login is not None:
        options |= {"username": login.user or None, "password": login.password}
    # RESP2, so that a hash is a flat list.
    return Access(name, {**options, "protocol": 2}, place.server_name if settings.options.get("ssl") else "")


def client(settings: LinkSettings, place: Place, login: Login | None = None) -> redis.asyncio.Redis:
    """redis-py's client for one Redis, not connected. Raises what CANNOT_CONNECT lists for options that are wrong."""
    access = access_to("", settings, place, login)
    made = redis.asyncio.Redis(**access.options, retry=Retry(NoBackoff(), 0))  # once: `Link` does the retrying
    if access.server_name:
        named = type("NamedConnection", (_NamedConnection,), {"server_name": access.server_name})
        made.connection_pool.connection_class = named
    return made


async def _check_role(connector: Any, *, replica: bool) -> None:
    """Refuse a node that is not what it should be, and may have nothing yet. Raises RedisError.

    A replica that was started anew answers that nothing is there until it has found its primary; an old master that
    comes back empty takes itself for the master for ten seconds. ROLE may be forbidden: then others have to know.
    """
    await connector.send_command("ROLE")
    try:
        role, *details = await connector.read_response()
    except ResponseError:
        return
    if replica and role == b"slave" and details[2] != b"connected":
        raise RedisError(f"it is a replica without its primary ({details[2].decode()})")
    if not replica and role != b"master":
        raise RedisError(f"it is no primary, but says {role.decode()}")


def reason(error: BaseException, *, tls_without_certificate: bool = False) -> str:
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


class Link:
    """Keeps one connection to one node, from `start` until it is closed, or retired and lost."""

    def __init__(
        self,
        name: str,
        place: Callable[[], Awaitable[Place]],
        settings: LinkSettings,
        probes: Callable[[], Mapping[str, tuple[bytes, ...]]],
        total: StoreState,
        changed: Callable[[Link], None],
        *,
        state: StoreState | None = None,
        check_key: bytes | None = None,
    ) -> None:
        """
        - `place`: where to connect to, asked before each attempt.
        - `probes`: for each command by which requests read, one that reads what is not there.
        - `total`: where connections are counted; `state` is this node's own, if there are several.
        - `changed`: called when there is another connection, or none any more, or none could be made.
        """
        self.name = name
        self.state = total if state is None else state
        self.connection: RedisConnection | None = None
        self.replica = False
        """Whether this is a replica of a cluster, which reads only after READONLY."""
        self.down_since = 0.0
        """Since when there is no connection, by the loop's clock."""
        self.problem = "not connected yet"
        """Why there is no connection."""
        self.retired = False
        """Whether it makes no other connection."""
        self.attempted = asyncio.Event()
        """Set after the first attempt, whether or not it succeeded."""
        self._place = place
        self._settings = settings
        self._lacks_certificate = bool(settings.options.get("ssl")) and "ssl_certfile" not in settings.options
        self._probes = probes
        self._total = total
        self._changed = changed
        self._check_key = check_key
        self._refusals: dict[str, str] = {}
        """The code of the error that each probe got last."""
        self._task: asyncio.Task[None] | None = None
        self._host = ""
        """The host that was connected to last, as it was given."""
        self._login_log = OnceLog(logger, max_messages=MAX_REASONS_LOGGED)
        """Says why a login could not be renewed, which is tried again each second: once, until one is."""
        self._beside: set[asyncio.Task[None]] = set()
        """What runs beside all else: logins that are renewed, connections that are left."""

    # ------------------------------------------------------------------------------------------------ connecting

    def start(self) -> None:
        """Start to connect."""
        loop = asyncio.get_running_loop()
        self.down_since = loop.time()
        self._task = loop.create_task(self._keep_connected())

    async def close(self) -> None:
        """End the connection, and make no other."""
        self.retired = True
        task = self._task
        if task is not None:
            for beside in list(self._beside):
                beside.cancel()
            await asyncio.gather(*self._beside, return_exceptions=True)
            while not task.done():  # redis-py may swallow a cancellation while it connects
                task.cancel()
                await asyncio.wait((task,), timeout=0.1)
        if self._settings.tracker is not None:
            self._settings.tracker.forget(self.name)

    def reconnect(self) -> None:
        """End the connection, because another one is wanted. What waits for it fails."""
        if self.connection is not None:
            self.connection.abort()

    async def _keep_connected(self) -> None:
        """Connect, wait until the connection ends, connect again, until retired."""
        loop = asyncio.get_running_loop()
        once_log = OnceLog(logger, max_messages=MAX_REASONS_LOGGED)
        down = False
        pause_s = RETRY_FIRST_S
        while not self.retired:
            began = loop.time()
            try:
                connector, connection = await self._connect()
            except Exception as error:  # of any kind: if this task ended, the server would never connect again
                self.problem = reason(error, tls_without_certificate=self._lacks_certificate)
                once_log.log(logging.ERROR, "online store %s: cannot connect: %s; retrying", self.name, self.problem)
                down = True
                self._total.failures += 1
                self._changed(self)
                self.attempted.set()
                pause_s = await self._pause(pause_s, loop.time() - began)
                continue
            if down:
                logger.warning("online store %s: connected again", self.name)
            down = False
            once_log.forget()
            self.connection = connection
            self._refusals.clear()
            self.state.refusal = ""
            self.state.crowded = False
            self._total.connects += 1
            self._total.connections += 1
            self._changed(self)
            self.attempted.set()
            began = loop.time()
            try:
                while await self._name_moves(connection):
                    connector, connection = await self._follow_name(connector, connection)
                self._total.losses += 1
            finally:
                self.connection = None
                self.down_since = loop.time()
                self._total.connections -= 1
                self._changed(self)
                connection.abort()
                with contextlib.suppress(*CANNOT_CONNECT):
                    await connector.disconnect(nowait=True)
            self.problem = f"connection lost: {connection.lost.result()}"
            logger.error("online store %s: %s", self.name, self.problem)
            down = True
            if loop.time() - began < SETTLED_S:
                pause_s = await self._pause(pause_s, 0)
            else:
                pause_s = RETRY_FIRST_S

    async def _name_moves(self, connection: RedisConnection) -> bool:
        """Wait until the connection is lost (False), or its host's name stands for other addresses only (True)."""
        moved = 0
        named = self._host and not is_address(self._host)
        while True:
            pause_s = RESOLVE_EVERY_S * random.uniform(0.75, 1.25)  # noqa: S311  # no secret
            await asyncio.wait((connection.lost,), timeout=(RESOLVE_AGAIN_S if moved else pause_s) if named else None)
            if connection.lost.done():
                return False
            try:
                addresses = await resolve(self._host)
            except OSError:  # a DNS that is down says nothing of Redis
                continue
            moved = 0 if connection.peer in addresses else moved + 1
            if moved == RESOLUTIONS:
                return True

    async def _follow_name(self, connector: Any, connection: RedisConnection) -> tuple[Any, RedisConnection]:
        """Make a connection to where the name leads now. The old one stays until there is a new one."""
        try:
            new_connector, new_connection = await self._connect()
        except Exception as error:  # of any kind, as in `_keep_connected`
            self._log_move(f"its name has another address, which cannot be connected to: {reason(error)}")
            return connector, connection
        self._log_move(f"its name has another address: left {connection.peer} for {new_connection.peer}")
        self.connection = new_connection
        connection.left()
        self._total.connects += 1
        self._changed(self)
        self._run(self._leave(connector, connection))
        return new_connector, new_connection

    async def _leave(self, connector: Any, connection: RedisConnection) -> None:
        """End a connection in whose place there is another. What was sent on it may still be answered."""
        try:
            await asyncio.sleep(self._settings.timeout_s)
        finally:
            connection.abort()
            with contextlib.suppress(*CANNOT_CONNECT):
                await connector.disconnect(nowait=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside all else, until it ends or the link is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _log_move(self, what: str) -> None:
        logger.warning("online store %s: %s", self.name, what)

    async def _connect(self) -> tuple[Any, RedisConnection]:
        """Attempt once to connect. Returns redis-py's connection, and ours, which has taken over its transport."""
        # A new object for each attempt, because one that exists would not resolve the name again.
        login = await login_for(self._settings)
        place = await self._place()
        self._host = str(place.options.get("host", ""))
        made = client(self._settings, place, login)
        connector = made.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connector.connect()
            replica = self.replica
            if self._settings.several:
                await _check_role(connector, replica=replica)
            if replica and self._settings.in_cluster:
                await connector.send_command("READONLY")
                await connector.read_response()
            # Without a password, or the right to read, one may connect all the same; but then every request would fail.
            for command in self._probes().values():
                await connector.send_command(*command)
                try:
                    await connector.read_response()
                except (AskError, ClusterDownError, MovedError) as error:
                    if not self._settings.in_cluster and isinstance(error, MovedError):
                        raise WrongKindError(NODE_OF_CLUSTER) from None
            tracker = self._settings.tracker
            make: Callable[..., RedisConnection] = RedisConnection
            if tracker is not None and await tracker.begin(connector, self.name):
                make = partial(TrackedConnection, tracker)
        except BaseException:
            with contextlib.suppress(*CANNOT_CONNECT):
                await connector.disconnect(nowait=True)
            raise
        # The one use of a private name: redis-py has no public way to hand over its transport.
        transport = connector._writer.transport
        self._let_kernel_detect_dead_peer(transport)
        connection = make(
            transport,
            self._settings.timeout_s,
            self._settings.max_reply_bytes,
            self.state,
            self._settings.max_commands,
            CHECK_EVERY_S,
            **({} if self._check_key is None else {"check_key": self._check_key}),
        )
        self._renew_later(connection, login)
        if self.replica is not replica and self._settings.in_cluster:  # it was promoted, or demoted, while we connected
            self._send_role(connection)
        return connector, connection

    def _renew_later(self, connection: RedisConnection, login: Login | None) -> None:
        """If the login ends, send another one on this connection in time."""
        if login is not None and login.renew_in_s is not None and not connection.lost.done():
            loop = asyncio.get_running_loop()
            pause_s = max(login.renew_in_s, RENEW_LEAST_S)
            timer = loop.call_later(pause_s, lambda: self._run(self._renew(connection)))
            connection.lost.add_done_callback(lambda _: timer.cancel())

    async def _renew(self, connection: RedisConnection) -> None:
        """AUTH again, between the commands of requests. A failed AUTH keeps the old login."""
        try:
            login = await login_for(self._settings)
        except RedisError as error:
            self._login_log.log(logging.ERROR, "online store %s: %s", self.name, error)
            login = Login("", "", RENEW_LEAST_S)
        else:
            assert login is not None, "there is a provider"  # noqa: S101
            user = [login.user.encode()] if login.user else []
            command = render_command(b"AUTH", *user, login.password.encode())
            connection.send_order(command, partial(self._renewed, connection, login))
            return
        self._renew_later(connection, login)

    def _renewed(self, connection: RedisConnection, login: Login, refusal: str) -> None:
        """A new login was accepted or, with this error, not."""
        if refusal:
            self._login_log.log(logging.ERROR, "online store %s: AUTH again: %s", self.name, refusal)
            login = login._replace(renew_in_s=RENEW_LEAST_S)
        else:
            self._login_log.forget()
        self._renew_later(connection, login)

    def set_role(self, replica: bool) -> None:
        """Say whether the node is a replica, which must be told to answer reads itself."""
        if replica is not self.replica:
            self.replica = replica
            if self.connection is not None and self._settings.in_cluster:
                self._send_role(self.connection)

    def _send_role(self, connection: RedisConnection) -> None:
        connection.send_order(_READONLY if self.replica else _READWRITE, lambda _: None)

    async def _pause(self, pause_s: float, spent_s: float) -> float:
        """Sleep before the next attempt; the last one took `spent_s` of the pause. Returns the pause after it."""
        jitter = random.uniform(0.5, 1)  # noqa: S311  # no secret
        await asyncio.sleep(jitter * max(pause_s - spent_s, RETRY_FIRST_S))
        return min(2 * pause_s, RETRY_LAST_S)

    def _let_kernel_detect_dead_peer(self, transport: Any) -> None:
        """Have the kernel end a connection whose other machine is gone: otherwise it only looks idle or slow."""
        tcp = transport.get_extra_info("socket")
        unix = getattr(socket, "AF_UNIX", None)
        if tcp is None or tcp.family == unix or "socket_keepalive" in self._settings.options:
            return
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        user_timeout_ms = max(MIN_USER_TIMEOUT_MS, round(self._settings.timeout_s * 1000))
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", user_timeout_ms),  # Linux only; elsewhere our own deadlines end the connection, later
        ):
            option = getattr(socket, name, None)
            if option is not None:
                tcp.setsockopt(socket.IPPROTO_TCP, option, value)

    # --------------------------------------------------------------------------------------------------- watching

    def probe(self, pickers: Mapping[str, Picker]) -> None:
        """Read what is not there, by each command that requests use: `state` says when it answered, and `refusal`."""
        for name, command in self._probes().items():
            if self.connection is not None:
                found = partial(self._probed, name, self.connection)
                self.connection.probe(render_command(*command), pickers[name], found)

    def _probed(self, name: str, connection: RedisConnection, refusal: str) -> None:
        """A probe was answered, with this error if it is not empty."""
        if self._settings.in_cluster and refusal.partition(" ")[0] in ELSEWHERE:
            refusal = ""
        self._refusals[name] = refusal.partition(" ")[0]
        code = next(filter(None, self._refusals.values()), "")
        if refusal and not self.state.refusal:
            logger.error("online store %s: refuses to be read: %s", self.name, refusal)
        elif self.state.refusal and not code:
            logger.warning("online store %s: can be read again", self.name)
        self.state.refusal = code
        if code == "NOAUTH":
            connection.abort()  # a new one may be let in, this one is not any more
