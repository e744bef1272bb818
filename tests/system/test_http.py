"""HTTP as clients on real sockets see it: order, ends, limits, and what a bad client cannot do to a good one."""

from __future__ import annotations

import gzip
import json
import random
import select
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.harness import Answer, Proxy, Server, Valkey, features_request, repository, request

TRIPS = {1001: 0, 1002: 1}
"""What the corpus says of driver_stats:trips."""


@pytest.fixture(scope="module")
def slow(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Proxy]]:
    """A server whose Redis answers when the test lets it."""
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 20_000}
        folder = repository(tmp_path_factory.mktemp("slow"), "redis", f"127.0.0.1:{proxy.port}", settings=settings)
        with Server(folder) as server:
            yield server, proxy


def trips(answer: Answer) -> int:
    """The one value of an answer to `features_request`."""
    assert answer.status == 200, answer
    (value,) = answer.columns["trips"]
    assert isinstance(value, int)
    return value


# ------------------------------------------------------------------------------------------------- order and keeping


def test_connection_is_kept(server: Server) -> None:
    with server.client() as client:
        for driver in (1001, 1002, 1001):
            client.send(features_request(driver))
            answer = client.answer()
            assert trips(answer) == TRIPS[driver]
            assert "connection" not in answer.headers


def test_head_of_an_answer(server: Server) -> None:
    answer = server.features([1001])
    assert answer.headers.keys() >= {"date", "content-type", "content-length"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["date"].endswith(" GMT")


def test_health_is_empty_for_get_and_post(server: Server) -> None:
    for method in ("GET", "POST"):
        answer = server.ask("/health", None, method)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("count", [2, 15, 16, 17, 40, 200])
def test_pipelined_requests_are_answered_in_order(server: Server, count: int) -> None:
    """More than the server takes at once, all in one segment, some at hand and some from the store."""
    asked: list[int | None] = [(1001, 1002, None)[place % 3] for place in range(count)]
    with server.client() as client:
        client.send(b"".join(request("/nowhere") if driver is None else features_request(driver) for driver in asked))
        for driver in asked:
            answer = client.answer()
            if driver is None:
                assert answer.status == 404
            else:
                assert trips(answer) == TRIPS[driver]


def test_a_client_of_http_1_0_that_asks_for_it_is_told_that_the_connection_stays(server: Server) -> None:
    ask = b"GET /health HTTP/1.0\r\n%b\r\n"
    with server.client() as client:
        for _ in range(3):
            client.send(ask % b"Connection: Keep-Alive\r\n")
            assert client.answer().headers["connection"] == "keep-alive"
        client.send(ask % b"")
        assert client.answer().headers["connection"] == "close"
        assert client.rest() == b""


@pytest.mark.skipif(shutil.which("ab") is None, reason="ab is in Debian's apache2-utils")
def test_ab_keeps_its_connections(server: Server) -> None:
    command = ["ab", "-k", "-q", "-n", "200", "-c", "4", "-s", "5", f"http://127.0.0.1:{server.port}/health"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert "Keep-Alive requests:    200" in done.stdout


def test_a_slow_answer_holds_up_the_quick_one_behind_it(slow: tuple[Server, Proxy]) -> None:
    server, proxy = slow
    with server.client() as client, server.client() as other:
        proxy.hold()
        client.send(features_request(1002) + request("/nowhere"))
        proxy.wait_until_held()
        assert other.ask("/health").status == 200  # meanwhile others are served
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        client.socket.settimeout(20)
        proxy.release()
        assert trips(client.answer()) == 1
        assert client.answer().status == 404


def test_a_request_in_pieces(server: Server) -> None:
    """Byte by byte: the answer is the same."""
    with server.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in features_request(1002):
            client.send(bytes([byte]))
        assert trips(client.answer()) == 1


def test_chunked_body(server: Server) -> None:
    body = json.dumps({"features": ["driver_stats:trips"], "entities": {"driver_id": [1002]}}).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:], b""))
    with server.client() as client:
        client.send(b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        assert trips(client.answer()) == 1
        assert client.ask("/health").status == 200


# ---------------------------------------------------------------------------------------------------------- routing


def test_head_gets_no_body(server: Server) -> None:
    """The length of a body that does not come, also of one with an error; and the connection goes on."""
    with server.client() as client:
        for target, status in (("/livez", 200), ("/metrics", 200), ("/get-online-features", 405), ("/nowhere", 404)):
            answer = client.ask(target, None, "HEAD")
            assert answer.status == status
            assert int(answer.headers["content-length"]) > 0
        assert client.ask("/health").status == 200


@pytest.mark.parametrize("target", ["/health", "/livez", "/readyz", "/metrics"])
def test_head_is_wherever_get_is(server: Server, target: str) -> None:
    """RFC 9110 9.1. haproxy asks so whether we live."""
    with server.client() as client:
        asked, head = client.ask(target), client.ask(target, None, "HEAD")
        assert (head.status, head.headers.keys()) == (asked.status, asked.headers.keys())
        assert head.headers.get("content-type") == asked.headers.get("content-type")


def test_options_of_the_whole_server(server: Server) -> None:
    """RFC 9110 9.3.7: whether it speaks HTTP. 1.0 needs no Host."""
    with server.client() as client:
        answer = client.ask("*", None, "OPTIONS")
        assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")
        client.send(b"OPTIONS * HTTP/1.0\r\n\r\n")
        assert client.answer().status == 200


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "identity, gzip"])
def test_a_compressed_body(server: Server, coding: str) -> None:
    """RFC 9110 15.5.16: 415, and what would be taken."""
    with server.client() as client:
        client.send(request("/get-online-features", gzip.compress(b"{}"), "POST", f"Content-Encoding: {coding}"))
        answer = client.answer()
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
        assert answer.json == {
            "detail": "Unsupported Media Type: Content-Encoding: expected none; send the body uncompressed"
        }
        assert client.rest() == b""


