# The doors of the native room. `twin` has the same ones, but for Row, BodyWriter and the two functions at the end.

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, final, overload

_Owner = TypeVar("_Owner")

@final
class Row(Sequence[bytes | None]):
    """One entity as Redis answered it."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes | None]: ...
    @overload
    def __getitem__(self, place: int) -> bytes | None: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[bytes | None, ...]: ...

@final
class Picker:
    """Which fields of a hash make a row, and how they come."""

    def __init__(self, names: Sequence[bytes], named: bool) -> None:
        """`named`: in replies, each value follows its name, as in those to HGETALL. Else there are the values alone, in
        the order of `names`, as in those to HMGET."""
    @property
    def longest(self) -> int:
        """Bytes of the longest name or value that has come, wanted or not. The twin looks now and then only."""

@final
class ReplyReader:
    """Replies of Redis, out of bytes that were cut anywhere."""

    def __init__(self) -> None: ...
    def expect(self, picker: Picker | None, replies: int) -> None:
        """After all that is expected so far, this many replies come for `picker`, or for nobody."""
    def feed(self, data: bytes | memoryview) -> list[list[Sequence[bytes | None]] | str | None]:
        """For each `expect` of which no reply is missing any more, its rows. If one of its replies was no row: the text
        of the first such reply if that was an error, else None."""
    def take_invalidated(self) -> list[bytes | None]:
        """The keys that have changed since the last call, as pushes said in what was fed; None stands for all keys."""
    @property
    def failed(self) -> str | None:
        """Why nothing more can be read, or None. What was whole before the damage has been given out."""
    @property
    def unfinished_bytes(self) -> int:
        """How much has come of the reply that is not whole. The twin's answer may be too small by one read."""

@final
class BodyWriter:
    """Writes the bodies of one plan's answers."""

    def __init__(self, lookups: bytes, columns: bytes, ttls: bytes = ...) -> None:
        """Arrays of the machine's unsigned 32-bit integers.

        - `lookups`: for each, how many features its rows have, and how many views' timestamps behind them.
        - `columns`: for each column of the answer its lookup, which of its features it is, and which view it is of,
          counted through all lookups.

        `ttls`, an array of signed 64-bit integers, has the ttl of each view in microseconds, 0 for none. Without it,
        all statuses are PRESENT; with it, they are those of StatusPolicy.EXACT.
        """
    def write(
        self,
        entity_columns: list[list[Any]],
        rows: Sequence[Sequence[Sequence[bytes | None]]],
        row_to_key: list[list[int] | None],
        count: int,
        end: bytes,
        now: int = ...,
    ) -> bytes | None:
        """The body of an answer; None if it is not one that is written here.

        - `rows`, for each lookup, and `row_to_key`: as in `Rows` and `Bound` of features.plan.
        - `count`: how many rows the answer has.
        - `end`: all that follows the last column.
        - `now`: in microseconds since the epoch, if there are ttls, and only then.
        """

def slot_of(key: bytes, suffix: bytes, /) -> int:
    """The slot of `key` followed by `suffix` in a Redis Cluster. The suffix has no braces: it is Feast's project."""

def split_keys(
    keys: list[bytes], suffix: bytes, table: list[_Owner], /
) -> dict[_Owner, tuple[list[bytes], list[int]] | None]:
    """The keys by their owners: by the objects that `table` has at their slots. It has one for each slot.

    Each owner gets its keys and their positions among all, in order; or None if all keys are its own.
    """

def put_rows(rows: Sequence[Any], positions: list[int], table: list[Any], /) -> None:
    """Put each row at its position in `table`."""

def value_text(stored: bytes) -> bytes | None:
    """A stored Value as JSON; None if that is left to Python."""

def timestamp_text(stored: bytes) -> bytes | None:
    """A stored event timestamp as JSON; None if that is left to Python."""
