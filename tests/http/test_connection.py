"""One client's connection, without a socket and with the time in the test's hands: order, limits, deadlines, its end.

tests/system asks the same of a real process (test_http, test_limits, test_lifecycle); here each step is a call, so that
a deadline is met or missed by a millisecond, and what must not happen can be seen not to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import select
import socket
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.fakes import FakeLoop, FakeTransport, without_complaints
from tests.harness import eventually
from yummy_fast.config.settings import HttpLimits, Timeouts
from yummy_fast.errors import LimitError, YummyError
from yummy_fast.http import answer_writer
from yummy_fast.http.answer_writer import LARGE_BODY_BYTES, MUCH_BYTES, SLICE_BYTES
from yummy_fast.http.connection import LINGER_S, PROBE_S, Connection, Connections
from yummy_fast.http.http11 import CONTINUE, Request, Response, ResponseOrCoroutine
from yummy_fast.http.trace_headers import Trace

LATER = 0.001
"""In seconds: each deadline is looked at just before and just after its time."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Watched(Connection):
    """A connection that can be seen to go: without slots of its own it can be referred to weakly."""


class Rig:
    """What all connections of a server share, with a handler that does as the request's path says."""

    def __init__(self, **settings: int) -> None:
        """`settings`: fields of HttpLimits and of Timeouts."""
        timeouts = {name: value for name, value in settings.items() if name.endswith(("_s", "_ms"))}
        limits = {name: value for name, value in settings.items() if name not in timeouts}
        self.loop = FakeLoop()
        self.begun: list[bytes] = []
        """The paths of the requests that were handled."""
        self.waiting: dict[bytes, asyncio.Future[bytes]] = {}
        """What requests wait for, by path."""
        self.left: list[bytes] = []
        """The paths of the requests whose coroutines were closed where they waited."""
        self.failures: list[tuple[bytes, BaseException]] = []
        """The requests that were answered by `failed`, and why."""
        self.shared = Connections(self.handle, self.failed, HttpLimits(**limits), Timeouts(**timeouts))

    def connect(self, *, tls: bool = False, extra: Mapping[str, object] | None = None) -> FakeTransport:
        """A new client. `extra`: what the transport says of itself."""
        transport = FakeTransport(self.loop, tls=tls, extra=extra)
        transport.connect(Watched(self.shared, self.loop.abstract))
        return transport

    def handle(self, request: Request) -> ResponseOrCoroutine:
        self.begun.append(request.url)
        what = request.url.split(b"/")[1]
        if what == b"raise":
            raise KeyError("raised by the handler")
        if what == b"big":
            return Response(200, b"x" * int(request.url.split(b"/")[2]))
        if what == b"wait":
            return self._wait(request)
        if what == b"fail":
            return self._fail()
        return Response(200, request.url + request.body)

    async def _wait(self, request: Request) -> Response:
        future = self.waiting[request.url] = self.loop.create_future()
        try:
            return Response(200, await future)
        except GeneratorExit:
            self.left.append(request.url)
            raise

    async def _fail(self) -> Response:
        raise KeyError("raised before it waited")

    def failed(self, error: BaseException, request: Request) -> Response:
        self.failures.append((request.url, error))
        return Response(error.status if isinstance(error, YummyError) else 500, str(error).encode())

    def finish(self, path: bytes, body: bytes = b"") -> None:
        """Let what the request for `path` waits for come."""
        self.waiting.pop(path).set_result(body or b"after the wait: " + path)
        self.loop.run_ready()

    def sweep(self, seconds: float) -> None:
        """Let time pass, and end what has outlived its time."""
        self.loop.pass_time(seconds)
        self.shared.sweep(self.loop.time())
        self.loop.run_ready()


def get(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: a", *lines, b"", b""])


def post(path: bytes, body: bytes, *lines: bytes) -> bytes:
    return get(path, b"Content-Length: %d" % len(body), *lines, method=b"POST") + body


def answers(transport: FakeTransport, *, heads: bool = False) -> list[Answer]:
    """What the client has received so far, whole. `heads`: the answers to HEAD, which have no bodies."""
    data, found = bytes(transport.received), []
    while data:
        if data.startswith(CONTINUE):
            data = data[len(CONTINUE) :]
            found.append(Answer(100, {}, b""))
            continue
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, "the client has half a head"
        first, *lines = head.decode().split("\r\n")
        fields = [line.split(": ", 1) for line in lines]
        headers = dict(fields)
        assert len(headers) == len(fields), head
        size = 0 if heads else int(headers["content-length"])
        assert len(data) >= size, "the client has half a body"
        found.append(Answer(int(first.split()[1]), headers, data[:size]))
        data = data[size:]
    return found


def bodies(transport: FakeTransport) -> list[bytes]:
    return [answer.body for answer in answers(transport)]


def statuses(transport: FakeTransport) -> list[int]:
    return [answer.status for answer in answers(transport)]


def is_closed(rig: Rig, transport: FakeTransport) -> bool:
    """Whether we have closed the connection in peace: nothing is lost of what was written."""
    rig.loop.run_ready()
    assert not transport.aborted
    return transport.closing


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_loop() -> Iterator[None]:
    with without_complaints():
        yield


# ---------------------------------------------------------------------------------------------- one request, one answer


def test_a_request_is_answered_in_one_write_and_the_connection_stays() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(post(b"/a", b"body"))
    assert [(answer.status, answer.body) for answer in answers(client)] == [(200, b"/abody")]
    assert "connection" not in answers(client)[0].headers
    assert len(client.writes) == 1
    assert not is_closed(rig, client)
    assert client.reading
    client.receive(get(b"/b"))
    assert bodies(client) == [b"/abody", b"/b"]


def test_a_request_that_comes_byte_by_byte() -> None:
    rig = Rig()
    client = rig.connect()
    for byte in post(b"/a", b"body"):
        assert rig.begun == []
        client.receive(bytes([byte]))
    assert bodies(client) == [b"/abody"]


@pytest.mark.parametrize(("size", "gathered"), [(LARGE_BODY_BYTES, False), (LARGE_BODY_BYTES + 1, True)])
def test_a_large_body_is_not_copied_behind_its_head(size: int, gathered: bool) -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/big/%d" % size))
    assert bodies(client) == [b"x" * size]
    assert client.gathered == ([2] if gathered else [])
    assert len(client.writes) == 1


def test_head_is_answered_with_the_head_alone() -> None:
    rig = Rig()
    client = rig.connect()
    for size in (5, LARGE_BODY_BYTES + 1):
        client.receive(get(b"/big/%d" % size, method=b"HEAD"))
    found = answers(client, heads=True)
    assert [answer.headers["content-length"] for answer in found] == ["5", str(LARGE_BODY_BYTES + 1)]


def test_an_answer_repeats_what_the_client_calls_its_request_and_has_the_date_of_the_last_sweep() -> None:
    rig = Rig()
    client = rig.connect()
    rig.shared.clock.line = b""
    rig.sweep(1)
    assert rig.shared.clock.line.startswith(b"date: ")
    rig.shared.clock.line = b"date: today\r\n"
    client.receive(get(b"/a", b"X-Request-Id: mine") + get(b"/b"))
    first, second = answers(client)
    assert first.headers == {
        "date": "today",
        "content-type": "application/json",
        "x-request-id": "mine",
        "content-length": "2",
    }
    assert second.headers == {"date": "today", "content-type": "application/json", "content-length": "2"}
    assert [b"mine" in headers for headers in rig.shared.clock.heads] == [False], (
        "what comes only once is not remembered"
    )


@pytest.mark.parametrize("path", [b"/raise", b"/fail"])
def test_what_goes_wrong_is_answered_and_the_connection_stays(path: bytes) -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(path) + get(b"/next"))
    assert statuses(client) == [500, 200]
    assert [(url, type(error)) for url, error in rig.failures] == [(path, KeyError)]
    assert rig.shared.in_flight == 0
    assert not is_closed(rig, client)


