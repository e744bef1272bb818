"""Work in steps comes to its outcome, or to its error."""

from __future__ import annotations

import pytest

from yummy_fast.errors import LimitError
from yummy_fast.features.steps import Budget, Steps, at_once


def steps(seen: list[int]) -> Steps[str]:
    for number in range(3):
        seen.append(number)
        yield
    return "done"


def test_all_steps_are_taken() -> None:
    seen: list[int] = []
    assert at_once(steps(seen)) == "done"
    assert seen == [0, 1, 2]


def test_an_error_is_raised() -> None:
    def broken() -> Steps[None]:
        yield
        raise ValueError("no such luck")

    with pytest.raises(ValueError, match="no such luck"):
        at_once(broken())


def test_a_budget_is_what_may_be_taken_in_all() -> None:
    """Its last byte may be taken, and the error says of what there is too much and which setting bounds it."""
    budget = Budget(10, rows=3)
    budget.take(4)
    budget.take(6)
    assert budget.taken_bytes == 10
    with pytest.raises(LimitError) as caught:
        budget.take(1)
    assert caught.value.status == 413
    assert str(caught.value).startswith("Content Too Large: the answer for 3 entity rows is longer than 10 bytes")
    assert "--max-answer-bytes" in str(caught.value)


def test_what_would_be_too_large_is_not_taken() -> None:
    budget = Budget(10, rows=1, of="the output of a view")
    budget.check(10)
    with pytest.raises(LimitError, match="the output of a view for 1 entity rows"):
        budget.check(11)
    assert budget.taken_bytes == 0
