"""Feature vectors as JSON: from what a store has answered to the body of an answer.

An answer is text that the plan knew beforehand, with values spliced in. Feast's shape is one object for each column,

    {"values":[...],"statuses":[...],"event_timestamps":[...]}

and within an answer all columns of one view share statuses and timestamps. So the text between the values of two
columns is made once for each view. It is called a tail here, and reaches from the end of one column's values to the
beginning of the next column's. The answer with the columns driver_id, trips and rate, the last two of one view, for
one entity:

    head      {"results":[{"values":[
    values    1001
    tail      ],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]},{"values":[
    values    11
    tail      ],"statuses":["PRESENT"],"event_timestamps":["2026-11-22T23:18:19.123Z"]},{"values":[
    values    0.5
    tail      the same bytes object as before; but as the last one it is cut where its column ends
    end       ]}],"metadata":{"feature_names":["driver_id","trips","rate"]}}

The values of a whole row or column become text in one call of orjson (`json_text`), and the timestamps' texts are
remembered (`timestamp_text`). No Python object is built for a value in order to be written again. Measured against
orjson writing the whole answer from dictionaries, this takes half the time for one entity
(perf/experiments/orjson_spliced_or_whole.py).

Where the native room serves, it makes the usual answer's body from stored bytes in one call: the same bytes, which
tests/native proves. What it leaves to this file is listed at `native/body.c`.

Pure. It does not decode Values (`feast_format.values`) and does not decide about statuses (`statuses`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import accumulate, chain, groupby, repeat
from operator import itemgetter
from typing import Any

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamps
from yummy_fast.feast_format.values import RowDecoder, bytes_at_once, column_decoder, decode_value
from yummy_fast.features.binding import Bound
from yummy_fast.features.json_text import about_bytes, array_text, column_texts, json_text, value_texts
from yummy_fast.features.plan import ComputedColumn, Lookup, Plan, Row, Rows
from yummy_fast.features.statuses import (
    NO_MOMENT,
    NULL_VALUE,
    PRESENT,
    LookupStatuses,
    StatusPolicy,
    microseconds_of,
)
from yummy_fast.features.timestamp_text import Stamp, TimestampMemo, TimestampTexts
from yummy_fast.native.owner import body_writer

HEAD = b'{"results":['
VALUES = b'{"values":['
STATUSES = b'],"statuses":['
TIMESTAMPS = b'],"event_timestamps":['
NEXT = b"]},"
METADATA = b']}],"metadata":{"feature_names":'
_METADATA_BEHIND_COLUMN = METADATA.removeprefix(b"]}")  # the native room has written whole columns
END = b"}}"

MAX_ROWS_IN_RUNS = 10
"""Answers of up to this many rows are joined run by run: see `encode_vectors`."""


MAX_CELLS_AT_ONCE = 25_000
"""Values of an answer that is made in one go: 100 rows of 250 features take 5 ms."""
MAX_COMPUTED_AT_ONCE = 512 << 10
"""Bytes, about, of the values in it that functions have computed."""

# --------------------------------------------------------------------------------------------------------------- tails

TAIL_END = NEXT + VALUES
_PRESENT_HEAD = STATUSES + PRESENT + TIMESTAMPS
EPOCH = b'"1970-01-01T00:00:00Z"'


def tail_text(statuses: bytes, timestamps: bytes) -> bytes:
    """The tail of a column, from the texts of its statuses and timestamps, each with commas between them."""
    return b"".join((STATUSES, statuses, TIMESTAMPS, timestamps, TAIL_END))


_PLAIN_TAIL_OF_ONE = tail_text(PRESENT, EPOCH)


def plain_tail(rows: int) -> bytes:
    """The tail of a column that is PRESENT and has no timestamps: of join keys, and of what functions compute."""
    if rows == 1:
        return _PLAIN_TAIL_OF_ONE
    if rows == 0:
        return STATUSES + NEXT + VALUES  # where there are no timestamps, Feast leaves their name out
    return tail_text(b",".join([PRESENT] * rows), b",".join([EPOCH] * rows))


def computed_tail(values: Sequence[Any], policy: StatusPolicy) -> bytes:
    """The tail of a column that a function has computed."""
    if policy is not StatusPolicy.EXACT or None not in values:
        return plain_tail(len(values))
    cells = [NULL_VALUE if value is None else PRESENT for value in values]
    return tail_text(b",".join(cells), b",".join([EPOCH] * len(cells)))


class Tails:
    """The texts of timestamps, and of the tails around them. One for all layouts of a catalog: it remembers texts."""

    __slots__ = ("_present", "timestamps")

    def __init__(self) -> None:
        self.timestamps = TimestampTexts()
        self._present = TimestampMemo()

    def present(self, stamps: Sequence[Stamp]) -> list[bytes]:
        """For each timestamp, the tail of a column of one row that is PRESENT. Raises CorruptValueError."""
        known = list(map(self._present.texts.get, stamps))
        if None not in known:
            return known  # type: ignore[return-value]  # there is no None
        # All tails in one text: the comma between two timestamps becomes the end of one tail and the head of the next.
        text = self.timestamps.joined(stamps).replace(b",", TAIL_END + b"\0" + _PRESENT_HEAD)
        tails = (_PRESENT_HEAD + text + TAIL_END).split(b"\0")
        if self._present.is_due():
            self._present.remember(stamps, tails)
        return tails


# -------------------------------------------------------------------------------------------------------------- layouts


class _Runs:
    """Columns that stand together and share a tail, one run after the other."""

    __slots__ = ("pieces", "tails", "widths")

    def __init__(self, view_of: Iterable[tuple[int, int]]) -> None:
        """`view_of`: for each run, the view whose tail it has, and how many columns it is."""
        views, self.widths = zip(*view_of, strict=True)
        ends = list(accumulate(self.widths))
        slices = [slice(end - width, end) for end, width in zip(ends, self.widths, strict=True)]
        several = len(slices) > 1  # of one item, itemgetter does not make a tuple
        self.pieces: Callable[[list[bytes]], Sequence[list[bytes]]] = itemgetter(*slices) if several else _alone
        """The texts of columns -> a list of them for each run."""
        self.tails: Callable[[list[bytes]], Sequence[bytes]] = itemgetter(*views) if several else list
        """The tails of views -> the tail of each run."""


def _alone(texts: list[bytes]) -> tuple[list[bytes]]:
    return (texts,)


class LookupLayout:
    """How the rows of one Lookup become text."""

    __slots__ = ("bytes_at_once", "columns", "features", "row", "runs", "singles", "statuses", "view_of", "width")

    def __init__(self, lookup: Lookup, policy: StatusPolicy) -> None:
        types = [feature.type for feature in lookup.features]
        self.width = len(types)
        exact = policy is StatusPolicy.EXACT
        self.row = RowDecoder(types, exact=exact)
        self.columns = [column_decoder(value_type, exact=exact) for value_type in types]
        self.bytes_at_once = bytes_at_once(types)
        """More stored bytes than these are encoded in steps; 0 is no bound."""
        self.features = lookup.features
        self.view_of = lookup.view_of
        self.statuses = LookupStatuses(lookup, policy)
        self.runs = _Runs((view, len(list(run))) for view, run in groupby(lookup.view_of))
        """The features of one view that stand together ..."""
        # A sixth of a plan's memory. So it is made only where the statuses within a view can differ.
        self.singles = self.runs if policy is StatusPolicy.PRESENT else _Runs((view, 1) for view in lookup.view_of)
        """... or each feature by itself, if their statuses differ."""


class Layout:
    """What `encode_vectors` has to know of a plan, made when the plan is compiled."""

    __slots__ = (
        "_may_be_large",
        "arrange",
        "cells",
        "ends",
        "lookups",
        "policy",
        "tails",
        "write_body",
    )

    def __init__(self, plan: Plan, policy: StatusPolicy, tails: Tails) -> None:
        self.cells = sum(len(lookup.features) for lookup in plan.lookups) + sum(
            len(view.outputs) for view in plan.computed
        )
        """Values of one entity row: those that are read, also if only on-demand views need them, and the computed."""
        self.policy = policy
        self.tails = tails
        self.lookups = [LookupLayout(lookup, policy) for lookup in plan.lookups]
        self._may_be_large = any(lookup.bytes_at_once for lookup in self.lookups)
        """Whether there are features whose values `fits_at_once` has to look at."""
        computed = (name for view in plan.computed for _, name in view.outputs)
        names = json_text([*(column.name for column in plan.columns), *computed])[1:]
        entries = [{"name": name, **({"version": version} if version else {})} for name, version in plan.view_metadata]
        end = names + END
        self.ends = (end, b"".join((names, b',"feature_view_metadata":', json_text(entries), END)) if entries else end)
        """The ends of answers: the names of the features, as the end of a JSON array that those of the join keys begin.
        The second, with `version_metadata`, also has the versions of the views.
        """
        # For each column of the answer, its position in all lookups' columns, one after the other. None if they agree.
        starts = list(accumulate((len(lookup.features) for lookup in plan.lookups), initial=0))
        order = [starts[column.lookup] + column.position for column in plan.columns]
        self.arrange = None if order == list(range(starts[-1])) else order
        usual = policy is not StatusPolicy.MISSING_AWARE and not plan.computed
        self.write_body = self._native_writer(plan) if usual and body_writer is not None else None
        """The native room's way to such bodies; it returns None for one that it leaves to Python."""

    def _native_writer(self, plan: Plan) -> Callable[..., bytes | None]:
        first_view = list(accumulate((len(lookup.views) for lookup in plan.lookups), initial=0))
        lookups, columns, ttls = array("I"), array("I"), array("q")
        for lookup, layout in zip(plan.lookups, self.lookups, strict=True):
            lookups.extend((len(lookup.features), len(lookup.views)))
            ttls.extend(layout.statuses.ttls_us)
        for column in plan.columns:
            view = first_view[column.lookup] + plan.lookups[column.lookup].view_of[column.position]
            columns.extend((column.lookup, column.position, view))
        assert body_writer is not None  # noqa: S101  # the caller has looked
        exact = (ttls.tobytes(),) if self.policy is StatusPolicy.EXACT else ()
        return body_writer(lookups.tobytes(), columns.tobytes(), *exact).write

    def fits_at_once(self, bound: Bound, rows: Rows, computed: Sequence[ComputedColumn] = ()) -> bool:
        """Whether `encode_vectors` may make this answer, as far as can be said without decoding: in some 10 ms.

        If not, `large_answers` makes it in steps.
        """
        if bound.rows * self.cells > MAX_CELLS_AT_ONCE:
            return False
        for number, lookup in enumerate(self.lookups) if self._may_be_large else ():
            if lookup.bytes_at_once:
                sizes = [sum(map(len, filter(None, row))) for row in rows[number]]
                if sum(bound.spread(number, sizes)) > lookup.bytes_at_once:
                    return False
        return not computed or sum(about_bytes(column.values) for column in computed) <= MAX_COMPUTED_AT_ONCE


