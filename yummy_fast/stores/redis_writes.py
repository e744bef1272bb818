"""A write to several nodes: its rows to the primaries of their slots, and those that were refused to another one.

Rows are cut into *shares*, one for each shard whose slots their keys have, and a share is sent to the shard's primary,
in one write with all that goes there in the same tick. A replica is never written to. Nothing is sent while one of the
primaries cannot be reached: for that the whole write waits, so that a cluster of which a part is gone gets no part of a
push. What follows, follows from one question: was a command executed?

    a reply that all is well            yes
    an error reply                      no: Redis refuses before it executes. So the row may be sent again
    no reply: silence, a lost           nobody knows. Nothing of it is sent again, nor what waits for its turn; the
    connection                          answer is that rows may have been written, or may not (UnknownOutcomeError)

What was refused is sent again by its code, before the deadline of the write:

    MOVED, ASK                          at once, where the node says, MAX_HOPS times at most; then, and
    READONLY, CLUSTERDOWN, TRYAGAIN,    after 20 ms, then 40, 80, 160, 160 ... with jitter, to whichever node is the
    LOADING, MASTERDOWN                 primary by then
    others, such as OOM, NOPERM         never: the write fails, and says if other rows of it were written

One push of three rows whose second lies in a slot that is moving, with a ttl:

    to A    HSET k1 ..  EXPIRE k1   HSET k2 ..  EXPIRE k2       to C    HSET k3 ..  EXPIRE k3
    from A  :3          :1          -ASK 42 B   -ASK 42 B       from C  :3          :1
    to B    ASKING  HSET k2 ..  ASKING  EXPIRE k2

If a key moves between the two commands, HSET was executed and EXPIRE was not; then EXPIRE alone follows the key.

As in `redis_shares`, a try is a `Receiver`, what follows from a failure happens in a tick of its own, and nothing is
connected to here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from yummy_fast.errors import (
    StoreError,
    StoreOverloadedError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from yummy_fast.features.written import Chosen, ViewRows
from yummy_fast.native import owner
from yummy_fast.stores.online_store import StoreState
from yummy_fast.stores.redis_link import Link
from yummy_fast.stores.redis_pending import store_error
from yummy_fast.stores.redis_rows import HashWriter, RefusedCommand, RowsCommand
from yummy_fast.stores.redis_shards import (
    FIRST_WAIT_S,
    LAST_WAIT_S,
    MAX_HOPS,
    Keeper,
    ShardLinks,
    ShardTable,
    is_usable,
)
from yummy_fast.stores.redis_slots import Address, parse_redirect
from yummy_fast.stores.redis_turns import Part

NO_PRIMARY = "No node of the online store can be reached that rows can be written to"
NO_ANSWER = "The online store did not answer in time"
OTHERS_WRITTEN = "other rows of this push were written"

_WAIT = ("CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN")


class Piece(NamedTuple):
    """Rows of one view."""

    writer: HashWriter
    rows: ViewRows
    numbers: Sequence[int]
    """Which of them."""


class Whole:
    """A write that is waited for, in all its shares."""

    __slots__ = ("_error", "_has_timer", "deadline", "future", "left", "on_wire", "stored")

    def __init__(self, future: asyncio.Future[None], deadline: float) -> None:
        self.future = future
        self.deadline = deadline
        self.left = 0
        """How many shares are neither stored nor given up."""
        self.on_wire = 0
        """How many of them were sent, and have no reply."""
        self.stored = False
        """Whether some of the rows are stored."""
        self._error: StoreError | None = None
        """Why a share was given up."""
        self._has_timer = False

    def settle(self, error: StoreError | None = None) -> None:
        """A share is stored, or with this error given up, or others stand in its place."""
        self.left -= 1
        self._error = self._error or error
        if self.left or self.future.done():
            return
        if self._error is None:
            self.future.set_result(None)
        else:
            self._fail(self._error)

    def fail(self, error: StoreError) -> None:
        """Fail the write now, without a word on what else of it was written."""
        if not self.future.done():
            self.future.set_exception(error)

    def _fail(self, error: StoreError) -> None:
        self.fail(type(error)(f"{error}; {OTHERS_WRITTEN}") if self.stored else error)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something is sent again. The connections do not know the first deadline, so here is a timer for it."""
        if not self._has_timer:
            self._has_timer = True
            timer = loop.call_at(self.deadline, self._time_out)
            self.future.add_done_callback(lambda _: timer.cancel())

    def _time_out(self) -> None:
        if not self.future.done():
            if self.on_wire:
                self.fail(UnknownOutcomeError(NO_ANSWER))
            else:
                self._fail(self._error or StoreTimeoutError(NO_ANSWER))


