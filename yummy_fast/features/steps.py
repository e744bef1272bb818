"""Work that can be interrupted: a generator that yields where others may go first, and returns its outcome.

`slices` decides how long such work goes on, and when. A `Budget` says how much memory its outcome takes so far.

Pure.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from yummy_fast.errors import LimitError

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work in steps of a millisecond or less, as far as it can be cut."""


class Budget:
    """How many bytes an outcome may have, and how many it has."""

    __slots__ = ("_max_bytes", "_of", "_rows", "taken_bytes")

    def __init__(self, max_bytes: int, rows: int, of: str = "the answer") -> None:
        """`rows`: how many entity rows are asked for; `of`: what the outcome is. An error names both."""
        self._max_bytes = max_bytes
        self._rows = rows
        self._of = of
        self.taken_bytes = 0

    def take(self, size: int) -> None:
        """Raises LimitError if there is less left."""
        self.taken_bytes += size
        self.check(self.taken_bytes)

    def check(self, size: int) -> None:
        """Raises LimitError if an outcome of `size` bytes would be too large."""
        if size > self._max_bytes:
            raise LimitError(
                413,
                f"Content Too Large: {self._of} for {self._rows} entity rows is longer than {self._max_bytes} bytes "
                "(--max-answer-bytes); ask for fewer rows or features",
            )


def at_once(steps: Steps[T]) -> T:
    """The outcome of work, without any interruption."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            outcome: T = done.value
            return outcome
