"""Accepting connections: all that wait when no other process would, in turns, and again after there was no room."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import eventually, run, tls_server_context
from yummy_fast.http import accept
from yummy_fast.http.accept import SLACK, Acceptor, ConnectionBalance
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


# ------------------------------------------------------------------------------------------------ over real sockets


def test_an_end_before_the_beginning_waits_for_nobody() -> None:
    """As when what comes between the two fails."""

    async def scene() -> None:
        with listener() as listening:
            listening.settimeout(1)
            Acceptor([listening], Greeter, lambda: 0).stop(accept_waiting=True)
            assert listening.gettimeout() == 0

    run(scene())


@pytest.mark.parametrize("accept_waiting", [True, False])
def test_who_waits_is_accepted_at_the_end(accept_waiting: bool) -> None:
    """If no other process would."""

    async def scene() -> None:
        with listener() as listening:
            waiting = clients(listening, 5)
            acceptor = Acceptor([listening], Greeter, lambda: 0)
            acceptor.start()
            acceptor.stop(accept_waiting=accept_waiting)
            await acceptor.arrived(5)
            listening.close()
            for client in waiting:
                if accept_waiting:
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
            acceptor.stop(accept_waiting=False)

    run(scene())
    assert [record.getMessage() for record in caplog.records] == ["no connection can be accepted: Too many open files"]


def test_who_has_more_lets_another_go_first_but_not_for_ever() -> None:
    """The other one is stuck, so it accepts the connection itself after all."""

    async def scene() -> None:
        balance = ConnectionBalance(2)
        balance.report(1, 0)
        with listener() as listening:
            acceptor = Acceptor([listening], Greeter, lambda: 7, balance=balance, slot=0)
            acceptor.start()
            for client in clients(listening, 3):
                assert await heard(client) == b"hello"
            acceptor.stop(accept_waiting=False)

    run(scene())


def test_balance() -> None:
    balance = ConnectionBalance(3)
    assert not balance.is_busiest(5)  # no other worker is there
    balance.report(0, 5)
    assert not balance.is_busiest(5)
    balance.report(2, 3)
    assert balance.is_busiest(5)
    assert not balance.is_busiest(4)
    balance.leave(2)
    assert not balance.is_busiest(5)


# ------------------------------------------------------------------------------------- over a loop that does nothing


class FakeTask:
    """What makes a connection of an accepted socket: done when the test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[FakeTask], object]] = []

    def add_done_callback(self, call: Callable[[FakeTask], object]) -> None:
        self.callbacks.append(call)


class FakeLoop:
    """An event loop whose sockets and clock are the test's to move."""

    def __init__(self) -> None:
        self.readers: dict[Any, tuple[Callable[..., None], Any]] = {}
        self.timers: list[tuple[float, Callable[..., None], Any]] = []
        self.arriving: list[FakeTask] = []

    def add_reader(self, listening: Any, call: Callable[..., None], *arguments: Any) -> None:
        self.readers[listening] = (call, arguments)

    def remove_reader(self, listening: Any) -> bool:
        return self.readers.pop(listening, None) is not None

    def call_later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        self.timers.append((delay_s, call, arguments))

    def create_task(self, coroutine: Any) -> FakeTask:
        coroutine.close()
        self.arriving.append(FakeTask())
        return self.arriving[-1]

    def arrive(self) -> None:
        """The oldest accepted connection is one now, or has failed to become one."""
        task = self.arriving.pop(0)
        for call in task.callbacks:
            call(task)

    def readable(self) -> None:
        for call, arguments in list(self.readers.values()):
            call(*arguments)

    def pass_time(self) -> list[float]:
        """Let all timers run; after which times they were due."""
        timers, self.timers = self.timers, []
        for _, call, arguments in timers:
            call(*arguments)
        return [delay_s for delay_s, _, _ in timers]


class FakeListener:
    """Gives what it is told to: connections, or errors."""

    def __init__(self, *queue: BaseException | str) -> None:
        self.queue = list(queue)
        self.accepted = 0

    def setblocking(self, flag: bool) -> None:
        assert flag is False

    def accept(self) -> tuple[str, None]:
        if not self.queue:
            raise BlockingIOError
        found = self.queue.pop(0)
        if isinstance(found, BaseException):
            raise found
        self.accepted += 1
        return found, None


class Scene:
    """An Acceptor at work on a fake listener in a fake loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *queue: BaseException | str, balanced: bool = False) -> None:
        self.loop = FakeLoop()
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        self.listener = FakeListener(*queue)
        self.balance = ConnectionBalance(2) if balanced else None
        self.held = 0
        listeners: Any = [self.listener]
        self.acceptor = Acceptor(listeners, Greeter, lambda: self.held, balance=self.balance, slot=0)
        self.acceptor.start()

    @property
    def waits(self) -> bool:
        """Whether it waits for the next connection."""
        return self.listener in self.loop.readers

    @property
    def shown(self) -> int:
        """How many connections the other worker is shown."""
        assert self.balance is not None
        return next(number for number in range(100) if self.balance.is_busiest(number)) - SLACK - 1


@pytest.mark.parametrize("name", ["ECONNABORTED", "EPROTO", "EPERM", "ENETDOWN"])
def test_a_connection_that_has_failed_is_passed_over(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says nothing about the listener: the one behind it is accepted, and nothing is logged or put off."""
    failed = OSError(getattr(errno, name), "it has gone")
    scene = Scene(monkeypatch, failed, "next")
    scene.loop.readable()
    scene.loop.readable()
    assert (scene.listener.accepted, scene.waits, scene.loop.timers) == (1, True, [])
    assert caplog.records == []
    ending = Scene(monkeypatch, failed, "next", failed, "last")
    ending.acceptor.stop(accept_waiting=True)
    assert ending.listener.accepted == 2


