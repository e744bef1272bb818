"""What a push means: which views it writes, from which of its columns, under which entity keys.

It is the mirror of reading. What depends on the registry alone is compiled with the catalog to a `WritePlan`, one for
each push source and one for each view: which columns, under which names and of which types, and what makes their keys.
A request is bound to its plan: columns become stored Values (`stored_values`; of one row mostly `usual_values`), times
(`event_times`) and entity keys. Everything is bound before anything is sent, so a push that is refused has written
nothing, to none of its views.

    {"driver_id": [7], "trips": [42], "event_timestamp": ["2026-03-01T10:00:00"]}
    ViewRows of view `stats`:   keys [<driver 7>], moments [(1772359200000000000, 08a09c90cd06)], values [[20 2a]]

Then `newest_rows` says which rows are written: those that are newer than what the store has. Feast writes no row that
is as old as what is stored, and of a push's rows with one key the newest (feast/infra/online_stores/redis.py, Feast
0.67.0).

Pure: it knows neither stores nor HTTP; the catalog's maker hands in what the store makes of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from yummy_fast.errors import CorruptValueError, LimitError, NotFoundError, PushSourceError, RequestError, StoreError
from yummy_fast.feast_format.keys import (
    KEY_TYPES,
    KeyPart,
    KeyValueError,
    compile_key,
    constant_key,
    not_a_key_type,
)
from yummy_fast.feast_format.registry import (
    DUMMY_JOIN_KEY,
    DUMMY_VALUE,
    FeatureView,
    OnDemandFeatureView,
    Registry,
    Throttle,
)
from yummy_fast.feast_format.timestamps import total_nanos
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.event_times import Moment, moment_of, parse_times
from yummy_fast.features.plan import Feature, HashContents, Lookup, Row
from yummy_fast.features.python_values import UserFunction
from yummy_fast.features.steps import Steps
from yummy_fast.features.stored_values import REFUSALS, convert_column, encode_column
from yummy_fast.features.usual_values import usual_encoder
from yummy_fast.features.views import stored_name
from yummy_fast.features.write_query import WriteQuery
from yummy_fast.features.written import Chosen, InputColumn, UsualValue, ViewRows, WrittenView

ROWS_PER_STEP = 1_024
"""Rows of a column that are encoded in one step: well under a millisecond, but for long lists."""

SDK_TIME = "event_timestamp"
"""What Feast's remote store calls this column, whatever the view's source calls it."""

PreparedTimes = TypeVar("PreparedTimes", covariant=True)
"""The store's private form of the lookups that read stored timestamps."""


@dataclass(frozen=True, slots=True, eq=False)
class WritePlan(Generic[PreparedTimes]):
    """What a push source, or a view, was compiled to."""

    views: tuple[WrittenView, ...]
    prepared: tuple[Any, ...]
    """For each view, what the store writes it by."""
    times: PreparedTimes
    """What reads the stored timestamp of each view; of nothing, if the store does not compare them."""
    cells: int
    """How many values are stored for each row, event times too."""


