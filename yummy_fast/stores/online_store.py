"""The interface of an online store: `prepare` when a catalog is compiled, `fetch` or `write` for each request.

Feast's own `online_store.type` names the store; the module of any other store is never imported. To add a store,
implement `OnlineStore`, enter the class in STORES, and pass tests/contract.

Every store returns `Rows` in the same form: for each Lookup of the plan, in the plan's order, one row per entity key,
in the order of the keys. A row holds the stored Value bytes of the Lookup's features, in the Lookup's order; after them
the event timestamp of each of its views, a serialised google.protobuf.Timestamp. A Lookup of stats:trips, stats:rating
and profile:age may get this row:

    20 07                  trips: the stored Value {int64_val: 7}
    (b"")                  rating: a stored null
    (None)                 age: the store does not have it
    08 bb f0 8d d8 06      when the row of stats happened: {seconds: 1795389499}
    (None)                 the store has no row of profile

A store never decodes a Value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from yummy_fast.config.repository import Repository
from yummy_fast.config.settings import StoreOptions
from yummy_fast.errors import ConfigError
from yummy_fast.features.plan import Feature, Lookup, Rows
from yummy_fast.features.written import Chosen, WrittenView

if TYPE_CHECKING:
    from yummy_fast.stores.looks import Looks
    from yummy_fast.stores.survey import Survey

Prepared = TypeVar("Prepared")
"""A store's private form of a plan's lookups."""


class StoreState:
    """The numbers that a store reports about itself. The store updates them; any thread may read them."""

    __slots__ = (
        "answered_at",
        "cache_bytes",
        "cache_differences",
        "cache_flushes",
        "cache_hits",
        "cache_invalidations",
        "cache_misses",
        "connections",
        "connects",
        "crowded",
        "failures",
        "losses",
        "redirects",
        "refreshes",
        "refusal",
        "replica_reads",
        "shared_reads",
        "unusable",
    )

    def __init__(self) -> None:
        self.answered_at = 0.0
        """When the store last sent anything, as time.monotonic(); 0 if it never has."""
        self.connections = 0
        """How many connections are up."""
        self.connects = 0
        """How many connections have been made so far."""
        self.failures = 0
        """How many attempts to connect have failed so far."""
        self.losses = 0
        """How many connections have ended that this process did not close."""
        self.crowded = False
        """Whether fetches wait before they are sent. Then `check_room` may refuse one before its keys are made."""
        self.refusal = ""
        """The code of the error with which the store answers what requests ask, such as NOPERM; "" if it answers."""
        self.unusable = ""
        """Why a part of what is stored cannot be read, in a few words; "" if all can."""
        self.redirects = 0
        """How many replies have said that an entity is at another node."""
        self.refreshes = 0
        """How often it was read which nodes there are."""
        self.replica_reads = 0
        """How many reads went to a replica."""
        self.shared_reads = 0
        """How many fetches took the rows of another one that was asked for the same at the same time."""
        self.cache_hits = self.cache_misses = 0
        """How many rows the cache had, and had not."""
        self.cache_invalidations = 0
        """How many keys the store said had changed."""
        self.cache_flushes = 0
        """How often all rows that one connection had brought were dropped."""
        self.cache_bytes = 0
        """What memory the cache takes."""
        self.cache_differences = 0
        """How many rows were read again, and were not what the cache had: none, if the cache is true."""


class OnlineStore(Protocol[Prepared]):
    """Where features are stored. There is one per process and event loop."""

    absent_is_present: bool
    """What Feast answers for a feature that this store does not have: PRESENT and null if true, else NOT_FOUND."""

    compares_times: bool
    """Whether rows are written only if they are newer than what is stored: `writes.newest_rows`, else all."""

    state: StoreState

    notices: tuple[str, ...]
    """What its author should know of the configuration: a line each, which names file and key."""

    @property
    def in_flight(self) -> int:
        """How many fetches wait for replies. Any thread may ask."""

    def __init__(self, repository: Repository, options: StoreOptions) -> None:
        """Read the configuration; connect to nothing. Raises ConfigError."""

    async def open(self) -> None:
        """Start to connect. A store that cannot be reached is no error here: it retries, and fetches fail with 503."""

    async def close(self) -> None:
        """Close the connections and end the threads."""

    async def ping(self) -> str:
        """Read as requests do, what is not there, and return in a few words what the store is. Raises StoreError."""

    async def survey(self, views: Sequence[str]) -> Survey:
        """Look what is stored: a few keys, and which of `views` have rows there. Raises StoreError."""

    def looks(self) -> Looks:
        """A way to look around in the store, for people. Connects to nothing yet. Raises ConfigError if none exists."""

    def ping_if_idle(self) -> None:
        """Called every second. If the store has nothing to reply to, send a cheap question: `answered_at` must move.

        And see that it still answers what requests ask: if it does not, `refusal` says so.
        """

    def prepare(self, lookups: tuple[Lookup, ...]) -> Prepared:
        """The store's private form of a plan's lookups. The thread that compiles a catalog calls it, not the loop."""

    def nodes(self) -> list[dict[str, Any]]:
        """For people: the nodes of a store that has several, and what is known of them. Any thread may ask."""

    def cache(self) -> dict[str, Any]:
        """For people: the cache of stored rows, and what is known of it; empty without one. Any thread may ask."""

    def collisions(self, features: Iterable[Feature]) -> list[tuple[Feature, Feature]]:
        """Pairs of features that this store cannot keep apart. `features` are all those under the same join keys."""

    def describe(self, prepared: Prepared) -> list[str]:
        """For people: the command that each lookup became."""

    def check_room(self, keys: int) -> None:
        """Raises StoreOverloadedError if a fetch of so many keys could not be answered in time."""

    def fetch(self, prepared: Prepared, keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        """Read the rows of entity keys, `keys[i]` for lookup i, in one round trip.

        The Future gets the Rows or a StoreError. The caller may cancel it at any time; no other fetch is harmed.
        """

    def fetch_times(self, prepared: Prepared, keys: Sequence[Sequence[bytes]]) -> asyncio.Future[Rows]:
        """As `fetch`, from where rows are written: copies of it, which may lag behind, are not read."""

    def prepare_write(self, view: WrittenView) -> Any:
        """The store's private form of a view that is written. Called as `prepare` is."""

    def write(self, writes: Sequence[tuple[Any, Chosen]]) -> asyncio.Future[None]:
        """Write the chosen rows of each view, which comes with what `prepare_write` made of it, in one round trip.

        The Future gets None when all rows are stored, or a StoreError. Its caller may cancel it: what is not sent by
        then never will be. Nothing is sent twice: UnknownOutcomeError says that rows were sent and nobody knows.
        """


STORES = {
    "redis": "yummy_fast.stores.redis:RedisStore",
    "sqlite": "yummy_fast.stores.sqlite:SqliteStore",
}
"""online_store.type -> module:class."""


def open_store_class(store_type: str, where: str) -> type[OnlineStore[object]]:
    """The class for `online_store.type`. `where` names file and key for the ConfigError of an unknown type.

    What it prepares is an object to everybody else.
    """
    if store_type not in STORES:
        near = get_close_matches(store_type.lower(), STORES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{where}: this server reads {' and '.join(sorted(STORES))}, not {store_type!r}{hint}")
    module, _, name = STORES[store_type].partition(":")
    store: type[OnlineStore[object]] = getattr(import_module(module), name)
    return store


def check_keys(block: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse a key of the `online_store` block that Feast's own class for the store does not have. Raises ConfigError.

    `where` names the file and the block.
    """
    for key in block:
        if key not in known:
            raise ConfigError(f"{where}.{key}: no such key; expected one of: {', '.join(sorted(known))}")
