"""What clients do not read, to the byte: which answers are made all the same, who is cut off, and what the log says.

docs/reliability.md has the rules. Of a limit, the last byte may be used: it is what may be unsent, not what may not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from tests.fakes import FakeTransport, without_complaints
from tests.http.test_connection import Rig, get, statuses
from yummy_fast.config.settings import HttpLimits

MOST = 1_000_000
QUARTER = 250_000


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_loop() -> Iterator[None]:
    with without_complaints():
        yield


def unread(rig: Rig, size: int) -> FakeTransport:
    """A client that does not read its answer, whose body has this size."""
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/%d" % size))
    return client


# ----------------------------------------------------------------------------------------------- which answers are made


@pytest.mark.parametrize(("size", "status"), [(MOST, 200), (MOST + 1, 503)])
def test_answers_are_made_until_more_is_unsent_than_the_limit(size: int, status: int) -> None:
    rig = Rig(max_unsent_bytes=MOST)
    other = rig.connect()
    other.receive(get(b"/wait/before"))
    unread(rig, size)
    assert rig.shared.unsent_bytes == size
    other.receive(get(b"/wait/after"))
    for path in list(rig.waiting):
        rig.finish(path)
    assert statuses(other) == [status, status]


@pytest.mark.parametrize(("size", "status"), [(QUARTER, 200), (QUARTER + 1, 503)])
def test_one_client_gets_answers_until_it_has_more_than_a_quarter(size: int, status: int) -> None:
    """Here they wait for an earlier one."""
    rig = Rig(max_unsent_bytes=MOST)
    client = rig.connect()
    for path in (b"/wait/0", b"/wait/1", b"/wait/2"):
        client.receive(get(path))
    rig.finish(b"/wait/1", b"x" * size)
    rig.finish(b"/wait/2")
    rig.finish(b"/wait/0")
    assert statuses(client) == [200, 200, status]


@pytest.mark.parametrize(("size", "status"), [(QUARTER - 10_000, 200), (QUARTER + 10_000, 503)])
def test_a_client_that_has_not_read_a_quarter_gets_no_other_answer_even_if_it_is_next(size: int, status: int) -> None:
    rig = Rig(max_unsent_bytes=MOST)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/wait/0"))
    client.receive(get(b"/wait/1"))
    rig.finish(b"/wait/0", b"x" * size)
    rig.finish(b"/wait/1")
    client.read_all()
    assert statuses(client) == [200, status]


def test_no_request_begins_before_the_client_has_caught_up_also_when_another_is_answered() -> None:
    """The transport asks for more only when the client has read all but its low-water mark."""
    rig = Rig(max_pipelined=2)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/wait/0") + get(b"/wait/1") + get(b"/now"))
    rig.finish(b"/wait/0", b"x" * FakeTransport.HIGH)
    client.read_down_to(FakeTransport.LOW + 1)
    rig.sweep(1)
    rig.finish(b"/wait/1")
    assert rig.begun == [b"/wait/0", b"/wait/1"]
    client.read_down_to(FakeTransport.LOW)
    assert rig.begun[2:] == [b"/now"]
    client.read_all()
    assert statuses(client) == [200, 200, 200]


def test_what_a_transport_holds_is_counted_once_however_often_it_is_looked_at() -> None:
    rig = Rig()
    client = unread(rig, 1000)
    for _ in range(3):
        rig.sweep(1)
        assert rig.shared.unsent_bytes == client.get_write_buffer_size()


# ------------------------------------------------------------------------------------------------------- who is cut off


@pytest.mark.parametrize(("fit", "more"), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)])
def test_no_more_are_cut_off_than_make_room_and_the_log_says_how_many(
    fit: int, more: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Too much is unsent by as much as the largest clients, `fit` of them, have not read, and by `more` bytes."""
    rig = Rig()
    clients = [unread(rig, size) for size in (2000, 3000, 1000)]
    clients.sort(key=FakeTransport.get_write_buffer_size, reverse=True)
    unsent = [client.get_write_buffer_size() for client in clients]
    rig.sweep(1)
    limit = sum(unsent) - sum(unsent[:fit]) - more
    rig.shared.limits = HttpLimits(max_unsent_bytes=limit)
    rig.sweep(1)
    cut_off = fit + more
    assert [client.aborted for client in clients] == [True] * cut_off + [False] * (3 - cut_off)
    assert rig.shared.unsent_bytes == sum(unsent[cut_off:])
    if cut_off:
        (line,) = caplog.messages
        assert line.startswith("1 connection cut off" if cut_off == 1 else f"{cut_off} connections cut off")
        assert [int(number) for number in re.findall(r"\d+", line)] == [cut_off, sum(unsent), limit]
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
    else:
        assert caplog.messages == []


def test_nothing_is_logged_while_all_of_those_that_make_it_too_much_read_on(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(max_unsent_bytes=1000)
    client = unread(rig, 30_000)
    rig.sweep(1)
    client.read_down_to(20_000)
    rig.sweep(1)
    assert not client.aborted
    assert rig.shared.unsent_bytes == 20_000
    assert caplog.messages == []


@pytest.mark.parametrize(("last_second", "cut_off"), [(1000, False), (999, True)])
def test_who_needs_just_the_send_timeout_is_not_too_slow(last_second: int, cut_off: bool) -> None:
    """30,000 bytes at 1,000 in a second take 30 seconds, and at 999 longer."""
    rig = Rig(max_unsent_bytes=1000, send_s=30)
    client = unread(rig, 40_000)
    client.read_down_to(30_000 + last_second)
    rig.sweep(1)
    client.read_down_to(30_000)
    rig.sweep(1)
    assert client.aborted is cut_off
