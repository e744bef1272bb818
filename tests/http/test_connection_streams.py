"""Bodies that come piece by piece: their framing, clients that read slowly or leave, sources that die. No sockets.

tests/system/test_forwarding.py has the same with a real server beside.
"""

from __future__ import annotations

from typing import Any

import h11
import pytest

from tests.fakes import FakeTransport
from tests.http.test_connection import Rig, answers, get, peer
from yummy_fast.http.answer_writer import MUCH_BYTES
from yummy_fast.http.connection import PROBE_S
from yummy_fast.http.http11 import CONTINUE, Request, Response, ResponseOrCoroutine, Sink


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


def test_in_http_1_0_nothing_comes_after_a_body_without_a_length() -> None:
    """Neither what has begun nor what has not: their answers would be taken for a part of it."""
    source, never = Source(), Source()
    rig = StreamRig(source, never, max_pipelined=3)
    client = rig.connect()
    paths = (b"/wait/1", b"/stream", b"/wait/2", b"/never")
    client.receive(b"".join(b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % path for path in paths))
    rig.finish(b"/wait/1")
    assert rig.left == [b"/wait/2"]
    assert client.received.count(b"connection: keep-alive\r\n") == 1
    assert client.received.count(b"connection: close\r\n") == 1
    source.sink.stream_data(b"abc")
    source.sink.stream_end()
    rig.loop.run_ready()
    assert client.received.endswith(b"\r\n\r\nabc")
    assert rig.begun == [b"/wait/1", b"/wait/2"]
    assert not client.aborted
    assert not rig.shared.open


def test_what_a_body_without_a_length_has_dropped_does_not_time_out() -> None:
    """Both requests have had their time when the sweep comes. The first one's 504 makes room for the stream."""
    source = Source()
    rig = StreamRig(source, request_ms=1000)
    client = rig.connect()
    paths = (b"/wait/1", b"/stream", b"/wait/2")
    client.receive(b"".join(b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % path for path in paths))
    rig.sweep(2)
    assert [path for path, _ in rig.failures] == [b"/wait/1"]
    assert rig.left == [b"/wait/2"]
    source.sink.stream_end()
    assert client.closing


def test_in_http_1_0_a_body_with_a_length_leaves_the_connection_open() -> None:
    source = Source(3)
    rig = StreamRig(source)
    client = rig.connect()
    request = b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    client.receive(request % b"/stream" + request % b"/next")
    source.sink.stream_data(b"abc")
    source.sink.stream_end()
    assert [answer.body for answer in answers(client)] == [b"abc", b"/next"]
    assert [answer.headers["connection"] for answer in answers(client)] == ["keep-alive"] * 2
    assert not client.closing


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


def test_the_end_of_a_client_closes_its_source_at_once() -> None:
    """The transport may wait for long until the client has read what was written before."""
    source = Source()
    rig = StreamRig(source)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/stream"))
    source.sink.stream_data(b"abc")
    client.receive_eof()
    assert source.closed
    assert rig.shared.open


def test_a_body_that_is_ready_when_its_client_is_leaving_is_closed() -> None:
    source = Source()
    rig = StreamRig(source)
    client = rig.connect()
    client.receive(get(b"/wait") + get(b"/stream"))
    client.closing = True
    rig.finish(b"/wait")
    assert source.closed
    assert source.sink is None
    assert client.writes == []


def test_a_client_is_not_asked_within_a_body_whether_it_still_reads() -> None:
    """It sends nothing more while it waits for both answers. "100 Continue" would come within the first."""
    source = Source()
    rig = StreamRig(source)
    extra, stack = peer(reset=False)
    with stack:
        client = rig.connect(extra=extra)
        client.receive(get(b"/wait/1") + get(b"/stream") + get(b"/wait/2"))
        client.receive_eof()
        rig.finish(b"/wait/1")
        source.sink.stream_data(b"abc")
        rig.loop.pass_time(1)
        source.sink.stream_data(b"def")
        assert b"3\r\nabc\r\n3\r\ndef\r\n" in client.received
        source.sink.stream_end()
        assert client.received.endswith(b"0\r\n\r\n")
        rig.loop.pass_time(PROBE_S)
        assert client.received.endswith(b"0\r\n\r\n" + CONTINUE), "now it is asked"
        rig.finish(b"/wait/2")
        assert client.received.count(b"HTTP/1.1 200 OK\r\n") == 3
        rig.loop.run_ready()
        assert not client.aborted
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
