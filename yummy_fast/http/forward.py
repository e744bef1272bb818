r"""What is not answered here goes to a Feast server beside this one: `--forward-to URL`.

The paths are a fixed list; features are never forwarded. A request goes with its target, method, body and headers, the
answer comes back with its status and headers, and its body piece by piece, as it comes: MCP answers with events, which
may go on for hours. Headers that are about one connection stay on it (RFC 9110 7.6.1). Nothing is sent twice: a request
that was sent and got no answer is a 504, or a 502, and Feast may have done what it asked for.

    the client         us                                        Feast's server
    POST /mcp      ->  parsed, held up to --max-body-bytes  ->   POST /mcp, Via: 1.1 yummy-fast
    4\r\nabc\n     <-  a chunk for each read                <-   200, Transfer-Encoding: chunked ...
    does not read  ->  its transport is full: `pause`       ->   is not read either, so that it waits
    leaves         ->  `close`                              ->   the connection ends
    a reset        <-  `stream_lost`                        <-   dies within the body

So what is held of an answer is one read and the transport's buffer. A server that dies within a body must not seem to
have ended it: the last chunk is not sent, and the connection is reset. The timeout is for silence, since materializing
takes minutes without a word, and a stream that says something now and then may go on.

It knows nothing of features. A request is a Task here: it is not on the hot path, and connecting needs one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from yummy_fast.errors import ConfigError, FeastOnlyError, ForwardError, LimitError
from yummy_fast.http.answer_parser import AnswerError, AnswerParser
from yummy_fast.http.http11 import Request, Response, Sink, split_target

FORWARDED: dict[bytes, tuple[bytes, ...]] = {
    b"/materialize": (b"POST",),
    b"/materialize-incremental": (b"POST",),
    b"/search": (b"POST",),
    b"/retrieve-online-documents": (b"POST",),
    b"/v1/vector_stores": (b"GET",),
    b"/mcp": (b"GET", b"POST", b"DELETE"),
    b"/docs": (b"GET",),
    b"/redoc": (b"GET",),
}
"""The paths of feast/feature_server.py (Feast 0.67.0) that are answered there, with their methods, and ...

/openapi.json is not among them: /docs, which asks for it, shows what is answered here, and by whom."""
FORWARDED_BELOW = (b"/v1/vector_stores/", b"/mcp/", b"/docs/")
"""... the beginnings of further ones."""
BELOW_METHODS = (b"GET", b"POST", b"DELETE")

MAX_WAITING = 32
"""Requests that wait for the head of an answer at a time. Feast's own thread pool has 40."""
MAX_STREAMS = 256
"""Answers whose bodies are on their way. A client of MCP keeps one open for as long as it lives."""
CONNECT_S = 5.0
MAX_HEAD_BYTES = 64 << 10

_OF_ONE_CONNECTION = frozenset(
    (
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that say nothing to whoever is beyond this connection: RFC 9110 7.6.1, and RFC 7540 3.2.1 for HTTP2-Settings.
So do those that Connection names."""
_OURS_TO_FEAST = _OF_ONE_CONNECTION | {b"host", b"content-length", b"expect"}
_OURS_TO_CLIENT = _OF_ONE_CONNECTION | {b"content-length", b"date"}
"""And those that we write ourselves."""

_JSON = (b"content-type", b"application/json")
_NOT_SAID = (b"", b"application/x-www-form-urlencoded")
"""What `curl -d` says of a body. All bodies that are forwarded are JSON, and Feast answers 422 to its own documented
curl lines, which say nothing else; here they work, as those do that we answer ourselves."""
_USUAL_HEADERS = (
    _JSON,
    (b"accept", b"application/json, text/event-stream, text/html"),
)
"""For a request whose own headers are not kept: a push to the offline store, or a target that is an absolute URL."""


class Forwarder:
    """Sends requests to one Feast server."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """An empty `url`: there is none, and requests get 501. Raises ConfigError for what is no URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        has_user = parts.username is not None
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or has_user):
            # It is not repeated: it may have a password in it.
            raise ConfigError("--forward-to: expected a URL such as http://127.0.0.1:6567, without a user or a query")
        self._url = url
        self.timeout_s = timeout_s
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.host = parts.hostname or ""
        self.port = port or (443 if self.tls else 80)
        self._authority = parts.netloc.encode()
        self._prefix = parts.path.rstrip("/").encode()
        self.kept_for = (*FORWARDED, *FORWARDED_BELOW) if url else ()
        """As for `connection.Connections`."""
        self._waiting: set[_Call] = set()
        self._streams: set[_Call] = set()

    def is_forwarded(self, request: Request) -> bool:
        """Whether a request has the timeout of those that are forwarded, by its path."""
        path = split_target(request.url)[0]
        return path in FORWARDED or path.startswith(FORWARDED_BELOW)

    async def forward(self, request: Request) -> Response:
        """Feast's answer. Raises FeastOnlyError without a Feast server, ForwardError, LimitError."""
        path, query = split_target(request.url)
        if not self._url:
            raise FeastOnlyError(path.decode("latin-1"))
        if len(self._waiting) >= MAX_WAITING:
            raise LimitError(503, f"Service Unavailable: {MAX_WAITING} requests wait for Feast's server")
        if len(self._streams) >= MAX_STREAMS:
            raise LimitError(503, f"Service Unavailable: {MAX_STREAMS} answers of Feast's server are on their way")
        call = _Call(self, self._request(request, self._prefix + path + query))
        self._waiting.add(call)
        assert call.head is not None  # noqa: S101
        try:
            return await call.head
        except BaseException:  # GeneratorExit, too: the client has left, or its time is up
            call.close()
            raise

    def answered(self, call: _Call) -> None:
        """A call has the head of its answer."""
        self._waiting.discard(call)
        self._streams.add(call)

    def ended(self, call: _Call) -> None:
        """A call is over."""
        self._waiting.discard(call)
        self._streams.discard(call)

    def _request(self, request: Request, target: bytes) -> bytes:
        """The bytes of a request as Feast's server gets them."""
        headers = request.headers or _USUAL_HEADERS
        if request.body and dict(headers).get(b"content-type", b"").partition(b";")[0].lower() in _NOT_SAID:
            headers = (*(header for header in headers if header[0] != b"content-type"), _JSON)
        if request.authorization and not request.headers:
            headers = (*headers, (b"authorization", request.authorization))
        length = b"content-length: %d\r\n" % len(request.body) if request.body or request.method == b"POST" else b""
        return b"%b %b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\nvia: 1.1 yummy-fast\r\n%b%b\r\n%b" % (
            request.method,
            target,
            self._authority,
            _end_to_end(headers, _OURS_TO_FEAST),
            length,
            request.body,
        )


def _end_to_end(headers: Sequence[tuple[bytes, bytes]], ours: frozenset[bytes]) -> bytes:
    """The lines of those headers that are for whoever is beyond this connection."""
    named = b",".join(value for name, value in headers if name == b"connection").lower()
    dropped = ours.union(option.strip() for option in named.split(b","))
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] not in dropped]
    return b"".join(line for line in lines if line.count(b"\r") == line.count(b"\n") == 1)


