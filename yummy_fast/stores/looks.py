"""What can be seen of an online store by those who look for the cause of a null: the interface `Looks`.

`diagnosis` asks through it, and so does a store's own `survey`. A store that can be looked into returns one from
`OnlineStore.looks`; what implements it is imported only then. Everything here is bounded: by keys, by time, by fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from yummy_fast.feast_format.keys import feature_field


def field_name(kind: str, view: str, feature: str) -> bytes:
    """What a store of a kind (`Looks.kind`) calls a feature: in Redis the hash of its name, elsewhere its name."""
    return feature_field(view, feature) if kind == "redis" else f"{view}:{feature}".encode()


@dataclass(frozen=True, slots=True)
class StoredHash:
    """What is stored under a key: for each view a `_ts:<view>`, and its features by `field_name`."""

    fields: Mapping[bytes, bytes]
    """All fields; if there are too many of them, those that were wanted."""
    count: int
    """How many fields there are."""
    expires_s: int | None = None
    """In how many seconds the store removes it; None for never."""
    encoding: str = ""
    """How Redis keeps it: listpack or hashtable."""
    kind: str = "hash"
    """What Redis keeps under the key: Feast writes hashes."""

    @property
    def is_whole(self) -> bool:
        """Whether `fields` has all of them."""
        return len(self.fields) == self.count


class Scan(NamedTuple):
    """Keys of a store."""

    keys: list[bytes]
    complete: bool
    """Whether these are all that there are."""
    looked_at: int
    """About how many keys the store went through for them, those that do not match too."""


class Looks(Protocol):
    """A store that is looked into. Every method may block, and raises StoreUnavailableError."""

    kind: str
    """redis or sqlite: how fields are called, and what people are told to do."""
    address: str
    """For people: where the store is."""
    db: int
    """The database that the repository names."""
    key_ttl_s: int
    """After how many seconds Feast has the store remove a key that it wrote; 0 for never."""

    def close(self) -> None:
        """Close the connections."""

    def mode(self) -> str:
        """What the server says that it is: standalone, cluster or sentinel; "" if it does not say. Raises
        StoreRefusedError if it may not be asked.
        """

    def databases(self) -> Mapping[int, int]:
        """The databases that have keys, and how many; empty if it may not be asked."""

    def exist(self, keys: Sequence[bytes], db: int) -> list[bool]:
        """Whether there is anything under each key."""

    def have_field(self, keys: Sequence[bytes], field: bytes, db: int) -> list[bool]:
        """Whether the hash under each key has a field."""

    def fields_there(self, key: bytes, fields: Sequence[bytes], db: int) -> list[bool]:
        """Whether the hash under a key has each of some fields, whose values are short."""

    def read(self, key: bytes, db: int, wanted: Sequence[bytes] = ()) -> StoredHash | None:
        """What is under a key; of a large hash the `wanted` fields."""

    def read_many(self, keys: Sequence[bytes], wanted: Sequence[bytes] = ()) -> Iterator[tuple[bytes, StoredHash]]:
        """What is under each key that is still there, one by one."""

    def scan(
        self,
        *,
        db: int,
        contains: Sequence[bytes] = (),
        suffix: bytes = b"",
        views: Sequence[str] = (),
        max_keys: int,
        time_s: float,
    ) -> Scan:
        """Keys that have the bytes of `contains` in them, in this order, and end with `suffix`; any keys without these.

        `views`: names of views, by which a store tells a project from a view where both are in one name.
        Raises StoreRefusedError if it may not be asked.
        """
