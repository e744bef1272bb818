"""What systemd is told of this server: that it serves, and that it stops (sd_notify(3)).

A unit with Type=notify counts as started only when the server has said READY=1, so units that are ordered after it find
a server that answers. The message is one datagram to the Unix socket that NOTIFY_SOCKET names; without that variable
nothing is sent.

The queue of that socket is short (net.unix.max_dgram_qlen is 10 by default), and all services share it. While it is
full, sd_notify of systemd blocks. Here nothing does: a message that the queue does not take is kept, and the loop of
the process sends it later. Were READY=1 lost, the unit would be stopped at TimeoutStartSec. Any other failure is
logged, and the server goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

RETRY_S = 0.1
"""When an event loop sends again what the queue did not take."""

logger = logging.getLogger("yummy_fast")


class ServiceManager:
    """The service manager that NOTIFY_SOCKET names, if any."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" is sd_notify's way to write the zero byte of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._unsent: list[str] = []

    @property
    def has_unsent(self) -> bool:
        """Whether messages wait for room in the queue."""
        return bool(self._unsent)

    def notify(self, state: str) -> None:
        """Send a state, such as READY=1, at once or by a later `send_unsent`."""
        if not self._address:
            return
        self._unsent.append(state)
        if len(self._unsent) == 1 and not self.send_unsent():
            logger.warning("NOTIFY_SOCKET: %s waits: the service manager does not read its socket", state)

    def notify_from(self, loop: asyncio.AbstractEventLoop, state: str) -> None:
        """As `notify`; and the event loop sends later what waits."""
        waited = self.has_unsent
        self.notify(state)
        if self.has_unsent and not waited:
            loop.call_later(RETRY_S, self._retry, loop)

    def _retry(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.send_unsent():
            loop.call_later(RETRY_S, self._retry, loop)

    def send_unsent(self) -> bool:
        """Send what the queue takes, in order. Whether that was all."""
        while self._unsent:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.setblocking(False)
                    sender.sendto(self._unsent[0].encode(), self._address)
            except BlockingIOError:
                return False
            except OSError as error:  # one of Python's own, such as "AF_UNIX path too long", has no strerror
                logger.warning("NOTIFY_SOCKET: %s was not sent: %s", self._unsent[0], error.strerror or error)
            del self._unsent[0]
        return True
