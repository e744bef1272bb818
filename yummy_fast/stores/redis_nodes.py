"""The nodes of a Redis Cluster, or of what Sentinel watches over: links to them, kept as the topology says.

    topology   what the source last said: shards, each a primary and its replicas
    links      one to each primary; and one to a replica of each shard, which stands by, or to all if they are read
    table      slot -> shard (`redis_shards`), for reads and writes; MOVED corrects it before the next topology does

A source (`redis_topology` of a cluster, `redis_sentinel`) reads the topology when `RefreshPace` says so, one reading at
a time. A node that the topology names no longer gets no further fetch, and its link is closed after the store's
timeout; or at once, if the source `drops_at_once`: then the fetches that wait for it are asked of other nodes.

One timer, `_watch`, watches everything: nodes that stall, slots that no node serves, and the numbers that other threads
read. What happens to a fetch is decided in `redis_shares`, and what to a write in `redis_writes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from yummy_fast.errors import StoreOverloadedError, StoreUnavailableError
from yummy_fast.native.owner import Picker
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_connection import CHECK_KEY
from yummy_fast.stores.redis_link import CANNOT_CONNECT, Link, Place, reason
from yummy_fast.stores.redis_shards import STALLED_SHARE, ShardLinks, ShardTable, is_usable
from yummy_fast.stores.redis_shares import Reads, Try
from yummy_fast.stores.redis_slots import (
    SLOTS,
    Address,
    Redirect,
    RefreshPace,
    Shard,
    Topology,
    describe_ranges,
    key_in,
)
from yummy_fast.stores.redis_writes import Writes
from yummy_fast.telemetry.once_log import OnceLog

logger = logging.getLogger("yummy_fast")

WATCHES = 4
"""How often a node is looked at in the time after which it counts as stalled."""
LEAST_WATCH_S = 0.005
MAX_NODES = 1000
"""Redirections make no links beyond this number: the largest cluster that Redis recommends."""
LATE_SHARE = 0.5
"""After a watch that is later than this part of its period, no node counts as stalled: our sockets may hold replies."""
UNUSABLE_S = 1.0
"""A shard without a usable node for this long makes /readyz 503: a lost connection is mostly made again sooner."""

LinkMaker = Callable[[str, Callable[[], Awaitable[Place]], StoreState, Callable[[Link], None], bytes], Link]
"""Makes a Link of: its name, its place, its own state, what to call when it changes, a key that has its slot there."""


class Source(Protocol):
    """What knows the topology."""

    regular_s: float
    """How often it is read when nothing seems wrong."""
    has_slots: bool
    """Whether there are slots: several shards, each of which may be lost by itself."""
    drops_at_once: bool
    """Whether a node that is not named any more is cut off at once, with what it was asked before."""

    async def read(self, known: Sequence[Address]) -> Topology:
        """The topology now; `known` are nodes that answer. Raises what CANNOT_CONNECT lists."""

    async def place(self, address: Address) -> Place:
        """Where to connect to for a node. Raises what CANNOT_CONNECT lists if the node must not be connected to."""

    async def close(self) -> None:
        """End what it keeps open."""


class Nodes:
    """Links to all nodes that are needed. Made within the event loop."""

    def __init__(
        self,
        name: str,
        source: Source,
        make_link: LinkMaker,
        suffix: bytes,
        timeout_s: float,
        state: StoreState,
        *,
        spread: bool,
    ) -> None:
        self.state = state
        self.topology: Topology | None = None
        self._name = name
        self._source = source
        self._make_link = make_link
        self._timeout_s = timeout_s
        self._spread = spread
        self._loop = asyncio.get_running_loop()
        self.table = ShardTable()
        self.reads = Reads(suffix, timeout_s, state, self.table, self, spread=spread)
        self.writes = Writes(suffix, timeout_s, state, self.table, self)
        self._links: dict[Address, Link] = {}
        self._addresses: dict[Link, Address] = {}
        self._shards: dict[Shard, ShardLinks] = {}
        self._moved: dict[Address, ShardLinks] = {}
        """Shards of nodes that MOVED has named as primaries, until the next topology."""
        self._pace = RefreshPace(self._loop.time(), random.random, source.regular_s)
        self._refresh_now = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        """Set when all is closed: nothing is waited for that a node may still answer."""
        self._period_s = max(timeout_s * STALLED_SHARE / WATCHES, LEAST_WATCH_S)
        self._watching: asyncio.TimerHandle | None = None
        self._log = OnceLog(logger)

    # ------------------------------------------------------------------------------------------------ the topology

    async def open(self) -> None:
        """Read the topology and connect, waiting for one attempt at each; what fails is tried again later."""
        attempted = asyncio.Event()
        self._keeping = self._loop.create_task(self._keep(attempted))
        self._watch_in(self._period_s)
        await attempted.wait()

    async def close(self) -> None:
        """Close all connections."""
        if self._watching is not None:
            self._watching.cancel()
        while self._keeping is not None and not self._keeping.done():
            self._keeping.cancel()  # again: a library below may have swallowed the first CancelledError
            await asyncio.wait((self._keeping,), timeout=0.1)
        closed = StoreUnavailableError("The online store is closed")
        for share in list(self.reads.delayed):
            share.whole.fail(closed)
        self.writes.close(closed)
        self._ended.set()
        await asyncio.gather(*(link.close() for link in self._links.values()), *self._closing)
        await self._source.close()

    async def _keep(self, attempted: asyncio.Event) -> None:
        """Read the topology whenever it is time to, for ever."""
        while True:
            pause_s = self._pace.due - self._loop.time()
            if pause_s > 0:
                self._refresh_now.clear()
                try:
                    async with asyncio.timeout(pause_s):
                        await self._refresh_now.wait()
                except TimeoutError:
                    pass
                else:
                    continue  # it is due sooner
            changed = False
            try:
                topology = await self._source.read(self._usable_addresses())
                changed = self._apply(topology)
            except Exception as error:  # of any kind: without this task the topology would never be read again
                self._log.log(logging.ERROR, "online store %s: cannot read the topology: %s", self._name, reason(error))
                if not isinstance(error, CANNOT_CONNECT):
                    logger.exception("online store %s: a bug of ours", self._name)
            else:
                self._log.forget()
            self.state.refreshes += 1
            self._pace.done(self._loop.time(), changed=changed)
            if self.topology is None:
                self.refresh()
            if not attempted.is_set():
                await asyncio.gather(*(link.attempted.wait() for link in self._links.values()))
                attempted.set()

    def _usable_addresses(self) -> list[Address]:
        found = [address for address, link in self._links.items() if is_usable(link) and not link.retired]
        random.shuffle(found)
        return found

    def refresh(self) -> None:
        """As Keeper.refresh."""
        before = self._pace.due
        self._pace.ask(self._loop.time())
        if self._pace.due < before:
            self._refresh_now.set()

    def _apply(self, topology: Topology) -> bool:
        """Follow a topology. Returns whether it differs from the one before."""
        changed = topology != self.topology
        owner: list[int] = [-1] * SLOTS
        for first, last, number in topology.ranges:
            owner[first : last + 1] = [number] * (last + 1 - first)
        if changed and self.topology is not None:
            logger.info(
                "online store %s: now %d primaries, %d nodes in all",
                self._name,
                len(topology.shards),
                len(topology.addresses()),
            )
        self.topology = topology
        before: dict[Shard, ShardLinks] = self._shards
        after: dict[Shard, ShardLinks] = {}
        self._moved.clear()
        shards = []
        for number, shard in enumerate(topology.shards):
            ranges = [(first, last) for first, last, owned_by in topology.ranges if owned_by == number]
            primary = self._link(shard.primary, owner, number)
            primary.set_role(replica=False)
            replicas = [self._link(address, owner, number) for address in self._choose_replicas(shard)]
            for replica in replicas:
                replica.set_role(replica=True)
            links = before.get(shard)
            if links is None:
                links = ShardLinks(primary, replicas, ranges)
                links.usable_at = max((old.usable_at for old in before.values()), default=0.0)
            else:
                links.replicas, links.ranges = replicas, ranges
            after[shard] = links
            shards.append(links)
        moved = self.table.fill(shards, owner, self._loop.time())
        self._shards = after  # in one step: `describe` reads it in another thread
        self._drop_kept(moved)
        named = {link for links in shards for link in links.links}
        for address, link in list(self._links.items()):
            if link not in named:
                self._retire(address, link)
        return changed

    def _choose_replicas(self, shard: Shard) -> Sequence[Address]:
        """The replicas to connect to: all, or the one that stands by already, or any one."""
        if self._spread or not shard.replicas:
            return shard.replicas
        known = [address for address in shard.replicas if address in self._links]
        for address in known:
            if is_usable(self._links[address]):
                return (address,)
        for address in known:
            if not self._links[address].attempted.is_set():
                return (address,)
        fresh = [address for address in shard.replicas if address not in known]
        return (random.choice(fresh or shard.replicas),)  # noqa: S311  # no secret

    def _link(self, address: Address, owner: Sequence[int] = (), number: int = 0) -> Link:
        link = self._links.get(address)
        if link is None:
            check_key = key_in(lambda slot: owner[slot] == number, CHECK_KEY) if owner else CHECK_KEY
            place = partial(self._source.place, address)
            link = self._make_link(f"{self._name} {address}", place, StoreState(), self._link_changed, check_key)
            self._links[address] = link
            self._addresses[link] = address
            link.start()
        return link

    def _retire(self, address: Address, link: Link) -> None:
        """A node is not named any more. It may still answer what it was asked, unless the source `drops_at_once`."""
        del self._links[address]
        link.retired = True
        task = self._loop.create_task(self._close_later(link, 0 if self._source.drops_at_once else self._timeout_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_later(self, link: Link, delay_s: float) -> None:
        if delay_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._ended.wait()
        elif link.connection is not None:
            link.connection.end("another node is the master now")
        await link.close()
        del self._addresses[link]

    def _link_changed(self, link: Link) -> None:
        if link.connection is None and not link.retired:
            self.refresh()

    def moved(self, redirect: Redirect, link: Link) -> None:
        """As Keeper.moved."""
        self.refresh()
        if redirect.to == self._addresses.get(link):
            link.reconnect()  # a service that moves slots between machines behind one address (MemoryDB)
            return
        shard = self._moved.get(redirect.to)
        if shard is None:
            known = (links for spec, links in self._shards.items() if spec.primary == redirect.to)
            shard = next(known, None)
            if shard is None:
                primary = self.link_to(redirect.to)
                if primary is None:
                    return
                shard = ShardLinks(primary)
            self._moved[redirect.to] = shard
            shard.primary.set_role(replica=False)
        self.table.move(redirect.slot, shard)
        self._drop_kept([redirect.slot])

    def _drop_kept(self, slots: Sequence[int]) -> None:
        """Forget the rows of slots that are elsewhere now: the node that had them tells nothing of them any more."""
        if slots and self.reads.cache is not None:
            self.reads.cache.drop_slots(slots, self._loop.time())

    def link_to(self, address: Address) -> Link | None:
        """As Keeper.link_to."""
        if address not in self._links and len(self._links) >= MAX_NODES:
            return None
        return self._link(address)

    def address_of(self, link: Link) -> Address:
        """As Keeper.address_of."""
        return self._addresses.get(link) or Address("", 0)

    # --------------------------------------------------------------------------------------------------- watching

    def _watch_in(self, delay_s: float) -> None:
        self._watching = self._loop.call_later(delay_s, self._watch, self._loop.time() + delay_s)

    def _watch(self, due: float) -> None:
        """Look at everything that no event reports: nodes that stall, and shards without a node."""
        now = self._loop.time()
        self._watch_in(self._period_s)
        links = list(self._links.values())
        if now - due < self._period_s * LATE_SHARE:
            for link in links:
                if link.connection is not None:
                    for stalled in link.connection.find_stalled(self._timeout_s * STALLED_SHARE):
                        if isinstance(stalled, Try):
                            self.reads.hedge(stalled)
        state = self.state
        state.answered_at = max([state.answered_at, *(link.state.answered_at for link in links)])
        state.crowded = any(link.state.crowded for link in links)
        state.refusal = next((link.state.refusal for link in links if link.state.refusal), "")
        gaps = [(0, SLOTS - 1)] if self.topology is None else self.topology.uncovered()
        for shard in self._shards.values():
            if any(map(is_usable, shard.links)):
                shard.usable_at = now
            elif now - shard.usable_at > UNUSABLE_S:
                gaps += shard.ranges
        lost = f"no node for the slots {describe_ranges(sorted(gaps))}" if self._source.has_slots else "no master"
        state.unusable = lost if gaps else ""

    def probe(self, pickers: Mapping[str, Picker]) -> None:
        """See that all nodes answer."""
        for link in list(self._links.values()):
            link.probe(pickers)

    # ---------------------------------------------------------------------------------------------------- showing

    @property
    def in_flight(self) -> int:
        """How many fetches and writes wait for replies. Any thread may ask."""
        links = list(self._links.values())
        connections = [connection for link in links if (connection := link.connection) is not None]
        receivers = (receiver for connection in connections for receiver in connection.receivers())
        return len(self.reads.waiting(receivers)) + self.writes.in_flight

    def check_room(self, keys: int) -> None:
        """Raises StoreOverloadedError if no node could answer its part of so many keys in time."""
        refusal: StoreOverloadedError | None = None
        primaries = {shard.primary for shard in self._shards.values()}
        for link in primaries:
            if link.connection is None:
                continue
            try:
                link.connection.check_room(max(keys // len(primaries), 1))
            except StoreOverloadedError as error:
                refusal = error
            else:
                return
        if refusal is not None:
            raise refusal

    def describe(self) -> list[dict[str, Any]]:
        """What is known of each node, for people. Any thread may ask."""
        shards = [*list(self._moved.values()), *self._shards.values()]
        primaries = {shard.primary: shard for shard in shards}
        found = []
        for address, link in list(self._links.items()):
            connection, shard = link.connection, primaries.get(link)
            found.append(
                {
                    "node": str(address),
                    "role": "replica" if shard is None else "primary",
                    "slots": describe_ranges(shard.ranges) if shard is not None and self._source.has_slots else "",
                    "connected": connection is not None,
                    "usable": is_usable(link),
                    "in_flight": 0 if connection is None else connection.in_flight,
                    **({} if connection is not None else {"problem": link.problem}),
                }
            )
        return found
