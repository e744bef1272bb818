"""Accept connections on listening sockets that other processes may share.

All workers of a supervisor wait at the same sockets, so a connection that is not accepted yet survives the end of any
worker. The price: a new connection wakes all workers, and the first one accepts it. Without balancing, one worker got
all 32 keep-alive connections. So a worker accepts one connection for each turn of its event loop, and a worker that has
two more connections than another lets the others go first (`ConnectionBalance`). The numbers are in
perf/experiments/one_listener_or_reuseport.py.

This file does not open the sockets, and does not know which protocol is spoken on a connection.
"""

from __future__ import annotations

import asyncio
import errno
import logging
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
        balance: ConnectionBalance | None = None,
        slot: int = 0,
    ) -> None:
        """`listeners` listen already, and stay the caller's. `held` returns how many connections there are.

        Without `balance` this is the only process.
        """
        self._listeners = list(listeners)
        for listener in self._listeners:
            listener.setblocking(False)  # before `start`, because `stop` may come first, and must not block
        self._make = make
        self._held = held
        self.tls = tls
        """The context of the next TLS handshakes; another may replace it at any time."""
        self._handshake_timeout_s = handshake_timeout_s if tls is not None else None
        self._balance = balance
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        """Connections that are accepted, but not among the `held` yet: a TLS handshake takes a while."""
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
            connection, _ = listener.accept()
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
        task = self._loop.create_task(self._arrive(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        self.report()
        return True

    async def _arrive(self, connection: socket.socket) -> None:
        # A handshake that fails is the client's affair; uvloop closes the socket.
        with suppress(OSError, ssl.SSLError):
            await self._loop.connect_accepted_socket(
                self._make, connection, ssl=self.tls, ssl_handshake_timeout=self._handshake_timeout_s
            )
