"""HTTP/1.1 at its edges, where one other sign would go unnoticed: bounds, the cache of heads, trailers, framing."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import pytest

from yummy_fast.errors import ProtocolError
from yummy_fast.http.http11 import CLIENT_LEFT, CONTINUE, Request, RequestParser, Response, split_target

LIMIT = 100
MAX_HEAD_BYTES = 64 << 10

POST = b"POST /get-online-features?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def status_of(*pieces: bytes, max_body_bytes: int = LIMIT, max_head_bytes: int = MAX_HEAD_BYTES) -> int:
    """Of the refusal that ends these bytes; 0 if none does."""
    parser = RequestParser(max_body_bytes, max_head_bytes=max_head_bytes, max_target_bytes=100)
    try:
        for piece in (*pieces, b""):
            parser.feed(piece)
    except ProtocolError as error:
        return error.status
    return 0


class CountingParser(RequestParser):
    """Counts the requests that are parsed, rather than known from before."""

    def __init__(self) -> None:
        self.parsed = 0
        super().__init__(LIMIT)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.parsed += 1


# -------------------------------------------------------------------------------------------------- the cache of heads


@pytest.mark.parametrize("cut", [1, 30, 60, -10])
def test_the_end_of_a_head_is_no_head(cut: int) -> None:
    """A head that came in two pieces is not known by its second piece: sent alone, that is no request."""
    parser = RequestParser(LIMIT)
    assert parser.feed(POST[:cut]) == []
    assert len(parser.feed(POST[cut:])) == 1
    with pytest.raises(ProtocolError):
        parser.feed(POST[cut:])


def test_eight_heads_are_known_and_the_ninth_displaces_them() -> None:
    parser = CountingParser()

    def parses(number: int) -> int:
        before = parser.parsed
        assert len(parser.feed(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)) == 1
        return parser.parsed - before

    assert [parses(number) for number in range(8)] == [1] * 8
    assert [parses(number) for number in range(8)] == [0] * 8
    assert [parses(8), parses(8)] == [1, 0]
    assert [parses(number) for number in range(7)] == [1] * 7


def _held(value: Any) -> list[bytes]:
    """All bytes in the tables of a parser."""
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, dict):
        return [found for item in value.items() for found in _held(item)]
    if isinstance(value, (tuple, list)):
        return [found for item in value for found in _held(item)]
    return []


def test_a_body_is_not_kept_beside_the_head_that_is_known() -> None:
    """It may have 8 MiB, and eight heads are known."""
    parser = RequestParser(LIMIT)
    for body in (b"body", b"ydob"):
        parser.feed(POST[:-4] + body)
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    found = [held for name in RequestParser.__slots__ for held in _held(getattr(parser, name))]
    assert POST[:-4] in found, "the head is"
    assert b"body" not in found
    assert b"ydob" not in found


def test_a_parser_that_is_closed_goes_without_the_cycle_collector() -> None:
    gone = []
    gc.collect()
    gc.disable()
    try:
        for data in (POST, POST[:-1], b"\x00"):
            parser = CountingParser()
            with contextlib.suppress(ProtocolError):
                parser.feed(data)
            parser.close()
            gone.append(weakref.ref(parser))
            del parser
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()


# -------------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(("target", "field", "status"), [(101, 30, 414), (100, 30, 0), (1, 399, 0), (1, 400, 431)])
def test_a_target_may_be_too_long_in_a_short_head_and_the_other_way_round(target: int, field: int, status: int) -> None:
    data = b"GET %b HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"/".ljust(target, b"a"), b"a" * (field - 14))
    assert status_of(data, max_head_bytes=400) == status
    assert status_of(*(bytes([byte]) for byte in data), max_head_bytes=400) == status


@pytest.mark.parametrize(("size", "status"), [(100, 0), (1_000, 431)])
def test_a_trailer_counts_as_head(size: int, status: int) -> None:
    """Also if it comes with all the rest in one piece."""
    assert status_of(CHUNKED + b"0\r\nX: %b\r\n\r\n" % (b"a" * size), max_head_bytes=400) == status


@pytest.mark.parametrize(("field", "status"), [(b"Host: b c", 400), (b"X-Request-Timeout-Ms: x", 0)])
def test_what_is_wrong_in_a_head_is_wrong_in_a_trailer_if_it_counts_there(field: bytes, status: int) -> None:
    """A time that comes after the body comes too late, and is not read."""
    data = CHUNKED + b"1\r\na\r\n0\r\n" + field + b"\r\n\r\n"
    assert status_of(data) == status
    assert status_of(*(bytes([byte]) for byte in data)) == status


@pytest.mark.parametrize(("framing", "status"), [(16, 0), (17, 431)])
def test_chunks_that_are_mostly_framing_are_refused(framing: int, status: int) -> None:
    """Up to 16 bytes of framing for each byte of a body; beyond that, as much in all as a head may have."""
    chunk = b"1;%b\r\nx\r\n" % (b"a" * (framing - 6))
    assert len(chunk) == framing + 1
    pieces = [CHUNKED, *[chunk * 1_000] * (MAX_HEAD_BYTES // 1_000 + 1), b"0\r\n\r\n"]
    assert status_of(*pieces, max_body_bytes=1 << 20) == status


# ------------------------------------------------------------------------------------------------------------- headers


def test_chunked_twice_is_not_chunked() -> None:
    """RFC 9112 6.1: once. The end of such a body is unknown, so it is 400, and not 501 for the coding between."""
    head = CHUNKED.replace(b"chunked", b"chunked, gzip, chunked")
    assert status_of(head + b"0\r\n\r\n") == 400


@pytest.mark.parametrize(("value", "status"), [(b"250 \t", 0), (b"999999999", 0), (b"1 0", 400), (b"1000000000", 400)])
def test_milliseconds(value: bytes, status: int) -> None:
    assert status_of(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: " + value + b"\r\n\r\n") == status


@pytest.mark.parametrize(("value", "status"), [(b"100-continue \t", 0), (b"100-continue x", 417)])
def test_what_follows_an_expectation(value: bytes, status: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: " + value + b"\r\nContent-Length: 4\r\n\r\n"
    assert status_of(head) == status


def test_a_client_that_offers_another_protocol_still_waits_to_be_told_to_go_on() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    parser = RequestParser(LIMIT)
    assert parser.feed(head + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n") == []
    assert parser.expects_continue
    assert [request.body for request in parser.feed(b"body")] == [b"body"]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a://b?c", b"/a://b", b"?c"),
        (b"http://a:80/b/c?d", b"/b/c", b"?d"),
        (b"http://a", b"/", b""),
        (b"http://a?b=1", b"/", b"?b=1"),  # RFC 3986 3.2: the authority ends at "/", "?" or "#"
        (b"http://a?b=/c", b"/", b"?b=/c"),
        (b"http://a:80/b?c=http://d/e?f", b"/b", b"?c=http://d/e?f"),
        (b"*", b"*", b""),
    ],
)
def test_a_target_as_to_a_proxy(target: bytes, path: bytes, query: bytes) -> None:
    """RFC 9112 3.2.2 has servers take it."""
    assert split_target(target) == (path, query)


def test_what_requests_and_responses_are_if_nothing_else_is_said() -> None:
    assert Request(b"GET", b"/", b"", True) == Request(b"GET", b"/", b"", True, 0, b"", None, "1.1")
    assert Response(200) == Response(200, b"", b"content-type: application/json\r\n", "")
    assert CLIENT_LEFT == 499, "the number that nginx has for it"
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"
