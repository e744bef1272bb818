"""What the supervisor and its children say to each other: lines of JSON on a pair of sockets.

    {"tell": "ready", ...}                       no answer is expected
    {"ask": "report", "id": 7}                   one is: {"id": 7, "answer": ...} or {"id": 7, "error": "..."}

Both sides may tell and ask. The child's end (`ChildEnd`) is a thread of its own, so that it answers while the event
loop is stuck; the supervisor's end (`ParentEnd`) never waits, because the supervisor has no threads (it forks). The end
of the one is an end of file to the other: there is no other way in which a child learns that its supervisor was killed.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any

logger = logging.getLogger("yummy_fast")

MAX_LINE = 64 << 20
"""The longest message, in bytes: the metrics of forty workers with the most series that there can be."""
SEND_S = 5
"""How long a child waits for a supervisor that does not read."""
AGAIN_S = 1
"""How long until it tries again to send the rest, if nobody says anything meanwhile."""

Message = dict[str, Any]


class ControlError(Exception):
    """An answer that did not come, or says that there is none."""


class _Lines:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Raises ControlError for what cannot be a message."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise ControlError("a message without end")
        return [json.loads(line) for line in lines]


def _line(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class ChildEnd:
    """The end of a worker, or of the admin process."""

    def __init__(
        self,
        connection: socket.socket,
        answers: Mapping[str, Callable[[], Any]],
        told: Mapping[str, Callable[[Message], None]],
        lost: Callable[[], None],
        slow: Collection[str] = (),
    ) -> None:
        """`answers` to what may be asked, `told` and `lost` (the supervisor is gone) are called in this end's thread.

        Answers of the names in `slow` have a thread of their own each.
        """
        self._connection = connection
        # Not settimeout(), which would be one for both.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", AGAIN_S, 0))
        self._answers = answers
        self._told = told
        self._lost = lost
        self._slow = slow
        self._lock = threading.Lock()
        self._unsent = b""
        self._asked: dict[int, Future[Any]] = {}
        self._number = 0

    def start(self) -> None:
        """Begin to listen, in a thread that lasts as long as the process."""
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def tell(self, what: str, /, **details: Any) -> None:
        """Say something, from any thread. Who is gone does not hear it."""
        self._send({"tell": what, **details})

    def ask(self, what: str, patience_s: float) -> Any:
        """The supervisor's answer, from any thread but this end's. Raises ControlError."""
        future: Future[Any] = Future()
        with self._lock:
            self._number += 1
            number = self._number
            self._asked[number] = future
        try:
            self._send({"ask": what, "id": number})
            return future.result(patience_s)
        except TimeoutError:
            raise ControlError(f"the supervisor has not answered for {patience_s:g} s") from None
        finally:
            self._asked.pop(number, None)

    def _send(self, message: Message) -> None:
        with self._lock:
            if len(self._unsent) < MAX_LINE:  # of a supervisor that reads nothing
                self._unsent += _line(message)
            self._flush()

    def _flush(self) -> None:
        """Send what can be sent in time, with the lock held. What cannot is for later: a line has to be whole."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except OSError as error:
            logger.debug("nothing can be said to the supervisor: %s", error)

    def _hear(self) -> bytes:
        """What the supervisor says next; nothing once it is gone."""
        while True:
            try:
                return self._connection.recv(1 << 16)
            except BlockingIOError:
                with self._lock:
                    self._flush()

    def _listen(self) -> None:
        lines = _Lines()
        try:
            while data := self._hear():
                for message in lines.feed(data):
                    self._handle(message)
        except ConnectionResetError:
            pass  # it was killed with something unread
        except (OSError, ControlError, ValueError):
            logger.exception("the supervisor cannot be understood")
        self._lost()

    def _handle(self, message: Message) -> None:
        if message.get("ask") in self._slow:
            threading.Thread(target=self._answer, args=(message,), name="control answer", daemon=True).start()
        elif "ask" in message:
            self._answer(message)
        elif "tell" in message:
            self._told[message["tell"]](message)
        elif (future := self._asked.get(message["id"])) is not None:
            if "error" in message:
                future.set_exception(ControlError(message["error"]))
            else:
                future.set_result(message["answer"])

    def _answer(self, message: Message) -> None:
        try:
            self._send({"id": message["id"], "answer": self._answers[message["ask"]]()})
        except Exception as error:
            logger.exception("no answer to %r by a bug of ours", message["ask"])
            self._send({"id": message["id"], "error": repr(error)})


class ParentEnd:
    """The supervisor's end of one child. Nothing here waits."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._lines = _Lines()
        self._unsent = b""
        self._number = 0
        self._waiting: dict[int, Callable[[Message], None]] = {}

    @property
    def wants_to_send(self) -> bool:
        """Whether something is left to `flush`."""
        return bool(self._unsent)

    def tell(self, what: str, /, **details: Any) -> None:
        """Say something. What a child does not read is lost, beyond MAX_LINE of it."""
        self.send({"tell": what, **details})

    def ask(self, what: str, then: Callable[[Message], None]) -> None:
        """`then` gets the answer's message, if it ever comes; or one with an error, when the child has gone."""
        self._number += 1
        self._waiting[self._number] = then
        self.send({"ask": what, "id": self._number})

    def send(self, message: Message) -> None:
        """Say it as it is; for the answer to a child's question, with its `id`."""
        if len(self._unsent) < MAX_LINE:  # of a child that reads nothing
            self._unsent += _line(message)
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # it has gone: reading tells

    def receive(self) -> tuple[list[Message], bool]:
        """What the child tells and asks, its answers having been passed on; and whether more may come."""
        found: list[Message] = []
        try:
            while data := self.connection.recv(1 << 18):
                for message in self._lines.feed(data):
                    if "id" in message and "ask" not in message:
                        self._waiting.pop(message["id"], _ignore)(message)
                    else:
                        found.append(message)
        except BlockingIOError:
            return found, True
        except ConnectionResetError:
            pass  # it was killed with something unread
        except (OSError, ControlError, ValueError):
            logger.exception("a child cannot be understood")
        return found, False

    def close(self) -> None:
        """The child has gone: whoever waits for an answer of it gets an error."""
        self.connection.close()
        waiting, self._waiting = self._waiting, {}
        for then in waiting.values():
            then({"error": "it has ended"})


def _ignore(_: Message) -> None:
    pass
