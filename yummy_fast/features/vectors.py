"""Feature vectors as JSON: what a store has answered, and what a plan knew before, to the body of an answer.

An answer is text that the plan knew beforehand with values spliced in. Feast's shape is one object per column,

    {"values":[...],"statuses":[...],"event_timestamps":[...]}

and within one view all columns of an answer share statuses and timestamps. So `encode_vectors` makes the text between
two columns' values once per view (`_tail`), gets the values of a whole row or column as text from a single orjson call,
and joins. No Python object is built per value in order to be dumped again; none is looked up.

Pure. It does not decode Values (`codec`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import accumulate, chain, cycle, groupby, repeat
from operator import itemgetter
from typing import Any

import orjson

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamp, decode_timestamps
from yummy_fast.feast_format.values import RowDecoder, column_decoder, decode_value, spell_non_finite
from yummy_fast.features.plan import Bound, ComputedColumn, Lookup, Plan, Row, Rows


class StatusPolicy(Enum):
    """Which status the cells of an answer have."""

    PRESENT = "present"
    """PRESENT, all of them: Feast on a store where what is absent looks like a null (Redis)."""
    MISSING_AWARE = "missing_aware"
    """NOT_FOUND for what is absent, else PRESENT: Feast on a store that knows (SQLite)."""
    EXACT = "exact"
    """NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE where they hold, INVALID for what is corrupt: --compat strict."""


_VALUES = b'{"values":['
_STATUSES = b'],"statuses":['
_TIMESTAMPS = b'],"event_timestamps":['
_NEXT = b"]},"
_OPEN = b'{"results":['
_CLOSE = b']}],"metadata":{"feature_names":'
_PRESENT = b'"PRESENT"'
_NOT_FOUND = b'"NOT_FOUND"'
_NULL_VALUE = b'"NULL_VALUE"'
_OUTSIDE_MAX_AGE = b'"OUTSIDE_MAX_AGE"'
_INVALID = b'"INVALID"'
_EPOCH = b'"1970-01-01T00:00:00Z"'


NO_MOMENT = datetime.min.replace(tzinfo=UTC)
"""Instead of the time, where no ages are looked at."""
_LONGEST_S = timedelta.max.total_seconds() - 1  # a registry can say more


class _Runs:
    """Columns that stand together and share a tail, one run after the other."""

    __slots__ = ("pieces", "tails", "widths")

    def __init__(self, view_of: Iterable[tuple[int, int]]) -> None:
        """`view_of`: for each run, the view whose tail it has, and how many columns it is."""
        views, self.widths = zip(*view_of, strict=True)
        ends = list(accumulate(self.widths))
        slices = [slice(end - width, end) for end, width in zip(ends, self.widths, strict=True)]
        several = len(slices) > 1  # of one thing, itemgetter does not make a tuple
        self.pieces: Callable[[list[bytes]], Sequence[list[bytes]]] = itemgetter(*slices) if several else _alone
        """The texts of columns -> a list of them for each run."""
        self.tails: Callable[[list[bytes]], Sequence[bytes]] = itemgetter(*views) if several else list
        """The tails of views -> the tail of each run."""


def _alone(texts: list[bytes]) -> tuple[list[bytes]]:
    return (texts,)


class _LookupRendering:
    """How the rows of one Lookup become text."""

    __slots__ = ("columns", "expires", "features", "row", "runs", "singles", "ttls", "view_places", "width")

    def __init__(self, lookup: Lookup, statuses: StatusPolicy) -> None:
        types = [feature.type for feature in lookup.features]
        self.width = len(types)
        self.row = RowDecoder(types)
        self.columns = list(map(column_decoder, types))
        self.features = lookup.features
        self.ttls = [timedelta(seconds=min(ttl_s, _LONGEST_S)) if ttl_s else None for ttl_s in lookup.ttls_s]
        self.expires = any(self.ttls)
        """Whether any view has a ttl."""
        self.view_places = lookup.view_of
        self.runs = _Runs((view, len(list(run))) for view, run in groupby(lookup.view_of))
        """The features of one view that stand together ..."""
        # A sixth of a plan's memory, so only where statuses can differ.
        self.singles = self.runs if statuses is StatusPolicy.PRESENT else _Runs((view, 1) for view in lookup.view_of)
        """... or each feature by itself, where their statuses differ."""


class Rendering:
    """What `encode_vectors` needs to know of a plan, made when the plan is compiled."""

    __slots__ = ("arrange", "lookups", "names", "statuses", "version_metadata")

    def __init__(self, plan: Plan, statuses: StatusPolicy) -> None:
        self.statuses = statuses
        self.lookups = [_LookupRendering(lookup, statuses) for lookup in plan.lookups]
        self.names = [column.name for column in plan.columns] + [
            name for computed in plan.computed for _, name in computed.outputs
        ]
        entries = [{"name": name, **({"version": version} if version else {})} for name, version in plan.view_metadata]
        self.version_metadata = b',"feature_view_metadata":' + orjson.dumps(entries) if entries else b""
        # The lookups' columns one after the other -> the columns of the answer; None if that is the same.
        starts = list(accumulate((len(lookup.features) for lookup in plan.lookups), initial=0))
        order = [starts[column.lookup] + column.place for column in plan.columns]
        self.arrange = None if order == list(range(starts[-1])) else order


def encode_vectors(
    plan: Plan,
    bound: Bound,
    rows: Rows,
    *,
    version_metadata: bool = False,
    now: datetime = NO_MOMENT,
    computed: Sequence[ComputedColumn] = (),
) -> bytes:
    """The body of an answer. Raises CorruptValueError naming the feature, but with StatusPolicy.EXACT.

    - `now`: against which StatusPolicy.EXACT measures ages.
    - `computed`: the columns that follow the stored ones.
    """
    rendering: Rendering = plan.rendering
    encode = _encode_row if bound.rows == 1 else _encode_columns
    parts = [_OPEN, _VALUES]
    for values in bound.entity_columns:
        parts += (_array_text(values), _plain_tail(len(values)))
    all_texts: list[bytes] = []
    all_tails: list[bytes] = []
    for lookup, found, key_of_row in zip(rendering.lookups, rows, bound.row_to_key, strict=True):
        each = found if key_of_row is None else [found[place] for place in key_of_row]
        texts, tails, runs = encode(lookup, each, rendering.statuses, now)
        if rendering.arrange is not None:
            all_texts += texts
            all_tails += chain.from_iterable(map(repeat, tails, runs.widths))
        elif len(tails[0]) > LONG_TAIL_BYTES:
            for tail, some in zip(tails, runs.pieces(texts), strict=True):
                parts += chain.from_iterable(zip(some, repeat(tail)))
        else:
            parts += chain.from_iterable(zip(map(bytes.join, tails, runs.pieces(texts)), tails, strict=True))
    if rendering.arrange is not None:
        for place in rendering.arrange:
            parts += (all_texts[place], all_tails[place])
    for column in computed:
        parts += (_array_text(column.values), _computed_tail(column.values, rendering.statuses))
    parts[-1] = parts[-1][: -len(_NEXT) - len(_VALUES)]  # the last column ends the list of columns
    feature_names = bound.binding.feature_names
    if feature_names is None:
        # A copy: what orjson returns holds on to the whole buffer that it was written in.
        feature_names = bytes(memoryview(orjson.dumps([*bound.binding.answered_names, *rendering.names])))
        bound.binding.feature_names = feature_names
    parts += (_CLOSE, feature_names)
    if version_metadata:
        parts.append(rendering.version_metadata)
    parts.append(b"}}")
    return b"".join(parts)


def _array_text(values: Sequence[Any]) -> bytes:
    """Values as JSON, with commas between them, for all that protobuf can hold."""
    text = orjson.dumps(values)
    # orjson writes null for the floats that JSON has no number for. It does so quietly: more nulls than there are Nones
    # give them away. (A string may hold the word too; then this is done in vain.)
    if b"null" in text and text.count(b"null") > values.count(None):
        text = orjson.dumps(spell_non_finite(values))
    return text[1:-1]


def _column_texts(columns: Sequence[Sequence[Any]]) -> list[bytes]:
    """`_array_text` of each column, all from one call of orjson where that can be told apart again."""
    text = orjson.dumps(columns)
    if b"null" not in text:
        # As many pieces as columns: then what was split at stands between two columns, and nowhere within one.
        texts = text[2:-2].split(b"],[")
        if len(texts) == len(columns):
            return texts
    return list(map(_array_text, columns))


def _texts(values: Sequence[Any]) -> list[bytes]:
    """Each value as JSON."""
    text = orjson.dumps(values)
    if b"null" in text and text.count(b"null") > values.count(None):  # as in _array_text
        values = spell_non_finite(values)
        text = orjson.dumps(values)
    # As many pieces as values: then each comma stands between two of them, and none within one.
    texts = text[1:-1].split(b",")
    if len(texts) == len(values):
        return texts
    # Printed one item a line, JSON is split where the lines end: inside strings, line ends are escaped. What is neither
    # an array nor an object takes one line.
    text = orjson.dumps(values, option=orjson.OPT_INDENT_2)
    if text.count(b"\n") != len(values) + 1:
        return [_array_text([value]) for value in values]
    return text[4:-2].split(b",\n  ")


_TAIL_END = _NEXT + _VALUES
_PRESENT_HEAD = _STATUSES + _PRESENT + _TIMESTAMPS


def _tail(statuses: bytes, timestamps: bytes) -> bytes:
    """What stands between the values of one column and those of the next."""
    return b"".join((_STATUSES, statuses, _TIMESTAMPS, timestamps, _TAIL_END))


def _plain_tail(rows: int) -> bytes:
    """The tail of a column that is PRESENT and has no time: entity keys and what is computed."""
    if rows == 1:
        return _PLAIN_TAIL_OF_ONE
    if rows == 0:
        return _STATUSES + _NEXT + _VALUES  # Feast leaves out what it has no times for
    return _tail(b",".join([_PRESENT] * rows), b",".join([_EPOCH] * rows))


_PLAIN_TAIL_OF_ONE = _tail(_PRESENT, _EPOCH)


def _computed_tail(values: Sequence[Any], statuses: StatusPolicy) -> bytes:
    if statuses is not StatusPolicy.EXACT or None not in values:
        return _plain_tail(len(values))
    cells = [_NULL_VALUE if value is None else _PRESENT for value in values]
    return _tail(b",".join(cells), b",".join([_EPOCH] * len(cells)))


_Encoded = tuple[list[bytes], Sequence[bytes], _Runs]
"""The text of each column's values, and a tail for each run of columns."""


