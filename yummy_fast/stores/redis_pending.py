"""What is pending in the FIFO of a connection to Redis: whose replies come next, and what becomes of them.

`redis_connection` appends one of these objects when it sends commands, and gives each answer to the object at the head,
until `add` says that this was the last one:

    PendingFetch    a fetch: rows for each of its lookups. PendingAsked is a fetch behind an ASKING
    PendingTurn     some commands of a long fetch, whose rows its PendingInTurns gathers
    PendingWrite    rows that are written. PendingWriteTurn and PendingWriteInTurns are as those of a fetch
    Check           a read of a hash that is not there: no row may come
    Order           a command whose reply is a word, such as OK

`parts` says for each answer what makes a row of a reply, and how many replies it is made of. `finish` gives what has
come to the request that waits, and `fail` gives it an error; neither does anything to a request that has been given up,
and neither takes the object out of the FIFO. An error reply is an answer like any other, and `store_error` says what it
means. An answer that cannot be to these commands raises OutOfStepError.

Nothing here has a socket or looks at the time: the order, the window and the deadlines are the connection's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from yummy_fast.errors import StoreError, StoreRefusedError, UnknownOutcomeError
from yummy_fast.features.plan import Row
from yummy_fast.native.owner import Picker
from yummy_fast.stores.redis_turns import Turn

NO_HASH = "something that is no hash of the fields that were asked for"


class OutOfStepError(Exception):
    """A reply that cannot be the one to the command at the head of the FIFO."""


class Receiver(Protocol):
    """Whoever waits for Rows, or for None when rows are written: the part of asyncio.Future that is used here.
    `redis_shares` and `redis_writes` have others.
    """

    def done(self) -> bool: ...

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, exception: StoreError, /) -> None: ...

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...


class PendingFetch:
    """A fetch in the FIFO: which answers are due, and what has come."""

    __slots__ = ("_error", "_future", "_rows_by_lookup", "cost", "deadline", "parts")

    def __init__(self, future: Receiver, parts: list[tuple[Picker, int]]) -> None:
        """`parts` has for each lookup what makes a row of a reply, and the number of its replies, at least one."""
        self.parts: Sequence[tuple[Picker | None, int]] = parts
        self.deadline = 0.0
        self.cost = 0
        """What its commands on the wire cost."""
        self._future = future
        self._error: StoreError | None = None
        self._rows_by_lookup: list[Any] = []

    def add(self, answer: list[Row] | str | None) -> bool:
        """Take the answer to the next lookup. True if it was the last. Raises OutOfStepError."""
        if not isinstance(answer, list):
            self._error = self._error or store_error(answer)
        self._rows_by_lookup.append(answer)
        return len(self._rows_by_lookup) == len(self.parts)

    @property
    def receiver(self) -> Receiver:
        """Whoever waits for it."""
        return self._future

    def watched(self) -> Receiver:
        """As `receiver`, once a reply is overdue: it may have to be asked for elsewhere (`redis_shares`)."""
        return self._future

    def finish(self) -> None:
        """All replies have come: give the request its rows, or its error, unless it has been given up."""
        if self._future.done():
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._rows_by_lookup)

    def fail(self, error: StoreError) -> None:
        """Fail the request, unless it has been given up. The connection decides whether the fetch stays in the FIFO."""
        if not self._future.done():
            self._future.set_exception(error)


class PendingAsked(PendingFetch):
    """A fetch of one lookup whose command follows an ASKING: the node is about to get the key's slot."""

    __slots__ = ("_asked",)

    def __init__(self, future: Receiver, picker: Picker) -> None:
        super().__init__(future, [(picker, 1)])
        self.parts = ((None, 1), (picker, 1))
        self._asked = False

    def add(self, answer: list[Row] | str | None) -> bool:
        """As PendingFetch.add. The first answer is the one to ASKING."""
        if not self._asked:
            self._asked = True
            if isinstance(answer, str):
                self._error = store_error(answer)
            return False
        super().add(answer)
        return True