def test_a_body_that_is_said_to_be_as_it_is(server: Server) -> None:
    with server.client() as client:
        client.send(features_request(1002, "Content-Encoding: identity"))
        assert trips(client.answer()) == 1
        assert client.ask("/health", None, "GET", "Content-Encoding: gzip").status == 200


@pytest.mark.parametrize("target", ["/", "/nowhere", "/get-online-features/x", "/-/status", "/%00", "/?a=b"])
def test_unknown_path(server: Server, target: str) -> None:
    answer = server.ask(target)
    assert (answer.status, answer.json) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", "/get-online-features", {"POST"}),
        ("PUT", "/health", {"GET", "HEAD", "POST"}),
        ("DELETE", "/health", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "/readyz", {"GET", "HEAD"}),
    ],
)
def test_wrong_method(server: Server, method: str, target: str, allow: set[str]) -> None:
    answer = server.ask(target, None, method)
    assert (answer.status, answer.json) == (405, {"detail": "Method Not Allowed"})
    assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])  # whatever the endpoint takes: `feast serve` does so
@pytest.mark.parametrize("target", ["/health/", "/get-online-features/", "/health/?a=b"])
def test_trailing_slash_is_redirected(server: Server, target: str, method: str) -> None:
    answer = server.ask(target, None, method)
    assert (answer.status, answer.body) == (307, b"")
    assert answer.headers["location"] == ".." + target.replace("/?", "?").rstrip("/")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1e22", "1e+22"),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", "-9223372036854775809"),
    ],
)
def test_numbers_beyond_64_bits_are_texts_as_they_were_written(server: Server, number: str, text: str) -> None:
    """Their echoes are what `feast serve` 0.67.0 answers. A body that is too large to be parsed twice is refused."""
    body = '{"features":["customer_orders:n"],"entities":{"customer_id":["a",%s]}%s}'
    assert server.ask("/get-online-features", (body % (number, "")).encode()).columns["customer_id"] == ["a", text]
    large = server.ask("/get-online-features", (body % (number, ',"x":"' + "x" * 70_000 + '"')).encode())
    assert large.status == 400
    assert "entities.customer_id[1]: expected a string in range" in large.json


