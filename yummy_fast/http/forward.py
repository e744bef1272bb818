"""What is not answered here goes to a Feast server beside this one: `--forward-to URL`.

The paths are a fixed list; features are never forwarded. A request is sent as it came: its target, method and body, and
Authorization; the answer comes back with its status, body and Content-Type. Nothing is sent twice: a request that was
sent and got no answer is a 504, or a 502, and Feast may have done what it asked for.

Both bodies are bounded and held in memory. http.client blocks, so each request has a thread, of which there are
MAX_FORWARDED; its connection is shut down when its time is over, or its client has left. Materializing takes minutes,
so these requests have a timeout of their own.

It knows nothing of features.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from yummy_fast.errors import ConfigError, FeastOnlyError, ForwardError, LimitError
from yummy_fast.http.http11 import Request, Response, split_target

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

MAX_FORWARDED = 32
"""Requests that wait for Feast at a time, each with a thread. Feast's own thread pool has 40."""
CONNECT_S = 5.0
MAX_ANSWER_BYTES = 64 << 20
"""As --max-answer-bytes is by default."""


class Forwarder:
    """Sends requests to one Feast server."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """An empty `url`: there is none, and requests get 501. Raises ConfigError for what is no URL."""
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username):
            raise ConfigError(f"--forward-to: expected a URL such as http://127.0.0.1:6567, got {url!r}")
        self._url = url
        self._timeout_s = timeout_s
        self._host = parts.hostname or ""
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._running = 0

    def is_forwarded(self, request: Request) -> bool:
        """Whether a request has the timeout of those that are forwarded, by its path."""
        path = split_target(request.url)[0]
        return path in FORWARDED or path.startswith(FORWARDED_BELOW)

    async def forward(self, request: Request) -> Response:
        """Feast's answer. Raises FeastOnlyError without a Feast server, ForwardError, LimitError."""
        path, query = split_target(request.url)
        if not self._url:
            raise FeastOnlyError(path.decode("latin-1"))
        if self._running >= MAX_FORWARDED:
            raise LimitError(503, f"Service Unavailable: {MAX_FORWARDED} requests wait for Feast's server")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Response] = loop.create_future()
        call = _Call(self._connection(), (path + query).decode("latin-1"), self._prefix, request, self._timeout_s)
        self._running += 1
        threading.Thread(target=call.run, args=(loop, outcome), name="forward", daemon=True).start()
        outcome.add_done_callback(partial(self._ended, call))
        return await outcome

    def _ended(self, call: _Call, _: object) -> None:
        self._running -= 1
        call.end()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_S, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S)


class _Call:
    """One request in its thread."""

    def __init__(
        self, connection: http.client.HTTPConnection, target: str, prefix: str, request: Request, timeout_s: float
    ) -> None:
        self._connection = connection
        self._target = prefix + target
        self._request = request
        self._timer = threading.Timer(timeout_s, self.end)
        self._timer.daemon = True
        self._timeout_s = timeout_s
        self._over = False

    def end(self) -> None:
        """End the connection, from any thread: what waits for it in `run` goes on."""
        self._over = True
        self._timer.cancel()
        tcp = self._connection.sock
        if tcp is not None:
            with suppress(OSError):
                tcp.shutdown(socket.SHUT_RDWR)

    def run(self, loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[Response]) -> None:
        self._timer.start()
        try:
            result: Response | Exception = self._send()
        except Exception as error:
            result = self._error(error)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_settle, outcome, result)
        self._connection.close()

    def _send(self) -> Response:
        request, connection = self._request, self._connection
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream, text/html"}
        if request.authorization:
            headers["Authorization"] = request.authorization.decode("latin-1")
        connection.connect()
        if self._over:  # while there was no socket yet that `end` could have shut down
            raise TimeoutError
        connection.sock.settimeout(self._timeout_s)
        connection.request(request.method.decode("ascii"), self._target, request.body or None, headers)
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER_BYTES + 1)
        if len(body) > MAX_ANSWER_BYTES:
            raise ForwardError(502, f"Feast's server answered more than {MAX_ANSWER_BYTES} bytes")
        content_type = (answer.headers.get("Content-Type") or "").encode("latin-1", "replace")
        head = b"content-type: %b\r\n" % content_type.replace(b"\r", b"").replace(b"\n", b"") if content_type else b""
        return Response(answer.status, body, head)

    def _error(self, error: Exception) -> Exception:
        if isinstance(error, ForwardError):
            return error.with_traceback(None)
        if self._over or isinstance(error, TimeoutError):
            return ForwardError(504, f"Feast's server did not answer within {self._timeout_s:g} s; it may still do so")
        if isinstance(error, OSError | http.client.HTTPException):
            return ForwardError(502, f"Feast's server cannot be reached, or did not answer: {type(error).__name__}")
        return error.with_traceback(None)


def _settle(outcome: asyncio.Future[Response], result: Response | Exception) -> None:
    if outcome.done():
        return
    if isinstance(result, Exception):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)
