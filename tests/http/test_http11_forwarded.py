"""HTTP/1.1 for `forward`: the headers that a request keeps for that server, and the heads of answers whose bodies come
piece by piece. tests/http/test_answer_parser.py has the answer of that server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.http.test_http11 import cuts
from yummy_fast.http.http11 import RequestParser, Response, streamed_head

# ------------------------------------------------------------------------------- headers that are kept for that server


def kept(pieces: Iterable[bytes]) -> list[tuple[bytes, tuple[tuple[bytes, bytes], ...]]]:
    """Targets and kept headers of the requests in these pieces, of a server that forwards what begins with /mcp."""
    parser = RequestParser(100, kept_for=(b"/mcp", b"/docs"))
    return [(request.url, request.headers) for piece in pieces for request in parser.feed(piece)]


def test_all_headers_of_a_request_that_is_forwarded_are_kept() -> None:
    data = b"POST /mcp/a HTTP/1.1\r\nHost: a\r\nX-A: 1 \r\nx-a:\t2\r\nTransfer-Encoding: chunked\r\n\r\n"
    headers = ((b"host", b"a"), (b"x-a", b"1"), (b"x-a", b"2"), (b"transfer-encoding", b"chunked"))
    for pieces in cuts(data + b"1\r\nx\r\n0\r\nX-Trailer: 1\r\n\r\n"):
        assert kept(pieces) == [(b"/mcp/a", headers)], pieces


def test_each_request_has_its_own_headers() -> None:
    """The second of a kind is known by its head, and not parsed again."""
    mcp = b"GET /mcp HTTP/1.1\r\nHost: a\r\nX-A: %d\r\n\r\n"
    other = b"GET /mc HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"
    requests = [mcp % 1, mcp % 1, other, mcp % 2, other, mcp % 1]
    expected: list[Any] = [
        (b"/mcp", ((b"host", b"a"), (b"x-a", request[-5:-4]))) if request != other else (b"/mc", ())
        for request in requests
    ]
    assert kept(requests) == expected
    assert kept([b"".join(requests)]) == expected


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"]
)
def test_a_request_that_offers_another_protocol_keeps_all_its_headers(framing: bytes) -> None:
    """Java's HttpClient offers h2c with its first request. The headers that `forward` has to drop are among them."""
    fields = [
        (b"Host", b"a"),
        (b"Connection", b"Upgrade, HTTP2-Settings, X-Mine"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"AAMAAABk"),
        (b"Accept", b"text/event-stream"),
        (b"Mcp-Session-Id", b"7"),
        (b"Authorization", b"Bearer x"),
        (b"Traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        (b"X-Mine", b"1"),
        (b"X-Feast-Compat", b"strict"),
        (b"Expect", b"100-continue"),
    ]
    head = b"POST /mcp HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % field for field in fields)
    name, _, value = framing.partition(b"\r\n")[0].partition(b": ")
    headers = tuple((name.lower(), value) for name, value in [*fields, (name, value)])
    after = b"GET /mcp HTTP/1.1\r\nHost: b\r\n\r\n"
    for pieces in cuts(head + framing + after):
        assert kept(pieces) == [(b"/mcp", headers), (b"/mcp", ((b"host", b"b"),))], pieces
    assert kept([head + framing] * 2) == [(b"/mcp", headers)] * 2
    assert kept([(head + framing).replace(b"/mcp", b"/mc") + after])[0] == (b"/mc", ())


# --------------------------------------------------------------------- heads of answers whose bodies come in pieces


class Body:
    """A BodyStream of which only the length is asked."""

    def __init__(self, length: int | None) -> None:
        self.length = length

    def start(self, sink: object, /) -> None:
        raise AssertionError

    pause = resume = close = lambda self: None


@pytest.mark.parametrize(
    ("status", "length", "version", "keep_alive", "line", "framing", "chunked"),
    [
        (200, 5, "1.1", True, b"200 OK", b"content-length: 5\r\n", False),
        (200, 0, "1.1", False, b"200 OK", b"content-length: 0\r\nconnection: close\r\n", False),
        (200, 5, "1.0", True, b"200 OK", b"content-length: 5\r\nconnection: keep-alive\r\n", False),
        (200, None, "1.1", True, b"200 OK", b"transfer-encoding: chunked\r\n", True),
        (404, None, "1.1", False, b"404 Not Found", b"transfer-encoding: chunked\r\nconnection: close\r\n", True),
        # RFC 9112 6.1: a client of HTTP/1.0 must not get chunks; there the body ends with the connection
        (200, None, "1.0", False, b"200 OK", b"connection: close\r\n", False),
        # RFC 9112 6.1: no Transfer-Encoding with a 204; and no body with it or a 304
        (204, None, "1.1", True, b"204 No Content", b"", False),
        (304, None, "1.1", True, b"304 Not Modified", b"", False),
        (204, 5, "1.1", False, b"204 No Content", b"connection: close\r\n", False),
        # RFC 9112 4: the space before a reason stays where there is none
        (299, 5, "1.1", True, b"299 ", b"content-length: 5\r\n", False),
    ],
)
def test_heads_of_streams(
    status: int, length: int | None, version: str, keep_alive: bool, line: bytes, framing: bytes, chunked: bool
) -> None:
    response = Response(status, b"", b"x: y\r\n")
    head = streamed_head(response, Body(length), b"date: D\r\n", keep_alive, version)
    assert head == (b"HTTP/1.1 " + line + b"\r\ndate: D\r\nx: y\r\n" + framing + b"\r\n", chunked)