class PendingInTurns(PendingFetch):
    """A fetch whose commands are sent in several turns: its rows come a turn at a time."""

    __slots__ = ("_due", "_rows")

    def __init__(self, future: Receiver, parts: list[tuple[Picker, int]]) -> None:
        super().__init__(future, parts)
        self._due = parts[0][1]
        """How many replies are missing of the lookup whose rows come now."""
        self._rows: list[Row] = []

    def add_turn(self, answer: list[Row] | str | None, replies: int) -> bool:
        """Take the answer to a turn, which had so many commands of one lookup. True if it was the last of all."""
        if isinstance(answer, list):
            self._rows += answer
        else:
            self._error = self._error or store_error(answer)
        self._due -= replies
        if self._due == 0:
            self._rows_by_lookup.append(self._rows)
            self._rows = []
            done = len(self._rows_by_lookup)
            if done == len(self.parts):
                return True
            self._due = self.parts[done][1]
        return False

    def sent(self, turn: Turn, deadline: float) -> PendingTurn:
        """A turn has been sent: what stands for it in the FIFO."""
        assert turn.picker is not None  # noqa: S101
        return PendingTurn(self, turn.picker, turn.replies, turn.cost, deadline)


class PendingTurn:
    """Some commands of a fetch in the FIFO: those that were sent in one turn, all of one lookup."""

    __slots__ = ("_complete", "_fetch", "cost", "deadline", "parts")

    def __init__(self, fetch: PendingInTurns, picker: Picker, replies: int, cost: int, deadline: float) -> None:
        self._fetch = fetch
        self._complete = False
        self.parts = ((picker, replies),)
        self.cost = cost
        self.deadline = deadline
        """When the connection, not the request, should have answered."""

    @property
    def receiver(self) -> Receiver:
        """Whoever waits for the fetch."""
        return self._fetch.receiver

    def watched(self) -> Receiver:
        """As PendingFetch.watched."""
        return self._fetch.watched()

    def add(self, answer: list[Row] | str | None) -> bool:
        """As PendingFetch.add. There is one answer."""
        self._complete = self._fetch.add_turn(answer, self.parts[0][1])
        return True

    def finish(self) -> None:
        if self._complete:
            self._fetch.finish()

    def fail(self, error: StoreError) -> None:
        self._fetch.fail(error)


class PendingWrite:
    """Rows in the FIFO that are written, by one command each or two. Their replies say only that it was done."""

    __slots__ = ("_came", "_future", "_refused", "_replies", "cost", "deadline", "parts")

    def __init__(self, future: Receiver, replies: int) -> None:
        self.parts = ((None, 1),) * replies
        self.deadline = 0.0
        """0 until the commands are sent."""
        self.cost = 0
        self._replies = replies
        self._came = 0
        """How many of the replies have come."""
        self._future = future
        self._refused: list[tuple[int, str]] = []

    def add(self, answer: list[Row] | str | None) -> bool:
        """As PendingFetch.add. There is one answer for each command."""
        if isinstance(answer, str):
            self._refused.append((self._came, answer))
        self._came += 1
        return self._came == self._replies

    def finish(self) -> None:
        """As PendingFetch.finish."""
        if self._future.done():
            return
        if self._refused:
            error = store_error(self._refused[0][1])
            error.refused = self._refused
            self._future.set_exception(error)
        else:
            self._future.set_result(None)

    def fail(self, error: StoreError) -> None:
        """As PendingFetch.fail. What was sent may have been written, and is not sent again."""
        if not self._future.done():
            self._future.set_exception(UnknownOutcomeError(str(error)) if self.deadline else error)


