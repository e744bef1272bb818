"""Ports for the servers that tests start, which nothing else takes before they listen.

Apart from `harness`, since scripts start servers as well, and need none of the libraries of tests.
"""

from __future__ import annotations

import os
import random
import socket
from collections import deque

HELD_PORTS = 64
"""How many of the ports that `free_port` has given are kept from other runs of the tests: the last ones."""
_held: deque[int] = deque()
"""The descriptors of the sockets that do so."""
_DRAW = random.SystemRandom()  # a seed that a test has set must not lead two runs of the tests to the same ports


def free_port(ports: range = range(10_000, 20_000), *, above: int = 0) -> int:
    """One of `ports` that no process listens on; and none listens on the one that is `above` so much, if that is given.

    Linux gives ports from 32,768 on to clients, and to servers that ask for port 0. So neither takes this port by
    chance before it is listened on. Nor does another run of the tests: a UDP socket on the same number, which is no
    hindrance to TCP, says that it is given.
    """
    for _ in range(1_000):
        port = _DRAW.choice(ports)
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            with socket.socket() as first, socket.socket() as second:
                held.bind(("127.0.0.1", port))
                first.bind(("127.0.0.1", port))
                if above:
                    second.bind(("127.0.0.1", port + above))
        except OSError:
            held.close()
            continue
        if len(_held) == HELD_PORTS:
            os.close(_held.popleft())
        _held.append(held.detach())
        return port
    raise AssertionError("no free ports")