def test_what_goes_wrong_after_a_wait_is_answered_and_holds_no_frames() -> None:
    """What was waited for keeps its error, and its frames would hold the request until the collector comes."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait"))
    error = KeyError("from the store")
    rig.waiting[b"/wait"].set_exception(error)
    rig.loop.run_ready()
    assert statuses(client) == [500]
    assert rig.failures == [(b"/wait", error)]
    assert error.__traceback__ is None
    assert rig.shared.in_flight == 0


# --------------------------------------------------------------------------------------------------- several on the way


def test_answers_leave_in_the_order_of_the_requests_however_they_finish() -> None:
    """RFC 9112 9.3.2."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait/1") + get(b"/2") + get(b"/wait/3"))
    client.receive(get(b"/wait/4") + get(b"/raise"))
    assert rig.begun == [b"/wait/1", b"/2", b"/wait/3", b"/wait/4", b"/raise"]
    assert rig.shared.in_flight == 3
    rig.finish(b"/wait/4")
    rig.finish(b"/wait/3")
    assert client.writes == []
    rig.finish(b"/wait/1")
    assert statuses(client) == [200, 200, 200, 200, 500]
    assert [body.rpartition(b"/")[2] for body in bodies(client)[:4]] == [b"1", b"2", b"3", b"4"]
    assert rig.shared.in_flight == 0


def test_what_waits_behind_a_request_of_two_steps_comes_after_it() -> None:
    """A coroutine may wait more than once, and is not done before it has come to its end."""
    rig = Rig()

    async def twice(request: Request) -> Response:
        first = rig.waiting[b"first"] = rig.loop.create_future()
        await first
        second = rig.waiting[b"second"] = rig.loop.create_future()
        return Response(200, await second)

    rig.shared.handle = twice
    client = rig.connect()
    client.receive(get(b"/"))
    rig.finish(b"first")
    assert client.writes == []
    assert rig.shared.in_flight == 1
    rig.finish(b"second")
    assert bodies(client) == [b"after the wait: second"]


def test_no_more_requests_are_begun_or_read_than_may_be_under_way() -> None:
    rig = Rig(max_pipelined=3)
    client = rig.connect()
    client.receive(get(b"/wait/1"))
    client.receive(get(b"/wait/2"))
    assert client.reading
    client.receive(get(b"/wait/3"))
    assert not client.reading, "as many wait as may"
    rig.finish(b"/wait/1")
    assert client.reading
    client.receive(b"".join(get(b"/wait/%d" % number) for number in range(4, 8)))
    assert rig.begun == [b"/wait/%d" % number for number in (1, 2, 3, 4)]
    rig.finish(b"/wait/2")
    assert rig.begun[4:] == [b"/wait/5"]
    rig.finish(b"/wait/3")
    rig.finish(b"/wait/4")
    assert rig.begun[5:] == [b"/wait/6", b"/wait/7"]
    assert not client.reading
    rig.finish(b"/wait/5")
    assert client.reading
    for number in (6, 7):
        rig.finish(b"/wait/%d" % number)
    assert len(answers(client)) == 7


def test_requests_that_came_together_are_all_begun_although_more_may_not_be_under_way() -> None:
    """What is answered at once makes room for the next at once."""
    rig = Rig(max_pipelined=2)
    client = rig.connect()
    client.receive(b"".join(get(b"/%d" % number) for number in range(50)))
    assert bodies(client) == [b"/%d" % number for number in range(50)]
    assert client.reading


def test_a_client_that_does_not_read_gets_no_more_work_done() -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/1000") + get(b"/big/%d" % FakeTransport.HIGH) + get(b"/a") + get(b"/b"))
    assert rig.begun == [b"/big/1000", b"/big/%d" % FakeTransport.HIGH]
    assert not client.reading
    rig.sweep(1)
    client.read_down_to(FakeTransport.LOW + 1)
    assert len(rig.begun) == 2, "not yet: there is too much that it has not read"
    client.read_down_to(FakeTransport.LOW)
    assert rig.begun[2:] == [b"/a", b"/b"]
    assert client.reading
    client.read_all()
    assert [len(body) for body in bodies(client)] == [1000, FakeTransport.HIGH, 2, 2]


def test_reading_stops_when_writing_has_to_whenever_that_is_noticed() -> None:
    """uvloop writes at the end of a turn, and reports only then that the client does not keep up."""
    rig = Rig()
    client = rig.connect()
    connection: Any = client.get_protocol()
    connection.pause_writing()
    assert not client.reading
    connection.resume_writing()
    assert client.reading


def test_a_write_that_pauses_and_resumes_writing_at_once_does_not_go_round_in_circles() -> None:
    rig = Rig()
    client = rig.connect()
    client.pauses_in_write = True
    client.receive(b"".join(get(b"/%d" % number) for number in range(1000)))
    assert bodies(client) == [b"/%d" % number for number in range(1000)]


