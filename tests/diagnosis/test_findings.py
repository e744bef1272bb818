"""The finding for a view without rows, which depends on what the registry says was materialized or may be pushed."""

from __future__ import annotations

from dataclasses import replace

from tests.diagnosis.test_question import question
from yummy_fast.diagnosis.findings import moment, without_rows

VIEW = replace(question("sound").view, materialized_until_s=None, is_pushed=False)


def test_a_view_that_was_never_materialized() -> None:
    found = without_rows(VIEW)
    assert (found.name, found.is_problem) == ("never_materialized", True)
    assert found.text == "feature view stats was never materialized, so all of it is null; run `feast materialize`"


def test_a_view_that_may_be_pushed_needs_no_materialization() -> None:
    found = without_rows(replace(VIEW, is_pushed=True), "of 5 keys")
    assert (found.name, found.is_problem) == ("never_materialized", False)
    assert "nor pushed, as far as was looked (of 5 keys); push rows" in found.text


def test_a_view_that_was_materialized_elsewhere() -> None:
    """The registry has an interval, so the writer had another store, or its source had no rows."""
    for is_pushed in (False, True):
        found = without_rows(replace(VIEW, materialized_until_s=1_772_359_200.0, is_pushed=is_pushed), "of 5 keys")
        assert (found.name, found.is_problem) == ("rows_missing", True)
        assert "was materialized until 2026-03-01T10:00:00Z, says the registry" in found.text
        assert "no row of it in this store (of 5 keys)" in found.text


def test_a_moment() -> None:
    assert moment(None) == "never"
    assert moment(0.5) == "1970-01-01T00:00:00Z"
