"""A fetch from several nodes: its keys to their nodes, the rows back in their places, and another try where one helps.

A fetch is cut into *shares*, one for each shard whose slots its keys have. A share is sent to one node, in one write
with all that goes there in the same tick, and the nodes work in parallel. Its rows are put where they belong:

    keys        k1 k2 k3 k4 k5          shares      A: k1 k4      B: k2 k3 k5
    table       -  r2 r3 -  r5          B has answered; when A has, too, the fetch has its rows

What can go wrong with a share is tried again, at once MAX_HOPS times at most, and all of it before the first deadline:

    MOVED, ASK                      at once, where the node says; of several keys each by itself, since the reply says
                                    nothing about the others
    lost, silent, LOADING           at once at another node of the shard: a replica answers while the primary is gone
    no other node, CLUSTERDOWN,     after 20 ms, then 40, 80, 160, 160 ... with jitter; not at all where it has been so
    TRYAGAIN                        for the store's timeout: then the client had better hear of it at once
    nothing for a quarter of        also at another node; the first answer counts (`hedge`)
    the timeout

A try is a `Receiver` to the connection that it was sent on, in the place of a Future. Whatever follows from its failure
happens in a tick of its own: never on the stack of a connection. The first try of a fetch does without: nearly all
succeed, and then a fetch whose keys are all at one node has cost little more than with one Redis (`FirstTry`).

Which nodes a shard has, and which of them is asked, is known to `redis_shards`. Nothing is connected to here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from yummy_fast.errors import StoreError, StoreOverloadedError, StoreTimeoutError, StoreUnavailableError
from yummy_fast.features.plan import Rows
from yummy_fast.native import owner
from yummy_fast.native.owner import Picker
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_hash import HashReader
from yummy_fast.stores.redis_link import Link
from yummy_fast.stores.redis_pending import PendingAsked, PendingFetch, Receiver
from yummy_fast.stores.redis_rows import ASKING
from yummy_fast.stores.redis_shards import (
    FIRST_WAIT_S,
    LAST_WAIT_S,
    MAX_HOPS,
    Keeper,
    ShardLinks,
    ShardTable,
    is_usable,
)
from yummy_fast.stores.redis_slots import parse_redirect
from yummy_fast.stores.redis_tracking import TrackedConnection
from yummy_fast.stores.redis_turns import Part, cost_of
from yummy_fast.stores.row_cache import RowCache

NOT_KEPT = -1
"""The ticket of a fetch whose rows are not kept in the cache."""

NO_NODE = "No node of the online store can be reached that holds the entity"
_WAIT = ("CLUSTERDOWN", "TRYAGAIN")
_OTHER_NODE = ("LOADING", "MASTERDOWN")


class Piece(NamedTuple):
    """Keys of one lookup."""

    reader: HashReader
    lookup: int
    keys: list[bytes]
    positions: list[int] | None
    """Where their rows belong. None: they are all keys of the lookup."""


class Whole:
    """A fetch that is waited for, in all its shares."""

    __slots__ = ("_has_timer", "counts", "deadline", "future", "left", "only_primaries", "tables", "ticket")

    def __init__(
        self,
        future: asyncio.Future[Rows],
        counts: Sequence[int],
        deadline: float,
        *,
        ticket: int = NOT_KEPT,
        only_primaries: bool = False,
    ) -> None:
        self.future = future
        self.only_primaries = only_primaries
        """Whether replicas are not asked, whatever happens: they may lag behind."""
        self.counts = counts
        """How many keys each lookup has."""
        self.deadline = deadline
        self.left = 0
        """How many shares have no rows yet."""
        self.tables: list[Any] | None = None
        """The rows so far; None while there is one share, whose rows are those of the fetch."""
        self._has_timer = False
        self.ticket = ticket
        """What its rows are kept by in the cache (`row_cache`); below zero they are not kept."""

    def put(self, pieces: Sequence[Piece], rows: Rows) -> None:
        """The rows of a share have come."""
        self.left -= 1
        if self.tables is None:
            self.future.set_result(rows)
            return
        for (_, lookup, _, positions), found in zip(pieces, rows, strict=True):
            if positions is None:
                self.tables[lookup] = found
            else:
                owner.put_rows(found, positions, self.tables[lookup])
        if not self.left:
            self.future.set_result(self.tables)

    def make_tables(self) -> None:
        """There are several shares, or one is tried again in several."""
        if self.tables is None:
            self.tables = [[None] * count for count in self.counts]

    def fail(self, error: StoreError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something is tried again. The connections do not know the first deadline, so here is a timer for it."""
        if not self._has_timer:
            self._has_timer = True
            error = StoreTimeoutError("The online store did not answer in time")
            timer = loop.call_at(self.deadline, self.fail, error)
            self.future.add_done_callback(lambda _: timer.cancel())


