"""The shards of a store with several nodes: which one has a key, and which of its nodes is asked.

A *shard* holds slots: it has a primary, and replicas with the same rows. A master behind Sentinels is one, for all
slots. Of its nodes, a fetch asks

    the primary                     or each node in turn, where replicas are read as well (`spread`)
    another node                    if the primary cannot be used; a node can be used if it is connected, and answers
    the primary after all           if no node can be used: one that stalls is still better than none
    none                            if the primary is gone as well; `down_since` says whether waiting makes sense

`redis_shares` asks here where the keys of a fetch go, and `redis_writes` where rows go. `redis_nodes` fills the table
from the topology, and is the `Keeper` of the links. Nothing is sent here, and nothing connected to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from yummy_fast.stores.redis_link import Link
from yummy_fast.stores.redis_slots import SLOTS, Address, Redirect

MAX_HOPS = 5
"""How often keys or rows are sent again without a wait. redis-py: 3 retries, 16 redirections in earlier versions."""
FIRST_WAIT_S, LAST_WAIT_S = 0.02, 0.16
"""How long the first wait is, and the longest: each is twice as long as the one before."""
STALLED_SHARE = 0.25
"""A node from which nothing came for this part of the store's timeout is asked no more while there is another one."""


class ShardLinks:
    """The nodes of one shard that we are connected to."""

    __slots__ = ("_turn", "primary", "ranges", "refused_at", "refused_since", "replicas", "usable_at")

    def __init__(self, primary: Link, replicas: Sequence[Link] = (), ranges: Sequence[tuple[int, int]] = ()) -> None:
        self.primary = primary
        self.replicas = list(replicas)
        """Those that may be read: all of them, or one that stands by."""
        self.ranges = ranges
        """Its slots."""
        self.usable_at = 0.0
        """When one of its nodes was usable, as `redis_nodes` last saw it."""
        self.refused_since = self.refused_at = 0.0
        """Since when, and when last, it said CLUSTERDOWN and the like."""
        self._turn = 0

    @property
    def links(self) -> list[Link]:
        return [self.primary, *self.replicas]

    def pick(self, avoid: Link | None, *, spread: bool, only_primary: bool = False) -> Link | None:
        """The node to ask, but not `avoid`: the primary, or another if it cannot be used. `spread`: each in turn."""
        if only_primary:
            return self.primary if self.primary is not avoid and is_usable(self.primary) else None
        if not spread:
            connection = self.primary.connection
            if connection is not None and connection.responsive and self.primary is not avoid:
                return self.primary
        usable = [link for link in self.links if link is not avoid and is_usable(link)]
        if usable:
            self._turn += 1
            return usable[self._turn % len(usable)]
        # A node that stalls is still better than none.
        primary, connection = self.primary, self.primary.connection
        alive = connection is not None and not connection.lost.done()
        return primary if alive and primary is not avoid else None

    def down_since(self, now: float, *, only_primary: bool) -> float:
        """Since when none of its nodes could be used, about; `now` if one can. Or since when its primary is gone."""
        if only_primary:
            return now if self.primary.connection is not None else self.primary.down_since
        return now if any(map(is_usable, self.links)) else max(self.primary.down_since, self.usable_at)

    def refused(self, now: float, timeout_s: float) -> bool:
        """Note that it refuses reads. Returns whether it has done so for the store's timeout."""
        if now - self.refused_at > timeout_s:
            self.refused_since = now
        self.refused_at = now
        return now - self.refused_since > timeout_s


def is_usable(link: Link) -> bool:
    """Whether a node is connected, and answers."""
    connection = link.connection
    return connection is not None and connection.responsive


class ShardTable:
    """The shard of each slot, for reads and writes."""

    __slots__ = ("by_slot", "only", "uncovered_since")

    def __init__(self) -> None:
        self.by_slot: list[ShardLinks | None] = [None] * SLOTS
        """None: no node is known that holds it."""
        self.only: ShardLinks | None = None
        """The shard that has all slots, if there is one."""
        self.uncovered_since = -math.inf
        """Since when there are slots without a node. Before there is a topology, nothing is waited for."""

    def fill(self, shards: Sequence[ShardLinks], owner: Sequence[int], now: float) -> list[int]:
        """Take the shards of a new topology; `owner` has the number of each slot's, below zero if it has none.

        Returns the slots of which another node is the primary now.
        """
        before = [None if shard is None else shard.primary for shard in self.by_slot]
        self.by_slot[:] = [shards[number] if number >= 0 else None for number in owner]
        if None in self.by_slot:
            self.only = None
            if self.uncovered_since == math.inf:
                self.uncovered_since = now
        else:
            self.only = shards[0] if len(shards) == 1 else None
            self.uncovered_since = math.inf
        after = (None if shard is None else shard.primary for shard in self.by_slot)
        return [slot for slot, (old, new) in enumerate(zip(before, after, strict=True)) if old is not new]

    def move(self, slot: int, shard: ShardLinks) -> None:
        """A node has said that a slot is elsewhere now."""
        self.only = None
        self.by_slot[slot] = shard


class Keeper(Protocol):
    """What keeps the links."""

    def refresh(self) -> None:
        """The topology may have changed."""

    def moved(self, redirect: Redirect, link: Link) -> None:
        """`link` says that a slot is elsewhere."""

    def link_to(self, address: Address) -> Link | None:
        """The link to a node, made if there is none yet; None if there are too many."""

    def address_of(self, link: Link) -> Address: ...
