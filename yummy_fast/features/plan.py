"""Plans, and binding entity values to keys.

A feature service (or a list of features) is a prepared statement, and a `Plan` is what it was prepared to: which hashes
to read (`Lookup`), which columns to answer. `catalog` compiles plans from the registry. What depends also on *which*
entity columns a caller sends (a `Binding`: what each column is for, its type, the heads of the keys) is worked out the
first time that a set of columns is seen. A request then only converts its values and packs them into keys: `bind`.

The rules for entity columns are Feast's (feast/utils.py _prepare_entities_to_read_from_online_store and
_get_table_entity_values, Feast 0.67.0). Pure: no store, no HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from yummy_fast.errors import NotFoundError, RequestError
from yummy_fast.feast_format.keys import (
    KEY_TYPES,
    KeyPart,
    KeyValueError,
    MakeKeys,
    NullKeyValueError,
    compile_key,
    constant_key,
    not_a_key_type,
)
from yummy_fast.feast_format.registry import DUMMY_JOIN_KEY, DUMMY_VALUE, OnDemandFeatureView, Registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.entities import convert_column

MAX_BINDINGS = 32
"""Sets of entity columns remembered per plan. A caller that invents columns pays for compiling them each time."""
MAX_BINDING_CHARS = 1_000
"""Sets with longer names than this in all are compiled each time, so that 32 of them have a bound in bytes too."""


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
    """How many fields it has at most: the features, and a timestamp for each view."""
    types: Mapping[ValueType, int]
    """How many features there are of each type."""

    @classmethod
    def of(cls, features: Sequence[Feature]) -> HashContents:
        """The facts about these features."""
        views = {feature.view for feature in features}
        return cls(len(features) + len(views), Counter(feature.type for feature in features))


@dataclass(frozen=True, slots=True)
class Lookup:
    """The features that are read under one set of join keys: one command per entity, whatever the number of views."""

    features: tuple[Feature, ...]
    views: tuple[str, ...]
    """The store names of the views, in the order in which their timestamps follow the values of a row."""
    view_of: tuple[int, ...]
    """For each feature, which of `views` it is of."""
    join_keys: tuple[tuple[str, str], ...]
    """(join key, the name that a request gives it), sorted by join key."""
    holds: HashContents
    """What one entity has under these join keys, whether asked for or not."""
    ttls_s: tuple[float, ...] = ()


class Column(NamedTuple):
    """One column of the answer: where its values are found."""

    name: str
    lookup: int
    place: int


class ComputedView(NamedTuple):
    """An on-demand feature view that a plan computes from what it has read."""

    view: OnDemandFeatureView
    function: Any
    """What `transforms` made of its function."""
    inputs: tuple[Column, ...]
    """The features it may see, as view__feature."""
    outputs: tuple[tuple[str, str], ...]
    """(feature, the name of its column in the answer) of those that are asked for."""


class ComputedColumn(NamedTuple):
    """A column that no store holds: the values that an on-demand view made, as JSON takes them."""

    name: str
    values: list[Any]


class Bound(NamedTuple):
    """A request's entities, bound to a plan."""

    rows: int
    values: Mapping[str, list[Any]]
    """All columns of the request by their names, converted."""
    entity_columns: list[list[Any]]
    """The values of the entity columns that come back, in the order of `Binding.answered_names`."""
    keys: list[list[bytes]]
    """For each Lookup, the entity keys to read, each once."""
    row_to_key: list[list[int] | None]
    """For each Lookup, which key each row of the answer is of; None where there is one key per row, in order."""
    binding: Binding