class Share:
    """What one shard has to answer of a fetch."""

    __slots__ = ("callbacks", "done", "hops", "latest", "pieces", "shard", "waits", "whole")

    def __init__(
        self, whole: Whole, shard: ShardLinks | None, pieces: Sequence[Piece], hops: int = 0, waits: int = 0
    ) -> None:
        self.whole = whole
        self.shard = shard
        """None: nobody holds its slots."""
        self.pieces = pieces
        self.hops = hops
        """How often it was tried again at once, and ..."""
        self.waits = waits
        """... after a wait."""
        self.done = False
        """Its rows have come, or other shares stand in its place."""
        self.latest: Try | None = None
        """The one whose failure counts."""
        self.callbacks: list[Callable[[Any], object]] = []

    @property
    def count(self) -> int:
        return sum(len(piece.keys) for piece in self.pieces)

    def finish(self, loop: asyncio.AbstractEventLoop) -> None:
        """It is done: what else of it waits on a connection is not sent."""
        self.done = True
        for callback in self.callbacks:
            loop.call_soon(callback, None)


class Try:
    """A share sent to one node: the `Receiver` of its replies."""

    __slots__ = ("_reads", "link", "shard", "share")

    def __init__(self, reads: Reads, share: Share, shard: ShardLinks, link: Link) -> None:
        self._reads = reads
        self.share = share
        self.shard = shard
        """The shard of `share`."""
        self.link = link

    def done(self) -> bool:
        """Whether nobody waits for its replies any more."""
        return self.share.done or self.share.whole.future.done()

    def set_result(self, rows: Rows, /) -> None:
        share = self.share
        share.done = True
        if share.callbacks:
            share.finish(self._reads.loop)
        if share.whole.ticket >= 0:
            self._reads.keep(self.shard, self.link, share.pieces, rows, share.whole.ticket)
        share.whole.put(share.pieces, rows)

    def set_exception(self, error: StoreError, /) -> None:
        self._reads.loop.call_soon(self._reads.failed, self, error)

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        self.share.callbacks.append(callback)
        self.share.whole.future.add_done_callback(callback)


class FirstTry(PendingFetch):
    """A fetch from one node, as long as nothing goes wrong: its rows are those of the fetch.

    When something does, it gets what the rest of this file works on: a Whole, a Share and a Try, which takes the place
    of the future.
    """

    __slots__ = ("_keys", "_link", "_prepared", "_reads", "_shard", "_ticket")

    def __init__(
        self,
        future: asyncio.Future[Rows],
        parts: list[tuple[Picker, int]],
        reads: Reads,
        shard: ShardLinks,
        link: Link,
        prepared: Sequence[HashReader],
        keys: Sequence[Sequence[bytes]],
        ticket: int,
    ) -> None:
        super().__init__(future, parts)
        self._reads = reads
        self._shard = shard
        self._link = link
        self._ticket = ticket
        self._prepared = prepared
        self._keys = keys

    def finish(self) -> None:
        """As PendingFetch.finish."""
        future = self._future
        if future.done():
            return
        if self._error is not None:
            self.watched().set_exception(self._error)
            return
        if self._ticket >= 0 and not isinstance(future, Try):  # which keeps them itself
            pieces = pieces_of(self._prepared, self._keys)
            self._reads.keep(self._shard, self._link, pieces, self._rows_by_lookup, self._ticket)
        future.set_result(self._rows_by_lookup)

    def fail(self, error: StoreError) -> None:
        """As PendingFetch.fail."""
        if not self._future.done():
            self.watched().set_exception(error)

    def watched(self) -> Receiver:
        """As PendingFetch.watched: the Try."""
        if not isinstance(self._future, Try):
            share = self._make_share(self._future)  # type: ignore[arg-type]  # it is what it was made with
            self._future = share.latest = Try(self._reads, share, self._shard, self._link)
        return self._future

    def _make_share(self, future: asyncio.Future[Rows]) -> Share:
        reads = self._reads
        # A connection that refuses it at once has set no deadline.
        whole = Whole(future, list(map(len, self._keys)), self.deadline or reads.new_deadline(), ticket=self._ticket)
        whole.left = 1
        return Share(whole, self._shard, pieces_of(self._prepared, self._keys))


