"""Looking around in a Redis Cluster: `Looks` that asks, for each key, the primary that holds its slot.

A cluster has one database, so no row is in another one; all else that `redis_looks` finds, this finds too. A scan goes
through the primaries in turn, each for its share of the time and of the keys. Nothing is written.

The topology is read before the first question. When a node does not answer, or answers MOVED, it is read once more,
and the question is asked again where the slot is now. ASK is not followed: while a slot is moved from one node to
another, a key of it may be with either, and the error says so.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from yummy_fast.errors import StoreRefusedError, StoreUnavailableError
from yummy_fast.stores.looks import Scan, StoredHash
from yummy_fast.stores.redis_looks import RedisLooks
from yummy_fast.stores.redis_slots import Topology, describe_ranges, slot_of

Found = TypeVar("Found")


class Shards(NamedTuple):
    """The primaries of a cluster."""

    topology: Topology
    looks: Sequence[RedisLooks]
    """One for each of the topology's shards."""


class ClusterLooks:
    """`Looks` into a Redis Cluster."""

    kind = "redis"
    db = 0

    def __init__(self, address: str, find_shards: Callable[[], Shards], *, key_ttl_s: int) -> None:
        """Connects to nothing yet. `find_shards` reads the topology: it may block, and raises StoreUnavailableError."""
        self.address = address
        self.key_ttl_s = key_ttl_s
        self._find_shards = find_shards
        self._known: Shards | None = None

    def close(self) -> None:
        if self._known is not None:
            for looks in self._known.looks:
                looks.close()
            self._known = None

    def mode(self) -> str:
        return self._shards().looks[0].mode()

    def databases(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for looks in self._shards().looks:
            for db, keys in looks.databases().items():
                found[db] = found.get(db, 0) + keys
        return found

    def exist(self, keys: Sequence[bytes], db: int) -> list[bool]:
        return self._of_each(keys, lambda looks, group: looks.exist(group, db))

    def have_field(self, keys: Sequence[bytes], field: bytes, db: int) -> list[bool]:
        return self._of_each(keys, lambda looks, group: looks.have_field(group, field, db))

    def fields_there(self, key: bytes, fields: Sequence[bytes], db: int) -> list[bool]:
        return self._of_one(key, lambda looks: looks.fields_there(key, fields, db))

    def read(self, key: bytes, db: int, wanted: Sequence[bytes] = ()) -> StoredHash | None:
        return self._of_one(key, lambda looks: looks.read(key, db, wanted))

    def read_many(self, keys: Sequence[bytes], wanted: Sequence[bytes] = ()) -> Iterator[tuple[bytes, StoredHash]]:
        for key in keys:
            found = self.read(key, self.db, wanted)
            if found is not None:
                yield key, found

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
        deadline = time.monotonic() + time_s
        shards = self._shards()
        keys: dict[bytes, None] = {}
        complete, looked_at = not shards.topology.uncovered(), 0
        for number, looks in enumerate(shards.looks):
            left = len(shards.looks) - number  # the shares of those that have fewer keys go to the ones after them
            share, share_s = -(-(max_keys - len(keys)) // left), (deadline - time.monotonic()) / left
            found = looks.scan(db=db, contains=contains, suffix=suffix, max_keys=share, time_s=share_s)
            keys.update(dict.fromkeys(found.keys))
            complete &= found.complete
            looked_at += found.looked_at
        return Scan(list(keys), complete, looked_at)

    # --------------------------------------------------------------------------------------------------- the details

    def _shards(self) -> Shards:
        if self._known is None:
            self._known = self._find_shards()
        return self._known

    def _holder(self, key: bytes) -> RedisLooks:
        """The primary of a key. Raises StoreUnavailableError if nobody has its slot."""
        topology, looks = self._shards()
        slot = slot_of(key)
        index = bisect_right(topology.ranges, slot, key=lambda one: one[0]) - 1
        if index < 0 or topology.ranges[index][1] < slot:
            gaps = describe_ranges(topology.uncovered())
            raise StoreUnavailableError(f"{self.address}: no node for slot {slot} ({gaps} have none)")
        return looks[topology.ranges[index][2]]

    def _of_one(self, key: bytes, ask: Callable[[RedisLooks], Found]) -> Found:
        try:
            return ask(self._holder(key))
        except StoreRefusedError:  # by a user's rights, which are the same elsewhere
            raise
        except StoreUnavailableError:
            self.close()
            return ask(self._holder(key))

    def _of_each(self, keys: Sequence[bytes], ask: Callable[[RedisLooks, Sequence[bytes]], list[bool]]) -> list[bool]:
        try:
            return self._of_each_at_once(keys, ask)
        except StoreRefusedError:
            raise
        except StoreUnavailableError:
            self.close()
            return self._of_each_at_once(keys, ask)

    def _of_each_at_once(
        self, keys: Sequence[bytes], ask: Callable[[RedisLooks, Sequence[bytes]], list[bool]]
    ) -> list[bool]:
        """The answers in the order of `keys`, by one question to each primary."""
        by_holder: dict[RedisLooks, list[int]] = {}
        for number, key in enumerate(keys):
            by_holder.setdefault(self._holder(key), []).append(number)
        answers = [False] * len(keys)
        for looks, numbers in by_holder.items():
            for number, answer in zip(numbers, ask(looks, [keys[each] for each in numbers]), strict=True):
                answers[number] = answer
        return answers
