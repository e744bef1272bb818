"""Large answers: what `vectors` writes in one go, in steps of a millisecond or so, and within a budget of bytes.

An answer is large if it has many cells, or few whose stored Values are long. Its rows are encoded block by block, and
the pieces of text are kept until the end: for each column its values, and for each view statuses and timestamps. A row
that is larger than a block is encoded value by value (`large_values`). The text of the answer is the same, byte for
byte.

A request may name an entity many times. Its row is read once, and encoded once; its texts then stand in the answer as
often as it was named. So 20 KB of a request could ask for an answer of 145 MB, from one list of 768 numbers. Therefore
the size of an answer is bounded by --max-answer-bytes. It is refused

- before anything is decoded, if a quarter of the stored bytes, each row counted as often as it is answered, is more
  than that: the shortest text is [-1,-1,...], with 3 bytes for each 10 stored ones;
- as soon as the texts are longer, each counted as often as it is answered. So no more than the budget is ever held.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from operator import mul
from typing import Any, TypeAlias

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamps
from yummy_fast.features.binding import Bound
from yummy_fast.features.json_text import array_text, column_texts, value_texts
from yummy_fast.features.large_values import large_value_text, python_text
from yummy_fast.features.plan import ComputedColumn, Row, Rows
from yummy_fast.features.statuses import CORRUPT, NO_MOMENT, PRESENT, StatusPolicy
from yummy_fast.features.steps import Budget, Steps
from yummy_fast.features.timestamp_text import Stamp
from yummy_fast.features.vectors import (
    HEAD,
    METADATA,
    TAIL_END,
    VALUES,
    Layout,
    LookupLayout,
    Tails,
    computed_tail,
    corrupt_feature,
    plain_tail,
    tail_text,
)

MAX_BLOCK_CELLS = 2_000
"""Cells that are decoded and written in one step: 0.5 ms of numbers."""
MAX_BLOCK_BYTES = 64 << 10
"""Stored bytes of a block with lists, or of any other without a bound of its own."""
CELLS_PER_STEP = 20_000
"""Cells whose texts are picked or joined in one step."""
MAX_PIECE_BYTES = 1 << 20
"""About how long a text is that is joined in one step."""
LEAST_TEXT = 4
"""Stored bytes for which there is one byte of text, at least."""

_Piece: TypeAlias = bytes | bytearray


def encode_in_steps(
    layout: Layout,
    bound: Bound,
    rows: Rows,
    computed: Sequence[ComputedColumn] = (),
    *,
    budget: Budget,
    version_metadata: bool = False,
    now: datetime = NO_MOMENT,
) -> Steps[bytearray]:
    """The body that `encode_vectors` returns for the same arguments, if it is within `budget`.

    Raises CorruptValueError as `encode_vectors` does, and LimitError.
    """
    yield from check_stored_size(layout, bound, rows, budget, LEAST_TEXT)
    plain = plain_tail(bound.rows)
    columns: list[_Text] = []
    for values in bound.entity_columns:
        pieces = yield from _array_pieces(values, budget)
        columns.append((pieces, plain))
    stored: list[_Text] = []
    answered = None if layout.arrange is None else set(layout.arrange)
    for number, lookup in enumerate(layout.lookups):
        wanted = [answered is None or len(stored) + position in answered for position in range(lookup.width)]
        encoding = _LookupEncoding(
            lookup, layout.tails, now, budget, bound.row_to_key[number], len(rows[number]), wanted
        )
        stored += yield from encoding.encode(rows[number])
    columns += stored if layout.arrange is None else [stored[index] for index in layout.arrange]
    for column in computed:
        pieces = yield from python_text(column.values, budget)
        columns.append((pieces, computed_tail(column.values, layout.policy)))
        yield
    parts: list[_Piece] = [HEAD, VALUES]
    for pieces, tail in columns:
        budget.take(len(tail))
        parts += pieces
        parts.append(tail)
    yield
    parts[-1] = parts[-1][: -len(TAIL_END)]  # no column follows the last one
    parts += (METADATA, bound.binding.names_text, layout.ends[version_metadata])
    body = yield from _joined(parts)
    return body


def _joined(parts: list[_Piece]) -> Steps[bytearray]:
    """As b"".join(parts), which would stop the loop for 40 ms of 50 MB: most of it to be given the memory."""
    body = bytearray(sum(map(len, parts)))
    end = 0
    unstopped = 0
    for part in parts:
        for start in range(0, len(part), MAX_PIECE_BYTES):
            piece = part if len(part) <= MAX_PIECE_BYTES else part[start : start + MAX_PIECE_BYTES]
            body[end : end + len(piece)] = piece
            end += len(piece)
            unstopped += len(piece)
            if unstopped > MAX_PIECE_BYTES:
                unstopped = 0
                yield
    return body


_Text = tuple[list[_Piece], bytes]
"""A column of the answer: the pieces of its values' text, and its tail."""