class Writes(Generic[PreparedTimes]):
    """All write plans of one version of the registry."""

    def __init__(
        self,
        registry: Registry,
        *,
        key_version: int,
        versioning: bool,
        prepare_times: Callable[[tuple[Lookup, ...]], PreparedTimes],
        prepare_write: Callable[[WrittenView], object],
        load: Callable[[OnDemandFeatureView], UserFunction],
        throttle: Throttle,
    ) -> None:
        """`prepare_times` and `prepare_write` are the store's, the others as for `catalog.Catalog`."""
        self._registry = registry
        by_source: dict[str, list[WrittenView | RequestError]] = {}
        views: dict[str, WrittenView | RequestError] = {}
        for view in throttle(registry.views.values()):
            if isinstance(view, FeatureView):
                compiled = _written_view(view, key_version, versioning, load)
                if not view.written.is_label_view:
                    views[view.name] = compiled
                if view.written.push_source:
                    by_source.setdefault(view.written.push_source, []).append(compiled)

        def plan(found: Iterable[WrittenView | RequestError]) -> WritePlan[PreparedTimes] | RequestError:
            good: list[WrittenView] = []
            for view in found:
                if isinstance(view, RequestError):
                    return view
                good.append(view)
            lookups = tuple(Lookup((), (view.store_name,), (), (), HashContents.of(())) for view in good)
            cells = sum(len(view.features) + 1 for view in good)
            return WritePlan(tuple(good), tuple(map(prepare_write, good)), prepare_times(lookups), cells)

        self._views = {name: plan([view]) for name, view in throttle(views.items())}
        self._sources = {name: plan(found) for name, found in throttle(by_source.items())}

    def of_source(self, name: str) -> WritePlan[PreparedTimes]:
        """The plan of a push source. Raises RequestError."""
        found = self._sources.get(name)
        if found is None:
            raise PushSourceError(f"Unable to find push source '{name}'.")
        return _checked(found)

    def of_view(self, name: str) -> WritePlan[PreparedTimes]:
        """The plan of a view. Raises RequestError."""
        found = self._views.get(name)
        if found is None:
            raise NotFoundError("FeastObjectNotFoundException", f"Can't recognize feast object with a name {name}")
        return _checked(found)

    def sources(self) -> Iterable[tuple[str, tuple[WrittenView, ...]]]:
        """Each push source that can be written by, and the views that it writes."""
        return ((name, plan.views) for name, plan in self._sources.items() if isinstance(plan, WritePlan))

    def views(self) -> Iterable[tuple[str, tuple[WrittenView, ...]]]:
        """Each view that can be written, as `sources` has them."""
        return ((name, plan.views) for name, plan in self._views.items() if isinstance(plan, WritePlan))

    def pieces(self) -> list[object]:
        """As `catalog.Catalog.pieces`."""
        return [*self._views.values(), *self._sources.values()]


def _checked(found: WritePlan[PreparedTimes] | RequestError) -> WritePlan[PreparedTimes]:
    if isinstance(found, RequestError):
        raise found.fresh_copy()
    return found


def _written_view(
    view: FeatureView, key_version: int, versioning: bool, load: Callable[[OnDemandFeatureView], UserFunction]
) -> WrittenView | RequestError:
    written = view.written
    function = None
    if written.computed is not None:
        try:
            function = load(written.computed)
        except RequestError as error:
            return error.fresh_copy()
    store_name = stored_name(view.name, view.version if versioning else 0)
    keys = [column for column in view.entity_columns if column.name != DUMMY_JOIN_KEY]
    for key in keys:
        if key.type and key.type not in KEY_TYPES:
            return RequestError(f"df.{key.name}: {not_a_key_type(key.type.name)}")
    if keys:
        make_keys = compile_key([KeyPart(key.name, key.name, key.type) for key in keys], key_version)
    else:
        make_keys = constant_key(DUMMY_JOIN_KEY, DUMMY_VALUE, key_version)

    def given_as(name: str) -> tuple[str, ...]:
        return (name, *(raw for raw, mapped in written.field_mapping.items() if mapped == name and raw != name))

    def inputs(fields: Iterable[Any]) -> tuple[InputColumn, ...]:
        return tuple(InputColumn(field.name, field.type, given_as(field.name)) for field in fields)

    fields = list(view.features)
    if written.computed is not None:
        fields += [key for key in keys if key.name not in {field.name for field in fields}]
    names = [field.name for field in fields]
    usual = [usual_encoder(field.type) for field in fields]
    kinds_of_keys = [_USUAL_KEYS.get(key.type) for key in keys]
    is_simple = (
        written.computed is None
        and not written.field_mapping
        and written.vector not in names
        and all(usual)
        and all(kinds_of_keys)
    )
    created = written.created_column
    return WrittenView(
        name=view.name,
        store_name=store_name,
        features=tuple(Feature(store_name, field.name, field.type) for field in fields),
        own_features=len(view.features),
        inputs=inputs(fields),
        keys=inputs(keys),
        make_keys=make_keys,
        time=() if written.computed is not None else given_as(written.timestamp_field or SDK_TIME),
        created=given_as(created) if created else (),
        vector=names.index(written.vector) if written.vector in names else -1,
        vector_length=written.vector_length,
        computed=written.computed,
        function=function,
        usual=tuple(
            UsualValue(field.name, *one) for field, one in zip(fields, usual, strict=True) if one and is_simple
        ),
        usual_keys=tuple((key.name, kind) for key, kind in zip(keys, kinds_of_keys, strict=True) if kind),
    )


# -------------------------------------------------------------------------------------------------------------- binding


def check_size(cells: int, rows: int, max_rows: int, max_cells: int) -> None:
    """Raises LimitError if a push is too large. `cells` is that of its plan."""
    if rows > max_rows:
        raise LimitError(413, f"Content Too Large: the limit is {max_rows} rows")
    if rows * cells > max_cells:
        raise LimitError(413, f"Content Too Large: the limit is {max_cells} rows x features")


