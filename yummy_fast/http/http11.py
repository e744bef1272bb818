"""HTTP/1.1 on the wire: bytes to requests, within limits on heads and bodies; responses to the bytes of their heads.

Nothing here does I/O: `connection` owns the socket. The only input but bytes is the time that `Clock.tick` reads.
httptools (llhttp) does the parsing. It would wrap an exception from a callback, so the callbacks only record what they
saw and what is wrong with it, and `RequestParser.feed` raises. `answer_parser` parses the answers of other servers.

llhttp refuses folded header lines, control characters, malformed names, conflicting or repeated Content-Lengths, and
malformed chunks. This file adds the checks that llhttp leaves to its user: Host, version, target, transfer and content
coding, expectations, and sizes. llhttp accepts three things that its callbacks do not show, and that do not affect
where a request ends: several spaces between the parts of a request line (RFC 9112 3 allows it), a bare LF as the empty
line before a request, and RTSP/1.0 or ICE/1.0 instead of HTTP/1.0. tests/property/test_wire.py compares the parser with
h11.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import httptools

from yummy_fast.errors import ContentCodingError, ProtocolError
from yummy_fast.http.trace_headers import TRACE_HEADERS, TRACESTATE, Trace, read_trace

PIECE_BYTES = 64 << 10
"""llhttp is fed pieces of this size, and the limits are checked after each: no limit is exceeded by more than that."""

MAX_CACHED_HEADS = 8
"""How many heads a connection caches. A client repeats few heads, which differ in the length of the body."""
MAX_CACHED_HEAD_BYTES = 1 << 10
"""Longer heads are parsed each time, so that the cached heads of a connection take at most 8 KiB."""

MAX_USUAL_HEADS = 8
"""How many heads of answers `Clock` keeps for a second. Few heads differ, but for those that repeat a request's id."""

MAX_PIECES = 1 << 10
"""A body in more pieces is joined: an object for each 2-byte chunk would take 28 times the memory of its content."""

_WIRE_BYTES_PER_BODY_BYTE = 17
"""How many bytes of a chunked body may arrive for each byte of content: see `_check_limits`."""

_TIMEOUT = b"x-request-timeout-ms"
_COMPAT = b"x-feast-compat"
_CHECKED = (
    *(b"host", b"expect", b"connection", b"authorization"),
    *(b"content-length", b"content-encoding", b"transfer-encoding", _TIMEOUT, _COMPAT),
)
_CHECKED_LENGTHS = frozenset(map(len, _CHECKED))
"""Lengths of the header names that a request is checked for. A look-up is cheaper than a lower-case copy of a name."""
_TRACE_LENGTHS = frozenset(map(len, TRACE_HEADERS - {TRACESTATE}))
_TRACE_STARTS = frozenset(name[0] for header in TRACE_HEADERS for name in (header, header.upper()))
"""The first letter is compared as well, because most heads have Content-Type and Accept-Encoding, which are as long as
X-Request-Id and X-Server-Timing.
"""

# RFC 3986 3.2.2 and 3.2.3, without the comma that it allows: a proxy makes "a, b" of two Host headers.
_AUTHORITY = rb"(?:(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+|\[(?=.*:.*:)[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
_is_host = re.compile(_AUTHORITY).fullmatch
# RFC 9112 3.2.2. An empty host and user information are to be refused (RFC 9110 4.2.1, 4.2.4).
_is_absolute = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://" + _AUTHORITY + rb"(?:[/?].*)?").fullmatch
is_number = re.compile(rb"[0-9]{1,9}").fullmatch
"""Whether the value of a header is a number of at most nine digits. None with more has a meaning here."""


