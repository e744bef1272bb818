"""Bodies that come piece by piece: their framing, clients that read slowly or leave, sources that die. No sockets.

tests/system/test_forwarding.py has the same with a real server beside.
"""

from __future__ import annotations

from typing import Any

import h11
import pytest

from tests.fakes import FakeTransport
from tests.http.test_connection import Rig, get
from yummy_fast.http.answer_writer import MUCH_BYTES
from yummy_fast.http.http11 import Request, Response, ResponseOrCoroutine, Sink


class Source:
    """A BodyStream in the test's hands."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.sink: Any = None
        self.paused = self.closed = False

    def start(self, sink: Sink) -> None:
        assert not self.closed
        self.sink = sink

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True


class StreamRig(Rig):
    """/stream answers with a Source: the one that `sources` has."""

    def __init__(self, *sources: Source, status: int = 200, **settings: int) -> None:
        super().__init__(**settings)
        self._sources = list(sources)
        self._status = status

    def handle(self, request: Request) -> ResponseOrCoroutine:
        if request.url == b"/stream":
            return Response(self._status, b"", b"content-type: text/event-stream\r\n", stream=self._sources.pop(0))
        return super().handle(request)


def parsed(client: FakeTransport, method: str = "GET", *, gone: bool = False) -> tuple[int, bytes, bool]:
    """Status and body of the first answer, by h11; and whether that is whole. `gone`: the connection has ended."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(bytes(client.received))
    if gone:
        reader.receive_data(b"")
    status, body = 0, b""
    while True:
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError:
            return status, body, False
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, body, True
        else:
            return status, body, False


@pytest.mark.parametrize("length", [None, 7])
def test_a_body_in_pieces(length: int | None) -> None:
    source = Source(length)
    rig = StreamRig(source)
    client = rig.connect()
    client.receive(get(b"/stream"))
    assert parsed(client) == (200, b"", False)
    source.sink.stream_data(b"abc")
    assert parsed(client) == (200, b"abc", False)
    source.sink.stream_data(b"defg")
    source.sink.stream_end()
    assert parsed(client) == (200, b"abcdefg", True)
    assert (b"transfer-encoding: chunked" in client.received) is (length is None)
    client.received.clear()
    client.receive(get(b"/next"))
    assert parsed(client) == (200, b"/next", True)


def test_a_status_without_a_body() -> None:
    source = Source()
    rig = StreamRig(source, status=204)
    client = rig.connect()
    client.receive(get(b"/stream"))
    source.sink.stream_end()
    assert parsed(client) == (204, b"", True)
    assert b"content-length" not in client.received
    assert b"transfer-encoding" not in client.received


def test_a_status_that_has_no_name() -> None:
    source = Source(0)
    rig = StreamRig(source, status=299)
    client = rig.connect()
    client.receive(get(b"/stream"))
    source.sink.stream_end()
    assert parsed(client) == (299, b"", True)


def test_http_1_0_has_no_chunks() -> None:
    """The end of the connection is the end of the body; or a reset, if the body has none."""
    for whole in (True, False):
        source = Source()
        rig = StreamRig(source)
        client = rig.connect()
        client.receive(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        source.sink.stream_data(b"abc")
        assert client.received.endswith(b"connection: close\r\n\r\nabc")
        assert not client.closing
        if whole:
            source.sink.stream_end()
        else:
            source.sink.stream_lost()
        assert client.aborted is not whole
        assert client.closing


def test_a_body_that_is_lost_has_no_last_chunk() -> None:
    source = Source()
    rig = StreamRig(source)
    client = rig.connect()
    client.receive(get(b"/stream"))
    source.sink.stream_data(b"abc")
    source.sink.stream_lost()
    rig.loop.run_ready()
    assert client.aborted
    assert parsed(client, gone=True) == (200, b"abc", False)
    assert not rig.shared.open


def test_later_answers_wait_for_the_end() -> None:
    first, second = Source(), Source()
    rig = StreamRig(first, second)
    client = rig.connect()
    client.receive(get(b"/stream") + get(b"/stream") + get(b"/next"))
    assert not second.sink
    first.sink.stream_data(b"one")
    first.sink.stream_end()
    assert client.received.count(b"HTTP/1.1") == 2
    second.sink.stream_end()
    assert client.received.endswith(b"/next")


def test_a_client_that_reads_slowly_holds_its_source_up() -> None:
    source = Source()
    rig = StreamRig(source)
    client = rig.connect()
    client.receive(get(b"/stream"))
    client.client_reads = False
    source.sink.stream_data(b"x" * (MUCH_BYTES + 1))
    assert source.paused
    client.read_all()
    assert not source.paused
    source.sink.stream_end()
    assert parsed(client)[1:] == (b"x" * (MUCH_BYTES + 1), True)


def test_a_client_that_reads_nothing_is_cut_off_and_one_that_is_told_nothing_is_not() -> None:
    source, silent = Source(), Source()
    rig = StreamRig(source, silent, send_s=5, keep_alive_s=5)
    stuck, patient = rig.connect(), rig.connect()
    for client in (stuck, patient):
        client.receive(get(b"/stream"))
    stuck.client_reads = False
    source.sink.stream_data(b"x" * (MUCH_BYTES + 1))
    for _ in range(20):
        rig.sweep(1)
    assert stuck.aborted
    assert source.closed
    assert not patient.closing
    assert not silent.closed


@pytest.mark.parametrize("how", ["lost", "end"])
def test_a_client_that_leaves_closes_its_source(how: str) -> None:
    source, waiting = Source(), Source()
    rig = StreamRig(source, waiting)
    client = rig.connect()
    client.receive(get(b"/stream") + get(b"/stream"))
    if how == "lost":
        client.lose()
    else:
        client.receive_eof()
    rig.loop.run_ready()
    assert source.closed
    assert waiting.closed
    assert not rig.shared.open


def test_a_server_that_stops_waits_for_the_end() -> None:
    source = Source()
    rig = StreamRig(source)
    client = rig.connect()
    client.receive(get(b"/stream"))
    rig.shared.closing = True
    for connection in list(rig.shared.open):
        connection.close_if_idle()
    assert not client.closing
    source.sink.stream_end()
    assert parsed(client) == (200, b"", True)
