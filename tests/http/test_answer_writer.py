"""The bytes of one client's answers on a transport in the test's hands: whole, in slices, and how fast they are read.

test_answer_writer_streams.py has bodies that come piece by piece, test_connection.py what is written when.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import FakeLoop, FakeTransport
from tests.http.test_answer_writer_streams import Source
from yummy_fast.http.answer_writer import LARGE_BODY_BYTES, MUCH_BYTES, SLICE_BYTES, AnswerWriter, transport_below
from yummy_fast.http.http11 import Clock, Request, Response


class Client(asyncio.Protocol):
    """A connection that does nothing but write answers."""

    def __init__(self, *, tls: bool = False) -> None:
        self.transport = FakeTransport(FakeLoop(), tls=tls)
        self.transport.connect(self)
        self.writer = AnswerWriter(self.transport, Clock())

    def pause_writing(self) -> None:
        self.writer.pause()

    def resume_writing(self) -> None:
        self.writer.resume()

    def write(self, body: bytes, *, method: bytes = b"GET") -> None:
        self.writer.write(Response(200, body), Request(method, b"/", b"", True), True)

    def body(self) -> bytes:
        """What came of it."""
        return bytes(self.transport.received).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, []),
        (LARGE_BODY_BYTES, []),
        (LARGE_BODY_BYTES + 1, [2]),
        (SLICE_BYTES, [2]),
        (SLICE_BYTES + 1, [2]),
    ],
)
def test_a_large_body_is_not_copied_behind_its_head(size: int, pieces: list[int]) -> None:
    client = Client()
    client.write(b"x" * size)
    assert client.transport.gathered == pieces
    assert client.body() == b"x" * size
    assert b"content-length: %d\r\n" % size in client.transport.received
    assert not client.writer.busy
    assert client.writer.held_bytes == 0


def test_head_has_no_body() -> None:
    client = Client()
    client.write(b"x" * (SLICE_BYTES + 1), method=b"HEAD")
    assert client.body() == b""
    assert b"content-length: %d\r\n" % (SLICE_BYTES + 1) in client.transport.received
    assert not client.writer.busy


def test_a_head_says_that_the_connection_ends() -> None:
    client = Client()
    client.writer.write(Response(404, b"no"), Request(b"GET", b"/", b"", True), False)
    assert client.transport.received.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"\r\nconnection: close\r\n" in client.transport.received
    assert client.body() == b"no"


def test_slices_follow_as_the_client_reads() -> None:
    client = Client()
    body = bytes(range(256)) * (3 * SLICE_BYTES // 256) + b"end"
    client.transport.client_reads = False
    client.write(body)
    assert client.writer.busy
    assert client.writer.held_bytes == len(body), "one object, of which the transport has a slice"
    seen = []
    while client.writer.busy:
        client.transport.read_down_to(FakeTransport.LOW)
        seen.append(client.writer.held_bytes)
    assert seen[:-1] == [len(body)] * 2
    assert seen[-1] == 0, "three bytes are no reason to pause"
    client.transport.read_all()
    assert client.body() == body
    assert client.writer.held_bytes == 0


def test_over_tls_slices_are_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    below = FakeTransport(FakeLoop())
    monkeypatch.setattr("yummy_fast.http.answer_writer.transport_below", lambda _: below)
    client = Client(tls=True)
    assert client.transport.limits == MUCH_BYTES
    below.client_reads = client.transport.client_reads = False
    below.write(b"x" * 1000)
    client.write(b"x" * (2 * SLICE_BYTES))
    assert client.writer.buffered_bytes == 1000 + client.transport.get_write_buffer_size()
    assert client.writer.held_bytes == 2 * SLICE_BYTES + client.writer.buffered_bytes
    client.writer.close()
    assert client.writer.buffered_bytes == client.transport.get_write_buffer_size()
    assert not client.writer.busy


def test_a_client_that_leaves_gets_no_more_slices() -> None:
    client = Client()
    client.transport.client_reads = False
    client.write(b"x" * (3 * SLICE_BYTES))
    client.transport.closing = True
    client.resume_writing()
    assert len(client.transport.writes) == 1
    assert not client.writer.busy


def test_what_was_read_between_two_looks() -> None:
    client = Client()
    writer, transport = client.writer, client.transport
    transport.client_reads = False
    client.write(b"x" * 10_000)
    looks = []
    for left in (10_000, 10_000, 9_999, 9_999, 2_500):
        transport.read_down_to(left)
        writer.measure()
        looks.append((writer.unsent_bytes, writer.read_bytes, writer.is_read))
    # At the first look nothing is known of before: what is unsent counts as if the client had read as much.
    assert looks == [
        (10_000, 10_000, True),
        (10_000, 0, False),
        (9_999, 1, True),
        (9_999, 0, False),
        (2_500, 7_499, True),
    ]
    client.write(b"x" * 10_000)
    writer.measure()
    assert not writer.is_read, "more is unsent than before"
    assert writer.read_bytes == writer.unsent_bytes > 12_500
    transport.read_all()
    writer.measure()
    assert (writer.unsent_bytes, writer.is_read) == (0, True)


def test_the_rest_of_a_large_body_is_unsent() -> None:
    client = Client()
    client.transport.client_reads = False
    client.write(b"x" * (3 * SLICE_BYTES))
    client.writer.measure()
    head = bytes(client.transport.writes[0]).index(b"\r\n\r\n") + 4
    assert client.writer.unsent_bytes == head + 3 * SLICE_BYTES


def stream(client: Client, source: Source, ended: list[str], *, method: bytes = b"GET") -> None:
    client.writer.write_streamed(
        Response(200, stream=source),
        source,
        Request(method, b"/", b"", True),
        True,
        lambda: ended.append("ended"),
    )


def test_pieces_are_chunks() -> None:
    client, source, ended = Client(), Source(), list[str]()
    stream(client, source, ended)
    assert client.writer.streams
    assert client.writer.busy
    source.sink.stream_data(b"x" * 17)
    assert not ended
    source.sink.stream_end()
    assert ended == ["ended"]
    assert client.body() == b"11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"
    assert not client.writer.busy


def test_a_source_is_held_up_dropped_or_not_wanted() -> None:
    client, source, ended = Client(), Source(), list[str]()
    stream(client, source, ended)
    client.pause_writing()
    assert source.paused
    client.resume_writing()
    assert not source.paused
    client.writer.drop()
    assert source.closed
    assert not client.writer.busy
    unwanted = Source()
    stream(client, unwanted, ended, method=b"HEAD")
    assert unwanted.closed
    assert not client.writer.busy
    assert not ended, "neither came to its end"


def test_pieces_for_a_client_that_has_left_go_nowhere() -> None:
    client, source, ended = Client(), Source(), list[str]()
    stream(client, source, ended)
    client.transport.closing = True
    source.sink.stream_data(b"x")
    source.sink.stream_end()
    assert client.body() == b""
    assert ended == ["ended"]


def test_what_is_lost_on_the_way_resets_the_connection() -> None:
    client, source, ended = Client(), Source(), list[str]()
    stream(client, source, ended)
    source.sink.stream_lost()
    assert client.transport.aborted
    assert not client.writer.busy
    assert not ended


def test_no_transport_lies_below_one_without_tls() -> None:
    assert transport_below(FakeTransport(FakeLoop())) is None