# ------------------------------------------------------------------------------------------------------------- encoding


def encode_vectors(
    layout: Layout,
    bound: Bound,
    rows: Rows,
    computed: Sequence[ComputedColumn] = (),
    *,
    version_metadata: bool = False,
    now: datetime = NO_MOMENT,
) -> bytes:
    """The body of an answer. Raises CorruptValueError that names the feature, except with StatusPolicy.EXACT.

    - `computed`: the columns that follow the stored ones.
    - `version_metadata`: whether the answer says which versions of views it is made of.
    - `now`: the moment from which StatusPolicy.EXACT counts ages.

    The values of the stored columns and their tails are joined in one of two ways
    (perf/experiments/join_by_runs_or_columns.py):

    1. Run by run. The columns of a view that stand together share a tail, so `tail.join(values)` makes one text of
       them in C: `1],"sta...[2],"sta...[3` of the values 1, 2 and 3. For one entity this takes a fifth less time than
       the second way, counting all that is done for an answer here.

    2. Column by column. Each column's values and tail are put into the list that is joined at the very end. So nothing
       is copied twice, which counts where texts are long, and the columns can come in any order. It is taken for
       answers of many rows, and if the order of the columns is not that of the lookups: where features of several
       entities are named in turns.
    """
    names, end = bound.binding.names_text, layout.ends[version_metadata]
    if layout.write_body is not None:
        end_of_body = b"".join((_METADATA_BEHIND_COLUMN, names, end))
        if layout.policy is StatusPolicy.PRESENT:
            body = layout.write_body(bound.entity_columns, rows, bound.row_to_key, bound.rows, end_of_body)
        else:
            moment = microseconds_of(now)
            body = layout.write_body(bound.entity_columns, rows, bound.row_to_key, bound.rows, end_of_body, moment)
        if body is not None:
            return body
    encode = _encode_row if bound.rows == 1 else _encode_columns
    in_runs = layout.arrange is None and bound.rows <= MAX_ROWS_IN_RUNS
    parts = [HEAD, VALUES]
    for values in bound.entity_columns:
        parts += (array_text(values), plain_tail(len(values)))
    all_texts: list[bytes] = []
    all_tails: list[bytes] = []
    for number, lookup in enumerate(layout.lookups):
        texts, tails, runs = encode(lookup, bound.spread(number, rows[number]), layout.tails, now)
        if in_runs:
            parts += chain.from_iterable(zip(map(bytes.join, tails, runs.pieces(texts)), tails, strict=True))
        else:
            all_texts += texts
            all_tails += chain.from_iterable(map(repeat, tails, runs.widths))
    if not in_runs:
        for position in range(len(all_texts)) if layout.arrange is None else layout.arrange:
            parts += (all_texts[position], all_tails[position])
    for column in computed:
        parts += (array_text(column.values), computed_tail(column.values, layout.policy))
    parts[-1] = parts[-1][: -len(TAIL_END)]  # no column follows the last one
    parts += (METADATA, names, end)
    return b"".join(parts)