def check_stored_size(layout: Layout, bound: Bound, rows: Rows, budget: Budget, least: int = 1) -> Steps[None]:
    """Refuse what is too long for sure, before anything is decoded: more than `budget`, if `least` stored bytes make
    one byte of it at least. Raises LimitError.
    """
    stored_bytes = 0
    for number, lookup in enumerate(layout.lookups):
        size = max(1, CELLS_PER_STEP // (lookup.width + 1))
        found = rows[number]
        sizes: list[int] = []
        for start in range(0, len(found), size):
            sizes += [_stored_bytes((row,)) for row in found[start : start + size]]
            yield
        stored_bytes += sum(bound.spread(number, sizes))
        budget.check(stored_bytes // least)
        yield


def _array_pieces(values: Sequence[Any], budget: Budget) -> Steps[list[_Piece]]:
    """The text of an array without its brackets, in pieces."""
    pieces: list[_Piece] = []
    for start in range(0, len(values), MAX_BLOCK_CELLS):
        text = array_text(values[start : start + MAX_BLOCK_CELLS])
        budget.take(len(text) + 1)
        pieces += (b",", text) if start else (text,)
        yield
    return pieces


class _LookupEncoding:
    """The rows of one Lookup on their way to text."""

    def __init__(
        self,
        lookup: LookupLayout,
        tails: Tails,
        now: datetime,
        budget: Budget,
        key_of_row: Sequence[int] | None,
        keys: int,
        wanted: Sequence[bool],
    ) -> None:
        """
        - `key_of_row`: which of the keys each row of the answer has; None if there is one key per row, in order.
        - `wanted`: for each column, whether the answer has it. The others are read for on-demand views alone, and may
          be long: they get no text.
        """
        self._lookup = lookup
        self._timestamps = tails.timestamps
        self._now = now
        self._budget = budget
        self._key_of_row = key_of_row
        self._wanted = wanted
        times_answered = [1] * keys if key_of_row is None else [0] * keys
        for key in key_of_row or ():
            times_answered[key] += 1
        self._times_answered = times_answered
        """How often each key's row is answered."""
        # For each column, or view, the texts of the keys read so far: one for each key if keys are answered several
        # times, else one for each block, with commas in it.
        self._values: list[list[_Piece]] = [[] for _ in range(lookup.width)]
        self._moments: list[list[bytes]] = []
        self._statuses: list[list[bytes]] = [[] for _ in range(lookup.width)]
        """The status of each cell; empty if all are PRESENT."""

    def encode(self, rows: Sequence[Row]) -> Steps[list[_Text]]:
        """The columns of the Lookup. Raises CorruptValueError, LimitError."""
        lookup = self._lookup
        most_rows = max(1, MAX_BLOCK_CELLS // max(1, lookup.width))
        most_bytes = min(lookup.bytes_at_once or MAX_BLOCK_BYTES, MAX_BLOCK_BYTES)
        start = 0
        while start < len(rows):
            block = rows[start : start + most_rows]
            while (stored_bytes := _stored_bytes(block)) > most_bytes and len(block) > 1:
                block = block[: len(block) // 2]
            if stored_bytes > most_bytes:
                yield from self._add_long_row(block[0], start)
            else:
                self._add_block(block, start)
            start += len(block)
            yield
        columns = yield from self._columns(len(rows))
        return columns

    def _add_block(self, block: Sequence[Row], start: int) -> None:
        lookup = self._lookup
        columns = list(zip(*block, strict=True))
        stored, stamps = columns[: lookup.width], columns[lookup.width :]
        try:
            decoded = [
                decode(column) if wanted else [None] * len(column)
                for decode, column, wanted in zip(lookup.columns, stored, self._wanted, strict=True)
            ]
            moments = list(map(self._timestamps.joined, stamps))
        except CorruptValueError:
            if lookup.statuses.policy is not StatusPolicy.EXACT:
                raise corrupt_feature(lookup, block) from None
            self._add_block([lookup.statuses.mark_corrupt(row) for row in block], start)
            return
        if self._key_of_row is None:
            for texts, text in zip(self._values, column_texts(decoded), strict=True):
                self._budget.take(len(text) + 1)
                texts.append(text)
        else:
            for texts, values in zip(self._values, decoded, strict=True):
                self._add_per_key(texts, value_texts(values), start)
        self._add_moments(moments)
        if lookup.statuses.policy is not StatusPolicy.PRESENT:
            self._add_statuses(stored, decoded, stamps)

    def _add_per_key(self, texts: list[_Piece], more: Sequence[_Piece], start: int) -> None:
        times_answered = self._times_answered[start : start + len(more)]
        self._budget.take(sum(map(mul, map(len, more), times_answered)) + sum(times_answered))
        texts += more

    def _add_moments(self, moments: Sequence[bytes]) -> None:
        if not self._moments:
            self._moments = [[] for _ in moments]
        for texts, text in zip(self._moments, moments, strict=True):
            if self._key_of_row is None:
                texts.append(text)
            else:
                texts += text.split(b",")

    def _add_statuses(
        self,
        stored: Sequence[Sequence[bytes | None]],
        decoded: Sequence[Sequence[Any]],
        stamps: Sequence[Sequence[Stamp]],
    ) -> None:
        statuses = self._lookup.statuses
        of_rows = zip(*map(decode_timestamps, stamps), strict=True)
        of_views = list(zip(*[statuses.of_values(of_row, self._now) for of_row in of_rows], strict=True))
        for texts, column, values, view in zip(self._statuses, stored, decoded, self._lookup.view_of, strict=True):
            texts += map(statuses.of_cell, column, values, of_views[view])

    def _add_long_row(self, row: Row, start: int) -> Steps[None]:
        """A row that is longer than a block: value by value."""
        lookup = self._lookup
        exact = lookup.statuses.policy is StatusPolicy.EXACT
        stored, stamps = list(row[: lookup.width]), list(row[lookup.width :])
        if exact:
            stored, stamps = lookup.statuses.mark_corrupt_views(stored, stamps)
        decoded: list[Any] = []
        for position, value in enumerate(stored):
            if not self._wanted[position]:
                decoded.append(None)
                self._values[position].append(b"")
                continue
            try:
                text: _Piece = yield from large_value_text(value, exact=exact)
            except CorruptValueError:
                if not exact:
                    raise corrupt_feature(lookup, [row]) from None
                stored[position], text = CORRUPT, b"null"
            self._add_per_key(self._values[position], [text], start)
            decoded.append(None if text == b"null" else text)
        try:
            self._add_moments([self._timestamps.joined([stamp]) for stamp in stamps])
        except CorruptValueError:
            raise corrupt_feature(lookup, [row]) from None
        if lookup.statuses.policy is not StatusPolicy.PRESENT:
            self._add_statuses([[one] for one in stored], [[one] for one in decoded], [[stamp] for stamp in stamps])

    def _columns(self, keys: int) -> Steps[list[_Text]]:
        lookup = self._lookup
        present = b""
        if lookup.statuses.policy is StatusPolicy.PRESENT:
            present = b",".join(repeat(PRESENT, keys if self._key_of_row is None else len(self._key_of_row)))
        moments = [b""] * len(self._moments)
        for view, times in enumerate(self._moments):
            pieces = yield from self._spread(times)
            moments[view] = b"".join(pieces)
        tails = [tail_text(present, text) for text in moments]
        columns: list[_Text] = []
        for texts, statuses, view in zip(self._values, self._statuses, lookup.view_of, strict=True):
            tail = tails[view]
            if not present:
                pieces = yield from self._spread(statuses)
                tail = tail_text(b"".join(pieces), moments[view])
            pieces = yield from self._spread(texts)
            columns.append((pieces, tail))
        return columns

    def _spread(self, texts: Sequence[_Piece]) -> Steps[list[_Piece]]:
        """The texts with commas between them, each as often as its key is answered, in pieces."""
        pieces: list[_Piece] = []
        key_of_row = self._key_of_row
        rows = len(texts) if key_of_row is None else len(key_of_row)
        step = CELLS_PER_STEP
        if key_of_row is not None and texts:
            step = max(1, min(step, MAX_PIECE_BYTES * len(texts) // (sum(map(len, texts)) + 1)))
        for start in range(0, rows, step):
            if key_of_row is None:
                some = texts[start : start + step]
            else:
                some = [texts[key] for key in key_of_row[start : start + step]]
            if start:
                pieces.append(b",")
            pieces.append(some[0] if len(some) == 1 else b",".join(some))  # a long one is not copied
            yield
        return pieces


def _stored_bytes(rows: Sequence[Row]) -> int:
    return sum(sum(map(len, filter(None, row))) for row in rows)