class Share:
    """What one primary has to write of it."""

    __slots__ = ("hops", "only_expire", "pieces", "shard", "target", "waits", "whole")

    def __init__(
        self,
        whole: Whole,
        shard: ShardLinks | None,
        pieces: Sequence[Piece],
        *,
        only_expire: bool = False,
        target: Address | None = None,
        hops: int = 0,
        waits: int = 0,
    ) -> None:
        self.whole = whole
        self.shard = shard
        """None: nobody holds its slots."""
        self.pieces = pieces
        self.only_expire = only_expire
        """Whether its rows are stored, and only their ttls are not set."""
        self.target = target
        """The node that is about to get its slots, if the shard has said ASK."""
        self.hops = hops
        """How often it was sent again at once, and ..."""
        self.waits = waits
        """... after a wait."""

    @property
    def commands_of(self) -> int:
        """How many commands a row has, without ASKING."""
        return 1 if self.only_expire else self.pieces[0].writer.replies

    @property
    def replies_of(self) -> int:
        """How many replies there are for each row."""
        return self.commands_of * (2 if self.target is not None else 1)

    def parts(self) -> list[Part]:
        """What is sent."""
        asking = self.target is not None
        if not asking and not self.only_expire:
            return [Part(RowsCommand(writer, rows), None, numbers) for writer, rows, numbers in self.pieces]
        return [
            Part(RefusedCommand(writer, rows, only_expire=self.only_expire, asking=asking), None, numbers)
            for writer, rows, numbers in self.pieces
        ]

    def refused_rows(self, refused: Iterable[tuple[int, str]]) -> dict[int, tuple[str, bool]]:
        """By the numbers of the commands: which row, counted through all pieces; the reply; whether only EXPIRE is."""
        found: dict[int, tuple[str, bool]] = {}
        for number, reply in refused:
            row, command = divmod(number, self.replies_of)
            if self.target is not None:
                if not command % 2:  # ASKING itself. What it was for is then refused as well
                    continue
                command //= 2
            found.setdefault(row, (reply, self.only_expire or command > 0))
        return found


class WriteTry:
    """A share sent to one node: the `Receiver` of its replies."""

    __slots__ = ("_writes", "link", "share")

    def __init__(self, writes: Writes, share: Share, link: Link) -> None:
        self._writes = writes
        self.share = share
        self.link = link

    def done(self) -> bool:
        """Whether nobody waits for its replies any more."""
        return self.share.whole.future.done()

    def set_result(self, _: None, /) -> None:
        whole = self.share.whole
        whole.on_wire -= 1
        whole.stored = True
        whole.settle()

    def set_exception(self, error: StoreError, /) -> None:
        self._writes.loop.call_soon(self._writes.failed, self, error)

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        self.share.whole.future.add_done_callback(callback)


