"""Work in steps comes to its outcome, or to its error."""

from __future__ import annotations

import pytest

from yummy_fast.features.steps import Steps, at_once


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