def test_a_client_whose_answers_wait_for_an_earlier_one_gets_no_more_work_done() -> None:
    """They are made, and can be as many bytes as the client likes while it holds up the first."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait"))
    client.receive(get(b"/big/%d" % MUCH_BYTES))
    assert client.reading
    client.receive(get(b"/big/1"))
    assert not client.reading
    client.get_protocol().data_received(get(b"/a") + get(b"/b"))
    assert rig.begun == [b"/wait", b"/big/%d" % MUCH_BYTES, b"/big/1"]
    assert rig.shared.unsent_bytes == MUCH_BYTES + 1
    rig.finish(b"/wait")
    assert rig.begun[3:] == [b"/a", b"/b"]
    assert [len(body) for body in bodies(client)][1:3] == [MUCH_BYTES, 1]
    assert client.reading
    assert rig.shared.unsent_bytes == 0


def test_a_large_body_is_given_to_the_transport_as_it_has_room() -> None:
    """The whole would be encrypted in one go, and be held twice. What is behind it waits."""
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    size = 3 * SLICE_BYTES + 1
    client.receive(get(b"/wait"))
    client.receive(get(b"/big/%d" % size) + get(b"/a"))
    rig.finish(b"/wait")
    assert len(client.writes) == 2
    assert client.get_write_buffer_size() < 1.1 * SLICE_BYTES
    assert rig.shared.unsent_bytes == size
    for writes in (3, 4, 6):  # the last slice leaves room for the next answer
        client.read_down_to(FakeTransport.LOW)
        assert len(client.writes) == writes
    client.read_all()
    assert [len(body) for body in bodies(client)] == [len(b"after the wait: /wait"), size, 2]
    assert rig.shared.unsent_bytes == 0
    assert client.reading


@pytest.mark.parametrize("end", ["close", "eof", "stop", "refuse"])
def test_the_rest_of_a_large_body_is_written_before_the_connection_ends(end: str) -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    size = 3 * SLICE_BYTES
    follows = {"close": get(b"/a", b"Connection: close"), "refuse": b"\x00 no HTTP"}.get(end, b"")
    client.receive(get(b"/big/%d" % size) + follows)
    connection: Any = client.get_protocol()
    assert connection.busy
    if end == "eof":
        client.reading = True
        client.receive_eof()
        rig.loop.pass_time(1)  # it is not asked whether it still reads: that would come within the body
    if end == "stop":
        connection.close_if_idle()
        rig.shared.closing = True
    rig.loop.run_ready()
    assert not client.closing
    client.read_all()
    assert len(bodies(client)[0]) == size
    if end == "refuse":
        assert statuses(client) == [200, 400]
        rig.loop.pass_time(LINGER_S)
    if end != "stop":
        assert is_closed(rig, client)


def test_the_rest_of_a_large_body_is_dropped_with_its_client() -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (3 * SLICE_BYTES)))
    assert rig.shared.unsent_bytes == 3 * SLICE_BYTES
    client.lose()
    assert rig.shared.unsent_bytes == 0


def test_a_client_that_reads_a_large_body_slowly_has_its_time() -> None:
    rig = Rig(send_s=4, keep_alive_s=1)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (2 * SLICE_BYTES)))
    left = client.get_write_buffer_size()
    for _ in range(10):
        rig.sweep(3)
        left -= 1
        client.read_down_to(left)
    rig.sweep(4)
    assert not client.aborted
    rig.sweep(4 + LATER)
    assert client.aborted


# ------------------------------------------------------------------------------------------ what nobody reads, in total

MOST = 1_000_000


def test_while_too_much_is_unsent_nobody_gets_answers_made() -> None:
    rig = Rig(max_unsent_bytes=MOST)
    greedy, other = rig.connect(), rig.connect()
    greedy.client_reads = False
    other.receive(get(b"/wait/before"))
    greedy.receive(get(b"/big/%d" % (MOST + 1)))
    assert rig.shared.unsent_bytes > MOST
    other.receive(get(b"/wait/after") + get(b"/now"))
    assert rig.begun[-1] == b"/now", "what need not wait is answered"
    assert statuses(other) == []
    rig.finish(b"/wait/before")
    assert statuses(other) == [503, 503, 200]
    assert rig.left == []
    assert {str(error) for _, error in rig.failures} == {"Service Unavailable: too many bytes of answers are unsent"}
    assert rig.shared.in_flight == 0
    greedy.read_all()
    assert rig.shared.unsent_bytes == 0
    other.receive(get(b"/wait/again"))
    rig.finish(b"/wait/again")
    assert statuses(other)[3:] == [200]


def test_an_error_is_answered_however_much_is_unsent() -> None:
    rig = Rig(max_unsent_bytes=MOST)
    greedy, other = rig.connect(), rig.connect()
    greedy.client_reads = False
    other.receive(get(b"/wait/1") + get(b"/wait/2"))
    greedy.receive(get(b"/big/%d" % (MOST + 1)))
    rig.waiting[b"/wait/1"].set_exception(KeyError("from the store"))
    rig.waiting[b"/wait/2"].cancel()
    rig.loop.run_ready()
    assert statuses(other) == [500, 500]
    assert [type(error) for _, error in rig.failures] == [KeyError, asyncio.CancelledError]


def test_one_client_may_have_a_quarter_of_what_may_be_unsent() -> None:
    """And one answer more: how large it is becomes known when it is made."""
    rig = Rig(max_unsent_bytes=MOST)
    client, other = rig.connect(), rig.connect()
    client.receive(get(b"/wait/0"))
    client.receive(b"".join(get(b"/wait/%d" % number) for number in range(1, 6)))
    other.receive(get(b"/wait/other"))
    for number in range(1, 6):
        rig.finish(b"/wait/%d" % number, b"x" * (MOST // 5))
    rig.finish(b"/wait/other")
    assert statuses(other) == [200]
    rig.finish(b"/wait/0")
    assert statuses(client) == [200, 200, 200, 503, 503, 503]


def test_with_too_much_unsent_those_are_cut_off_that_read_too_slowly_the_largest_first() -> None:
    rig = Rig(max_unsent_bytes=MOST, send_s=30)
    sizes = [MOST // 2, MOST // 4, MOST // 2 + 1, MOST // 8]
    clients = [rig.connect() for _ in sizes]
    reader = rig.connect()
    for client in (*clients, reader):
        client.client_reads = False
    reader.receive(get(b"/big/%d" % (2 * SLICE_BYTES)))
    for size, client in zip(sizes, clients, strict=True):
        client.receive(get(b"/big/%d" % size))
    rig.sweep(1)
    assert not any(client.aborted for client in clients), "they have just got it"
    reader.read_down_to(reader.get_write_buffer_size() - SLICE_BYTES // 10)
    rig.sweep(1)
    assert [client.aborted for client in clients] == [True, False, True, False]
    assert not reader.aborted
    rig.sweep(1)
    assert [client.aborted for client in clients] == [True, False, True, False], "there is room again"
    assert 0 < rig.shared.unsent_bytes <= MOST


@pytest.mark.parametrize(("per_second", "cut_off"), [(20_000, False), (15_000, True)])
def test_the_pace_of_a_reader_is_measured_by_all_that_it_has_to_read(per_second: int, cut_off: bool) -> None:
    """Also what the transport had no room for: 524,288 bytes in 30 s are 17,476 in one."""
    rig = Rig(max_unsent_bytes=2 * SLICE_BYTES - 1, send_s=30)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (2 * SLICE_BYTES)))
    rig.sweep(1)
    client.read_down_to(client.get_write_buffer_size() - per_second)
    rig.sweep(1)
    assert client.aborted is cut_off


def test_a_client_that_has_read_one_answer_and_gets_another_is_not_too_slow() -> None:
    """There is more unsent than a second ago, though it has read all that there was."""
    rig = Rig(max_unsent_bytes=MOST)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/1000"))
    rig.sweep(1)
    client.read_all()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (MOST + 1)))
    rig.sweep(1)
    assert not client.aborted
    rig.sweep(1)
    assert client.aborted


def test_what_a_transport_cannot_send_is_counted_whenever_it_says_so() -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    client.write(b"x" * 1000)
    client.get_protocol().pause_writing()
    assert rig.shared.unsent_bytes == 1000


def test_what_a_transport_holds_below_its_mark_is_counted_by_the_sweep() -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/1000"))
    assert rig.shared.unsent_bytes == 0
    rig.sweep(1)
    assert rig.shared.unsent_bytes == client.get_write_buffer_size() > 1000
    client.read_all()
    client.receive(get(b"/a"))
    assert rig.shared.unsent_bytes == 0


def test_over_tls_what_is_encrypted_and_not_sent_is_counted_and_no_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop's TLS transport denies it: what it has encrypted lies in the transport of the socket."""
    rig = Rig(send_s=4, keep_alive_s=1)
    below = FakeTransport(rig.loop)
    below.client_reads = False
    below.write(b"x" * 5_000)
    monkeypatch.setattr(answer_writer, "transport_below", lambda _: below)
    client = rig.connect(tls=True)
    client.receive(get(b"/big/1000"))
    assert client.get_write_buffer_size() == 0
    rig.sweep(1)
    assert rig.shared.unsent_bytes == 5_000
    rig.sweep(1 + LATER)
    assert not client.closing
    monkeypatch.setattr(below, "get_write_buffer_size", lambda: 0)
    rig.sweep(LATER)
    assert rig.shared.unsent_bytes == 0
    rig.sweep(1 + LATER)
    assert client.closing


def test_a_request_under_way_when_the_client_stops_reading_is_answered() -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/wait"))
    client.receive(get(b"/big/%d" % (FakeTransport.HIGH + 1)))
    rig.finish(b"/wait")
    assert not client.reading
    client.read_all()
    assert client.reading
    assert len(answers(client)) == 2
    client.receive(get(b"/a"))
    assert bodies(client)[2] == b"/a"


def test_one_request_that_comes_while_the_client_does_not_read_waits() -> None:
    """It came in the moment in which reading stopped: uvloop may still have it."""
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (FakeTransport.HIGH + 1)))
    client.get_protocol().data_received(get(b"/late"))  # type: ignore[attr-defined]
    assert rig.begun == [b"/big/%d" % (FakeTransport.HIGH + 1)]
    client.read_all()
    assert rig.begun[1:] == [b"/late"]


# ----------------------------------------------------------------------------------------------------- the client's end


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_client_that_leaves_takes_its_requests_along_and_nobody_elses(error: Exception | None) -> None:
    rig = Rig(max_pipelined=2)
    client, other = rig.connect(), rig.connect()
    other.receive(get(b"/wait/other"))
    client.receive(get(b"/wait/1") + get(b"/wait/2") + get(b"/wait/never"))
    assert rig.shared.in_flight == 3
    client.lose(error)
    assert rig.left == [b"/wait/1", b"/wait/2"]
    assert rig.shared.in_flight == 1
    assert {transport.get_protocol() for transport in (other,)} == rig.shared.open
    # What they waited for is given up: a store sends no more of it.
    assert rig.waiting[b"/wait/1"].cancelled()
    assert rig.waiting[b"/wait/2"].cancelled()
    assert not rig.waiting[b"/wait/other"].done()
    rig.loop.run_ready()
    assert client.writes == []
    assert rig.begun == [b"/wait/other", b"/wait/1", b"/wait/2"]
    rig.finish(b"/wait/other")
    assert statuses(other) == [200]
    assert rig.shared.in_flight == 0


@pytest.mark.parametrize("error", [None, KeyError("in the same turn")])
def test_what_a_client_that_leaves_waited_for_may_have_come_in_the_same_turn(error: Exception | None) -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait"))
    if error is None:
        rig.waiting[b"/wait"].set_result(b"too late")
    else:
        rig.waiting[b"/wait"].set_exception(error)
    client.lose()
    rig.loop.run_ready()
    assert rig.left == [b"/wait"]
    assert client.writes == []
    assert rig.shared.in_flight == 0
    rig.waiting.clear()
    assert rig.loop.blamed == [], "the error was retrieved, although the client has left"