class FirstTryOfPart(FirstTry):
    """As FirstTry, of a share: its rows are some of those of the fetch."""

    __slots__ = ("_pieces", "_whole")

    def __init__(
        self,
        whole: Whole,
        parts: list[tuple[Picker, int]],
        reads: Reads,
        shard: ShardLinks,
        link: Link,
        pieces: list[Piece],
    ) -> None:
        super().__init__(whole.future, parts, reads, shard, link, (), (), whole.ticket)
        self._whole = whole
        self._pieces = pieces

    def finish(self) -> None:
        """As PendingFetch.finish."""
        future = self._future
        if self._error is not None or isinstance(future, Try):
            super().finish()
        elif not future.done():
            if self._ticket >= 0:
                self._reads.keep(self._shard, self._link, self._pieces, self._rows_by_lookup, self._ticket)
            self._whole.put(self._pieces, self._rows_by_lookup)

    def _make_share(self, future: asyncio.Future[Rows]) -> Share:
        return Share(self._whole, self._shard, self._pieces)


def pieces_of(prepared: Sequence[HashReader], keys: Sequence[Sequence[bytes]]) -> list[Piece]:
    """All keys of a fetch."""
    return [
        Piece(reader, number, list(group), None)
        for number, (reader, group) in enumerate(zip(prepared, keys, strict=True))
    ]


