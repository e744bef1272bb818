"""A `Finding` of `check` and `doctor`: one line for people, which names the file, the key or the host, and what to do.

And what is said of a view of which no row is seen. `check`, `doctor` and `explain` look at different parts of a store,
so each says what it has looked at; what follows from it is the same for all. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from yummy_fast.feast_format.registry import FeatureView


class Finding(NamedTuple):
    """One thing that is wrong, or worth knowing."""

    name: str
    """For programs and tests: as in `causes`, where it is the same."""
    text: str
    """For people, without a full stop at its end."""
    is_problem: bool = True
    """Whether requests are refused, or answered with nulls or what is wrong, because of it."""


def without_rows(view: FeatureView, seen: str = "") -> Finding:
    """Of a view of which no row is seen. `seen` is what was looked at, such as "of 800 keys that were looked at".

    Feast's registry has the intervals that were materialized. A view without any was never materialized; but a push, or
    write_to_online_store, may have written rows, which leaves no trace in the registry.
    """
    looked = f" ({seen})" if seen else ""
    if view.materialized_until_s is not None:
        return Finding(
            "rows_missing",
            f"feature view {view.name} was materialized until {moment(view.materialized_until_s)}, says the registry, "
            f"and there is no row of it in this store{looked}: compare online_store with the writer's, see whether its "
            "source has rows, or run `feast materialize`",
        )
    if view.is_pushed:
        return Finding(
            "never_materialized",
            f"feature view {view.name} was never materialized, nor pushed, as far as was looked{looked}; push rows to "
            "it, or run `feast materialize`",
            is_problem=False,
        )
    return Finding(
        "never_materialized",
        f"feature view {view.name} was never materialized, so all of it is null{looked}; run `feast materialize`",
    )


def moment(seconds: float | None) -> str:
    """A time for people."""
    return "never" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
