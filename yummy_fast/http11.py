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
    """Requests out of a stream of bytes. Feed it until it raises; then the connection is of no more use."""

    __slots__ = (
        *("_body", "_body_bytes", "_done", "_head_bytes", "_in_head", "_max_body_bytes", "_parser", "_url"),
        *("expects_continue", "refusal"),
    )

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[Request] = []
        self.expects_continue = False
        """The client waits for "100 Continue" before it sends the body."""
        self.refusal: ProtocolError | None = None
        """Why no more bytes are read."""
        self._in_head = True
        self._head_bytes = 0
        self._start()

    def feed(self, data: bytes) -> list[Request]:
        """The requests that `data` completes. Raises ProtocolError with the status to answer.

        Where there are requests before the bytes that are none, they are returned, and `refusal` has the error.
        """
        if self.refusal is None:
            self._feed(data)
        if self.refusal is not None and not self._done:
            raise self.refusal
        done, self._done = self._done, []
        return done

    def _feed(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # We speak nothing else: what follows is read as HTTP/1.1 again, as RFC 9110 7.8 lets a server do.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest:
                self._feed(rest)
            return
        except httptools.HttpParserError:
            self.refusal = ProtocolError(400, "Bad Request: not HTTP/1.1")
            return
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.refusal = ProtocolError(431, f"Request Header Fields Too Large: the limit is {MAX_HEAD_BYTES} bytes")
        elif self._body_bytes > self._max_body_bytes:
            self.refusal = ProtocolError(413, f"Content Too Large: the limit is {self._max_body_bytes} bytes")

    def _start(self) -> None:
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0

    @property
    def in_request(self) -> bool:
        """Whether a request has begun and not ended."""
        return not self._in_head or self._head_bytes > 0

    # What httptools calls. The order is url, header ..., headers_complete, body ..., message_complete.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            # Over the limit already: no need to wait for the bytes. llhttp has checked that these are digits.
            self._body_bytes = int(value) if int(value) > self._max_body_bytes else 0
        elif size == 6 and name.lower() == b"expect":
            self.expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        parser = self._parser
        self._done.append(Request(parser.get_method(), self._url, body, parser.should_keep_alive()))
        self._in_head = True
        self._head_bytes = 0
        self.expects_continue = False
        if self._body_bytes <= self._max_body_bytes:
            self._start()


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
    path, mark, query = url.partition(b"?")
    return path, mark + query
