"""What is pending in the FIFO, without a connection: answers in, rows or errors out.

test_redis_connection.py has the same objects behind a connection, where replies come in any cuts.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes import FakeLoop
from yummy_fast.errors import StoreError, StoreRefusedError, StoreTimeoutError
from yummy_fast.native.owner import Picker
from yummy_fast.stores.redis_pending import (
    NO_HASH,
    Check,
    Order,
    OutOfStepError,
    PendingAsked,
    PendingFetch,
    PendingInTurns,
    PendingTurn,
    PendingWrite,
    PendingWriteInTurns,
    PendingWriteTurn,
    store_error,
)
from yummy_fast.stores.redis_turns import Turn

ONE = Picker([b"number"], False)
Pending = PendingFetch | PendingTurn | PendingWrite | PendingWriteTurn | Check | Order
LATE = StoreTimeoutError("late")


def a_future() -> asyncio.Future[Any]:
    return FakeLoop().create_future()


def rows(*numbers: int) -> list[Any]:
    """An answer: for each command a row of one field."""
    return [[b"%d" % number] for number in numbers]


def give(pending: Pending, *answers: Any) -> None:
    """All answers that it waits for: the last one completes it, and no other."""
    *before, last = [pending.add(answer) for answer in answers]
    assert before == [False] * len(before)
    assert last is True
    pending.finish()


def error_of(future: asyncio.Future[Any]) -> StoreError:
    error = future.exception()
    assert isinstance(error, StoreError)
    return error


# ---------------------------------------------------------------------------------------------------------- fetches


def test_a_fetch_gets_the_rows_of_each_lookup_in_order() -> None:
    future = a_future()
    fetch = PendingFetch(future, [(ONE, 2), (ONE, 1)])
    assert fetch.parts == [(ONE, 2), (ONE, 1)]
    assert fetch.receiver is fetch.watched() is future
    give(fetch, rows(1, 2), rows(3))
    assert future.result() == [rows(1, 2), rows(3)]


def test_the_first_of_two_error_replies_is_told_and_all_replies_are_waited_for() -> None:
    future = a_future()
    give(PendingFetch(future, [(ONE, 1)] * 3), rows(1), "LOADING x", "ERR x")
    assert str(error_of(future)) == "The online store answered LOADING"


def test_a_request_that_was_given_up_gets_nothing() -> None:
    for answer in (rows(1), "ERR x"):
        cancelled, late = a_future(), a_future()
        cancelled.cancel()
        fetches = [PendingFetch(cancelled, [(ONE, 1)]), PendingFetch(late, [(ONE, 1)])]
        for fetch in fetches:
            fetch.fail(LATE)
            give(fetch, answer)
            fetch.fail(StoreError("lost"))
        assert cancelled.cancelled()
        assert error_of(late) is LATE


def test_what_is_no_reply_to_a_fetch_is_out_of_step() -> None:
    future = a_future()
    with pytest.raises(OutOfStepError, match=NO_HASH):
        PendingFetch(future, [(ONE, 1)]).add(None)
    assert not future.done()


def test_a_fetch_behind_an_asking_has_the_second_reply() -> None:
    future = a_future()
    fetch = PendingAsked(future, ONE)
    assert fetch.parts == ((None, 1), (ONE, 1))
    give(fetch, None, rows(1))
    assert future.result() == [rows(1)]


def test_an_asking_that_is_refused_fails_its_fetch_whatever_comes_behind_it() -> None:
    refused, moved = a_future(), a_future()
    give(PendingAsked(refused, ONE), "ERR no cluster", rows(1))
    assert str(error_of(refused)) == "The online store answered ERR"
    give(PendingAsked(moved, ONE), None, "MOVED 5 h:1")
    assert error_of(moved).reply == "MOVED 5 h:1"


# ------------------------------------------------------------------------------------------------ fetches in turns


def turns_of(fetch: PendingInTurns, *replies: int) -> list[PendingTurn]:
    return [fetch.sent(Turn(fetch, ONE, count, 10 * count, b""), 7.0) for count in replies]


def test_the_rows_of_several_turns_are_put_together_by_lookup() -> None:
    future = a_future()
    first, second, third = turns_of(PendingInTurns(future, [(ONE, 3), (ONE, 2)]), 2, 1, 2)
    assert (second.parts, second.cost, second.deadline) == (((ONE, 1),), 10, 7.0)
    assert second.receiver is second.watched() is future
    give(first, rows(1, 2))
    give(second, rows(3))
    assert not future.done()
    give(third, rows(4, 5))
    assert future.result() == [rows(1, 2, 3), rows(4, 5)]


def test_an_error_in_a_turn_fails_the_fetch_when_all_turns_are_answered() -> None:
    future = a_future()
    first, second, third = turns_of(PendingInTurns(future, [(ONE, 3)]), 1, 1, 1)
    give(first, "LOADING x")
    give(second, "ERR x")
    assert not future.done()
    give(third, rows(3))
    assert str(error_of(future)) == "The online store answered LOADING"


def test_a_turn_that_fails_fails_its_fetch() -> None:
    future = a_future()
    first, second = turns_of(PendingInTurns(future, [(ONE, 2)]), 1, 1)
    first.fail(LATE)
    assert error_of(future) is LATE
    give(first, rows(1))
    with pytest.raises(OutOfStepError):
        second.add(None)


# ----------------------------------------------------------------------------------------------------------- writes


def test_a_write_is_done_when_all_its_replies_have_come() -> None:
    future = a_future()
    write = PendingWrite(future, 3)
    assert write.parts == ((None, 1),) * 3
    give(write, None, None, None)
    assert future.result() is None


def test_a_write_says_which_rows_were_refused() -> None:
    future = a_future()
    give(PendingWrite(future, 4), None, "MOVED 5 h:1", None, "OOM full")
    error = error_of(future)
    assert (str(error), error.reply) == ("The online store answered MOVED", "MOVED 5 h:1")
    assert error.refused == [(1, "MOVED 5 h:1"), (3, "OOM full")]


def test_a_write_that_was_given_up_gets_nothing() -> None:
    future = a_future()
    future.cancel()
    write = PendingWrite(future, 1)
    write.fail(LATE)
    give(write, "ERR x")
    assert future.cancelled()


@pytest.mark.parametrize("sent", [False, True])
def test_only_what_was_sent_may_have_been_written(sent: bool) -> None:
    future = a_future()
    write = PendingWrite(future, 1)
    write.deadline = 7.0 if sent else 0.0
    write.fail(LATE)
    assert ("may have been written, or may not" in str(error_of(future))) is sent


def test_a_write_in_turns_is_done_after_the_last_of_them() -> None:
    """Each row is two commands here: an HSET, and an EXPIRE."""
    future = a_future()
    write = PendingWriteInTurns(future, 6, 2)
    first, second = (write.sent(Turn(write, None, count, 10 * count, b""), 7.0) for count in (2, 1))
    assert (first.parts, first.cost, first.deadline) == (((None, 1),) * 4, 20, 7.0)
    give(first, None, None, None, "OOM full")
    assert not future.done()
    give(second, None, "ERR x")
    assert error_of(future).refused == [(3, "OOM full"), (5, "ERR x")]


def test_a_turn_of_a_write_that_gets_no_reply_may_have_been_written() -> None:
    unsent, sent = a_future(), a_future()
    PendingWriteInTurns(unsent, 2, 1).fail(LATE)
    assert error_of(unsent) is LATE
    write = PendingWriteInTurns(sent, 2, 1)
    write.sent(Turn(write, None, 1, 1, b""), 7.0).fail(LATE)
    assert "may have been written" in str(error_of(sent))


# -------------------------------------------------------------------------------------------------- checks and orders


@pytest.mark.parametrize(("answer", "found"), [([[None, None]], ""), ("NOPERM no", "NOPERM no")])
def test_a_check_finds_nothing_or_a_refusal(answer: Any, found: str) -> None:
    told: list[str] = []
    check = Check(ONE, told.append)
    assert check.parts == ((ONE, 1),)
    check.fail(LATE)
    give(check, answer)
    assert told == [found]


@pytest.mark.parametrize("answer", [None, [[None, b"x"]]])
def test_what_cannot_be_the_reply_to_a_check_is_out_of_step(answer: Any) -> None:
    told: list[str] = []
    with pytest.raises(OutOfStepError):
        Check(ONE, told.append).add(answer)
    assert told == []


@pytest.mark.parametrize(("answer", "found"), [(None, ""), ("ERR no cluster", "ERR no cluster")])
def test_an_order_is_answered_with_a_word_or_refused(answer: Any, found: str) -> None:
    told: list[str] = []
    order = Order(told.append)
    order.fail(LATE)
    give(order, answer)
    assert told == [found]


# ------------------------------------------------------------------------------------------------------ error replies


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((code, 503) for code in ("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "OOM")),
        *((code, 503) for code in ("NOPERM", "NOAUTH", "NOREPLICAS", "MISCONF")),
        *((code, 502) for code in ("WRONGTYPE", "ERR", "MOVED", "LOADINGS")),
    ],
)
def test_errors_that_pass_are_told_from_those_that_do_not(code: str, status: int) -> None:
    """503 with Retry-After for what is about the store as a whole; 502 for what was asked for."""
    reply = f"{code} and what Redis says of it"
    error = store_error(reply)
    assert (error.status, str(error), error.reply) == (status, f"The online store answered {code}", reply)
    assert isinstance(error, StoreRefusedError) is (status == 503)
