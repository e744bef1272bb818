"""What systemd is told of this server: that it serves, and that it stops (sd_notify(3)).

A unit with Type=notify counts as started only when the server has said READY=1, so units that are ordered after it find
a server that answers. The message is one datagram to the Unix socket that NOTIFY_SOCKET names; without that variable
nothing is sent. If systemd does not read it, the server goes on: sending never blocks, and a failure is only logged.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger("yummy_fast")


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send a state, such as READY=1, to the service manager, if there is one."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # sd_notify's way to write the zero byte of an abstract address
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except OSError as error:
        logger.warning("NOTIFY_SOCKET: %s was not sent: %s", state, error.strerror)