class Reads:
    """All fetches of a store with several nodes."""

    def __init__(
        self, suffix: bytes, timeout_s: float, state: StoreState, table: ShardTable, keeper: Keeper, *, spread: bool
    ) -> None:
        """`suffix` ends every key. `spread`: replicas are read as well, also when nothing is wrong."""
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.cache: RowCache | None = None
        """Where rows are kept."""
        self.delayed: set[Share] = set()
        """Those that are tried again later."""
        self._suffix = suffix
        self._timeout_s = timeout_s
        self._state = state
        self._table = table
        self._keeper = keeper
        self._spread = spread

    def fetch(
        self, future: asyncio.Future[Rows], prepared: Sequence[HashReader], keys: Sequence[Sequence[bytes]]
    ) -> None:
        """As `OnlineStore.fetch`, with a lookup at least. `future` gets the rows or a StoreError."""
        for reader in prepared:
            if reader.may_change:
                reader.check_lengths()
        shard = self._table.only
        if shard is None and len(keys) == 1 and len(keys[0]) == 1:
            shard = self._table.by_slot[owner.slot_of(keys[0][0], self._suffix)]
        if shard is None:
            self._fetch_from_several(future, prepared, keys)
        else:
            self._fetch_from_one(shard, future, prepared, keys)

    def fetch_from_primaries(
        self, future: asyncio.Future[Rows], prepared: Sequence[HashReader], keys: Sequence[Sequence[bytes]]
    ) -> None:
        """As `fetch`; and replicas are not asked, whatever happens, nor is anything kept."""
        for reader in prepared:
            reader.check_lengths()
        whole = Whole(future, list(map(len, keys)), self.new_deadline(), only_primaries=True)
        self._start_all(whole, pieces_of(prepared, keys))

    def keep_rows_in(self, cache: RowCache) -> None:
        """From now on, keep what primaries answer."""
        self.cache = cache

    def _ticket(self, count: int) -> int:
        """What the rows of a fetch of `count` keys are kept by, which is about to be sent."""
        return NOT_KEPT if self.cache is None else self.cache.ticket(count)

    def _fetch_from_one(
        self,
        shard: ShardLinks,
        future: asyncio.Future[Rows],
        prepared: Sequence[HashReader],
        keys: Sequence[Sequence[bytes]],
    ) -> None:
        link = shard.pick(None, spread=self._spread)
        count = len(keys[0]) if len(keys) == 1 else sum(map(len, keys))
        ticket = self._ticket(count)
        if link is None or (connection := link.connection) is None or count > connection.room:
            whole = Whole(future, list(map(len, keys)), self.new_deadline(), ticket=ticket)
            whole.left = 1
            self._start(Share(whole, shard, pieces_of(prepared, keys)))
            return
        if link is not shard.primary:
            self._state.replica_reads += 1
        if len(prepared) == 1:  # usually: the loops below cost as much as all else in here
            parts, commands = [(prepared[0].picker, count)], [prepared[0].command.render(keys[0])]
            cost = cost_of(count, len(commands[0]))
        else:
            parts = [(reader.picker, len(group)) for reader, group in zip(prepared, keys, strict=True)]
            commands = [reader.command.render(group) for reader, group in zip(prepared, keys, strict=True)]
            cost = cost_of(count, sum(map(len, commands)))
        connection.send(FirstTry(future, parts, self, shard, link, prepared, keys, ticket), commands, cost)

    def _fetch_from_several(
        self, future: asyncio.Future[Rows], prepared: Sequence[HashReader], keys: Sequence[Sequence[bytes]]
    ) -> None:
        found = self._by_shard(pieces_of(prepared, keys))
        if len(found) == 1:
            (shard,) = found
            if shard is not None:
                self._fetch_from_one(shard, future, prepared, keys)
                return
        counts = list(map(len, keys))
        whole = Whole(future, counts, self.new_deadline(), ticket=self._ticket(sum(counts)))
        whole.left = len(found)
        whole.make_tables()
        for shard, pieces in found.items():
            parts = [(piece.reader.picker, len(piece.keys)) for piece in pieces]
            count = sum([replies for _, replies in parts])
            if (
                shard is None
                or (link := shard.pick(None, spread=self._spread)) is None
                or (connection := link.connection) is None
                or count > connection.room
            ):
                self._start(Share(whole, shard, pieces))
                continue
            if link is not shard.primary:
                self._state.replica_reads += 1
            commands = [piece.reader.command.render(piece.keys) for piece in pieces]
            cost = cost_of(count, sum(map(len, commands)))
            connection.send(FirstTryOfPart(whole, parts, self, shard, link, pieces), commands, cost)

    def new_deadline(self) -> float:
        """The deadline of a fetch that begins now, by the loop's clock."""
        return self.loop.time() + self._timeout_s

    def _by_shard(self, pieces: Iterable[Piece]) -> dict[ShardLinks | None, list[Piece]]:
        """The pieces by the shards that hold their keys; None for those that nobody holds."""
        if self._table.only is not None:
            return {self._table.only: list(pieces)}
        found: dict[ShardLinks | None, list[Piece]] = {}
        for piece in pieces:
            reader, lookup, keys, positions = piece
            for shard, part in owner.split_keys(keys, self._suffix, self._table.by_slot).items():
                its_piece = piece
                if part is not None:
                    some, where = part
                    if positions is not None:
                        where = [positions[index] for index in where]
                    its_piece = Piece(reader, lookup, some, where)
                found.setdefault(shard, []).append(its_piece)
        return found

    def _start_all(
        self, whole: Whole, pieces: Sequence[Piece], hops: int = 0, waits: int = 0, avoid: Link | None = None
    ) -> None:
        """Make shares of the pieces, by the shards of their keys, and send them."""
        found = self._by_shard(pieces)
        if len(found) > 1:
            whole.make_tables()
        whole.left += len(found)
        for shard, parts in found.items():
            self._start(Share(whole, shard, parts, hops, waits), avoid)

    def _start(self, share: Share, avoid: Link | None = None) -> None:
        shard = share.shard
        if shard is None or (link := self._pick(share, shard, avoid)) is None:
            self._keeper.refresh()
            self._wait(share, StoreUnavailableError(NO_NODE))
        else:
            self._send(share, shard, link)

    def _pick(self, share: Share, shard: ShardLinks, avoid: Link | None) -> Link | None:
        return shard.pick(avoid, spread=self._spread, only_primary=share.whole.only_primaries)

    def _send(self, share: Share, shard: ShardLinks, link: Link) -> None:
        """Send a share to a node. What fails at once fails in a tick of its own."""
        connection = link.connection
        assert connection is not None, "it was picked"  # noqa: S101
        share.latest = receiver = Try(self, share, shard, link)
        if link is not shard.primary:
            self._state.replica_reads += 1
        pieces = share.pieces
        count = len(pieces[0].keys) if len(pieces) == 1 else share.count
        if count <= connection.room:
            parts = [(piece.reader.picker, len(piece.keys)) for piece in pieces]
            commands = [piece.reader.command.render(piece.keys) for piece in pieces]
            cost = cost_of(count, len(commands[0]) if len(commands) == 1 else sum(map(len, commands)))
            connection.send(PendingFetch(receiver, parts), commands, cost)
        else:
            turns = [Part(piece.reader.command, piece.reader.picker, piece.keys) for piece in pieces]
            connection.send_in_turns(receiver, turns)

    def keep(self, shard: ShardLinks, link: Link, pieces: Sequence[Piece], rows: Rows, ticket: int) -> None:
        """Put what a primary has answered into the cache. Of a replica's rows nobody knows how old they are."""
        connection, cache = link.connection, self.cache
        if link is not shard.primary or link.replica or cache is None:
            return
        if isinstance(connection, TrackedConnection):
            now, generation = self.loop.time(), connection.generation
            for (reader, _, keys, _), found in zip(pieces, rows, strict=True):
                cache.put(
                    keys,
                    found,
                    shape=reader.shape,
                    views=reader.views,
                    generation=generation,
                    ticket=ticket,
                    now=now,
                    slots=[owner.slot_of(key, self._suffix) for key in keys],
                )

    # ------------------------------------------------------------------------------------------------- trying again

    def hedge(self, stalled: Try) -> None:
        """A node stalls: ask another one as well, if there is one."""
        share, shard = stalled.share, stalled.shard
        if stalled.done() or share.latest is not stalled or share.hops >= MAX_HOPS:
            return
        other = self._pick(share, shard, stalled.link)
        if other is not None and is_usable(other):
            share.hops += 1
            share.whole.watch(self.loop)
            self._send(share, shard, other)

    def failed(self, one: Try, error: StoreError) -> None:
        """A try has failed: try again, or fail the fetch."""
        share, shard, link = one.share, one.shard, one.link
        if one.done() or share.latest is not one:
            return
        code = error.reply.partition(" ")[0]
        lost = not code and isinstance(error, StoreUnavailableError) and not isinstance(error, StoreOverloadedError)
        if code in ("MOVED", "ASK"):
            self._redirect(one, error)
        elif code in _WAIT:
            self._keeper.refresh()
            self._wait(share, error, hopeless=shard.refused(self.loop.time(), self._timeout_s))
        elif code in _OTHER_NODE or lost:
            if lost:
                self._keeper.refresh()
            if share.hops < MAX_HOPS and self._pick(share, shard, link) is not None:
                self._again(share, avoid=link)
            else:
                self._wait(share, error)
        else:
            share.whole.fail(error)

    def _redirect(self, one: Try, error: StoreError) -> None:
        share, link = one.share, one.link
        redirect = parse_redirect(error.reply, self._keeper.address_of(link))
        if redirect is None or share.hops >= MAX_HOPS:
            share.whole.fail(error)
            return
        self._state.redirects += 1
        if redirect.code == "MOVED":
            self._keeper.moved(redirect, link)
            self._again(share, one_by_one=True)
        elif share.count > 1:
            self._again(share, one_by_one=True)
        else:
            target = self._keeper.link_to(redirect.to)
            if target is None or (connection := target.connection) is None:
                self._wait(share, error)
                return
            ((reader, _, keys, _),) = share.pieces
            share.hops += 1
            share.whole.watch(self.loop)
            share.latest = receiver = Try(self, share, one.shard, target)
            command = reader.command.render(keys)
            # Without regard to the room: it is one command, and nothing may come between the two.
            connection.send(PendingAsked(receiver, reader.picker), [ASKING, command], cost_of(2, len(command)))

    def _again(
        self, share: Share, avoid: Link | None = None, *, one_by_one: bool = False, after_wait: bool = False
    ) -> None:
        """Send a share anew, by the topology as it is now."""
        self.delayed.discard(share)
        whole = share.whole
        if share.done or whole.future.done():
            return
        whole.watch(self.loop)
        share.finish(self.loop)
        whole.left -= 1
        hops, waits = share.hops + (not after_wait), share.waits + after_wait
        if not one_by_one:
            self._start_all(whole, share.pieces, hops, waits, avoid)
            return
        whole.make_tables()
        for reader, lookup, keys, positions in share.pieces:
            for position, key in zip(range(len(keys)) if positions is None else positions, keys, strict=True):
                self._start_all(whole, [Piece(reader, lookup, [key], [position])], hops, waits, avoid)

    def _wait(self, share: Share, error: StoreError, *, hopeless: bool = False) -> None:
        """Try again after a while, unless that is hopeless, or would be too late."""
        whole, now = share.whole, self.loop.time()
        down_since = self._table.uncovered_since
        if share.shard is not None:
            down_since = share.shard.down_since(now, only_primary=whole.only_primaries)
        wait_s = min(FIRST_WAIT_S * 2**share.waits, LAST_WAIT_S) * random.uniform(0.5, 1)  # noqa: S311  # no secret
        late = now + wait_s >= whole.deadline or now - down_since > self._timeout_s
        if hopeless or late:
            whole.fail(error)
            return
        self.delayed.add(share)
        self.loop.call_later(wait_s, partial(self._again, share, after_wait=True))

    def waiting(self, receivers: Iterable[Receiver]) -> set[Receiver]:
        """The futures of the fetches that are tried again later, or wait for one of the receivers."""
        futures = [one.share.whole.future if isinstance(one, Try) else one for one in receivers]
        return {*futures, *(share.whole.future for share in list(self.delayed))}
