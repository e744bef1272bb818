"""HTTP/1.1 by RFC 9112: what is accepted, what must be refused, and that it does not matter how the bytes are cut."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterable

import pytest

from yummy_fast.errors import ProtocolError
from yummy_fast.http.http11 import MAX_USUAL_HEADS, Clock, Request, RequestParser, Response, response_head, split_target
from yummy_fast.http.trace_headers import Trace

LIMIT = 100
MAX_HEAD_BYTES = 64 << 10

GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /get-online-features?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;name=value\r\none\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"
)
UPGRADE = b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def outcome(chunks: Iterable[bytes]) -> tuple[list[Request], int]:
    """The requests in `chunks`, and the status of the refusal that ended them; 0 if none did."""
    parser = RequestParser(LIMIT)
    requests: list[Request] = []
    for chunk in chunks:
        try:
            requests += parser.feed(chunk)
        except ProtocolError as error:
            return requests, error.status
    try:
        return requests + parser.feed(b""), 0  # the refusal of bytes behind complete requests is raised here
    except ProtocolError as error:
        return requests, error.status


def cuts(data: bytes) -> Iterable[list[bytes]]:
    """Whole, byte by byte, and every cut in two."""
    yield [data]
    yield [data[start : start + 1] for start in range(len(data))]
    yield from ([data[:cut], data[cut:]] for cut in range(1, len(data)))


@pytest.mark.parametrize(
    ("data", "requests"),
    [
        (GET, [Request(b"GET", b"/health", b"", True)]),
        (POST, [Request(b"POST", b"/get-online-features?x=1", b"body", True)]),
        (CHUNKED, [Request(b"POST", b"/c", b"one0123456789", True)]),
        (UPGRADE, [Request(b"GET", b"/u", b"", True)]),
        (b"GET / HTTP/1.0\r\n\r\n", [Request(b"GET", b"/", b"", False, version="1.0")]),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [Request(b"GET", b"/", b"", True, version="1.0")]),
        (UPGRADE.replace(b"1.1", b"1.0"), [Request(b"GET", b"/u", b"", False, version="1.0")]),
        (
            b"POST / HTTP/1.0\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody",
            [Request(b"POST", b"/", b"body", True, version="1.0")],
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", [Request(b"GET", b"/", b"", False)]),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", [Request(b"POST", b"/", b"", True)]),
        (b"\r\n" + GET, [Request(b"GET", b"/health", b"", True)]),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [Request(b"OPTIONS", b"*", b"", True)]),
    ],
    ids=[
        "get",
        "post",
        "chunked",
        "upgrade",
        "1.0",
        "1.0 keep-alive",
        "1.0 upgrade",
        "1.0 keep-alive upgrade",
        "close",
        "empty body",
        "empty line before",
        "asterisk",
    ],
)
def test_a_request_however_it_is_cut_and_whatever_follows(data: bytes, requests: list[Request]) -> None:
    for chunks in cuts(data):
        assert outcome(chunks) == (requests, 0), chunks
    if requests[0].keep_alive:
        assert outcome([data + GET + b"GET /unfin"]) == ([*requests, Request(b"GET", b"/health", b"", True)], 0)


def test_pipelined_requests_however_they_are_cut() -> None:
    expected = [request for data in (GET, POST, CHUNKED, GET) for request in outcome([data])[0]]
    for chunks in cuts(GET + POST + CHUNKED + GET):
        assert outcome(chunks) == (expected, 0), chunks


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
)
def test_an_offered_upgrade_does_not_take_the_body_away(framing: bytes) -> None:
    # Java's HttpClient offers h2c with its first request, a POST too. The body is the request's, not the next request.
    head = (
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    )
    expected = [Request(b"POST", b"/x", b"body", True), Request(b"GET", b"/health", b"", True)]
    for chunks in cuts(head + framing + GET):
        assert outcome(chunks) == (expected, 0), chunks


def test_credentials_however_they_are_cut() -> None:
    """Also if the request offers an upgrade; those of a trailer do not count."""
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nauthorization: \t Bearer  a \t\r\n"
    body = b"Content-Length: 4\r\n\r\nbody"
    expected = Request(b"POST", b"/x", b"body", True, 0, b"Bearer  a")
    for data in (head + body, head + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + body):
        for chunks in cuts(data + GET):
            assert outcome(chunks) == ([expected, Request(b"GET", b"/health", b"", True)], 0), chunks
    trailer = b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nAuthorization: Bearer b\r\n\r\n"
    assert outcome([head + trailer]) == ([expected], 0)


ID = b"x-REQUEST-id: \t a,b \t\r\n"
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("fields", "trace"),
    [
        (ID, Trace(b"a,b", b"", False)),
        (b"Traceparent:" + PARENT + b"\r\n", Trace(b"", PARENT, False)),
        (b"X-Server-Timing: 1\r\n", Trace(b"", b"", True)),
        (ID + b"X-SERVER-TIMING:1\r\nTRACEPARENT: " + PARENT + b"\r\n", Trace(b"a,b", PARENT, True)),
        (ID + b"Traceparent: " + PARENT + b"x\r\n", Trace(b"a,b", b"", False)),
        (
            b"TraceState: a=b\r\nuser-agent: x\r\ntraceparent: " + PARENT + b"\r\ntracestate:c=d \r\n",
            Trace(b"", PARENT, False, b"a=b, c=d"),
        ),
        (b"tracestate: a=b\r\nConnection: keep-alive\r\n", None),
        (b"X-Request-Id: a b\r\n", None),
        (b"X-Request-Id:\r\nX-Server-Timing: 0\r\n", None),
        (ID + ID, None),
        (b"X-Request-Ix: a\r\nContent-Type: b\r\nAccept-Encoding: 1\r\n", None),
    ],
)
def test_the_ids_of_a_request_however_it_is_cut(fields: bytes, trace: Trace | None) -> None:
    """Also if the request offers an upgrade. Ids in a trailer do not count, nor those of another request."""
    head = b"POST /x HTTP/1.1\r\nHost: a\r\n" + fields
    framing = b"Content-Length: 4\r\n\r\nbody"
    trailer = b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Request-Id: t\r\n\r\n"
    expected = [Request(b"POST", b"/x", b"body", True, trace=trace), Request(b"GET", b"/health", b"", True)]
    for data in (head + framing, head + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + framing, head + trailer):
        for chunks in cuts(data + GET):
            assert outcome(chunks) == (expected, 0), chunks


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nContent-Length: 101\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\nX-Request-Id: mine\r\n\r\n" + bytes(101) + CHUNKED,
        b"GET / HTTP/1.1\r\nHost: a b\r\nX-Request-Id: mine\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + bytes(101),
    ],
)
def test_a_refused_request_has_its_own_ids(data: bytes) -> None:
    """And not those of the request before it or after it."""
    other = GET.replace(b"Host", b"X-Request-Id: other\r\nHost")
    for chunks in cuts(data + other):
        parser = RequestParser(LIMIT)
        assert [request.trace for request in parser.feed(other)] == [Trace(b"other", b"", False)]
        with pytest.raises(ProtocolError):
            [parser.feed(chunk) for chunk in chunks]
        assert parser.trace == Trace(b"mine", b"", False), chunks


@pytest.mark.parametrize("data", [b"\x00", b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nB ad: a\r\n\r\n"])
def test_a_malformed_head_has_no_ids(data: bytes) -> None:
    # llhttp reports a header when it sees the next: whether there is an id would depend on how the bytes are cut.
    other = GET.replace(b"Host", b"X-Request-Id: other\r\nHost")
    for chunks in cuts(data):
        parser = RequestParser(LIMIT)
        with pytest.raises(ProtocolError):
            [parser.feed(chunk) for chunk in [other, *chunks, b""]]
        assert parser.trace is None, chunks


def test_a_thousand_offered_upgrades_in_one_read_are_a_thousand_requests() -> None:
    requests, status = outcome([UPGRADE * 1_000])
    assert (len(requests), status) == (1_000, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX[]: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    ],
)
def test_what_is_no_http_or_could_be_read_two_ways_is_refused(data: bytes) -> None:
    for chunks in cuts(data):
        assert outcome(chunks) == ([], 400), chunks


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET /", 400),
        (b"GET / HTTP/0.9", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/01.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/2.0\r\nConnection: keep-alive", 505),
        (b"GET / HTTP/3.0", 505),
        (b"GET / HTTP/9.9", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM", 400),  # RFC 9113 3.4: what clients of HTTP/2 begin with
    ],
)
def test_other_versions_of_http_are_refused(line: bytes, expected: int) -> None:
    for chunks in cuts(line + b"\r\nHost: a\r\n\r\n"):
        assert outcome(chunks) == ([], expected), chunks


@pytest.mark.parametrize(
    "host",
    [b"a", b"localhost:6566", b"a_b.example.com.", b"127.0.0.1:80", b"[::1]:80", b"[2001:db8::1]", b"%41:", b"x!$&"],
)
def test_a_host(host: bytes) -> None:
    for chunks in cuts(b"GET / HTTP/1.1\r\nhOsT:\t" + host + b" \r\n\r\n"):
        assert outcome(chunks) == ([Request(b"GET", b"/", b"", True)], 0), chunks


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"X: a\r\n",
        b"Hosts: a\r\n",
        b"Host:\r\n",
        b"Host: \r\n",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a\r\nhost: b\r\n",
        b"Host: a, b\r\n",
        b"Host: a,b\r\n",
        b"Host: a b\r\n",
        b"Host: user@a\r\n",
        b"Host: a/b\r\n",
        b"Host: a?b\r\n",
        b"Host: a#b\r\n",
        b"Host: http://a\r\n",
        b"Host: a:b\r\n",
        b"Host: a:1:2\r\n",
        b"Host: a:123456\r\n",
        b"Host: :80\r\n",
        b"Host: [::1\r\n",
        b"Host: ::1\r\n",
        b"Host: [::g]\r\n",
        b"Host: [a]\r\n",
        b"Host: a%4\r\n",
        b"Host: a%zz\r\n",
        b"Host: \xc3\xa4\r\n",
        b'Host: "a"\r\n',
        b"Host: a\\b\r\n",
        b"Host : a\r\n",
    ],
)
def test_a_host_that_is_missing_repeated_or_none_is_refused(fields: bytes) -> None:
    # RFC 9112 3.2. The parser remembers the Host of the request before, which must not make this one valid.
    for chunks in cuts(b"GET / HTTP/1.1\r\n" + fields + b"\r\n"):
        assert outcome(chunks) == ([], 400), chunks
        assert outcome([GET, *chunks]) == ([Request(b"GET", b"/health", b"", True)], 400), chunks


def test_only_http_1_0_needs_no_host() -> None:
    older = Request(b"GET", b"/", b"", True, version="1.0")
    assert outcome([b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"]) == ([older], 0)
    assert outcome([b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"]) == ([], 400)
    assert outcome([b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n"]) == ([], 400)
    assert outcome([b"GET / HTTP/1.0\r\nConnection: keep-alive, Close\r\n\r\n"]) == ([], 400)
    assert outcome([b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"]) == ([], 400)
    assert outcome([b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"]) == ([], 400)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"OPTIONS *", 0),
        (b"GET *", 400),
        (b"POST *", 400),
        (b"OPTIONS *a", 400),
        (b"CONNECT a:80", 501),
        (b"CONNECT /", 501),
        (b"CONNECT *", 501),
        (b"GET a", 400),
        (b"GET a:80", 400),
        (b"GET ?a", 400),
        (b"GET /a#b", 400),
        (b"GET /%zz", 0),
        (b"GET //a", 0),
        (b"GET /\xc3\xa4", 400),
        (b"GET /\x01", 400),
        (b"GET http://a", 0),
        (b"GET http://a:80/b?c", 0),
        (b"GET HTTPS://[::1]?c", 0),
        (b"GET http://", 400),
        (b"GET http:///a", 400),
        (b"GET http://u@a/", 400),
        (b"GET http://a b/", 400),
        (b"GET http:/a", 400),
        (b"GET http://a/#b", 400),
        (b"get /", 400),
        (b"NONE /", 400),
    ],
)
def test_targets(line: bytes, expected: int) -> None:
    """RFC 9112 3.2.1 to 3.2.4."""
    for chunks in cuts(line + b" HTTP/1.1\r\nHost: a\r\n\r\n"):
        requests, status = outcome(chunks)
        assert (len(requests), status) == (expected == 0, expected), chunks


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"Transfer-Encoding: CHUNKED", 0),
        (b"Transfer-Encoding: gzip, chunked", 501),
        (b"Transfer-Encoding: identity, chunked", 501),
        (b"Transfer-Encoding: ,chunked", 501),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: chunked, chunked", 400),
        (b"Transfer-Encoding: chunked, gzip", 400),
        (b"Transfer-Encoding: gzip", 400),
        (b"Transfer-Encoding: identity", 400),
        (b"Transfer-Encoding:", 400),
        (b"Transfer-Encoding: chunked;q=1", 400),
        (b'Transfer-Encoding: "chunked"', 400),
        (b"Transfer-Encoding:\r\n chunked", 400),
        (b"Transfer-Encoding : chunked", 400),
    ],
)
def test_transfer_codings(fields: bytes, expected: int) -> None:
    """RFC 9112 6.1 and 6.3."""
    for chunks in cuts(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n1\r\na\r\n0\r\n\r\n"):
        requests, status = outcome(chunks)
        assert (len(requests), status) == (expected == 0, expected), chunks


@pytest.mark.parametrize(
    ("fields", "content", "expected"),
    [
        (b"Content-Encoding: gzip", b"1", 415),
        (b"CONTENT-ENCODING: GZIP", b"1", 415),
        (b"Content-Encoding: identity, br", b"1", 415),
        (b"Content-Encoding: identity\r\nContent-Encoding: zstd", b"1", 415),
        (b"Content-Encoding: zstd\r\nContent-Encoding: identity", b"1", 415),
        (b"Content-Encoding: gzip \r\nConnection: Upgrade\r\nUpgrade: h2c", b"1", 415),
        (b"Content-Encoding: gzip\r\nHost: b", b"1", 400),
        (b"Content-Encoding: identity", b"1", 0),
        (b"Content-Encoding: Identity , identity", b"1", 0),
        (b"Content-Encoding: ", b"1", 0),
        (b"Content-Encoding: gzip", b"", 0),
        (b"Content-Encodinh: gzip", b"1", 0),
    ],
)
def test_content_codings(fields: bytes, content: bytes, expected: int) -> None:
    """RFC 9110 8.4: none is taken; and a request without content has none, whatever it says."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + fields
    framings = [b"\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)]
    if content:
        framings.append(b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\nContent-Encoding: gzip\r\n\r\n")
    else:
        framings.append(b"\r\n\r\n")
    for framing in framings:
        for chunks in cuts(head + framing):
            requests, status = outcome([*chunks, *([] if expected else chunks)])
            assert ([request.body for request in requests], status) == ([] if expected else [content] * 2, expected)


def test_a_content_coding_is_refused_before_the_body_is_asked_for() -> None:
    parser = RequestParser(LIMIT)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nExpect: 100-continue\r\nContent-Length: 9\r\n"
    parser.feed(head)
    with pytest.raises(ProtocolError) as caught:
        parser.feed(b"\r\n")
    assert (caught.value.status, caught.value.headers) == (415, b"accept-encoding: identity\r\n")


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"])
def test_http_1_0_has_no_transfer_codings(connection: bytes) -> None:
    for chunks in cuts(b"POST / HTTP/1.0\r\n" + connection + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
        assert outcome(chunks) == ([], 400), chunks  # RFC 9112 6.1


@pytest.mark.parametrize(
    ("chunks", "accepted"),
    [
        (b"1\r\na\r\n0\r\n\r\n", True),
        (b"01\r\na\r\n00\r\n\r\n", True),
        (b"1;a\r\na\r\n0\r\n\r\n", True),
        (b'1;a="b;c";d=e\r\na\r\n0;f\r\n\r\n', True),
        (b"1;\r\na\r\n0\r\n\r\n", False),
        (b"1;a\rb\r\na\r\n0\r\n\r\n", False),
        (b"1;a\nb\r\na\r\n0\r\n\r\n", False),
        (b"1;a\x00\r\na\r\n0\r\n\r\n", False),
        (b"1;a\x7f\r\na\r\n0\r\n\r\n", False),
        (b'1;a="b\r\na\r\n0\r\n\r\n', False),
        (b"0x1\r\na\r\n0\r\n\r\n", False),
        (b"1 \r\na\r\n0\r\n\r\n", False),
        (b" 1\r\na\r\n0\r\n\r\n", False),
        (b"1_0\r\n", False),
        (b"\r\na\r\n0\r\n\r\n", False),
        (b"fffffffffffffffff\r\n", False),
        (b"1\na\r\n0\r\n\r\n", False),
        (b"1\r\na\n0\r\n\r\n", False),
        (b"1\r\naX0\r\n\r\n", False),
        (b"1\r\nab\r\n0\r\n\r\n", False),
        (b"1\r\na\r\n0\r\nX : a\r\n\r\n", False),
        (b"1\r\na\r\n0\r\nContent-Length: 1\r\n\r\n", False),
        (b"1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (b"1\r\na\r\n0\r\nX: a\r\n b\r\n\r\n", False),
    ],
)
def test_chunks(chunks: bytes, accepted: bool) -> None:
    """RFC 9112 7.1."""
    for pieces in cuts(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks):
        expected = ([Request(b"POST", b"/", b"a", True)], 0) if accepted else ([], 400)
        assert outcome(pieces) == expected, pieces


@pytest.mark.parametrize(
    ("head", "version"),
    [
        (b"POST /u HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\n", "1.1"),
        (b"POST /u HTTP/1.0\r\nConnection: Upgrade\r\n", "1.0"),
        (b"POST /u HTTP/1.0\r\nConnection: Upgrade\r\nExpect: a miracle\r\n", "1.0"),
    ],
)
def test_an_offered_upgrade_does_not_keep_a_connection(head: bytes, version: str) -> None:
    for chunks in cuts(head + b"Upgrade: h2c\r\nX-Request-Timeout-Ms: 7\r\nContent-Length: 2\r\n\r\nab"):
        assert outcome(chunks) == ([Request(b"POST", b"/u", b"ab", False, 7, version=version)], 0), chunks


@pytest.mark.parametrize(("value", "expected"), [(b"250", 0), (b"0", 0), (b"", 400), (b"-1", 400), (b"1.5", 400)])
def test_how_long_a_client_will_wait(value: bytes, expected: int) -> None:
    for chunks in cuts(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: " + value + b"\r\n\r\n"):
        requests, status = outcome(chunks)
        assert (requests, status) == ([Request(b"GET", b"/", b"", True, int(value))] if not expected else [], expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"Authorization: Bearer a\r\nAUTHORIZATION: Bearer b\r\n", 400),
        (b"Authorization:\r\nAuthorization: Bearer b\r\n", 400),
        (b"Authorization: Bearer a\r\nX: y\r\nAuthorization: \r\n", 400),
        (b"X-Request-Timeout-Ms: 1\r\nX-Request-Timeout-Ms: 1\r\n", 400),
        (b"Expect: a miracle\r\nExpect: 100-continue\r\n", 417),
    ],
)
def test_what_may_be_said_once_is_refused_twice(fields: bytes, expected: int) -> None:
    """Two lines are neither one value glued together nor the last of them: whoever is in front may read the first."""
    for chunks in cuts(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"):
        assert outcome(chunks) == ([], expected), chunks


@pytest.mark.parametrize(
    ("fields", "compat"),
    [
        (b"X-Feast-Compat: strict\r\n", b"strict"),
        (b"x-feast-compat:  feast \r\n", b"feast"),
        (b"X-Feast-Compat: strict\r\nX-FEAST-COMPAT: feast\r\n", b"strict, feast"),
        (b"Accept-Charset: strict\r\n", b""),  # as long a name
    ],
)
def test_which_statuses_a_request_asks_for(fields: bytes, compat: bytes) -> None:
    for chunks in cuts(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"):
        assert outcome(chunks) == ([Request(b"GET", b"/", b"", True, compat=compat)], 0), chunks
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + fields + b"\r\n"
    assert outcome([upgrade]) == ([Request(b"GET", b"/", b"", True, compat=compat)], 0)
    chunked = b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + fields + b"\r\n"
    assert outcome([chunked]) == ([Request(b"GET", b"/", b"", True)], 0), "a trailer comes too late for it"


def test_two_lines_of_connection_are_a_list() -> None:
    """RFC 9110 5.3: "clo" and "se" are two options, and not "close"."""
    head = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: clo\r\nConnection: se\r\n\r\n"
    assert outcome([head]) == ([Request(b"GET", b"/", b"", True, version="1.0")], 0)


def test_how_long_a_client_will_wait_is_not_said_in_a_trailer() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    for field in (b"X-Request-Timeout-Ms: 1", b"X-Request-Timeout-Ms: x"):
        assert outcome([head + b"0\r\n" + field + b"\r\n\r\n"]) == ([Request(b"POST", b"/", b"", True, 7)], 0)


@pytest.mark.parametrize(
    "field", [b"Content-Length: 101", b"Transfer-Encoding: gzip, chunked", b"Host: b c", b"X-Request-Timeout-Ms: x"]
)
def test_a_malformed_line_is_reported_before_a_wrong_one(field: bytes) -> None:
    # llhttp reports a header when it sees the next: the fuzzer found 413 or 400, depending on how the bytes are cut.
    for chunks in cuts(b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n0\r\n\r\n"):
        assert outcome(chunks) == ([], 400), chunks


@pytest.mark.parametrize(
    "tail", [b"\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n"]
)
def test_requests_before_a_refusal_are_returned(tail: bytes) -> None:
    # RFC 9112 9.3.2: answers come in the order of the requests, so a client takes a lone 400 for the first's answer.
    first = Request(b"GET", b"/health", b"", True)
    for chunks in cuts(GET + tail):
        requests, status = outcome(chunks)
        assert (requests, status >= 400) == ([first], True), chunks


# ---------------------------------------------------------------------------------------------------- the head cache


class CountingParser(RequestParser):
    """Counts the requests that are parsed, rather than taken from the cache."""

    def __init__(self) -> None:
        super().__init__(LIMIT)
        self.parsed = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.parsed = getattr(self, "parsed", 0) + 1


@pytest.mark.parametrize(
    "head",
    [
        b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: 250\r\nContent-Length: 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nContent-Length: 4\r\n\r\n",
        b"HEAD http://a/b HTTP/1.1\r\nHost: a\r\nContent-Length:  04 \r\n\r\n",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n",
        b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n",
    ],
)
def test_a_cached_head_is_not_parsed_again_but_its_body_is_read(head: bytes) -> None:
    parser = CountingParser()
    (first,) = parser.feed(head + b"body")
    parsed = parser.parsed
    for body in (b"ydob", b"\r\n\r\n", GET[:4]):
        assert parser.feed(head + body) == [first._replace(body=body)]
        assert (parser.in_request, parser.parsed) == (False, parsed)


@pytest.mark.parametrize(
    "chunks",
    [
        [POST + GET],
        [POST + POST],
        [POST + POST[:-1], POST[-1:]],
        [POST + b"\r\n", POST],
        [b"\r\n", POST],
        [b"\r", POST],
        [b"\r\n\r\n" + POST],
        [POST[:-4], POST[-4:]],
        [POST[:-4], POST],  # the body ends with the first four bytes, the rest is no request
        [POST[:-1], GET],
        [GET[:-1], GET],
        [GET[:-2], GET],
        [POST + b"\x00"],
        [POST + b"\x00", POST],
        [POST + POST.replace(b"4", b"101") + bytes(97), POST],
        [b"\x00", POST],
        [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(POST), POST, POST],
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(POST), POST, b"\r\n0\r\n\r\n"],
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", GET],
        [GET.replace(b"GET", b"PUT"), GET.replace(b" a", b" b"), GET.replace(b"health", b"Health")],
        [POST.replace(b"4", b"5") + b"y"],
        [POST.replace(b"4", b"5"), POST],
        [GET.replace(b"1.1", b"1.0"), GET],
        [GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), GET],
        [CHUNKED, GET, CHUNKED],
    ],
)
def test_the_cache_changes_no_outcome(chunks: list[bytes]) -> None:
    """The outcome is that of a parser whose cache holds other heads (with an empty line before them) and is not hit."""
    other = [b"\r\n" + GET, b"\r\n" + POST]
    cached = [GET, POST]
    before = [request for chunk in cached for request in outcome([chunk])[0]]
    for times in (1, 2):
        requests, status = outcome([*cached, *(times * chunks)])
        assert (requests, status) == outcome([*other, *parted(times * chunks)])
        assert requests[:2] == before


def parted(chunks: list[bytes]) -> list[bytes]:
    """The same bytes, each chunk in two: so none of them is a cached head with its body."""
    return [piece for chunk in chunks for piece in (chunk[:1], chunk[1:])]


def test_no_cached_request_follows_the_last_one() -> None:
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for chunks in cuts(last):
        requests, status = outcome([GET, POST, *chunks, GET])
        assert ([request.keep_alive for request in requests], status) == ([True, True, False], 400), chunks
    assert outcome([last, last]) == outcome([last, GET]) == ([Request(b"GET", b"/", b"", False)], 400)


def test_a_head_that_expects_100_continue_is_not_cached() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    parser = RequestParser(LIMIT)
    for _ in range(2):
        assert parser.feed(head + b"body") == [Request(b"POST", b"/", b"body", True)]
        assert parser.feed(head) == []
        assert parser.expects_continue
        assert parser.feed(b"body") == [Request(b"POST", b"/", b"body", True)]


def test_few_heads_are_cached_and_none_that_is_long() -> None:
    def parses(number: int, fields: bytes = b"") -> int:
        before = parser.parsed
        assert len(parser.feed(b"GET /%03d HTTP/1.1\r\nHost: a\r\n%b\r\n" % (number, fields))) == 1
        return parser.parsed - before

    parser = CountingParser()
    assert [parses(number) for number in (0, 0, 1, 0, 1)] == [1, 0, 1, 0, 0]
    assert [parses(2, b"X: y\r\n" * lines) for lines in (160, 160, 180, 180)] == [1, 0, 1, 1]
    assert sum(parses(number) for number in range(100)) >= 98
    assert sum(parses(number) for number in range(90)) == 90  # the last ones have displaced these


@pytest.mark.parametrize(
    "field",
    [
        b"X-Request-Id: %d\r\n",
        b"X-Request-Id: no id %d\r\n",
        b"traceparent: %d\r\n",
        b"tracestate: a=%d\r\n",
        b"X-Server-Timing: %d\r\n",
    ],
)
def test_heads_with_ids_displace_no_others(field: bytes) -> None:
    parser = CountingParser()
    for number in range(20):
        parser.feed(POST)
        parser.feed(POST.replace(b"Host", field % number + b"Host"))
    assert parser.parsed == 1 + 20
    assert len(parser._head_cache) == 1


# ------------------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: %d\r\n\r\n" % LIMIT + b"a" * LIMIT,
        b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + b"a" * 50 + b"\r\n32\r\n" + b"a" * 50 + b"\r\n0\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
def test_a_body_of_the_limit_passes(body: bytes) -> None:
    for chunks in cuts(b"POST / HTTP/1.1\r\nHost: a\r\n" + body):
        assert outcome(chunks) == ([Request(b"POST", b"/", b"a" * LIMIT, True)], 0)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: %d\r\n\r\n" % (LIMIT + 1),
        b"content-length: 9999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"a" * 101,
        b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + b"a" * 50 + b"\r\n33\r\n" + b"a" * 51,
        b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"a" * 101 + b"\r\nno chunk\r\n",  # the fuzzer found 400, uncut
    ],
    ids=["length", "huge length", "one chunk", "two chunks", "malformed from there"],
)
def test_a_longer_body_is_refused_before_it_has_come(body: bytes) -> None:
    for chunks in cuts(b"POST / HTTP/1.1\r\nHost: a\r\n" + body):
        assert outcome(chunks) == ([], 413), chunks


@pytest.mark.parametrize("chunk", [1, 2, 100], ids="{} bytes a chunk".format)
@pytest.mark.parametrize("read", [1 << 10, 1 << 18], ids="{} bytes a read".format)
def test_a_body_in_tiny_chunks_costs_what_it_holds(chunk: int, read: int) -> None:
    """An object for each of them would cost 28 times as much as two bytes."""
    size = 1 << 20
    body = bytes(range(256)) * (size // 256)
    pieces = (body[start : start + chunk] for start in range(0, size, chunk))
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    parser = RequestParser(size)
    assert parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") == []
    tracemalloc.start()
    try:
        most = 0
        for start in range(0, len(data), read):
            assert parser.feed(data[start : start + read]) == []
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert most < 1.2 * size + (1 << 19)
    assert parser.feed(b"0\r\n\r\n") == [Request(b"POST", b"/", body, True)]
    assert type(parser.feed(GET)[0].body) is bytes


def test_the_refusal_of_a_body_names_the_limit() -> None:
    with pytest.raises(ProtocolError, match="Content Too Large: the limit is 100 bytes"):
        RequestParser(LIMIT).feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n")


@pytest.mark.parametrize("size", [16, 4_096, 1 << 20], ids="{} bytes at a time".format)
@pytest.mark.parametrize(
    ("start", "status"),
    [(b"GET /", 414), (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 431), (b"GET / HTTP/1.1\r\nHost: a\r\n", 431)],
    ids=["target", "one header", "headers"],
)
def test_a_head_without_end_is_refused(start: bytes, status: int, size: int) -> None:
    piece = b"X: abcdefghijk\r\n" if start.endswith(b"\r\n") else b"a" * 16
    data = start + piece * (4 * MAX_HEAD_BYTES // len(piece))
    assert outcome(data[start : start + size] for start in range(0, len(data), size)) == ([], status)


@pytest.mark.parametrize(
    ("target", "field", "status"), [(100, 300, 0), (101, 300, 414), (100, 301, 431), (101, 301, 414)]
)
def test_the_limits_of_a_head_are_exact(target: int, field: int, status: int) -> None:
    data = b"GET %b HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"/".ljust(target, b"a"), b"a" * (field - 14))
    for chunks in cuts(data):
        parser = RequestParser(LIMIT, max_head_bytes=400, max_target_bytes=100)
        try:
            requests = [request for chunk in chunks for request in parser.feed(chunk)]
        except ProtocolError as error:
            found = (0, error.status)
        else:
            found = (len(requests), 0)
        assert found == (status == 0, status), chunks


def test_a_head_over_the_limit_is_refused_whether_it_comes_in_one_piece_or_in_many() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n"
    assert outcome(data[start : start + 4_096] for start in range(0, len(data), 4_096)) == ([], 431)
    assert outcome([data]) == ([], 431)


def test_a_head_close_to_the_limit_passes() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"
    for size in (len(data), 4_096):
        requests, status = outcome(data[start : start + size] for start in range(0, len(data), size))
        assert (len(requests), status) == (1, 0)


def test_the_bodies_of_earlier_requests_do_not_count_for_a_head() -> None:
    parser = RequestParser(2 * MAX_HEAD_BYTES)
    for _ in range(3):
        body = b"a" * MAX_HEAD_BYTES
        assert len(parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)) == 1


def test_trailers_without_end_are_refused() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    requests, status = outcome([head, *([b"a" * 4_096] * (4 * MAX_HEAD_BYTES // 4_096))])
    assert (requests, status >= 400) == ([], True)


# ------------------------------------------------------------------------------------------- between the requests


@pytest.mark.parametrize(
    ("data", "within"),
    [
        (b"", False),
        (b"G", True),
        (POST[:-1], True),
        (POST, False),
        (POST + b"G", True),
        (CHUNKED[:-1], True),
        (CHUNKED, False),
        (UPGRADE, False),
        (UPGRADE + b"G", True),
    ],
)
def test_in_request_is_set_while_a_request_is_incomplete(data: bytes, within: bool) -> None:
    for chunks in cuts(data) if data else [[]]:
        parser = RequestParser(LIMIT)
        for chunk in chunks:
            parser.feed(chunk)
        assert parser.in_request is within, chunks


def test_expects_continue_is_set_while_the_client_waits() -> None:
    parser = RequestParser(LIMIT)
    assert parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n") == []
    assert parser.expects_continue
    assert parser.feed(b"body") == [Request(b"POST", b"/", b"body", True)]
    assert not parser.expects_continue


@pytest.mark.parametrize(
    ("version", "expectation", "status", "waits"),
    [
        (b"1.1", b"a miracle", 417, False),
        (b"1.1", b"100-continue, x", 417, False),
        (b"1.1", b"100-CONTINUE", 0, True),
        (b"1.1", b"", 0, False),
        (b"1.0", b"a miracle", 0, False),
        (b"1.0", b"100-continue", 0, False),
    ],
)
def test_expectations(version: bytes, expectation: bytes, status: int, waits: bool) -> None:
    """RFC 9110 10.1.1. The body is not asked for before the head is complete: a later header may be wrong."""
    head = b"POST / HTTP/%b\r\nHost: a\r\nExpect: %b\r\nContent-Length: 4\r\n\r\n" % (version, expectation)
    for chunks in cuts(head):
        parser = RequestParser(LIMIT)
        try:
            for chunk in chunks:
                assert not parser.expects_continue
                parser.feed(chunk)
        except ProtocolError as error:
            found = error.status
        else:
            found = 0
        assert (found, parser.expects_continue) == (status, waits), chunks


# ----------------------------------------------------------------------------------------------------- answers out


@pytest.mark.parametrize(
    ("response", "keep_alive", "head"),
    [
        (
            Response(200, b"{}"),
            True,
            b"HTTP/1.1 200 OK\r\ndate: D\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n",
        ),
        (Response(200, b"", b""), True, b"HTTP/1.1 200 OK\r\ndate: D\r\ncontent-length: 0\r\n\r\n"),
        (
            Response(404, b"abc", b"x: y\r\n"),
            False,
            b"HTTP/1.1 404 Not Found\r\ndate: D\r\nx: y\r\nconnection: close\r\ncontent-length: 3\r\n\r\n",
        ),
    ],
)
def test_response_heads(response: Response, keep_alive: bool, head: bytes) -> None:
    assert response_head(response, b"date: D\r\n", keep_alive) == head


@pytest.mark.parametrize(
    ("version", "keep_alive", "line"),
    [
        ("1.1", True, b""),
        ("1.0", True, b"connection: keep-alive\r\n"),
        ("1.1", False, b"connection: close\r\n"),
        ("1.0", False, b"connection: close\r\n"),
    ],
)
def test_an_answer_says_what_becomes_of_the_connection(version: str, keep_alive: bool, line: bytes) -> None:
    """RFC 9112 9.3 and C.2.2: where it stays, a client of HTTP/1.0 has to be told so."""
    head = response_head(Response(200, b"", b""), b"", keep_alive, version)
    assert head == b"HTTP/1.1 200 OK\r\n" + line + b"content-length: 0\r\n\r\n"


def test_a_usual_head_is_remembered_until_the_date_changes() -> None:
    clock, headers = Clock(), b"content-type: text/plain\r\n"
    for body in (b"", b"12345"):
        head = response_head(Response(200, body, headers), clock.line, keep_alive=True)
        assert b"%b%d\r\n\r\n" % (clock.usual_head(headers), len(body)) == head
    assert set(clock.heads) == {headers}
    clock.line = b"date: D\r\n"
    clock.tick()
    assert not clock.heads
    assert b"date: D\r\n" not in clock.usual_head(headers)


def test_few_usual_heads_are_remembered() -> None:
    clock = Clock()
    for number in range(100):
        assert b"\r\nx: %d\r\n" % number in clock.usual_head(b"x: %d\r\n" % number)
    assert len(clock.heads) == MAX_USUAL_HEADS


def test_the_date_has_the_form_of_the_rfc() -> None:
    assert re.fullmatch(
        rb"date: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n", Clock().line
    )


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a", b"/a", b""),
        (b"/a?b=c?d", b"/a", b"?b=c?d"),
        (b"/a?", b"/a", b"?"),
        (b"?", b"", b"?"),
    ],
)
def test_a_target_is_split_at_its_first_question_mark(target: bytes, path: bytes, query: bytes) -> None:
    assert split_target(target) == (path, query)
