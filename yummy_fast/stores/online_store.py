"""The online-store seam: `prepare` when a catalog is compiled, `fetch` per request.

A store is named by Feast's own `online_store.type` and imported only when it is named. To add one, implement
`OnlineStore`, enter it in STORES, and pass tests/contract.

The agreed form of what is fetched, `Rows`: for each Lookup, in the order of the plan, one row per entity key asked for,
in the order of the keys. A row holds the stored Value bytes of the Lookup's features in the Lookup's order, then for
each of its views the serialised google.protobuf.Timestamp of the event. None stands for what the store does not have;
b"" is a stored null. A store never decodes a Value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Protocol

from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.errors import ConfigError
from yummy_fast.features.plan import Feature, Lookup, Rows


class StoreState:
    """What a store tells of itself: plain numbers that it keeps, and any thread may read."""

    __slots__ = ("answered_at", "connections", "connects", "failures", "losses")

    def __init__(self) -> None:
        self.answered_at = 0.0
        """When the store last said something, as time.monotonic(); 0 if it never has."""
        self.connections = 0
        """That are up."""
        self.connects = 0
        """Made so far."""
        self.failures = 0
        """Attempts to make one that failed."""
        self.losses = 0
        """Connections that have ended, but not by us."""


class OnlineStore(Protocol):
    """Where features lie. One per process and event loop."""

    absent_is_present: bool
    """Feast's answer for what this store does not have: PRESENT and null if true, else NOT_FOUND."""

    state: StoreState

    @property
    def in_flight(self) -> int:
        """Fetches that wait for replies. For any thread."""

    def __init__(self, config: Config) -> None:
        """Read the configuration; connect to nothing. Raises ConfigError."""

    async def open(self) -> None:
        """Begin to connect. A store that cannot be reached is no error here: it is tried again, and fetches say 503."""

    async def close(self) -> None:
        """Let go of everything."""

    async def ping(self) -> str:
        """Ask the store whether it is there, and say in a few words what it is. Raises StoreError."""

    def ping_if_idle(self) -> None:
        """Called every second: have `state.answered_at` move. What is silent is asked something that costs little."""

    def prepare(self, lookups: tuple[Lookup, ...]) -> Any:
        """The private form of a plan's lookups, made when the catalog is compiled. Takes no part in the event loop."""

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        """Of all features under the same join keys, pairs that this store cannot keep apart."""

    def describe(self, prepared: Any) -> list[str]:
        """For people: the command that each lookup became."""

    def fetch(self, prepared: Any, keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        """Read the rows of entity keys, for each lookup those of `keys` in the same place, in one round trip.

        The Future gets the Rows or a StoreError; it may be cancelled at any time, which harms no other fetch.
        """


STORES = {
    "redis": "yummy_fast.stores.redis:RedisStore",
    "sqlite": "yummy_fast.stores.sqlite:SqliteStore",
}
"""online_store.type -> where its class is."""


def open_store_class(store_type: str, where: str) -> type[OnlineStore]:
    """The class for `online_store.type`. `where` names file and key for the ConfigError of an unknown type."""
    if store_type not in STORES:
        raise ConfigError(f"{where}: unknown online store {store_type!r}; expected one of: {', '.join(sorted(STORES))}")
    module, _, name = STORES[store_type].partition(":")
    store: type[OnlineStore] = getattr(import_module(module), name)
    return store
