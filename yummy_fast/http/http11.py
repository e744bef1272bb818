"""HTTP/1.1 on the wire: requests in, response heads out.

Pure: bytes in, bytes out; `connection` owns the socket. httptools (llhttp) does the parsing and is known here only. An
exception in one of its callbacks would come out wrapped: they note what came and what is wrong with it, and `feed`
raises.

llhttp refuses folded lines, control characters, bad names, contradicting or repeated lengths, and bad chunks. This file
adds what it leaves to its user: the Host, the version, the target, the transfer coding, expectations, and sizes. Three
things it lets pass cannot be seen from here, and do no harm to framing: more than one space in a request line (RFC 9112
3 allows it), a bare LF in the empty lines before one, and RTSP/1.0 or ICE/1.0 in the place of HTTP/1.0.
tests/property/test_wire.py holds it against h11.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple

import httptools

from yummy_fast.errors import ProtocolError
from yummy_fast.http.trace_headers import TRACE_HEADERS, TRACESTATE, Trace, read_trace

PIECE_BYTES = 64 << 10
"""Bytes are parsed in pieces of this size, so that a head without end is noticed after one of them."""

MAX_KNOWN_HEADS = 8
"""Heads that a connection remembers: its client sends the same ones, but for the length of the body."""
MAX_KNOWN_HEAD_BYTES = 1 << 10
"""Longer heads are parsed each time, so that the memory has a bound."""

_TIMEOUT = b"x-request-timeout-ms"
_JUDGED = (b"host", b"expect", b"connection", b"authorization", b"content-length", b"transfer-encoding", _TIMEOUT)
_JUDGED_LENGTHS = frozenset(map(len, _JUDGED))
_TRACE_LENGTHS = frozenset(map(len, TRACE_HEADERS - {TRACESTATE}))
_TRACE_STARTS = frozenset(name[0] for header in TRACE_HEADERS for name in (header, header.upper()))
"""Content-Type and Accept-Encoding are as long, and in every head."""

# RFC 3986 3.2.2 and 3.2.3. A comma is allowed there; here it is more likely to be two Hosts that a proxy made one of.
_AUTHORITY = rb"(?:(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+|\[(?=.*:.*:)[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
_is_host = re.compile(_AUTHORITY).fullmatch
# RFC 9112 3.2.2. Neither an empty host nor user information is to be accepted (RFC 9110 4.2.1, 4.2.4).
_is_absolute = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://" + _AUTHORITY + rb"(?:[/?].*)?").fullmatch
_is_number = re.compile(rb"[0-9]{1,9}").fullmatch


class Request(NamedTuple):
    """One request, whole."""

    method: bytes
    url: bytes
    body: bytes
    keep_alive: bool
    timeout_ms: int = 0
    """How long the client will wait, by its X-Request-Timeout-Ms; 0 if it does not say."""
    authorization: bytes = b""
    """The value of that header; of several, all in a row."""
    trace: Trace | None = None
    """What the client calls it, if it does."""
    version: str = "1.1"
    """Of HTTP; or 1.0."""


class RequestParser:
    """Requests out of a stream of bytes. Feed it until it refuses; then the connection is of no more use."""

    __slots__ = (
        *("_authorization", "_body", "_body_bytes", "_coding", "_connection", "_done", "_doubt", "_expect"),
        *("_fed_bytes", "_good_host", "_head_bytes", "_hosts", "_keep_alive", "_known_heads", "_length"),
        *("_max_body_bytes", "_max_head_bytes", "_max_target_bytes", "_parser", "_timeout_ms", "_traced", "_url"),
        *("_version", "expects_continue", "in_body", "in_request", "refusal", "trace"),
    )

    def __init__(self, max_body_bytes: int, *, max_head_bytes: int = 64 << 10, max_target_bytes: int = 8 << 10) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_head_bytes = max_head_bytes
        self._max_target_bytes = max_target_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[Request] = []
        self._doubt: ProtocolError | None = None
        self._known_heads: dict[bytes, tuple[int, Request]] = {}
        """Heads that were found to be right -> the length of the body, and the request without it."""
        self._good_host = b"-"
        """The last Host that was found well-formed: a connection has the same one over and over."""
        self.in_request = False
        """Whether a request has begun and not ended."""
        self.in_body = False
        """Whether of that request the head has ended."""
        self.expects_continue = False
        """The client waits for "100 Continue" before it sends the body."""
        self.refusal: ProtocolError | None = None
        """Why no more bytes are read."""
        self.trace: Trace | None = None
        """What the client calls this request, or the one that was refused: once its head has ended well."""
        self.on_message_begin()
        self.in_request = False

    def feed(self, data: bytes) -> list[Request]:
        """The requests that `data` completes. Raises ProtocolError with the status to answer.

        Where there are requests before the bytes that are none, they are returned, and `refusal` has the error.
        """
        head_end = data.find(b"\r\n\r\n", 0, MAX_KNOWN_HEAD_BYTES) + 4
        fresh = not self.in_request and self.refusal is None
        if fresh:
            # The same bytes mean the same again: what was judged once need not be parsed.
            known = self._known_heads.get(data[:head_end])
            if known is not None and known[0] == len(data) - head_end:
                request = known[1]
                return [tuple.__new__(Request, (*request[:2], data[head_end:], *request[3:]))]
        if self.refusal is None:
            if len(data) <= PIECE_BYTES:
                self._feed(data)
            else:
                for start in range(0, len(data), PIECE_BYTES):
                    self._feed(data[start : start + PIECE_BYTES])
        if self.refusal is not None and not self._done:
            raise self.refusal
        done, self._done = self._done, []
        if fresh and len(done) == 1 and head_end > 3:
            self._remember(data[:head_end], len(data) - head_end, done[0])
        return done

    def close(self) -> None:
        """Nothing more will be fed. Without this, only the cycle collector could free what was here."""
        del self._parser  # it holds methods of ours
        self.refusal = None  # raised, it holds frames, and they us

    def _remember(self, head: bytes, rest: int, request: Request) -> None:
        """Keep a head for the next time, if it and `rest` bytes of body were the whole of one usual request."""
        usual = not (self.in_request or self.refusal or self._coding or self._expect) and request.keep_alive
        usual = usual and self._traced is None  # an id does not come again, and would push out heads that do
        if usual and rest == len(request.body) == int(self._length or 0):
            if len(self._known_heads) >= MAX_KNOWN_HEADS:
                self._known_heads.clear()
            self._known_heads[head] = rest, request._replace(body=b"")

    def _feed(self, data: bytes) -> None:
        self._fed_bytes += len(data)
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
                data = self._head_without_upgrade(offered) + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError as error:
                if "Invalid HTTP version" in str(error):  # a well-formed one: RFC 9110 15.6.6
                    self._refuse_version()
                else:
                    self._refuse(400, "Bad Request: not HTTP/1.1")
            if self.in_request:
                self._check_limits()
            return

    def _head_without_upgrade(self, offered: Request) -> bytes:
        fields = [
            (b"content-length", self._length),
            (b"transfer-encoding", self._coding),
            (b"expect", self._expect),
            (b"connection", b"keep-alive" if offered.keep_alive else b"close"),
            (b"authorization", offered.authorization),
            (_TIMEOUT, b"%d" % offered.timeout_ms if offered.timeout_ms else b""),
            *(self._traced or {}).items(),
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields if field[1])
        return b"%b %b HTTP/%b\r\nhost: %b\r\n%b\r\n" % (
            *(offered.method, offered.url, offered.version.encode()),
            *(self._good_host, lines),
        )

    def _refuse(self, status: int, reason: str) -> None:
        if self.refusal is None:
            self.refusal = ProtocolError(status, reason)

    def _doubts(self, status: int, reason: str) -> None:
        # To be refused at the end of the head or trailer, if that comes. llhttp tells of a field when it sees the next,
        # which may be malformed: what is answered then must not depend on whether both came in one piece.
        if self._doubt is None:
            self._doubt = ProtocolError(status, reason)

    def _refuse_version(self) -> None:
        self._refuse(505, "HTTP Version Not Supported: expected HTTP/1.1 or HTTP/1.0")

    def _too_large(self) -> str:
        return f"Content Too Large: the limit is {self._max_body_bytes} bytes"

    def _check_limits(self) -> None:
        # What was read and is no body: a head that does not end, or a trailer, or chunks that are mostly framing.
        overhead = self._fed_bytes - 17 * self._body_bytes
        if len(self._url) > self._max_target_bytes:
            self._refuse(414, f"URI Too Long: the limit is {self._max_target_bytes} bytes")
        elif self._head_bytes > self._max_head_bytes or overhead > max(self._max_head_bytes, PIECE_BYTES):
            self._refuse(431, f"Request Header Fields Too Large: the limit is {self._max_head_bytes} bytes")

    # What httptools calls. The order is message_begin, url, header ..., headers_complete, body ..., header ... (of a
    # trailer), message_complete.

    def on_message_begin(self) -> None:
        self.in_request = True
        self.in_body = self.expects_continue = False
        self._url = self._length = self._coding = self._expect = self._connection = self._authorization = b""
        self._body: list[bytes] = []
        self._doubt = None
        self._traced: dict[bytes, bytes] | None = None
        if self.refusal is None:  # or else it is to be answered
            self.trace = None
        self._hosts = self._timeout_ms = self._head_bytes = self._body_bytes = self._fed_bytes = 0
        self._version = "1.1"

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name)
        self._head_bytes += size + len(value) + 4
        if size in _JUDGED_LENGTHS:  # most are not: spare them the rest
            name = name.lower()
            if name == b"host":
                self._hosts += 1
                if value != self._good_host:
                    self._check_host(value.strip(b" \t"))  # llhttp leaves what follows a value
            elif name == b"content-length":
                self._length = value
                # Over the limit already: no need to wait for the bytes. llhttp has checked that these are digits.
                if int(value) > self._max_body_bytes:
                    self._doubts(413, self._too_large())
            elif name == b"connection":
                self._connection += value
            elif name == b"transfer-encoding":
                self._check_coding(value)
            elif name == b"expect":
                self._expect = value.strip(b" \t")
            elif name == b"authorization":
                if not self.in_body:  # a trailer's is none: RFC 9110 6.5.1
                    self._authorization += value.strip(b" \t")
            elif name == _TIMEOUT:
                if _is_number(value.strip(b" \t")):
                    self._timeout_ms = int(value)
                else:
                    self._doubts(400, "Bad Request: X-Request-Timeout-Ms: expected milliseconds")
            elif name == TRACESTATE:  # as long as Connection
                self._note(name, value.strip(b" \t"))
        elif size in _TRACE_LENGTHS and name[0] in _TRACE_STARTS:
            self._note(name.lower(), value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        self._keep_alive = keep_alive = self._parser.should_keep_alive()
        self.in_body = True
        url = self._url
        if self._traced is not None and self.refusal is None:
            self.trace = read_trace(self._traced)
        if self._doubt is not None and self.refusal is None:
            self.refusal = self._doubt
        if self._connection or not keep_alive or self._expect or self._hosts != 1:
            # Kept alive without being asked to: that is 1.1, and need not be looked at. Naming a version costs llhttp's
            # wrapper more than all the checks here.
            self._check_version()
        if url[:1] != b"/" or b"#" in url:
            self._check_target(url)
        self._head_bytes += len(url)
        if self._head_bytes > self._max_target_bytes:  # or else neither the target nor the head can be too long
            self._check_limits()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes:  # here, or what follows in the same piece could be refused first
            self._refuse(413, self._too_large())

    def on_message_complete(self) -> None:
        if self._head_bytes > self._max_head_bytes:
            self._check_limits()
        if self._doubt is not None and self.refusal is None:
            self.refusal = self._doubt
        self.in_request = self.in_body = self.expects_continue = False
        self._fed_bytes = 0
        if not self._keep_alive:
            self._known_heads.clear()  # nothing may follow: llhttp is to see it, and refuse it
        if self.refusal is None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            method = self._parser.get_method()
            self._done.append(
                Request(
                    *(method, self._url, body, self._keep_alive, self._timeout_ms, self._authorization, self.trace),
                    self._version,
                )
            )

    # What is not right about a head, for those that are not the usual.

    def _check_host(self, host: bytes) -> None:
        if _is_host(host):
            self._good_host = host
        else:  # RFC 9112 3.2; empty, it is right only for a URI without an authority, which http has not
            self._doubts(400, "Bad Request: Host: expected one name or address, with or without a port")

    def _note(self, name: bytes, value: bytes) -> None:
        if name in TRACE_HEADERS:  # a trailer's comes after they were looked at
            traced = self._traced = self._traced or {}
            traced[name] = b"%b, %b" % (traced[name], value) if name in traced else value  # RFC 9110 5.3

    def _check_coding(self, value: bytes) -> None:
        codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
        if self._coding or codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
            # Nobody knows where such a request ends: RFC 9112 6.3, 4.
            self._doubts(400, "Bad Request: Transfer-Encoding: expected chunked, once and last")
        elif len(codings) > 1:
            self._doubts(501, "Not Implemented: Transfer-Encoding: expected no coding but chunked")
        elif self._parser.get_http_version() == "1.0":  # RFC 9112 6.1: its framing is faulty
            self._doubts(400, "Bad Request: Transfer-Encoding: HTTP/1.0 has none")
        self._coding = value

    def _check_version(self) -> None:
        version = self._parser.get_http_version()
        if version == "0.9":  # also what llhttp makes of a request line without a version
            self._refuse(400, "Bad Request: expected HTTP/1.1 or HTTP/1.0")
        elif version not in ("1.1", "1.0"):
            self._refuse_version()
        elif self._hosts > 1 or (self._hosts == 0 and version == "1.1"):  # RFC 9112 3.2
            self._refuse(400, "Bad Request: Host: expected one")
        elif version == "1.0":
            self._version = version
            self._expect = b""  # RFC 9110 10.1.1
            if self._keep_alive and b"close" in self._connection.lower():  # RFC 9112 9.3; llhttp would go on
                self._refuse(400, "Bad Request: Connection: expected keep-alive or close")
        elif self._expect.lower() == b"100-continue":
            self.expects_continue = True
        elif self._expect:
            self._refuse(417, "Expectation Failed: expected 100-continue")

    def _check_target(self, url: bytes) -> None:
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(501, "Not Implemented: CONNECT")
        elif b"#" in url or not (_is_absolute(url) or url[:1] == b"/" or (url == b"*" and method == b"OPTIONS")):
            self._refuse(400, "Bad Request: the request target")  # RFC 9112 3.2.1, 3.2.2 and 3.2.4


class Response(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    headers: bytes = b"content-type: application/json\r\n"
    """Head lines, each with its CRLF, apart from those that `response_head` writes."""
    service: str = ""
    """The feature service that it is about, for the log."""


ResponseOrCoroutine = Response | Coroutine[Any, Any, Response]
"""What may be made of a request: a response, or a coroutine for it."""

CLIENT_LEFT = 499
"""Counted and logged for a request whose client hung up before there was an answer. nginx's number."""

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
