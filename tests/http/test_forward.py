"""What goes to a Feast server beside: what arrives there, what comes back, and what if nothing does."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.harness import run, silent_server
from tests.ports import free_port
from yummy_fast.errors import ConfigError, FeastOnlyError, ForwardError, LimitError
from yummy_fast.http.forward import MAX_WAITING, Forwarder, _Call
from yummy_fast.http.http11 import Request


class Beside:
    """A server that answers with what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes, dict[str, str]]] = []
        beside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                beside.requests.append((self.command, self.path, body, dict(self.headers)))
                answer = json.dumps({"echo": body.decode()}).encode()
                self.send_response(202)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Secret", "no")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815  # http.server's name

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def beside() -> Iterator[Beside]:
    found = Beside()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        thread.join()
        found.server.server_close()


def request(url: bytes = b"/materialize?async=true", **given: Any) -> Request:
    return Request(b"POST", url, b'{"a": 1}', True, **given)


class Collected:
    """A Sink that keeps all of an answer."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Gets "whole" or "lost"."""

    def stream_data(self, data: bytes) -> None:
        assert data
        self.data += data

    def stream_end(self) -> None:
        self.end.set_result("whole")

    def stream_lost(self) -> None:
        self.end.set_result("lost")


def forwarded(url: str, asked: Request, timeout_s: float = 10) -> tuple[int, bytes, bytes, str]:
    """Status, head lines and body of the answer, and whether that is whole."""

    async def asking() -> tuple[int, bytes, bytes, str]:
        forwarder = Forwarder(url, timeout_s)
        answer = await forwarder.forward(asked)
        assert answer.stream is not None
        sink = Collected()
        answer.stream.start(sink)
        end = await sink.end
        assert not forwarder._streams
        assert not forwarder._waiting
        await asyncio.sleep(0)  # for the connection to be closed
        return answer.status, answer.headers, bytes(sink.data), end

    return run(asking())


