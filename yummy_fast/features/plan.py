"""Plans: what feature services, and callers' lists of features, are compiled to.

A feature service is a prepared statement, and a `Plan` is what it was prepared to: which hashes are read (`Lookup`),
which columns are answered (`Column`), what the user's functions compute from them (`ComputedView`). `catalog`
compiles plans from the registry, `binding` binds the entities of requests to them, a store reads their lookups, and
`vectors` writes their columns.

A plan is frozen records only. What others make of it is kept beside it, in `catalog.Compiled`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from yummy_fast.errors import RequestError
from yummy_fast.feast_format.keys import KEY_TYPES, not_a_key_type
from yummy_fast.feast_format.registry import OnDemandFeatureView
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.python_values import UserFunction

Row = Sequence["bytes | None"]
"""One entity as a store answers it: the stored Values of a Lookup's features in order, then each view's timestamp."""

Rows = Sequence[Sequence[Row]]
"""All that a store answers: for each Lookup a Row per entity key."""


class Feature(NamedTuple):
    """One stored feature: how the store knows it, and what it is declared to hold."""

    view: str
    """The view's name in the store: the real one, never an alias, with _vN for a pinned version."""
    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class HashContents:
    """What the registry knows of all features under one set of join keys; Redis keeps them in one hash."""

    fields: int
    """How many fields that hash has at most: the features, and a timestamp for each view."""
    types: Mapping[ValueType, int]
    """How many features there are of each type."""

    @classmethod
    def of(cls, features: Sequence[Feature]) -> HashContents:
        """The contents of a hash with these features."""
        views = {feature.view for feature in features}
        return cls(len(features) + len(views), Counter(feature.type for feature in features))


@dataclass(frozen=True, slots=True)
class Lookup:
    """The features that are read under one set of join keys: one command per entity, whatever the number of views."""

    features: tuple[Feature, ...]
    views: tuple[str, ...]
    """The store names of the views, in the order in which their timestamps follow the values of a row."""
    view_of: tuple[int, ...]
    """For each feature, which of `views` it belongs to."""
    join_keys: tuple[tuple[str, str], ...]
    """(join key, the name that a request gives it), sorted by join key."""
    holds: HashContents
    """What one entity has under these join keys, whether it is asked for or not."""
    ttls_s: tuple[float, ...] = ()
    """The ttl of each of `views`; 0 is none."""
    key_types: tuple[ValueType, ...] = ()
    """The type of each of `join_keys`, as the views declare it; empty if that is what the plan's `types` say."""
    is_pushed: bool = False
    """Whether this is read under the key without any join key, which Feast writes when a view without entities is
    pushed to: see `Plan.pushed`."""


class Column(NamedTuple):
    """One column of the answer, and where its values are found."""

    name: str
    lookup: int
    """Which of the plan's lookups."""
    position: int
    """Which of the lookup's features."""


class ComputedView(NamedTuple):
    """An on-demand feature view that is computed from what a plan reads."""

    view: OnDemandFeatureView
    function: UserFunction
    inputs: tuple[Column, ...]
    """The features that the function may see, as view__feature."""
    outputs: tuple[tuple[str, str], ...]
    """(feature, the name of its column in the answer) of those that are asked for."""
    per_row: bool = False
    """Whether the function of a view with `singleton=True` is called for each row, and not for the first alone."""


class ComputedColumn(NamedTuple):
    """A column that no store holds: values that an on-demand view has computed, as JSON takes them."""

    name: str
    values: list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A feature service or a list of features, compiled."""

    lookups: tuple[Lookup, ...]
    columns: tuple[Column, ...]
    """The stored columns of the answer, and ..."""
    computed: tuple[ComputedView, ...]
    """... what follows them."""
    types: Mapping[str, ValueType]
    """The declared types of the views' join keys, by the names that requests give them."""
    view_metadata: tuple[tuple[str, int], ...]
    """Name and version of each view that is read."""
    service: str = ""
    """The feature service that this was compiled from; empty for a list of features."""
    pushed: tuple[tuple[int, int], ...] = ()
    """Of views without entities: (the lookup of what was materialized, the lookup of what was pushed). The newer row
    of a view is answered."""
    strict: bool = False
    """Whether to answer what is right also where Feast's answer is wrong: --compat strict."""

    @property
    def feature_count(self) -> int:
        """How many features are answered."""
        return len(self.columns) + sum(len(view.outputs) for view in self.computed)

    @property
    def view_count(self) -> int:
        """How many views are asked for. Views that are read only for on-demand views are not counted."""
        stored = {(column.lookup, self.lookups[column.lookup].view_of[column.position]) for column in self.columns}
        return len(stored) + len(self.computed)

    def obstacle(self) -> RequestError | None:
        """Why no request can be answered by this plan: a join key is declared with a type that no entity key has."""
        for lookup in self.lookups:
            for position, (_, name) in enumerate(lookup.join_keys):
                declared = lookup.key_types[position] if lookup.key_types else self.types.get(name, ValueType.UNKNOWN)
                if declared and declared not in KEY_TYPES:
                    return RequestError(f"entities.{name}: {not_a_key_type(declared.name)}")
        return None