_Encoded = tuple[list[bytes], Sequence[bytes], _Runs]
"""The text of each column's values, and a tail for each run of columns."""


def _encode_row(lookup: LookupLayout, rows: Sequence[Row], tails: Tails, now: datetime) -> _Encoded:
    """One entity."""
    row = rows[0]
    stored, stamps = row[: lookup.width], row[lookup.width :]
    runs, statuses = lookup.runs, lookup.statuses
    try:
        values = lookup.row(stored)
        if statuses.policy is StatusPolicy.PRESENT or (None not in values and statuses.all_fresh(stamps, now)):
            return value_texts(values), runs.tails(tails.present(stamps)), runs
        times = tails.timestamps.joined(stamps).split(b",")
    except CorruptValueError:
        if statuses.policy is not StatusPolicy.EXACT:
            raise corrupt_feature(lookup, rows) from None
        return _encode_row(lookup, [statuses.mark_corrupt(row)], tails, now)
    of_values = statuses.of_values(decode_timestamps(stamps), now)
    if None not in values:
        return value_texts(values), runs.tails(list(map(tail_text, of_values, times))), runs
    of_columns = [
        tail_text(statuses.of_cell(one, value, of_values[view]), times[view])
        for one, value, view in zip(stored, values, lookup.view_of, strict=True)
    ]
    return value_texts(values), of_columns, lookup.singles


