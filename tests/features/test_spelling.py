"""Which known name a caller may have meant, and that finding out takes no attacker's time."""

from __future__ import annotations

from difflib import SequenceMatcher

import pytest

from yummy_fast.features import spelling
from yummy_fast.features.spelling import MAX_CHARS, did_you_mean, hint, nearest

KEYS = ["driver_id", "account_id", "customer_id"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("acount_id", "account_id"), ("accountid", "account_id"), ("ACCOUNT_ID", "account_id")),
        *(("custmoer_id", "customer_id"), ("driver", "driver_id"), ("drivers_id", "driver_id")),
        *(("amount", None), ("id", None), ("", None), ("account_id", None)),
    ],
)
def test_the_nearest_name_is_found_if_one_is_near(name: str, meant: str | None) -> None:
    assert nearest(name, KEYS) == meant


def test_of_several_the_nearest_is_meant() -> None:
    assert nearest("stat", ["state", "stats_daily", "stat_"]) == "state"  # of equally near ones, the first
    assert nearest("stat", ["stat_", "stats_daily", "state"]) == "stat_"
    assert nearest("stats_dayly", ["stats", "stats_daily", "stats_daily2"]) == "stats_daily"


def test_three_letters_of_four_are_no_slip() -> None:
    """trip and tram share half of their letters, trip and trap three quarters, trips and traps four fifths."""
    assert nearest("trip", ["tram"]) is None
    assert nearest("trip", ["trap"]) is None
    assert nearest("trip", ["trpi"]) is None  # of all its letters, three are in the same order
    assert nearest("trips", ["traps"]) == "traps"


def test_names_of_64_letters_are_compared_and_longer_ones_are_not() -> None:
    name = "x" * 63
    for other in (f"{name}y", f"{name}yy"):
        expected = other if len(other) <= 64 else None
        assert nearest(name, [other]) == expected
        assert nearest(other, [name]) == (name if expected else None)


def test_names_of_very_different_lengths_are_not_compared() -> None:
    """A slip is a letter or two; a suffix of five letters is another name."""
    name = "trips_of_a_driver"
    assert nearest(name, [f"{name}_1dx"]) == f"{name}_1dx"
    assert nearest(f"{name}_1dx", [name]) == name
    assert nearest(name, [f"{name}_1day"]) is None
    assert nearest(f"{name}_1day", [name]) is None


def test_of_many_names_the_first_20_are_compared() -> None:
    """Long ones do not count."""
    others = ["x" * 65, *("amount" for _ in range(19))]
    assert did_you_mean([*others, "acount_id"], KEYS) == "; did you mean 'account_id' instead of 'acount_id'?"
    assert did_you_mean([*others, "amount", "acount_id"], KEYS) == ""


def test_the_message_names_both() -> None:
    assert did_you_mean(["amount", "acount_id"], KEYS) == "; did you mean 'account_id' instead of 'acount_id'?"
    assert did_you_mean(["amount"], KEYS) == did_you_mean([], KEYS) == did_you_mean(["x"], []) == ""
    assert hint("acount_id", KEYS) == "; did you mean 'account_id'?"
    assert hint("amount", KEYS) == ""


def test_long_names_and_many_names_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[None] = []

    class Counting(SequenceMatcher[str]):
        def real_quick_ratio(self) -> float:
            compared.append(None)
            return super().real_quick_ratio()

    monkeypatch.setattr(spelling, "SequenceMatcher", Counting)
    long = "x" * (MAX_CHARS + 1)
    assert hint(long, [long + "y"]) == ""
    assert compared == []
    did_you_mean([f"column_{number}" for number in range(10_000)], [f"feature_{number}" for number in range(10_000)])
    assert len(compared) == 1000