def _encode_row(lookup: _LookupRendering, rows: Sequence[Row], statuses: StatusPolicy, now: datetime) -> _Encoded:
    """One entity."""
    row = rows[0]
    stored, stamps = row[: lookup.width], row[lookup.width :]
    runs = lookup.runs
    try:
        values = lookup.row(stored)
        if statuses is StatusPolicy.PRESENT or (None not in values and _all_fresh(lookup, stamps, statuses, now)):
            return _texts(values), runs.tails(_present_tails(stamps)), runs
        times = _times(stamps).split(b",")
    except CorruptValueError:
        if statuses is not StatusPolicy.EXACT:
            raise _blame(lookup, rows) from None
        return _encode_row(lookup, [_marked(lookup, row)], statuses, now)
    fresh = _fresh(lookup, decode_timestamps(stamps), statuses, now)
    if None not in values:
        return _texts(values), runs.tails(list(map(_tail, fresh, times))), runs
    tails = [
        _tail(_status(one, value, fresh[view], statuses), times[view])
        for one, value, view in zip(stored, values, lookup.view_places, strict=True)
    ]
    return _texts(values), tails, lookup.singles


def _encode_columns(lookup: _LookupRendering, rows: Sequence[Row], statuses: StatusPolicy, now: datetime) -> _Encoded:
    """Many entities."""
    columns = list(zip(*rows, strict=True))
    stamps = columns[lookup.width :]
    runs = lookup.runs
    try:
        decoded = [decode(stored) for decode, stored in zip(lookup.columns, columns[: lookup.width], strict=True)]
        times = list(map(_times, stamps))
    except CorruptValueError:
        if statuses is not StatusPolicy.EXACT:
            raise _blame(lookup, rows) from None
        return _encode_columns(lookup, [_marked(lookup, row) for row in rows], statuses, now)
    texts = _column_texts(decoded)
    if statuses is StatusPolicy.PRESENT:
        present = b",".join([_PRESENT] * len(rows))
        return texts, runs.tails([_tail(present, time) for time in times]), runs
    moments = map(decode_timestamps, stamps)
    fresh = list(zip(*[_fresh(lookup, row, statuses, now) for row in zip(*moments, strict=True)], strict=True))
    whole = [_tail(b",".join(cells), time) for cells, time in zip(fresh, times, strict=True)]
    if not any(None in values for values in decoded):
        return texts, runs.tails(whole), runs
    tails = []
    for stored, values, view in zip(columns[: lookup.width], decoded, lookup.view_places, strict=True):
        if None in values:
            cells = map(_status, stored, values, fresh[view], repeat(statuses))
            tails.append(_tail(b",".join(cells), times[view]))
        else:
            tails.append(whole[view])
    return texts, tails, lookup.singles


