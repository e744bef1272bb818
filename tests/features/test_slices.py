"""Large requests share the event loop: one slice in each iteration, in turns, and none once they are given up."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness import run
from yummy_fast.features import slices
from yummy_fast.features.slices import Slices
from yummy_fast.features.steps import Budget, Steps, at_once


def counting(name: str, steps: int, log: list[str]) -> Steps[str]:
    for _ in range(steps):
        log.append(name)
        yield
    return f"{name} is done"


def test_the_outcome_is_what_the_work_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0)
    log: list[str] = []
    assert run(Slices().run(counting("a", 3, log))) == "a is done"
    assert at_once(counting("b", 2, log)) == "b is done"
    assert log == ["a"] * 3 + ["b"] * 2


def test_a_slice_lasts_as_long_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 0.001, 0.002, 0.0041, 10.0, 10.001, 10.1])
    monkeypatch.setattr(slices, "perf_counter", lambda: next(moments))
    log: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(Slices().run(counting("a", 4, log)))

        def other() -> None:
            log.append("-")
            if not task.done():
                loop.call_soon(other)

        loop.call_soon(other)
        await task

    run(work())
    assert "".join(log).strip("-").replace("--", "-") == "aaa-a"  # after three steps, 4 ms had passed


def test_several_take_turns_and_the_loop_goes_on_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0)
    log: list[str] = []

    async def work() -> None:
        line = Slices()
        loop = asyncio.get_running_loop()
        tasks = [asyncio.ensure_future(line.run(counting(name, 3, log))) for name in "ab"]

        def other() -> None:
            log.append("-")
            if not all(task.done() for task in tasks):
                loop.call_soon(other)

        loop.call_soon(other)
        await asyncio.gather(*tasks)

    run(work())
    between = "".join(log).strip("-")
    assert between.replace("-", "") == "ababab"
    assert "ab" not in between.replace("-", " ").split()  # never two slices in one iteration
    assert "aa" not in between
    assert "bb" not in between


def test_work_that_is_given_up_stops_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0)
    closed: list[str] = []

    def endless() -> Steps[None]:
        try:
            while True:
                yield
        finally:
            closed.append("closed")

    async def work() -> str:
        line = Slices()
        given_up = asyncio.ensure_future(line.run(endless()))
        other = asyncio.ensure_future(line.run(counting("a", 5, [])))
        for _ in range(5):  # iterations of the loop: it has begun
            await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return await other

    assert run(work()) == "a is done"
    assert closed == ["closed"]


def test_an_error_of_the_work_is_its_own() -> None:
    def broken() -> Steps[None]:
        yield
        raise ValueError("no such luck")

    async def work() -> str:
        line = Slices()
        with pytest.raises(ValueError, match="no such luck"):
            await line.run(broken())
        return await line.run(counting("a", 1, []))

    assert run(work()) == "a is done"


def holding(name: str, sizes: list[int], budget: Budget, log: list[str]) -> Steps[None]:
    for size in sizes:
        budget.take(size)
        log.append(name)
        yield


def test_while_much_is_held_only_the_oldest_goes_on_and_what_holds_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0)
    monkeypatch.setattr(slices, "MAX_HELD_BYTES", 50)
    monkeypatch.setattr(slices, "LITTLE_BYTES", 9)
    log: list[str] = []

    async def work() -> None:
        line = Slices()
        budgets = [Budget(1000, 1) for _ in range(3)]
        parts = [holding("a", [30] * 4, budgets[0], log), holding("b", [30] * 3, budgets[1], log)]
        parts.append(holding("c", [3] * 3, budgets[2], log))
        await asyncio.gather(*(line.run(steps, budget) for steps, budget in zip(parts, budgets, strict=True)))

    run(work())
    # After "ab", 60 are held: b waits for the end of a, and c does not.
    assert "".join(log) == "abcacacabb"


def test_a_slice_ends_when_too_much_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one slice of 4 ms, 96 answers were half done one after the other."""
    monkeypatch.setattr(slices, "SLICE_S", 60)
    monkeypatch.setattr(slices, "MAX_HELD_BYTES", 50)
    monkeypatch.setattr(slices, "LITTLE_BYTES", 9)
    log: list[str] = []

    async def work() -> None:
        line = Slices()
        oldest, second = Budget(1000, 1), Budget(1000, 1)
        line._budgets[oldest] = None  # older work that waits, and holds 40
        oldest.take(40)
        other = asyncio.ensure_future(line.run(holding("b", [8] * 4, second, log), second))
        third = asyncio.ensure_future(line.run(counting("c", 1, log)))
        await asyncio.gather(other, third)

    run(work())
    # After 16 bytes of b, 56 are held in all: its slice ends, and c has its own before b goes on.
    assert "".join(log) == "bbcbb"


def test_the_next_goes_on_when_the_oldest_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0)
    monkeypatch.setattr(slices, "MAX_HELD_BYTES", 50)
    monkeypatch.setattr(slices, "LITTLE_BYTES", 9)
    log: list[str] = []

    async def work() -> None:
        line = Slices()
        first, second = Budget(10_000, 1), Budget(1000, 1)
        oldest = asyncio.ensure_future(line.run(holding("a", [30] * 100, first, log), first))
        other = asyncio.ensure_future(line.run(holding("b", [30] * 3, second, log), second))
        for _ in range(30):  # iterations of the loop
            await asyncio.sleep(0)
        assert len(log) > 5
        assert log.count("b") == 1
        oldest.cancel()
        await other

    run(work())
    assert log[-2:] == ["b", "b"]
