"""One process that the supervisor has forked, as the supervisor knows it: its state, and what it reported last.

                ready                drain
    STARTING ---------->  SERVING  ---------->  DRAINING        KILLED  SIGKILL was sent to it
        |                    |                     |            ENDED   it was waited for
        +---------- kill, then end; or end --------+

`Child.transition` is the only way from one state to another, and TRANSITIONS the table of all of them. Messages cross:
a worker may say that it is ready just after it was sent `drain`. So the table says what an event means in each state in
which it can happen; any other is a KeyError, and a bug.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from yummy_fast.workers.channel import Message, SupervisorEnd


class State(Enum):
    """Where a child is in its life."""

    STARTING = auto()
    SERVING = auto()
    DRAINING = auto()
    """It was told to end, and does so by itself."""
    KILLED = auto()
    ENDED = auto()


class Event(Enum):
    """What happens to a child."""

    READY = auto()
    DRAIN = auto()
    KILL = auto()
    END = auto()


_ENDINGS = {Event.DRAIN: State.DRAINING, Event.KILL: State.KILLED, Event.END: State.ENDED}

TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.STARTING: {Event.READY: State.SERVING, **_ENDINGS},
    State.SERVING: _ENDINGS,
    State.DRAINING: {Event.READY: State.DRAINING, **_ENDINGS},
    State.KILLED: {
        Event.READY: State.KILLED,
        Event.DRAIN: State.KILLED,
        Event.KILL: State.KILLED,
        Event.END: State.ENDED,
    },
    State.ENDED: {},
}

NEVER = float("inf")


class Child:
    """A worker, or the process of the admin listener. Times are time.monotonic()'s, which all processes share."""

    def __init__(self, kind: str, slot: int, pid: int, end: SupervisorEnd, now: float) -> None:
        self.kind = kind
        """worker or admin."""
        self.slot = slot
        """Its index in the ConnectionBalance."""
        self.pid = pid
        self.end = end
        self.state = State.STARTING
        self._passed = {State.STARTING}
        self.born_at = now
        self.beat_at = now
        """When its event loop was last known to turn."""
        self.report: Message = {}
        self.replaces: Child | None = None
        """The worker that drains once this one serves."""
        self.kill_at = NEVER
        """When it is killed, unless it has ended by then."""
        self.kill_reason = ""
        self.error = ""
        """Why it could not start, in its own words."""
        self.reloads_sent = 0

    def __str__(self) -> str:
        return f"worker {self.slot + 1} ({self.pid})" if self.kind == "worker" else f"{self.kind} ({self.pid})"

    def transition(self, event: Event) -> State:
        """The state after an event."""
        self.state = TRANSITIONS[self.state][event]
        self._passed.add(self.state)
        return self.state

    @property
    def has_served(self) -> bool:
        return State.SERVING in self._passed

    @property
    def told_to_end(self) -> bool:
        return State.DRAINING in self._passed

    @property
    def at(self) -> str:
        """For a message: which line its event loop is at, if it said so."""
        at = self.report.get("at")
        return f", it is at {at}" if at else ""

    def command(self, word: str) -> None:
        """Send it a command over its channel."""
        self.end.command(word)

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def rss_bytes(self) -> int:
        """Resident memory; 0 where there is no /proc."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0