LONG_TAIL_BYTES = 512
"""Longer tails are not joined with their values first, but with everything at once: what is copied twice costs more
than some items of a list."""

MAX_KNOWN_TIMES = 4096
"""Stored timestamps whose text is remembered, under 1 MB. The rows of one materialisation share theirs."""
_KNOWN_TIMES: dict[bytes | None, bytes] = {}
_KNOWN_TAILS: dict[bytes | None, bytes] = {}
"""Stored timestamp -> the tail of a column of one row that is PRESENT. As many as of _KNOWN_TIMES, under 1 MB."""
MAX_TIMESTAMP_BYTES = 24
"""A serialised google.protobuf.Timestamp has 22 at the most, but for fields that are not its own."""
_now_and_then = cycle((True, *repeat(False, 7))).__next__
"""What comes often will be remembered soon; of what comes once, little is."""
_UTC = orjson.OPT_UTC_Z


def _times(stored: Sequence[bytes | None]) -> bytes:
    """Stored timestamps as JSON strings with commas between them, in Feast's form: fractions of 0, 3 or 6 digits."""
    if stored[0] in _KNOWN_TIMES:  # else they are all looked up in vain, probably
        known = list(map(_KNOWN_TIMES.get, stored))
        if None not in known:
            return b",".join(known)  # type: ignore[arg-type]
    text = orjson.dumps(decode_timestamps(stored), option=_UTC)[1:-1].replace(b'000Z"', b'Z"')
    if _now_and_then():
        _remember(_KNOWN_TIMES, stored, text.split(b","))
    return text