def test_what_a_client_that_left_waited_for_may_have_failed_in_the_same_turn() -> None:
    """Nobody looks at the error any more, and asyncio does not log that nobody did."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait"))
    failed = rig.waiting.pop(b"/wait")
    failed.set_exception(KeyError("from the store"))
    client.lose()
    rig.loop.run_ready()
    assert rig.left == [b"/wait"]
    assert rig.failures == []


def test_an_answer_to_a_client_that_is_leaving_is_not_written() -> None:
    """The transport knows before the protocol: FakeTransport fails the test for a write after close()."""
    rig = Rig(max_pipelined=2)
    client = rig.connect()
    client.receive(get(b"/wait/1") + get(b"/wait/2"))
    assert not client.reading
    client.closing = True
    rig.finish(b"/wait/1")
    rig.finish(b"/wait/2")
    assert client.writes == []
    assert not client.reading, "nor is it read"
    client.lose()
    assert rig.shared.in_flight == 0
    assert not rig.shared.open


def test_a_client_that_sends_no_more_gets_its_answer_and_then_the_end() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait"))
    client.receive_eof()
    assert not client.closing
    rig.finish(b"/wait")
    assert answers(client)[0].headers["connection"] == "close"
    assert is_closed(rig, client)


def test_a_client_that_sends_no_more_gets_all_its_answers() -> None:
    rig = Rig(max_pipelined=1)
    client = rig.connect()
    client.receive(get(b"/wait/1") + get(b"/wait/2"))
    client.reading = True  # as if the end had come in the same read as the requests
    client.receive_eof()
    assert not client.closing
    rig.finish(b"/wait/1")
    assert not client.closing
    rig.finish(b"/wait/2")
    first, second = answers(client)
    assert "connection" not in first.headers, "another answer follows"
    assert second.headers["connection"] == "close"
    assert is_closed(rig, client)


def test_a_client_that_sends_no_more_and_waits_for_nothing_is_closed() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/a") + b"GET /unfinished")
    client.receive_eof()
    assert is_closed(rig, client)
    assert len(answers(client)) == 1
    assert not rig.shared.open


def test_over_tls_a_client_that_sends_no_more_is_closed_whatever_it_waits_for() -> None:
    """asyncio has no TLS connection of which one half is closed."""
    rig = Rig()
    client = rig.connect(tls=True)
    client.receive(get(b"/wait"))
    client.receive_eof()
    assert rig.left == [b"/wait"], "at once: uvloop waits for what the client still has to read"
    rig.loop.run_ready()
    assert not rig.shared.open


def peer(*, reset: bool) -> tuple[Mapping[str, object], contextlib.ExitStack]:
    """The socket of a transport whose other side has reset the connection, or not. Closed with the stack."""
    stack = contextlib.ExitStack()
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    near = socket.create_connection(listener.getsockname())
    far = stack.enter_context(listener.accept()[0])
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    if reset:
        near.close()
        far.send(b"to a closed socket")
        eventually(lambda: True if select.select([], [], [far], 0)[2] or _is_reset(far) else None, "the reset")
    else:
        stack.callback(near.close)
    return {"socket": far}, stack


def _is_reset(connected: socket.socket) -> bool:
    tcp_close = 7  # the first byte of struct tcp_info is the state
    return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == tcp_close


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_has_closed_is_told_apart_from_one_that_still_reads(reset: bool) -> None:
    """By an interim response, which the kernel of the one resets, and the other skips."""
    extra, stack = peer(reset=reset)
    with stack:
        rig = Rig()
        client = rig.connect(extra=extra)
        client.receive(get(b"/wait"))
        client.receive_eof()
        rig.loop.pass_time(PROBE_S - LATER)
        assert client.writes == [], "whoever is answered at once sees nothing of it"
        rig.loop.pass_time(2 * LATER)
        assert client.writes == [CONTINUE]
        rig.loop.pass_time(PROBE_S)
        assert client.aborted is reset
        assert rig.left == ([b"/wait"] if reset else [])
        assert rig.shared.in_flight == (0 if reset else 1)
        if not reset:
            rig.loop.pass_time(5)
            rig.finish(b"/wait")
            assert statuses(client) == [100, 200], "it is asked once"
            assert is_closed(rig, client)
        rig.loop.pass_time(PROBE_S)
        assert rig.loop.timers == []


def test_a_client_that_sends_no_more_is_asked_after_a_fifth_of_a_second() -> None:
    """docs/reliability.md says when."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait"))
    client.receive_eof()
    rig.loop.pass_time(0.201)
    assert client.writes == [CONTINUE]
    rig.finish(b"/wait")


def test_a_client_is_not_asked_within_an_answer_whether_it_still_reads() -> None:
    """What it reads slowly is a large body, and "100 Continue" would come between two slices of that."""
    extra, stack = peer(reset=False)
    with stack:
        rig = Rig()
        client = rig.connect(extra=extra)
        client.receive(get(b"/wait/1") + get(b"/wait/2"))
        client.receive_eof()
        client.client_reads = False
        rig.finish(b"/wait/1", b"x" * (2 * SLICE_BYTES))
        rig.loop.pass_time(1)
        client.read_all()
        assert bodies(client) == [b"x" * (2 * SLICE_BYTES)]
        rig.loop.pass_time(PROBE_S)
        rig.finish(b"/wait/2")
        assert statuses(client) == [200, 100, 200], "it is asked behind the body"
        assert is_closed(rig, client)


def test_a_client_that_is_leaving_is_not_asked_whether_it_still_reads() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait"))
    client.receive_eof()
    client.closing = True
    rig.loop.pass_time(1)
    assert client.writes == []
    assert rig.loop.timers == []


def test_a_client_of_http_1_0_is_not_asked_whether_it_has_left() -> None:
    """RFC 9110 15.2: it knows no interim responses."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait").replace(b"1.1", b"1.0"))
    client.receive_eof()
    rig.loop.pass_time(1)
    assert client.writes == []
    rig.finish(b"/wait")
    assert statuses(client) == [200]
    assert is_closed(rig, client)


@pytest.mark.parametrize("line", [b"X: y", b"Connection: close"])
def test_a_client_that_leaves_is_noticed_also_after_its_last_request(line: bytes) -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait", line))
    assert client.reading


def test_a_client_of_http_1_0_is_told_that_its_connection_stays() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/a", b"Connection: keep-alive").replace(b"1.1", b"1.0"))
    client.receive(get(b"/b").replace(b"1.1", b"1.0"))
    assert [answer.headers["connection"] for answer in answers(client)] == ["keep-alive", "close"]
    assert is_closed(rig, client)


def test_a_connection_that_has_ended_is_freed_at_once() -> None:
    """Without the cycle collector: a reload freezes what it would have to look at."""
    rig = Rig()
    gone = []
    gc.collect()
    gc.disable()
    try:
        for data in (get(b"/a"), get(b"/a")[:-1], b"\x00", get(b"/wait"), get(b"/fail")):
            client = rig.connect()
            client.receive(data)
            gone.append(weakref.ref(client.get_protocol()))
            client.lose()
            rig.loop.run_ready()  # what it waited for was cancelled, and says so in the next iteration
            rig.waiting.clear()
            rig.failures.clear()
            rig.loop = FakeLoop()  # and its timers, such as that of the lingering one
            del client
        assert [ref() for ref in gone] == [None] * len(gone)
    finally:
        gc.enable()


def test_over_tls_a_connection_that_has_ended_is_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the transport of the socket, uvloop's references lead back to the connection that uses it."""
    rig = Rig()
    below = FakeTransport(rig.loop)
    monkeypatch.setattr(answer_writer, "transport_below", lambda _, below=below: below)
    client = rig.connect(tls=True)
    monkeypatch.undo()  # which would hold it
    below.set_protocol(client.get_protocol())
    gone = weakref.ref(client.get_protocol())
    client.receive(get(b"/a"))
    gc.collect()
    gc.disable()
    try:
        client.lose()
        del below
        assert gone() is None
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------------------------------- the last