def test_query_is_ignored(server: Server) -> None:
    assert server.ask("/health?probe=1").status == 200


def test_absolute_target(server: Server) -> None:
    """What a client says to a proxy; a server must take it as well (RFC 9112 3.2.2)."""
    assert server.ask("http://localhost/health").status == 200


def test_upgrade_is_not_taken_up(server: Server) -> None:
    """Java's HttpClient offers h2c with every first request."""
    with server.client() as client:
        client.send(
            features_request(1002, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        )
        assert trips(client.answer()) == 1
        client.send(features_request(1001))
        assert trips(client.answer()) == 0


# --------------------------------------------------------------------------------------------------- Expect: continue


def test_expect_continue(server: Server) -> None:
    head, _, body = features_request(1002, "Expect: 100-continue").partition(b"\r\n\r\n")
    with server.client() as client:
        for _ in range(2):
            client.send(head + b"\r\n\r\n")
            assert client.answer() == Answer(100, {}, b"")
            client.send(body)
            assert trips(client.answer()) == 1


def test_expect_continue_of_too_large_a_body(server: Server) -> None:
    """It is refused before it is sent."""
    with server.client() as client:
        client.send(
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
        )
        assert client.answer().status == 413


def test_expect_continue_behind_a_request(slow: tuple[Server, Proxy]) -> None:
    """The go-ahead has to wait for the answer before it, and must not be forgotten."""
    server, proxy = slow
    head, _, body = features_request(1002, "Expect: 100-continue").partition(b"\r\n\r\n")
    with server.client() as client:
        proxy.hold()
        client.send(features_request(1001))
        proxy.wait_until_held()
        client.send(head + b"\r\n\r\n")
        proxy.release()
        assert trips(client.answer()) == 0
        client.socket.settimeout(5)
        assert client.answer().status == 100
        client.send(body)
        assert trips(client.answer()) == 1


# ------------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize("version", [b"HTTP/1.1\r\nConnection: close", b"HTTP/1.0"])
def test_last_request(server: Server, version: bytes) -> None:
    with server.client() as client:
        client.send(features_request(1002).replace(b"HTTP/1.1", version) + features_request(1001))
        answer = client.answer()
        assert trips(answer) == 1
        assert answer.headers["connection"] == "close"
        assert client.rest() == b""


def test_half_closed_client_gets_its_answer(slow: tuple[Server, Proxy]) -> None:
    server, proxy = slow
    with server.client() as client:
        proxy.hold()
        client.send(features_request(1002) + features_request(1001))
        client.socket.shutdown(socket.SHUT_WR)
        proxy.wait_until_held()
        proxy.release()
        assert trips(client.answer()) == 1
        assert trips(client.answer()) == 0
        assert client.rest() == b""


def test_half_closed_client_gets_an_answer_at_hand(server: Server) -> None:
    with server.client() as client:
        client.send(request("/health") + request("/nowhere"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().status == 200
        assert client.answer().status == 404
        assert client.rest() == b""


def test_end_within_a_request(server: Server) -> None:
    with server.client() as client:
        client.send(features_request(1002)[:-5])
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == b""
    assert server.ask("/health").status == 200


def test_clients_hanging_up_harm_nobody(slow: tuple[Server, Proxy]) -> None:
    """Fifty clients leave, the half of them with a reset, while their answers and another's are on the way."""
    server, proxy = slow
    with server.client() as good:
        proxy.hold()
        proxy.forget()
        leaving = [server.client() for _ in range(50)]
        drivers = count(2_000)  # each another, so that each is a fetch of its own
        for client in leaving[:25]:
            client.send(features_request(next(drivers)))
        good.send(features_request(1002))
        for client in leaving[25:]:
            client.send(b"".join(features_request(next(drivers)) for _ in range(3)))
        proxy.wait_until_seen(101 * 70)  # every command is longer than that
        for place, client in enumerate(leaving):
            if place % 2:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert server.ask("/health").status == 200  # by now the server has seen them leave, or most of them
        proxy.release()
        assert trips(good.answer()) == 1
        good.send(features_request(1001) + features_request(1002))
        assert [trips(good.answer()), trips(good.answer())] == [0, 1]
    assert "Traceback" not in server.log


def test_a_client_that_does_not_read_harms_nobody(server: Server) -> None:
    """Its answers pile up until the server stops reading its requests; others are served as before."""
    body = {"feature_service": "svc_types", "entities": {"driver_id": [1001] * 200}}
    data = request("/get-online-features", body)
    with server.client() as greedy:
        greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.socket.setblocking(False)
        sent = 0
        for _ in range(10_000):
            try:
                sent += greedy.socket.send(data)
            except BlockingIOError:
                if server.features([1002]).columns["trips"] == [1] and sent > 1_000_000:
                    break
                _, writable, _ = select.select([], [greedy.socket], [], 0.2)
                if not writable:
                    break
        else:
            pytest.fail(f"the server took {sent} bytes of requests without a reader for the answers")
        assert server.features([1002]).columns["trips"] == [1]


# ------------------------------------------------------------------------------------------------ limits and garbage


def test_body_that_announces_itself_as_too_large(server: Server) -> None:
    with server.client() as client:
        client.send(b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: 8388609\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert "8388608" in answer.json["detail"]
        assert client.rest() == b""


def test_chunks_that_become_too_large(corpus: Path) -> None:
    with Server(corpus, "--max-body-bytes", "1000") as server, server.client() as client:
        client.send(b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"1f4\r\n" + b" " * 500 + b"\r\n")
        client.send(b"1f5\r\n" + b" " * 501 + b"\r\n")
        assert client.answer().status == 413


def test_body_at_the_limit(corpus: Path) -> None:
    body = json.dumps({"features": ["driver_stats:trips"], "entities": {"driver_id": [1002]}}).encode().ljust(1000)
    with Server(corpus, "--max-body-bytes", "1000") as server:
        assert server.ask("/get-online-features", body).columns["trips"] == [1]
        assert server.ask("/get-online-features", body + b" ").status == 413


def test_who_sends_all_of_too_large_a_body_reads_why(server: Server) -> None:
    """Most clients write the whole request before they read: a reset would take the 413 from them (RFC 9112 9.6)."""
    with server.client() as client:
        client.send(b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        for _ in range(90):
            client.send(b" " * 100_000)
        assert client.answer().status == 413


@pytest.mark.parametrize("piece", [1000, 50_000])
def test_too_large_a_head(server: Server, piece: int) -> None:
    with server.client() as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        line = b"X-Padding: " + b"x" * (piece - 13) + b"\r\n"
        for _ in range(65536 // piece + 1):
            client.send(line)
        client.send(b"X-Last: 1\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (431, "close")


GARBAGE = [
    b"GARBAGE\r\n\r\n",
    b"\x00\x01\x02\x03",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=[repr(garbage[:40]) for garbage in GARBAGE])
def test_garbage(server: Server, garbage: bytes) -> None:
    with server.client() as client:
        client.send(garbage)
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert answer.json["detail"].startswith("Bad Request")
        assert client.rest() == b""


def test_garbage_behind_requests(slow: tuple[Server, Proxy]) -> None:
    """The requests before it are answered, then it is refused: here it comes in a segment of its own."""
    server, proxy = slow
    with server.client() as client:
        proxy.hold()
        client.send(features_request(1002))
        proxy.wait_until_held()
        client.send(b"GARBAGE\r\n\r\n")
        assert server.ask("/health").status == 200
        proxy.release()
        assert trips(client.answer()) == 1
        assert client.answer().status == 400
        assert client.rest() == b""


def test_garbage_in_the_segment_of_a_request(server: Server) -> None:
    """How the bytes were cut must not decide what is answered."""
    with server.client() as client:
        client.send(features_request(1002) + b"GARBAGE\r\n\r\n")
        assert trips(client.answer()) == 1
        assert client.answer().status == 400
        assert client.rest() == b""


INTERNALS = (
    b"Traceback",
    b'File "',
    b"yummy_fast",
    b"site-packages",
    b" object at 0x",
    b"orjson",
    b"protobuf",
    b"hiredis",
)


def odd_bodies() -> list[bytes]:
    """Bodies that are wrong in some way: by hand, and by seeded damage to a right one."""
    deep = b"[" * 100_000
    bodies = [
        *(
            b"",
            b"null",
            b"true",
            b"1",
            b'"x"',
            b"[]",
            b"{}",
            b"{",
            b"\xff\xfe",
            b"\xef\xbb\xbf{}",
            deep,
            b'{"a":' * 50_000,
        ),
        *(b'{"entities":[]}', b'{"entities":{"driver_id":"x"},"features":1}', b'{"entities":{},"features":[null]}'),
        b'{"entities":{"driver_id":[1001]},"features":["driver_stats:trips"],"full_feature_names":1e400}',
        b'{"entities":{"driver_id":[1001]},"features":["driver_stats:trips"],"full_feature_names":{}}',
        b'{"entities":{"driver_id":[1001]},"features":["driver_stats:trips"],"full_feature_names":1e30}',
        b'{"entities":{"driver_id":[1001]},"features":[":","::","@:","a@v99999999999999999999:x"]}',
        b'{"entities":{"driver_id":[1001]},"features":["driver_stats:\\u0000"]}',
        b'{"entities":{"driver_id":["\\ud800"]},"features":["driver_stats:trips"]}',
        b'{"entities":{"\\u0000":[1]},"features":["driver_stats:trips"]}',
        b'{"entities":{"customer_id":["\\u0000\\uffff"]},"features":["customer_orders:n"]}',
        b'{"entities":{"customer_id":[1e308]},"features":["customer_orders:n"]}',
        b'{"entities":{"customer_id":[true,{"a":1}]},"features":["customer_orders:n"]}',
        b'{"entities":{"zone_id":[2147483648]},"features":["zone_stats:demand"]}',
        b'{"entities":{"driver_id":[[[[1]]]]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1001],"x":[[[1]]]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1001],"x":[[]]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1001],"x":[[null]]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1001],"x":[[{},1]]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1001],"x":[{"a":[{"b":null}]}]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[NaN]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1e999]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":["' + b"9" * 5000 + b'"]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":["1e5","0x10","\xd9\xa1"]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1001],"driver_id":[]},"features":["driver_stats:trips"]}',
        b'{"entities":{"driver_id":[1001]},"feature_service":"' + b"x" * 10_000 + b'"}',
        b'{"entities":{"driver_id":[1001]},"features":[' + b'"driver_stats:trips",' * 3000 + b'"x"]}',
    ]
    dice = random.Random(2)
    right = b'{"feature_service":"svc_mixed","entities":{"driver_id":[1001,1002],"customer_id":["c1","c2"]}}'
    for _ in range(300):
        damaged = bytearray(right)
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(damaged))
            damaged[place : place + dice.randrange(3)] = dice.choice(
                [
                    b"",
                    b"null",
                    b"[",
                    b"]",
                    b"{",
                    b"}",
                    b'"',
                    b",",
                    b"1",
                    b"-",
                    b"e9",
                    b".5",
                    b"\\u0000",
                    b"\xc3",
                    b"true",
                    b"{}",
                ]
            )
        bodies.append(bytes(damaged))
    return bodies


def test_no_answer_shows_internals(server: Server) -> None:
    """Whatever is sent: an answer that is not 5xx, that is JSON, and that tells nothing of the inside."""
    with server.client() as client:
        for body in odd_bodies():
            answer = client.ask("/get-online-features", body)
            assert 200 <= answer.status < 500, (body[:200], answer)
            assert answer.json is not None
            assert not [word for word in INTERNALS if word in answer.body], (body[:200], answer)
    assert "Traceback" not in server.log


def test_server_has_survived(server: Server) -> None:
    """The last test of the shared server: it has not died of the ones before, and has logged no error."""
    assert server.features([1001, 1002]).columns["trips"] == [0, 1]
    assert " ERROR " not in server.log, server.log
