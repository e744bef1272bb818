"""Every limit of docs/reliability.md on a real process: what is too much, too slow or too long gets its status, and the
others are served meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Client, Proxy, Server, Valkey, eventually, features_request, repository, request

SLACK_S = 10.0
"""How much later than its time a deadline may come on a busy machine."""


@contextlib.contextmanager
def slow_server(folder: Path, valkey: Valkey, *flags: str) -> Iterator[tuple[Server, Proxy]]:
    """A server whose Redis answers when the test lets it."""
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 20_000}
        repository(folder, "redis", f"127.0.0.1:{proxy.port}", settings=settings)
        with Server(folder, *flags) as server:
            yield server, proxy


def resident_bytes(server: Server) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


# ------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("in_pieces", [False, True])
def test_sizes(corpus: Path, in_pieces: bool) -> None:
    flags = ("--max-header-bytes", "500", "--max-target-bytes", "100", "--max-body-bytes", "1000")
    post = b"POST /health HTTP/1.1\r\nHost: a\r\n"
    cases = [
        (b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % b"/health?".ljust(100, b"a"), 200),
        (b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % b"/health?".ljust(101, b"a"), 414),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * 450), 200),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * 500), 431),
        (b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 150 + b"\r\n", 431),
        (post + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000, 200),
        (post + b"Content-Length: 1001\r\n\r\n", 413),
        (post + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"a" * 1000 + b"\r\n0\r\n\r\n", 200),
        (post + b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + b"a" * 500 + b"\r\n1f5\r\n" + b"a" * 501, 413),
    ]
    with Server(corpus, *flags) as server:
        for data, status in cases:
            with server.client() as client:
                client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for place in range(0, len(data), 7 if in_pieces else len(data)):
                    client.send(data[place : place + 7] if in_pieces else data)
                assert client.answer().status == status, data
                if status != 200:
                    assert client.rest() == b""


def test_cells(corpus: Path) -> None:
    """Rows x features; the connection goes on."""
    features = ["driver_stats:trips", "driver_stats:rank"]
    with Server(corpus, "--max-cells", "20") as server, server.client() as client:
        for rows, status in ((10, 200), (11, 413), (10, 200)):
            answer = client.ask(
                "/get-online-features", {"features": features, "entities": {"driver_id": [1001] * rows}}
            )
            assert answer.status == status, answer
            if status == 413:
                assert answer.json == {"detail": "Content Too Large: the limit is 20 rows x features"}


def test_rows(server: Server) -> None:
    """Counted before they are converted. The connection goes on."""
    with server.client() as client:
        for rows, status in ((100_001, 413), (100_000, 200), (1, 200)):
            body = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1002] * rows}}
            answer = client.ask("/get-online-features", body)
            assert answer.status == status, answer.body[:200]
            if status == 413:
                assert answer.json == {"detail": "Content Too Large: the limit is 100000 entity rows"}


# --------------------------------------------------------------------------------------------------- slow to send


def test_slow_senders(corpus: Path) -> None:
    """Slowloris. One who never says a thing is left without an answer; a byte now and then does not help the others."""
    flags = ("--header-timeout", "1", "--body-timeout", "1", "--keep-alive-timeout", "2")
    with Server(corpus, *flags) as server, contextlib.ExitStack() as stack:
        _, idle, empty, head, body, chunks, second = clients = [stack.enter_context(server.client()) for _ in range(7)]
        assert idle.ask("/health").status == 200
        head.send(b"GET /health HTTP/1.1\r\nHost: a\r\nX: ")
        body.send(features_request(1001)[:-40])
        chunks.send(b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")
        second.send(request("/health") + b"GET ")
        assert second.answer().status == 200
        drip = {empty: b"\r\n", head: b"a", body: b" "}
        open_clients = set(clients)
        deadline = time.monotonic() + SLACK_S
        while open_clients:  # until the server has closed all of them
            assert time.monotonic() < deadline, len(open_clients)
            sockets = {client.socket: client for client in open_clients}
            readable, _, _ = select.select(list(sockets), [], [], 0.1)
            for found in readable:
                client = sockets[found]
                open_clients.remove(client)
                status = 408 if client in (head, body, chunks, second) else 0
                rest = client.rest()
                assert rest.startswith(b"HTTP/1.1 408 ") if status else rest == b"", rest
                assert not status or b"\r\nconnection: close\r\n" in rest
            for client in open_clients & drip.keys():
                with contextlib.suppress(OSError):
                    client.send(drip[client])
        assert server.ask("/health").status == 200


def test_a_sender_is_not_hurried_while_it_waits_for_us(tmp_path: Path, valkey: Valkey) -> None:
    """A request has begun behind one that is waiting: its time begins when that is answered."""
    flags = ("--header-timeout", "1", "--keep-alive-timeout", "1")
    with slow_server(tmp_path, valkey, *flags) as (server, proxy), server.client() as client:
        proxy.hold()
        client.send(features_request(1002) + b"GET /health HTTP/1.1\r\n")
        proxy.wait_until_held()
        with server.client() as other:  # whoever is idle is closed, so time has passed
            assert other.rest() == b""
        proxy.release()
        assert client.answer().columns["trips"] == [1]
        client.send(b"Host: a\r\n\r\n")
        assert client.answer().status == 200


# ---------------------------------------------------------------------------------------------------- slow to read


@pytest.mark.parametrize("in_one_write", [False, True])
def test_a_client_that_never_reads_does_not_grow_the_server(corpus: Path, in_one_write: bool) -> None:
    """A hundred big answers: a few of them are made, the others wait as requests; and then it is cut off."""
    body = {"feature_service": "svc_types", "entities": {"driver_id": [1001] * 3000}}
    # Small requests for big answers fit many to a read; big ones wait in the socket.
    data = request("/get-online-features", body)
    with Server(corpus, "--send-timeout", "2", "--store-timeout-ms", "20000") as server:
        size = len(server.ask("/get-online-features", body).body)
        assert size > 1_000_000
        for _ in range(3):  # what the allocator keeps is there from now on
            server.ask("/get-online-features", body)
        before = resident_bytes(server)
        with server.client() as greedy:
            greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.socket.setblocking(False)
            rest = data * 100 if in_one_write else b""
            left = 0 if in_one_write else 100
            most = 0
            deadline = time.monotonic() + SLACK_S * 2
            while True:
                assert time.monotonic() < deadline
                if not rest and left:
                    rest, left = data, left - 1
                try:
                    sent = greedy.socket.send(rest) if rest else 0
                    rest = rest[sent:]
                except BlockingIOError:
                    select.select([], [greedy.socket], [], 0.05)
                except ConnectionError:
                    break  # cut off
                if not rest and not left:
                    break
                most = max(most, resident_bytes(server))
            assert most - before < 40 * size, (before, most, size)
        assert server.features([1002]).columns["trips"] == [1]


def test_small_requests_for_big_answers_in_one_read(corpus: Path) -> None:
    """They are begun as there is room, not all at once; then all are answered in order."""
    count = 200
    bodies = [{"feature_service": "svc_types", "entities": {"driver_id": [driver] * 200}} for driver in (1001, 1002)]
    flags = ("--header-timeout", "1", "--body-timeout", "1", "--store-timeout-ms", "20000")
    with Server(corpus, *flags) as server, server.client() as client:
        answers = [server.ask("/get-online-features", body).body for body in bodies]
        size = len(answers[0])
        before = resident_bytes(server)
        client.send(b"".join(request("/get-online-features", bodies[place % 2]) for place in range(count)))
        server.features([1002])  # Redis answers in order: by now the others, too
        grown = resident_bytes(server) - before
        assert grown < count * size // 3, (grown, size)
        for place in range(count):
            answer = client.answer()
            assert (answer.status, answer.body) == (200, answers[place % 2]), place
        assert client.ask("/health").status == 200


def test_a_client_that_stops_reading_is_cut_off(corpus: Path) -> None:
    body = {"feature_service": "svc_types", "entities": {"driver_id": [1001] * 3000}}
    with Server(corpus, "--send-timeout", "1") as server, server.client() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert client.ask("/health").status == 200
        client.socket.setblocking(False)
        data = request("/get-online-features", body) * 16  # more than the kernel takes of the answers
        with contextlib.suppress(BlockingIOError):
            while data:
                data = data[client.socket.send(data) :]
        pid = server.process.pid

        def sockets() -> int:
            return sum(1 for fd in Path(f"/proc/{pid}/fd").iterdir() if "socket" in str(fd.readlink()))

        while_open = sockets()
        eventually(lambda: True if sockets() < while_open else None, "the end of the connection")
        assert server.ask("/health").status == 200


# ----------------------------------------------------------------------------------------------------- too many


def test_features_and_entity_columns(server: Server) -> None:
    """At the limit it is looked at; over it is not. The connection goes on."""
    with server.client() as client:
        for features, columns, status in (
            *((10_000, 1, 400), (10_001, 1, 413), (1, 1_000, 200), (1, 1_001, 413)),
            *((0, 1_000, 200), (0, 1_001, 413)),
        ):
            asked = {"features": ["driver_stats:trips"] * features} if features else {"feature_service": "svc_subset"}
            body = {
                **asked,
                "entities": {"driver_id": [1002], **{f"c{number}": [1] for number in range(columns - 1)}},
            }
            answer = client.ask("/get-online-features", body)
            assert answer.status == status
            if status == 413:
                limit = "features: the limit is 10000 features"
                if columns > 1:
                    limit = "entities: the limit is 1000 columns"
                assert answer.json == {"detail": f"Content Too Large: {limit}"}


def test_pipelined_requests(tmp_path: Path, valkey: Valkey) -> None:
    """As many as the limit go to the store; the others wait in the socket, and all are answered in order."""
    with (
        slow_server(tmp_path, valkey, "--max-pipelined", "3", "--max-in-flight", "3") as (server, proxy),
        server.client() as client,
        server.client() as other,
    ):
        proxy.hold()
        client.send(features_request(1002) * 4 + features_request(1001) * 4)
        proxy.wait_until_held()
        eventually(lambda: asked_in_vain(other) == 503 or None, "three requests under way")
        proxy.release()
        # Of one more at a time, the fourth would have been refused.
        answers = [client.answer() for _ in range(8)]
        assert [answer.columns["trips"] for answer in answers] == [[1]] * 4 + [[0]] * 4


def test_connections(corpus: Path) -> None:
    """One too many is told so when it asks, and closed; the others go on."""
    with Server(corpus, "--worker-connections", "3") as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(3)]
        for client in clients:
            assert client.ask("/health").status == 200
        for data in (request("/health"), features_request(1001), request("/x", b"x" * 1_000_000)):
            with server.client() as another:
                assert not select.select([another.socket], [], [], 0.1)[0], "an answer to nothing"
                another.send(data)
                answer = another.answer()
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.headers["connection"] == "close"
                assert another.rest() == b""
        flood = [stack.enter_context(server.client()) for _ in range(20)]
        for another in flood:
            with contextlib.suppress(OSError):
                another.send(request("/health"))
            rest = another.rest()
            assert rest == b"" or rest.startswith(b"HTTP/1.1 503 ")
            another.close()
        for client in clients:
            assert client.ask("/health").status == 200
        clients[0].close()

        def attempt() -> bool | None:
            return True if server.ask("/health").status == 200 else None

        eventually(attempt, "room for a new connection")


def test_requests_in_flight(tmp_path: Path, valkey: Valkey) -> None:
    """What is over the limit is answered at once, and nobody waits for it; what needs no store is not counted."""
    with slow_server(tmp_path, valkey, "--max-in-flight", "4") as (server, proxy), contextlib.ExitStack() as stack:
        first, second, third = [stack.enter_context(server.client()) for _ in range(3)]
        proxy.hold()
        first.send(features_request(1001) * 3)
        second.send(features_request(1002))
        proxy.wait_until_held()
        assert server.ask("/health").status == 200
        eventually(
            lambda: True if server.features([1001]).status == 503 else None, "the limit"
        )  # by then all four are under way
        third.send(features_request(1002))
        answer = third.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "connection" not in answer.headers
        proxy.release()
        assert [first.answer().status for _ in range(3)] == [200] * 3
        assert second.answer().columns["trips"] == [1]
        third.send(features_request(1002))
        assert third.answer().columns["trips"] == [1]
        # Those whose clients have left do not count any more.
        proxy.hold()
        for _ in range(3):
            with server.client() as leaving:
                leaving.send(features_request(1001) * 4 + request("/health"))
                leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            eventually(lambda: asked_in_vain(third) == 504 or None, "room for a request")  # and not 503
        proxy.release()


def asked_in_vain(client: Client) -> int:
    """The status of an answer that cannot come: 504 if it was waited for."""
    client.send(features_request(1002, "X-Request-Timeout-Ms: 10"))
    return client.answer().status


# ------------------------------------------------------------------------------------------------------ too long


def test_deadline_of_the_server(tmp_path: Path, valkey: Valkey) -> None:
    flags = ("--request-timeout-ms", "200")
    with slow_server(tmp_path, valkey, *flags) as (server, proxy), server.client() as client:
        proxy.hold()
        began = time.monotonic()
        client.send(features_request(1002) + request("/nowhere"))
        answer = client.answer()
        assert 0.2 <= time.monotonic() - began < SLACK_S
        assert (answer.status, answer.headers["retry-after"]) == (504, "1")
        assert answer.json == {"detail": "Gateway Timeout: the request took too long"}
        assert client.answer().status == 404
        proxy.release()
        client.send(features_request(1001))
        assert client.answer().columns["trips"] == [0]


def test_deadline_of_a_client(tmp_path: Path, valkey: Valkey) -> None:
    """It concerns its request only, and comes when it was asked for."""
    with slow_server(tmp_path, valkey) as (server, proxy), server.client() as hasty, server.client() as patient:
        proxy.hold()
        patient.send(features_request(1002))
        began = time.monotonic()
        hasty.send(features_request(1001, "X-Request-Timeout-Ms: 50"))
        assert hasty.answer().status == 504
        assert 0.04 <= time.monotonic() - began < 10  # uvloop counts in milliseconds; the server's own is 15 s
        proxy.release()
        assert patient.answer().columns["trips"] == [1]
        hasty.send(features_request(1002, "X-Request-Timeout-Ms: 14000"))
        assert hasty.answer().columns["trips"] == [1]


def test_a_client_cannot_ask_for_more_time(tmp_path: Path, valkey: Valkey) -> None:
    flags = ("--request-timeout-ms", "200")
    with slow_server(tmp_path, valkey, *flags) as (server, proxy), server.client() as client:
        proxy.hold()
        client.send(features_request(1002, "X-Request-Timeout-Ms: 999999999"))
        assert client.answer().status == 504
        proxy.release()


# ------------------------------------------------------------------------------------------------ JSON as an attack


EIGHT_MIB = 8 << 20


def refused_as_by_python(body: bytes) -> int:
    """The status of a body that is no request, for it depends on the Python how deep JSON can be read."""
    try:
        json.loads(body)
    except RecursionError:
        return 400
    return 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * EIGHT_MIB, 413),
        (b"[" * 2_000 + b"]" * 2_000, refused_as_by_python(b"[" * 2_000 + b"]" * 2_000)),
        (b'{"entities":{"driver_id":' + b"[" * (EIGHT_MIB - 100), 413),
        (b'{"a":' * (EIGHT_MIB // 5), 413),
        (b"[%b[]]" % (b"[]," * 2_700_000), 413),
        (b"[%b1]" % (b"1," * 900_000), 422),
        (b'{"entities":{"a":[1]},"features":["%b"]}' % (b"a" * 8_000_000), 400),
        (b'{"entities":{"a":[1]},"feature_service":"%b"}' % (b"a" * 8_000_000), 404),
        (b'{"x":[%b[]],"entities":{"driver_id":[1001]}}' % (b"[[]]," * 1_600_000), 413),
        (b'{"entities":{"driver_id":[' + b"9" * (EIGHT_MIB - 100) + b']},"features":["driver_stats:trips"]}', 422),
        (b'{"features":[' + b'"a:b",' * 1_000_000 + b'"a:b"],"entities":{"driver_id":[1001]}}', 413),
        (b'{"features":["a:b"],"entities":{%b}}' % b",".join(b'"%d":[]' % n for n in range(700_000)), 413),
        (b'{"features":["driver_stats:trips"],"entities":{"driver_id":[%b1]}}' % (b"1," * 4_000_000), 413),
        (b'{"features":["driver_stats:trips"],"entities":{"driver_id":["%b"]}}' % (b"\\u0041" * 1_300_000), 400),
    ],
    ids=[
        *("deep", "as deep as can be read", "deep inside", "deep objects", "lists", "numbers"),
        *("a feature", "a service"),
        *("lists in lists", "long number", "features", "entity names", "rows", "escapes"),
    ],
)
def test_a_body_as_an_attack(server: Server, body: bytes, status: int) -> None:
    """The largest that is taken: an answer of 4xx, in seconds on the slowest machine, and the server goes on.

    perf/attacks.py measures how long the others wait.
    """
    assert len(body) <= EIGHT_MIB
    began = time.monotonic()
    answer = server.ask("/get-online-features", body)
    took = time.monotonic() - began
    assert answer.status == status, answer.body[:200]
    assert len(answer.body) < 21_000
    assert json.loads(answer.body) is not None
    assert took < 5
    assert server.features([1002]).columns["trips"] == [1]