@pytest.mark.parametrize("follows", [b"", get(b"/never"), b"\x00 no HTTP", b"GET /unfinished"])
@pytest.mark.parametrize("path", [b"/a", b"/wait"])
def test_the_last_request_of_a_client_is_answered_and_nothing_after_it(path: bytes, follows: bytes) -> None:
    """RFC 9112 9.6: what follows is not looked at, nor are we to complain of it."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/before") + get(path, b"Connection: close") + follows)
    if path == b"/wait":
        assert not client.closing
        rig.finish(path)
    first, last = answers(client)
    assert "connection" not in first.headers
    assert last.headers["connection"] == "close"
    assert is_closed(rig, client)
    assert not client.eof_written
    assert rig.begun == [b"/before", path]
    assert rig.failures == []


def test_what_comes_after_the_last_request_is_not_read() -> None:
    """Nor more of it than shows that it comes. Until then reading goes on, for it shows that a client leaves."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait", b"Connection: close"))
    assert client.reading
    client.receive(b"\x00 no HTTP" + get(b"/never"))
    assert not client.reading
    rig.finish(b"/wait")
    assert statuses(client) == [200]
    assert is_closed(rig, client)


# --------------------------------------------------------------------------------------------------- what is no request


def test_bytes_that_are_no_request_are_answered_in_their_turn_and_the_connection_closed_with_care() -> None:
    """Closing with bytes unread would reset the connection, and the answer could be lost (RFC 9112 9.6)."""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait", b"X-Request-Id: a") + get(b"/b") + b"\x00 no HTTP")
    assert client.writes == []
    assert not client.reading, "what follows bytes that are no request is none either"
    rig.finish(b"/wait")
    assert [(answer.status, answer.headers.get("connection")) for answer in answers(client)] == [
        *((200, None), (200, None), (400, "close"))
    ]
    assert client.eof_written
    assert not client.closing
    client.receive(b"still sending" * 1000)
    client.receive(get(b"/never"))
    rig.loop.pass_time(LINGER_S - LATER)
    assert not client.closing
    rig.loop.pass_time(2 * LATER)
    assert is_closed(rig, client)
    assert len(answers(client)) == 3
    assert rig.begun == [b"/wait", b"/b"]


def test_one_request_and_then_bytes_that_are_none() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait") + b"\x00 no HTTP")
    assert not client.reading
    rig.finish(b"/wait")
    assert statuses(client) == [200, 400]


def test_what_is_no_request_has_neither_method_nor_target() -> None:
    """`failed` gets a request all the same: by these, the log and the spans know that it is none."""
    rig = Rig()
    asked: list[Request] = []

    def failed(error: BaseException, request: Request) -> Response:
        asked.append(request)
        return Response(400)

    rig.shared.failed = failed
    rig.connect().receive(b"\x00 no HTTP")
    assert asked == [Request(b"", b"", b"", False)]


def test_a_request_whose_head_is_refused_is_called_what_it_says_itself() -> None:
    rig = Rig(max_body_bytes=10)
    client = rig.connect()
    client.receive(get(b"/a", b"X-Request-Id: first"))
    client.receive(get(b"/b", b"X-Request-Id: second", b"Content-Length: 11", method=b"POST"))
    first, second = answers(client)
    assert (first.status, first.headers["x-request-id"]) == (200, "first")
    assert (second.status, second.headers["x-request-id"]) == (413, "second")


@pytest.mark.parametrize(
    ("setting", "data", "status"),
    [
        ("max_body_bytes", post(b"/a", b"x" * 500), 413),
        ("max_header_bytes", get(b"/a", b"X: " + b"a" * 500), 431),
        ("max_target_bytes", get(b"/" + b"a" * 500), 414),
    ],
)
def test_the_limits_of_a_request_are_those_of_the_configuration(setting: str, data: bytes, status: int) -> None:
    for limit, expected in ((400, status), (600, 200)):
        client = Rig(**{setting: limit}).connect()
        client.receive(data)
        assert statuses(client) == [expected]


def test_a_request_has_all_its_headers_if_its_target_begins_as_some_that_need_them() -> None:
    rig = Rig()
    asked: list[Request] = []

    def handle(request: Request) -> Response:
        asked.append(request)
        return Response(200)

    rig.shared.handle = handle
    rig.shared.kept_for = (b"/kept",)
    client = rig.connect()
    client.receive(get(b"/kept/a", b"X-Mine: 1") + get(b"/other", b"X-Mine: 1"))
    assert [dict(request.headers or ()).get(b"x-mine") for request in asked] == [b"1", None]


def test_over_tls_there_is_no_half_of_a_connection_to_close() -> None:
    rig = Rig()
    client = rig.connect(tls=True)
    client.receive(b"\x00 no HTTP")
    assert statuses(client) == [400]
    assert not client.closing
    rig.loop.pass_time(LINGER_S + LATER)
    assert is_closed(rig, client)


@pytest.mark.parametrize(("data", "refused_after"), [(b"\x00 no HTTP", 0), (b"GET /unfinished", 1 + LATER)])
def test_no_other_deadline_cuts_a_refused_client_short(data: bytes, refused_after: float) -> None:
    rig = Rig(keep_alive_s=1, header_s=1)
    client = rig.connect()
    client.receive(data)
    rig.sweep(1 + LATER)
    assert len(answers(client)) == 1
    rig.sweep(refused_after + LINGER_S - 1 - 2 * LATER)
    assert not client.closing
    assert len(answers(client)) == 1
    rig.sweep(2 * LATER)
    assert is_closed(rig, client)


def test_over_tls_an_idle_client_that_never_closes_its_half_is_cut_off() -> None:
    """uvloop would wait for its close_notify."""
    rig = Rig(send_s=4, keep_alive_s=1)
    client = rig.connect(tls=True)
    client.waits_to_close = True
    rig.sweep(1 + LATER)
    assert client.closing
    rig.sweep(4)
    assert not client.aborted
    rig.sweep(LATER)
    assert client.aborted


@pytest.mark.parametrize("how", ["eof", "stop"])
def test_over_tls_the_time_to_close_begins_when_the_connection_ends(how: str) -> None:
    """It was idle before for longer than a client has to close its half."""
    rig = Rig(send_s=4, keep_alive_s=60)
    client = rig.connect(tls=True)
    client.waits_to_close = True
    rig.sweep(10)
    if how == "eof":
        client.receive_eof()
    else:
        client.get_protocol().close_if_idle()  # type: ignore[attr-defined]
    assert client.closing
    rig.sweep(4)
    assert not client.aborted
    rig.sweep(LATER)
    assert client.aborted


def test_over_tls_a_refused_client_that_never_closes_its_half_is_cut_off() -> None:
    """It may be one of too many connections, which have no deadlines but these."""
    rig = Rig(max_connections=1)
    rig.connect()
    client = rig.connect(tls=True)
    client.waits_to_close = True
    client.receive(get(b"/never"))
    assert statuses(client) == [503]
    rig.loop.pass_time(LINGER_S + LATER)
    assert client.closing
    assert not client.aborted
    rig.loop.pass_time(LINGER_S)
    assert client.aborted
    assert not rig.shared.surplus


def test_a_refused_client_that_has_left_is_not_waited_for() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait") + b"\x00 no HTTP")
    client.closing = True
    rig.finish(b"/wait")
    assert client.writes == []
    assert rig.loop.timers == []


def test_a_refusal_behind_more_requests_than_may_be_under_way_comes_last() -> None:
    rig = Rig(max_pipelined=1)
    client = rig.connect()
    client.receive(get(b"/wait/1") + get(b"/wait/2") + b"\x00 no HTTP")
    rig.finish(b"/wait/1")
    assert statuses(client) == [200]
    rig.finish(b"/wait/2")
    assert statuses(client) == [200, 200, 400]


# --------------------------------------------------------------------------------------------------------- 100-continue

EXPECTS = get(b"/a", b"Expect: 100-continue", b"Content-Length: 4", method=b"POST")


def test_a_client_that_waits_for_it_is_told_to_go_on_once() -> None:
    rig = Rig()
    client = rig.connect()
    for byte in EXPECTS:
        assert client.writes == []
        client.receive(bytes([byte]))
    assert client.writes == [CONTINUE]
    for byte in b"body":
        client.receive(bytes([byte]))
    assert [(answer.status, answer.body) for answer in answers(client)] == [(100, b""), (200, b"/abody")]


def test_a_client_that_has_sent_its_body_is_not_told_to_send_it() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(EXPECTS + b"body")
    assert statuses(client) == [200]


