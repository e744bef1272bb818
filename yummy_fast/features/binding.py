"""Binding: from the entities of a request to entity keys.

What a column of a request is for depends on the other columns that came with it: a join key may come under its own
name, under an alias or as the name of its entity, and a key of two join keys may come in part. So a `Binding` is
compiled when a plan first sees a set of columns, and kept, within bounds. From then on `Binder.bind` converts the
values of a request, packs them into keys, and finds out which rows have the same key: each is read once.

The rules for entity columns are Feast's (feast/utils.py _prepare_entities_to_read_from_online_store and
_get_table_entity_values, Feast 0.67.0). Pure: it knows neither stores nor HTTP.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from yummy_fast.errors import NotFoundError, RequestError
from yummy_fast.feast_format.keys import (
    KeyPart,
    KeyValueError,
    MakeKeys,
    NullKeyValueError,
    compile_key,
    constant_key,
    entity_key_header,
)
from yummy_fast.feast_format.registry import DUMMY_JOIN_KEY, DUMMY_VALUE, Registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.entities import Convert, convert_column, convert_in_steps, request_data_in_steps
from yummy_fast.features.json_text import json_text
from yummy_fast.features.plan import Lookup, Plan
from yummy_fast.features.spelling import did_you_mean
from yummy_fast.features.steps import Steps, at_once

MAX_BINDINGS = 32
"""Sets of entity columns that are kept for a plan. A caller who invents columns pays for compiling them each time."""
MAX_BINDING_CHARS = 1_000
"""The longest names of all columns in a set that is kept: so 32 of them have a bound in bytes as well."""

ROWS_PER_STEP = 4_096
"""Rows whose keys are made in one step: a millisecond."""

T = TypeVar("T")

Entities = Mapping[str, list[Any]]
"""The entity columns of a request by name, as parsed from JSON."""


class JoinKeys:
    """The join keys of a project: what a column of a request can be, whichever plan it is for."""

    def __init__(self, registry: Registry, key_version: int) -> None:
        """`key_version` is entity_key_serialization_version."""
        self.of_entity = {entity.name: entity.join_key for entity in registry.entities.values()}
        self.all = frozenset(self.of_entity.values())
        self.key_version = key_version


class EntityColumn(NamedTuple):
    """A column of a request that is answered."""

    join_key: str
    """What it is called in the answer."""
    name: str
    """What the request calls it."""
    type: ValueType


@dataclass(frozen=True, slots=True)
class Binding:
    """What the columns of a request are for."""

    columns: tuple[tuple[str, str, ValueType], ...]
    """What `Bound.values` has, but for `declared`: what it is called there, the column of the request that it is made
    of, and the type that the values are converted to.

    It is called as the column is. A column that is also part of keys as another type is there once more, under its
    name, a zero byte and that type.
    """
    declared: tuple[tuple[str, ValueType], ...]
    """The columns that no view types but on-demand views ask for, and the types that these declare."""
    answered: tuple[EntityColumn, ...]
    """The columns that are answered."""
    answered_columns: tuple[str, ...]
    """What `Bound.values` calls them."""
    names_text: bytes
    """Their join keys as the beginning of a JSON array, to be followed by the names of the features."""
    request_data: tuple[str, ...]
    """The columns that on-demand views use. They are not answered."""
    make_keys: tuple[MakeKeys, ...]
    """What makes the entity keys of each Lookup."""
    refusal: RequestError | None
    """Why no request with these columns can be answered: request data is missing, or a view has no join key at all."""


class Bound(NamedTuple):
    """The entities of a request, bound to a plan."""

    rows: int
    values: Mapping[str, list[Any]]
    """All columns of the request by their names, converted: see `Binding.columns`."""
    entity_columns: list[list[Any]]
    """The values of the columns that are answered, in the order of `Binding.answered`."""
    keys: list[list[bytes]]
    """For each Lookup the entity keys to read, each once."""
    row_to_key: list[list[int] | None]
    """For each Lookup which key belongs to each row of the answer; None if there is one key per row, in order."""
    binding: Binding

    def spread(self, lookup: int, per_key: Sequence[T], step: int = 1) -> Sequence[T]:
        """What there is for each key of a Lookup, as the answer has it: for each row, or for every `step`-th one.

        With the keys [a, b] for the rows [a, b, a], `row_to_key` is [0, 1, 0], and [x, y] becomes [x, y, x].
        """
        key_of_row = self.row_to_key[lookup]
        if key_of_row is None:
            return per_key if step == 1 else per_key[::step]
        return [per_key[key] for key in key_of_row[::step]]


class Binder:
    """Binds the entities of requests to one plan."""

    __slots__ = ("_bindings", "_join_keys", "_plan")

    def __init__(self, plan: Plan, join_keys: JoinKeys) -> None:
        self._plan = plan
        self._join_keys = join_keys
        self._bindings: dict[tuple[str, ...], Binding] = {}

    def bind(self, entities: Entities, convert: Convert = convert_column) -> Bound:
        """Convert the values of a request's entity columns and make their entity keys. Raises RequestError."""
        names = tuple(entities)
        binding = self._bindings.get(names) or self._compile(names)
        values: dict[str, list[Any]] = {}
        rows = -1
        for key, name, value_type in binding.columns:
            column = values[key] = convert(name, value_type, entities[name])
            rows = len(column) if rows < 0 else _same_rows(name, rows, len(column))
        if binding.declared:
            rows = at_once(self._convert_declared(binding, entities, convert, values, rows))
        if rows <= 0 or binding.refusal is not None:
            rows = self._check(binding, rows)
        keys: list[list[bytes]] = []
        row_to_key: list[list[int] | None] = []
        for make_keys in binding.make_keys:
            try:
                made = make_keys(values, rows)
            except KeyValueError as error:
                raise _not_a_key(error, entities) from None
            key_of_row = None
            if rows > 1:
                made, key_of_row = _distinct(made)
            keys.append(made)
            row_to_key.append(key_of_row)
        entity_columns = list(map(values.__getitem__, binding.answered_columns))
        # As Bound(...), without its __new__, which a NamedTuple has in Python.
        return tuple.__new__(Bound, (rows, values, entity_columns, keys, row_to_key, binding))

    def bind_in_steps(self, entities: Entities, convert: Convert = convert_column) -> Steps[Bound]:
        """As `bind`, for requests of many rows or columns. The first error is the same: that of the first column."""
        names = tuple(entities)
        binding = self._bindings.get(names) or self._compile(names)
        values: dict[str, list[Any]] = {}
        rows = -1
        for key, name, value_type in binding.columns:
            column = values[key] = yield from convert_in_steps(name, value_type, entities[name], convert)
            rows = _same_rows(name, rows, len(column))
        rows = yield from self._convert_declared(binding, entities, convert, values, rows)
        rows = self._check(binding, rows)
        keys: list[list[bytes]] = []
        row_to_key: list[list[int] | None] = []
        for make_keys in binding.make_keys:
            numbers: dict[bytes, int] = {}
            key_of_row: list[int] = []
            for start in range(0, rows, ROWS_PER_STEP):
                end = min(rows, start + ROWS_PER_STEP)
                some = {name: column[start:end] for name, column in values.items()}
                try:
                    made = make_keys(some, end - start)
                except KeyValueError as error:
                    raise _not_a_key(error, entities, start) from None
                key_of_row += [numbers.setdefault(key, len(numbers)) for key in made]
                yield
            keys.append(list(numbers))
            row_to_key.append(None if len(numbers) == rows else key_of_row)
        return Bound(rows, values, [values[column.name] for column in binding.answered], keys, row_to_key, binding)

    def _convert_declared(
        self, binding: Binding, entities: Entities, convert: Convert, values: dict[str, list[Any]], rows: int
    ) -> Steps[int]:
        """Add the columns of `binding.declared` to `values`. Returns the number of rows."""
        strict = self._plan.strict
        for name, declared in binding.declared:
            column = yield from request_data_in_steps(name, declared, entities[name], convert, strict=strict)
            values[name] = column
            rows = _same_rows(name, rows, len(column))
        return rows

    def _check(self, binding: Binding, rows: int) -> int:
        """The number of rows of a request with `rows` values in each column; -1 if it has no columns."""
        if binding.refusal is not None:
            raise binding.refusal.fresh_copy()
        if rows == 0 and self._plan.lookups:
            join_keys = [column.join_key for column in binding.answered]
            raise self._missing(join_keys, empty=join_keys)
        return 1 if rows < 0 else rows  # no columns are needed by views without entities, which have one row

    def _compile(self, names: tuple[str, ...]) -> Binding:
        """Find out what each of a request's columns is for, and remember it."""
        plan, types = self._plan, self._plan.types
        needed = {field.name: field.type for view in plan.computed for field in view.view.request_data}
        # Request data may be called like a join key. Feast then has a value for the one and none for the other, and
        # fails; or finds nothing, if that is one of several join keys. Here the value is used for both.
        both = self._keys_among(needed, names)
        column_of = self._column_of(names, needed, both if plan.strict else ())
        made = [self._make_keys(lookup, column_of) for lookup in plan.lookups]
        if both and any(make is None for make in made):
            column_of = self._column_of(names, needed, both)
            made = [self._make_keys(lookup, column_of) for lookup in plan.lookups]
        refusal = _missing_data([name for name in needed if name not in names], names)
        if refusal is None and any(make is None for make in made):
            refusal = self._missing(tuple(column_of), unknown=[name for name in names if name not in needed])
        retyped = {part.column: part.type for make in made for part in make or () if part.column not in names}
        request_data = tuple(name for name in names if name in needed)
        declared = tuple((name, needed[name]) for name in request_data if not types.get(name))
        undeclared = [name for name in names if name not in needed or types.get(name)]
        binding = Binding(
            columns=(
                *((name, name, types.get(name, ValueType.UNKNOWN)) for name in undeclared),
                *((key, _column_named(key), value_type) for key, value_type in retyped.items()),
            ),
            declared=declared,
            answered=tuple(
                EntityColumn(join_key, name, types.get(name, ValueType.UNKNOWN)) for join_key, name in column_of.items()
            ),
            answered_columns=tuple(column_of.values()),
            names_text=json_text(list(column_of))[:-1] + b"," if column_of else b"[",
            request_data=request_data,
            make_keys=() if refusal else tuple(map(self._key_maker, plan.lookups, made)),
            refusal=refusal,
        )
        if sum(map(len, names)) <= MAX_BINDING_CHARS:
            if len(self._bindings) >= MAX_BINDINGS:
                self._bindings.clear()
            self._bindings[names] = binding
        return binding

    def _column_of(self, names: Iterable[str], needed: Container[str], both: Container[str]) -> dict[str, str]:
        """Join key, as the answer calls it -> the column that it comes from. `both`: request data that is a key too."""
        types, join_keys = self._plan.types, self._join_keys
        column_of: dict[str, str] = {}
        for name in names:
            if name in needed and name not in both:
                continue
            if DUMMY_JOIN_KEY in (name, join_keys.of_entity.get(name)):
                continue  # Feast strips it from its answers
            if name in types or name in join_keys.all:
                column_of[name] = name
            elif name in join_keys.of_entity:  # the entity's name for its join key, which Feast takes too
                column_of[join_keys.of_entity[name]] = name
        return column_of

    def _keys_among(self, needed: Iterable[str], names: Collection[str]) -> frozenset[str]:
        """The request data that is called like a join key of this plan, or like the entity of one that did not come."""
        wanted = self._wanted()
        of_entity = self._join_keys.of_entity
        return frozenset(
            name
            for name in needed
            if name in names and (name in wanted or (of_entity.get(name) in wanted and of_entity[name] not in names))
        )

    def _wanted(self) -> set[str]:
        """The join keys of the views that are asked for, as requests call them."""
        return {name for lookup in self._plan.lookups for _, name in lookup.join_keys} - {DUMMY_JOIN_KEY}

    def _missing(self, given: Sequence[str], empty: Sequence[str] = (), unknown: Iterable[str] = ()) -> RequestError:
        """Feast's complaint about a view of which no join key is given, or none with values. `unknown`: the columns
        among which a misspelt one may be."""
        keys = sorted(self._wanted())
        missing = [key for key in keys if key not in given]
        none_given = f"Missing join key values for keys: {missing}. " if missing else ""
        return RequestError(
            f"entities: {none_given}"
            f"No values provided for keys: {[key for key in keys if key not in given or key in empty]}. "
            f"Provided join_key_values: {list(given)}"
            f"{did_you_mean([name for name in unknown if name not in given], missing)}"
        )

    def _make_keys(self, lookup: Lookup, column_of: Mapping[str, str]) -> list[KeyPart] | None:
        """What the entity keys of `lookup` are made of; None if none of its join keys is given.

        If only a part of its join keys is given, a key is made of that part, as in Feast: nothing is found under it.
        """
        if lookup.join_keys == _DUMMY_KEYS:
            return []
        join_key_of = {request_name: join_key for join_key, request_name in lookup.join_keys}
        own = set(join_key_of.values())
        given: dict[str, str] = {}  # join key -> the column that it comes from; of two columns, the later
        for answered_name, column in column_of.items():
            join_key = join_key_of.get(answered_name, answered_name)
            if join_key in own:
                given[join_key] = column
        if not given:
            return None
        types = self._plan.types
        declared = dict(zip((join_key for join_key, _ in lookup.join_keys), lookup.key_types, strict=False))
        parts = []
        for join_key, column in given.items():
            usual = types.get(column, ValueType.UNKNOWN)
            kind = declared.get(join_key, usual)
            parts.append(KeyPart(join_key, column if kind is usual else f"{column}\0{kind.name}", kind))
        return parts

    def _key_maker(self, lookup: Lookup, parts: list[KeyPart] | None) -> MakeKeys:
        version = self._join_keys.key_version
        if lookup.is_pushed:
            pushed = entity_key_header([], version)
            return lambda columns, rows: [pushed] * rows
        if not parts:
            return constant_key(DUMMY_JOIN_KEY, DUMMY_VALUE, version)
        return compile_key(parts, version)


