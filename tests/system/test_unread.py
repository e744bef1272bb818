"""Answers that nobody reads, or slowly: what they may take of a process, and that others are served all the same.

    python -m tests.system.test_unread [flags of `serve`]

measures the attack of docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import (
    CERTIFICATE,
    CERTIFICATE_KEY,
    CORPUS,
    PATIENCE_S,
    Client,
    Server,
    Valkey,
    eventually,
    repository,
    request,
    tls_client_context,
)
from tests.ports import free_port
from tests.system.test_admin import scrape
from tests.system.test_limits import resident_bytes
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import feature_field

MB = 1_000_000
NICK_BYTES = 10_000
ROWS = 1_600
"""A request of 8 KB, for an answer of 16 MB."""
TLS_FLAGS = ("--cert", str(CERTIFICATE), "--key", str(CERTIFICATE_KEY))


def repository_with_a_long_value(folder: Path, valkey: Valkey) -> Path:
    """The corpus, but that driver 1001 has a nick of NICK_BYTES."""
    with open(CORPUS / "redis" / "store.jsonl", encoding="utf-8") as lines:
        keys = [bytes.fromhex(json.loads(line)["key"]) for line in lines]
    driver = (1001).to_bytes(8, "little")
    (key,) = [key for key in keys if b"driver" in key and b"customer" not in key and driver in key]
    nick = Value(string_val="n" * NICK_BYTES).SerializeToString()
    valkey.do("HSET", key, feature_field("driver_stats", "nick"), nick)
    return repository(folder / "long", "redis", f"127.0.0.1:{valkey.port}")


@pytest.fixture
def long(tmp_path: Path, own_valkey: Valkey) -> Path:
    return repository_with_a_long_value(tmp_path, own_valkey)


def ask_for(rows: int) -> bytes:
    body = {"features": ["driver_stats:nick"], "entities": {"driver_id": [1001] * rows}}
    return request("/get-online-features", body)


def sockets(server: Server) -> int:
    descriptors = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return sum(1 for descriptor in descriptors if "socket" in str(descriptor.readlink()))


@contextlib.contextmanager
def attack(server: Server) -> Iterator[None]:
    """Six clients that send sixteen requests for 16 MB each, and read nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            client = stack.enter_context(server.client())
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(ask_for(ROWS) * 16)
        yield


def test_answers_that_nobody_reads_are_bounded_and_others_are_served_again(long: Path) -> None:
    """Long before the deadline for reading: whoever reads too slowly goes when there is no room."""
    limit = 40 * MB
    port = free_port()
    admin = f"http://127.0.0.1:{port}"
    flags = ("--max-unsent-bytes", str(limit), "--send-timeout", "600", "--admin", f"127.0.0.1:{port}")
    with Server(long, *flags) as server, server.client() as other:
        before = most = resident_bytes(server)
        with attack(server):
            seen = set()
            eventually(lambda: scrape(admin)["yummy_fast_http_unsent_bytes"][""] > limit or None, "too much unsent")

            def served_again() -> bool | None:
                nonlocal most
                other.send(ask_for(1))
                answer = other.answer()
                seen.add(answer.status)
                if answer.status == 503:
                    assert answer.headers["retry-after"] == "1"
                    assert answer.json == {"detail": "Service Unavailable: too many bytes of answers are unsent"}
                most = max(most, resident_bytes(server))
                return True if answer.status == 200 and 503 in seen else None

            eventually(served_again, "room for others")
            server.wait_for(r"WARNING (1 connection|[02-9] connections) cut off for reading too slowly")
        assert seen == {200, 503}
        # Of the answers, the limit and one more; beside them what they are made from, and what the allocator keeps.
        assert most - before < limit + 5 * 16 * MB, (before, most)


def slow_answer(client: Client, size: int, seconds: float) -> bytes:
    """The body of an answer of `size` bytes or more of which nearly nothing is read for so long, and then the rest."""
    client.socket.settimeout(PATIENCE_S)
    read = bytearray()
    pause = threading.Event()  # nobody sets it
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if len(read) < size // 2:
            read += client.socket.recv(100_000)
        pause.wait(0.1)
    while b"\r\n\r\n" not in read:
        read += client.socket.recv(1 << 20)
    head, _, body = bytes(read).partition(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    assert length > size
    rest = bytearray(body)
    while len(rest) < length:
        data = client.socket.recv(1 << 20)
        assert data, f"cut off after {len(rest)} of {length} bytes"
        rest += data
    return bytes(rest)


def connect_slowly(server: Server, tls: bool) -> Client:
    """A client whose kernel takes little."""
    client = Client(server.port)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    if tls:
        client.socket = tls_client_context().wrap_socket(client.socket, server_hostname="localhost")
    return client


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_reads_slowly_gets_its_answer_and_the_connection_stays(long: Path, tls: bool) -> None:
    """It is not idle while there is something unsent, wherever that lies: uvloop's TLS transport denies it."""
    flags = TLS_FLAGS if tls else ()
    with (
        Server(long, *flags, "--keep-alive-timeout", "1", "--send-timeout", "10") as server,
        connect_slowly(server, tls) as client,
    ):
        client.send(ask_for(ROWS))
        assert slow_answer(client, ROWS * NICK_BYTES, 4).count(b"nnnn") > ROWS
        assert client.ask("/health").status == 200


def test_over_tls_a_client_that_stops_reading_is_cut_off(long: Path) -> None:
    with Server(long, *TLS_FLAGS, "--send-timeout", "1") as server, connect_slowly(server, tls=True) as client:
        before = sockets(server)
        client.send(ask_for(ROWS))
        eventually(lambda: True if sockets(server) < before else None, "the end of the connection")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Valkey() as valkey:
        valkey.load("redis")
        with Server(repository_with_a_long_value(Path(folder), valkey), *sys.argv[1:]) as server:
            before = most = resident_bytes(server)
            statuses: list[tuple[float, int]] = []
            with attack(server), server.client() as other:
                began = time.monotonic()
                while time.monotonic() - began < 8:
                    other.send(ask_for(1))
                    statuses.append((time.monotonic() - began, other.answer().status))
                    most = max(most, resident_bytes(server))
            print(f"{(most - before) / MB:.0f} MB more memory")
            good = [at for at, status in statuses if status == 200]
            print(f"{len(good)} of {len(statuses)} requests of another client answered 200")
            gap = max(b - a for a, b in itertools.pairwise([0.0, *good, 8.0]))
            print(f"the longest time without: {gap:.1f} s")
            print("\n".join(line for line in server.lines if "INFO" not in line))
