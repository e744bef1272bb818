"""Taking connections: to the last one when nobody else would, in turns, and again after there was no room."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import eventually, run
from yummy_fast.http import accept
from yummy_fast.http.accept import Acceptor, ConnectionBalance
from yummy_fast.http.listeners import refuse_new


class Greeter(asyncio.Protocol):
    """Says hello, and leaves."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()


def listener(kind: Callable[[], socket.socket] = socket.socket) -> socket.socket:
    made = kind()
    made.bind(("127.0.0.1", 0))
    made.listen(16)
    made.setblocking(False)
    return made


def clients(listening: socket.socket, number: int) -> list[socket.socket]:
    return [socket.create_connection(listening.getsockname(), 5) for _ in range(number)]


async def heard(client: socket.socket) -> bytes:
    with client:
        return await asyncio.to_thread(client.recv, 16)


def test_an_end_before_the_beginning_waits_for_nobody() -> None:
    """As when what comes between the two fails."""

    async def scene() -> None:
        with listener() as listening:
            listening.settimeout(1)
            Acceptor([listening], Greeter, lambda: 0).stop(take_waiting=True)
            assert listening.gettimeout() == 0

    run(scene())


@pytest.mark.parametrize("take_waiting", [True, False])
def test_who_waits_is_taken_at_the_end(take_waiting: bool) -> None:
    """If nobody else would take them."""

    async def scene() -> None:
        with listener() as listening:
            waiting = clients(listening, 5)
            acceptor = Acceptor([listening], Greeter, lambda: 0)
            acceptor.start()
            acceptor.stop(take_waiting=take_waiting)
            await acceptor.arrived(5)
            listening.close()
            for client in waiting:
                if take_waiting:
                    assert await heard(client) == b"hello"
                else:
                    with pytest.raises(ConnectionResetError):
                        await heard(client)

    run(scene())


def test_nobody_new_gets_in_meanwhile() -> None:
    """Between the last look into the queue and the close: the client is refused, not cut off."""
    from yummy_fast.http.listeners import _tcp  # what a listener of our own is made by

    (listening,) = _tcp("127.0.0.1", 0)
    address = listening.getsockname()
    with listening, socket.create_connection(address, 5) as before, socket.socket() as after:
        refuse_new([listening])
        after.setblocking(False)
        with pytest.raises(BlockingIOError):
            after.connect(address)
        connection, _ = listening.accept()
        connection.sendall(b"hello")
        connection.close()
        assert before.recv(16) == b"hello"
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
        listening.close()
        # It sends its SYN again after a second.
        assert eventually(lambda: after.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or None, "an answer") == (
            errno.ECONNREFUSED
        )


class Exhausted(socket.socket):
    """A listener of a process that has no descriptors left, at first."""

    failures = 2

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_without_descriptors_it_tries_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(accept, "RETRY_S", 0.01)

    async def scene() -> None:
        with listener(Exhausted) as listening:
            acceptor = Acceptor([listening], Greeter, lambda: 0)
            acceptor.start()
            (client,) = clients(listening, 1)
            assert await heard(client) == b"hello"
            acceptor.stop(take_waiting=False)

    run(scene())
    assert [record.getMessage() for record in caplog.records] == ["no connection can be taken: Too many open files"]


def test_who_has_more_lets_another_go_first_but_not_for_ever() -> None:
    """The other one is stuck, so it takes the connection itself after all."""

    async def scene() -> None:
        balance = ConnectionBalance(2)
        balance.tell(1, 0)
        with listener() as listening:
            acceptor = Acceptor([listening], Greeter, lambda: 7, balance=balance, place=0)
            acceptor.start()
            for client in clients(listening, 3):
                assert await heard(client) == b"hello"
            acceptor.stop(take_waiting=False)

    run(scene())


def test_turns() -> None:
    balance = ConnectionBalance(3)
    assert not balance.is_busiest(5)  # nobody else is there
    balance.tell(0, 5)
    assert not balance.is_busiest(5)
    balance.tell(2, 3)
    assert balance.is_busiest(5)
    assert not balance.is_busiest(4)
    balance.leave(2)
    assert not balance.is_busiest(5)
