"""What is written of a push: views as they are written, and rows that are ready to be stored.

`writes` compiles the views and binds rows to them, a store takes both. Records only, and frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from yummy_fast.feast_format.keys import MakeKeys
from yummy_fast.feast_format.registry import OnDemandFeatureView
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.event_times import Moment
from yummy_fast.features.plan import Feature
from yummy_fast.features.python_values import UserFunction


class InputColumn(NamedTuple):
    """What a view takes from a push."""

    name: str
    """What the view calls it."""
    type: ValueType
    given_as: tuple[str, ...]
    """The names under which a push may bring it: its own, and those that the source's field mapping maps to it."""


class UsualValue(NamedTuple):
    """What a view takes from a push, if it comes by its own name and with a type that needs no conversion."""

    name: str
    kinds: frozenset[type]
    """The types that need none."""
    encode: Callable[[Any], bytes]
    """A value of these types to a stored Value. Raises what `stored_values.REFUSALS` has."""


@dataclass(frozen=True, slots=True)
class WrittenView:
    """A feature view, as it is written."""

    name: str
    store_name: str
    """What the online store calls it."""
    features: tuple[Feature, ...]
    """What is stored for each row; of a view that is computed, join keys too, behind its own features."""
    own_features: int
    """How many of these are its own."""
    inputs: tuple[InputColumn, ...]
    """The columns of `features`."""
    keys: tuple[InputColumn, ...]
    make_keys: MakeKeys
    """What makes entity keys of the columns of `keys`."""
    time: tuple[str, ...]
    """The names that the column of the event time may have; none if the time is always now."""
    created: tuple[str, ...]
    vector: int
    """Which of the features is a vector, all of whose values have one length; -1 if none is, and ..."""
    vector_length: int
    """... that length; 0 for that of the first one."""
    computed: OnDemandFeatureView | None = None
    """The on-demand view whose function computes the features when they are written, and ..."""
    function: UserFunction | None = None
    """... the function."""
    usual: tuple[UsualValue, ...] = ()
    """As `inputs`, for a single row whose values are all usual; empty if such a row is no simpler than others."""
    usual_keys: tuple[tuple[str, type], ...] = ()
    """As `keys`, for such a row: names, and the types that need no conversion."""


class ViewRows(NamedTuple):
    """The rows of a push for one view, ready to be stored."""

    keys: list[bytes]
    moments: list[Moment]
    values: list[list[bytes]]
    """For each feature of the view, the stored Value of each row."""
    created: list[Moment | None]
    """When each row was made, if the push says so; empty if it does not."""


class Chosen(NamedTuple):
    """What of a view's rows is to be written."""

    rows: ViewRows
    numbers: Sequence[int]
    """Which of them: each key occurs once."""
