"""free_port: nothing else takes the port before it is listened on."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests import ports
from tests.ports import HELD_PORTS, free_port

CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@contextmanager
def listen(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


@contextmanager
def hold(port: int) -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", port))
        yield


@pytest.fixture
def two() -> range:
    """Two ports that are free."""
    for first in random.SystemRandom().sample(range(9_000, 9_900, 2), 100):
        try:
            with listen(first), listen(first + 1), hold(first), hold(first + 1):
                return range(first, first + 2)
        except OSError:
            continue
    raise AssertionError("no two free ports")


@pytest.mark.skipif(not CLIENTS.exists(), reason="Linux alone says which ports it gives to clients")
def test_linux_gives_it_to_no_client() -> None:
    lowest = int(CLIENTS.read_text().split()[0])
    assert {free_port() < lowest for _ in range(20)} == {True}


def test_it_can_be_listened_on() -> None:
    with listen(free_port()):
        pass


@pytest.mark.parametrize("take", [listen, hold])
def test_what_is_taken_is_not_given(two: range, take: Callable[[int], AbstractContextManager[None]]) -> None:
    with take(two[0]):
        assert free_port(two) == two[1]


def test_nor_what_has_another_port_above_it_that_is_taken(two: range) -> None:
    with listen(two[1] + 100):
        assert free_port(two, above=100) == two[0]


def test_what_was_given_is_not_given_again(two: range) -> None:
    assert {free_port(two), free_port(two)} == set(two)
    with pytest.raises(AssertionError, match="no free ports"):
        free_port(two)


def test_nor_by_another_process(two: range) -> None:
    code = f"from tests.ports import free_port; print(free_port(range({two[0]}, {two[-1] + 1})), flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        assert {theirs, free_port(two)} == set(two)
        other.communicate(b"\n", 20)


def test_only_the_last_ones_are_kept(two: range) -> None:
    first = free_port(two[:1])
    for _ in range(HELD_PORTS):
        free_port()
    assert len(ports._held) == HELD_PORTS
    assert free_port(two[:1]) == first