class Writes:
    """All writes of a store with several nodes."""

    def __init__(self, suffix: bytes, timeout_s: float, state: StoreState, table: ShardTable, keeper: Keeper) -> None:
        """`suffix` ends every key."""
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._suffix = suffix
        self._timeout_s = timeout_s
        self._state = state
        self._keeper = keeper
        self._table = table
        self._running: set[Whole] = set()

    @property
    def in_flight(self) -> int:
        """How many writes are not done. Any thread may ask."""
        return len(self._running)

    def close(self, error: StoreError) -> None:
        """Fail the writes of which nothing is on its way; the others fail with their connections."""
        for whole in list(self._running):
            if not whole.on_wire:
                whole.fail(error)

    def write(self, future: asyncio.Future[None], writes: Sequence[tuple[HashWriter, Chosen]]) -> None:
        """As `OnlineStore.write`, with a row at least."""
        whole = Whole(future, self.loop.time() + self._timeout_s)
        self._running.add(whole)
        future.add_done_callback(lambda _: self._running.discard(whole))
        self._begin(whole, [Piece(writer, rows, numbers) for writer, (rows, numbers) in writes if numbers], 0)

    def _begin(self, whole: Whole, pieces: Sequence[Piece], waits: int) -> None:
        """Send all shares of a write; or none yet, if one of their primaries cannot be reached."""
        if whole.future.done():
            return
        shares = self._split(pieces)
        if all(shard is not None and is_usable(shard.primary) for shard in shares):
            whole.left = len(shares)
            for shard, parts in shares.items():
                self._send(Share(whole, shard, parts))
            return
        self._keeper.refresh()
        wait_s = self._wait_s(waits)
        if self._is_late(whole, shares, wait_s):
            whole.fail(StoreUnavailableError(NO_PRIMARY))
        else:
            self.loop.call_later(wait_s, self._begin, whole, pieces, waits + 1)

    def _split(self, pieces: Sequence[Piece]) -> dict[ShardLinks | None, list[Piece]]:
        """Rows by the shards of their keys."""
        only = self._table.only
        if only is not None:
            return {only: list(pieces)}
        found: dict[ShardLinks | None, list[Piece]] = {}
        table = self._table.by_slot
        for writer, rows, numbers in pieces:
            keys = [rows.keys[number] for number in numbers]
            for shard, part in owner.split_keys(keys, self._suffix, table).items():
                some = numbers if part is None else [numbers[position] for position in part[1]]
                found.setdefault(shard, []).append(Piece(writer, rows, some))
        return found

    def _send(self, share: Share) -> None:
        """Send a share, or wait if its node cannot be reached. What fails at once fails in a tick of its own."""
        if share.target is not None:
            link = self._keeper.link_to(share.target)
        else:
            link = None if share.shard is None else share.shard.primary
        if link is None or link.connection is None or not is_usable(link):
            self._keeper.refresh()
            self._wait(share, StoreUnavailableError(NO_PRIMARY))
            return
        share.whole.on_wire += 1
        link.connection.write(WriteTry(self, share, link), share.parts(), share.replies_of)

    # ------------------------------------------------------------------------------------------------ sending again

    def failed(self, one: WriteTry, error: StoreError) -> None:
        """A share was not stored, or not all of it: send again what was refused, or give it up."""
        share, whole = one.share, one.share.whole
        whole.on_wire -= 1
        if whole.future.done():
            return
        if isinstance(error, UnknownOutcomeError):
            whole.fail(error)
        elif error.refused:
            self._sort(share, one.link, share.refused_rows(error.refused))
        elif isinstance(error, StoreOverloadedError | StoreTimeoutError):  # nothing of it has left
            whole.settle(error)
        else:
            self._keeper.refresh()
            self._wait(share, error)

    def _sort(self, share: Share, link: Link, refused: dict[int, tuple[str, bool]]) -> None:
        """Find what becomes of each refused row: by the code of its reply, rows go together."""
        whole = share.whole
        numbers = [(piece, number) for piece in share.pieces for number in piece.numbers]
        only_ttls = any(only_expire for _, only_expire in refused.values())
        whole.stored = whole.stored or only_ttls or len(refused) < len(numbers)
        at_once: dict[tuple[Address | None, bool], list[tuple[Piece, int]]] = {}
        later: dict[tuple[str, bool], list[tuple[Piece, int]]] = {}
        seen: dict[str, Address | None] = {}
        final: StoreError | None = None
        for row, (reply, only_expire) in refused.items():
            code = reply.partition(" ")[0]
            if reply not in seen:
                seen[reply] = self._follow(reply, link)
            if code in _WAIT or (code in ("MOVED", "ASK") and share.hops >= MAX_HOPS):
                later.setdefault((reply, only_expire), []).append(numbers[row])
            elif code == "MOVED":
                at_once.setdefault((None, only_expire), []).append(numbers[row])
            elif code == "ASK" and seen[reply] is not None:
                at_once.setdefault((seen[reply], only_expire), []).append(numbers[row])
            else:
                final = final or store_error(reply)
        whole.watch(self.loop)
        for (target, only_expire), rows in at_once.items():
            again = Share(whole, share.shard, _pieces(rows), only_expire=only_expire, target=target)
            self._send_again(again, share.hops + 1, share.waits)
        for (reply, only_expire), rows in later.items():
            self._keeper.refresh()
            hopeless = (
                reply.startswith("CLUSTERDOWN")
                and share.shard is not None
                and share.shard.refused(self.loop.time(), self._timeout_s)
            )
            whole.left += 1
            waiting = Share(whole, share.shard, _pieces(rows), only_expire=only_expire, waits=share.waits)
            self._wait(waiting, store_error(reply), hopeless=hopeless)
        whole.settle(final)

    def _follow(self, reply: str, link: Link) -> Address | None:
        """Note where a redirection leads. Returns the node that ASK names."""
        redirect = parse_redirect(reply, self._keeper.address_of(link))
        if redirect is None:
            return None
        self._state.redirects += 1
        if redirect.code == "MOVED":
            self._keeper.moved(redirect, link)
            return None
        return redirect.to

    def _send_again(self, share: Share, hops: int, waits: int) -> None:
        """Send the rows of a share, by the topology as it is now, or to the node that ASK has named."""
        whole = share.whole
        shares: dict[ShardLinks | None, list[Piece]] = {share.shard: list(share.pieces)}
        if share.target is None:
            shares = self._split(share.pieces)
        whole.left += len(shares)
        for shard, pieces in shares.items():
            self._send(
                Share(
                    whole,
                    shard,
                    pieces,
                    only_expire=share.only_expire,
                    target=share.target,
                    hops=hops,
                    waits=waits,
                )
            )

    def _wait(self, share: Share, error: StoreError, *, hopeless: bool = False) -> None:
        """Send it again after a while, unless that is hopeless, or would be too late."""
        whole = share.whole
        wait_s = self._wait_s(share.waits)
        if hopeless or self._is_late(whole, [share.shard], wait_s):
            whole.settle(error)
            return
        whole.watch(self.loop)
        self.loop.call_later(wait_s, partial(self._waited, share))

    def _waited(self, share: Share) -> None:
        whole = share.whole
        if not whole.future.done():
            share.target = None  # by now the slot may be there; if it is not, ASK says so again
            self._send_again(share, share.hops, share.waits + 1)
            whole.settle()

    @staticmethod
    def _wait_s(waits: int) -> float:
        longest_s: float = min(FIRST_WAIT_S * 2**waits, LAST_WAIT_S)
        return longest_s * random.uniform(0.5, 1)  # noqa: S311  # no secret

    def _is_late(self, whole: Whole, shards: Iterable[ShardLinks | None], wait_s: float) -> bool:
        """Whether after a wait it is too late; or one of the primaries has been gone for the store's timeout."""
        now = self.loop.time()
        down_since = [
            self._table.uncovered_since if shard is None else _down_since(shard.primary, now) for shard in shards
        ]
        return now + wait_s >= whole.deadline or now - min(down_since) > self._timeout_s


def _down_since(link: Link, now: float) -> float:
    return now if link.connection is not None else link.down_since


def _pieces(rows: Sequence[tuple[Piece, int]]) -> list[Piece]:
    """Rows by the pieces that they come from."""
    by_piece: dict[int, tuple[Piece, list[int]]] = {}
    for piece, number in rows:
        by_piece.setdefault(id(piece), (piece, []))[1].append(number)
    return [piece._replace(numbers=numbers) for piece, numbers in by_piece.values()]
