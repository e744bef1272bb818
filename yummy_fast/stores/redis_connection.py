"""One connection to Redis, shared by all requests: commands out, replies in, the FIFO between them.

Redis answers the commands of a connection in order, and a reply does not say which command it answers. So every fetch
is appended to a FIFO when its commands are sent, and the next reply is always for the fetch at the head:

    sent        HMGET k1 ..     HMGET k2 ..  HMGET k3 ..     HMGET k4 ..
    FIFO        fetch A (1)     fetch B (2)                  fetch C (1)        in brackets: the replies still due
    received    *2 ..           *2 ..        -WRONGTYPE ..   *2 ..
    result      A's row         B fails                      C's row

- A fetch that timed out, or whose request was cancelled, *stays in the FIFO*; its replies are read and dropped when
  they come. If A were removed at its deadline, A's late reply would be given to B, and each later request would get the
  data of the one before it: CVE-2023-28858 of redis-py.
- An error reply (WRONGTYPE, LOADING, MOVED) counts as one reply, like any other, and fails its own fetch only. Which
  HTTP status it becomes is decided by `redis_pending.store_error`.
- A reply that cannot be the one to the command at the head ends the connection: whose it is is not known any more.
- A reply reaches its request by `future.set_result` only. No code of a request runs, or raises, on this connection's
  stack.
- The commands of one tick of the event loop leave in one write.
- Rows that are written take the same ways. What was sent of them is never sent again: if no reply comes, or the
  connection ends, the error says that they may have been written, or may not.

What is on the wire cannot be taken back: Redis answers it, wanted or not. So no more is sent than a *window*; what does
not fit, and long fetches, wait for their turns (`redis_turns`), from where they are dropped unsent when their requests
are given up. Otherwise 60 requests of 4,000 rows, given up after a millisecond, would keep a Redis that answers 2,000 a
second from everybody else for two minutes. While fetches wait, the rate of replies is measured: the window is what
Redis answers in a tenth of the timeout, and a fetch that could not be answered in time is refused at once.

All fetches have the same timeout, so their deadlines are in the order in which they came, and one timer is enough: the
next deadline's. `RedisConnection` says what happens when it fires.

A RedisConnection gets a transport that `redis` has connected and authenticated; its future `lost` says when the
connection has ended, and why. It does not connect, know keys or fields, nor decode Values. What is in the FIFO gathers
its replies itself (`redis_pending`).
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from yummy_fast.errors import StoreError, StoreOverloadedError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.features.plan import Rows
from yummy_fast.native.owner import Picker, ReplyReader
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_pending import (
    Check,
    Order,
    OutOfStepError,
    PendingFetch,
    PendingInTurns,
    PendingTurn,
    PendingWrite,
    PendingWriteInTurns,
    PendingWriteTurn,
    Receiver,
)
from yummy_fast.stores.redis_turns import QUANTUM, Part, Queued, TurnQueue, cost_of
from yummy_fast.stores.resp import render_command

CHUNK_BYTES = 32 << 10
"""What is received at once is cut into chunks of this size, and the event loop runs between two of them: answers leave
and requests come in, so that Redis works while we do. perf/experiments/replies_in_chunks.py: 100 rows of 50 features,
five clients, went from 150 to 220 requests/s."""
MAX_CHUNKS = 8
"""While more chunks than these wait, nothing is read from the socket: Redis and the kernel's buffers keep the rest."""

WINDOW = 1024
"""The most that commands on the wire cost (`redis_turns`), but for one turn more, while nothing is known of Redis: a
thousand commands, or a megabyte. Redis answers a thousand in 2 to 30 ms."""
LARGEST_WINDOW = 4096
"""And when Redis is known to be fast. With less, it waits for us while we write answers; with more, one that becomes
slow at once would keep everybody waiting for longer."""
LEAST_WINDOW = 2 * QUANTUM
"""However slow Redis is: while it answers one turn, the next one is on its way."""
WIRE_SHARE = 0.1
"""While fetches wait, no more commands are on the wire than Redis answers in this part of the store's timeout. What is
on the wire cannot be taken back, and goes before whatever comes next."""
TURNS_IN_WINDOW = 4
"""With a fast Redis, turns are longer: so many fill the window. And as much has to be free for more to be sent."""
MEASURE_S = 0.05
"""While fetches wait, the rate of replies is measured over periods of this length."""
RATE_KEPT_S = 10.0
"""A rate that was measured longer ago says nothing about now."""
MAX_AHEAD, MAX_IN_ALL = 0.65, 0.8
"""A fetch is refused while others wait if what goes before it would take more than the first part of the timeout, or
that and its own commands more than the second: rates vary. The first window of a slow Redis, half a timeout's worth of
commands, must not be too much."""

