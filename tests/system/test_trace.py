"""What a client calls its request, on a real process: in the answer, in the log; and where the time went."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.harness import Client, Process, Proxy, Server, Valkey, features_request, repository, request

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FEATURES = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1002]}}
ON_DEMAND = {"feature_service": "svc_odfv", "entities": {"driver_id": [1002], "bonus": [2]}}


def named(number: int) -> tuple[str, str]:
    return f"X-Request-Id: id-{number}", f"traceparent: {PARENT}"


@pytest.mark.parametrize(
    ("target", "body", "method", "status"),
    [
        ("/get-online-features", FEATURES, "", 200),
        ("/get-online-features", {"feature_service": "nobody's"}, "", 422),
        ("/get-online-features", {**FEATURES, "features": ["a:b"]}, "", 404),
        ("/get-online-features", None, "GET", 405),
        ("/get-online-features/", FEATURES, "", 307),
        ("/nowhere", None, "", 404),
        ("/health", None, "", 200),
        ("/livez", None, "HEAD", 200),
    ],
)
def test_the_answer_says_which_request_it_answers(
    server: Server, target: str, body: object, method: str, status: int
) -> None:
    with server.client() as client:
        answer = client.ask(target, body, method, *named(1))
        assert answer.status == status
        assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("id-1", PARENT)
        answer = client.ask(target, body, method)
        assert answer.status == status
        assert not {"x-request-id", "traceparent", "server-timing"} & set(answer.headers)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST / HTTP/1.1\r\nHost: localhost\r\n{}\r\nContent-Length: 99999999\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\n{}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: local host\r\n{}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\nExpect: a miracle\r\n\r\n", 417),
    ],
)
def test_a_refusal_too(server: Server, head: str, status: int) -> None:
    with server.client() as client:
        client.send(request("/health", None, "", *named(1)) + head.format("\r\n".join(named(2))).encode())
        assert (client.answer().headers["x-request-id"]) == "id-1"
        answer = client.answer()
        assert (answer.status, answer.headers["x-request-id"], answer.headers["traceparent"]) == (
            status,
            "id-2",
            PARENT,
        )


def test_each_answer_has_its_own(server: Server) -> None:
    """Pipelined, and with answers that come at once behind others that do not."""
    with server.client() as client:
        sent = [features_request(1002, *named(number)) for number in range(0, 12, 2)]
        client.send(b"".join(data + request("/health", None, "", *named(2 * at + 1)) for at, data in enumerate(sent)))
        assert [client.answer().headers["x-request-id"] for _ in range(12)] == [f"id-{number}" for number in range(12)]


def test_what_is_malformed_does_not_come_back(server: Server) -> None:
    with server.client() as client:
        for fields in (
            ["X-Request-Id: a b", f"traceparent: {PARENT}0"],
            [f"X-Request-Id: {'x' * 129}", f"traceparent: {PARENT.upper()}"],
            ["X-Request-Id: a", "X-Request-Id: b", f"traceparent: {PARENT}", f"traceparent: {PARENT}"],
        ):
            answer = client.ask("/get-online-features", FEATURES, "", *fields)
            assert (answer.status, answer.columns["trips"]) == (200, [1])
            assert not {"x-request-id", "traceparent"} & set(answer.headers)


def test_who_has_no_token_or_no_time_is_told_for_which_request(tmp_path: Path, own_valkey: Valkey) -> None:
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{own_valkey.port}", settings={"store_timeout_ms": 15_000})
    (tmp_path / "tokens").write_text("secret")
    with Server(folder, "--auth-tokens", str(tmp_path / "tokens")) as server, server.client() as client:
        answer = client.ask("/health-of-others", None, "", *named(1))
        assert (answer.status, answer.headers["x-request-id"]) == (401, "id-1")
        own_valkey.send_signal(signal.SIGSTOP)
        try:
            client.send(features_request(1002, "Authorization: Bearer secret", "X-Request-Timeout-Ms: 20", *named(2)))
            answer = client.answer()
        finally:
            own_valkey.send_signal(signal.SIGCONT)
        assert (answer.status, answer.headers["x-request-id"]) == (504, "id-2")


# ------------------------------------------------------------------------------------------------------------ the log


def test_the_access_log_names_it(corpus: Path) -> None:
    with Server(corpus, "--log-format", "json", "--access-log-sample", "1") as server, server.client() as client:
        client.ask("/get-online-features", FEATURES, "", *named(1))
        client.ask("/get-online-features", b"{", "", "X-Request-Id: id-2", "traceparent: x-secret")
        client.ask("/health", None, "", "X-Request-Id: a secret")
        assert server.stop() == 0
        records = [json.loads(line) for line in server.lines]
        found = [record for record in records if record["logger"] == "yummy_fast.access"]
        assert [(record["status"], record["request_id"], record["traceparent"]) for record in found] == [
            (200, "id-1", PARENT),
            (422, "id-2", None),
            (200, None, None),
        ]
        assert "secret" not in server.log


def test_the_access_log_names_it_as_text(corpus: Path) -> None:
    with Server(corpus, "--access-log-sample", "1") as server, server.client() as client:
        client.ask("/health", None, "", *named(1))
        server.wait_for(rf"INFO GET /health 200, 0 bytes in [\d.]+ ms, request_id id-1, traceparent {PARENT}$")


WITH_A_BUG = """
import sys
from yummy_fast import endpoints
from yummy_fast.cli.main import main

