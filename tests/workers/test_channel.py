"""What the supervisor and its children send each other, over a real pair of sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest

from tests.harness import PATIENCE_S, eventually
from yummy_fast.workers import channel
from yummy_fast.workers.channel import ChildEnd, Message, NoReplyError, SupervisorEnd

LONG = "x" * (4 << 20)
"""More than sockets hold."""


class Pair:
    """Both ends of a channel."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.supervisor = SupervisorEnd(ours)
        self.child = ChildEnd(theirs)
        self.eof = threading.Event()
        self.commands: list[str] = []
        self.sockets = (ours, theirs)

    def start(self, report: Callable[[], Message] | None = None) -> None:
        commands = {word: partial(self.commands.append, word) for word in ("drain", "stop")}
        self.child.start(commands, self.eof.set, report)

    def flush(self) -> None:
        """Send all that the supervisor has to send."""

        def sent() -> bool | None:
            self.supervisor.flush()
            return True if not self.supervisor.wants_to_send else None

        eventually(sent, "all is sent")

    def received(self, number: int) -> list[Message]:
        """The first so many messages that the supervisor gets."""
        found: list[Message] = []

        def look() -> list[Message] | None:
            found.extend(self.supervisor.receive())
            return found if len(found) >= number else None

        return eventually(look, f"{number} messages")


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    for each in made.sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)  # which ends the threads
        each.close()


def test_events_arrive_whole_and_in_order_whatever_their_length(pair: Pair) -> None:
    """The supervisor was stopped meanwhile, and the sockets are full."""
    pair.start()
    for text in (LONG, "short"):
        pair.child.notify("text", text=text)
    assert pair.received(2) == [{"event": "text", "text": LONG}, {"event": "text", "text": "short"}]
    assert not pair.supervisor.eof


def test_commands_and_replies_arrive_whole(pair: Pair) -> None:
    pair.start()
    replies: list[object] = []
    asking = threading.Thread(target=lambda: replies.append(pair.child.request("view", 10 * PATIENCE_S)))
    asking.start()
    (request,) = pair.received(1)
    assert request == {"request": "view", "number": 1}
    pair.supervisor.command("drain")
    pair.supervisor.reply(request, LONG)
    pair.supervisor.command("stop")
    pair.flush()
    asking.join(PATIENCE_S)
    eventually(lambda: len(pair.commands) == 2 or None, "both commands")
    assert (replies, pair.commands) == ([LONG], ["drain", "stop"])


def test_no_reply_in_time(pair: Pair) -> None:
    """The reply that comes too late is not taken for that to the next request."""
    pair.start()
    with pytest.raises(NoReplyError, match=r"the supervisor has not answered for 0\.01 s"):
        pair.child.request("view", 0.01)
    late = pair.received(1)[0]
    pair.supervisor.reply(late, "late")
    replies: list[object] = []
    asking = threading.Thread(target=lambda: replies.append(pair.child.request("view", 10 * PATIENCE_S)))
    asking.start()
    (request,) = pair.received(1)
    pair.supervisor.reply(request, "in time")
    asking.join(PATIENCE_S)
    assert replies == ["in time"]


def test_reports_come_by_themselves_and_when_something_has_changed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "REPORT_S", 0.01)
    pair.start(lambda: {"event": "report"})
    assert pair.received(3) == [{"event": "report"}] * 3
    monkeypatch.setattr(channel, "REPORT_S", 3600)
    pair.received(1)  # after it, an hour passes
    pair.child.report_now()
    assert pair.received(1) == [{"event": "report"}]


def test_a_report_that_fails_is_no_end(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channel, "REPORT_S", 0.01)
    reports = iter([ValueError("a bug"), {"event": "report"}])

    def report() -> Message:
        made = next(reports, {"event": "report"})
        if isinstance(made, ValueError):
            raise made
        assert isinstance(made, dict)
        return made

    pair.start(report)
    assert pair.received(1)[0] == {"event": "report"}
    assert [record.getMessage() for record in caplog.records] == ["a message to the supervisor failed by a server bug"]