@contextmanager
def saying(*answers: bytes, hold: threading.Event | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says something to its one client whatever that sends, a piece at a time, and closes; it may wait.

    Yields its URL, and what it was sent.
    """
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)  # if nobody comes

        def serve() -> None:
            with suppress(OSError), listener.accept()[0] as connection:
                heard.append(connection.recv(1 << 16))
                for answer in answers:
                    connection.sendall(answer)
                if hold is not None:
                    hold.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
        finally:
            if hold is not None:
                hold.set()
            thread.join()


def test_a_request_goes_as_it_came() -> None:
    with beside() as feast:
        status, head, body, end = forwarded(feast.url, request(authorization=b"Bearer x"))
        ((method, path, sent, headers),) = feast.requests
    assert (method, path, sent) == ("POST", "/materialize?async=true", b'{"a": 1}')
    assert headers["authorization"] == "Bearer x"
    assert headers["content-type"] == "application/json"
    assert headers["via"] == "1.1 yummy-fast"
    assert (status, body, end) == (202, b'{"echo": "{\\"a\\": 1}"}', "whole")
    assert b"content-type: application/json\r\n" in head


def test_headers_that_are_for_whoever_is_beyond_the_connection() -> None:
    """RFC 9110 7.6.1, in both directions."""
    given = (
        (b"host", b"us"),
        (b"content-length", b"8"),
        (b"content-type", b"application/json"),
        (b"connection", b"keep-alive, X-Mine"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAMAAABk"),
        (b"x-mine", b"1"),
        (b"te", b"trailers"),
        (b"mcp-session-id", b"abc"),
        (b"last-event-id", b"7"),
        (b"authorization", b"Bearer x"),
        (b"accept", b"text/event-stream"),
    )
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Theirs\r\nX-Theirs: 1\r\nKeep-Alive: timeout=5\r\nDate: then\r\n"
        b"Mcp-Session-Id: abc\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\nSet-Cookie: a\r\n"
        b"Set-Cookie: b\r\n\r\nok"
    )
    with saying(answer) as (url, heard):
        status, head, body, end = forwarded(url, request(b"/mcp", headers=given, authorization=b"Bearer x"))
    lines = heard[0].lower().split(b"\r\n")
    assert lines[0] == b"post /mcp http/1.1"
    assert sorted(lines[1:-2]) == sorted(
        [
            b"host: " + url.removeprefix("http://").encode(),
            b"connection: close",
            b"via: 1.1 yummy-fast",
            b"mcp-session-id: abc",
            b"last-event-id: 7",
            b"authorization: bearer x",
            b"accept: text/event-stream",
            b"content-type: application/json",
            b"content-length: 8",
        ]
    )
    assert (status, body, end) == (200, b"ok", "whole")
    assert head == b"mcp-session-id: abc\r\ncontent-type: text/event-stream\r\nset-cookie: a\r\nset-cookie: b\r\n"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"application/x-www-form-urlencoded", b"application/json"),
        (b"", b"application/json"),
        (b"application/json; charset=utf-8", b"application/json; charset=utf-8"),
        (b"text/plain", b"text/plain"),
    ],
)
def test_a_body_of_which_curl_says_nothing_is_json(given: bytes, sent: bytes) -> None:
    headers = ((b"accept", b"*/*"), *(((b"content-type", given),) if given else ()))
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, heard):
        forwarded(url, request(headers=headers))
    assert re.findall(rb"(?i)content-type: ([^\r]*)", heard[0]) == [sent]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answers", "status", "body", "end"),
    [
        ((CHUNKED, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"), 200, b"abcde", "whole"),
        ((CHUNKED, b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"), 200, b"abc", "whole"),
        ((CHUNKED, b"3\r\nabc\r\n"), 200, b"abc", "lost"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"abc"), 200, b"abc", "lost"),
        ((b"HTTP/1.0 200 OK\r\n\r\n", b"abc"), 200, b"abc", "whole"),
        ((b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nX: 1\r\n\r\n",), 204, b"", "whole"),
        ((b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",), 202, b"", "whole"),
    ],
)
def test_where_an_answer_ends(answers: tuple[bytes, ...], status: int, body: bytes, end: str) -> None:
    with saying(*answers) as (url, _):
        found = forwarded(url, request())
    assert (found[0], found[3]) == (status, end)
    assert body.startswith(found[2])  # of what is lost, the last piece may be
    assert end == "lost" or found[2] == body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nothing of HTTP\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    with saying(answer) as (url, _), pytest.raises(ForwardError) as caught:
        forwarded(url, request())
    assert caught.value.status == 502


def test_a_stream_that_says_something_now_and_then_goes_on() -> None:
    """And one that falls silent ends: as many times the timeout may pass as it likes, but not within a silence."""

    async def asking() -> None:
        forwarder = Forwarder(url, 1.5)
        loop = asyncio.get_running_loop()
        answer = await forwarder.forward(request(b"/mcp"))
        sink = Collected()
        assert answer.stream is not None
        answer.stream.start(sink)
        began = loop.time()
        assert await sink.end == "lost"
        assert sink.data == b"x" * 10
        assert loop.time() - began > 2 * 1.5

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(CHUNKED)
                for _ in range(10):
                    time.sleep(0.2)
                    connection.sendall(b"1\r\nx\r\n")
                assert connection.recv(1) == b""  # until it is closed

        thread = threading.Thread(target=serve)
        thread.start()
        run(asking())
        thread.join()


def test_a_paused_stream_is_not_read() -> None:
    """A server that sends without end waits as soon as the kernel's buffers are full; nothing is lost by that."""
    size = 64 << 20

    async def asking() -> None:
        answer = await Forwarder(url, 0.5).forward(request(b"/mcp"))
        assert answer.stream is not None
        assert answer.stream.length == size
        sink = Collected()
        answer.stream.start(sink)
        answer.stream.pause()
        got = len(sink.data)
        await asyncio.sleep(1)  # longer than the timeout: it is not the server that is silent
        assert len(sink.data) - got <= 1 << 20
        assert not sink.end.done()
        answer.stream.resume()
        assert await sink.end == "whole"
        assert len(sink.data) == size

    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, b"x" * size) as (url, _):
        run(asking())


def test_below_a_path() -> None:
    with beside() as feast:
        forwarded(f"{feast.url}/feast/", request(b"/search"))
        assert feast.requests[0][1] == "/feast/search"


