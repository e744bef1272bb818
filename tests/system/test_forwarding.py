"""Requests that go to a real server beside ours: streams of events, clients that leave, servers that die within a body.

The server beside is asyncio's, and says what the test has it say. Feast itself is beside in tests/sdk.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Server, Valkey, eventually, repository

CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nmcp-session-id: 7\r\ntransfer-encoding: chunked\r\n\r\n"
)
Talk = Callable[["Beside", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Beside:
    """A server in a thread of its own. `talk` is what it does with each client."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.heads: list[bytes] = []
        self.go_on = threading.Event()
        self.left = threading.Event()
        """Set when a client has closed its connection."""
        self.sent_bytes = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.url = ""

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self._talk(self, reader, writer)
        writer.close()

    def __enter__(self) -> Beside:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


async def events(beside: Beside, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One event, then another when the test says so, and the end."""
    writer.write(CHUNKED + b"d\r\ndata: first\n\n\r\n")
    await asyncio.to_thread(beside.go_on.wait)
    writer.write(b"e\r\ndata: second\n\n\r\n0\r\n\r\n")
    await writer.drain()


async def dies(beside: Beside, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED + b"d\r\ndata: first\n\n\r\n")
    await writer.drain()
    await asyncio.to_thread(beside.go_on.wait)
    writer.transport.abort()


async def until_left(beside: Beside, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED + b"d\r\ndata: first\n\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        await reader.read()
    beside.left.set()


async def endless(beside: Beside, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED)
    piece = b"x" * 65536
    while beside.sent_bytes < 1 << 28:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        beside.sent_bytes += len(piece)


async def echo(beside: Beside, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    length = int(beside.heads[-1].lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (length, body))
    await writer.drain()


@contextlib.contextmanager
def serving(folder: Path, valkey: Valkey, beside: Beside, *arguments: str) -> Iterator[Server]:
    where = repository(folder / "push", "push", f"127.0.0.1:{valkey.port}")
    with Server(where, "--forward-to", beside.url, *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


def test_events_come_when_they_are_sent(valkey: Valkey, tmp_path: Path) -> None:
    """And the headers of MCP's sessions pass in both directions; then the connection serves the next request."""
    with Beside(events) as beside, serving(tmp_path, valkey, beside) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("POST", "/mcp", b"{}", {"Mcp-Session-Id": "7", "Accept": "text/event-stream"})
        answer = client.getresponse()
        assert answer.headers["mcp-session-id"] == "7"
        assert answer.read1() == b"data: first\n\n"
        assert b"mcp-session-id: 7" in beside.heads[0].lower()
        assert b"accept: text/event-stream" in beside.heads[0].lower()
        beside.go_on.set()
        assert answer.read() == b"data: second\n\n"
        client.request("GET", "/health")
        assert client.getresponse().status == 200
        client.close()


def test_a_server_that_dies_within_a_body(valkey: Valkey, tmp_path: Path) -> None:
    """The client sees that it has not got all."""
    with Beside(dies) as beside, serving(tmp_path, valkey, beside) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("GET", "/mcp")
        answer = client.getresponse()
        assert answer.read1() == b"data: first\n\n"
        beside.go_on.set()
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
        client.close()


def test_a_client_that_leaves_a_stream(valkey: Valkey, tmp_path: Path) -> None:
    """The server beside need not go on to talk to nobody."""
    with Beside(until_left) as beside, serving(tmp_path, valkey, beside) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("GET", "/mcp")
        assert client.getresponse().read1() == b"data: first\n\n"
        assert not beside.left.is_set()
        client.close()
        assert beside.left.wait(20)


def test_a_client_that_does_not_read(valkey: Valkey, tmp_path: Path) -> None:
    """What is sent without end stays where it is, but for what lies in buffers; and our memory does not grow."""
    with Beside(endless) as beside, serving(tmp_path, valkey, beside) as server:
        before = resident_bytes(server)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n")
            eventually(lambda: beside.sent_bytes or None, "the stream")

            def stands_still() -> bool | None:
                seen = beside.sent_bytes
                threading.Event().wait(0.3)
                return seen == beside.sent_bytes or None

            eventually(stands_still, "the buffers to be full")
            assert beside.sent_bytes < 1 << 26
            assert resident_bytes(server) - before < 16 << 20
            assert server.ask("/health").status == 200


def resident_bytes(server: Server) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def test_a_long_body_goes_there_and_back(valkey: Valkey, tmp_path: Path) -> None:
    body = bytes(range(256)) * (8 << 12)
    with Beside(echo) as beside, serving(tmp_path, valkey, beside, "--max-body-bytes", str(len(body))) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("POST", "/search", body)
        assert client.getresponse().read() == body
        client.request("POST", "/search", body + b"x")
        assert client.getresponse().status == 413
        client.close()
        assert len(beside.heads) == 1


def test_a_stream_outlives_the_timeouts_of_requests(valkey: Valkey, tmp_path: Path) -> None:
    """Those of keep-alive and of requests are shorter than its silence; that which it has is longer."""
    options = ("--request-timeout-ms", "200", "--keep-alive-timeout", "1", "--forward-timeout", "60")
    with Beside(events) as beside, serving(tmp_path, valkey, beside, *options) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("GET", "/mcp")
        answer = client.getresponse()
        assert answer.read1() == b"data: first\n\n"
        threading.Event().wait(3)
        beside.go_on.set()
        assert answer.read() == b"data: second\n\n"
        client.close()
