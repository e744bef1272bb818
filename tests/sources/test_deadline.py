"""Waiting for what may never come: an end to it, and never two at once."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from tests.harness import eventually
from yummy_fast.sources.deadline import MAX_ABANDONED, DeadlineRunner


def test_what_comes_in_time_is_handed_on() -> None:
    runner = DeadlineRunner(20)
    assert runner.run(lambda: 7) == 7

    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        runner.run(fail)


def test_what_is_raised_goes_with_who_catches_it() -> None:
    """A registry that cannot be read is asked for every second."""

    class MineError(Exception):
        pass

    def fail() -> None:
        raise MineError

    gc.disable()
    try:
        try:
            DeadlineRunner(20).run(fail)
        except MineError as error:
            caught = weakref.ref(error)
        assert caught() is None
    finally:
        gc.enable()


def test_what_does_not_come_is_abandoned_and_asked_for_again_some_times() -> None:
    runner = DeadlineRunner(0.05)
    begun: list[int] = []
    end = threading.Event()

    def hang() -> None:
        begun.append(1)
        end.wait()

    for _ in range(MAX_ABANDONED - 1):
        with pytest.raises(TimeoutError) as caught:
            runner.run(hang)
        assert str(caught.value) == "no answer within 0.05 s"
    assert runner.run(lambda: 8) == 8, "it is well again"
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            runner.run(hang)
    assert len(begun) == MAX_ABANDONED
    end.set()
    assert eventually(lambda: runner.run(lambda: 8), "an answer", TimeoutError) == 8