_DUMMY_KEYS = ((DUMMY_JOIN_KEY, DUMMY_JOIN_KEY),)


def _column_named(key: str) -> str:
    """The column of the request for a name of `Binding.columns` that no column has."""
    return key.rpartition("\0")[0]


def _same_rows(name: str, rows: int, found: int) -> int:
    """The number of values in column `name`, which has to be that of the columns before it, if there are any."""
    if found != rows >= 0:
        raise RequestError(
            f"entities.{name}: All entity rows must have the same columns. "
            f"Expected {rows} values, as in the columns before, got {found}"
        )
    return found


def least_keys(plan: Plan, entities: Entities) -> int:
    """About how many keys a request for `entities` has at least, at a hundredth of what it costs to make them.

    For each lookup, they are as many as the different values of one of its join keys.
    """
    found = 0
    for lookup in plan.lookups:
        with suppress(TypeError):  # lists or objects, which cannot be compared so; nor bound
            found += max((len(set(entities.get(name, ()))) for _, name in lookup.join_keys), default=0)
    return found


def _distinct(keys: list[bytes]) -> tuple[list[bytes], list[int] | None]:
    """The different ones among the keys of rows, and for each row which of them is its own; None if all differ."""
    numbers: dict[bytes, int] = {}
    key_of_row = [numbers.setdefault(key, len(numbers)) for key in keys]
    return (keys, None) if len(numbers) == len(keys) else (list(numbers), key_of_row)


def _missing_data(names: Sequence[str], given: Iterable[str]) -> RequestError | None:
    """Feast's complaint about request data that did not come. `given`: the columns that came."""
    if not names:
        return None
    return NotFoundError(
        "RequestDataNotFoundInEntityRowsException",
        f"Required request data source features {list(names)} not found in the entity rows, "
        f"but required by feature views{did_you_mean(given, names)}",
    )


def _not_a_key(error: KeyValueError, entities: Entities, start: int = 0) -> RequestError:
    """`start` is the row of the request that is row 0 to the error."""
    name = error.column if error.column in entities else _column_named(error.column)
    if not isinstance(error, NullKeyValueError):
        return RequestError(f"entities.{name}: {error}")
    row = start + error.row
    value = entities[name][row]  # what was sent: arrays and objects are converted to null
    sent = "an array" if isinstance(value, list) else "an object" if isinstance(value, dict) else "null"
    return RequestError(f"entities.{name}[{row}]: expected a key value, got {sent}")
