"""What goes to a Feast server beside: what arrives there, what comes back, and what if nothing does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.harness import eventually, free_port, run, silent_server
from yummy_fast.errors import ConfigError, FeastOnlyError, ForwardError
from yummy_fast.http.forward import Forwarder
from yummy_fast.http.http11 import Request, Response


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


def forwarded(url: str, asked: Request, timeout_s: float = 10) -> Response:
    return run(Forwarder(url, timeout_s).forward(asked))


def test_a_request_goes_as_it_came() -> None:
    with beside() as feast:
        answer = forwarded(feast.url, request(authorization=b"Bearer x"))
        ((method, path, body, headers),) = feast.requests
    assert (method, path, body) == ("POST", "/materialize?async=true", b'{"a": 1}')
    assert headers["Authorization"] == "Bearer x"
    assert headers["Content-Type"] == "application/json"
    assert (answer.status, answer.body) == (202, b'{"echo": "{\\"a\\": 1}"}')
    assert answer.headers == b"content-type: application/json\r\n"


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


def forwarding() -> bool:
    return any(thread.name == "forward" for thread in threading.enumerate())


def test_a_client_that_leaves_ends_the_connection() -> None:
    async def leave() -> None:
        forwarder = Forwarder(f"http://127.0.0.1:{port}", 100)
        task = asyncio.ensure_future(forwarder.forward(request()))
        await asyncio.to_thread(eventually, lambda: forwarding() or None, "the request is on its way")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(eventually, lambda: not forwarding() or None, "its thread ends")

    with silent_server() as port:
        run(leave())


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


@pytest.mark.parametrize("url", ["localhost:6566", "ftp://x", "http://", "http://u:p@x", "http://x?y"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="--forward-to"):
        Forwarder(url, 1)
