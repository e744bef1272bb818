"""HTTP and RESP: what is read does not depend on how the bytes are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from yummy_fast import resp
from yummy_fast.errors import ProtocolError
from yummy_fast.http11 import Request, RequestParser
from yummy_fast.resp import CommandTemplate, ReplyError, ReplyParser

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


replies = st.recursive(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=12)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def written(reply: Any) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case _:
            return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))


@given(st.lists(replies, max_size=5), st.data())
def test_replies_come_out_as_they_went_in_however_they_are_cut(sent: list[Any], data: st.DataObject) -> None:
    parser = ReplyParser()
    found: list[Any] = []
    for chunk in data.draw(cut(b"".join(map(written, sent)))):
        found += parser.read(chunk)
    assert found == sent


@given(st.binary(max_size=40))
def test_bytes_of_any_kind_are_replies_or_raise_what_is_documented(data: bytes) -> None:
    parser = ReplyParser()
    try:
        found = list(parser.read(data))
    except resp.ProtocolError:
        return
    assert all(isinstance(reply, bytes | int | float | list | dict | set | ReplyError | None) for reply in found)


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
    parser = ReplyParser()
    commands = CommandTemplate(name, arguments, suffix).render(keys)
    assert list(parser.read(commands)) == [[name, key + suffix, *arguments] for key in keys]
