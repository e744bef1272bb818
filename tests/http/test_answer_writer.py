"""The bytes of one client's answers on a transport in the test's hands: whole, in slices, and how fast they are read.

test_connection_streams.py has bodies that come piece by piece, test_connection.py what is written when.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes import FakeLoop, FakeTransport
from tests.harness import run, tls_client_context, tls_server_context
from tests.http.test_connection_streams import Source
from yummy_fast.http.answer_writer import LARGE_BODY_BYTES, MUCH_BYTES, SLICE_BYTES, AnswerWriter, transport_below
from yummy_fast.http.http11 import Clock, Request, Response
from yummy_fast.http.trace_headers import Trace


class Client(asyncio.Protocol):
    """A connection that does nothing but write answers."""

    def __init__(self, *, tls: bool = False) -> None:
        self.transport = FakeTransport(FakeLoop(), tls=tls)
        self.transport.connect(self)
        self.clock = Clock()
        self.writer = AnswerWriter(self.transport, self.clock)

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
    assert len(client.transport.writes) == max(len(pieces), 1) + (size > SLICE_BYTES)
    assert client.body() == b"x" * size
    assert b"content-length: %d\r\n" % size in client.transport.received
    assert not client.writer.busy
    assert client.writer.held_bytes == 0


@pytest.mark.parametrize(
    ("status", "version", "first", "line"),
    [
        (200, "1.1", b"HTTP/1.1 200 OK\r\n", b"connection"),
        (404, "1.1", b"HTTP/1.1 404 Not Found\r\n", b"connection"),
        (200, "1.0", b"HTTP/1.1 200 OK\r\n", b"connection: keep-alive\r\n"),
    ],
)
def test_the_head_is_that_of_the_answer(status: int, version: str, first: bytes, line: bytes) -> None:
    client = Client()
    client.writer.write(Response(status, b"body"), Request(b"GET", b"/", b"", True, version=version), True)
    assert client.transport.received.startswith(first)
    assert (line in client.transport.received) is (version == "1.0")
    assert client.body() == b"body"


def test_usual_heads_are_made_once_and_others_are_not_kept() -> None:
    """Each answer with a trace has a head of its own: kept, they would push out the usual one."""
    client = Client()
    client.write(b"a")
    (usual,) = client.clock.heads.items()
    client.clock.heads[usual[0]] = usual[1] + b"from-the-cache: yes\r\n"
    client.write(b"b")
    assert client.transport.received.count(b"from-the-cache: yes") == 1
    traced = Response(200, b"c", b"content-type: application/json\r\nx-request-id: 7\r\n")
    client.writer.write(traced, Request(b"GET", b"/", b"", True, trace=Trace(b"7", b"", timing=False)), True)
    assert b"x-request-id: 7\r\n" in client.transport.received
    assert len(client.clock.heads) == 1


def test_head_has_no_body() -> None:
    client = Client()
    client.write(b"x" * (SLICE_BYTES + 1), method=b"HEAD")
    assert client.body() == b""
    assert b"content-length: %d\r\n" % (SLICE_BYTES + 1) in client.transport.received
    assert not client.writer.busy


@pytest.mark.parametrize(("status", "first"), [(200, b"HTTP/1.1 200 OK\r\n"), (404, b"HTTP/1.1 404 Not Found\r\n")])
def test_a_head_says_that_the_connection_ends(status: int, first: bytes) -> None:
    client = Client()
    client.writer.write(Response(status, b"no"), Request(b"GET", b"/", b"", True), False)
    assert client.transport.received.startswith(first)
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


def test_what_is_dropped_is_not_written_later() -> None:
    client = Client()
    client.transport.client_reads = False
    client.write(b"x" * (3 * SLICE_BYTES))
    client.writer.drop()
    client.transport.read_all()
    assert len(client.body()) == SLICE_BYTES
    assert client.writer.held_bytes == 0


def test_what_a_full_transport_has_of_small_answers_is_held() -> None:
    client = Client()
    client.transport.client_reads = False
    while not client.writer.paused:
        client.write(b"x" * 10_000)
        assert client.writer.held_bytes in (0, client.transport.get_write_buffer_size())
    assert client.writer.held_bytes == client.transport.get_write_buffer_size() > FakeTransport.HIGH


def test_what_was_read_between_two_looks() -> None:
    client = Client()
    writer, transport = client.writer, client.transport
    transport.client_reads = False
    client.write(b"x" * 10_000)
    looks = []
    for left in (10_000, 10_000, 9_999, 9_999, 2_500, 1, 1):
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
        (1, 2_499, True),
        (1, 0, False),
    ]
    client.write(b"x" * 10_000)
    writer.measure()
    assert not writer.is_read, "more is unsent than before"
    assert writer.read_bytes == writer.unsent_bytes > 10_000
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


def test_pieces_of_a_known_length_are_no_chunks() -> None:
    client, source, ended = Client(), Source(3), list[str]()
    stream(client, source, ended)
    source.sink.stream_data(b"abc")
    source.sink.stream_end()
    assert b"content-length: 3\r\n" in client.transport.received
    assert client.body() == b"abc"
    assert ended == ["ended"]


def test_a_source_is_held_up_dropped_or_not_wanted() -> None:
    client, source, ended = Client(), Source(), list[str]()
    stream(client, source, ended)
    client.pause_writing()
    assert source.paused
    client.resume_writing()
    assert not source.paused
    assert client.writer.busy
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


# ------------------------------------------------------------------------------------------------- sockets, by uvloop


class OnSocket(asyncio.Protocol):
    """A connection that writes with an AnswerWriter, to a real client."""

    def __init__(self, made: asyncio.Future[OnSocket]) -> None:
        self._made = made
        self.is_full = asyncio.Event()
        self.writer: AnswerWriter
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.writer = AnswerWriter(transport, Clock())
        self._made.set_result(self)

    def pause_writing(self) -> None:
        self.writer.pause()
        self.is_full.set()

    def resume_writing(self) -> None:
        self.writer.resume()


@asynccontextmanager
async def connected(*, tls: bool = False) -> AsyncIterator[tuple[OnSocket, Any, socket.socket]]:
    """The server's side of a connection, and the client's: a StreamReader with its socket."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[OnSocket] = loop.create_future()
    server = await loop.create_server(lambda: OnSocket(made), "127.0.0.1", 0, ssl=tls_server_context() if tls else None)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname(),
        ssl=tls_client_context() if tls else None,
        server_hostname="localhost" if tls else None,
        limit=1000,  # the client stops reading soon
    )
    try:
        yield await made, reader, writer.get_extra_info("socket")
    finally:
        (await made).transport.abort()
        writer.transport.abort()
        server.close()


def test_what_is_lost_on_the_way_is_a_reset_for_the_client() -> None:
    """An orderly end would be that of the body in HTTP/1.0."""

    async def losing() -> None:
        async with connected() as (server, reader, _):
            source = Source()
            request = Request(b"GET", b"/", b"", False, version="1.0")
            server.writer.write_streamed(Response(200, stream=source), source, request, False, lambda: None)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            source.sink.stream_lost()
            with pytest.raises(ConnectionResetError):
                await reader.read()

    run(losing())


def test_the_transport_below_that_of_tls_has_what_is_encrypted() -> None:
    async def writing() -> None:
        async with connected(tls=True) as (server, _, _):
            below = transport_below(server.transport)
            assert below is not None
            assert below is not server.transport
            body = b"x" * (64 << 20)  # more than all buffers of the kernel's take
            server.writer.write(Response(200, body), Request(b"GET", b"/", b"", True), True)
            await server.is_full.wait()
            assert below.get_write_buffer_size() > 0
            server.writer.measure()
            assert server.writer.buffered_bytes >= below.get_write_buffer_size()
            assert server.writer.held_bytes > len(body)

    run(writing())
