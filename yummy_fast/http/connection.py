"""One HTTP client: order of answers, limits, deadlines, backpressure, the end of it.

A `Connection` turns bytes into requests, gives each to `handle`, and writes the answers in the order of the requests,
however they finish (RFC 9112 9.3.2). It does not know features: `handle` returns a Response, or a coroutine that will.

The coroutine is not made a Task. An `Exchange` runs it at once up to its first Future, and again from that Future's
callback: the same code for the reader, for half of what a Task costs (perf/experiments/task_or_future.py). Inside
`handle` one may await Futures and nothing that needs a current Task, such as asyncio.timeout().

A client that hangs up is normal: its exchanges are closed where they wait, and no one else notices.

Nothing grows without bound: no more requests of a client are begun while `max_pipelined` of its answers are awaited or
it does not read, nor read while some wait to be begun; all clients together have `max_in_flight`. Nothing waits without
end: `Connections.sweep`, once a second, ends what has outlived its time. docs/reliability.md has the table of limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.errors import LimitError, ProtocolError
from yummy_fast.http.http11 import CONTINUE, Clock, Request, RequestParser, Response, ResponseOrCoroutine, response_head

logger = logging.getLogger("yummy_fast")

Handle = Callable[[Request], ResponseOrCoroutine]

LARGE_BODY_BYTES = 64 << 10
"""From here on, it is cheaper to hand head and body over as they are than to make one of them."""

LINGER_S = 2.0
"""How long a refused client may go on sending before the connection is closed. nginx: 5 to 30 s."""


class Connections:
    """What all connections of a server share."""

    __slots__ = (
        *("clock", "closing", "config", "emptied", "failed", "handle", "in_flight", "lingering", "max_pipelined"),
        "open",
    )

    def __init__(self, handle: Handle, failed: Callable[[BaseException, Request], Response], config: Config) -> None:
        """`failed` makes an answer of what went wrong with a request, whatever it is."""
        self.handle = handle
        self.failed = failed
        self.config = config
        self.max_pipelined = config.max_pipelined
        self.clock = Clock()
        self.open: set[Connection] = set()
        self.lingering = 0
        """Connections that were one too many, and are about to be closed."""
        self.in_flight = 0
        """Requests that wait for something."""
        self.closing = False
        """The server is about to stop: answers say that the connection ends with them."""
        self.emptied = asyncio.Event()
        """Set when the last connection has ended after `closing`."""

    def sweep(self, now: float) -> None:
        """Render the date; end what has outlived its time at `now`, a time of the event loop."""
        self.clock.tick()
        for connection in list(self.open):
            connection.sweep(now)


class Exchange:
    """One request and the slot for its answer."""

    __slots__ = ("_connection", "_coroutine", "_timer", "deadline", "request", "response")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._coroutine: Coroutine[Any, Any, Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.deadline = 0.0
        """When the request gets a 504 instead of its answer, as a time of the event loop."""
        self.request = request
        self.response: Response | None = None

    def start(self, now: float, loop: asyncio.AbstractEventLoop) -> None:
        """Run the request as far as it goes without waiting."""
        shared = self._connection.shared
        try:
            outcome = shared.handle(self.request)
        except Exception as error:
            outcome = shared.failed(error, self.request)
        if isinstance(outcome, Response):
            self.response = outcome
            return
        if shared.in_flight >= shared.config.max_in_flight:
            outcome.close()
            full = LimitError(503, "Service Unavailable: too many requests in flight")
            self.response = shared.failed(full, self.request)
            return
        shared.in_flight += 1
        self._coroutine = outcome
        timeout_ms = shared.config.request_timeout_ms
        self.deadline = now + timeout_ms / 1000
        self._run()
        asked_ms = self.request.timeout_ms
        if self._coroutine is not None and 0 < asked_ms < timeout_ms:
            # A sweep a second does for the limit that all have, but who names milliseconds means them.
            self._timer = loop.call_at(now + asked_ms / 1000, self.time_out)

    def _resume(self, future: asyncio.Future[Any]) -> None:
        if self._coroutine is None:
            # The client has left. Whatever came is looked at once, so that asyncio does not call it forgotten.
            if not future.cancelled():
                future.exception()
            return
        self._run()
        if self.response is not None:
            self._connection.advance()

    def _run(self) -> None:
        assert self._coroutine is not None  # noqa: S101
        try:
            waits_for: asyncio.Future[Any] = self._coroutine.send(None)
        except StopIteration as done:
            self.response = done.value
        except Exception as error:
            self.response = self._connection.shared.failed(error, self.request)
            # What we waited for keeps its error, whose frames hold what we waited for: until the collector comes.
            error.__traceback__ = None
        else:
            waits_for.add_done_callback(self._resume)
            return
        self._finished()

    def _finished(self) -> None:
        self._coroutine = None
        self._connection.shared.in_flight -= 1
        if self._timer is not None:
            self._timer.cancel()

    def time_out(self) -> None:
        """Answer 504 in the place of what takes too long."""
        error = LimitError(504, "Gateway Timeout: the request took too long")
        if self._coroutine is not None:
            with suppress(Exception):  # closed it would be as well, but then nobody would count why
                self._coroutine.throw(error)
        self.abandon()
        # Without the frames that it went through: this is one of them, and holds it.
        self.response = self._connection.shared.failed(error.with_traceback(None), self.request)
        self._connection.advance()

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        if self._coroutine is not None:
            self._coroutine.close()
            self._finished()


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        *("_advancing", "_exchanges", "_last", "_loop", "_parser", "_paused", "_reading", "_refused", "_since"),
        *("_transport", "_unsent", "_waiting", "shared"),
    )

    def __init__(self, shared: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.shared = shared
        self._loop = loop
        self._parser: RequestParser
        self._waiting: deque[Request] = deque()
        """Requests that have not begun. The socket is not read meanwhile: there are no more than one read had."""
        self._exchanges: deque[Exchange] = deque()
        self._transport: Any = None
        self._advancing = False
        self._reading = True
        self._paused = False
        """The client reads slower than we write."""
        self._refused = False
        """The client may still be sending what we do not want."""
        self._last = False
        """No more requests are read: the client, or its bytes, or we have come to an end."""
        self._since = loop.time()
        """Since when this has been idle, or within a head, or within a body, or has sent nothing more."""
        self._unsent = 0
        """Bytes that the client had still to read at the last sweep."""

    # ------------------------------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        shared = self.shared
        config = shared.config
        # Not before: where a TLS handshake fails there is no `connection_lost`, which closes it.
        self._parser = RequestParser(
            config.max_body_bytes, max_head_bytes=config.max_header_bytes, max_target_bytes=config.max_target_bytes
        )
        if len(shared.open) < shared.config.worker_connections:
            shared.open.add(self)
            return
        # A paused accept would leave clients in the kernel's queue, for nobody knows how long. This one learns at once
        # that it has to go elsewhere. As many may be on their way out as in.
        shared.lingering += 1
        if shared.lingering > shared.config.worker_connections:
            self._last = True
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
        self._last = True
        self._waiting.clear()
        for exchange in self._exchanges:
            exchange.abandon()
        self._exchanges.clear()
        self._parser.close()

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        parser = self._parser
        was_in_request, was_in_body = parser.in_request, parser.in_body
        try:
            requests = parser.feed(data)
        except ProtocolError:
            self.advance()  # which answers it in its turn
            return
        if requests:
            self._since = now = self._loop.time()
            if len(requests) == 1 and requests[0].keep_alive and not (self._exchanges or self._waiting or self._paused):
                # The usual case: one request, and nothing before it.
                exchange = Exchange(self, requests[0])
                self._exchanges.append(exchange)
                exchange.start(now, self._loop)
                if exchange.response is None and parser.refusal is None:
                    return
            else:
                self._waiting += requests
            self.advance()
        elif parser.in_request is not was_in_request or parser.in_body is not was_in_body:
            self._since = self._loop.time()
            self._continue()

    def eof_received(self) -> bool:
        """The client has sent all it will. It may still read: keep the connection until its answers are written."""
        self._last = True
        if self.shared.config.tls_cert:
            return False  # asyncio has no TLS connection of which one half is closed, and warns who asks for one
        return bool(self._exchanges or self._waiting)

    def pause_writing(self) -> None:
        """The client reads slower than we write: it gets no more work done until it catches up."""
        self._paused = True
        self._set_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._since = self._loop.time()
        self.advance()

    # ------------------------------------------------------------------------------------------- answers

    def advance(self) -> None:
        """Begin requests while there is room for them, and write the answers that are at the head of the line."""
        if self._advancing:  # a write below can pause or resume writing, and so call this
            return
        self._advancing = True
        exchanges, waiting = self._exchanges, self._waiting
        self._write_answers()
        while waiting and not self._paused and len(exchanges) < self.shared.max_pipelined:
            request = waiting.popleft()
            if not request.keep_alive:
                self._last = True
                waiting.clear()  # what follows is not looked at, nor are we to complain of it: RFC 9112 9.6
                self._parser.refusal = None
            exchange = Exchange(self, request)
            exchanges.append(exchange)
            exchange.start(self._loop.time(), self._loop)
            if exchange.response is not None:
                self._write_answers()
        self._advancing = False
        if not waiting and self._parser.refusal is not None and not self._refused:
            self._refuse(self._parser.refusal)
            return
        if not exchanges and not waiting:
            self._since = self._loop.time()
            if self._last:
                self._end()
                return
            self._continue()
        self._set_reading()

    def _write_answers(self) -> None:
        exchanges = self._exchanges
        transport = self._transport
        while exchanges and exchanges[0].response is not None:
            exchange = exchanges.popleft()
            response = exchange.response
            assert response is not None  # noqa: S101
            if transport.is_closing():
                continue
            if self.shared.closing:
                self._last = True
            keep_alive = not self._last or bool(exchanges or self._waiting)
            trace = exchange.request.trace
            if trace is not None:
                response = response._replace(headers=response.headers + trace.head_lines())
            head = response_head(response, self.shared.clock.line, keep_alive)
            if exchange.request.method == b"HEAD":
                transport.write(head)
            elif len(response.body) > LARGE_BODY_BYTES:
                transport.writelines((head, response.body))
            else:
                transport.write(head + response.body)

    def _continue(self) -> None:
        """Tell a client that waits for it to send its body, once the answers before are written."""
        if self._parser.expects_continue and not self._exchanges and not self._waiting and not self._last:
            self._parser.expects_continue = False
            self._transport.write(CONTINUE)

    def _end(self) -> None:
        """Close, with everything written. What a refused client still sends is read for a while: closing with bytes
        unread resets the connection, and the answer can be lost to the client (RFC 9112 9.6).
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
        """Read if there is room for what may come."""
        full = len(self._exchanges) >= self.shared.max_pipelined
        wanted = not (self._last or self._paused or self._waiting or full)
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _refuse(self, error: LimitError | ProtocolError) -> None:
        """Answer bytes that are no request, after the answers to the requests before them; then close."""
        self._last = self._refused = True
        exchange = Exchange(self, Request(b"", b"", b"", False, trace=self._parser.trace))
        exchange.response = self.shared.failed(error, exchange.request)
        self._exchanges.append(exchange)
        self.advance()

    # --------------------------------------------------------------------------------------------- the end

    def sweep(self, now: float) -> None:
        """End what has outlived its time."""
        config = self.shared.config
        for exchange in list(self._exchanges):
            if exchange.response is None and exchange.deadline < now:
                exchange.time_out()
        age = now - self._since
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            if not 0 < self._unsent <= unsent:  # it has read some, or has just been given something to read
                self._since = now
            elif age > config.send_timeout:
                self.abort()
        elif self.busy or self._last:
            pass  # it waits for us
        elif not self._parser.in_request:
            if age > config.keep_alive_timeout:
                self._transport.close()
        elif age > (config.body_timeout if self._parser.in_body else config.header_timeout):
            self._refuse(ProtocolError(408, "Request Timeout: the request did not come to its end"))
        self._unsent = unsent

    @property
    def busy(self) -> bool:
        """Whether a client waits for an answer here."""
        return bool(self._exchanges or self._waiting)

    def close_if_idle(self) -> None:
        """Close, unless a request is under way, be it on its way to us."""
        if not (self.busy or self._parser.in_request):
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is lost."""
        self._transport.abort()
