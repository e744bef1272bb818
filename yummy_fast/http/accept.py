"""Accept connections on listening sockets that other processes may share.

All workers of a supervisor wait at the same sockets, so a connection that is not accepted yet survives the end of any
worker. The price: a new connection wakes all workers, and the first one accepts it. Without balancing, one worker got
all 32 keep-alive connections. So a worker accepts one connection for each turn of its event loop, and a worker that has
two more connections than another lets the others go first (`ConnectionBalance`). The numbers are in
perf/experiments/one_listener_or_reuseport.py.

A TLS handshake under way counts as a connection: there may be as many as there is room for connections, and one that
would be too many ends the oldest. An honest client's handshake takes milliseconds; a silent one delays no other client.

This file does not open the sockets, and does not know which protocol is spoken on a connection.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import mmap
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

logger = logging.getLogger("yummy_fast")

DEFER_S = 0.002
"""How long a worker lets the others go first. An idle worker wakes up within a tenth of that."""
SLACK = 1
"""A worker may have so many more connections than another. With 0, clients that come and go cost twice as much."""
RETRY_S = 1.0
"""How long nothing is accepted after the process, or the system, has run out of descriptors. As in asyncio."""
LOG_PERIOD_S = 60.0
"""Failed TLS handshakes are logged once in this time."""
SHUTDOWN_S = 86_400.0
"""uvloop would cut a TLS connection off 30 s after it was closed, whatever the client still reads. `Connection.sweep`
ends it, by its own rules.
"""
_GONE = {
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EPERM",
        "EPROTO",
    )
    if hasattr(errno, name)
}
"""Errors of accept(2) on Linux about one connection, which failed or is forbidden by a firewall. Others may wait."""
_ABSENT = -1


class ConnectionBalance:
    """How many connections each worker has, in memory that the workers share. A worker has one slot while it lives.

    Nothing is locked: a number that is out of date for a moment may send a connection to a busier worker; that is all.
    """

    def __init__(self, slots: int) -> None:
        """Made before the workers are forked."""
        self._format = f"{slots}i"
        self._memory = mmap.mmap(-1, struct.calcsize(self._format))
        for slot in range(slots):
            self.report(slot, _ABSENT)

    def report(self, slot: int, connections: int) -> None:
        """The worker in `slot` has this many connections."""
        struct.pack_into("i", self._memory, slot * struct.calcsize("i"), connections)

    def leave(self, slot: int) -> None:
        """The worker accepts no more connections."""
        self.report(slot, _ABSENT)

    def is_busiest(self, connections: int) -> bool:
        """Whether a worker with this many connections should let another one go first."""
        present = [number for number in struct.unpack_from(self._format, self._memory) if number != _ABSENT]
        return bool(present) and connections > min(present) + SLACK


class Acceptor:
    """Accepts connections until told to stop."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        make: Callable[[], asyncio.Protocol],
        held: Callable[[], int],
        *,
        tls: ssl.SSLContext | None = None,
        handshake_timeout_s: float = 10.0,
        max_connections: int = 1000,
        balance: ConnectionBalance | None = None,
        slot: int = 0,
    ) -> None:
        """`listeners` listen already, and stay the caller's. `held` returns how many connections there are.

        Without `balance` this is the only process. Of TLS handshakes, so many may be under way as there is room for
        connections below `max_connections`, and a quarter of that if there is none.
        """
        self._listeners = list(listeners)
        for listener in self._listeners:
            listener.setblocking(False)  # before `start`, because `stop` may come first, and must not block
        self._make = make
        self._held = held
        self.tls = tls
        """The context of the next TLS handshakes; another may replace it at any time."""
        self._handshake_timeout_s = handshake_timeout_s
        self._max_connections = max_connections
        self.failed_handshakes = 0
        self._logged_handshakes = 0
        """How many of the failed ones the log knows of."""
        self._last_failure = ""
        self._log_at = -math.inf
        """When failed handshakes may be logged again, as a time of the event loop."""
        self._balance = balance
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._arriving: dict[asyncio.Task[None], None] = {}
        """Connections that are accepted, but not among the `held` yet, oldest first: a TLS handshake takes a while."""
        self._exhausted = self._stopped = False

    def start(self) -> None:
        """Begin to accept connections."""
        for listener in self._listeners:
            self._watch(listener)

    def stop(self, *, accept_waiting: bool) -> None:
        """Accept no more connections. With `accept_waiting`, first accept all in the queue: no other process would."""
        self._stopped = True
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            if accept_waiting:
                while self._accept(listener):
                    pass
        if self._balance is not None:
            self._balance.leave(self._slot)

    async def arrived(self, timeout_s: float) -> None:
        """Wait until each accepted connection is among the `held`, or has failed. A TLS handshake can take its time."""
        if self._arriving:
            await asyncio.wait(self._arriving, timeout=timeout_s)

    def report(self) -> None:
        """Show the other workers how many connections there are here."""
        if self._balance is not None and not self._stopped:
            self._balance.report(self._slot, self._held() + len(self._arriving))

    def log_failures(self) -> None:
        """To be called once a second: say that handshakes have failed, once in LOG_PERIOD_S."""
        now = self._loop.time()
        if self.failed_handshakes == self._logged_handshakes or now < self._log_at:
            return
        count, self._logged_handshakes = self.failed_handshakes - self._logged_handshakes, self.failed_handshakes
        self._log_at = now + LOG_PERIOD_S
        logger.warning("%d TLS handshakes failed; the last: %s", count, self._last_failure)

    def _watch(self, listener: socket.socket) -> None:
        if not self._stopped:
            self._loop.add_reader(listener, self._ready, listener)

    def _ready(self, listener: socket.socket) -> None:
        """A connection waits. Another worker may be faster: all of them were woken."""
        if self._balance is not None:
            self.report()
            if self._balance.is_busiest(self._held() + len(self._arriving)):
                self._loop.remove_reader(listener)
                self._loop.call_later(DEFER_S, self._accept_after_all, listener)
                return
        self._accept(listener)

    def _accept_after_all(self, listener: socket.socket) -> None:
        """Accept the connection if it still waits: the other workers are stuck. Either way, wait for the next one."""
        if not self._stopped and self._accept(listener) is not None:
            self._watch(listener)

    def _accept(self, listener: socket.socket) -> bool | None:
        """Accept a connection. False if none waits; None if no descriptor is left, and `_watch` is called later."""
        try:
            connection, peer = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _GONE:
                return True
            if not self._exhausted:
                logger.error("no connection can be accepted: %s", error.strerror)
            self._exhausted = True
            self._loop.remove_reader(listener)
            self._loop.call_later(RETRY_S, self._watch, listener)
            return None
        self._exhausted = False
        if self.tls is not None and len(self._arriving) >= self._max_handshakes:
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]  # now: its end comes with a later turn of the loop, and the next oldest is next
            oldest.cancel()
        task = self._loop.create_task(self._arrive(connection, peer))
        self._arriving[task] = None
        task.add_done_callback(lambda task: self._arriving.pop(task, None))
        self.report()
        return True

    @property
    def _max_handshakes(self) -> int:
        return max(self._max_connections - self._held(), self._max_connections // 4, 1)

    async def _arrive(self, connection: socket.socket, peer: object) -> None:
        if self.tls is None:
            with suppress(OSError):
                await self._loop.connect_accepted_socket(self._make, connection)
            return
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self.tls,
                ssl_handshake_timeout=self._handshake_timeout_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as error:  # ssl.SSLError is one. It is the client's affair; uvloop closes the socket
            self._note_failure(peer, _reason(error))
        except asyncio.CancelledError:
            self._note_failure(peer, "there were too many at a time, and it was the oldest")
            raise

    def _note_failure(self, peer: object, reason: str) -> None:
        self.failed_handshakes += 1
        client = f"{peer[0]}: " if isinstance(peer, tuple) else ""  # the address of a Unix socket's client says nothing
        self._last_failure = client + reason


def _reason(error: OSError) -> str:
    """Why a handshake failed, in OpenSSL's words where they are its."""
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, ConnectionAbortedError):
        return "it took too long"
    return error.strerror or "the client closed the connection"
