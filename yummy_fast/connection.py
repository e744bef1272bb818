"""One HTTP client: order of answers, backpressure, the end of it.

A `Connection` turns bytes into requests, gives each to `handle`, and writes the answers in the order of the requests,
however they finish (RFC 9112 9.3.2). It does not know features: `handle` returns a Response, or a coroutine that will.

The coroutine is not made a Task. An `Exchange` runs it at once up to its first Future, and again from that Future's
callback: the same code for the reader, for half of what a Task costs (perf/experiments/task_or_future.py). Inside
`handle` one may await Futures and nothing that needs a current Task, such as asyncio.timeout().

A client that hangs up is normal: its exchanges are closed where they wait, and no one else notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from yummy_fast.errors import ProtocolError
from yummy_fast.http11 import CONTINUE, Clock, Request, RequestParser, Response, response_head

logger = logging.getLogger("yummy_fast")

Handle = Callable[[Request], "Response | Coroutine[Any, Any, Response]"]

LINGER_S = 2.0
"""How long a refused client may go on sending before the connection is closed. nginx: 5 to 30 s."""

MAX_PIPELINED = 16
"""Requests of one client that may wait for their answers; then its socket is not read. Browsers of old sent 4 to 8."""


class Connections:
    """What all connections of a server share."""

    __slots__ = ("clock", "closing", "emptied", "failed", "handle", "max_body_bytes", "open")

    def __init__(self, handle: Handle, failed: Callable[[BaseException], Response], max_body_bytes: int) -> None:
        """`failed` makes an answer of what went wrong, whatever it is."""
        self.handle = handle
        self.failed = failed
        self.max_body_bytes = max_body_bytes
        self.clock = Clock()
        self.open: set[Connection] = set()
        self.closing = False
        """The server is about to stop: answers say that the connection ends with them."""
        self.emptied = asyncio.Event()
        """Set when the last connection has ended after `closing`."""

    def close_idle(self, since: float) -> None:
        """Close the connections that have had nothing to do since then (a time of the event loop)."""
        for connection in list(self.open):
            if connection.idle_since < since:
                connection.close_if_idle()


class Exchange:
    """One request and the slot for its answer."""

    __slots__ = ("_connection", "_coroutine", "keep_alive", "request", "response")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._coroutine: Coroutine[Any, Any, Response] | None = None
        self.request = request
        self.response: Response | None = None

    def start(self, handle: Handle, failed: Callable[[BaseException], Response]) -> None:
        """Run the request as far as it goes without waiting."""
        try:
            outcome = handle(self.request)
        except Exception as error:
            outcome = failed(error)
        if isinstance(outcome, Response):
            self.response = outcome
        else:
            self._coroutine = outcome
            self._run(None)

    def _resume(self, future: asyncio.Future[Any]) -> None:
        if self._coroutine is None:
            # The client has left. Whatever came is looked at once, so that asyncio does not call it forgotten.
            if not future.cancelled():
                future.exception()
            return
        self._run(future)
        if self.response is not None:
            self._connection.answer_ready()

    def _run(self, _: object) -> None:
        assert self._coroutine is not None  # noqa: S101
        try:
            waits_for: asyncio.Future[Any] = self._coroutine.send(None)
        except StopIteration as done:
            self.response = done.value
        except Exception as error:
            self.response = self._connection.shared.failed(error)
        else:
            waits_for.add_done_callback(self._resume)
            return
        self._coroutine = None

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        if self._coroutine is not None:
            self._coroutine.close()
            self._coroutine = None


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        *("_exchanges", "_last", "_loop", "_parser", "_paused", "_refused", "_transport"),
        *("idle_since", "shared"),
    )

    def __init__(self, shared: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.shared = shared
        self._loop = loop
        self._parser = RequestParser(shared.max_body_bytes)
        self._exchanges: deque[Exchange] = deque()
        self._transport: Any = None
        self._paused = False
        self._refused = False
        """The client may still be sending what we do not want."""
        self._last = False
        """No more requests are read: the client, or its bytes, or we have come to an end."""
        self.idle_since = loop.time()

    # ------------------------------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.shared.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.shared.open.discard(self)
        if self.shared.closing and not self.shared.open:
            self.shared.emptied.set()
        self._last = True
        for exchange in self._exchanges:
            exchange.abandon()
        self._exchanges.clear()

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        shared = self.shared
        self.idle_since = self._loop.time()
        try:
            requests = self._parser.feed(data)
        except ProtocolError as error:
            self._refuse(error)
            return
        for request in requests:
            exchange = Exchange(self, request)
            self._exchanges.append(exchange)
            if not request.keep_alive:
                self._last = True
            exchange.start(shared.handle, shared.failed)
            if exchange.response is not None:
                self.answer_ready()
            if self._last:
                break
        if self._parser.refusal is not None and not self._last:
            self._refuse(self._parser.refusal)
            return
        self._continue()
        if len(self._exchanges) >= MAX_PIPELINED:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client has sent all it will. It may still read: keep the connection until its answers are written."""
        self._last = True
        return bool(self._exchanges)

    def pause_writing(self) -> None:
        """The client reads slower than we write: it gets no more work done until it catches up."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._resume_reading()

    # ------------------------------------------------------------------------------------------- answers

    def answer_ready(self) -> None:
        """Write the answers that are at the head of the line."""
        exchanges = self._exchanges
        transport = self._transport
        while exchanges and exchanges[0].response is not None:
            exchange = exchanges.popleft()
            response = exchange.response
            assert response is not None  # noqa: S101
            if transport.is_closing():
                continue
            keep_alive = not (self._last and not exchanges) and not self.shared.closing
            head = response_head(response, self.shared.clock.line, keep_alive)
            transport.write(head if exchange.request.method == b"HEAD" else head + response.body)
            if not keep_alive:
                self._last = True
        if not exchanges:
            self.idle_since = self._loop.time()
            if self._last:
                self._end()
                return
            self._continue()
        if not self._paused:
            self._resume_reading()

    def _continue(self) -> None:
        """Tell a client that waits for it to send its body, once the answers before are written."""
        if self._parser.expects_continue and not self._exchanges and not self._last:
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

    def _resume_reading(self) -> None:
        if not self._last and len(self._exchanges) < MAX_PIPELINED and not self._transport.is_closing():
            self._transport.resume_reading()

    def _refuse(self, error: ProtocolError) -> None:
        """Answer bytes that are no request, after the answers to the requests before them; then close."""
        self._last = self._refused = True
        exchange = Exchange(self, Request(b"", b"", b"", False))
        exchange.response = self.shared.failed(error)
        self._exchanges.append(exchange)
        self.answer_ready()

    # --------------------------------------------------------------------------------------------- the end

    @property
    def busy(self) -> bool:
        """Whether a client waits for an answer here."""
        return bool(self._exchanges)

    def close_if_idle(self) -> None:
        """Close, unless a request is under way."""
        if not self._exchanges:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is lost."""
        self._transport.abort()
