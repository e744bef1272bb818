"""What the supervisor and its children say to each other, over a real pair of sockets."""

from __future__ import annotations

import socket
import struct
import threading

from tests.harness import PATIENCE_S, eventually
from yummy_fast.workers.channel import ChildEnd, Message, ParentEnd

LONG = "x" * (4 << 20)
"""More than sockets hold."""


def test_what_a_supervisor_that_was_stopped_reads_is_whole() -> None:
    ours, theirs = socket.socketpair()
    lost = threading.Event()
    with theirs:
        with ours:
            parent = ParentEnd(ours)
            child = ChildEnd(theirs, {}, {}, lost.set)
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                theirs.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 10_000))
            child.start()
            found: list[Message] = []
            for text in (LONG, "short"):
                child.tell("text", text=text)  # nobody reads, and its time is up

            def listen() -> list[Message] | None:
                messages, more = parent.receive()
                assert more
                found.extend(messages)
                return found if len(found) == 2 else None

            eventually(listen, "both messages")
            assert found == [{"tell": "text", "text": LONG}, {"tell": "text", "text": "short"}]
        assert lost.wait(PATIENCE_S)
