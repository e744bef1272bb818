"""Redis breaks in every way there is, under load: right answers, or quick and honest errors, and soon back.

The scenarios, the load and what is promised are in tests/faults.py, which also writes the table of docs/reliability.md.
They are played several at a time, each on processes of its own; a test here is one of them.
"""

from __future__ import annotations

import pytest

from tests.faults import SCENARIOS, Outcome, Scenario, play_all, row

TIMEOUT_S = 0.4
AT_ONCE = 4


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome | Exception]:
    """Of the scenarios that this run has tests for, by name."""
    items = request.session.items
    chosen = [found for item in items if (found := getattr(item, "callspec", None)) and "scenario" in found.params]
    scenarios: list[Scenario] = [call.params["scenario"] for call in chosen]
    return dict(zip([one.name for one in scenarios], play_all(scenarios, TIMEOUT_S, AT_ONCE), strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_fault(outcomes: dict[str, Outcome | Exception], scenario: Scenario) -> None:
    outcome = outcomes[scenario.name]
    if isinstance(outcome, Exception):
        raise outcome
    assert outcome.broken_promises == [], "\n".join([row(outcome), outcome.log])
