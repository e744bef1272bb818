"""From the first signal to the last answer: how a serving process stops.

    a signal comes        /readyz is 503; everything else goes on for --drain-delay
    then it drains        no new connections; answers say `Connection: close`; idle connections end after --drain-idle
    --shutdown-timeout    what is not answered by then is cut off, and the log says how many connections that were

A second signal cuts off at once what is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from yummy_fast.config.settings import Drain
from yummy_fast.http.connection import Connections

logger = logging.getLogger("yummy_fast")

OVERDUE_S = 3.0
"""How much longer than allowed a drain may take before the process is ended by force."""


def longest_drain_s(times: Drain) -> float:
    """A drain that takes longer than this, after --drain-delay, has failed."""
    return times.idle_s + times.timeout_s + OVERDUE_S


class Stop:
    """Whether this process was told to stop, and how fast."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.no_delay = asyncio.Event()
        """Set if the supervisor has waited for --drain-delay already."""
        self.forced = asyncio.Event()
        """Set when it was told to stop a second time."""

    def request(self) -> None:
        """Stop; called a second time, stop at once."""
        if self.requested.is_set():
            self.forced.set()
        self.requested.set()

    async def rest(self, seconds: float, until: asyncio.Event) -> None:
        """Wait, but only until the event is set, or until told to stop at once."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.forced, until)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()


async def drain(
    times: Drain, stop: Stop, connections: Connections, stop_accepting: Callable[[], Awaitable[None]]
) -> None:
    """Stop. `stop_accepting` accepts the last connections, and closes the ports."""
    if times.delay_s and not stop.no_delay.is_set():
        logger.info("stopping in %g s: %s", times.delay_s, _open(connections))
        await stop.rest(times.delay_s, stop.no_delay)
    logger.info("stopping: %s", _open(connections))
    await stop_accepting()
    connections.closing = True
    for timeout_s in (times.idle_s, times.timeout_s):
        if connections.open:
            await stop.rest(timeout_s, connections.emptied)
        for connection in list(connections.open):
            connection.close_if_idle()
    busy = [connection for connection in connections.open if connection.busy]
    if busy:
        why = "a second signal" if stop.forced.is_set() else f"--shutdown-timeout of {times.timeout_s:g} s is over"
        if len(busy) == 1:
            logger.warning("1 connection cut off before its request was answered: %s", why)
        else:
            logger.warning("%d connections cut off before their requests were answered: %s", len(busy), why)
    for connection in list(connections.open):
        connection.abort()


def _open(connections: Connections) -> str:
    count = len(connections.open)
    return "1 connection open" if count == 1 else f"{count} connections open"
