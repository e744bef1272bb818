"""A connection to a feature server: kept, made anew when the server has closed it, bounded, and ended from outside."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness import PATIENCE_S, silent_server
from yummy_fast.diagnosis.ask_server import LongAnswerError, ServerLink


@contextmanager
def peer(*connections: list[bytes]) -> Iterator[tuple[str, list[int]]]:
    """A server with an answer for each request of each of its connections, which it closes after the last one.

    The list gets the number of requests that each connection has brought.
    """
    seen: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answers in connections:
            connection, _ = listener.accept()
            seen.append(0)
            with connection:
                for answer in answers:
                    read = b""
                    while not read.endswith(b"\r\n\r\n{}"):
                        read += connection.recv(65536)
                    seen[-1] += 1
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(PATIENCE_S)


def test_a_connection_is_kept() -> None:
    with peer([b"one", b"two"]) as (url, seen):
        link = ServerLink(url, "--url")
        assert [link.ask(b"{}", {}).body for _ in range(2)] == [b"one", b"two"]
        link.close()
    assert seen == [2]


def test_a_connection_that_the_server_has_closed_is_made_anew() -> None:
    """As Feast does after each of its errors, without a word before."""
    with peer([b"one"], [b"two"]) as (url, seen):
        link = ServerLink(url, "--url")
        assert link.ask(b"{}", {}).body == b"one"
        assert link.ask(b"{}", {}).body == b"two"
        link.close()
    assert seen == [1, 1]


def test_a_server_that_answers_nothing_is_not_asked_twice() -> None:
    with peer([]) as (url, seen), pytest.raises(ConnectionError):
        ServerLink(url, "--url").ask(b"{}", {})
    assert seen == [0]


def test_a_long_answer_spoils_none_of_the_next() -> None:
    with peer([b"x" * 11], [b"x" * 10]) as (url, _):
        link = ServerLink(url, "--url", max_answer_bytes=10)
        with pytest.raises(LongAnswerError, match="longer than 10 bytes"):
            link.ask(b"{}", {})
        assert link.ask(b"{}", {}).body == b"x" * 10
        link.close()


def test_the_end_from_another_thread() -> None:
    """What waits for an answer fails then, and does not ask again."""
    with silent_server() as port:
        link = ServerLink(f"http://127.0.0.1:{port}", "--shadow", timeout_s=10 * PATIENCE_S)
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                link.ask(b"{}", {})
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until = time.monotonic() + PATIENCE_S
        while thread.is_alive() and time.monotonic() < until:
            link.end()  # before there is a connection, there is nothing to end
            thread.join(0.05)
        assert not thread.is_alive()
        assert isinstance(failed[0], OSError)
