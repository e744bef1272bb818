"""A strict HTTP/1.1 suite of our own against the real server: bytes in, and the statuses that the RFCs allow for them.

The cases cover what public suites look at (h1spec's 33 strict checks, the classes of Http11Probe); each names the
section that decides. A case is sent in one piece, then byte by byte; both times every answer is read. Where a
connection has to end, what is sent behind the request must not be answered: that is where smuggling begins.
"""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

import pytest

from tests.harness import Client, Server

HOST = b"Host: localhost\r\n"
NEXT = b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


class Case(NamedTuple):
    """A request, the statuses that its answer may have, and whether another request may follow it."""

    section: str
    what: str
    data: bytes
    statuses: set[int]
    goes_on: bool = False


def get(
    fields: bytes = HOST, target: bytes = b"/health", version: bytes = b"HTTP/1.1", method: bytes = b"GET"
) -> bytes:
    return b"%b %b %b\r\n%b\r\n" % (method, target, version, fields)


def post(fields: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return get(HOST + fields, version=version, method=b"POST") + body


def chunked(body: bytes, fields: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n" + fields, body, version)


CASES = [
    # Request line and target
    Case("9112 3", "GET", get(), {200}, True),
    Case("9112 3", "POST with a body", post(b"Content-Length: 5\r\n", b"hello"), {200}, True),
    Case("9112 2.2", "empty line before", b"\r\n" + get(), {200}, True),
    Case("9112 2.2", "bare CR for a line's end", b"GET /health HTTP/1.1\rHost: localhost\r\n\r\n", {400}),
    Case("9112 2.2", "bare LF after the request line", b"GET /health HTTP/1.1\nHost: localhost\r\n\r\n", {400}),
    Case("9112 2.2", "bare LF after a field", b"GET /health HTTP/1.1\r\nHost: localhost\n\r\n", {400}),
    Case("9112 2.2", "space before the first field", get(b" " + HOST), {400}),
    Case("9112 3", "no version", get(version=b"").replace(b" \r\n", b"\r\n", 1), {400}),
    Case("9112 3", "tab between the parts", b"GET\t/health\tHTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    Case("9112 3", "space at the end", get(version=b"HTTP/1.1 "), {400}),
    Case("9112 3", "space at the beginning", b" " + get(), {400}),
    Case("9112 3", "space in the target", get(target=b"/a b"), {400}),
    Case("9112 3", "too long a target", get(target=b"/".ljust(9000, b"a")), {414}),
    Case("9112 3.1", "unknown method", get(method=b"NONE"), {400, 501}),
    Case("9112 3.1", "method in small letters", get(method=b"get"), {400, 501}),
    Case("9110 15.5.6", "method that is not allowed", get(method=b"DELETE"), {405}, True),
    Case("9112 3.2.1", "fragment in the target", get(target=b"/health#a"), {400}),
    Case("9112 3.2.1", "relative target", get(target=b"health"), {400}),
    Case("9112 3.2.1", "control character in the target", get(target=b"/a\x01"), {400}),
    Case("9112 3.2.1", "target beyond ASCII", get(target=b"/\xc3\xa4"), {400}),
    Case("9112 3.2.2", "absolute form", get(target=b"http://localhost/health"), {200}, True),
    Case("9110 4.2.1", "absolute form without a host", get(target=b"http:///health"), {400}),
    Case("9110 4.2.4", "absolute form with a user", get(target=b"http://me@localhost/health"), {400}),
    Case("9112 3.2.3", "CONNECT", get(target=b"example.com:443", method=b"CONNECT"), {405, 501}),
    Case("9112 3.2.4", "OPTIONS *", get(target=b"*", method=b"OPTIONS"), {200}, True),
    Case("9110 9.1", "HEAD", get(method=b"HEAD"), {200}, True),
    Case("9110 8.4", "a content coding", post(b"Content-Encoding: gzip\r\nContent-Length: 2\r\n", b"{}"), {415}),
    Case("9112 3.2.4", "GET *", get(target=b"*"), {400}),
    Case("9110 15.6.6", "HTTP/2.0", get(version=b"HTTP/2.0"), {400, 505}),
    Case("9110 15.6.6", "HTTP/1.2", get(version=b"HTTP/1.2"), {400, 505}),
    Case("9110 15.6.6", "HTTP/3.0", get(version=b"HTTP/3.0"), {400, 505}),
    Case("9112 2.3", "http/1.1", get(version=b"http/1.1"), {400}),
    Case("9112 2.3", "HTTP/1.10", get(version=b"HTTP/1.10"), {400}),
    Case("9113 3.4", "preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    # Host
    Case("9112 3.2", "no Host", get(b""), {400}),
    Case("9112 3.2", "no Host in HTTP/1.0", get(b"", version=b"HTTP/1.0"), {200}),
    Case("9112 3.2", "two Hosts", get(HOST + b"Host: example.com\r\n"), {400}),
    Case("9112 3.2", "two equal Hosts", get(HOST * 2), {400}),
    Case("9112 3.2", "empty Host", get(b"Host:\r\n"), {400}),
    *(
        Case("9110 7.2", f"Host: {host.decode()}", get(b"Host: %b\r\n" % host), {400})
        for host in (b"bad host", b"a, b", b"a,b", b"me@a", b"a/b", b"a?b", b"a#b", b"http://a", b"a:b", b":80", b"[a]")
    ),
    *(
        Case("9110 7.2", f"Host: {host.decode()}", get(b"Host: %b\r\n" % host), {200}, True)
        for host in (b"a", b"a:", b"a.b-c_d:80", b"127.0.0.1", b"[::1]:6566")
    ),
    # Fields
    Case("9112 5", "field without a colon", get(HOST + b"Nothing\r\n"), {400}),
    Case("9112 5.1", "space before the colon", get(b"Host : localhost\r\n"), {400}),
    Case("9112 5.1", "tab before the colon", get(HOST + b"X\t: a\r\n"), {400}),
    Case("9112 5.1", "space in a name", get(HOST + b"Bad Name: a\r\n"), {400}),
    Case("9110 5.6.2", "empty name", get(HOST + b": a\r\n"), {400}),
    Case("9110 5.6.2", "name beyond ASCII", get(HOST + b"X\xe4: a\r\n"), {400}),
    Case("9110 5.6.2", "delimiter in a name", get(HOST + b"X[]: a\r\n"), {400}),
    Case("9110 5.6.2", "NUL in a name", get(HOST + b"X\x00: a\r\n"), {400}),
    Case("9110 5.5", "NUL in a value", get(HOST + b"X: a\x00b\r\n"), {400}),
    Case("9110 5.5", "NUL in the Host", get(b"Host: local\x00host\r\n"), {400}),
    Case("9110 5.5", "bare CR in a value", get(HOST + b"X: a\rb\r\n"), {400}),
    Case("9110 5.5", "control character in a value", get(HOST + b"X: a\x01b\r\n"), {400}),
    Case("9110 5.5", "DEL in a value", get(HOST + b"X: a\x7fb\r\n"), {400}),
    Case("9110 5.5", "empty value", get(HOST + b"X:\r\n"), {200}, True),
    Case("9110 5.5", "obs-text in a value", get(HOST + b"X: \xe4\r\n"), {200, 400}, True),
    Case("9110 5.5", "spaces around a value", get(b"Host: \t localhost \t\r\n"), {200}, True),
    Case("9112 5.2", "folded line", get(HOST + b"X: a\r\n b\r\n"), {400}),
    Case("9112 5.2", "folded Host", get(b"Host: localhost\r\n  continued\r\n"), {400}),
    Case("9112 5.2", "folded Transfer-Encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"), {400}),
    Case("6585 5", "too many fields", get(HOST + b"X: aaaaaaaaaa\r\n" * 5000), {431}),
    Case("6585 5", "too long a field", get(HOST + b"X: %b\r\n" % (b"a" * 66_000)), {431}),
    Case("9110 5.4", "a hundred fields", get(HOST + b"X: a\r\n" * 101), {200}, True),
    # Length of the body
    Case("9112 6.3", "Content-Length with a sign", post(b"Content-Length: +5\r\n", b"hello"), {400}),
    Case("9112 6.3", "negative Content-Length", post(b"Content-Length: -5\r\n", b"hello"), {400}),
    Case("9112 6.3", "Content-Length that is no number", post(b"Content-Length: xyz\r\n", b"hello"), {400}),
    Case("9112 6.3", "empty Content-Length", post(b"Content-Length:\r\n", b"hello"), {400}),
    Case("9112 6.3", "hexadecimal Content-Length", post(b"Content-Length: 0x5\r\n", b"hello"), {400}),
    Case("9112 6.3", "Content-Length with a space in it", post(b"Content-Length: 1 5\r\n", b"hello"), {400}),
    Case("9112 6.3", "Content-Length beyond 64 bits", post(b"Content-Length: %d\r\n" % 2**64, b"hello"), {400, 413}),
    Case("9112 6.3", "list in Content-Length", post(b"Content-Length: 5, 6\r\n", b"hello"), {400}),
    Case("9112 6.3", "two Content-Lengths", post(b"Content-Length: 5\r\nContent-Length: 7\r\n", b"hello!!"), {400}),
    Case("9110 15.5.14", "too long a body", post(b"Content-Length: 8388609\r\n"), {413}),
    Case("9112 6.1", "both lengths", chunked(b"5\r\nhello\r\n0\r\n\r\n", b"Content-Length: 5\r\n"), {400}),
    Case(
        *("9112 6.1", "both lengths, the other way round"),
        post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        {400},
    ),
    Case("9112 6.1", "chunked in HTTP/1.0", chunked(b"5\r\nhello\r\n0\r\n\r\n", version=b"HTTP/1.0"), {400}),
    Case(
        *("9112 6.1", "chunked in HTTP/1.0, kept alive"),
        chunked(b"5\r\nhello\r\n0\r\n\r\n", b"Connection: keep-alive\r\n", b"HTTP/1.0"),
        {400},
    ),
    *(
        Case(
            "9112 6.1",
            f"Transfer-Encoding: {coding!r}",
            post(b"Transfer-Encoding: %b\r\n" % coding, b"0\r\n\r\n"),
            codes,
        )
        for coding, codes in (
            (b"nonsense", {400, 501}),
            (b"gzip", {400, 501}),
            (b"identity", {400, 501}),
            (b"xchunked", {400, 501}),
            (b"\x0bchunked", {400}),
            (b"chunked, gzip", {400}),
            (b"chunked, identity", {400}),
            (b"chunked, chunked", {400}),
            (b"gzip, chunked", {400, 501}),
            (b"identity, chunked", {400, 501}),
            (b",chunked", {400, 501}),
            (b"chunked;a=b", {400, 501}),
            (b"", {400}),
            (b"chunked\r\nTransfer-Encoding: identity", {400, 501}),
            (b"identity\r\nTransfer-Encoding: chunked", {400, 501}),
            (b"chunked\r\nTransfer-Encoding: chunked", {400}),
        )
    ),
    Case("9112 6.1", "space before Transfer-Encoding's colon", post(b"Transfer-Encoding : chunked\r\n"), {400}),
    # Chunks
    Case("9112 7.1", "chunks", chunked(b"5\r\nhello\r\n0\r\n\r\n"), {200}, True),
    Case("9112 7.1", "coding in capitals", post(b"transfer-encoding: CHUNKED\r\n", b"0\r\n\r\n"), {200}, True),
    Case("9112 7.1", "leading zeros", chunked(b"0005\r\nhello\r\n00\r\n\r\n"), {200, 400}, True),
    Case("9112 7.1.1", "extensions", chunked(b'5;a=b;c="d;e"\r\nhello\r\n0;f\r\n\r\n'), {200}, True),
    Case("9112 7.1.2", "trailer", chunked(b"5\r\nhello\r\n0\r\nX: a\r\n\r\n"), {200}, True),
    *(
        Case("9112 7.1", f"chunk {body!r}", chunked(body + b"\r\nhello\r\n0\r\n\r\n"), {400})
        for body in (
            b"Z",
            b"0x5",
            b"5 ",
            b" 5",
            b"-5",
            b"+5",
            b"5_",
            b"",
            b"5.",
            b"f" * 17,
            b"5;",
            b"5;a\x00",
            b"5;a\x01",
        )
    ),
    Case("9112 7.1", "bare CR in an extension", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), {400}),
    Case("9112 7.1", "bare LF in an extension", chunked(b"5;a\nhello\r\n0\r\n\r\n"), {400}),
    Case("9112 7.1", "bare LF after a size", chunked(b"5\nhello\r\n0\r\n\r\n"), {400}),
    Case("9112 7.1", "bare LF after data", chunked(b"5\r\nhello\n0\r\n\r\n"), {400}),
    Case("9112 7.1", "nothing after data", chunked(b"5\r\nhello0\r\n\r\n"), {400}),
    Case("9112 7.1", "more data than said", chunked(b"5\r\nhelloXX0\r\n\r\n"), {400}),
    Case("9112 7.1.2", "space before a trailer's colon", chunked(b"0\r\nX : a\r\n\r\n"), {400}),
    Case("9110 6.5.1", "Content-Length in a trailer", chunked(b"0\r\nContent-Length: 5\r\n\r\n"), {400}),
    Case("9110 6.5.1", "Transfer-Encoding in a trailer", chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), {400}),
    # Expectations, upgrades, the end of a connection
    Case("9110 10.1.1", "unknown expectation", post(b"Expect: a-miracle\r\nContent-Length: 5\r\n"), {417}),
    Case("9110 10.1.1", "expectation in HTTP/1.0", get(b"Expect: a-miracle\r\n", version=b"HTTP/1.0"), {200}),
    Case("9110 7.8", "upgrade to HTTP/2", get(HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), {200}, True),
    Case("9110 7.8", "upgrade to WebSocket", get(HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n"), {200}, True),
    Case("9112 9.6", "Connection: close", get(HOST + b"Connection: close\r\n"), {200}),
    Case("9112 9.6", "close among others", get(HOST + b"Connection: x, CLOSE\r\n"), {200}),
    Case("9112 9.6", "close and an upgrade", get(HOST + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n"), {200}),
    Case("9112 9.3", "HTTP/1.0", get(version=b"HTTP/1.0"), {200}),
    Case(
        "9112 9.3", "HTTP/1.0 and an upgrade", get(b"Connection: Upgrade\r\nUpgrade: x\r\n", version=b"HTTP/1.0"), {200}
    ),
    Case("9112 9.3", "HTTP/1.0, kept alive", get(b"Connection: keep-alive\r\n", version=b"HTTP/1.0"), {200}, True),
    # No HTTP at all
    Case("9112 3", "garbage", b"GARBAGE\r\n\r\n", {400}),
    Case("9112 3", "binary", b"\x00\x01\x02\x03\xff", {400}),
    Case("9112 3", "a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
]


def statuses(client: Client, data: bytes, *, in_pieces: bool) -> list[int]:
    """The statuses of all answers, once the server has closed the connection."""
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    step = 1 if in_pieces else len(data)
    try:
        for place in range(0, len(data), step):
            client.send(data[place : place + step])
        client.socket.shutdown(socket.SHUT_WR)
    except OSError:
        assert in_pieces, "the server closed before it had read the request"
    rest = client.rest()
    assert b"\r\nserver:" not in rest.lower()
    return [int(found) for found in re.findall(rb"(?:^|\r\n\r\n|[\"}])HTTP/1\.1 (\d{3}) ", rest)]


# In pieces too, but for the large ones: those are about limits, and test_limits cuts them.
WAYS = [(case, in_pieces) for case in CASES for in_pieces in (False, True) if not in_pieces or len(case.data) <= 2000]


@pytest.mark.parametrize(
    ("case", "in_pieces"), WAYS, ids=[f"{case.section} {case.what}{', in pieces' if cut else ''}" for case, cut in WAYS]
)
def test_case(server: Server, case: Case, in_pieces: bool) -> None:
    with server.client() as client:
        first, *others = statuses(client, case.data + NEXT, in_pieces=in_pieces)
    assert first in case.statuses
    # A refused request ends the connection, and so does one that asks for it; behind all others the next is answered.
    assert others == ([200] if case.goes_on and first != 400 else [])


def test_names_of_the_cases() -> None:
    names = [(case.section, case.what) for case in CASES]
    assert len(set(names)) == len(names)


def test_an_answer_to_a_refusal_closes(server: Server) -> None:
    """RFC 9112 9.6: it says so."""
    for data in (get(b""), get(version=b"HTTP/2.0"), chunked(b"Z\r\n"), get(target=b"a:1", method=b"CONNECT")):
        with server.client() as client:
            client.send(data)
            answer = client.answer()
            assert answer.status >= 400
            assert answer.headers["connection"] == "close"
            assert answer.headers["date"].endswith(" GMT")
            assert client.rest() == b""


def test_allow(server: Server) -> None:
    """RFC 9110 15.5.6: a 405 has to name the methods that there are; RFC 9112 6.3: one to HEAD has no body."""
    with server.client() as client:
        client.send(get(target=b"/get-online-features", method=b"HEAD"))
        answer = client.answer("HEAD")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert client.ask("/health").status == 200
