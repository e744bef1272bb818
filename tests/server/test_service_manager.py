"""What systemd is told, read from the socket that it would read; and that nobody who listens is no trouble."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeLoop
from tests.harness import PATIENCE_S, Server
from yummy_fast.server.service_manager import RETRY_S, ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The datagram socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE_S)
        yield listening


def test_without_a_manager_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager({}).notify("READY=1")
    assert caplog.records == []


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel chooses an abstract one
        listening.settimeout(PATIENCE_S)
        ServiceManager({"NOTIFY_SOCKET": "@" + listening.getsockname()[1:].decode()}).notify("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
        manager.notify("READY=1")
    assert "NOTIFY_SOCKET: READY=1 was not sent: No such file or directory" in caplog.text
    assert not manager.has_unsent


def test_a_path_that_is_too_long_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A path of a Unix socket has 107 bytes at most (unix(7)), which Python checks itself."""
    with caplog.at_level(logging.WARNING):
        ServiceManager({"NOTIFY_SOCKET": str(tmp_path / ("x" * 108))}).notify("READY=1")
    assert "NOTIFY_SOCKET: READY=1 was not sent: AF_UNIX path too long" in caplog.text


def fill_queue(manager: socket.socket) -> int:
    """Send messages until the queue of the socket is full. Returns how many."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        for count in range(100_000):
            try:
                other.sendto(b"WATCHDOG=1", manager.getsockname())
            except BlockingIOError:
                return count
    raise AssertionError


def test_what_a_full_queue_does_not_take_is_sent_later_and_in_order(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    sent = fill_queue(manager)
    server = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
    with caplog.at_level(logging.WARNING):
        server.notify("READY=1")
        server.notify("STOPPING=1")
    assert server.has_unsent
    assert not server.send_unsent()
    for _ in range(sent):
        assert manager.recv(100) == b"WATCHDOG=1"
    assert server.send_unsent()
    assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]
    assert not server.has_unsent
    assert [record.message for record in caplog.records] == [
        "NOTIFY_SOCKET: READY=1 waits: the service manager does not read its socket"
    ]


def test_an_event_loop_sends_later_what_waits(manager: socket.socket) -> None:
    """In order, and by one timer, however many messages wait."""
    sent = fill_queue(manager)
    loop = FakeLoop()
    server = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
    server.notify_from(loop.abstract, "READY=1")
    server.notify_from(loop.abstract, "STOPPING=1")
    loop.pass_time(3 * RETRY_S)
    assert server.has_unsent
    assert len(loop.timers) == 1
    for _ in range(sent):
        assert manager.recv(100) == b"WATCHDOG=1"
    loop.pass_time(RETRY_S)
    assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]
    assert not loop.timers


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_serves_while_the_queue_is_full_and_says_so_once_it_is_read(
    corpus: Path, manager: socket.socket, workers: str
) -> None:
    sent = fill_queue(manager)
    environment = {"NOTIFY_SOCKET": manager.getsockname()}
    with Server(corpus, "--workers", workers, environment=environment) as server:
        server.wait_for("READY=1 waits")
        assert server.features([1001]).status == 200
        for _ in range(sent):
            assert manager.recv(100) == b"WATCHDOG=1"
        assert manager.recv(100) == b"READY=1"
        server.stop()
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_is_told_once_clients_are_answered_and_when_they_no_longer_will_be(
    corpus: Path, manager: socket.socket, workers: str
) -> None:
    environment = {"NOTIFY_SOCKET": manager.getsockname()}
    with Server(corpus, "--workers", workers, environment=environment) as server:
        assert manager.recv(100) == b"READY=1"
        assert server.features([1001]).status == 200
        server.stop()
        assert manager.recv(100) == b"STOPPING=1"
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