def _encode_columns(lookup: LookupLayout, rows: Sequence[Row], tails: Tails, now: datetime) -> _Encoded:
    """Several entities."""
    columns = list(zip(*rows, strict=True))
    stamps = columns[lookup.width :]
    runs, statuses = lookup.runs, lookup.statuses
    try:
        decoded = [decode(stored) for decode, stored in zip(lookup.columns, columns[: lookup.width], strict=True)]
        times = list(map(tails.timestamps.joined, stamps))
    except CorruptValueError:
        if statuses.policy is not StatusPolicy.EXACT:
            raise corrupt_feature(lookup, rows) from None
        return _encode_columns(lookup, [statuses.mark_corrupt(row) for row in rows], tails, now)
    texts = column_texts(decoded)
    if statuses.policy is StatusPolicy.PRESENT:
        present = b",".join([PRESENT] * len(rows))
        return texts, runs.tails([tail_text(present, time) for time in times]), runs
    moments = zip(*map(decode_timestamps, stamps), strict=True)  # of each row, those of all views
    of_values = list(zip(*[statuses.of_values(of_row, now) for of_row in moments], strict=True))
    of_views = [tail_text(b",".join(cells), time) for cells, time in zip(of_values, times, strict=True)]
    if not any(None in values for values in decoded):
        return texts, runs.tails(of_views), runs
    of_columns = []
    for stored, values, view in zip(columns[: lookup.width], decoded, lookup.view_of, strict=True):
        if None in values:
            cells = map(statuses.of_cell, stored, values, of_values[view])
            of_columns.append(tail_text(b",".join(cells), times[view]))
        else:
            of_columns.append(of_views[view])
    return texts, of_columns, lookup.singles


def corrupt_feature(lookup: LookupLayout, rows: Sequence[Row]) -> CorruptValueError:
    """The error for the first stored bytes that do not decode. It names the feature, but no row: that is an
    entity's."""
    for row in rows:
        for feature, stored in zip(lookup.features, row, strict=False):
            try:
                decode_value(stored)
            except CorruptValueError as error:
                return CorruptValueError(f"{feature.view}:{feature.name}: the online store holds {error}")
    views = ", ".join(dict.fromkeys(feature.view for feature in lookup.features))
    return CorruptValueError(f"{views}: the online store holds a corrupt event timestamp")
