"""Commands that wait for room on the connection to Redis, and whose turn it is when there is room.

A fetch whose commands do not fit into the connection's window waits here. Its commands are sent a turn at a time, and
are rendered only then: what is given up before its turn costs nothing more. Commands count by their cost, which is one
each and one for each KiB, so that one number bounds how many there are and how long; a turn costs QUANTUM at most.

Two lines share the connection, half and half by cost, so that a long fetch does not make short ones late, nor short
ones keep a long one from its end. A and B are fetches of 200 commands; c, d and e, which came after them, of one each:

    first line    those that had no turn yet, oldest first              A B c d e
    later line    the others, in a circle                               -
    turns         A(64) A(64) B(64) A(64) c(1) d(1) e(1) B(64) A(8) B(64) B(8)

`ahead` says how many commands go before the end of a fetch that comes now: the answer to "can it be served in time?".

Pure: no sockets, no clock. `redis_connection` decides how much room there is, and when a fetch has waited too long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from yummy_fast.native.owner import Picker

QUANTUM = 64
"""The most that a turn costs, unless `TurnQueue.quantum` is set to more: with a fast Redis, turns may be longer."""
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
        """`pending` is what the caller knows the fetch by. Each part has at least one key."""
        self.pending = pending
        self.deadline = deadline
        self.commands = sum(len(part.keys) for part in parts)
        """How many are not sent yet, and ..."""
        self.cost = sum(len(part.keys) * _cost_of_one(part) for part in parts)
        """... what they cost."""
        self.first_cost = 0
        """What its first turn costs, about; for the queue, while it is in its first line."""
        self._parts = parts
        self._place = 0
        """Which of the parts is next, and ..."""
        self._start = 0
        """... which of its keys."""

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
    """The fetch, as its Queued was told."""
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
        """What the next turns of the first line cost."""
        self.quantum = QUANTUM
        """The most that a turn costs."""
        self._first_had = 0
        """What the turns of the first line have cost since the last one of the later line."""
        self.commands = 0
        """How many commands wait, and ..."""
        self.cost = 0
        """... what they cost."""

    def __len__(self) -> int:
        return len(self._first) + len(self._later)

    def add(self, queued: Queued) -> None:
        """Append a fetch to the first line."""
        self._first[queued] = None
        queued.first_cost = min(queued.cost, self.quantum)
        self._first_cost += queued.first_cost
        self.commands += queued.commands
        self.cost += queued.cost

    def drop(self, queued: Queued) -> None:
        """Forget a fetch that is done or given up. What of it was sent is not affected."""
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
        """The most that goes before the end of a fetch of this cost that came now.

        Fetches that come later may take half of what a long one could have; a short one they do not hold up.
        """
        if cost <= self.quantum:
            return min(self.cost, 2 * self._first_cost + self.quantum)
        return min(self.cost, len(self) * cost) + (cost if self._first else 0)
