r"""Rows of a push as the commands that store them: one HSET for each row and view, as Feast writes it.

A row of the view `stats` with one feature, for driver 1001 of the project `rides` (| is CR LF):

    *6|$4|HSET|$42|<entity key>rides|       the hash of the entity, which holds all its views
    $9|_ts:stats|$6|08a09c90cd06|           when it happened
    $4|eb342a65|$2|202a|                    the feature's hashed name, and its Value

With `key_ttl_seconds`, an EXPIRE of the whole hash follows each HSET, in the same turn (`redis_turns`): if the rest of
a push is dropped at its deadline, each row that was sent has its ttl. An HSET is atomic, so Redis never has half a row.

Everything but keys, times, Values and their lengths is rendered when the catalog is compiled. Columns are rendered one
by one, since a loop over one column is faster than one over all columns of each row.

This file does no I/O: `redis_connection` sends the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.features.written import ViewRows, WrittenView
from yummy_fast.stores.resp import render_command

ASKING = render_command(b"ASKING")
_LENGTHS = tuple(b"$%d\r\n" % length for length in range(1024))
"""The first line of a bulk string, for each usual length."""


class HashWriter:
    """How rows of one view are written."""

    __slots__ = ("_expire", "_fields", "_key_suffix", "_start", "replies")

    def __init__(self, view: WrittenView, key_suffix: bytes, ttl_s: int) -> None:
        """`key_suffix` ends every key; `ttl_s` is how long a hash is kept after it was written, 0 for ever."""
        names = [feature_field(feature.view, feature.name) for feature in view.features]
        names.insert(0, timestamp_field(view.store_name))
        self._start = b"*%d\r\n$4\r\nHSET\r\n" % (2 + 2 * len(names))
        self._fields = [b"\r\n$%d\r\n%b\r\n" % (len(name), name) for name in names]
        """For each field, what stands between the key or value before it and its own value."""
        self._key_suffix = key_suffix
        self._expire = b"%d" % ttl_s if ttl_s else b""
        self.replies = 2 if ttl_s else 1
        """How many replies there are for each row."""

    def render(self, rows: ViewRows, numbers: Sequence[int]) -> bytes:
        """The commands for some rows."""
        if len(numbers) == 1:
            return self._render_one(rows, numbers[0])
        keys = [rows.keys[number] + self._key_suffix for number in numbers]
        columns = [_bulks(self._fields[0], [rows.moments[number].stored for number in numbers])]
        for field, values in zip(self._fields[1:], rows.values, strict=True):
            columns.append(_bulks(field, [values[number] for number in numbers]))
        if self._expire:
            ends = [b"\r\n" + render_command(b"EXPIRE", key, self._expire) for key in keys]
        else:
            ends = [b"\r\n"] * len(keys)
        commands = zip(repeat(self._start), _bulks(b"", keys), *columns, ends)
        return b"".join(chain.from_iterable(commands))

    def render_each(self, rows: ViewRows, number: int) -> list[bytes]:
        """As `render` for one row, each command by itself."""
        key = rows.keys[number] + self._key_suffix
        return [self._hset(key, rows, number), *([self._expire_of(key)] if self._expire else [])]

    def _render_one(self, rows: ViewRows, number: int) -> bytes:
        """As `render`, without the cost of a loop for each column."""
        key = rows.keys[number] + self._key_suffix
        command = self._hset(key, rows, number)
        return command + self._expire_of(key) if self._expire else command

    def _hset(self, key: bytes, rows: ViewRows, number: int) -> bytes:
        values = [rows.moments[number].stored, *[column[number] for column in rows.values]]
        try:
            fields = [field + _LENGTHS[len(value)] + value for field, value in zip(self._fields, values, strict=True)]
        except IndexError:  # a long value
            fields = [field + _bulk(value) for field, value in zip(self._fields, values, strict=True)]
        return self._start + _bulk(key) + b"".join(fields) + b"\r\n"

    def _expire_of(self, key: bytes) -> bytes:
        return render_command(b"EXPIRE", key, self._expire)

    def about_bytes(self, rows: ViewRows) -> int:
        """How long the commands of a row are on average."""
        values = sum(sum(map(len, column)) for column in rows.values) // len(rows.keys)
        overhead = len(self._start) + sum(map(len, self._fields)) + 5 * len(self._fields)
        return self.replies * (len(rows.keys[0]) + 50) + overhead + values


class RowsCommand:
    """The commands of one view's rows, rendered when it is their turn (`redis_turns`)."""

    __slots__ = ("_bytes", "_rows", "_writer")

    def __init__(self, writer: HashWriter, rows: ViewRows) -> None:
        self._writer = writer
        self._rows = rows
        self._bytes = 0

    def render(self, numbers: Sequence[int]) -> bytes:
        """The commands for some rows, in order."""
        return self._writer.render(self._rows, numbers)

    def about_bytes(self, _: int) -> int:
        """About how long the commands of a row are."""
        self._bytes = self._bytes or self._writer.about_bytes(self._rows)
        return self._bytes


class RefusedCommand(RowsCommand):
    """Commands that one node of a cluster has refused, for another node: all of a row, or only EXPIRE.

    If that node is importing the slot, each command needs its own ASKING, which holds for one command.
    """

    __slots__ = ("_asking", "_only_expire")

    def __init__(self, writer: HashWriter, rows: ViewRows, *, only_expire: bool, asking: bool) -> None:
        super().__init__(writer, rows)
        self._only_expire = only_expire
        self._asking = asking

    def render(self, numbers: Sequence[int]) -> bytes:
        """As RowsCommand.render."""
        each = [self._writer.render_each(self._rows, number)[self._only_expire :] for number in numbers]
        commands = chain.from_iterable(each)
        return b"".join(chain.from_iterable(zip(repeat(ASKING), commands)) if self._asking else commands)


def _bulk(value: bytes) -> bytes:
    """A bulk string without its last line end."""
    length = len(value)
    return (_LENGTHS[length] if length < 1024 else b"$%d\r\n" % length) + value


def _bulks(head: bytes, values: Sequence[bytes]) -> list[bytes]:
    """For each value, `head` and the value as a bulk string, without the last line end."""
    return [head + (_LENGTHS[len(value)] if len(value) < 1024 else b"$%d\r\n" % len(value)) + value for value in values]