class Request(NamedTuple):
    """One complete request."""

    method: bytes
    url: bytes
    """The request target as it was sent, which may be an absolute URL."""
    body: bytes
    keep_alive: bool
    """Whether the connection stays open after the answer."""
    timeout_ms: int = 0
    """The value of X-Request-Timeout-Ms, how long the client will wait; 0 without one."""
    authorization: bytes = b""
    """The value of Authorization; empty without one. A request with two is refused."""
    trace: Trace | None = None
    """The ids that the client gave the request; None without any."""
    version: str = "1.1"
    """The HTTP version: 1.1 or 1.0."""
    compat: bytes = b""
    """The value of X-Feast-Compat, which `endpoints` reads; the values of several lines, with ", " between them."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """All headers, with names in lower case, if the target begins with one of `kept_for`; else none."""


class RequestParser:
    """Parses the bytes of one connection into requests.

    `feed` takes the bytes as they arrive, cut anywhere. After a ProtocolError, it raises that error each time: where
    the next request would begin is unknown, so the connection has to be closed.
    """

    __slots__ = (
        "_authorization",
        "_authorizations",
        "_body",
        "_body_bytes",
        "_coded",
        "_compat",
        "_completed",
        "_connection",
        "_content_length",
        "_deferred_refusal",
        "_expect",
        "_fed_bytes",
        "_head_bytes",
        "_head_cache",
        "_hosts",
        "_keep_alive",
        "_kept",
        "_kept_for",
        "_max_body_bytes",
        "_max_head_bytes",
        "_max_target_bytes",
        "_offered_headers",
        "_parser",
        "_timeout_ms",
        "_timeouts",
        "_trace_values",
        "_transfer_encoding",
        "_url",
        "_valid_host",
        "_version",
        "expects_continue",
        "in_body",
        "in_request",
        "refusal",
        "trace",
    )

    def __init__(
        self,
        max_body_bytes: int,
        *,
        max_head_bytes: int = 64 << 10,
        max_target_bytes: int = 8 << 10,
        kept_for: tuple[bytes, ...] = (),
    ) -> None:
        """`kept_for`: a request whose target begins with one of these has all its headers in `Request.headers`."""
        self._kept_for = kept_for
        self._max_body_bytes = max_body_bytes
        self._max_head_bytes = max_head_bytes
        self._max_target_bytes = max_target_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._completed: list[Request] = []
        """Requests that `feed` has not returned yet."""
        self._deferred_refusal: ProtocolError | None = None
        """Why to refuse the request when its head or trailer ends: see `_refuse_later`."""
        self._offered_headers: tuple[tuple[bytes, bytes], ...] = ()
        """`Request.headers` of a request that is parsed again from a head without most of them: see `_feed`."""
        self._head_cache: dict[bytes, tuple[int, tuple[Any, ...], tuple[Any, ...]]] = {}
        """The bytes of a valid head -> the length of its body, and the fields of a Request before and after `body`."""
        self._valid_host = b"-"
        """The last well-formed Host. A connection repeats it with each request, so most need no regular expression."""
        self.in_request = False
        """Whether the first byte of a request has arrived, and the last has not."""
        self.in_body = False
        """Whether the head of that request is complete."""
        self.expects_continue = False
        """Whether the client waits for "100 Continue" before it sends the body."""
        self.refusal: ProtocolError | None = None
        """Why no more requests are parsed."""
        self.trace: Trace | None = None
        """The ids in the head of the current or the refused request, once that head is complete and well-formed."""
        self.on_message_begin()
        self.in_request = False

    def feed(self, data: bytes) -> list[Request]:
        """The requests that `data` completes. Raises ProtocolError with the status to answer.

        If complete requests precede the bytes that are refused, they are returned, and `refusal` is set.
        """
        head_end = data.find(b"\r\n\r\n", 0, MAX_CACHED_HEAD_BYTES) + 4  # 3 if there is none
        at_start = not self.in_request and self.refusal is None
        if at_start:
            # The head cache. A client that asks for one entity after the other sends the same head each time:
            #
            #     POST /get-online-features HTTP/1.1\r\nHost: a\r\nContent-Length: 72\r\n\r\n{"feature_service": ...
            #     |------------------------ the key, up to head_end ------------------------||- the rest, 72 bytes -
            #
            # Equal bytes have an equal meaning, so a head that was parsed and accepted once is not parsed again: its
            # request is copied, with the new body. `data` must be that head and exactly the body that it announces.
            # With a byte less the request is incomplete, and with a byte more the next one has begun; llhttp then
            # parses all of `data`, as if there were no cache. And llhttp must be between two requests, or `data` could
            # be the body of a request that only looks like another one.
            cached = self._head_cache.get(data[:head_end])
            if cached is not None and cached[0] == len(data) - head_end:
                _, before, after = cached
                # As Request(...), without its __new__, which a NamedTuple has in Python.
                return [tuple.__new__(Request, (*before, data[head_end:], *after))]
        if self.refusal is None:
            if len(data) <= PIECE_BYTES:
                self._feed(data)
            else:
                for start in range(0, len(data), PIECE_BYTES):
                    self._feed(data[start : start + PIECE_BYTES])
        if self.refusal is not None and not self._completed:
            raise self.refusal
        completed, self._completed = self._completed, []
        if at_start and len(completed) == 1 and head_end > 3:
            self._cache_head(data[:head_end], len(data) - head_end, completed[0])
        return completed

    def close(self) -> None:
        """Break the reference cycles, which only the garbage collector would free. Nothing may be fed afterwards."""
        del self._parser  # it refers to our callbacks
        self.refusal = None  # once raised, it refers to frames that refer to this parser

    def _cache_head(self, head: bytes, rest: int, request: Request) -> None:
        """Add `head` to the cache if it and the `rest` bytes after it were one complete request.

        `head` ends at the first empty line, which may be an empty line before the request. If Content-Length is `rest`,
        that line was the end of the head. Chunked requests are not cached, nor those after which the parser's state
        differs (Expect, the last request of a connection), nor those with a trace: most of them have new ids, and they
        would displace the other heads.
        """
        if self.in_request or self.refusal is not None or not request.keep_alive:
            return
        if self._transfer_encoding or self._expect or self._trace_values is not None:
            return
        if rest == len(request.body) == int(self._content_length or 0):
            if len(self._head_cache) >= MAX_CACHED_HEADS:
                self._head_cache.clear()
            self._head_cache[head] = rest, request[:2], request[3:]

    def _feed(self, data: bytes) -> None:
        self._fed_bytes += len(data)
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The client offers another protocol, as Java's HttpClient does with its first request:
                #
                #     POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n
                #     HTTP2-Settings: AA\r\nContent-Length: 4\r\n\r\nbody
                #
                # RFC 9110 7.8 lets a server ignore the offer. httptools cannot: it ends the request at its head and
                # leaves "body" to the other protocol. So the request is parsed again, by a new parser, from a head that
                # offers nothing, followed by the bytes that httptools has not read. That head has only the headers with
                # a meaning here; a request that is forwarded keeps those of its own head.
                if self.refusal is not None:
                    return
                offered = self._completed.pop()
                if offered.method == b"CONNECT":
                    self._refuse(501, "Not Implemented: CONNECT")
                    return
                self._offered_headers = offered.headers
                data = self._head_without_upgrade(offered) + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError as error:
                if "Invalid HTTP version" in str(error):  # such as the well-formed HTTP/1.2: RFC 9110 15.6.6
                    self._refuse_version()
                else:
                    self._refuse(400, "Bad Request: not HTTP/1.1")
            if self.in_request:
                self._check_limits()
                if len(self._body) > MAX_PIECES:
                    self._join_pieces()
            return

    def _join_pieces(self) -> None:
        """Join the pieces of the body, so that memory holds its bytes, and not an object for each piece."""
        # A bytearray grows in place. To join into bytes would copy all that has arrived before, again and again.
        pieces: list[Any] = self._body
        joined = pieces[0] if isinstance(pieces[0], bytearray) else bytearray(pieces[0])
        joined += b"".join(pieces[1:])
        pieces[:] = joined, b""  # two, so that `on_message_complete` makes bytes of them

    def _head_without_upgrade(self, offered: Request) -> bytes:
        fields = [
            (b"content-length", self._content_length),
            (b"transfer-encoding", self._transfer_encoding),
            (b"expect", self._expect),
            (b"connection", b"keep-alive" if offered.keep_alive else b"close"),
            (b"authorization", offered.authorization),
            (_TIMEOUT, b"%d" % offered.timeout_ms if offered.timeout_ms else b""),
            (_COMPAT, offered.compat),
            *(self._trace_values or {}).items(),
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields if field[1])
        return b"%b %b HTTP/%b\r\nhost: %b\r\n%b\r\n" % (
            offered.method,
            offered.url,
            offered.version.encode(),
            self._valid_host,
            lines,
        )

    def _refuse(self, status: int, reason: str) -> None:
        if self.refusal is None:
            self.refusal = ProtocolError(status, reason)

    def _refuse_later(self, status: int, reason: str) -> None:
        # `refusal` is set when the head or trailer ends. llhttp reports a header when it has seen the first byte of the
        # next line, which may be malformed:
        #
        #     Content-Length: 9999999999\r\n0\r\n\r\n
        #
        # If both lines arrive in one piece, llhttp fails at the line "0" right after it has reported the length, before
        # `feed` can act on the length. If they arrive in two, `feed` would see the length first, and the answer would
        # be 413. With the refusal at the end of the head, it is 400 in both cases.
        if self._deferred_refusal is None:
            self._deferred_refusal = ProtocolError(status, reason)

    def _refuse_version(self) -> None:
        self._refuse(505, "HTTP Version Not Supported: expected HTTP/1.1 or HTTP/1.0")

    def _too_large(self) -> str:
        return f"Content Too Large: the limit is {self._max_body_bytes} bytes"

    def _check_limits(self) -> None:
        # llhttp reports a header only when it ends, and never a chunk's extension. Both show only in `_fed_bytes`, the
        # number of bytes that were fed since the request began (without the piece in which it began, where the request
        # before may have ended). Content has a limit of its own (`on_body`) and is deducted, with its chunks' framing:
        #
        #     1\r\n{\r\n                     6 bytes for one byte of content: the most without extensions
        #     1;name=value\r\n{\r\n         17 bytes: the most that is deducted for a byte of content
        #
        # What is left is the head, the trailer and excessive framing, which together may be as long as a head. So no
        # request can be longer than about 17 times the limit of its body.
        overhead = self._fed_bytes - _WIRE_BYTES_PER_BODY_BYTE * self._body_bytes
        if len(self._url) > self._max_target_bytes:
            self._refuse(414, f"URI Too Long: the limit is {self._max_target_bytes} bytes")
        elif self._head_bytes > self._max_head_bytes or overhead > max(self._max_head_bytes, PIECE_BYTES):
            self._refuse(431, f"Request Header Fields Too Large: the limit is {self._max_head_bytes} bytes")

    # The callbacks of httptools, in this order: message_begin, url (in parts), header (each), headers_complete,
    # body (in parts), header (each of a trailer), message_complete.

    def on_message_begin(self) -> None:
        self.in_request = True
        self.in_body = self.expects_continue = False
        self._url = self._content_length = self._transfer_encoding = b""
        self._expect = self._connection = self._authorization = self._compat = b""
        self._body: list[bytes] = []
        self._deferred_refusal = None
        self._trace_values: dict[bytes, bytes] | None = None
        self._kept: list[tuple[bytes, bytes]] | None = None
        if self.refusal is None:  # otherwise the answer to the refused request needs it
            self.trace = None
        self._hosts = self._authorizations = self._timeouts = self._timeout_ms = 0
        self._coded = False
        self._head_bytes = self._body_bytes = self._fed_bytes = 0
        self._version = "1.1"

    def on_url(self, url: bytes) -> None:
        self._url += url
        if self._kept_for and self._url.startswith(self._kept_for):
            self._kept = []

    def on_header(self, name: bytes, value: bytes) -> None:
        size = len(name)
        self._head_bytes += size + len(value) + 4
        if self._kept is not None and not self.in_body:
            self._kept.append((name.lower(), value.strip(b" \t")))
        if size in _CHECKED_LENGTHS:
            name = name.lower()
            if name == b"host":
                self._hosts += 1
                if value != self._valid_host:
                    self._check_host(value.strip(b" \t"))  # llhttp strips spaces before a value, but not after it
            elif name == b"content-length":
                self._content_length = value
                if int(value) > self._max_body_bytes:  # llhttp has checked that these are digits
                    self._refuse_later(413, self._too_large())
            elif name == b"connection":
                self._connection = self._connection + b", " + value if self._connection else value
            elif name == b"transfer-encoding":
                self._check_coding(value)
            elif name == b"expect":
                value = value.strip(b" \t")
                self._expect = self._expect + b", " + value if self._expect else value  # RFC 9110 5.3
            elif name == b"authorization":
                if not self.in_body:  # in a trailer it has no effect: RFC 9110 6.5.1
                    self._authorization = value.strip(b" \t")
                    self._authorizations += 1
                    if self._authorizations > 1:  # it is no list: RFC 9110 5.3 and 11.6.2
                        self._refuse_later(400, "Bad Request: Authorization: expected one such header")
            elif name == b"content-encoding":
                codings = {coding.strip(b" \t").lower() for coding in value.split(b",")}
                self._coded = not self.in_body and (self._coded or not codings <= {b"identity", b""})
            elif name == _TIMEOUT:
                self._timeouts += 1
                if self.in_body:  # a trailer comes too late for it
                    pass
                elif self._timeouts > 1:
                    self._refuse_later(400, "Bad Request: X-Request-Timeout-Ms: expected one such header")
                elif is_number(value.strip(b" \t")):
                    self._timeout_ms = int(value)
                else:
                    self._refuse_later(400, "Bad Request: X-Request-Timeout-Ms: expected milliseconds")
            elif name == TRACESTATE:  # which is as long as "connection"
                self._add_trace_value(name, value.strip(b" \t"))
            elif name == _COMPAT and not self.in_body:  # in a trailer it has no effect
                value = value.strip(b" \t")
                self._compat = b"%b, %b" % (self._compat, value) if self._compat else value
        elif size in _TRACE_LENGTHS and name[0] in _TRACE_STARTS:
            self._add_trace_value(name.lower(), value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        self._keep_alive = keep_alive = self._parser.should_keep_alive()
        self.in_body = True
        url = self._url
        if self._trace_values is not None and self.refusal is None:
            self.trace = read_trace(self._trace_values)
        if self._deferred_refusal is not None and self.refusal is None:
            self.refusal = self._deferred_refusal
        if self._connection or not keep_alive or self._expect or self._hosts != 1:
            # Most requests have one Host, no Connection header, and are kept alive: they are HTTP/1.1. Asking
            # httptools for the version costs more than all the checks here.
            self._check_version()
        if url[:1] != b"/" or b"#" in url:
            self._check_target(url)
        if self._coded and (self._transfer_encoding or int(self._content_length or 0)) and self.refusal is None:
            # Before the body comes, and before 100 Continue. Without a body the header means nothing: some clients send
            # it with each request.
            self.refusal = ContentCodingError()
        self._head_bytes += len(url)
        if self._head_bytes > self._max_target_bytes:  # otherwise neither the target nor the head can be too long
            self._check_limits()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes:  # before llhttp can fail at a later byte of the same piece
            self._refuse(413, self._too_large())

    def on_message_complete(self) -> None:
        if self._head_bytes > self._max_head_bytes:
            self._check_limits()
        if self._deferred_refusal is not None and self.refusal is None:
            self.refusal = self._deferred_refusal
        self.in_request = self.in_body = self.expects_continue = False
        self._fed_bytes = 0
        if not self._keep_alive:
            self._head_cache.clear()  # llhttp refuses any later request, so the cache must not accept one
        if self.refusal is None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            method = self._parser.get_method()
            headers: tuple[tuple[bytes, bytes], ...] = ()
            if self._kept is not None:
                headers, self._offered_headers = self._offered_headers or tuple(self._kept), ()
            self._completed.append(
                Request(
                    method,
                    self._url,
                    body,
                    self._keep_alive,
                    self._timeout_ms,
                    self._authorization,
                    self.trace,
                    self._version,
                    self._compat,
                    headers,
                )
            )

    # Checks that an ordinary head does not need.

    def _check_host(self, host: bytes) -> None:
        if _is_host(host):
            self._valid_host = host
        else:  # RFC 9112 3.2. It may be empty only for a URI without an authority, and every http URI has one
            self._refuse_later(400, "Bad Request: Host: expected one name or address, with or without a port")

    def _add_trace_value(self, name: bytes, value: bytes) -> None:
        if name in TRACE_HEADERS:  # in a trailer it has no effect: `trace` was read at the head's end
            values = self._trace_values = self._trace_values or {}
            values[name] = b"%b, %b" % (values[name], value) if name in values else value  # RFC 9110 5.3

    def _check_coding(self, value: bytes) -> None:
        codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
        if self._transfer_encoding or codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
            # Where such a request ends is undefined: RFC 9112 6.3, item 4.
            self._refuse_later(400, "Bad Request: Transfer-Encoding: expected chunked, once and last")
        elif len(codings) > 1:
            self._refuse_later(501, "Not Implemented: Transfer-Encoding: expected no coding but chunked")
        elif self._parser.get_http_version() == "1.0":  # RFC 9112 6.1: its framing counts as faulty
            self._refuse_later(400, "Bad Request: Transfer-Encoding: HTTP/1.0 has none")
        self._transfer_encoding = value

    def _check_version(self) -> None:
        version = self._parser.get_http_version()
        if version == "0.9":  # llhttp also says so for a request line without a version
            self._refuse(400, "Bad Request: expected HTTP/1.1 or HTTP/1.0")
        elif version not in ("1.1", "1.0"):
            self._refuse_version()
        elif self._hosts > 1 or (self._hosts == 0 and version == "1.1"):  # RFC 9112 3.2
            self._refuse(400, "Bad Request: Host: expected one such header")
        elif version == "1.0":
            self._version = version
            self._expect = b""  # to be ignored: RFC 9110 10.1.1
            if self._keep_alive and b"close" in self._connection.lower():
                # "keep-alive, close". RFC 9112 9.3 has close win; llhttp would keep the connection.
                self._refuse(400, "Bad Request: Connection: expected keep-alive or close, not both")
        elif self._expect.lower() == b"100-continue":
            self.expects_continue = True
        elif self._expect:
            self._refuse(417, "Expectation Failed: expected 100-continue")

    def _check_target(self, url: bytes) -> None:
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(501, "Not Implemented: CONNECT")
        elif b"#" in url or not (_is_absolute(url) or url[:1] == b"/" or (url == b"*" and method == b"OPTIONS")):
            self._refuse(400, "Bad Request: invalid request target")  # RFC 9112 3.2.1, 3.2.2 and 3.2.4


class Sink(Protocol):
    """What a body that comes piece by piece is written to."""

    def stream_data(self, data: bytes, /) -> None:
        """The next piece, of at least a byte."""

    def stream_end(self) -> None:
        """The body is complete."""

    def stream_lost(self) -> None:
        """The rest of the body is lost. The client must not take what it has got for the whole body."""


class BodyStream(Protocol):
    """A body that comes piece by piece. The sink pauses it while its client does not read."""

    length: int | None
    """How many bytes the body has; None if that is not known yet."""

    def start(self, sink: Sink, /) -> None:
        """Begin to give the body to `sink`, which may get all of it within this call."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None:
        """The sink does not want the rest of the body."""