RENDERED_AT_ONCE = 32
"""Rows of a push that are rendered in one go: a millisecond, of 250 features each. More have turns."""

MAX_COMMANDS = 100_000
_CLOSED = 1 << 40

LOST = "The connection to the online store was lost"
OVERLOADED = "Too much waits for the online store"

CHECK_KEY = b"yummy-fast: this key is not there"
_CHECK_FIELDS = (1, 5, 2, 4, 3)
_CHECK_PICKERS = [Picker([b"-"] * fields, False) for fields in _CHECK_FIELDS]
"""For the checks that are sent in turn, each of which asks for so many fields."""

APART_S = 0.005
"""Deadlines that are no further apart are seen to at once."""
LATE_S, GRACE_S = 0.02, 0.05
"""When the timer fires more than LATE_S late, replies that came in time may still be unread. They get as long as the
timer was late to be read, but at most GRACE_S, and once: where the loop is held up all the time by as much as that, an
error still comes within a tenth of a second of its time."""


class RedisConnection(asyncio.Protocol):
    """One connection to Redis: commands out, replies in, the FIFO between them.

    What happens to a fetch that gets no reply, with a timeout of T:

        0     its commands are sent; if no timer runs, one is started for its deadline, T
        T     The request fails (504); the fetch stays in the FIFO, and the timer goes on to the next deadline.
              If no byte came since 0, the connection is *silent*: every further fetch fails at once (503).
        ...   Any byte ends the silence, and late replies are dropped, each for its own fetch.
        2T    No reply has been completed for 2T: the connection is closed, and `redis` makes another.

    Bytes alone do not keep a connection: `$99999999999` and then a byte now and then would be a reply that never ends,
    with all others behind it.

    A reply does not say which command it answers, so one frame too many in the stream would give every fetch the rows
    of another. Three things show it, and end the connection: a reply that is impossible for what is at the head of the
    FIFO, such as a list of another length than an HMGET has fields; a reply to no command; and, where all replies look
    alike, a `Check`.
    """

    def __init__(
        self,
        transport: Any,
        timeout_s: float,
        max_reply_bytes: int,
        state: StoreState,
        max_commands: int = MAX_COMMANDS,
        check_every_s: float = math.inf,
        check_key: bytes = CHECK_KEY,
    ) -> None:
        """`check_key` is not there. In a cluster, the node has its slot: else a check would be answered MOVED."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._timeout_s = timeout_s
        self._max_reply_bytes = max_reply_bytes
        self._reader = ReplyReader()
        self._unfinished_bytes = 0
        """How much had come of the reply that was not whole after the last read."""
        self._waiting: deque[PendingFetch | PendingTurn | PendingWrite | PendingWriteTurn | Check | Order] = deque()
        """The FIFO."""
        self._turns = TurnQueue()
        """The fetches that have commands which are not on the wire yet."""
        self._queued: OrderedDict[Queued, None] = OrderedDict()
        """All fetches that had to wait for a turn and are not done, in the order of their deadlines."""
        self._window = WINDOW
        """The most that commands on the wire may cost."""
        self._refill_at = WINDOW - WINDOW // TURNS_IN_WINDOW
        """When no more than this is on the wire, more is sent: a write for each fetch would cost as much as they do."""
        self.room = WINDOW
        """What commands that are sent now may cost. While fetches wait for turns, newcomers find no room: it is less by
        _CLOSED then."""
        self._max_commands = max_commands
        self._rate = 0.0
        """The cost of what Redis answers in a second, as it was last measured while fetches waited; 0 if unknown."""
        self._measured_at = self._measuring_since = 0.0
        self._measured_from = 0
        """How much was on the wire at `_measuring_since`, with what was sent since then."""
        self._check_every_s = check_every_s
        self._check_at = 0.0 if check_every_s < math.inf else math.inf
        """The fetch whose deadline is later than this is followed by a check."""
        self._checks = -1
        self._check_commands = [render_command(b"HMGET", check_key, *[b"-"] * fields) for fields in _CHECK_FIELDS]
        self._commands: list[bytes] = []
        """What this tick's write will send."""
        self.asked: dict[Any, asyncio.Future[Rows]] = {}
        """Fetches of which that write has the commands, by what `redis` knows them by. It is emptied with the write: so
        nobody needs a callback of its own for that."""
        self._chunks: deque[memoryview] = deque()
        """What was received and not yet parsed."""
        self._reading = True
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._in_grace = False
        """Whether the timer gives unread replies their time."""
        self._state = state
        self._received_at = state.answered_at = self._loop.time()
        """When bytes last came. A long reply takes long; only silence means that Redis is gone."""
        self._replied_at = self._received_at
        """When a reply last was complete."""
        self._stalled_at = 0.0
        """When somebody last found that a reply is overdue."""
        self._silent_at = 0.0
        """When a deadline last passed without a byte received for the store's timeout. If it is later than
        `_received_at`, the connection is silent."""
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """Gets the reason when the connection has ended."""
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        """The address of the other side; "" for a Unix socket."""
        transport.set_protocol(self)
        transport.resume_reading()
        transport.set_write_buffer_limits(high=0)  # so that uvloop writes at once, not at the end of its iteration

    @property
    def in_flight(self) -> int:
        """How many fetches, or turns of long ones, are on the wire, and how many wait for a turn."""
        waiting = sum(not isinstance(pending, Check | Order) for pending in list(self._waiting))
        return waiting + len(self._turns)

    @property
    def responsive(self) -> bool:
        """Whether bytes have come since it was last found to be silent, or stalled."""
        received_at = self._received_at
        return received_at >= self._stalled_at and received_at >= self._silent_at and not self.lost.done()

    def receivers(self) -> Sequence[Receiver]:
        """Whoever waits for a fetch, on the wire or not yet. Any thread may ask."""
        return list(dict.fromkeys(pending.receiver for pending in self._fetches()))

    def _fetches(self) -> list[PendingFetch | PendingTurn]:
        on_wire = [pending for pending in list(self._waiting) if isinstance(pending, PendingFetch | PendingTurn)]
        queued = [pending for queued in list(self._queued) if isinstance(pending := queued.pending, PendingInTurns)]
        return [*on_wire, *queued]

    def find_stalled(self, after_s: float) -> Sequence[Receiver]:
        """Whoever waits for fetches on the wire, if no byte has come for `after_s` though one is due; else nobody."""
        now = self._loop.time()
        if not self._waiting or self._chunks:
            return ()
        since = max(self._received_at, self._waiting[0].deadline - self._timeout_s)
        if now - since < after_s:
            return ()
        self._stalled_at = now
        return list(dict.fromkeys(pending.watched() for pending in self._fetches()))

    def send_order(self, command: bytes, found: Callable[[str], None]) -> None:
        """Send a command that is answered with a word. `found` gets what Redis says if it refuses, else ""."""
        self.send(Order(found), [command])

    def probe(self, command: bytes, picker: Picker, found: Callable[[str], None]) -> None:
        """Read a hash that is not there. `found` gets what Redis says if we may not, else ""."""
        self.send(Check(picker, found), [command])

    def send(self, pending: PendingFetch | PendingWrite | Check | Order, commands: list[bytes], cost: int = 0) -> None:
        """Append a fetch to the FIFO, and its commands to this tick's write. The caller has looked at `room`."""
        if self.lost.done():  # in this very tick, so that `redis` does not know yet
            pending.fail(StoreUnavailableError(LOST))
            return
        if self._silent_at > self._received_at:
            pending.fail(StoreUnavailableError("The online store does not answer"))
            return
        pending.deadline = self._loop.time() + self._timeout_s
        pending.cost = cost
        self.room -= cost
        if not self._commands:
            self._loop.call_soon(self._flush)
        self._commands += commands
        self._waiting.append(pending)
        for picker, replies in pending.parts:
            self._reader.expect(picker, replies)
        if pending.deadline > self._check_at:
            self._check(pending.deadline)
        if self._timer is None:
            self._set_timer(pending.deadline)

    def _check(self, deadline: float) -> None:
        """Send a check behind what was sent in this tick, of another number of fields than the one before.

        If all replies are one place too late, or too early, it gets a reply to a fetch, and a fetch gets its reply.
        """
        self._check_at = deadline + self._check_every_s
        self._checks = (self._checks + 1) % len(_CHECK_FIELDS)
        command, picker = self._check_commands[self._checks], _CHECK_PICKERS[self._checks]
        check = Check(picker, _ignore)
        check.deadline = deadline
        self._commands.append(command)
        self._waiting.append(check)
        self._reader.expect(picker, 1)

    def send_in_turns(self, future: Receiver, parts: list[Part]) -> None:
        """Send a fetch for which there is no room, or which is long: its commands are rendered when they have a turn.

        The fetch fails at once if it could not be answered in time.
        """
        pickers = [(part.picker, len(part.keys)) for part in parts if part.picker is not None]
        self._queue(PendingInTurns(future, pickers), future, parts)

    def write(self, future: Receiver, parts: list[Part], replies_of: int) -> None:
        """Write rows: at once if they are few and there is room, else in turns. Each gets `replies_of` replies."""
        count = len(parts[0].keys) if len(parts) == 1 else sum(len(part.keys) for part in parts)
        if count <= RENDERED_AT_ONCE:
            commands = [part.command.render(part.keys) for part in parts]
            cost = cost_of(count * replies_of, len(commands[0]) if len(commands) == 1 else sum(map(len, commands)))
            if cost <= self.room:
                self.send(PendingWrite(future, count * replies_of), commands, cost)
                return
        self._queue(PendingWriteInTurns(future, count * replies_of, replies_of), future, parts)

    def _queue(
        self,
        pending: PendingInTurns | PendingWriteInTurns,
        future: Receiver,
        parts: list[Part],
    ) -> None:
        if self.lost.done():
            pending.fail(StoreUnavailableError(LOST))
            return
        if self._silent_at > self._received_at:
            pending.fail(StoreUnavailableError("The online store does not answer"))
            return
        now = self._loop.time()
        queued = Queued(pending, parts, now + self._timeout_s)
        if self._turns.commands:
            refusal = self._refusal(queued.commands, queued.cost, now)
            if refusal is not None:
                pending.fail(refusal)
                return
        else:
            self._state.crowded = True
            self.room -= _CLOSED
            self._measure_from(now)
        self._turns.add(queued)
        self._queued[queued] = None
        # Called when the fetch is done as well as when its request has been given up.
        future.add_done_callback(lambda _: self._forget(queued))
        if self._timer is None:
            self._set_timer(queued.deadline)
        self._take_turns(now)

    def _forget(self, queued: Queued) -> None:
        """A fetch is done or given up. What of it is on the wire keeps its place; the rest is not sent."""
        self._queued.pop(queued, None)
        if queued.commands:
            self._turns.drop(queued)
            self._reopen()

    def _take_turns(self, now: float) -> None:
        """Send what there is room for now, of the fetches that wait; unless there is too little of it."""
        if self._on_wire > self._refill_at:
            return
        # With nothing on the wire there is room for any turn: a single command may cost more than the window.
        while (turn := self._turns.take(self.room + _CLOSED if self._on_wire > 0 else _CLOSED)) is not None:
            if not self._commands:
                self._loop.call_soon(self._flush)
            self._commands.append(turn.commands)
            pending = turn.pending.sent(turn, now + self._timeout_s)
            self._waiting.append(pending)
            for picker, replies in pending.parts:
                self._reader.expect(picker, replies)
            self.room -= turn.cost
            self._measured_from += turn.cost
            if now + self._timeout_s > self._check_at:
                self._check(now + self._timeout_s)
        self._reopen()

    def _reopen(self) -> None:
        """If no fetch waits any more, let newcomers in."""
        if not self._turns.commands and self.room < -_CLOSED // 2:
            self.room += _CLOSED
            self._state.crowded = False

    # What follows is only done while fetches wait.

    @property
    def _on_wire(self) -> int:
        """What the commands on the wire cost."""
        return self._window - self.room - _CLOSED

    def _measure_from(self, now: float) -> None:
        self._measuring_since = now
        self._measured_from = self._on_wire

    def _measure(self, now: float) -> None:
        """See how fast Redis answers, and fit the window to it."""
        took_s = now - self._measuring_since
        if took_s < MEASURE_S:
            return
        rate = (self._measured_from - self._on_wire) / took_s
        known = self._rate and now - self._measured_at < RATE_KEPT_S
        self._rate = (self._rate + rate) / 2 if known else rate
        self._measured_at = now
        window = min(max(int(self._rate * self._timeout_s * WIRE_SHARE), LEAST_WINDOW), LARGEST_WINDOW)
        self.room += window - self._window
        self._window = window
        self._refill_at = window - window // TURNS_IN_WINDOW
        self._turns.quantum = max(QUANTUM, window // TURNS_IN_WINDOW)
        self._measure_from(now)

    def check_room(self, commands: int) -> None:
        """Raises StoreOverloadedError if a fetch of so many commands, or more, would be refused."""
        if self._turns.commands:
            refusal = self._refusal(commands, commands, self._loop.time())
            if refusal is not None:
                raise refusal

    def _refusal(self, commands: int, cost: int, now: float) -> StoreOverloadedError | None:
        """The error for a fetch that would not be answered in time, as far as is known."""
        if self._turns.commands + commands > self._max_commands:
            return StoreOverloadedError(f"{OVERLOADED}: the limit is {self._max_commands} commands")
        if not self._rate or now - self._measured_at > RATE_KEPT_S:
            return None
        possible = self._rate * self._timeout_s
        ahead = self._on_wire + self._turns.ahead(cost)
        if ahead > MAX_AHEAD * possible or ahead + cost > MAX_IN_ALL * possible:
            return StoreOverloadedError(f"{OVERLOADED}: this request would not be answered in time")
        return None

    def left(self) -> None:
        """Another connection has taken its place: it may still answer what it was asked, and is asked no more."""

    def abort(self) -> None:
        """Close the connection. Fetches in the FIFO fail."""
        self._transport.abort()

    def end(self, reason: str) -> None:
        """Close the connection, and fail all fetches at once: what has been received and not read is not looked at."""
        self._end(reason)

    def _flush(self) -> None:
        commands = b"".join(self._commands)
        self._commands.clear()
        self.asked.clear()
        if not self._transport.is_closing():
            self._transport.write(commands)

    def data_received(self, data: bytes) -> None:
        self._received_at = self._state.answered_at = self._loop.time()
        chunks = self._chunks
        if not chunks:
            if len(data) <= CHUNK_BYTES:
                self._parse(data)
                return
            self._loop.call_soon(self._parse_next_chunk)
        received = memoryview(data)
        chunks.extend(received[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))
        if len(chunks) > MAX_CHUNKS and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _parse_next_chunk(self) -> None:
        chunks = self._chunks
        if not chunks:  # the connection has ended meanwhile
            return
        self._parse(chunks.popleft())
        if chunks:
            self._loop.call_soon(self._parse_next_chunk)
        if not self._reading and len(chunks) <= MAX_CHUNKS // 2 and not self.lost.done():
            self._reading = True
            self._transport.resume_reading()

    def _parse(self, data: bytes | memoryview) -> None:
        """Give the answers that `data` completes to the fetches at the head of the FIFO."""
        waiting, reader = self._waiting, self._reader
        answered = []
        try:
            for answer in reader.feed(data):
                if waiting[0].add(answer):
                    answered.append(waiting.popleft())  # noqa: PERF401  # what comes before an exception is needed
            # Only now, because if one of these replies is out of step, those before it may be as well.
            for done in answered:
                self.room += done.cost
                done.finish()
            unfinished_bytes = reader.unfinished_bytes
            if unfinished_bytes < self._unfinished_bytes + len(data):
                self._replied_at = self._received_at
            self._unfinished_bytes = unfinished_bytes
            if self._turns.commands and reader.failed is None:
                now = self._loop.time()
                self._measure(now)
                self._take_turns(now)
        except OutOfStepError as error:
            lost = StoreUnavailableError(LOST)
            for done in answered:
                done.fail(lost)
            self._end(f"its replies are out of step: {error}")
            return
        except Exception as error:
            # A bug, or no memory. In `data_received` a transport would end the connection; but here the loop may have
            # called us, and then the fetches behind this one would wait for ever.
            self._end(f"cannot read its replies: {error!r}")
            raise
        if reader.failed is not None:
            self._end(f"protocol error: {reader.failed}")
        elif unfinished_bytes > self._max_reply_bytes:
            self._refuse_reply()

    def connection_lost(self, exc: Exception | None) -> None:
        while self._chunks:  # these replies did come
            self._parse(self._chunks.popleft())
        self._end(str(exc) if exc else "closed by the other side")

    def _end(self, reason: str) -> None:
        """The connection cannot be used any more: close it, and fail every fetch in the FIFO."""
        if self.lost.done():
            return
        self.lost.set_result(reason)
        if self._timer is not None:
            self._timer.cancel()
        for pending in self._waiting:
            pending.fail(StoreUnavailableError(LOST))
        for queued in self._queued:
            queued.pending.fail(StoreUnavailableError(LOST))
        self._waiting.clear()
        self._chunks.clear()
        self._transport.abort()

    def _refuse_reply(self) -> None:
        """Close the connection because of a reply that is too long: the replies behind it cannot be reached."""
        limit = f"more than {self._max_reply_bytes} bytes for one entity (--max-reply-bytes)"
        if self._waiting:
            self._waiting.popleft().fail(StoreError(f"The online store holds {limit}"))
        self._end(f"a reply of {limit}")

    def _set_timer(self, when: float) -> None:
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._check_deadlines)

    def _check_deadlines(self) -> None:
        """Fail the requests whose deadlines have passed, and close a connection that is silent for too long.

        The fetches stay in the FIFO: their replies may still come, and must not be given to other requests.
        """
        self._timer = None
        now = self._loop.time()
        late = now - self._timer_at
        if late > LATE_S and self._waiting and not self._in_grace:
            # Something else held up the event loop. A loop runs timers before it reads sockets, so replies that came
            # before the deadline may be in our socket, unread. Let the loop read it first.
            self._in_grace = True
            self._set_timer(now + min(late, GRACE_S))
            return
        self._in_grace = False
        if self._chunks:
            self._received_at = now  # Redis is not silent: there are replies that we have not parsed yet
        next_deadline = math.inf
        for pending in self._waiting:
            if pending.deadline > now:
                next_deadline = pending.deadline
                break
            pending.fail(StoreTimeoutError("The online store did not answer in time"))
        for queued in self._queued:
            if queued.deadline > now:
                next_deadline = min(next_deadline, queued.deadline)
                break
            queued.pending.fail(StoreTimeoutError("The online store did not answer in time"))
        if next_deadline < math.inf:
            self._set_timer(max(next_deadline, now + APART_S))
        if self._waiting and self._waiting[0].deadline <= now:
            if now - self._received_at >= self._timeout_s:
                self._silent_at = now
            end_at = max(self._waiting[0].deadline + self._timeout_s, self._replied_at + 2 * self._timeout_s)
            if now >= end_at:
                self._end(f"no reply for {2 * self._timeout_s:g} s")
            elif self._timer is None or self._timer_at > end_at:
                if self._timer is not None:
                    self._timer.cancel()
                self._set_timer(min(end_at, now + self._timeout_s))  # no later than the deadline of the next fetch


def _ignore(_: str) -> None:
    """Whether a check was refused, as one is that a user may not send, does not matter: it was answered in its turn."""
