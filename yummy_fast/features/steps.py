"""Work that can be interrupted: a generator that yields where others may go first, and returns its outcome.

Pure. `slices` decides how long such work goes on, and when.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work in steps of a millisecond or less, as far as it can be cut."""


def at_once(steps: Steps[T]) -> T:
    """The outcome of work, without any interruption."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            outcome: T = done.value
            return outcome
