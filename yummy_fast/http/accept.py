"""Take connections from listening sockets that other processes may take from as well.

All workers of a supervisor wait at the same sockets, so what has not been taken yet is lost with none of them. The
price: every one of them wakes up, the first takes it, and left alone that gave 0 of 32 connections to one worker and 32
to the other; kept alive, they stay that way. So a worker takes one connection a turn, and one that has two more than
another lets it go first (`ConnectionBalance`): perf/experiments/one_listener_or_reuseport.py.

It does not make the sockets, nor does it know what is spoken on a connection.
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
"""How long a worker lets the others go first. A worker that is free wakes up within a tenth of that."""
SLACK = 1
"""How many connections more than another a worker may have. With none, clients that come and go cost twice as much."""
RETRY_S = 1.0
"""How long nothing is taken after the process, or the system, has run out of descriptors. As asyncio."""
_LEFT = {
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP"),
        *("ENETUNREACH", "EPERM"),
    )
    if hasattr(errno, name)
}
"""accept(2): what became of one connection before it was taken, on Linux; or a firewall that forbids it."""
_ABSENT = -1


class ConnectionBalance:
    """How many connections each worker has, in memory that they share. A worker has a place in it while it lives.

    Nothing is locked: a number that is out of date for a moment sends a connection to a busier worker, and no more.
    """

    def __init__(self, places: int) -> None:
        """Made before the workers are forked."""
        self._format = f"{places}i"
        self._memory = mmap.mmap(-1, struct.calcsize(self._format))
        for place in range(places):
            self.tell(place, _ABSENT)

    def tell(self, place: int, connections: int) -> None:
        """The worker in `place` has so many connections."""
        struct.pack_into("i", self._memory, place * struct.calcsize("i"), connections)

    def leave(self, place: int) -> None:
        """The worker takes no more connections."""
        self.tell(place, _ABSENT)

    def is_busiest(self, connections: int) -> bool:
        """Whether somebody else should go first."""
        present = [number for number in struct.unpack_from(self._format, self._memory) if number != _ABSENT]
        return bool(present) and connections > min(present) + SLACK


class Acceptor:
    """Takes connections until told to stop."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        make: Callable[[], asyncio.Protocol],
        held: Callable[[], int],
        *,
        tls: ssl.SSLContext | None = None,
        handshake_timeout_s: float = 10.0,
        balance: ConnectionBalance | None = None,
        place: int = 0,
    ) -> None:
        """`listeners` listen already, and stay the caller's. `held` tells how many connections there are.

        Without `balance` this is the only process.
        """
        self._listeners = list(listeners)
        for listener in self._listeners:
            listener.setblocking(False)  # at once: `stop` may come before `start`, and must not wait for anybody
        self._make = make
        self._held = held
        self.tls = tls
        """What the next handshakes use; may be replaced by another."""
        self._handshake_timeout_s = handshake_timeout_s if tls is not None else None
        self._balance = balance
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        """Connections that are taken, and not yet ours to count: TLS takes a while."""
        self._exhausted = self._stopped = False

    def start(self) -> None:
        """Begin to take connections."""
        for listener in self._listeners:
            self._watch(listener)

    def stop(self, *, take_waiting: bool) -> None:
        """Take no more. `take_waiting`: but those who wait to be taken, since nobody else would."""
        self._stopped = True
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            if take_waiting:
                while self._take(listener):
                    pass
        if self._balance is not None:
            self._balance.leave(self._place)

    async def arrived(self, patience_s: float) -> None:
        """Until what was taken has become a connection, or has failed to; a TLS handshake can take its time."""
        if self._arriving:
            await asyncio.wait(self._arriving, timeout=patience_s)

    def tell(self) -> None:
        """Tell the other workers how many connections there are here."""
        if self._balance is not None and not self._stopped:
            self._balance.tell(self._place, self._held() + len(self._arriving))

    def _watch(self, listener: socket.socket) -> None:
        if not self._stopped:
            self._loop.add_reader(listener, self._ready, listener)

    def _ready(self, listener: socket.socket) -> None:
        if self._balance is not None:
            self.tell()
            if self._balance.is_busiest(self._held() + len(self._arriving)):
                self._loop.remove_reader(listener)
                self._loop.call_later(DEFER_S, self._take_after_all, listener)
                return
        self._take(listener)

    def _take_after_all(self, listener: socket.socket) -> None:
        """Whoever was to go first did not: it may be stuck."""
        if not self._stopped and self._take(listener, again_if_none=True):
            self._watch(listener)

    def _take(self, listener: socket.socket, *, again_if_none: bool = False) -> bool:
        """Take a connection. False if there is none, or no room for it."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return again_if_none
        except OSError as error:
            if error.errno in _LEFT:
                return True
            if not self._exhausted:
                logger.error("no connection can be taken: %s", error.strerror)
            self._exhausted = True
            self._loop.remove_reader(listener)
            self._loop.call_later(RETRY_S, self._watch, listener)
            return False
        self._exhausted = False
        task = self._loop.create_task(self._arrive(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        self.tell()
        return True

    async def _arrive(self, connection: socket.socket) -> None:
        # A handshake that fails is the client's affair; uvloop closes the socket.
        with suppress(OSError, ssl.SSLError):
            await self._loop.connect_accepted_socket(
                self._make, connection, ssl=self.tls, ssl_handshake_timeout=self._handshake_timeout_s
            )