def test_a_client_that_was_told_to_go_on_is_not_told_again_when_it_catches_up() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/big/10000"))
    head = len(client.received) - 10_000
    client.received.clear()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (FakeTransport.HIGH - head)))
    assert client.reading
    client.receive(EXPECTS)
    assert not client.reading, "CONTINUE was too much for it"
    client.read_all()
    assert statuses(client) == [200, 100]
    client.receive(b"body")
    assert statuses(client) == [200, 100, 200]


@pytest.mark.parametrize("together", [True, False])
def test_a_client_is_told_to_go_on_after_the_answers_before(together: bool) -> None:
    """RFC 9110 15.2: an interim response belongs to the request that is next."""
    rig = Rig(max_pipelined=1)
    client = rig.connect()
    if together:
        client.receive(get(b"/wait/1") + get(b"/wait/2") + EXPECTS)
    else:
        rig.shared.max_pipelined = 3
        for data in (get(b"/wait/1"), get(b"/wait/2"), EXPECTS):
            client.receive(data)
    assert client.writes == []
    rig.finish(b"/wait/1")
    assert statuses(client) == [200]
    rig.finish(b"/wait/2")
    assert statuses(client) == [200, 200, 100]
    client.receive(b"body")
    assert statuses(client) == [200, 200, 100, 200]


def test_a_client_whose_answer_was_the_last_is_not_told_to_go_on() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait") + EXPECTS)
    rig.shared.closing = True
    rig.finish(b"/wait")
    assert statuses(client) == [200]
    assert is_closed(rig, client)


# --------------------------------------------------------------------------------------------------------------- limits


def test_a_request_too_many_is_refused_and_the_connection_stays() -> None:
    rig = Rig(max_in_flight=2)
    client, other = rig.connect(), rig.connect()
    client.receive(get(b"/wait/1"))
    client.receive(get(b"/wait/2"))
    other.receive(get(b"/wait/3") + get(b"/now"))
    assert statuses(other) == [503, 200], "what need not wait is answered"
    assert [(url, str(error)) for url, error in rig.failures] == [
        (b"/wait/3", "Service Unavailable: too many requests in flight")
    ]
    assert b"/wait/3" not in rig.waiting
    assert rig.shared.in_flight == 2
    rig.finish(b"/wait/1")
    other.receive(get(b"/wait/3"))
    rig.finish(b"/wait/3")
    assert statuses(other) == [503, 200, 200]


def test_a_connection_too_many_is_told_so_and_closed() -> None:
    rig = Rig(max_connections=2)
    first, second = rig.connect(), rig.connect()
    third = rig.connect()
    assert third.writes == [], "an answer to nothing would be garbage to its client"
    third.receive(get(b"/never", b"X-Request-Id: mine")[:-2])
    assert third.writes == []
    third.receive(b"\r\n")
    assert statuses(third) == [503]
    assert answers(third)[0].headers["x-request-id"] == "mine"
    assert answers(third)[0].headers["connection"] == "close"
    assert [(url, str(error)) for url, error in rig.failures] == [
        (b"/never", "Service Unavailable: too many connections")
    ]
    assert third.eof_written
    third.receive(get(b"/never"))
    assert rig.begun == []
    assert (len(rig.shared.open), len(rig.shared.surplus)) == (2, 1)
    rig.loop.pass_time(LINGER_S + LATER)
    assert is_closed(rig, third)
    assert (len(rig.shared.open), len(rig.shared.surplus)) == (2, 0)
    first.lose()
    fourth = rig.connect()
    fourth.receive(get(b"/a"))
    second.receive(get(b"/b"))
    assert (bodies(fourth), bodies(second)) == ([b"/a"], [b"/b"])


def test_the_first_of_several_requests_on_a_connection_too_many_is_answered() -> None:
    rig = Rig(max_connections=2)
    _, _, head, pipelined = [rig.connect() for _ in range(4)]
    head.receive(get(b"/never", method=b"HEAD"))
    assert [(answer.status, answer.body) for answer in answers(head, heads=True)] == [(503, b"")]
    pipelined.receive(get(b"/never/1") + get(b"/never/2"))
    assert statuses(pipelined) == [503]
    assert rig.begun == []


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
def test_the_body_of_a_request_on_a_connection_too_many_need_not_come(expects: bytes) -> None:
    rig = Rig(max_connections=1)
    rig.connect()
    client = rig.connect()
    client.receive(b"POST /never HTTP/1.1\r\nHost: a\r\n" + expects + b"Content-Length: 8000000\r\n\r\n")
    assert statuses(client) == [503]


def test_what_is_no_request_on_a_connection_too_many_is_refused_as_such() -> None:
    rig = Rig(max_connections=1)
    rig.connect()
    client = rig.connect()
    client.receive(b"\x00 no HTTP")
    assert statuses(client) == [400]


@pytest.mark.parametrize("sent", [0, 1, 20])
def test_a_connection_too_many_is_served_if_there_is_room_when_it_asks(sent: int) -> None:
    """A pool connects before it has something to ask."""
    rig = Rig(max_connections=1)
    first = rig.connect()
    second = rig.connect()
    second.receive(get(b"/a")[:sent]) if sent else None
    first.lose()
    third = rig.connect()
    third.lose()
    second.receive(get(b"/a")[sent:])
    second.receive(get(b"/b"))
    assert bodies(second) == [b"/a", b"/b"]
    assert (len(rig.shared.open), len(rig.shared.surplus)) == (1, 0)
    fourth = rig.connect()
    fourth.receive(get(b"/c"))
    assert statuses(fourth) == [503]
    assert not is_closed(rig, second)


def test_a_server_that_stops_serves_no_connection_too_many() -> None:
    rig = Rig(max_connections=1)
    first, second = rig.connect(), rig.connect()
    first.lose()
    rig.shared.closing = True
    second.receive(get(b"/never"))
    assert statuses(second) == [503]


@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_too_many_that_asks_nothing_is_closed_without_an_answer(tls: bool) -> None:
    rig = Rig(max_connections=2, header_s=2, keep_alive_s=60)
    _, _, silent, slow = [rig.connect(tls=tls) for _ in range(4)]
    silent.waits_to_close = tls
    slow.receive(b"GET / HTTP/1.1")
    rig.sweep(2)
    assert [silent.closing, slow.closing] == [False, False]
    rig.sweep(LATER)
    assert silent.closing
    assert silent.writes == []
    assert statuses(slow) == [503]
    rig.sweep(10)
    assert slow.closing
    assert not rig.shared.surplus


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1"])
def test_the_time_of_a_connection_too_many_begins_after_its_handshake(sent: bytes) -> None:
    """uvloop makes the protocol first, and the TLS handshake may take as long as --header-timeout."""
    rig = Rig(max_connections=1, header_s=2)
    rig.connect()
    client = FakeTransport(rig.loop, tls=True)
    connection = Connection(rig.shared, rig.loop.abstract)
    rig.loop.pass_time(1.5)
    client.connect(connection)
    if sent:
        client.receive(sent)
    rig.sweep(2)
    assert not client.closing
    assert client.writes == []
    rig.sweep(LATER)
    assert client.aborted or statuses(client) == [503]


def test_a_connection_too_many_is_refused_once() -> None:
    """The sweep comes again before the connection is closed, while the rest of its request is dropped."""
    rig = Rig(max_connections=1, header_s=1)
    rig.connect()
    client = rig.connect()
    client.receive(b"GET / HTTP/1.1")
    for _ in range(2):
        rig.sweep(1 + LATER / 2)
        rig.shared.sweep(rig.loop.time())
        assert statuses(client) == [503]
        assert not client.aborted
    assert len(rig.failures) == 1
    rig.loop.pass_time(LINGER_S)
    assert is_closed(rig, client)


def test_a_connection_too_many_whose_client_leaves_is_forgotten() -> None:
    rig = Rig(max_connections=1)
    rig.connect()
    for leaves in (FakeTransport.lose, FakeTransport.receive_eof):
        client = rig.connect()
        leaves(client)
        rig.loop.run_ready()
        assert not rig.shared.surplus
        assert client.writes == []


