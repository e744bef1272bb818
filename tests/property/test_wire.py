"""HTTP and RESP: what is read does not depend on how the bytes are cut, and h11 would read no less into it.

h11 is the second opinion on HTTP: whatever it refuses has to be refused here, but for what `Reading` lists.
"""

from __future__ import annotations

import re
from itertools import pairwise

import h11
import hiredis
from hypothesis import given
from hypothesis import strategies as st

from yummy_fast.errors import ProtocolError
from yummy_fast.http.http11 import Request, RequestParser
from yummy_fast.http.trace_headers import TRACE_HEADERS, read_trace
from yummy_fast.stores.resp import CommandTemplate

LIMIT = 64

tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(str.encode)
field_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12).map(str.encode)
header_fields = st.lists(
    st.tuples(tokens.map(lambda name: b"x-" + name), field_values).map(lambda pair: b"%b: %b\r\n" % pair), max_size=4
).map(b"".join)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Request]:
    """The bytes of a request, and what they say."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD"]))
    target = b"/" + draw(st.text("abc/?=&%20.", max_size=10)).encode()
    body = draw(st.binary(max_size=LIMIT))
    head = b"%b %b HTTP/1.1\r\nHost: a\r\n%b" % (method, target, draw(header_fields))
    if draw(st.booleans()):
        chunks = b""
        left = body
        while left:
            size = draw(st.integers(1, len(left)))
            chunks += b"%x\r\n%b\r\n" % (size, left[:size])
            left = left[size:]
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    else:
        data = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return data, Request(method, target, body, True)


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=6)) | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


def read(chunks: list[bytes]) -> tuple[list[Request], int]:
    """The requests in `chunks`, and the status of the refusal that ended them; 0 if none did."""
    parser = RequestParser(LIMIT)
    found: list[Request] = []
    for chunk in [*chunks, b""]:
        try:
            found += parser.feed(chunk)
        except ProtocolError as error:
            return found, error.status
    return found, 0


@given(st.lists(requests(), max_size=4), st.data())
def test_requests_come_out_as_they_went_in_however_they_are_cut(
    sent: list[tuple[bytes, Request]], data: st.DataObject
) -> None:
    chunks = data.draw(cut(b"".join(text for text, _ in sent)))
    assert read(chunks) == ([request for _, request in sent], 0)


@given(st.lists(requests(), max_size=2), st.binary(max_size=30), st.data())
def test_bytes_of_any_kind_are_read_alike_however_they_are_cut(
    sent: list[tuple[bytes, Request]], tail: bytes, data: st.DataObject
) -> None:
    stream = b"".join(text for text, _ in sent) + tail
    requests_of_whole, status_of_whole = read([stream])
    requests_of_cut, status_of_cut = read(data.draw(cut(stream)))
    assert requests_of_cut == requests_of_whole
    assert (status_of_cut >= 400) == (status_of_whole >= 400)


# ------------------------------------------------------------------------------------------------ h11's opinion


def opinion_of_h11(stream: bytes) -> list[Request]:
    """The requests that h11 reads from a client that sends `stream`, before it refuses or the connection ends."""
    found: list[Request] = []
    while True:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(as_h11_would_have_it(stream))
        body = b""
        try:
            head = connection.next_event()
            if not isinstance(head, h11.Request):
                return found
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
        except h11.RemoteProtocolError:
            return found
        if not isinstance(event, h11.EndOfMessage) or head.method == b"CONNECT":  # which is refused here
            return found
        # An answer tells whether the connection is to be kept.
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        keep_alive = connection.our_state is h11.DONE
        if head.http_version == b"1.0":  # h11 keeps none of those; RFC 9112 9.3 has us do it when asked
            options = b",".join(value for name, value in head.headers if name == b"connection").lower()
            tokens = [option.strip(b" \t") for option in options.split(b",")]
            keep_alive = b"keep-alive" in tokens and b"close" not in options
        credentials = b"".join(value for name, value in head.headers if name == b"authorization")
        named = {
            header: b", ".join(value for name, value in head.headers if name == header)
            for header in TRACE_HEADERS.intersection(name for name, _ in head.headers)
        }
        trace = read_trace(named)
        found.append(
            Request(
                *(head.method, head.target, body, keep_alive),
                authorization=credentials,
                trace=trace,
                version=head.http_version.decode(),
            )
        )
        if not keep_alive:
            return found
        stream = connection.trailing_data[0]


def as_h11_would_have_it(request: bytes) -> bytes:
    """`request` without what h11 refuses and we accept: all that is justified, in one place.

    - RFC 9112 2.2: empty lines before a request line are to be ignored, and a bare LF may end them;
    - RFC 9112 3 lets a recipient parse a request line by its words, so several spaces are as good as one;
    - RTSP/1.0 and ICE/1.0 are read as HTTP/1.0. They frame alike, and the connection ends with them.
    """
    line = rb"\A[\r\n]*([A-Z-]+) +([!-~]+) +(?:HTTP|RTSP|ICE)/"
    return re.sub(line, rb"\1 \2 HTTP/", request)


heads = st.lists(
    st.sampled_from(
        [
            *(b"Host: a", b"Host: a:80", b"Host:", b"Host: a, b", b"host: a", b"Host : a", b" Host: a", b"X: y", b"X:"),
            *(
                b"X: \x00",
                b"X: a\rb",
                b"X: a\nb",
                b"X: \xff",
                b"X y: z",
                b": x",
                b"X\xff: y",
                b"X: a\r\n b",
                b"No colon",
            ),
            *(
                b"Content-Length: 3",
                b"Content-Length: 3",
                b"Content-Length: 5",
                b"content-length: 03",
                b"CONTENT-LENGTH:",
            ),
            *(
                b"Content-Length: +3",
                b"Content-Length: 3, 3",
                b"Content-Length: 0x3",
                b"Content-Length: 3 ",
                b"Content-Length : 3",
            ),
            *(
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: chunked",
                b"transfer-encoding: CHUNKED",
                b"Transfer-Encoding:",
            ),
            *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: identity"),
            *(b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding\t: chunked"),
            *(
                b"Connection: close",
                b"Connection: keep-alive",
                b"Connection: keep-alive, close",
                b"Expect: 100-continue",
                b"Authorization: Bearer abc ",
            ),
        ]
    ),
    max_size=4,
)
bodies = st.lists(
    st.sampled_from(
        [
            *(
                b"abc",
                b"abcde",
                b"",
                b"3\r\nabc\r\n",
                b"0\r\n\r\n",
                b"0\r\n\r\n",
                b"0\r\nX: y\r\n\r\n",
                b"0\r\nAuthorization: Bearer abc\r\n\r\n",
                b"3;a=b\r\nabc\r\n",
            ),
            *(
                b"3;\r\nabc\r\n",
                b"03\r\nabc\r\n",
                b"3 \r\nabc\r\n",
                b"0x3\r\nabc\r\n",
                b"3\nabc\r\n",
                b"3\r\nabc",
                b"3\r\nabcXX",
            ),
            *(
                b"g\r\n",
                b"-3\r\n",
                b"3;a\rb\r\nabc\r\n",
                b"3;a\x00\r\nabc\r\n",
                b"0\r\nX : y\r\n\r\n",
                b"0\n\n",
                b"\r\n",
                b"\n",
            ),
        ]
    ),
    max_size=3,
).map(b"".join)


def mostly(right: bytes, *wrong: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([right] * 2 * len(wrong) + list(wrong))


framings = st.sampled_from(
    [
        (b"Content-Length: 3", b"abc"),
        (b"Content-Length: 0", b""),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"X: y", b""),
    ]
)


@st.composite
def doubtful_requests(draw: st.DrawFn) -> bytes:
    """A request of parts that are each right or, now and then, wrong."""
    method = draw(mostly(b"POST", b"GET", b"HEAD", b"OPTIONS", b"get", b"G@T", b""))
    target = draw(mostly(b"/", b"/a?b", b"*", b"http://a/", b"a:80", b"", b"/ b", b"/\x00", b"/\xff", b"/#"))
    version = draw(
        mostly(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1", b"", b"ICE/1.0", b"RTSP/1.0")
    )
    space = draw(mostly(b" ", b"  ", b"\t"))
    end = draw(mostly(b"\r\n", b"\n", b"\r", b"\r\r\n"))
    framing, body = draw(framings)
    lines = [space.join([method, target, version]), draw(mostly(b"Host: a", b"X: y")), framing]
    if draw(st.booleans()):
        lines += draw(heads)
    if draw(st.booleans()):
        body = draw(bodies)
    return draw(mostly(b"", b"\r\n", b"\n")) + end.join([*lines, b"", b""]) + body


@given(st.lists(doubtful_requests(), min_size=1, max_size=3).map(b"".join), st.data())
def test_what_h11_refuses_is_refused(stream: bytes, data: st.DataObject) -> None:
    ours, status = read([stream])
    # We may read fewer: h11 does not look at Hosts, targets and sizes as closely.
    assert ours == opinion_of_h11(stream)[: len(ours)]
    # The same bytes in pieces are the same requests, and end in the same refusal.
    assert read(data.draw(cut(stream))) == (ours, status)


Fed = tuple[list[Request], int, bool, bool, bool]


def fed(parser: RequestParser, message: bytes) -> Fed:
    """What `parser` makes of `message`, and how it is then."""
    try:
        found = parser.feed(message)
        status = parser.refusal.status if parser.refusal else 0
    except ProtocolError as error:
        found, status = [], error.status
    return found, status, parser.in_request, parser.in_body, parser.expects_continue


@given(
    st.lists(st.one_of(requests().map(lambda sent: sent[0]), doubtful_requests()), min_size=1, max_size=3), st.data()
)
def test_a_request_means_the_same_whatever_came_before_on_its_connection(
    pool: list[bytes], data: st.DataObject
) -> None:
    parser = RequestParser(LIMIT)
    for message in data.draw(st.lists(st.sampled_from(pool), min_size=2, max_size=8)):
        head, end, body = message.partition(b"\r\n\r\n")
        if data.draw(st.booleans()):
            body = data.draw(st.binary(min_size=len(body), max_size=len(body)))
        fresh = RequestParser(LIMIT)
        found = fed(fresh, head + end + body)
        assert fed(parser, head + end + body) == found
        if fresh.refusal or fresh.in_request or not all(request.keep_alive for request in found[0]):
            return


@given(
    tokens,
    st.lists(st.binary(max_size=12), max_size=3),
    st.binary(max_size=4),
    st.lists(st.binary(max_size=12), min_size=1),
)
def test_a_server_reads_the_commands_that_a_template_writes(
    name: bytes, arguments: list[bytes], suffix: bytes, keys: list[bytes]
) -> None:
    # Commands and replies are one language: hiredis is the server here.
    server = hiredis.Reader()
    server.feed(CommandTemplate(name, arguments, suffix).render(keys))
    assert [server.gets() for _ in keys] == [[name, key + suffix, *arguments] for key in keys]