def full() -> OSError:
    return OSError(errno.EMFILE, "Too many open files")


def test_no_room_is_logged_once_for_each_time_it_begins(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(monkeypatch, full(), full(), "one", full(), "two")
    for _ in range(3):
        scene.loop.readable()
        scene.loop.pass_time()
    assert (scene.listener.accepted, len(caplog.records)) == (1, 1)
    for _ in range(2):
        scene.loop.readable()
        scene.loop.pass_time()
    assert (scene.listener.accepted, len(caplog.records)) == (2, 2)


def test_without_room_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the loop would turn as fast as it can."""
    scene = Scene(monkeypatch, full(), "one")
    scene.loop.readable()
    assert not scene.waits
    assert scene.loop.pass_time() == [accept.RETRY_S]
    assert scene.waits


def test_after_the_end_it_does_not_wait_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """There was no room, and a timer that would have looked again."""
    scene = Scene(monkeypatch, full(), "one")
    scene.loop.readable()
    scene.acceptor.stop(accept_waiting=False)
    scene.loop.pass_time()
    assert not scene.waits
    assert scene.listener.accepted == 0


def test_after_the_end_a_connection_that_was_put_off_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on, and take it."""
    scene = Scene(monkeypatch, "one", balanced=True)
    assert scene.balance is not None
    scene.held = 7
    scene.balance.report(1, 0)
    scene.loop.readable()
    scene.acceptor.stop(accept_waiting=False)
    assert scene.loop.pass_time() == [accept.DEFER_S]
    assert (scene.listener.accepted, scene.waits) == (0, False)


def test_after_the_end_the_others_do_not_wait_for_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has fewest connections, and would be let go first for ever."""
    scene = Scene(monkeypatch, balanced=True)
    assert scene.balance is not None
    scene.acceptor.report()
    scene.balance.report(1, 7)
    assert scene.balance.is_busiest(7)
    scene.acceptor.stop(accept_waiting=False)
    assert not scene.balance.is_busiest(7)
    scene.acceptor.report()  # a last sweep
    assert not scene.balance.is_busiest(7)


def test_connections_whose_handshake_goes_on_count(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, "one", "two", "three", balanced=True)
    assert scene.balance is not None
    scene.balance.report(1, 0)
    scene.loop.readable()
    assert scene.listener.accepted == 1
    scene.balance.leave(1)
    assert scene.shown == 1, "though none is held"
    scene.balance.report(1, 0)
    scene.held = 1
    scene.loop.readable()
    assert scene.listener.accepted == 1, "with the one that arrives, it has two more than the other"
    scene.loop.arrive()
    scene.loop.pass_time()
    assert scene.listener.accepted == 2
    scene.loop.arrive()
    scene.balance.leave(1)
    scene.acceptor.report()
    assert scene.shown == 1


def test_if_another_was_faster_it_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, balanced=True)
    assert scene.balance is not None
    scene.held = 7
    scene.balance.report(1, 0)
    scene.loop.readable()
    assert not scene.waits, "the others go first"
    assert scene.loop.pass_time() == [accept.DEFER_S]
    assert scene.waits
    scene.balance.leave(1)
    assert scene.shown == 7, "as of now, and not of the last sweep"


def test_if_there_is_no_room_after_all_it_waits_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, full(), balanced=True)
    assert scene.balance is not None
    scene.held = 7
    scene.balance.report(1, 0)
    scene.loop.readable()
    scene.loop.pass_time()
    assert not scene.waits
    assert scene.loop.pass_time() == [accept.RETRY_S]
    assert scene.waits


async def failures(acceptor: Acceptor, count: int) -> None:
    await asyncio.to_thread(eventually, lambda: acceptor.failed_handshakes == count or None, f"{count} failures")


def test_a_handshake_too_many_ends_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    """Each of them another one; and the log has one line for all, and none for a minute."""

    async def scene() -> None:
        with listener() as listening:
            acceptor = Acceptor([listening], Greeter, lambda: 7, tls=tls_server_context(), max_connections=10)
            acceptor.start()
            waiting = clients(listening, 10)
            for client in waiting:
                client.setblocking(False)
            await failures(acceptor, 7)
            for client in waiting[:7]:
                assert await asyncio.to_thread(eventually, lambda client=client: client.recv(1), "its end") == b""
            for client in waiting[7:]:
                with pytest.raises(BlockingIOError):
                    client.recv(1)
            acceptor.log_failures()
            for client in waiting[7:]:
                client.close()
            await failures(acceptor, 10)
            acceptor.log_failures()
            acceptor.stop(accept_waiting=False)
            await acceptor.arrived(5)
            for client in waiting:
                client.close()

    run(scene())
    reason = "127.0.0.1: there were too many at a time, and it was the oldest"
    assert [record.getMessage() for record in caplog.records] == [f"7 TLS handshakes failed; the last: {reason}"]