class Binding:
    """A plan for one set of entity columns: what each column is for, compiled the first time the set is seen."""

    __slots__ = (
        "answered_columns",
        "answered_names",
        "columns",
        "feature_names",
        "key_makers",
        "missing",
        "request_data",
    )

    columns: list[tuple[str, ValueType]]
    """Every column of the request, and the type its values are converted to."""
    answered_columns: list[tuple[str, ValueType]]
    """Those whose values are answered, and ..."""
    answered_names: list[str]
    """... the join keys they are answered as."""
    key_makers: list[MakeKeys]
    request_data: list[str]
    """The columns that only on-demand views use: they are not answered."""
    missing: RequestError | None
    """What to say when request data is missing, or a view gets none of its join keys."""

    def __init__(self) -> None:
        self.columns, self.answered_columns, self.answered_names = [], [], []
        self.key_makers, self.request_data = [], []
        self.missing = None
        self.feature_names: Any = None  # the metadata's text, rendered by `vectors` at the first answer


class JoinKeys:
    """The join keys of a project: what a column of a request can be, whichever plan it is for."""

    def __init__(self, registry: Registry, key_version: int) -> None:
        """`key_version` is entity_key_serialization_version."""
        self.of_entity = {entity.name: entity.join_key for entity in registry.entities.values()}
        self.all = frozenset(self.of_entity.values())
        self.key_version = key_version

    def missing(self, given: Sequence[str], empty: Sequence[str] = ()) -> RequestError:
        """Feast's complaint about a view of which no join key is given, or none with values."""
        keys = sorted(self.all - {DUMMY_JOIN_KEY})
        return RequestError(
            f"entities: Missing join key values for keys: {[key for key in keys if key not in given]}. "
            f"No values provided for keys: {[key for key in keys if key not in given or key in empty]}. "
            f"Provided join_key_values: {list(given)}"
        )


