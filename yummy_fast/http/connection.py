"""One HTTP client's connection: the order of its answers, limits, backpressure, deadlines, and its end.

A `Connection` parses bytes into requests, passes each to `handle`, and has the answers written in the order of the
requests, in whichever order they are finished (RFC 9112 9.3.2). It knows nothing of features: `handle` returns a
Response, or a coroutine that returns one. `answer_writer` turns Responses into bytes.

The coroutine does not become a Task. An `Exchange` runs it up to the first Future that it awaits, and that Future's
callback runs it on. The code reads the same, and costs half of what a Task does (perf/experiments/task_or_future.py).
So `handle` may await Futures, but nothing that needs a current Task, such as asyncio.timeout().

A client that disconnects is no error: the coroutines of its requests are closed where they wait.

Everything is bounded. Of one client, `max_pipelined` requests are in work at a time; of all clients together,
`max_in_flight` wait for something, and `max_unsent_bytes` of answers wait for clients to read them. Bytes are read from
a client only if there is room for what they may contain. And each wait has a deadline: see `Connection.sweep`.
docs/reliability.md has the table of limits.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from yummy_fast.config.settings import HttpLimits, Timeouts
from yummy_fast.errors import LimitError, ProtocolError, YummyError
from yummy_fast.http.answer_writer import MUCH_BYTES, AnswerWriter
from yummy_fast.http.http11 import CONTINUE, Clock, Request, RequestParser, Response, ResponseOrCoroutine

logger = logging.getLogger("yummy_fast")

Handle = Callable[[Request], ResponseOrCoroutine]

CLIENT_SHARE = 4
"""Of the bytes that may be unsent, one connection may have this part: a quarter."""

LINGER_S = 2.0
"""How long the bytes of a refused client are read and dropped before the connection is closed. nginx: 5 to 30 s."""

PROBE_S = 0.2
"""How long after a client has closed its half of the connection it is asked whether it still reads: see `_probe`."""


class Connections:
    """What all connections of a server share."""

    __slots__ = (
        "clock",
        "closing",
        "emptied",
        "failed",
        "handle",
        "has_own_timeout",
        "in_flight",
        "kept_for",
        "limits",
        "max_pipelined",
        "open",
        "surplus",
        "timeouts",
        "unsent_bytes",
    )

    def __init__(
        self,
        handle: Handle,
        failed: Callable[[BaseException, Request], Response],
        limits: HttpLimits,
        timeouts: Timeouts,
        has_own_timeout: Callable[[Request], bool] = lambda _: False,
        kept_for: tuple[bytes, ...] = (),
    ) -> None:
        """
        - `failed` returns the answer for a request whose handling raised an exception, of any kind.
        - `has_own_timeout` tells which requests end by themselves, and may take longer than `timeouts` says.
        - `kept_for`: how the targets begin of requests that need all their headers.
        """
        self.handle = handle
        self.failed = failed
        self.limits = limits
        self.timeouts = timeouts
        self.has_own_timeout = has_own_timeout
        self.kept_for = kept_for
        self.max_pipelined = limits.max_pipelined
        self.clock = Clock()
        self.open: set[Connection] = set()
        self.surplus: dict[Connection, None] = {}
        """Connections beyond --worker-connections, oldest first: each gets a 503 for its first request, and is not in
        `open`. There may be as many as in `open`.
        """
        self.in_flight = 0
        """How many requests have begun and wait for something."""
        self.unsent_bytes = 0
        """How much of the answers is made and not sent: by the last look at each connection. What a transport holds
        below its high-water mark is looked at once a second only.
        """
        self.closing = False
        """Set when the server stops: each connection ends with the answer that is written next."""
        self.emptied = asyncio.Event()
        """Set when `closing` is set and the last connection of `open` has ended."""

    def sweep(self, now: float) -> None:
        """To be called once a second: update the Date header, and enforce all deadlines that passed before `now`.

        `now` is a time of the event loop.
        """
        self.clock.tick()
        for connection in list(self.open):
            connection.sweep(now)
        for connection in list(self.surplus):
            connection.sweep_surplus(now)
        if self.unsent_bytes > self.limits.max_unsent_bytes:
            self._cut_off_slow_readers()

    def _cut_off_slow_readers(self) -> None:
        """Make room: nobody gets answers while too many bytes are unsent.

        Those go that would not have read their answers within --send-timeout at the pace of the last second, the
        largest first, until there is room. With room, the deadline of `Connection.sweep` alone counts.
        """
        left = self.unsent_bytes
        slow = [connection for connection in self.open if connection.reads_too_slowly]
        cut_off = 0
        for connection in sorted(slow, key=lambda connection: connection.held_bytes, reverse=True):
            if left <= self.limits.max_unsent_bytes:
                break
            left -= connection.held_bytes
            cut_off += 1
            connection.abort()
        if cut_off:
            logger.warning(
                "%s cut off for reading too slowly: %d bytes of answers were unsent, the limit is %d",
                "1 connection" if cut_off == 1 else f"{cut_off} connections",
                self.unsent_bytes,
                self.limits.max_unsent_bytes,
            )


class Exchange:
    """One request and the slot for its answer."""

    __slots__ = ("_awaited", "_connection", "_coroutine", "_timer", "deadline", "request", "response")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._coroutine: Coroutine[Any, Any, Response] | None = None
        self._awaited: asyncio.Future[Any] | None = None
        """What the coroutine waits for."""
        self._timer: asyncio.TimerHandle | None = None
        self.deadline = 0.0
        """When the request is answered 504, as a time of the event loop."""
        self.request = request
        self.response: Response | None = None

    def start(self, now: float, loop: asyncio.AbstractEventLoop) -> None:
        """Run the request until it is answered or waits for something."""
        shared = self._connection.shared
        try:
            outcome = shared.handle(self.request)
        except Exception as error:
            outcome = shared.failed(error, self.request)
        if isinstance(outcome, Response):
            self.response = outcome
            return
        if shared.in_flight >= shared.limits.max_in_flight:
            outcome.close()
            full = LimitError(503, "Service Unavailable: too many requests in flight")
            self.response = shared.failed(full, self.request)
            return
        if shared.unsent_bytes and shared.unsent_bytes > shared.limits.max_unsent_bytes:  # usually there are none
            outcome.close()
            self.response = shared.failed(_too_much_unsent(), self.request)
            return
        shared.in_flight += 1
        self._coroutine = outcome
        timeout_ms = shared.timeouts.request_ms
        self.deadline = now + timeout_ms / 1000
        self._run()
        asked_ms = self.request.timeout_ms
        if self._coroutine is not None and 0 < asked_ms < timeout_ms:
            # The sweep may enforce the server's limit a second late. A client that sends milliseconds gets a timer.
            self._timer = loop.call_at(now + asked_ms / 1000, self.time_out)

    def _resume(self, future: asyncio.Future[Any]) -> None:
        if self._coroutine is None:
            # The exchange was abandoned or has timed out. If the Future had failed by then, asyncio logs nothing about
            # the exception that is never retrieved: `abandon` has called cancel(), which says that it is not wanted.
            return
        # Usually nothing is unsent, and nothing more is asked. An error is small, whatever there is.
        if (
            self._connection.shared.unsent_bytes
            and self._connection.has_no_room_for(self)
            and not future.cancelled()
            and future.exception() is None
        ):
            self._fail(_too_much_unsent())
            return
        self._run()
        if self.response is not None:
            self._connection.advance()

    def _run(self) -> None:
        assert self._coroutine is not None  # noqa: S101
        try:
            awaited: asyncio.Future[Any] = self._coroutine.send(None)
        except StopIteration as done:
            self.response = done.value
        except (Exception, asyncio.CancelledError) as error:  # who is awaited may be cancelled; we are no Task
            self.response = self._connection.shared.failed(error, self.request)
            # If the awaited Future raised this, it keeps the exception, whose traceback's frames keep the Future: a
            # reference cycle with all that the request had. Without the traceback it is freed at once.
            error.__traceback__ = None
        else:
            self._awaited = awaited
            awaited.add_done_callback(self._resume)
            return
        self._finished()

    def _finished(self) -> None:
        self._coroutine = self._awaited = None
        self._connection.shared.in_flight -= 1
        if self._timer is not None:
            self._timer.cancel()

    def time_out(self) -> None:
        """Stop the request, and answer 504."""
        self._fail(LimitError(504, "Gateway Timeout: the request took too long"))

    def _fail(self, error: YummyError) -> None:
        """Stop the request, and answer with `error`."""
        if self._coroutine is None:
            return  # it was abandoned meanwhile, and nobody gets its answer
        try:  # raised within the coroutine, the error is counted there; close() would raise
            self._coroutine.throw(error)  # GeneratorExit, which is counted as a client that has disconnected
        except YummyError as raised:  # it may say more: of a push, that its rows may have been written
            error = raised
        except Exception:  # noqa: S110  # a bug: the answer is that the time is up
            pass
        self.abandon()
        # Without the traceback, for it contains this frame, which refers to the error.
        self.response = self._connection.shared.failed(error.with_traceback(None), self.request)
        self._connection.advance()

    def abandon(self) -> None:
        """Stop the request, without an answer, and what it waits for: commands that are not sent yet never will be."""
        if self._coroutine is not None:
            self._coroutine.close()
            awaited = self._awaited
            self._finished()
            if awaited is not None:
                awaited.cancel()
        elif self.response is not None and self.response.stream is not None:
            self.response.stream.close()


def _too_many_connections() -> LimitError:
    return LimitError(503, "Service Unavailable: too many connections")


def _too_much_unsent() -> LimitError:
    return LimitError(503, "Service Unavailable: too many bytes of answers are unsent")


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_advancing",
        "_begun",
        "_deaf",
        "_last_request",
        "_loop",
        "_parser",
        "_probed",
        "_progress_at",
        "_queued",
        "_reading",
        "_refused",
        "_transport",
        "_writer",
        "held_bytes",
        "shared",
    )

    def __init__(self, shared: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.shared = shared
        self._loop = loop
        self._parser: RequestParser
        self._queued: deque[Request] = deque()
        """Requests that have not begun, in their order. Nothing is read meanwhile, so all are from one read. They wait
        only while `_begun` is full or the client does not read its answers: see `advance`.
        """
        self._begun: deque[Exchange] = deque()
        """Requests that have begun and whose answers are not written, in their order."""
        self._transport: Any = None
        self._writer: AnswerWriter
        self.held_bytes = 0
        """How much of the answers to this client is in memory: what is counted in `Connections.unsent_bytes`."""
        self._advancing = False
        self._reading = True
        self._refused = False
        """Whether the client was refused, and may still be sending."""
        self._last_request = False
        """Whether no request follows those in `_begun` and `_queued`. Then the connection ends with their answers."""
        self._deaf = False
        """Whether nothing is to be read any more. After the last request, reading still shows that a client leaves."""
        self._probed = False
        """Whether a client that sends nothing more was asked whether it still reads."""
        self._progress_at = loop.time()
        """When the client last made progress, by the rules of `sweep`."""

    # ------------------------------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        shared = self.shared
        self._writer = AnswerWriter(transport, shared.clock)
        limits = shared.limits
        # Not in __init__: after a failed TLS handshake nothing calls `connection_lost`, which closes the parser.
        self._parser = RequestParser(
            limits.max_body_bytes,
            max_head_bytes=limits.max_header_bytes,
            max_target_bytes=limits.max_target_bytes,
            kept_for=shared.kept_for,
        )
        if len(shared.open) < limits.max_connections:
            shared.open.add(self)
            return
        # One connection too many. If it were not accepted, its client would wait in the kernel's queue, without knowing
        # how long; a 503 sends it elsewhere. It comes as the answer to the client's first request, because a pool that
        # connects before it has something to ask takes an answer to nothing for garbage, and reports a broken server.
        # Here, `_last_request` keeps the usual path of `data_received` from asking which connections these are.
        self._last_request = True
        self._progress_at = self._loop.time()
        if len(shared.surplus) >= limits.max_connections:
            oldest = next(iter(shared.surplus))  # most clients ask at once, and have had their answers by then
            del shared.surplus[oldest]
            oldest.abort()
        shared.surplus[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        shared = self.shared
        shared.open.discard(self)
        shared.surplus.pop(self, None)
        if shared.closing and not shared.open:
            shared.emptied.set()
        self._last_request = True
        self._drop_requests()
        self._set_held_bytes(0)
        self._writer.close()
        self._parser.close()

    def data_received(self, data: bytes) -> None:
        if self._last_request:
            if self in self.shared.surplus and not self._refused:
                self._receive_in_surplus(data)
                return
            self._deaf = True  # what it sends is not looked at, so it is not to be had either
            if not self._refused:
                self._set_reading()
            return
        parser = self._parser
        was_in_request, was_in_body = parser.in_request, parser.in_body
        try:
            requests = parser.feed(data)
        except ProtocolError:
            self.advance()  # which answers with the error, after the answers before it
            return
        if requests:
            self._progress_at = now = self._loop.time()
            request = requests[0]
            if len(requests) == 1 and request.keep_alive and not (self._begun or self._writer.paused):
                # The usual case, on a short path: one request, and none before it.
                exchange = Exchange(self, request)
                self._begun.append(exchange)
                exchange.start(now, self._loop)
                if exchange.response is None and parser.refusal is None:
                    return
            else:
                self._queued += requests
            self.advance()
        elif parser.in_request is not was_in_request or parser.in_body is not was_in_body:
            self._progress_at = self._loop.time()
            self._continue()

    def _receive_in_surplus(self, data: bytes) -> None:
        """The first request, or a part of it, on one connection too many: it is served if there is room by now."""
        shared = self.shared
        if len(shared.open) < shared.limits.max_connections and not shared.closing:
            del shared.surplus[self]
            shared.open.add(self)
            self._last_request = False
            self.data_received(data)
            return
        try:
            requests = self._parser.feed(data)
        except ProtocolError:
            self.advance()  # which answers with the error
            return
        if requests or self._parser.in_body:  # the body need not come
            self._refuse(_too_many_connections(), *requests[:1])

    def eof_received(self) -> bool:
        """The client sends nothing more, but may still read. True keeps the connection, for its answers."""
        self._last_request = self._deaf = True
        if self._transport.get_extra_info("sslcontext") is not None or self._writer.streams:
            # asyncio cannot keep one half of a TLS connection open, and logs a warning for True. It writes nothing more
            # either, so the answers could not be delivered. And a client that ends its half while an answer comes piece
            # by piece has left, as far as we know, and as for nginx: within an answer, `_probe` cannot ask it.
            self._drop_requests()
            self._progress_at = self._loop.time()
            return False
        if not self.busy:
            return False
        self._loop.call_later(PROBE_S, self._probe)
        return True

    def pause_writing(self) -> None:
        """The transport's buffer is full: the client reads slower than we write. No request of it begins meanwhile."""
        self._writer.pause()
        self._set_reading()
        if not self._advancing:  # otherwise it is counted after the write
            self._count_held_bytes()

    def resume_writing(self) -> None:
        self._progress_at = self._loop.time()
        self._writer.resume()
        self.advance()

    # ------------------------------------------------------------------------------------------- answers

    def advance(self) -> None:
        """Write the answers that are next in order, begin requests while there is room, and read if there still is."""
        # A client may send several requests without waiting for answers. Say three arrive in one read, max_pipelined is
        # 2, and /b is answered before /a:
        #
        #     received    GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\n...
        #     _begun      /a (waits for the store), /b (has a response)
        #     _queued     /c
        #     written     nothing: the client would take the answer to /b for the one to /a
        #
        # When /a has its response, both are written, and /c begins. Until then nothing is read: one read may contain
        # thousands of small requests, and `_queued` holds those of one read, never of two.
        if self._advancing:  # a write below has called resume_writing(), which has called this
            return
        self._advancing = True
        begun, queued, writer = self._begun, self._queued, self._writer
        self._write_answers()
        while queued and not writer.paused and self.held_bytes <= MUCH_BYTES and len(begun) < self.shared.max_pipelined:
            request = queued.popleft()
            if not request.keep_alive:
                # The client has announced that this is its last. What it has sent after it is ignored, even if it is
                # malformed: RFC 9112 9.6.
                self._last_request = True
                queued.clear()
                self._parser.refusal = None
            exchange = Exchange(self, request)
            begun.append(exchange)
            exchange.start(self._loop.time(), self._loop)
            if exchange.response is not None:
                self._write_answers()
        self._advancing = False
        if not queued and self._parser.refusal is not None and not self._refused:
            self._refuse(self._parser.refusal)
            return
        if not begun and not queued and not writer.busy:
            self._progress_at = self._loop.time()
            if self._last_request:
                self._end()
                return
            if self._parser.expects_continue:
                self._continue()
            if self._reading:
                return  # the usual case: nothing is held of this client, and its socket is read
        self._set_reading()

    def _write_answers(self) -> None:
        begun, writer = self._begun, self._writer
        while begun and not writer.busy:
            exchange = begun[0]
            response = exchange.response
            if response is None:
                break
            begun.popleft()
            if self._transport.is_closing():
                exchange.abandon()
                continue
            if self.shared.closing:
                self._last_request = True
            request, stream = exchange.request, response.stream
            if request.trace is not None:
                response = response._replace(headers=response.headers + request.trace.head_lines())
            if stream is not None and stream.length is None and request.version != "1.1":
                self._last_request = True  # only the connection's end can say where such a body ends
                self._drop_requests()
            keep_alive = not self._last_request or bool(begun or self._queued)
            if stream is None:
                writer.write(response, request, keep_alive)
            else:
                writer.write_streamed(response, stream, request, keep_alive, self.advance)
        if begun or writer.paused or self.held_bytes:
            self._count_held_bytes()

    def _count_held_bytes(self) -> None:
        """Count what is in memory of the answers: those that wait for an earlier one, and those that are unsent."""
        held = sum(len(exchange.response.body) for exchange in self._begun if exchange.response is not None)
        self._set_held_bytes(held + self._writer.held_bytes)

    def _set_held_bytes(self, held: int) -> None:
        self.shared.unsent_bytes += held - self.held_bytes
        self.held_bytes = held

    def has_no_room_for(self, exchange: Exchange) -> bool:
        """Whether the answer of `exchange` may not be made now: too much is unsent, or of this client alone."""
        most = self.shared.limits.max_unsent_bytes
        if self.shared.unsent_bytes > most:
            return True
        if self._begun[0] is exchange and not self._writer.paused:
            return False  # it is written at once, and what waits behind it as well
        return self.held_bytes > most // CLIENT_SHARE

    def _continue(self) -> None:
        """Write "100 Continue" if the client waits for it, after the answers to the requests before."""
        if self._parser.expects_continue and not self.busy:
            self._parser.expects_continue = False
            self._transport.write(CONTINUE)

    def _end(self) -> None:
        """Close the connection after everything is written.

        What a refused client still sends is read and dropped for LINGER_S. Closing a socket with unread bytes resets
        the connection, and the reset can overtake the answer (RFC 9112 9.6).
        """
        transport = self._transport
        if not self._refused or transport.is_closing():
            transport.close()
            return
        self._loop.call_later(LINGER_S, transport.close)
        if transport.can_write_eof():
            transport.write_eof()
        else:  # TLS, which waits for the client to close as well
            self._loop.call_later(2 * LINGER_S, transport.abort)
        transport.resume_reading()

    def _set_reading(self) -> None:
        """Read from the socket only if a request that arrives could begin at once.

        While nothing is read, the kernel's receive buffer fills up, and TCP makes the client wait. So what we hold for
        one client is bounded: of its requests, those of one read and those in `_begun`; of its answers, MUCH_BYTES, and
        the answers to the requests that had begun by then, as long as `has_no_room_for` lets them be made.
        """
        full = len(self._begun) >= self.shared.max_pipelined or self.held_bytes > MUCH_BYTES
        wanted = not (self._deaf or self._writer.paused or full)
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _refuse(self, error: LimitError | ProtocolError, request: Request | None = None) -> None:
        """Write an answer for bytes that are no request, after the answers to the requests before; then close.

        `request`: if they are one.
        """
        self._last_request = self._refused = self._deaf = True
        exchange = Exchange(self, request or Request(b"", b"", b"", False, trace=self._parser.trace))
        exchange.response = self.shared.failed(error, exchange.request)
        self._begun.append(exchange)
        self.advance()

    # --------------------------------------------------------------------------------------------- the end

    def sweep(self, now: float) -> None:
        """Enforce the deadlines that have passed."""
        # Called once a second, so a deadline may be enforced a second late. A timer for each wait would be punctual,
        # but it would be set and cancelled with every request.
        #
        #     the connection waits for             until                                                  then
        #     our answer, to each begun request    request_timeout after the request began                504
        #     the client, to read answers          it has not read a byte for send_timeout                abort
        #     the first or next request            keep_alive_timeout after the connect or last answer    close
        #     the rest of a head                   header_timeout after the head's first byte             408
        #     the rest of a body                   body_timeout after the head's last byte                408
        #
        # `_progress_at` is when the current wait of the last four began. Bytes that do not end a wait do not move it: a
        # client that sends one byte of a head every ten seconds is refused after header_timeout all the same. Only in a
        # client's reading does each byte count, because how long an answer takes depends on its size.
        timeouts = self.shared.timeouts
        for exchange in list(self._begun):
            if (
                exchange.response is None
                and exchange.deadline < now
                and not self.shared.has_own_timeout(exchange.request)
            ):
                exchange.time_out()
        age = now - self._progress_at
        writer = self._writer
        self._count_held_bytes()
        if not writer.paused:
            self._set_held_bytes(self.held_bytes + writer.buffered_bytes)
        writer.measure()
        if writer.unsent_bytes:
            if writer.is_read:
                self._progress_at = now
            elif age > timeouts.send_s:
                self.abort()
        elif self._transport.is_closing():
            if age > timeouts.send_s:  # with TLS, the client closes its half as well, or leaves that out
                self.abort()
        elif self.busy or self._last_request:
            pass  # the client waits for us
        elif not self._parser.in_request:
            if age > timeouts.keep_alive_s:
                self._progress_at = now
                self._transport.close()
        elif age > (timeouts.body_s if self._parser.in_body else timeouts.header_s):
            self._refuse(ProtocolError(408, "Request Timeout: the request did not come to its end"))

    def sweep_surplus(self, now: float) -> None:
        """`sweep` for one connection too many. After its 503, `_end` has set the deadlines."""
        if self._refused or now - self._progress_at <= self.shared.timeouts.header_s:
            return
        if self._parser.in_request:
            self._refuse(_too_many_connections())
        else:
            self.abort()  # close() would wait for a client of TLS, and nothing is written that could be lost

    @property
    def reads_too_slowly(self) -> bool:
        """Whether reading what is unsent would take longer than --send-timeout, at the pace of the last second."""
        return self._writer.read_bytes * self.shared.timeouts.send_s < self._writer.unsent_bytes

    @property
    def busy(self) -> bool:
        """Whether the client waits for an answer, or the transport for the rest of one."""
        return bool(self._begun or self._queued or self._writer.busy)

    def _drop_requests(self) -> None:
        self._queued.clear()
        for exchange in self._begun:
            exchange.abandon()
        self._begun.clear()
        self._writer.drop()

    def _probe(self) -> None:
        """Ask a client that has closed its half of a TCP connection whether it has closed the other as well.

        Its FIN says that it sends nothing more, and may mean either: `nc -N` still reads, and must have its answer; a
        client that has given up has closed all, and its requests should stop. Only bytes show the difference. The
        kernel of the second answers them with a reset; the first skips an interim response that it has not asked for
        (RFC 9110 15.2 and 15.2.1). HTTP/1.0 has none, so that a client of it can only be answered.
        """
        begun = self._begun
        if self._transport.is_closing() or not begun:
            return
        if self._probed and _was_reset(self._transport):
            self.abort()
            return
        # Within the body of an answer, the bytes of this one would be taken for a part of it.
        if begun[0].request.version == "1.1" and not self._writer.busy and not self._probed:
            self._probed = True
            self._transport.write(CONTINUE)
        self._loop.call_later(PROBE_S, self._probe)

    def close_if_idle(self) -> None:
        """Close, unless a request is in work or has partly arrived."""
        if not (self.busy or self._parser.in_request):
            self._progress_at = self._loop.time()
            self._transport.close()

    def abort(self) -> None:
        """Close at once, and drop what is not written yet."""
        self._transport.abort()


def _was_reset(transport: asyncio.BaseTransport) -> bool:
    """Whether the other side has answered with a reset. Nothing is read any more, which would show it."""
    connection = transport.get_extra_info("socket")
    return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
