"""Messages that repeat: once per period, and never more of them than were allowed."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from yummy_fast.telemetry.once_log import OnceLog

logger = logging.getLogger("tests.once_log")


class FakeClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_message_is_written_once_per_period(caplog: pytest.LogCaptureFixture, clock: FakeClock) -> None:
    once = OnceLog(logger, period_s=60.0, clock=clock)
    written = []
    for clock.now in (1000.0, 1000.0, 1059.9, 1060.0, 1119.9, 1200.0):
        written.append(once.log(logging.ERROR, "store %s: %d", "a", 502))
    assert written == [True, False, False, True, False, True]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.ERROR, "store a: 502")] * 3


def test_messages_with_other_arguments_are_other_messages(caplog: pytest.LogCaptureFixture) -> None:
    once = OnceLog(logger)
    for name in ("a", "b", "a"):
        once.log(logging.WARNING, "store %s", name)
    assert caplog.messages == ["store a", "store b"]


def test_a_key_stands_for_texts_that_vary(caplog: pytest.LogCaptureFixture) -> None:
    once = OnceLog(logger)
    for lost in (1, 2):
        once.log(logging.WARNING, "%d lost", lost, key="lost")
    assert caplog.messages == ["1 lost"]


def test_a_message_without_arguments_is_not_formatted(caplog: pytest.LogCaptureFixture) -> None:
    OnceLog(logger).log(logging.WARNING, "100% full")
    assert caplog.messages == ["100% full"]


def test_without_a_period_a_message_comes_back_only_when_it_was_forgotten(clock: FakeClock) -> None:
    once = OnceLog(logger, clock=clock)
    assert once.log(logging.WARNING, "down")
    clock.now += 1e9
    assert not once.log(logging.WARNING, "down")
    once.forget()
    assert once.log(logging.WARNING, "down")


def test_no_more_messages_are_kept_or_written_than_allowed(caplog: pytest.LogCaptureFixture, clock: FakeClock) -> None:
    once = OnceLog(logger, period_s=60.0, max_messages=3, clock=clock)
    for number in range(1000):
        once.log(logging.WARNING, "message %d", number)
    assert caplog.messages == ["message 0", "message 1", "message 2"]
    assert len(once._expiry) == 3


def test_messages_whose_period_is_over_make_room(clock: FakeClock) -> None:
    once = OnceLog(logger, period_s=60.0, max_messages=2, clock=clock)
    assert once.log(logging.WARNING, "first")
    clock.now += 30
    assert once.log(logging.WARNING, "second")
    assert not once.log(logging.WARNING, "third")
    clock.now += 30
    assert once.log(logging.WARNING, "third")
    assert not once.log(logging.WARNING, "second")
    assert not once.log(logging.WARNING, "first")  # its period is over, but there is no room


def test_a_known_message_needs_no_further_room(clock: FakeClock) -> None:
    once = OnceLog(logger, period_s=60.0, max_messages=1, clock=clock)
    assert once.log(logging.WARNING, "first")
    clock.now += 60
    assert once.log(logging.WARNING, "first")


def test_an_exception_is_written_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("why")
    OnceLog(logger).log(logging.ERROR, "failed", exc_info=error)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_of_several_threads_one_writes_a_message() -> None:
    """The key's hash lets another thread run in the middle of each look-up, where it would do harm without a lock."""

    class YieldingKey(str):
        __slots__ = ()

        def __hash__(self) -> int:
            time.sleep(0)
            return super().__hash__()

    once, ready = OnceLog(logger), threading.Barrier(8)
    written: list[bool] = []

    def run() -> None:
        ready.wait()
        written.extend(once.log(logging.WARNING, "message", key=YieldingKey(number)) for number in range(100))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(written) == 100