def test_without_a_server_beside() -> None:
    with pytest.raises(FeastOnlyError, match=r"^This server does not answer /materialize\. Run Feast's own") as caught:
        forwarded("", request())
    assert caught.value.status == 501


def test_nobody_listens() -> None:
    with pytest.raises(ForwardError) as caught:
        forwarded(f"http://127.0.0.1:{free_port()}", request())
    assert caught.value.status == 502


def test_nobody_answers() -> None:
    with silent_server() as port, pytest.raises(ForwardError) as caught:
        forwarded(f"http://127.0.0.1:{port}", request(), timeout_s=0.1)
    assert caught.value.status == 504


@pytest.mark.parametrize("after_head", [False, True])
def test_a_client_that_leaves_ends_the_connection(after_head: bool) -> None:
    heard, gone = threading.Event(), threading.Event()

    def serve() -> None:
        with listener.accept()[0] as connection:
            connection.recv(1 << 16)
            heard.set()
            if after_head:
                connection.sendall(CHUNKED)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            gone.set()

    async def leave() -> None:
        forwarder = Forwarder(url, 100)
        asking = forwarder.forward(request())
        if after_head:
            answer = await asking
            assert answer.stream is not None
            answer.stream.close()
        else:
            asking.send(None)
            assert await asyncio.to_thread(heard.wait, 20)
            asking.close()
        assert await asyncio.to_thread(gone.wait, 20)
        assert not forwarder._waiting
        assert not forwarder._streams

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=serve)
        thread.start()
        run(leave())
        thread.join()


def test_an_answer_in_the_tick_in_which_its_request_is_given_up() -> None:
    """The future is cancelled, and `forward` has not gone on yet: the answer is dropped."""

    async def giving_up() -> None:
        forwarder = Forwarder(f"http://127.0.0.1:{port}", 100)
        asking = asyncio.ensure_future(forwarder.forward(request()))
        await asyncio.sleep(0)
        (call,) = forwarder._waiting
        asking.cancel()
        call.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not forwarder._waiting
        assert not forwarder._streams

    with silent_server() as port:
        run(giving_up())


def test_no_call_is_left_to_the_cycle_collector() -> None:
    """See "No cycles" in docs/architecture.md: a reload would keep it for ever."""

    async def asking(url: str) -> None:
        forwarder = Forwarder(url, 10)
        answer = await forwarder.forward(request())
        assert answer.stream is not None
        sink = Collected()
        answer.stream.start(sink)
        await sink.end
        with pytest.raises(ForwardError):
            await Forwarder(f"http://127.0.0.1:{free_port()}", 10).forward(request())
        left = forwarder.forward(request())
        left.send(None)
        left.close()

    async def looking(url: str) -> None:
        gc.collect()
        gc.disable()
        try:
            await asking(url)
            async with asyncio.timeout(20):
                while any(type(found) is _Call for found in gc.get_objects()):  # noqa: ASYNC110  # it has no event
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()

    with beside() as feast:
        run(looking(feast.url))


def test_so_many_wait_at_a_time() -> None:
    async def asking() -> None:
        forwarder = Forwarder(f"http://127.0.0.1:{port}", 100)
        waiting = [forwarder.forward(request()) for _ in range(MAX_WAITING)]
        for one in waiting:
            one.send(None)
        with pytest.raises(LimitError) as caught:
            await forwarder.forward(request())
        assert caught.value.status == 503
        for one in waiting:
            one.close()
        await asyncio.sleep(0)

    with silent_server() as port:
        run(asking())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"/materialize", True),
        (b"/materialize?x=1", True),
        (b"/v1/vector_stores/a/search", True),
        (b"/get-online-features", False),
        (b"/push", False),
    ],
)
def test_which_requests_have_its_timeout(url: bytes, expected: bool) -> None:
    assert Forwarder("", 1).is_forwarded(request(url)) is expected


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:6566", "ftp://x", "http://", "http://u:secret@x", "http://@x", "http://x?y"),
        *("http://x:99999", "http://x:y", "http://[::1"),
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--forward-to: expected a URL such as ") as refused:
        Forwarder(url, 1)
    assert "secret" not in str(refused.value)