class PendingWriteInTurns(PendingWrite):
    """Rows that are written in several turns. It stands beside the FIFO; its turns are in it."""

    __slots__ = ("_replies_of",)

    def __init__(self, future: Receiver, replies: int, replies_of: int) -> None:
        """`replies` in all, and for each row."""
        super().__init__(future, replies)
        self.parts = ()
        self._replies_of = replies_of

    def sent(self, turn: Turn, deadline: float) -> PendingWriteTurn:
        """As PendingInTurns.sent."""
        self.deadline = deadline
        return PendingWriteTurn(self, turn.replies * self._replies_of, turn.cost, deadline)


class PendingWriteTurn:
    """Some rows in the FIFO: those that were sent in one turn."""

    __slots__ = ("_complete", "_due", "_write", "cost", "deadline", "parts")

    def __init__(self, write: PendingWriteInTurns, replies: int, cost: int, deadline: float) -> None:
        self._write = write
        self._complete = False
        self._due = replies
        self.parts = ((None, 1),) * replies
        self.cost = cost
        self.deadline = deadline

    def add(self, answer: list[Row] | str | None) -> bool:
        """As PendingWrite.add."""
        self._complete = self._write.add(answer)
        self._due -= 1
        return self._due == 0

    def finish(self) -> None:
        if self._complete:
            self._write.finish()

    def fail(self, error: StoreError) -> None:
        self._write.fail(error)


class Check:
    """A read in the FIFO of a hash that is not there. Its reply shows that Redis is alive, that we may read, and that
    each reply is for the command at the head of the FIFO: only nulls may come, and as many as there are fields.
    """

    __slots__ = ("_found", "cost", "deadline", "parts")

    def __init__(self, picker: Picker, found: Callable[[str], None]) -> None:
        """`found` gets the text of the reply if that is an error, else nothing."""
        self.parts = ((picker, 1),)
        self._found = found
        self.cost = 0
        self.deadline = 0.0

    def add(self, answer: list[Row] | str | None) -> bool:
        """As PendingFetch.add. There is one answer."""
        if isinstance(answer, list):
            if any(part is not None for part in answer[0]):
                raise OutOfStepError("somebody's hash instead of one that is not there")
            self._found("")
        elif answer is None:
            raise OutOfStepError(NO_HASH)
        else:
            self._found(answer)
        return True

    def finish(self) -> None:
        pass

    def fail(self, error: StoreError) -> None:
        pass


class Order:
    """A command in the FIFO whose reply is a word, such as OK. It reads nothing."""

    __slots__ = ("_found", "cost", "deadline", "parts")

    def __init__(self, found: Callable[[str], None]) -> None:
        """`found` gets the text of the reply if that is an error, else nothing."""
        self.parts = ((None, 1),)
        self._found = found
        self.cost = 0
        self.deadline = 0.0

    def add(self, answer: list[Row] | str | None) -> bool:
        """As PendingFetch.add. There is one answer."""
        self._found(answer if isinstance(answer, str) else "")
        return True

    def finish(self) -> None:
        pass

    def fail(self, error: StoreError) -> None:
        pass


_UNAVAILABLE = frozenset(
    (
        "LOADING",
        "BUSY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "READONLY",
        "OOM",
        "NOPERM",  # this and the next are an operator's mistakes, and pass when the operator corrects them
        "NOAUTH",
        "NOREPLICAS",  # rows are not written while there are fewer replicas than min-replicas-to-write, ...
        "MISCONF",  # ... or while the last snapshot has failed
    )
)
"""Codes of error replies that are about the whole store and will pass: 503. Other codes are about the command: 502."""


def store_error(answer: str | None) -> StoreError:
    """The error for a fetch that got an error reply of this text. Raises OutOfStepError for what is no error either."""
    if answer is None:
        raise OutOfStepError(NO_HASH)
    code = answer.partition(" ")[0]
    kind = StoreRefusedError if code in _UNAVAILABLE else StoreError
    error = kind(f"The online store answered {code}")
    error.reply = answer
    return error