class _Call(asyncio.Protocol):
    """One request on its way, on a connection of its own: a BodyStream once the head of the answer is there."""

    def __init__(self, forwarder: Forwarder, request: bytes) -> None:
        self.length: int | None = None
        self._forwarder = forwarder
        self._request = request
        self._loop = asyncio.get_running_loop()
        self.head: asyncio.Future[Response] | None = self._loop.create_future()
        """Gets the answer; None once it has it, since that refers to this call."""
        self._parser = AnswerParser(MAX_HEAD_BYTES)
        self._transport: Any = None
        self._sink: Sink | None = None
        self._pieces: list[bytes] = []
        """What came before there was a sink: the rest of one read."""
        self._reading = True
        self._over = False
        """Whether all has come, or nothing more will."""
        self._heard_at = self._loop.time()
        """When anything came last, or could not because we did not read."""
        self._timer = self._loop.call_at(self._heard_at + forwarder.timeout_s, self._check_silence)
        self._connecting: asyncio.Task[None] | None = self._loop.create_task(self._connect())

    # ------------------------------------------------------------------------------------------ Feast's server

    async def _connect(self) -> None:
        forwarder = self._forwarder
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._loop.create_connection(lambda: self, forwarder.host, forwarder.port, ssl=forwarder.tls)
        except Exception as error:  # OSError mostly; whatever it is, the request needs an answer
            self._fail(ForwardError(502, f"Feast's server cannot be reached: {type(error).__name__}"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._over:
            self._transport.abort()
            return
        self._transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._heard_at = self._loop.time()
        try:
            piece = self._parser.feed(data)
        except AnswerError as error:
            self._fail(ForwardError(502, f"Feast's server: {error}"))
            return
        if piece:
            self._pieces.append(piece)
        if self._parser.status and self.head is not None:
            self.length = self._parser.length
            headers = _end_to_end(self._parser.headers, _OURS_TO_CLIENT)
            self._forwarder.answered(self)
            head, self.head = self.head, None
            if head.done():  # given up in this turn of the loop: `forward` is about to close this call
                return
            head.set_result(Response(self._parser.status, b"", headers, stream=self))
            self.pause()
        self._deliver()

    def eof_received(self) -> None:
        if not self._over:
            self._parser.feed_end()
            self._deliver()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self.eof_received()
        if not self._parser.complete:
            self._fail(ForwardError(502, "Feast's server has closed the connection without an answer"))

    def _check_silence(self) -> None:
        now = self._loop.time()
        if not self._reading or self._parser.complete:
            self._heard_at = now
        due = self._heard_at + self._forwarder.timeout_s
        if now < due:
            self._timer = self._loop.call_at(due, self._check_silence)
            return
        limit = f"{self._forwarder.timeout_s:g} s"
        self._fail(ForwardError(504, f"Feast's server did not answer within {limit}; it may still do so"))

    def _deliver(self) -> None:
        """Give the sink what there is."""
        sink = self._sink
        if sink is None:
            return
        if self._pieces:
            piece = b"".join(self._pieces)
            self._pieces.clear()
            sink.stream_data(piece)
        if self._parser.complete and not self._over:
            self._end()
            sink.stream_end()

    def _fail(self, error: ForwardError) -> None:
        """There is no answer, or not all of it."""
        if self._over:
            return
        sink, head, self.head = self._sink, self.head, None
        self._end()
        if head is not None:
            if not head.done():
                head.set_exception(error)
        elif sink is not None:
            sink.stream_lost()

    def _end(self) -> None:
        """Nothing more is wanted of Feast's server, or to be had."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None  # its CancelledError refers to this call ("No cycles" in docs/architecture.md)
        self._sink = None
        self._parser.close()
        self._forwarder.ended(self)
        if self._transport is not None:
            self._transport.abort()

    # ---------------------------------------------------------------------------------------------- the client

    def start(self, sink: Sink) -> None:
        """As BodyStream.start."""
        self._sink = sink
        if self._over:  # it was lost in the meantime
            sink.stream_lost()
            return
        self.resume()
        self._deliver()

    def pause(self) -> None:
        """As BodyStream.pause."""
        if self._reading and not self._over:
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """As BodyStream.resume."""
        if not self._reading and not self._over:
            self._reading = True
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    def close(self) -> None:
        """As BodyStream.close."""
        self._end()
