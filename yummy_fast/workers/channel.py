"""What the supervisor and its children send each other: lines of JSON on a pair of sockets.

    from a child                                                    from the supervisor
    {"event": "ready", "serves": "...", "urls": ["http://..."]}
    {"event": "report", "beat_at": 81.2, "metrics": {...}, ...}     {"command": "drain"}
    {"event": "final_metrics", "metrics": {...}}
    {"request": "view", "number": 7}                                {"reply": "view", "number": 7, "value": {...}}

Events and commands have no answer. A worker sends a report each second without being asked, so that one that sends none
is known to be stopped. Only what a child shows of all workers (`Fleet.view`) is requested, when a client asks for it.

The child's end is two threads, one that reads and one that writes: both may wait, and both go on while the event loop
is stuck. The supervisor's end never waits, because the supervisor has no threads (it forks). When one process ends, the
other reads an end of file: there is no other way in which a child learns that its supervisor was killed.

It does not know what the words mean: `worker` and `policy` do.
"""

from __future__ import annotations

import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

logger = logging.getLogger("yummy_fast")

REPORT_S = 1.0
"""Between two reports of a worker."""
MAX_LINE_BYTES = 64 << 20
"""The longest message: the metrics of forty workers with the most series that there can be."""
MAX_QUEUED = 1000
"""Messages of a child that wait to be sent. More of them are dropped: the supervisor is stopped, and reads nothing."""
SEND_S = 5.0
"""How long a child that ends waits for a supervisor that does not read."""
_READ_BYTES = 1 << 18

Message = dict[str, Any]


class NoReplyError(Exception):
    """The supervisor did not reply in time."""


class _EndlessLineError(Exception):
    """A line is longer than any message."""


class _Lines:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in `data`. Raises ValueError or _EndlessLineError for what cannot be a message."""
        self._rest += data
        lines: list[bytearray] = []
        if b"\n" in data:
            *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise _EndlessLineError
        return [json.loads(line) for line in lines]


def _line(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class ChildEnd:
    """The end of a worker, or of the admin process. `notify` and `request` may be called in any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._queue: queue.Queue[Callable[[], Message] | None] = queue.Queue(MAX_QUEUED)
        self._report: Callable[[], Message] | None = None
        self._replied = threading.Condition()
        self._number = 0
        self._replies: dict[str, Message] = {}
        """The last reply to each kind of request."""
        self._writer = threading.Thread(target=self._write, name="to supervisor", daemon=True)

    def start(
        self,
        commands: Mapping[str, Callable[[], None]],
        on_eof: Callable[[], None],
        report: Callable[[], Message] | None = None,
    ) -> None:
        """Begin to read and write. `commands` and `on_eof` (the supervisor is gone) are called in the reading thread.

        `report` makes what is sent each second, in the writing thread.
        """
        self._report = report
        self._writer.start()
        threading.Thread(target=self._read, args=(commands, on_eof), name="from supervisor", daemon=True).start()

    def notify(self, event: str, **details: Any) -> None:
        """Send an event."""
        message = {"event": event, **details}
        self._put(lambda: message)

    def report_now(self) -> None:
        """Send a report before its time: something has changed."""
        if self._report is not None:
            self._put(self._report)

    def request(self, what: str, timeout_s: float) -> Any:
        """The supervisor's reply. Raises NoReplyError."""
        with self._replied:
            self._number += 1
            message = {"request": what, "number": self._number}
            self._put(lambda: message)
            # The reply to a later request of this kind is as good.
            if not self._replied.wait_for(partial(self._has_reply, what, self._number), timeout_s):
                raise NoReplyError(f"the supervisor has not answered for {timeout_s:g} s")
            return self._replies[what]["value"]

    def _has_reply(self, what: str, number: int) -> bool:
        return what in self._replies and self._replies[what]["number"] >= number

    def finish(self, event: str, **details: Any) -> None:
        """Send a last event, and wait until it has been sent, or SEND_S."""
        self.notify(event, **details)
        self._put(None)
        self._writer.join(SEND_S)

    def _put(self, make: Callable[[], Message] | None) -> None:
        with suppress(queue.Full):
            self._queue.put_nowait(make)

    # ------------------------------------------------------------------------------------------------ the two threads

    def _write(self) -> None:
        report_at = time.monotonic()
        while True:
            make = self._next(report_at)
            if make is None:
                return
            if make is self._report:
                report_at = time.monotonic() + REPORT_S
            try:
                line = _line(make())
            except Exception:
                logger.exception("a message to the supervisor failed by a server bug")
                continue
            try:
                self._connection.sendall(line)
            except OSError as error:
                logger.debug("the supervisor cannot be reached: %s", error)
                return

    def _next(self, report_at: float) -> Callable[[], Message] | None:
        """What makes the next message; None if there will be none."""
        if self._report is None:
            return self._queue.get()
        wait_s = report_at - time.monotonic()
        if wait_s <= 0:
            return self._report
        try:
            return self._queue.get(timeout=wait_s)
        except queue.Empty:
            return self._report

    def _read(self, commands: Mapping[str, Callable[[], None]], on_eof: Callable[[], None]) -> None:
        lines = _Lines()
        try:
            while data := self._connection.recv(_READ_BYTES):
                for message in lines.feed(data):
                    if "command" in message:
                        commands[message["command"]]()
                    else:
                        with self._replied:
                            self._replies[message["reply"]] = message
                            self._replied.notify_all()
        except ConnectionResetError:
            pass  # the supervisor was killed before it had read everything
        except Exception:
            logger.exception("the supervisor sent a malformed message")
        on_eof()


class SupervisorEnd:
    """The supervisor's end of one child. Nothing here waits."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.eof = False
        """Whether the child has closed its end, or sent a malformed message: nothing more will be read."""
        self._lines = _Lines()
        self._unsent = b""

    @property
    def wants_to_send(self) -> bool:
        """Whether something is left to `flush`."""
        return bool(self._unsent)

    def command(self, word: str) -> None:
        """Send a command."""
        self._send({"command": word})

    def reply(self, request: Message, value: object) -> None:
        """Answer a request."""
        self._send({"reply": request["request"], "number": request["number"], "value": value})

    def _send(self, message: Message) -> None:
        if len(self._unsent) < MAX_LINE_BYTES:  # a child that reads nothing loses the rest
            self._unsent += _line(message)
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now. The rest of a line is for later: it arrives whole, or not at all."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # the child has gone: `receive` finds out

    def receive(self) -> list[Message]:
        """The events and requests that have come."""
        found: list[Message] = []
        try:
            while data := self.connection.recv(_READ_BYTES):
                found += self._lines.feed(data)
        except BlockingIOError:
            return found
        except ConnectionResetError:
            pass  # the child was killed before it had read everything
        except (OSError, ValueError, _EndlessLineError):
            logger.exception("a child sent a malformed message")
        self.eof = True
        return found
