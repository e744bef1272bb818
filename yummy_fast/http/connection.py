"""One HTTP client's connection: the order of its answers, limits, backpressure, deadlines, and its end.

A `Connection` parses bytes into requests, passes each to `handle`, and writes the answers in the order of the requests,
in whichever order they are finished (RFC 9112 9.3.2). It knows nothing of features: `handle` returns a Response, or a
coroutine that returns one.

The coroutine does not become a Task. An `Exchange` runs it up to the first Future that it awaits, and that Future's
callback runs it on. The code reads the same, and costs half of what a Task does (perf/experiments/task_or_future.py).
So `handle` may await Futures, but nothing that needs a current Task, such as asyncio.timeout().

A client that disconnects is no error: the coroutines of its requests are closed where they wait.

Everything is bounded. Of one client, `max_pipelined` requests are in work at a time; of all clients together,
`max_in_flight` wait for something. Bytes are read from a client only if there is room for what they may contain. And
each wait has a deadline: see `Connection.sweep`. docs/reliability.md has the table of limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from yummy_fast.config.settings import HttpLimits, Timeouts
from yummy_fast.errors import LimitError, ProtocolError
from yummy_fast.http.http11 import CONTINUE, Clock, Request, RequestParser, Response, ResponseOrCoroutine, response_head

logger = logging.getLogger("yummy_fast")

Handle = Callable[[Request], ResponseOrCoroutine]

LARGE_BODY_BYTES = 64 << 10
"""Larger bodies are passed to the transport apart from the head: to copy both into one bytes object would cost more."""

LINGER_S = 2.0
"""How long the bytes of a refused client are read and dropped before the connection is closed. nginx: 5 to 30 s."""


class Connections:
    """What all connections of a server share."""

    __slots__ = (
        "clock",
        "closing",
        "emptied",
        "failed",
        "handle",
        "in_flight",
        "limits",
        "lingering",
        "max_pipelined",
        "open",
        "timeouts",
    )

    def __init__(
        self,
        handle: Handle,
        failed: Callable[[BaseException, Request], Response],
        limits: HttpLimits,
        timeouts: Timeouts,
    ) -> None:
        """`failed` returns the answer for a request whose handling raised an exception, of any kind."""
        self.handle = handle
        self.failed = failed
        self.limits = limits
        self.timeouts = timeouts
        self.max_pipelined = limits.max_pipelined
        self.clock = Clock()
        self.open: set[Connection] = set()
        self.lingering = 0
        """How many connections beyond --worker-connections are open: they get a 503, and are not in `open`."""
        self.in_flight = 0
        """How many requests have begun and wait for something."""
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
            # The exchange was abandoned or has timed out. asyncio would log an exception that was never retrieved.
            if not future.cancelled():
                future.exception()
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
        except Exception as error:
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
        error = LimitError(504, "Gateway Timeout: the request took too long")
        if self._coroutine is not None:
            with suppress(Exception):  # raised within the coroutine, the error is counted there; close() would raise
                self._coroutine.throw(error)  # GeneratorExit, which is counted as a client that has disconnected
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


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_advancing",
        "_begun",
        "_last_request",
        "_loop",
        "_parser",
        "_paused",
        "_progress_at",
        "_queued",
        "_reading",
        "_refused",
        "_transport",
        "_unsent_bytes",
        "shared",
    )

    def __init__(self, shared: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.shared = shared
        self._loop = loop
        self._parser: RequestParser
        self._queued: deque[Request] = deque()
        """Requests that have not begun, in their order. Nothing is read meanwhile, so all are from one read."""
        self._begun: deque[Exchange] = deque()
        """Requests that have begun and whose answers are not written, in their order."""
        self._transport: Any = None
        self._advancing = False
        self._reading = True
        self._paused = False
        """Whether the client reads so slowly that the transport's buffer is full."""
        self._refused = False
        """Whether the client was refused, and may still be sending."""
        self._last_request = False
        """Whether no request follows those in `_begun` and `_queued`. Then the connection ends with their answers."""
        self._progress_at = loop.time()
        """When the client last made progress, by the rules of `sweep`."""
        self._unsent_bytes = 0
        """How much of the answers the transport had still to send at the last sweep."""

    # ------------------------------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        shared = self.shared
        limits = shared.limits
        # Not in __init__: after a failed TLS handshake nothing calls `connection_lost`, which closes the parser.
        self._parser = RequestParser(
            limits.max_body_bytes, max_head_bytes=limits.max_header_bytes, max_target_bytes=limits.max_target_bytes
        )
        if len(shared.open) < limits.max_connections:
            shared.open.add(self)
            return
        # One connection too many. If it were not accepted, its client would wait in the kernel's queue, without knowing
        # how long; a 503 sends it elsewhere at once. There may be as many such connections as served ones.
        shared.lingering += 1
        if shared.lingering > limits.max_connections:
            self._last_request = True
            self.abort()
        else:
            self._refuse(LimitError(503, "Service Unavailable: too many connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        shared = self.shared
        if self in shared.open:
            shared.open.remove(self)
        else:
            shared.lingering -= 1
        if shared.closing and not shared.open:
            shared.emptied.set()
        self._last_request = True
        self._queued.clear()
        for exchange in self._begun:
            exchange.abandon()
        self._begun.clear()
        self._parser.close()

    def data_received(self, data: bytes) -> None:
        if self._last_request:
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
            if len(requests) == 1 and requests[0].keep_alive and not (self._begun or self._queued or self._paused):
                # The usual case, on a short path: one request, and none before it.
                exchange = Exchange(self, requests[0])
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

    def eof_received(self) -> bool:
        """The client sends nothing more, but may still read. True keeps the connection, for its answers."""
        self._last_request = True
        if self._transport.get_extra_info("sslcontext") is not None:
            return False  # asyncio cannot keep one half of a TLS connection open, and logs a warning for True
        return bool(self._begun or self._queued)

    def pause_writing(self) -> None:
        """The transport's buffer is full: the client reads slower than we write. No request of it begins meanwhile."""
        self._paused = True
        self._set_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._progress_at = self._loop.time()
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
        begun, queued = self._begun, self._queued
        self._write_answers()
        while queued and not self._paused and len(begun) < self.shared.max_pipelined:
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
        if not begun and not queued:
            self._progress_at = self._loop.time()
            if self._last_request:
                self._end()
                return
            self._continue()
        self._set_reading()

    def _write_answers(self) -> None:
        begun = self._begun
        transport = self._transport
        while begun and begun[0].response is not None:
            exchange = begun.popleft()
            response = exchange.response
            assert response is not None  # noqa: S101
            if transport.is_closing():
                continue
            if self.shared.closing:
                self._last_request = True
            keep_alive = not self._last_request or bool(begun or self._queued)
            request = exchange.request
            if request.trace is not None:
                response = response._replace(headers=response.headers + request.trace.head_lines())
            head = response_head(response, self.shared.clock.line, keep_alive, request.version)
            if request.method == b"HEAD":
                transport.write(head)
            elif len(response.body) > LARGE_BODY_BYTES:
                transport.writelines((head, response.body))
            else:
                transport.write(head + response.body)

    def _continue(self) -> None:
        """Write "100 Continue" if the client waits for it, after the answers to the requests before."""
        if self._parser.expects_continue and not self._begun and not self._queued and not self._last_request:
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
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(LINGER_S, transport.close)
        transport.resume_reading()

    def _set_reading(self) -> None:
        """Read from the socket only if a request that arrives could begin at once.

        While nothing is read, the kernel's receive buffer fills up, and TCP makes the client wait. So what we hold for
        one client is bounded: of its requests, those of one read and those in `_begun`; of its answers, as much as the
        transport buffers before it calls `pause_writing`, and the answers to the requests that had begun by then.
        """
        full = len(self._begun) >= self.shared.max_pipelined
        wanted = not (self._last_request or self._paused or self._queued or full)
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _refuse(self, error: LimitError | ProtocolError) -> None:
        """Write an answer for bytes that are no request, after the answers to the requests before; then close."""
        self._last_request = self._refused = True
        exchange = Exchange(self, Request(b"", b"", b"", False, trace=self._parser.trace))
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
            if exchange.response is None and exchange.deadline < now:
                exchange.time_out()
        age = now - self._progress_at
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            if not 0 < self._unsent_bytes <= unsent:  # less than at the last sweep, or nothing was unsent then
                self._progress_at = now
            elif age > timeouts.send_s:
                self.abort()
        elif self.busy or self._last_request:
            pass  # the client waits for us
        elif not self._parser.in_request:
            if age > timeouts.keep_alive_s:
                self._transport.close()
        elif age > (timeouts.body_s if self._parser.in_body else timeouts.header_s):
            self._refuse(ProtocolError(408, "Request Timeout: the request did not come to its end"))
        self._unsent_bytes = unsent

    @property
    def busy(self) -> bool:
        """Whether the client waits for an answer."""
        return bool(self._begun or self._queued)

    def close_if_idle(self) -> None:
        """Close, unless a request is in work or has partly arrived."""
        if not (self.busy or self._parser.in_request):
            self._transport.close()

    def abort(self) -> None:
        """Close at once, and drop what is not written yet."""
        self._transport.abort()