def parse_query(body):
    raise RuntimeError("no such luck")

endpoints.parse_query = parse_query
main(sys.argv[1:])
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_line_of_a_bug_of_ours_names_it(corpus: Path, form: str) -> None:
    serve = ["serve", "--chdir", str(corpus), "--port", "0", "--log-format", form]
    with Process([sys.executable, "-c", WITH_A_BUG, *serve]) as server:
        port = int(server.wait_for(r"serving .* on http://127\.0\.0\.1:(\d+)")[1])
        with Client(port) as client:
            answer = client.ask("/get-online-features", FEATURES, "", *named(1))
            assert (answer.status, answer.json) == (500, "Internal Server Error")
            assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("id-1", PARENT)
            line = server.wait_for(f"a request failed by a server bug, request_id id-1, traceparent {PARENT}").string
            if form == "json":
                record = json.loads(line)
                assert (record["request_id"], record["traceparent"]) == ("id-1", PARENT)
                assert record["exception"].endswith("no such luck")
            after = len(server.lines)
            assert client.ask("/get-online-features", FEATURES).status == 500
            server.wait_for(r"a request failed by a server bug($|\")", after=after)


# -------------------------------------------------------------------------------------------------- where the time went


def phases(header: str) -> dict[str, float]:
    """Milliseconds by name, in the order of the header."""
    found = [re.fullmatch(r"([a-z]+);dur=(\d+\.\d{3})", entry) for entry in header.split(", ")]
    return {match[1]: float(match[2]) for match in found if match}


def test_times_for_who_asks(tmp_path: Path, valkey: Valkey) -> None:
    """They are those of this request: where the store took its time, they say so. And they fit into the whole."""
    with Proxy(valkey.port) as proxy:
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings={"store_timeout_ms": 15_000})
        with Server(folder) as server, server.client() as client:
            proxy.delay(0.05, 0.05)
            began = time.perf_counter()
            client.send(features_request(1002, "X-Server-Timing: 1", *named(1)))
            answer = client.answer()
            whole_ms = (time.perf_counter() - began) * 1000
            took = phases(answer.headers["server-timing"])
            assert (answer.status, list(took)) == (200, ["decode", "store", "encode"])
            assert took["store"] >= 49
            assert 0 < took["decode"] < took["store"]
            assert 0 < took["encode"] < took["store"]
            assert sum(took.values()) <= whole_ms
            assert answer.headers["x-request-id"] == "id-1"


def test_times_with_views_on_demand(server: Server) -> None:
    with server.client() as client:
        answer = client.ask("/get-online-features", ON_DEMAND, "", "X-Server-Timing: 1")
        assert answer.status == 200
        assert list(phases(answer.headers["server-timing"])) == ["decode", "store", "transform", "encode"]


def test_no_times_for_who_does_not_ask_or_gets_no_features(server: Server) -> None:
    with server.client() as client:
        for fields, body, status in (
            ((), FEATURES, 200),
            (named(1), FEATURES, 200),
            (("X-Server-Timing: 0",), FEATURES, 200),
            (("X-Server-Timing: 1",), b"{", 422),
        ):
            answer = client.ask("/get-online-features", body, "", *fields)
            assert (answer.status, "server-timing" in answer.headers) == (status, False)