class Plan:
    """A feature service or list of features, ready to be bound to entities, read and answered."""

    __slots__ = (
        *("_bindings", "_join_keys", "_request_data", "_types"),
        *("columns", "computed", "lookups", "prepared", "rendering", "service", "slots", "view_metadata"),
    )

    def __init__(
        self,
        join_keys: JoinKeys,
        *,
        lookups: tuple[Lookup, ...],
        columns: tuple[Column, ...],
        computed: tuple[ComputedView, ...],
        types: Mapping[str, ValueType],
        view_metadata: tuple[tuple[str, int], ...],
    ) -> None:
        """
        - `columns`: the stored columns of the answer; `computed`: what follows them.
        - `types`: the declared types of the views' join keys, by the names that requests give them.
        - `view_metadata`: name and version of each view that is read.
        """
        self.lookups = lookups
        self.columns = columns
        self.computed = computed
        self.view_metadata = view_metadata
        self.prepared: Any = None
        """The online store's private form of the lookups."""
        self.rendering: Any = None
        """What `vectors` has made of the plan beforehand."""
        self.service = ""
        """The feature service that this was compiled from; empty for a list of features."""
        self.slots: Any = None
        """Where `metrics` counts the requests, once there is one: a registry may hold plans that nobody asks for."""
        self._join_keys = join_keys
        self._types = types
        self._request_data = {field.name: None for one in computed for field in one.view.request_data}
        self._bindings: dict[tuple[str, ...], Binding] = {}

    def obstacle(self) -> RequestError | None:
        """Why no request can be answered by this plan: a join key is declared with a type that no entity key has."""
        for lookup in self.lookups:
            for _, name in lookup.join_keys:
                declared = self._types.get(name, ValueType.UNKNOWN)
                if declared and declared not in KEY_TYPES:
                    return RequestError(f"entities.{name}: {not_a_key_type(declared.name)}")
        return None

    def bind(self, entities: Mapping[str, list[Any]], convert: Callable[..., list[Any]] = convert_column) -> Bound:
        """Convert the values of a request's entity columns and make their entity keys. Raises RequestError."""
        names = tuple(entities)
        binding = self._bindings.get(names) or self._bind_names(names)
        values: dict[str, list[Any]] = {}
        rows = -1
        for name, value_type in binding.columns:
            column = convert(name, value_type, entities[name])
            if len(column) != rows:
                if rows >= 0:
                    raise RequestError(
                        f"entities.{name}: All entity rows must have the same columns. "
                        f"Expected {rows} values, as in the columns before, got {len(column)}"
                    )
                rows = len(column)
            values[name] = column
        if binding.missing is not None:
            raise binding.missing.fresh_copy()
        if rows == 0 and self.lookups:
            raise self._join_keys.missing(binding.answered_names, empty=binding.answered_names)
        if rows < 0:
            rows = 1  # no columns at all, and none needed: the one row of views without entities
        keys: list[list[bytes]] = []
        row_to_key: list[list[int] | None] = []
        for make_keys in binding.key_makers:
            try:
                made = make_keys(values, rows)
            except NullKeyValueError as error:
                value = entities[error.column][error.row]
                sent = "an array" if isinstance(value, list) else "an object" if isinstance(value, dict) else "null"
                raise RequestError(f"entities.{error.column}[{error.row}]: expected a key value, got {sent}") from None
            except KeyValueError as error:
                raise RequestError(f"entities.{error.column}: {error}") from None
            if rows > 1:
                places: dict[bytes, int] = {}
                key_of_row = [places.setdefault(key, len(places)) for key in made]
                if len(places) < rows:
                    keys.append(list(places))
                    row_to_key.append(key_of_row)
                    continue
            keys.append(made)
            row_to_key.append(None)
        return Bound(rows, values, [values[name] for name, _ in binding.answered_columns], keys, row_to_key, binding)

    def _bind_names(self, names: tuple[str, ...]) -> Binding:
        """Find out what each of a request's columns is for, and remember it."""
        join_keys = self._join_keys
        binding = Binding()
        source_of: dict[str, str] = {}  # join key as the answer names it -> the column it comes from
        for name in names:
            binding.columns.append((name, self._types.get(name, ValueType.UNKNOWN)))
            if name in self._request_data:
                binding.request_data.append(name)
            elif DUMMY_JOIN_KEY in (name, join_keys.of_entity.get(name)):
                continue  # Feast strips it from its answers
            elif name in self._types or name in join_keys.all:
                source_of[name] = name
            elif name in join_keys.of_entity:  # the entity's name instead of its join key: Feast's old habit
                source_of[join_keys.of_entity[name]] = name
        for answered_name, name in source_of.items():
            binding.answered_names.append(answered_name)
            binding.answered_columns.append((name, self._types.get(name, ValueType.UNKNOWN)))
        absent = [name for name in self._request_data if name not in binding.request_data]
        if absent:
            binding.missing = NotFoundError(
                "RequestDataNotFoundInEntityRowsException",
                f"Required request data source features {absent} not found in the entity rows, "
                "but required by feature views",
            )
        for lookup in () if absent else self.lookups:
            maker = self._key_maker(lookup, source_of)
            if maker is None:
                binding.missing = join_keys.missing(tuple(source_of))
                break
            binding.key_makers.append(maker)
        if sum(map(len, names)) <= MAX_BINDING_CHARS:
            if len(self._bindings) >= MAX_BINDINGS:
                self._bindings.clear()
            self._bindings[names] = binding
        return binding

    def _key_maker(self, lookup: Lookup, source_of: Mapping[str, str]) -> MakeKeys | None:
        """What makes the entity keys of `lookup`; None if none of its join keys is given.

        A key of which only a part is given is made of that part, as in Feast: nothing will be found under it.
        """
        version = self._join_keys.key_version
        if lookup.join_keys == ((DUMMY_JOIN_KEY, DUMMY_JOIN_KEY),):
            return constant_key(DUMMY_JOIN_KEY, DUMMY_VALUE, version)
        join_key_of = {request_name: join_key for join_key, request_name in lookup.join_keys}
        own = set(join_key_of.values())
        given: dict[str, str] = {}  # join key -> the column it comes from; of two, the later in the request
        for answered_name, name in source_of.items():
            join_key = join_key_of.get(answered_name, answered_name)
            if join_key in own:
                given[join_key] = name
        if not given:
            return None
        parts = [KeyPart(join_key, name, self._types.get(name, ValueType.UNKNOWN)) for join_key, name in given.items()]
        return compile_key(parts, version)