def _present_tails(stamps: Sequence[bytes | None]) -> list[bytes]:
    """The tail of a column of one row that is PRESENT, for each view's timestamp."""
    known = list(map(_KNOWN_TAILS.get, stamps))
    if None not in known:
        return known  # type: ignore[return-value]
    # All tails at once: the text between two times becomes the end of one and the head of the next.
    text = _times(stamps).replace(b",", _TAIL_END + b"\0" + _PRESENT_HEAD)
    tails = (_PRESENT_HEAD + text + _TAIL_END).split(b"\0")
    if _now_and_then():
        _remember(_KNOWN_TAILS, stamps, tails)
    return tails


def _remember(known: dict[bytes | None, bytes], stored: Sequence[bytes | None], texts: Sequence[bytes]) -> None:
    """Keep `texts` for the next time, unless there are more different ones than are worth it."""
    if len(b"".join(filter(None, stored))) > MAX_TIMESTAMP_BYTES * len(stored):
        return  # bytes that are longer than any timestamp have more in them
    new = dict(zip(stored, texts, strict=True))
    if len(new) > MAX_KNOWN_TIMES // 2:
        return
    if len(known) + len(new) > MAX_KNOWN_TIMES:
        known.clear()
    known.update(new)


def _all_fresh(lookup: _LookupRendering, stamps: Sequence[bytes | None], statuses: StatusPolicy, now: datetime) -> bool:
    """Whether no view's values are too old. Raises CorruptValueError for a time that cannot be told."""
    if statuses is not StatusPolicy.EXACT or not lookup.expires:
        return True
    return _OUTSIDE_MAX_AGE not in _fresh(lookup, decode_timestamps(stamps), statuses, now)


def _fresh(lookup: _LookupRendering, moments: Sequence[datetime], statuses: StatusPolicy, now: datetime) -> list[bytes]:
    """For each view, the status of a value that is there: it may be too old."""
    if statuses is not StatusPolicy.EXACT:
        return [_PRESENT] * len(moments)
    return [
        _OUTSIDE_MAX_AGE if ttl is not None and now - moment > ttl else _PRESENT
        for moment, ttl in zip(moments, lookup.ttls, strict=True)
    ]


def _status(stored: bytes | None, value: Any, fresh: bytes, statuses: StatusPolicy) -> bytes:
    if stored is None:
        return _NOT_FOUND
    if value is None:
        if stored is _CORRUPT:
            return _INVALID
        return _NULL_VALUE if statuses is StatusPolicy.EXACT else _PRESENT
    return fresh


class _CorruptBytes(bytes):
    """Empty, as a stored null, and yet not the same as one."""


_CORRUPT = _CorruptBytes()
"""Stands in a row for stored bytes that do not decode."""


def _marked(lookup: _LookupRendering, row: Row) -> Row:
    """`row` with _CORRUPT for each Value that does not decode, and for all of a view whose timestamp does not.

    Without its time, it cannot be said whether a value is too old.
    """
    marked = [stored if _decodes(decode_value, stored) else _CORRUPT for stored in row[: lookup.width]]
    stamps = list(row[lookup.width :])
    for view, stamp in enumerate(stamps):
        if not _decodes(decode_timestamp, stamp):
            stamps[view] = None
            marked = [
                _CORRUPT if stored and of == view else stored
                for of, stored in zip(lookup.view_places, marked, strict=True)
            ]
    return [*marked, *stamps]


def _decodes(decode: Callable[[bytes | None], object], stored: bytes | None) -> bool:
    try:
        decode(stored)
    except CorruptValueError:
        return False
    return True


def _blame(lookup: _LookupRendering, rows: Sequence[Row]) -> CorruptValueError:
    """The error for the first stored bytes that do not decode. It names the feature; the row would be an entity's."""
    for row in rows:
        for feature, stored in zip(lookup.features, row, strict=False):
            try:
                decode_value(stored)
            except CorruptValueError as error:
                return CorruptValueError(f"{feature.view}:{feature.name}: the online store holds {error}")
    views = ", ".join(dict.fromkeys(feature.view for feature in lookup.features))
    return CorruptValueError(f"{views}: the online store holds a corrupt event timestamp")
