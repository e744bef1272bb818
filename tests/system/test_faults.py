"""Redis breaks in every way there is, under load: right answers, or quick and honest errors, and soon back.

The scenarios, the load and what is promised are in tests/faults.py, which also writes the table of docs/reliability.md.
They are played several at a time, each on processes of its own; a test here is one of them. One that fails because the
machine is starved is played again, alone: `play_all`.
"""

from __future__ import annotations

import pytest

from tests.faults import SCENARIOS, Attempt, Scenario, play_all, row

TIMEOUT_S = 0.4
AT_ONCE = 4


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> dict[str, Attempt]:
    """Of the scenarios that this run has tests for, by name."""
    items = request.session.items
    chosen = [found for item in items if (found := getattr(item, "callspec", None)) and "scenario" in found.params]
    scenarios: list[Scenario] = [call.params["scenario"] for call in chosen]
    return dict(zip([one.name for one in scenarios], play_all(scenarios, TIMEOUT_S, AT_ONCE), strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_fault(outcomes: dict[str, Attempt], scenario: Scenario) -> None:
    outcome, late_s = outcomes[scenario.name]
    if isinstance(outcome, Exception):
        raise outcome
    late = f"our own clock ran {late_s:.2f} s late"
    assert outcome.broken_promises == [], "\n".join([late, row(outcome), outcome.log])
