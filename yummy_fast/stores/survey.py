"""What a store says of itself when `yummy-fast check` looks into it.

A record only, and pure: each store makes its own (`OnlineStore.survey`), and `diagnosis.check` judges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Survey(NamedTuple):
    """What a short look into a store shows. It is bounded by keys and by time, so it may have seen a part only."""

    address: str
    """Where the store is, for people."""
    keys: tuple[bytes, ...]
    """Entity keys of the project."""
    views: frozenset[str]
    """Views, by the names that the store has for them, of which there are rows."""
    looked_at: int = 0
    """How many keys were looked at, those of other projects too."""
    complete: bool = True
    """Whether these were all."""
    place: str = ""
    """The database within the store, for people."""
    databases: Mapping[int, int] = {}  # never changed
    """Other databases that have keys, and how many."""
    mode: str = ""
    """What the server says that it is: standalone, cluster or sentinel; "" if it is not known."""
    expected_mode: str = ""
    """online_store.redis_type."""
    refused: tuple[tuple[str, str], ...] = ()
    """Commands that the user may not run, and what they would have shown."""
