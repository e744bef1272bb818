"""HTTP/1.1 on the wire: requests in, response heads out.

Pure: bytes in, bytes out; `connection` owns the socket. httptools (llhttp) does the parsing and is known here only. Its
callbacks carry no logic, since an exception in one would come out wrapped: they note what came, and `feed` judges it.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

import httptools

from yummy_fast.errors import ProtocolError

MAX_HEAD_BYTES = 64 << 10
"""Request line and header fields together. Precedents: nginx 32 KB in four buffers, node 16 KB, h11 80 KB."""


class Request(NamedTuple):
    """One request, whole."""

    method: bytes
    url: bytes
    body: bytes
    keep_alive: bool


class RequestParser:
    """Requests out of a stream of bytes. Feed it until it refuses; then the connection is of no more use."""

    __slots__ = (
        *(
            "_body",
            "_body_bytes",
            "_done",
            "_fed_bytes",
            "_framing",
            "_head_bytes",
            "_max_body_bytes",
            "_parser",
            "_url",
        ),
        *("expects_continue", "in_request", "refusal"),
    )

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[Request] = []
        self.in_request = False
        """Whether a request has begun and not ended."""
        self.expects_continue = False
        """The client waits for "100 Continue" before it sends the body."""
        self.refusal: ProtocolError | None = None
        """Why no more bytes are read."""
        self.on_message_begin()
        self.in_request = False

    def feed(self, data: bytes) -> list[Request]:
        """The requests that `data` completes. Raises ProtocolError with the status to answer.

        Where there are requests before the bytes that are none, they are returned, and `refusal` has the error.
        """
        if self.refusal is None:
            # In pieces, so that a head without end is seen after 64 KB of it.
            for start in range(0, len(data), MAX_HEAD_BYTES):
                piece = data if len(data) <= MAX_HEAD_BYTES else data[start : start + MAX_HEAD_BYTES]
                self._fed_bytes += len(piece)
                self._feed(piece)
                self._check_limits()
        if self.refusal is not None and not self._done:
            raise self.refusal
        done, self._done = self._done, []
        return done

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # A client offers another protocol (Java's does, with every first request). RFC 9110 7.8 lets us go on
                # as if it had not; but httptools has ended the request with its head. So its body is parsed behind a
                # head that offers nothing.
                if self.refusal is not None:
                    return
                offered = self._done.pop()
                if offered.method == b"CONNECT":
                    self._refuse(501, "Not Implemented: CONNECT")
                    return
                head = b"%b %b HTTP/1.1\r\n%b\r\n" % (offered.method, offered.url, b"".join(self._framing))
                data = head + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError:
                self._refuse(400, "Bad Request: not HTTP/1.1")
            return

    def _refuse(self, status: int, reason: str) -> None:
        if self.refusal is None:
            self.refusal = ProtocolError(status, reason)

    def _check_limits(self) -> None:
        # What was read and is no body: a head that does not end, or a trailer, or chunks that are mostly framing.
        overhead = self._fed_bytes - 17 * self._body_bytes
        if self._head_bytes > MAX_HEAD_BYTES or (self.in_request and overhead > MAX_HEAD_BYTES):
            self._refuse(431, f"Request Header Fields Too Large: the limit is {MAX_HEAD_BYTES} bytes")
        elif self._body_bytes > self._max_body_bytes:
            self._refuse(413, f"Content Too Large: the limit is {self._max_body_bytes} bytes")

    # What httptools calls. The order is message_begin, url, header ..., headers_complete, body ..., header ... (of a
    # trailer), message_complete.

    def on_message_begin(self) -> None:
        self.in_request = True
        self.expects_continue = False
        self._url = b""
        self._body: list[bytes] = []
        self._framing: list[bytes] = []
        self._head_bytes = self._body_bytes = self._fed_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name)
        self._head_bytes += size + len(value) + 4
        if size == 14 and name.lower() == b"content-length":
            self._framing.append(b"content-length: %b\r\n" % value)
            # Over the limit already: no need to wait for the bytes. llhttp has checked that these are digits.
            self._body_bytes = int(value) if int(value) > self._max_body_bytes else 0
        elif size == 17 and name.lower() == b"transfer-encoding":
            self._framing.append(b"transfer-encoding: %b\r\n" % value)
        elif size == 6 and name.lower() == b"expect":
            self.expects_continue = value.lower() == b"100-continue"

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        self._check_limits()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._refuse(505, "HTTP Version Not Supported: expected HTTP/1.1 or HTTP/1.0")
        self.in_request = False
        self.expects_continue = False
        self._fed_bytes = 0
        if self.refusal is None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            keep_alive = self._parser.should_keep_alive()
            self._done.append(Request(self._parser.get_method(), self._url, body, keep_alive))


class Response(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    headers: bytes = b"content-type: application/json\r\n"
    """Head lines, each with its CRLF, apart from those that `response_head` writes."""


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


class Clock:
    """The Date header, rendered when somebody says that the second is another one."""

    __slots__ = ("line",)

    def __init__(self) -> None:
        self.line = b""
        self.tick()

    def tick(self) -> None:
        self.line = b"date: %b\r\n" % formatdate(usegmt=True).encode()


def response_head(response: Response, date: bytes, keep_alive: bool) -> bytes:
    """Everything before the body."""
    close = b"" if keep_alive else b"connection: close\r\n"
    return b"%b%b%b%bcontent-length: %d\r\n\r\n" % (
        _STATUS_LINES[response.status],
        date,
        response.headers,
        close,
        len(response.body),
    )


def split_target(url: bytes) -> tuple[bytes, bytes]:
    """A request target as path and query; the query keeps its "?"."""
    if not url.startswith(b"/") and b"://" in url:  # as to a proxy; RFC 9112 3.2.2 has servers take it
        url = b"/" + url.partition(b"://")[2].partition(b"/")[2]
    path, mark, query = url.partition(b"?")
    return path, mark + query
