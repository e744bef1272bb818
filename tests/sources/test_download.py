"""One small file over HTTP: credentials that go nowhere else, an end to every wait, and names without secrets."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from tests.harness import FileServer, silent_server
from yummy_fast.sources import download


@contextlib.contextmanager
def answering(*pieces: bytes) -> Iterator[str]:
    """The URL of a server that answers every request with these bytes."""

    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                with listener.accept()[0] as connection, contextlib.suppress(OSError):
                    connection.recv(1 << 16)
                    for piece in pieces:
                        connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/r.db"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def refused(url: str, max_bytes: int = 100) -> str:
    """What is said of a file that cannot be had."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its text is what the caller looks at
        download.get(url, max_bytes)
    assert url not in str(caught.value)
    return str(caught.value)


def test_a_file_and_what_was_said_of_it() -> None:
    with FileServer({"/r.db": b"one"}) as web:
        reply = download.get(f"{web.url}/r.db", 3, {"X-Mine": "yes"})
        assert (reply.status, reply.body) == (200, b"one")
        assert web.asked[0].headers["X-Mine"] == "yes"
        again = download.get(f"{web.url}/r.db", 3, {"If-None-Match": reply.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        assert download.get(f"{web.url}/r.db", 1, want_body=False).body == b""


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("me:secret@", "Basic bWU6c2VjcmV0"),
        ("me@", "Basic bWU6"),
        (":secret@", "Basic OnNlY3JldA=="),
        ("m%40e:s%3A%2F@", "Basic bUBlOnM6Lw=="),
        ("", None),
    ],
)
def test_credentials_go_to_the_server_and_into_no_url(given: str, sent: str | None) -> None:
    with FileServer({"/r.db": b"one"}) as web:
        download.get(web.url.replace("://", f"://{given}") + "/r.db", 100)
        assert web.asked[0].headers["Authorization"] == sent
        assert web.asked[0].headers["Host"] == web.url.removeprefix("http://")


def test_credentials_do_not_go_where_a_redirect_leads() -> None:
    with FileServer({"/r.db": b"one"}) as target:
        redirect = b"HTTP/1.1 302 Found\r\nLocation: %b/r.db\r\nContent-Length: 0\r\n\r\n" % target.url.encode()
        with answering(redirect) as url:
            assert download.get(url.replace("://", "://me:secret@"), 100).body == b"one"
        assert target.asked[0].headers["Authorization"] is None


def test_a_redirect_leads_to_no_file() -> None:
    with answering(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n") as url:
        assert "302" in refused(url)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none",), "cut off after 3 of 4 bytes"),
        ((b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,), "longer than 100 bytes"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,), "longer than 100 bytes"),
        ((b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",), "HTTP status 500"),
        ((b"nonsense\r\n\r\n",), "not HTTP as expected (BadStatusLine)"),
        ((b"",), "not HTTP as expected (RemoteDisconnected)"),
        (
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",),
            "not HTTP as expected (IncompleteRead)",
        ),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(pieces: tuple[bytes, ...], said: str) -> None:
    with answering(*pieces) as url:
        assert refused(url) == said


@pytest.mark.parametrize("length", [b"", b"Content-Length: 100\r\n"])
def test_a_file_as_long_as_it_may_be(length: bytes) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + b"x" * 100) as url:
        assert len(download.get(url, 100).body) == 100


def test_a_server_that_says_nothing_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.05)
    with silent_server() as port:
        assert refused(f"http://127.0.0.1:{port}/r.db") == "timed out"


def test_a_body_that_does_not_come_to_its_end_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then: no read takes long, so the whole has an end of its own."""
    now, read = 0.0, 0

    class Dripping:
        headers: Mapping[str, str] = {}

        def read1(self, _: int) -> bytes:
            nonlocal now, read
            now += 2.5
            read += 1
            return b"x"

    monkeypatch.setattr(time, "monotonic", lambda: now)
    with pytest.raises(OSError, match=r"10 s$"):
        download._read(cast("http.client.HTTPResponse", Dripping()), 100)
    assert read == 5, "after ten seconds it may still have come"


@pytest.mark.parametrize("text", ["no-such-host.invalid", "127.0.0.1:1"])
def test_a_server_that_is_not_there(text: str) -> None:
    assert refused(f"http://{text}/r.db")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError("only a text"), "only a text"),
        (ValueError("first line\nsecond"), "first line"),
        (ValueError("  "), "ValueError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_reason_is_one_line_without_numbers(error: Exception, said: str) -> None:
    assert download.reason(error) == said


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/a/file@home?x.db", "/a/file@home?x.db"),
        ("https://h:1/a/r.db", "https://h:1/a/r.db"),
        ("https://me:secret@h/r.db?token=secret#secret", "https://h/r.db"),
        ("postgresql://me:se@cr/e?t@h/d", "postgresql://h/d"),
        ("postgresql://me:secret@h/d?password=secret&host=x", "postgresql://h/d"),
        ("postgresql://h/d?user=a@b&password=secret", "postgresql://b"),
        ("s3://bucket/a@b&c", "s3://bucket/a@b&c"),
    ],
)
def test_names_hold_no_secrets(url: str, name: str) -> None:
    assert download.without_secrets(url) == name


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_comes_byte_by_byte_ends(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Also in a TLS handshake: the start of a record of 16 KB, then a byte of it now and then."""
    monkeypatch.setattr(download, "END_S", 0.3)
    over = threading.Event()
    gone: list[OSError] = []

    def dawdle(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            try:
                connection.sendall(b"\x16\x03\x03\x40\x00" if scheme == "https" else b"HTTP/1.1 200 OK\r\nx: ")
                while not over.wait(0.01):
                    connection.sendall(b"a")
            except OSError as error:
                gone.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=dawdle, args=(listener,), daemon=True)
        thread.start()
        with pytest.raises(OSError, match=r"^not complete after 0\.3 s$"):
            download.get(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/r.db", 1000)
        thread.join(20)
        over.set()
    assert gone, "the connection is closed"


def test_a_redirect_leads_to_http_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ftp:
        where = f"ftp://127.0.0.1:{ftp.getsockname()[1]}/r.db".encode()
        head = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where
        with answering(head) as url, pytest.raises(OSError, match=r"HTTP status 302|unknown url type: ftp"):
            download.get(url, 1000)
        ftp.settimeout(0)
        with pytest.raises(BlockingIOError):
            ftp.accept()
