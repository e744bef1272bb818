"""A connection to a feature server: kept, made anew when the server has closed it, bounded, and ended from outside."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.harness import PATIENCE_S, Server, silent_server
from yummy_fast.diagnosis.ask_server import LongAnswerError, ServerLink, ask_server, token_headers
from yummy_fast.errors import ConfigError


@contextmanager
def peer(*connections: list[bytes]) -> Iterator[tuple[str, list[int]]]:
    """A server with an answer for each request of each of its connections, which it closes after the last one.

    One that is closed by its client, before it has brought a request, gets none. The list gets the number of requests
    that each connection has brought.
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
                    while not read.endswith(b"\r\n\r\n{}") and (data := connection.recv(65536)):
                        read += data
                    if not data:
                        break
                    seen[-1] += 1
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a connection has not brought its requests"


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


@contextmanager
def saying(*pieces: bytes, pause_s: float = 0) -> Iterator[str]:
    """A server that says this to whoever asks, and closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            asked = b""
            while not asked.endswith(b"{}"):  # whole: a connection closed with bytes unread is reset
                piece = connection.recv(65536)
                assert piece, "the client has closed its connection"
                asked += piece
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "the answer ends too early"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{}", "the answer ends too early"),
        (b"\x1b]0;title\x07 secret\r\n\r\n", r"the answer is no HTTP \(BadStatusLine\)"),
    ],
)
def test_what_is_no_answer(answer: bytes, words: str) -> None:
    """An answer of which a part came is none; and no byte of it is repeated, in a log or on a terminal."""
    with saying(answer) as url, pytest.raises(ConfigError, match=rf"^--url {url}: {words}$"):
        ServerLink(url, "--url").ask_or_say(b"{}", {})


def test_an_answer_that_never_ends() -> None:
    """Each byte comes in time, and the answer does not."""
    drops = [b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", *[b"x"] * 50]
    with saying(*drops, pause_s=0.05) as url, pytest.raises(TimeoutError, match=r"takes longer than 0\.2 s"):
        ServerLink(url, "--url", timeout_s=0.2).ask(b"{}", {})


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


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:6566", "ftp://s3cret@a", "http://", "http://user:s3cret@a", "http://a:99999", "http://[a"]
)
def test_what_is_no_url(url: str) -> None:
    """What may be a password is not repeated."""
    with pytest.raises(ConfigError) as caught:
        ServerLink(url, "--url")
    assert str(caught.value).startswith("--url: expected a URL such as http://127.0.0.1:6566, without a user, got ")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("path", ["", "/", "/prefix/", "/get-online-features", "/prefix/get-online-features/"])
def test_where_features_are_asked_for(path: str) -> None:
    """The path of the URL is a prefix, or names the endpoint itself."""
    with silent_server() as port:
        link = ServerLink(f"http://127.0.0.1:{port}{path}", "--url")
        assert link.name == f"http://127.0.0.1:{port}"
        assert link._path == ("/prefix" if "prefix" in path else "") + "/get-online-features"


def test_https_is_spoken_if_the_url_says_so() -> None:
    """To a peer that does not, the handshake fails: nothing is sent in the clear."""
    with peer([b"one"]) as (url, _), pytest.raises(ConfigError, match=r"^--url https://127\.0\.0\.1:\d+: "):
        ServerLink(url.replace("http:", "https:"), "--url", timeout_s=0.5).ask_or_say(b"{}", {})


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"^--against http://127\.0\.0\.1:1: .*refused"):
        ServerLink("http://127.0.0.1:1", "--against").ask_or_say(b"{}", {})


def test_one_question_with_a_token(server: Server, tmp_path: Path) -> None:
    """The statuses are those that are asked for, and the token is the first line of its file."""
    (tmp_path / "token").write_text(" s3cret \nanother\n")
    assert token_headers(str(tmp_path / "token")) == {"Authorization": "Bearer s3cret"}
    assert token_headers("") == {}
    body = json.dumps({"features": ["driver_stats:trips"], "entities": {"driver_id": [9]}}).encode()
    for compat, status in (("feast", "PRESENT"), ("strict", "NOT_FOUND")):
        answer = ask_server(server.url, body, compat, "")
        assert answer.status == 200
        assert json.loads(answer.body)["results"][1]["statuses"] == [status]


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"", "a token in its first line"), (b"\xff", "a token")]
)
def test_a_file_without_a_token(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^--token-file {tmp_path}/token: .*{why}"):
        ask_server("http://127.0.0.1:1", b"{}", "feast", str(tmp_path / "token"))