class Response(NamedTuple):
    """One answer."""

    status: int
    body: bytes | bytearray = b""
    headers: bytes = b"content-type: application/json\r\n"
    """Head lines, each with its CRLF, other than those that `response_head` adds."""
    service: str = ""
    """The requested feature service, for the access log."""
    stream: BodyStream | None = None
    """The body, if it comes piece by piece."""


ResponseOrCoroutine = Response | Coroutine[Any, Any, Response]
"""What a handler returns: the response, or a coroutine that returns it, if it has to wait for something."""

CLIENT_LEFT = 499
"""The status in metrics and logs of a request whose client disconnected before the answer; nginx uses it, too."""

WITHOUT_BODY = (204, 304)
"""Statuses of answers without a body, whatever their heads say of its length: RFC 9112 6.3."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


class Clock:
    """The Date header line, and the heads of usual answers, which contain it.

    Formatting the line takes longer than the rest of a head, so `connection` calls `tick` once a second.
    """

    __slots__ = ("heads", "line")

    def __init__(self) -> None:
        self.line = b""
        self.heads: dict[bytes, bytes] = {}
        """`Response.headers` of usual answers -> their heads up to the length of the body: see `usual_head`."""
        self.tick()

    def tick(self) -> None:
        """Set `line` to the current time."""
        self.line = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        self.heads.clear()

    def usual_head(self, headers: bytes) -> bytes:
        """The head of an answer with status 200 on a connection of HTTP/1.1 that stays open, as `response_head` makes
        it, up to the length of the body. `heads` keeps MAX_USUAL_HEADS of them until the next tick.
        """
        head = response_head(Response(200, b"", headers), self.line, keep_alive=True)[: -len(b"0\r\n\r\n")]
        if len(self.heads) < MAX_USUAL_HEADS:
            self.heads[headers] = head
        return head


def response_head(response: Response, date: bytes, keep_alive: bool, version: str = "1.1") -> bytes:
    """The bytes before the body. `date` is a `Clock.line`; without `keep_alive` the connection closes afterwards.

    `version` is the request's. An HTTP/1.0 client that asked for keep-alive learns from the Connection line that the
    connection stays open (RFC 9112 C.2.2). Without that line it waits until the connection is closed, as ab -k does.
    """
    if not keep_alive:
        connection = b"connection: close\r\n"
    else:
        connection = b"" if version == "1.1" else b"connection: keep-alive\r\n"
    return b"%b%b%b%bcontent-length: %d\r\n\r\n" % (
        _STATUS_LINES[response.status],
        date,
        response.headers,
        connection,
        len(response.body),
    )


def streamed_head(
    response: Response, stream: BodyStream, date: bytes, keep_alive: bool, version: str = "1.1"
) -> tuple[bytes, bool]:
    """As `response_head`, for a body that comes piece by piece; and whether the body is to be sent in chunks.

    HTTP/1.0 has no chunks: there the body ends with the connection, so `keep_alive` is false. 204 and 304 have no body.
    """
    chunked = False
    if response.status in WITHOUT_BODY:
        framing = b""
    elif stream.length is not None:
        framing = b"content-length: %d\r\n" % stream.length
    else:
        chunked = version == "1.1"
        framing = b"transfer-encoding: chunked\r\n" if chunked else b""
    if not keep_alive:
        framing += b"connection: close\r\n"
    elif version != "1.1":
        framing += b"connection: keep-alive\r\n"
    line = _STATUS_LINES.get(response.status, b"HTTP/1.1 %d \r\n" % response.status)
    return b"%b%b%b%b\r\n" % (line, date, response.headers, framing), chunked


def split_target(url: bytes) -> tuple[bytes, bytes]:
    """A request target as path and query: b"/a?b=c" is b"/a" and b"?b=c", and so is b"http://host/a?b=c"."""
    path, mark, query = url.partition(b"?")
    if not path.startswith(b"/") and b"://" in path:  # a URL, as sent to a proxy: RFC 9112 3.2.2 has servers accept it
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]  # "http://host" has the path "/": RFC 9110 4.2.3
    return path, mark + query