def bind(
    views: Sequence[WrittenView], query: WriteQuery, now: datetime, *, exact: bool = False
) -> Steps[list[ViewRows | None]]:
    """The rows of each view; None for a view of which all features are null, and nothing is written.

    `now` is the event time of what is computed. Raises RequestError.
    """
    found: list[ViewRows | None] = []
    for view in views:
        bound = yield from _bind_view(view, query.columns, query.rows, now, exact)
        found.append(bound)
    return found


def _bind_view(
    view: WrittenView, columns: Mapping[str, Any], rows: int, now: datetime, exact: bool
) -> Steps[ViewRows | None]:
    if not rows:
        return None
    if rows == 1 and view.usual:
        usual = _bind_usual_row(view, columns)
        if usual is not None:
            return usual
    given = [_find(column, columns, view, rows) for column in view.inputs]
    if view.vector >= 0:
        _check_vector(view, *given[view.vector])
    values: list[list[bytes]] = []
    for column, (name, source) in zip(view.inputs, given, strict=True):
        if rows <= ROWS_PER_STEP:
            values.append(encode_column(name, column.type, source, exact=exact))
            continue
        encoded: list[bytes] = []
        for start in range(0, rows, ROWS_PER_STEP):
            part = source[start : start + ROWS_PER_STEP]
            encoded += encode_column(name, column.type, part, exact=exact, start=start)
            yield
        values.append(encoded)
    if not any(map(any, values[: view.own_features])):
        return None
    keys = yield from _bind_keys(view, columns, rows, exact)
    if view.computed is not None:
        return ViewRows(keys, [moment_of(now)] * rows, values, [])
    moments = yield from _bind_times(view, columns, rows)
    created = yield from _bind_created(view, columns, rows)
    return ViewRows(keys, moments, values, created)


def _bind_usual_row(view: WrittenView, columns: Mapping[str, Any]) -> ViewRows | None:
    """The one row of a push, if nothing of it is null or has to be converted; else None, and it is bound as others are.

    Most pushes are such a row. Raises RequestError for its times.
    """
    values, keys = [], {}
    try:
        for name, kinds, encode in view.usual:
            column = columns[name]
            if type(column) is not list or type(column[0]) not in kinds:
                return None
            values.append([encode(column[0])])
        for name, kind in view.usual_keys:
            column = keys[name] = columns[name]
            if type(column) is not list or type(column[0]) is not kind:
                return None
        made = view.make_keys(keys, 1)
        column = columns[name := view.time[0]]
    except (KeyError, KeyValueError, *REFUSALS):
        return None
    if type(column) is not list:
        return None
    created_name, created = _find_created(view, columns, 1)
    return ViewRows(made, parse_times(name, column), values, _parse_created(created_name, created, 0))


_USUAL_KEYS: Mapping[ValueType | None, type] = {ValueType.INT64: int, ValueType.STRING: str}


def _find(column: InputColumn, columns: Mapping[str, Any], view: WrittenView, rows: int) -> tuple[str, list[Any]]:
    """The name and the values of a column of a push. Raises RequestError."""
    name = column.name
    found = columns.get(name, columns)
    if len(column.given_as) > 1:
        names = [name for name in column.given_as if name in columns]
        if len(names) > 1:
            raise RequestError(f"df: {' and '.join(names)} are both {column.name} of feature view {view.name}")
        if names:
            name = names[0]
            found = columns[name]
    if found is columns:
        raise RequestError(f"df.{column.name}: missing; feature view {view.name} needs it")
    return name, found if type(found) is list else [found] * rows


def _check_vector(view: WrittenView, name: str, values: Sequence[Any]) -> None:
    """Raises RequestError if the values of an indexed vector differ in length."""
    expected = view.vector_length
    for row, value in enumerate(values):
        if value is None:
            continue
        if not isinstance(value, list):
            raise RequestError(f"df.{name}[{row}]: expected an array, since this feature is a vector")
        expected = expected or len(value)
        if len(value) != expected:
            raise RequestError(f"df.{name}[{row}]: expected a vector of {expected} numbers, got {len(value)}")


