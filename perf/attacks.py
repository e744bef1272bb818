"""How long bodies that are made to be slow keep other clients waiting: the table in docs/reliability.md.

    .venv/bin/python perf/attacks.py

A real server with default limits gets one body at a time, of --max-body-bytes, while another client asks /health over
and over. "Others wait" is the longest that one of its answers took, less the longest when nothing else was going on.
The best of five, since the machine has other things to do; with each, the answer's status, and how long it took.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

EIGHT_MIB = 8 << 20
CORPUS = Path(__file__).resolve().parents[1] / "tests" / "conformance" / "sqlite"
REST = b'"entities":{"driver_id":[1001]},"features":["driver_stats:trips"]}'


def repeated(unit: bytes, before: bytes, after: bytes, last: bytes = b"") -> bytes:
    """As many units as there is room for."""
    return before + unit * ((EIGHT_MIB - len(before) - len(after) - len(last)) // len(unit)) + last + after


def numbered(form: bytes, before: bytes, after: bytes) -> bytes:
    """As many different units as there is room for."""
    count = (EIGHT_MIB - len(before) - len(after)) // (len(form % 1_000_000) + 1)
    return before + b",".join(form % (1_000_000 + number) for number in range(count)) + after


COLUMN = b'{"features":["driver_stats:trips"],"entities":{"driver_id":['
ATTACKS = {
    "`[[[[...`": b"[" * EIGHT_MIB,
    '`{"a":{"a":...`': b'{"a":' * (EIGHT_MIB // 5),
    "`[[],[],...]`": repeated(b"[],", b"[", b"]", b"[]"),
    "lists in lists, in an unknown key": repeated(b"[[]],", b'{"x":[', b"]," + REST, b"[]"),
    "lists of depth 1,000, in an unknown key": repeated(
        b"[" * 1000 + b"]" * 1000 + b",", b'{"x":[', b"]," + REST, b"[]"
    ),
    "objects, in an unknown key": repeated(b'{"a":1},', b'{"x":[', b"]," + REST, b"1"),
    "a million keys": numbered(b'"%d":1', b"{", b"," + REST),
    "one string": repeated(b"a", COLUMN + b'"', b'"]}}'),
    "one string of escapes": repeated(b"\\u0041", COLUMN + b'"', b'"]}}'),
    "one number": repeated(b"9", COLUMN, b"]}}"),
    "one fraction": repeated(b"9", COLUMN + b"0.", b"]}}"),
    "entity values: whole numbers": repeated(b"1,", COLUMN, b"]}}", b"1"),
    "entity values: fractions": repeated(b"1.1e-9,", COLUMN, b"]}}", b"1"),
    "entity values: empty strings": repeated(b'"",', COLUMN, b"]}}", b'""'),
    "entity values: strings": numbered(b'"%d"', COLUMN, b"]}}"),
    "a million entity columns": numbered(b'"%d":[]', b'{"features":["driver_stats:trips"],"entities":{', b"}}"),
    "a million features": repeated(b'"a:b",', b'{"entities":{"driver_id":[1001]},"features":[', b"]}", b'"a:b"'),
    "a million features, all different": numbered(
        b'"driver_stats:f%d"', b'{"entities":{"driver_id":[1001]},"features":[', b"]}"
    ),
    "numbers for features": repeated(b"1,", b'{"entities":{"driver_id":[1001]},"features":[', b"]}", b"1"),
    "one feature's name": repeated(b"a", b'{"entities":{"driver_id":[1001]},"features":["', b'"]}'),
    "a feature service's name": repeated(b"a", b'{"entities":{"driver_id":[1001]},"feature_service":"', b'"}'),
    "spaces": repeated(b" ", b'{"x":', b"1," + REST),
    "not an object": repeated(b"1,", b"[", b"]", b"1"),
    "not JSON, at its end": repeated(b"1,", COLUMN, b"]}}"),
    "no attack: 100,000 rows of one feature": COLUMN + b",".join(b"%d" % number for number in range(100_000)) + b"]}}",
}


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answer(connection: socket.socket) -> bytes:
    """An answer, whole; at least its head."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


class Others:
    """A client that asks for something small all the time."""

    def __init__(self, port: int) -> None:
        self.longest_s = 0.0
        self._ended = threading.Event()
        self._connection = connect(port)
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._ended.wait(0.002):
            began = time.perf_counter()
            self._connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            answer(self._connection)
            self.longest_s = max(self.longest_s, time.perf_counter() - began)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()


def attack(port: int, body: bytes) -> tuple[float, float, bytes, int]:
    """How long the others waited and the attacker did, in seconds; the answer's status and length."""
    with connect(port) as attacker:
        head = b"POST /get-online-features HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        attacker.sendall(head + body[:-1])  # all but what makes it a request, so that only the work is measured
        time.sleep(0.2)
        others = Others(port)
        time.sleep(0.1)
        usual_s, others.longest_s = others.longest_s, 0.0
        began = time.perf_counter()
        attacker.sendall(body[-1:])
        answered = answer(attacker)
        took_s = time.perf_counter() - began
        time.sleep(0.05)
        others.end()
    return max(others.longest_s - usual_s, 0.0), took_s, answered.split(b" ", 2)[1], len(answered)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file in CORPUS.iterdir():
            (Path(folder) / file.name).write_bytes(file.read_bytes())
        command = [sys.executable, "-m", "yummy_fast", "-c", folder, "serve", "-p", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            port = int(server.stderr.readline().rpartition(":")[2])
            try:
                print("| body | status | others wait, ms | answered after, ms | answer, bytes |")
                print("|---|---|---|---|---|")
                for name, body in ATTACKS.items():
                    assert len(body) <= EIGHT_MIB, name
                    wait_s, took_s, status, size = min(attack(port, body) for _ in range(5))
                    print(f"| {name} | {status.decode()} | {wait_s * 1e3:.0f} | {took_s * 1e3:.0f} | {size} |")
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
