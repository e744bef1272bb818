"""Commands that wait for room on the connection to Redis, and whose turn it is when there is room.

A fetch whose commands do not fit into the connection's window waits here. Its commands are sent one turn at a time, and
are rendered only when they are sent: commands whose fetch is given up before that are never rendered. A command costs
one, and one more for each full KiB, so that one number bounds how many commands there are and how long they are. A turn
costs `TurnQueue.quantum` at most, unless a single command costs more.

Two queues share the connection, half and half by cost. So a long fetch does not delay short ones, and short ones do
not stop a long one from being completed. A and B are fetches of 200 commands; c, d and e came later, and have one each:

    first queue   fetches that had no turn yet, oldest first            A B c d e
    later queue   the other fetches, in a circle                        -
    turns         A(64) A(64) B(64) A(64) c(1) d(1) e(1) B(64) A(8) B(64) B(8)

`ahead` says what the commands cost that go before the end of a fetch that comes now. `redis_connection` decides by this
whether the fetch can be answered in time.

Pure: no sockets, no clock. `redis_connection` decides how much room there is, and when a fetch has waited too long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from yummy_fast.native.owner import Picker

QUANTUM = 64
"""What a turn costs at most, unless `TurnQueue.quantum` is set to more, or one command costs more."""
COST_BYTES = 1 << 10


class Command(Protocol):
    """What makes the commands of a part: `resp.CommandTemplate` of keys, `redis_rows.RowsCommand` of rows."""

    def render(self, keys: Sequence[Any], /) -> bytes:
        """The commands for some keys, in order."""

    def about_bytes(self, key: Any, /) -> int:
        """How long the commands for a key are, about."""


class Part(NamedTuple):
    """What one lookup of a fetch asks for; or the rows of one view that are written."""

    command: Command
    picker: Picker | None
    """What makes a row of a reply; None where nothing is read."""
    keys: Sequence[Any]


def cost_of(commands: int, size: int) -> int:
    """What commands of `size` bytes in all cost: one each, and one for each KiB that is full."""
    return commands + size // COST_BYTES


class Queued:
    """A fetch, some of whose commands are not sent yet."""

    __slots__ = ("_parts", "_place", "_start", "commands", "cost", "deadline", "first_cost", "pending")

    def __init__(self, pending: Any, parts: Sequence[Part], deadline: float) -> None:
        """`pending` is the object by which the caller identifies the fetch. Each part has at least one key."""
        self.pending = pending
        self.deadline = deadline
        self.commands = sum(len(part.keys) for part in parts)
        """How many commands are not sent yet."""
        self.cost = sum(len(part.keys) * _cost_of_one(part) for part in parts)
        """What the commands that are not sent yet cost."""
        self.first_cost = 0
        """About what its first turn costs. TurnQueue uses this while the fetch is in the first queue."""
        self._parts = parts
        self._place = 0
        """The index of the part whose commands are sent next."""
        self._start = 0
        """The index of the key of that part whose command is sent next."""

    @property
    def picker(self) -> Picker | None:
        """What reads the replies to the next turn."""
        return self._parts[self._place].picker

    def next_turn(self, quantum: int) -> tuple[int, int]:
        """How many commands the next turn has, and their cost. A turn never spans two lookups."""
        part = self._parts[self._place]
        each = _cost_of_one(part)
        count = min(len(part.keys) - self._start, max(quantum // each, 1))
        return count, count * each

    def render(self, count: int, cost: int) -> bytes:
        """The commands of the next turn, as `next_turn` has it."""
        command, _, keys = self._parts[self._place]
        start = self._start
        self._start += count
        self.commands -= count
        self.cost -= cost
        if self._start == len(keys):
            self._place += 1
            self._start = 0
        return command.render(keys[start : start + count])

    def forget_keys(self) -> None:
        """The fetch is given up: nothing more of it will be sent."""
        self._parts = ()
        self.commands = self.cost = 0


def _cost_of_one(part: Part) -> int:
    """What a command of the part costs, by its first key: the keys of a lookup are of about the same length."""
    return cost_of(1, part.command.about_bytes(part.keys[0]))


class Turn(NamedTuple):
    """Some commands of a fetch that are sent together."""

    pending: Any
    """The `pending` of the fetch's Queued."""
    picker: Picker | None
    replies: int
    cost: int
    commands: bytes


class TurnQueue:
    """Fetches that wait for a turn."""

    def __init__(self) -> None:
        self._first: OrderedDict[Queued, None] = OrderedDict()
        self._later: OrderedDict[Queued, None] = OrderedDict()
        self._first_cost = 0
        """The sum of `first_cost` over the first queue."""
        self.quantum = QUANTUM
        """The most that a turn costs, unless a single command costs more."""
        self._first_had = 0
        """What the turns of the first queue have cost since the last turn of the later queue."""
        self.commands = 0
        """How many commands wait."""
        self.cost = 0
        """What the commands that wait cost."""

    def __len__(self) -> int:
        return len(self._first) + len(self._later)

    def add(self, queued: Queued) -> None:
        """Append a fetch to the first queue."""
        self._first[queued] = None
        queued.first_cost = min(queued.cost, self.quantum)
        self._first_cost += queued.first_cost
        self.commands += queued.commands
        self.cost += queued.cost

    def drop(self, queued: Queued) -> None:
        """Forget a fetch that is done or given up. Its commands that were sent already are not affected."""
        if queued in self._first:
            del self._first[queued]
            self._first_cost -= queued.first_cost
        elif queued in self._later:
            del self._later[queued]
        self.commands -= queued.commands
        self.cost -= queued.cost
        queued.forget_keys()

    def take(self, room: int) -> Turn | None:
        """The next turn. None if there is none, or it costs more than `room`."""
        first = bool(self._first) and not (self._later and self._first_had >= self.quantum)
        line = self._first if first else self._later
        if not line:
            return None
        queued = next(iter(line))
        count, cost = queued.next_turn(self.quantum)
        if cost > room:
            return None
        del line[queued]
        if first:
            self._first_cost -= queued.first_cost
        picker = queued.picker
        commands = queued.render(count, cost)
        self.commands -= count
        self.cost -= cost
        if queued.commands:
            self._later[queued] = None
        self._first_had = self._first_had + cost if first else 0
        return Turn(queued.pending, picker, count, cost, commands)

    def ahead(self, cost: int) -> int:
        """The highest cost of the commands of others before the end of a fetch of this cost that comes now.

        Fetches that come later may take half of the turns from a long fetch. They do not delay a short one.
        """
        if cost <= self.quantum:
            return min(self.cost, 2 * self._first_cost + self.quantum)
        return min(self.cost, len(self) * cost) + (cost if self._first else 0)
