"""The board: what a server shows of itself to those who watch it, and the one thing that they may tell it to do.

The admin listener (`admin`) answers from a Board and knows nothing else, so it is the same for one process (`process`)
and for the supervisor of several. Its methods are called from threads that are not the data loop's: they must not wait
for that loop, nor for the store, but for `reload`, which waits within a bound. They return plain data, fit for JSON.

A protocol and its answers; no sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Verdict(NamedTuple):
    """The answer to a probe."""

    good: bool
    reasons: Sequence[str] = ()
    """Why not, each a sentence; empty where it is good."""


class Reloaded(NamedTuple):
    """What came of a reload."""

    good: bool
    detail: dict[str, Any]
    """`registry` of the status afterwards; `error` with a line where it went wrong."""


class Board(Protocol):
    """What the admin listener shows. Thread-safe; nothing here waits but `reload`."""

    def live(self) -> Verdict:
        """Whether it is of any use to let this server live: if not, it should be killed and started anew.

        Neither Redis nor the registry has a say in it: a restart would not bring them back.
        """

    def ready(self) -> Verdict:
        """Whether requests should be sent here: registry loaded, store answered lately, loop turning, not draining."""

    def status(self) -> dict[str, Any]:
        """For people: version, configuration's source, registry, store, connections, workers."""

    def snapshots(self) -> list[dict[str, Any]]:
        """`metrics.Metrics.snapshot` of each serving process: `exposition.render` adds them up."""

    def reload(self) -> Reloaded:
        """Read the registry now, and wait (RELOAD_PATIENCE_S at most) for what comes of it."""


RELOAD_PATIENCE_S = 60.0
"""How long the answer to a reload may take. A registry of 2,000 views takes three seconds to compile."""
