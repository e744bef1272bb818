"""What systemd is told, read from the socket that it would read; and that nobody who listens is no trouble."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import PATIENCE_S, Server
from yummy_fast.server.service_manager import notify


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The datagram socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE_S)
        yield listening


def test_without_a_manager_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    notify("READY=1", {})
    assert caplog.records == []


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel chooses an abstract one
        listening.settimeout(PATIENCE_S)
        notify("READY=1", {"NOTIFY_SOCKET": "@" + listening.getsockname()[1:].decode()})
        assert listening.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert "NOTIFY_SOCKET: READY=1 was not sent: No such file or directory" in caplog.text


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
