"""What a registry source is: `stamp`, the cheap question whether it changed, and `read`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

MAX_BYTES = 256 << 20
"""A longer registry is refused: 2,000 views of 50 features take 5 MB."""


class Source(Protocol):
    """One registry, somewhere."""

    name: str
    """Where, for messages. No secrets in it."""
    look_every_s: float
    """How often to ask for the stamp: what a look costs there decides."""

    def stamp(self) -> Hashable:
        """What changes when the registry does; None where only reading tells. Raises RegistryError naming it."""

    def read(self) -> bytes:
        """The whole registry. Raises RegistryError naming it."""