def test_as_many_connections_may_be_too_many_as_may_be_served() -> None:
    """One more ends the oldest of them: an honest client has asked and been answered by then."""
    rig = Rig(max_connections=2)
    for _ in range(2):
        rig.connect()
    surplus = [rig.connect() for _ in range(4)]
    assert [client.aborted for client in surplus] == [True, True, False, False]
    assert len(rig.shared.surplus) == 2
    surplus[0].get_protocol().data_received(get(b"/never"))  # type: ignore[attr-defined]
    rig.loop.run_ready()
    assert len(rig.shared.surplus) == 2
    for client in surplus[2:]:
        client.receive(get(b"/never"))
        assert statuses(client) == [503]
    assert rig.begun == []
    assert surplus[0].writes == []


# ------------------------------------------------------------------------------------------------------------ deadlines


def test_a_request_that_takes_too_long_gets_a_504_in_its_place() -> None:
    rig = Rig(request_ms=2000)
    client = rig.connect()
    client.receive(get(b"/wait/1"))
    rig.loop.pass_time(1)
    client.receive(get(b"/wait/2") + get(b"/3"))
    rig.sweep(1)
    assert client.writes == [], "it has just as long as it may take"
    rig.sweep(LATER)
    assert statuses(client) == [504]
    assert [(url, str(error)) for url, error in rig.failures] == [
        (b"/wait/1", "Gateway Timeout: the request took too long")
    ]
    assert rig.failures[0][1].__traceback__ is None
    assert rig.shared.in_flight == 1
    rig.finish(b"/wait/2")
    assert statuses(client) == [504, 200, 200]
    assert rig.waiting[b"/wait/1"].cancelled()
    assert rig.shared.in_flight == 0
    assert not is_closed(rig, client)


def test_a_request_with_a_time_of_its_own_may_take_longer() -> None:
    rig = Rig(request_ms=2000)
    rig.shared.has_own_timeout = lambda request: request.url == b"/wait/own"
    client, other = rig.connect(), rig.connect()
    client.receive(get(b"/wait/own"))
    other.receive(get(b"/wait/usual"))
    rig.sweep(3)
    assert statuses(other) == [504]
    assert client.writes == []
    rig.finish(b"/wait/own")
    assert statuses(client) == [200]


def test_a_request_that_is_answered_and_waits_for_its_turn_does_not_time_out() -> None:
    rig = Rig(request_ms=2000)
    client = rig.connect()
    client.receive(get(b"/wait/1"))
    client.receive(get(b"/wait/2"))
    rig.finish(b"/wait/2")
    rig.sweep(2 + LATER)
    assert statuses(client) == [504, 200]


def test_the_time_of_a_request_begins_when_it_is_begun() -> None:
    rig = Rig(request_ms=2000, max_pipelined=1)
    client = rig.connect()
    client.receive(get(b"/wait/1") + get(b"/wait/2"))
    rig.loop.pass_time(1.5)
    rig.finish(b"/wait/1")
    rig.sweep(2)
    assert statuses(client) == [200]
    rig.sweep(LATER)
    assert statuses(client) == [200, 504]


def test_a_client_that_names_milliseconds_means_them() -> None:
    """By a timer of its own: a sweep comes once a second."""
    rig = Rig(request_ms=2000)
    client = rig.connect()
    client.receive(get(b"/wait/1", b"X-Request-Timeout-Ms: 50"))
    client.receive(get(b"/wait/2", b"X-Request-Timeout-Ms: 80") + get(b"/3", b"X-Request-Timeout-Ms: 10"))
    rig.loop.pass_time(0.05 - LATER)
    assert client.writes == []
    rig.loop.pass_time(2 * LATER)
    assert statuses(client) == [504]
    assert rig.loop.timers == [pytest.approx(0.08 - 0.05 - LATER)]
    rig.finish(b"/wait/2")
    assert statuses(client) == [504, 200, 200]
    assert rig.loop.timers == [], "what is answered has no timer"
    rig.loop.pass_time(5)
    assert statuses(client) == [504, 200, 200]


@pytest.mark.parametrize("asked_ms", [0, 2000, 5000])
def test_a_client_can_only_ask_for_less_time(asked_ms: int) -> None:
    rig = Rig(request_ms=2000)
    client = rig.connect()
    client.receive(get(b"/wait", b"X-Request-Timeout-Ms: %d" % asked_ms))
    assert rig.loop.timers == []
    rig.sweep(2 + LATER)
    assert statuses(client) == [504]


def test_a_single_millisecond_can_be_asked_for() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait", b"X-Request-Timeout-Ms: 1"))
    rig.loop.pass_time(0.0011)
    assert statuses(client) == [504]


def test_a_coroutine_that_need_not_wait_has_no_timer() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/fail", b"X-Request-Timeout-Ms: 50"))
    assert rig.loop.timers == []


def test_a_client_that_leaves_has_no_timer() -> None:
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/wait", b"X-Request-Timeout-Ms: 50"))
    client.lose()
    assert rig.loop.timers == []


def test_a_handler_that_catches_its_timeout_gets_the_504_all_the_same() -> None:
    """The error is thrown into the coroutine, so that what accounts for the request sees why it ends."""
    rig = Rig()
    seen: list[str] = []

    async def stubborn(request: Request) -> Response:
        try:
            await rig.loop.create_future()
        except YummyError as error:
            seen.append(str(error))
            await rig.loop.create_future()
        return Response(200, b"never")

    rig.shared.handle = stubborn
    client = rig.connect()
    client.receive(get(b"/a", b"X-Request-Timeout-Ms: 50"))
    rig.loop.pass_time(0.1)
    assert seen == ["Gateway Timeout: the request took too long"]
    assert statuses(client) == [504]
    assert rig.shared.in_flight == 0


def test_a_handler_may_say_more_of_its_timeout() -> None:
    """Such as a push, whose rows may have been written."""
    rig = Rig(request_ms=1000)

    async def push(request: Request) -> Response:
        try:
            await rig.loop.create_future()
        except YummyError as error:
            raise LimitError(504, "some rows may have been written") from error
        return Response(200)

    rig.shared.handle = push
    client = rig.connect()
    client.receive(get(b"/a"))
    rig.sweep(1 + LATER)
    assert [(answer.status, answer.body) for answer in answers(client)] == [(504, b"some rows may have been written")]
    assert rig.failures[0][1].__traceback__ is None


@pytest.mark.parametrize("returns", [False, True])
def test_a_handler_that_fails_at_its_timeout_gets_the_504_all_the_same(returns: bool) -> None:
    """It raises something else, or returns although there is no answer to wait for any more."""
    rig = Rig(request_ms=1000)

    async def buggy(request: Request) -> Response:
        try:
            await rig.loop.create_future()
        except YummyError:
            if not returns:
                raise KeyError("a bug") from None
        return Response(200)

    rig.shared.handle = buggy
    client = rig.connect()
    client.receive(get(b"/a"))
    rig.sweep(1 + LATER)
    assert [(answer.status, answer.body) for answer in answers(client)] == [
        (504, b"Gateway Timeout: the request took too long")
    ]
    assert rig.shared.in_flight == 0
    assert not client.closing


def test_an_idle_connection_is_closed_without_a_word() -> None:
    rig = Rig(keep_alive_s=5, header_s=1, body_s=1)
    fresh, used = rig.connect(), rig.connect()
    rig.loop.pass_time(3)
    used.receive(get(b"/wait"))
    rig.loop.pass_time(1)
    rig.finish(b"/wait")  # its time begins with the end of the answer
    rig.sweep(1)
    assert not fresh.closing
    rig.sweep(LATER)
    assert is_closed(rig, fresh)
    rig.sweep(4 - LATER)
    assert not used.closing
    rig.sweep(LATER)
    assert is_closed(rig, used)
    assert (bytes(fresh.received), len(answers(used))) == (b"", 1)


def test_empty_lines_do_not_keep_a_connection() -> None:
    """RFC 9112 2.2 has them ignored before a request; they are none."""
    rig = Rig(keep_alive_s=5)
    client = rig.connect()
    for _ in range(5):
        rig.sweep(1)
        client.receive(b"\r\n")
    rig.sweep(LATER)
    assert is_closed(rig, client)