def test_a_report_that_is_due_goes_first(pair: Pair) -> None:
    """However much else there is to send: a worker that does not report counts as stuck."""
    for _ in range(10):
        pair.child.notify("text")
    pair.start(lambda: {"event": "report"})
    assert [message["event"] for message in pair.received(11)] == ["report", *["text"] * 10]


def test_a_supervisor_that_reads_nothing_holds_nobody_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "SEND_S", 0.01)
    made = 0

    def report() -> Message:
        nonlocal made
        made += 1
        return {"event": "report", "text": LONG}

    monkeypatch.setattr(channel, "REPORT_S", 0.001)
    pair.start(report)
    eventually(lambda: made or None, "a report")
    for _ in range(2 * channel.MAX_QUEUED):
        pair.child.notify("text")
    pair.child.finish("final_metrics")  # gives up
    assert made == 1, "one report waits, and no more are made"


def test_a_child_that_reads_nothing_is_sent_no_more_than_a_line(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "MAX_LINE_BYTES", len(LONG))
    for _ in range(4):
        pair.supervisor.reply({"request": "view", "number": 1}, LONG)
    assert len(pair.supervisor._unsent) < 2.1 * len(LONG)
    pair.start()  # it reads after all, and can understand what there is
    pair.supervisor.command("drain")
    pair.flush()
    pair.supervisor.command("stop")
    eventually(lambda: pair.commands[-1:] == ["stop"] or None, "a command")


@pytest.mark.parametrize("data", [b"no JSON\n", b"x" * 65])
def test_what_cannot_be_understood_is_an_end(
    pair: Pair, data: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channel, "MAX_LINE_BYTES", 64)
    pair.sockets[1].sendall(b'{"event": "report"}\n' + data)
    assert pair.supervisor.receive() == []
    assert pair.supervisor.eof
    assert [record.getMessage() for record in caplog.records] == ["a child sent a malformed message"]


@pytest.mark.parametrize("unread", [False, True], ids=["all read", "something unread"])
def test_the_end_of_the_supervisor_is_noticed(pair: Pair, unread: bool, caplog: pytest.LogCaptureFixture) -> None:
    if unread:  # the kernel then says ECONNRESET
        pair.child.notify("text")
    pair.start()
    if unread:
        eventually(lambda: pair.sockets[0].recv(1, socket.MSG_PEEK), "something unread")
    pair.sockets[0].close()
    assert pair.eof.wait(PATIENCE_S)
    assert caplog.records == []


@pytest.mark.parametrize("unread", [False, True], ids=["all read", "something unread"])
def test_the_end_of_a_child_is_noticed_and_half_a_line_is_nothing(
    pair: Pair, unread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It was killed while it wrote."""
    if unread:
        pair.supervisor.command("drain")
    pair.sockets[1].sendall(b'{"event": "ready"}\n{"event": "rep')
    pair.sockets[1].close()
    assert pair.supervisor.receive() == [{"event": "ready"}]
    assert pair.supervisor.eof
    pair.supervisor.command("stop")  # is lost, and raises nothing
    assert not pair.supervisor.wants_to_send
    assert caplog.records == []


def test_a_last_event_is_sent_before_the_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "SEND_S", PATIENCE_S)
    pair.start()
    ending = threading.Thread(target=lambda: pair.child.finish("failed", error=LONG))
    ending.start()
    assert pair.received(1) == [{"event": "failed", "error": LONG}]
    ending.join(PATIENCE_S / 2)
    assert not ending.is_alive()


def test_the_end_waits_until_the_last_event_is_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "SEND_S", 0.1)
    pair.start()
    begun = time.monotonic()
    pair.child.finish("failed", error=LONG)  # nobody reads
    assert time.monotonic() - begun >= 0.1