def _bind_keys(view: WrittenView, columns: Mapping[str, Any], rows: int, exact: bool) -> Steps[list[bytes]]:
    given = {key.name: (key.type, *_find(key, columns, view, rows)) for key in view.keys}
    keys: list[bytes] = []
    for start in range(0, rows, ROWS_PER_STEP):
        end = min(rows, start + ROWS_PER_STEP)
        converted = {
            name: convert_column(column, value_type, source[start:end], exact=exact, start=start)
            for name, (value_type, column, source) in given.items()
        }
        try:
            keys += view.make_keys(converted, end - start)
        except KeyValueError as error:
            raise RequestError(f"df.{given[error.column][1]}: {error}") from None
        if rows > ROWS_PER_STEP:
            yield
    return keys


def _bind_times(view: WrittenView, columns: Mapping[str, Any], rows: int) -> Steps[list[Moment]]:
    column = InputColumn(view.time[0], ValueType.UNKNOWN, view.time)
    if SDK_TIME in columns and not any(name in columns for name in view.time):
        column = InputColumn(SDK_TIME, ValueType.UNKNOWN, (SDK_TIME,))
    name, source = _find(column, columns, view, rows)
    moments: list[Moment] = []
    for start in range(0, rows, ROWS_PER_STEP):
        moments += parse_times(name, source[start : start + ROWS_PER_STEP], start)
        if rows > ROWS_PER_STEP:
            yield
    return moments


def _bind_created(view: WrittenView, columns: Mapping[str, Any], rows: int) -> Steps[list[Moment | None]]:
    name, source = _find_created(view, columns, rows)
    moments: list[Moment | None] = []
    for start in range(0, len(source), ROWS_PER_STEP):
        moments += _parse_created(name, source[start : start + ROWS_PER_STEP], start)
        if rows > ROWS_PER_STEP:
            yield
    return moments


def _find_created(view: WrittenView, columns: Mapping[str, Any], rows: int) -> tuple[str, list[Any]]:
    """Few stores keep when a row was created: it may be missing, or null for all rows, and then there are no values."""
    names = [name for name in view.created if name in columns]
    if not names:
        return "", []
    if len(names) > 1:
        raise RequestError(f"df: {' and '.join(names)} are both {view.created[0]} of feature view {view.name}")
    column = columns[names[0]]
    source = column if type(column) is list else [column] * rows
    return names[0], [] if source.count(None) == rows else source


def _parse_created(name: str, values: Sequence[Any], start: int) -> list[Moment | None]:
    if None not in values:
        return [*parse_times(name, values, start)]
    return [None if value is None else parse_times(name, [value], row)[0] for row, value in enumerate(values, start)]


# --------------------------------------------------------------------------------------------------- what is written


def last_rows(rows: ViewRows) -> Chosen:
    """Of the rows with one key the last, whatever its time."""
    return Chosen(rows, sorted({key: row for row, key in enumerate(rows.keys)}.values()))


def newest_rows(view: WrittenView, rows: ViewRows, keys: Sequence[bytes], stored: Sequence[Row]) -> Steps[Chosen]:
    """The rows that are newer than what is stored: of those with one key the newest, of equal times the first.

    `stored` has the stored timestamp for each of `keys`. A stored time at or before the epoch counts as none. Raises
    StoreError.
    """
    if len(rows.keys) == 1:
        before_it = _stored_nanos(view, stored[0])
        is_newer = before_it <= 0 or rows.moments[0].nanos > before_it
        return Chosen(rows, (0,) if is_newer else ())
    before: dict[bytes, int] = {}
    for number, (key, stored_row) in enumerate(zip(keys, stored, strict=True), 1):
        before[key] = _stored_nanos(view, stored_row)
        if number % ROWS_PER_STEP == 0:
            yield
    latest: dict[bytes, int] = {}
    chosen: dict[bytes, int] = {}
    for row, (key, moment) in enumerate(zip(rows.keys, rows.moments, strict=True)):
        nanos = moment.nanos
        seen = max(before.get(key, 0), latest.get(key, 0))
        if not seen or nanos > seen:
            latest[key] = nanos
            chosen[key] = row
        if row % ROWS_PER_STEP == ROWS_PER_STEP - 1:
            yield
    return Chosen(rows, sorted(chosen.values()))


def _stored_nanos(view: WrittenView, row: Row) -> int:
    """When a stored row happened; 0 if there is none."""
    try:
        return total_nanos(row[0])
    except CorruptValueError as error:
        raise StoreError(f"{view.name}: the online store holds {error}") from None
