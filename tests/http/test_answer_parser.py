"""The answer of another server by RFC 9112, as `forward` gets it. It does not matter how the bytes are cut.

tests/http/test_forward.py has the same over sockets.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable

import pytest

from tests.http.test_http11 import cuts
from yummy_fast.http.answer_parser import AnswerError, AnswerParser

MAX_HEAD_BYTES = 400
OK = b"HTTP/1.1 200 OK\r\n"
FIVE = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3;name=value\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n"


def answered(pieces: Iterable[bytes], *, ends: bool = False) -> tuple[AnswerParser, bytes]:
    """The parser that got these pieces, and the body that it made of them; `ends`: then the connection ended."""
    parser = AnswerParser(MAX_HEAD_BYTES)
    body = b"".join([parser.feed(piece) for piece in pieces])
    if ends:
        parser.feed_end()
    return parser, body


@pytest.mark.parametrize(
    ("data", "status", "length", "body"),
    [
        (FIVE, 200, 5, b"hello"),
        (CHUNKED, 200, None, b"hello"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 503, 0, b""),
        # RFC 9110 15.2: a client has to parse any number of interim answers, whether it asked for them or not
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + FIVE, 200, 5, b"hello"),
        # RFC 9112 6.3, item 1: whatever the headers say, these have no body
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, None, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, None, b""),
    ],
)
def test_an_answer_however_it_is_cut(data: bytes, status: int, length: int | None, body: bytes) -> None:
    for pieces in cuts(data):
        parser, found = answered(pieces)
        assert (parser.status, parser.length, found, parser.complete) == (status, length, body, True), pieces


@pytest.mark.parametrize("data", [FIVE, CHUNKED])
def test_an_answer_that_breaks_off_is_not_complete(data: bytes) -> None:
    """RFC 9112 8: neither fewer bytes than Content-Length says, nor chunks without the last, which has no bytes."""
    for end in range(1, len(data)):
        parser, _ = answered([data[:end]], ends=True)
        assert not parser.complete, data[:end]
    assert answered([data])[0].complete


@pytest.mark.parametrize("head", [OK + b"\r\n", b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n"])
def test_without_length_or_chunks_the_end_of_the_connection_is_that_of_the_body(head: bytes) -> None:
    """RFC 9112 6.3, item 8."""
    for pieces in cuts(head + b"hello"):
        parser, body = answered(pieces)
        assert (parser.length, body, parser.complete) == (None, b"hello", False)
        parser.feed_end()
        assert parser.complete


def test_the_end_of_a_connection_within_a_head_completes_nothing() -> None:
    parser, _ = answered([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], ends=True)
    assert (parser.status, parser.complete) == (0, False)


def test_the_headers_of_an_answer_are_those_of_its_own_head() -> None:
    """Neither those of an interim answer nor a trailer. Names in lower case, values without the space around them."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    head = OK + b"Set-Cookie: a \r\nSET-COOKIE:\tb\r\nTransfer-Encoding: chunked\r\n\r\n"
    for pieces in cuts(interim + head + b"1\r\nx\r\n0\r\nX-Trailer: 1\r\n\r\n"):
        parser, _ = answered(pieces)
        assert parser.headers == [(b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize("second", [b"HTTP/1.1 404 Not Found\r\nX: 1\r\nContent-Length: 3\r\n\r\nbad", b"\x00bad"])
@pytest.mark.parametrize("data", [FIVE, CHUNKED])
def test_what_follows_an_answer_is_no_part_of_it(data: bytes, second: bytes) -> None:
    """RFC 9112 6.3: a client must not take it for another answer, and may discard it. There was one request."""
    expected = answered([data])[0]
    for pieces in cuts(data + second):
        parser, body = answered(pieces)
        assert (body, parser.status, parser.length) == (b"hello", 200, expected.length)
        assert parser.headers == expected.headers
        assert parser.complete


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        OK + b"Content-Length: five\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",  # RFC 9112 6.3, item 5
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",  # item 3: "handled as an error"
        OK + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
    ],
)
def test_what_is_no_answer_however_it_is_cut(data: bytes) -> None:
    for pieces in cuts(data):
        with pytest.raises(AnswerError, match=r"^what came is no answer of HTTP/1\.1$"):
            answered(pieces)


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_a_head_without_end_is_refused_and_a_long_body_is_not(more: int, refused: bool) -> None:
    start = OK + b"X: "
    pieces = [start, b"x" * (MAX_HEAD_BYTES - len(start) + more)]
    if refused:
        with pytest.raises(AnswerError, match=rf"^the head of the answer is longer than {MAX_HEAD_BYTES} bytes$"):
            answered(pieces)
    else:
        assert answered(pieces)[0].status == 0
    end = b"\r\n\r\n"
    whole = start + b"x" * (MAX_HEAD_BYTES - len(start + end) + more) + end
    for pieces in [whole], [whole + b"x" * 4_000]:  # as it comes in one read
        if refused:
            with pytest.raises(AnswerError, match="the head of the answer is longer"):
                answered(pieces)
        else:
            assert answered(pieces)[0].status == 200
    head = OK + b"Content-Length: 4000\r\n\r\n"
    for pieces in [head, *[b"x" * 1_000] * 4], [head + b"x" * 4_000]:
        assert answered(pieces)[1] == b"x" * 4_000


@pytest.mark.parametrize(
    "coding",
    [
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",  # RFC 9112 6.1: only once
        b"Transfer-Encoding: chunked\t",  # which is chunked, but llhttp does not know it
    ],
)
def test_a_transfer_coding_that_was_not_asked_for_is_refused(coding: bytes) -> None:
    """RFC 9110 10.1.4: without TE, chunked is the only one that may come."""
    for pieces in cuts(OK + coding + b"\r\n\r\n1\r\nx\r\n0\r\n\r\n"):
        with pytest.raises(AnswerError):
            answered(pieces)
    with pytest.raises(AnswerError, match=r"^its answer has a transfer coding other than chunked$"):
        answered([OK + b"Transfer-Encoding: gzip\r\n\r\n"])


@pytest.mark.parametrize("coding", [b"Chunked", b"chunked  "])
def test_chunked_however_it_is_written(coding: bytes) -> None:
    """RFC 9112 7: the names of transfer codings are case-insensitive."""
    parser, body = answered([OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n1\r\nx\r\n0\r\n\r\n"])
    assert (body, parser.complete) == (b"x", True)


def test_a_coding_of_no_body_does_not_count() -> None:
    """RFC 9112 6.1: a 304 may have the Transfer-Encoding that the body of a 200 would have had."""
    parser, body = answered([b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"])
    assert (parser.status, body, parser.complete) == (304, b"", True)


def test_interim_answers_without_end_are_refused() -> None:
    with pytest.raises(AnswerError, match="the head of the answer is longer"):
        answered([b"HTTP/1.1 100 Continue\r\n\r\n"] * 100)


def test_a_parser_that_is_closed_goes_without_the_cycle_collector() -> None:
    gone = []
    gc.collect()
    gc.disable()
    try:
        for data in (FIVE, FIVE[:-1], OK):
            parser, _ = answered([data])
            parser.close()
            gone.append(weakref.ref(parser))
            del parser
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()