@pytest.mark.parametrize(
    ("start", "limit"),
    [
        (b"GET /a HT", "header_s"),
        (get(b"/a", b"Content-Length: 9", method=b"POST"), "body_s"),
        (get(b"/a", b"Transfer-Encoding: chunked", method=b"POST") + b"1\r\n", "body_s"),
    ],
)
def test_a_request_that_does_not_come_to_its_end_is_refused(start: bytes, limit: str) -> None:
    """A byte now and then does not help. The clock of a head or body begins with it."""
    rig = Rig(**{"keep_alive_s": 20, "header_s": 60, "body_s": 60, limit: 4})
    client = rig.connect()
    rig.sweep(19)
    client.receive(start)
    rig.sweep(2)
    client.receive(b"T" if limit == "header_s" else b"x" if b"Content-Length" in start else b"")
    rig.sweep(2)
    assert client.writes == []
    rig.sweep(LATER)
    assert statuses(client) == [408]
    assert answers(client)[0].headers["connection"] == "close"
    assert client.eof_written
    rig.sweep(1)
    assert len(answers(client)) == 1, "there is one refusal"
    rig.loop.pass_time(LINGER_S)
    assert is_closed(rig, client)


def test_the_body_has_time_of_its_own() -> None:
    rig = Rig(header_s=4, body_s=3)
    client = rig.connect()
    client.receive(b"POST /a HTTP/1.1\r\n")
    rig.sweep(4)
    client.receive(b"Host: a\r\nContent-Length: 4\r\n\r\n")
    rig.sweep(3)
    client.receive(b"body")
    assert statuses(client) == [200]


@pytest.mark.parametrize("rest", [b"", b"GET /unfinished"])
def test_a_sender_is_not_hurried_while_it_waits_for_us(rest: bytes) -> None:
    rig = Rig(keep_alive_s=2, header_s=2, max_pipelined=1)
    client = rig.connect()
    client.receive(get(b"/wait/1") + get(b"/wait/2") + rest)
    rig.sweep(10)
    rig.finish(b"/wait/1")
    rig.sweep(4)
    rig.finish(b"/wait/2")
    rig.sweep(2)
    assert len(answers(client)) == 2
    assert not client.closing
    rig.sweep(LATER)
    assert (statuses(client)[2:], is_closed(rig, client)) == (([408], False) if rest else ([], True))


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    rig = Rig(send_s=4, keep_alive_s=1)
    client = rig.connect()
    client.client_reads = False
    rig.loop.pass_time(1)
    client.receive(get(b"/big/1000"))
    rig.loop.pass_time(2)
    rig.sweep(0)  # its time begins when it is first seen not to have read
    rig.sweep(4)
    assert not client.aborted
    rig.sweep(LATER)
    assert client.aborted
    assert not rig.shared.open


def test_a_client_that_reads_slowly_is_not_cut_off() -> None:
    rig = Rig(send_s=4, keep_alive_s=1)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/20000"))
    left = client.get_write_buffer_size()
    for _ in range(10):
        rig.sweep(3)
        left -= 1
        client.read_down_to(left)
    rig.sweep(4)
    assert not client.aborted
    client.receive(get(b"/big/20000"))  # to be given more is not to read
    rig.sweep(4)
    assert not client.aborted
    rig.sweep(LATER)
    assert client.aborted


def test_a_client_that_reads_and_is_given_as_much_again_is_not_cut_off() -> None:
    """At each sweep as much is unsent as at the one before; but it has read on meanwhile."""
    rig = Rig(send_s=4)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (FakeTransport.HIGH + 1)) * 10)
    for begun in range(2, 10):
        rig.sweep(3)
        client.read_down_to(FakeTransport.LOW)
        assert len(rig.begun) == begun
    assert not client.aborted


def test_a_client_that_leaves_a_single_byte_is_cut_off() -> None:
    rig = Rig(send_s=4)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/a"))
    client.read_down_to(1)
    rig.sweep(0)
    rig.sweep(4)
    assert not client.aborted
    rig.sweep(LATER)
    assert client.aborted


def test_a_client_that_reads_on_after_a_pause_has_its_time_anew() -> None:
    rig = Rig(send_s=4, keep_alive_s=4)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/%d" % (FakeTransport.HIGH + 1)))
    rig.sweep(1)
    rig.loop.pass_time(3)
    client.read_all()
    rig.sweep(4)
    assert not client.closing
    rig.sweep(LATER)
    assert is_closed(rig, client)


def test_a_client_that_sends_no_more_and_reads_nothing_is_cut_off() -> None:
    rig = Rig(send_s=4)
    client = rig.connect()
    client.client_reads = False
    client.receive(get(b"/big/1000", b"Connection: close"))
    rig.loop.run_ready()
    assert rig.shared.open, "there is something that it has not read"
    rig.sweep(1)
    rig.sweep(4 + LATER)
    assert client.aborted
    assert not rig.shared.open


# ------------------------------------------------------------------------------------------------ the end of the server


def test_when_the_server_stops_an_answer_is_the_last_of_its_connection() -> None:
    rig = Rig(max_pipelined=1)
    client, idle = rig.connect(), rig.connect()
    client.receive(get(b"/wait/1") + get(b"/wait/2"))
    rig.shared.closing = True
    rig.finish(b"/wait/1")
    assert not client.closing
    rig.finish(b"/wait/2")
    first, second = answers(client)
    assert "connection" not in first.headers
    assert second.headers["connection"] == "close"
    assert is_closed(rig, client)
    assert not rig.shared.emptied.is_set()
    idle.receive(get(b"/a"))
    assert answers(idle)[0].headers["connection"] == "close"
    assert is_closed(rig, idle)
    assert rig.shared.emptied.is_set()


def test_when_the_server_stops_a_client_that_does_not_keep_up_gets_its_answers() -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    rig.shared.closing = True
    client.receive(get(b"/big/%d" % (FakeTransport.HIGH + 1)) + get(b"/a"))
    assert not client.closing
    client.read_all()
    first, second = answers(client)
    assert "connection" not in first.headers
    assert (second.body, second.headers["connection"]) == (b"/a", "close")
    assert is_closed(rig, client)


def test_the_last_connection_that_ends_says_so_if_the_server_stops() -> None:
    rig = Rig(max_connections=1)
    client = rig.connect()
    client.lose()
    assert not rig.shared.emptied.is_set()
    client, refused = rig.connect(), rig.connect()
    rig.shared.closing = True
    client.lose()
    assert rig.shared.emptied.is_set()
    refused.lose()


@pytest.mark.parametrize(
    ("data", "closes", "busy"),
    [
        (b"", True, False),
        (get(b"/a"), True, False),
        (get(b"/wait"), False, True),
        (get(b"/a") + b"GET", False, False),
        (EXPECTS, False, False),
    ],
)
def test_idle_connections_close_when_they_are_asked_to(data: bytes, closes: bool, busy: bool) -> None:
    rig = Rig()
    client = rig.connect()
    connection: Any = client.get_protocol()
    if data:
        client.receive(data)
    assert connection.busy is busy
    connection.close_if_idle()
    assert is_closed(rig, client) is closes
    connection.abort()
    rig.loop.run_ready()
    assert client.aborted
    assert not rig.shared.open
    assert rig.shared.in_flight == 0


def test_requests_that_are_not_begun_yet_keep_a_connection() -> None:
    rig = Rig()
    client = rig.connect()
    client.client_reads = False
    connection: Any = client.get_protocol()
    client.receive(get(b"/big/%d" % (FakeTransport.HIGH + 1)) + get(b"/a"))
    assert connection.busy
    connection.close_if_idle()
    assert not client.closing
    client.read_all()
    assert not connection.busy


def test_a_sweep_survives_what_it_closes() -> None:
    """Connections leave the set that it goes through."""
    rig = Rig(keep_alive_s=1, request_ms=100)
    clients = [rig.connect() for _ in range(5)]
    clients[2].receive(get(b"/wait", b"Connection: close"))
    rig.sweep(5)
    assert all(is_closed(rig, client) for client in clients)
    assert statuses(clients[2]) == [504]
    assert not rig.shared.open


def test_a_request_without_a_name_has_no_lines_for_it() -> None:
    """A wish for times alone is no name."""
    assert Trace(b"", b"", True).head_lines() == b""
    rig = Rig()
    client = rig.connect()
    client.receive(get(b"/a", b"X-Server-Timing: 1"))
    assert sorted(answers(client)[0].headers) == ["content-length", "content-type", "date"]
