"""The tests' own helpers: those that would let a test pass that has tested nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import harness
from tests.harness import PATIENCE_S, Client, Process, Proxy, eventually, repository, tls_server_context

CLIENTS = 50


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(PATIENCE_S)


def connect(proxy: Proxy, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S))


def end_of(client: socket.socket) -> str:
    """How the connection has ended."""
    try:
        while client.recv(100):  # OpenSSL may still send an alert about a handshake that is cut off
            pass
    except ConnectionResetError:
        return "reset"
    return "closed"


# ---------------------------------------------------------------------------------------------------------- processes


def test_a_process_is_read_through_any_descriptor() -> None:
    """A test that holds a thousand connections leaves only numbers over 1,023, which select(2) cannot wait for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("needs 2000 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    try:
        with ExitStack() as stack:
            while stack.enter_context(open(os.devnull, "rb")).fileno() < 1023:
                pass
            with Process([sys.executable, "-c", "print('here')"]) as process:
                process.wait_for("here")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -------------------------------------------------------------------------------------------------------------- proxy


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("break_them", [Proxy.cut, Proxy.refuse, Proxy.reset])
def test_connections_that_were_made_just_before_break_too(
    echo: int, break_them: Callable[[Proxy], None], tls: bool
) -> None:
    """Some still wait in the listener's queue, and most others have no connection to the server behind the proxy."""
    with Proxy(echo, tls=tls_server_context() if tls else None) as proxy, ExitStack() as stack:
        for _ in range(5):
            clients = [connect(proxy, stack) for _ in range(CLIENTS)]
            break_them(proxy)
            ends = {end_of(client) for client in clients}
            if break_them is Proxy.cut:
                assert ends == {"closed"}
            elif break_them is Proxy.reset:
                assert ends == {"reset"}
                proxy.reset(False)
            else:
                assert ends <= {"closed", "reset"}  # the kernel resets those that were in the queue
                proxy.accept()


def test_the_end_of_resets_is_about_later_connections_alone(echo: int) -> None:
    with Proxy(echo) as proxy, ExitStack() as stack:
        for _ in range(CLIENTS):
            proxy.reset()
            with contextlib.suppress(ConnectionResetError):  # or the reset comes while it connects
                before = connect(proxy, stack)
                proxy.reset(False)
                assert end_of(before) == "reset"
            proxy.reset(False)
            after = connect(proxy, stack)
            after.sendall(b"a")
            assert after.recv(1) == b"a"


def test_what_is_swallowed_is_swallowed_for_ever(echo: int) -> None:
    """Even if the swallowing ends before the proxy has come to the connections that were made before it."""
    with Proxy(echo) as proxy, ExitStack() as stack:
        before = [connect(proxy, stack) for _ in range(CLIENTS)]
        proxy.swallow()
        proxy.swallow(False)
        for client in before:
            client.sendall(b"a")
        after = connect(proxy, stack)
        after.sendall(b"b")
        assert after.recv(1) == b"b"
        proxy.cut()
        for client in before:
            with contextlib.suppress(ConnectionResetError):  # if its `a` is not read yet
                assert client.recv(1) == b""


def test_what_is_held_back_does_not_keep_a_connection_from_its_reset(echo: int) -> None:
    with Proxy(echo) as proxy, ExitStack() as stack:
        proxy.hold()
        client = connect(proxy, stack)
        client.sendall(b"a")
        proxy.wait_until_held()
        proxy.reset()
        assert end_of(client) == "reset"


def test_of_two_connections_one_ends_what_may_pass(echo: int) -> None:
    ends: list[str] = []
    begun, may_end = threading.Event(), threading.Event()

    def end() -> None:
        ends.append(threading.current_thread().name)
        begun.set()
        may_end.wait(PATIENCE_S)

    with Proxy(echo) as proxy, ExitStack() as stack:
        one, two = connect(proxy, stack), connect(proxy, stack)
        proxy.end_in(1, end)
        one.sendall(b"a")
        assert begun.wait(PATIENCE_S)
        proxy.inject(b"!")
        two.sendall(b"b")
        eventually(lambda: proxy._injected == b"" or None, "the second connection's piece")
        may_end.set()
        proxy.wait_until_ended()
        for client, passed in ((one, b"ac"), (two, b"c")):
            client.sendall(b"c")
            received = b""
            while len(received) < len(passed):
                received += client.recv(10)
            assert received == passed
        assert len(ends) == 1


def test_an_end_may_set_the_next(echo: int) -> None:
    """So that a test which sets the next one, while `end` is at work still, waits for that."""
    second = threading.Event()
    with Proxy(echo) as proxy, ExitStack() as stack:
        client = connect(proxy, stack)
        proxy.end_in(1, lambda: proxy.end_in(1, second.set))
        for data in (b"a", b"b"):
            client.sendall(data)
            assert client.recv(1) == data
        assert second.wait(PATIENCE_S)
        proxy.wait_until_ended()


# --------------------------------------------------------------------------------------------------------------- HTTP


@pytest.mark.parametrize("name", ["Content-Length", "date"])
def test_no_header_may_come_twice(name: str) -> None:
    """Headers are a dict for tests, in which the first of two would be lost."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: x\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener, Client(listener.getsockname()[1]) as client:
        with listener.accept()[0] as connection:
            connection.sendall(head + b"\r\n" + head + name.encode() + b": 0\r\n\r\n")
        assert client.answer().headers == {"content-length": "0", "date": "x"}
        with pytest.raises(AssertionError, match=f"{name} comes twice"):
            client.answer()


# --------------------------------------------------------------------------------------------------------- repository


def test_a_repository_reads_the_store_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never localhost:6379, although the corpus might come to be recorded with another connection_string."""
    for store in ("redis", "redis_v2", "push"):
        text = (repository(tmp_path / store, store, "127.0.0.1:1") / "feature_store.yaml").read_text()
        assert 'connection_string: "127.0.0.1:1"' in text
        assert "6379" not in text
    changed = tmp_path / "corpus" / "redis"
    changed.mkdir(parents=True)
    (changed / "feature_store.yaml").write_text("online_store:\n  connection_string: 'localhost:6379'\n")
    monkeypatch.setattr(harness, "CORPUS", changed.parent)
    with pytest.raises(AssertionError, match="the connection_string of redis has changed"):
        repository(tmp_path / "r", "redis", "127.0.0.1:1")
