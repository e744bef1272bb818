"""One connection to Redis, shared by all requests: commands out, replies in, the FIFO between them.

Replies come in the order of the commands, so requests wait in a FIFO, and a request that was given up *keeps its
place*: its replies are read and dropped. (Where a client forgets it, one caller gets another's data: CVE-2023-28858.) A
reply reaches its request by `future.set_result` only: nothing that a request does can run, or raise, on this
connection's stack. Commands of one tick of the event loop leave in one write.

It is given a transport that is connected and authenticated (`redis` makes it), and tells by `lost` when that has ended.
It does not connect, know keys or fields, nor decode Values.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from yummy_fast.errors import StoreError, StoreRefusedError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.features.plan import Rows
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_hash import MakeRow
from yummy_fast.stores.resp import ProtocolError, ReplyError, ReplyParser

CHUNK_BYTES = 32 << 10
"""Replies are worked through in pieces of this size, with a turn of the event loop between two: meanwhile answers leave
and requests come in, so that Redis has work while we have ours. perf/experiments/replies_in_chunks.py: 100 rows of 50
features, five clients, went from 150 to 220 requests/s."""
MAX_CHUNKS = 8
"""With more pieces than these, Redis is not read; it keeps the rest, and the kernel's buffers."""

SILENT_S = 0.9
"""A connection that has said nothing for so long is asked for a PONG. By a clock of a second's ticks: each of them."""
_PING = b"*1\r\n$4\r\nPING\r\n"

LATE_S, GRACE_S = 0.02, 0.1
"""A timer that comes this late may find replies unread that came in time. It lets them be read, so long at the most."""


class PendingFetch:
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


class Ping:
    """A PING in the FIFO. Whatever comes in its place, something does: nobody waits for it."""

    deadline = 0.0

    def add(self, _: Any) -> bool:
        return True

    def finish(self) -> None:
        pass

    def fail(self, error: StoreError) -> None:
        pass


class RedisConnection(asyncio.Protocol):
    """One connection to Redis: commands out, replies in, the FIFO between them."""

    def __init__(self, transport: Any, timeout_s: float, max_reply_bytes: int, state: StoreState) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._timeout_s = timeout_s
        self._max_reply_bytes = max_reply_bytes
        self._unfinished_bytes = 0
        """How much has come of a reply that is not whole: about, since the read that the last one ended in counts."""
        self._parser = ReplyParser()
        self._waiting: deque[PendingFetch | Ping] = deque()
        self._commands: list[bytes] = []
        self._chunks: deque[bytes] = deque()
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
        transport.set_protocol(self)
        transport.resume_reading()
        transport.set_write_buffer_limits(high=0)  # for uvloop: write at once, not when everybody has had a turn

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def ping_if_silent(self) -> None:
        """Ask for a reply, if the last one is a second old and none is due: so silence is noticed without requests."""
        if not self._waiting and self._loop.time() - self._heard_at >= SILENT_S:
            self.send(Ping(), [_PING])

    def send(self, pending: PendingFetch | Ping, commands: list[bytes]) -> None:
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
        chunks = self._chunks
        if not chunks:
            if len(data) <= CHUNK_BYTES:
                self._take(data)
                return
            self._loop.call_soon(self._take_next)
        chunks.extend(data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))
        if len(chunks) > MAX_CHUNKS and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _take_next(self) -> None:
        chunks = self._chunks
        if not chunks:  # the connection has ended since
            return
        self._take(chunks.popleft())
        if chunks:
            self._loop.call_soon(self._take_next)
        if not self._reading and len(chunks) <= MAX_CHUNKS // 2 and not self.lost.done():
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
            # A transport ends itself when its callback raises; but a chunk may be taken by the loop, where what is left
            # would wait for ever. hiredis raises a TypeError for a map with a list for a key.
            self._end(f"cannot read its replies: {error!r}")
            raise

    def connection_lost(self, exc: Exception | None) -> None:
        while self._chunks:  # these replies did come
            self._take(self._chunks.popleft())
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
        self._chunks.clear()
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
        if self._chunks:
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
            return StoreRefusedError(f"The online store answered {code}")
        return StoreError(f"The online store answered {code}")
    return StoreError("The online store answered with something that is no hash")
