"""An open loop: requests leave at a fixed rate, whatever the server does, and latency counts from the intended time.

A closed loop waits for a slow server and so never asks it while it is slow ("coordinated omission"). Here request
number i is due at start + i / rate; if no connection is free it queues, and the queueing is part of its latency, as it
would be for a caller. A request that has no answer after `timeout_s` has failed; so has any answer but 200.

asyncio on select() rather than uvloop or epoll: those round a timer to whole milliseconds, which is longer than the
latencies to be measured. HTTP is only as much as a benchmark needs: keep-alive, Content-Length or chunked, one
request at a time on a connection. It does not look into the answers; rivals.py compares them beforehand.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import selectors
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import data

CONNECTIONS = 5  # as the original benchmark
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Rung:
    """What became of the requests of one rate."""

    rate: int
    sent: int
    success: float
    p50_us: float | None  # of the successful ones; None if there were none
    p90_us: float | None
    p99_us: float | None
    max_us: float | None


def bodies(features: int, rows: int) -> Iterator[bytes]:
    """Requests for random entities, without end; 500 of them, made beforehand."""
    rng = random.Random(rows)
    made = []
    for _ in range(500):
        entities = [rng.randint(1, data.ENTITIES) for _ in range(rows)]
        body = json.dumps({"feature_service": data.service_name(features), "entities": {data.JOIN_KEY: entities}})
        head = (
            "POST /get-online-features HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        made.append((head + body).encode())
    return itertools.cycle(made)


class Run:
    """One rate for some seconds: what is due, what waits for a connection, what was answered."""

    def __init__(self, port: int, rate: int, seconds: float, timeout_s: float, requests: Iterator[bytes]) -> None:
        self.port = port
        self.rate = rate
        self.count = max(1, round(rate * seconds))
        self.timeout_s = timeout_s
        self.requests = requests
        self.loop = asyncio.get_running_loop()
        self.waiting: deque[float] = deque()  # intended times
        self.clients: set[Client] = set()
        self.idle: list[Client] = []
        self.latencies: list[float] = []
        self.failures = 0
        self.finished = self.loop.create_future()

    async def result(self) -> Rung:
        for _ in range(CONNECTIONS):
            await self.connect()
        self.start = self.loop.time() + 0.05
        self.loop.call_at(self.start, self.due, 0)
        last_chance = 0.05 + self.count / self.rate + self.timeout_s
        try:
            await asyncio.wait_for(self.finished, last_chance)
        except TimeoutError:
            self.failures = self.count - len(self.latencies)
        for client in self.clients:
            client.transport.abort()
        return self.summary()

    async def connect(self) -> None:
        try:
            _, client = await self.loop.create_connection(lambda: Client(self), "127.0.0.1", self.port)
        except OSError:
            return  # a server that takes no connection fails by its unanswered requests
        self.clients.add(client)
        self.free(client)

    def due(self, number: int) -> None:
        """Send request `number`, or queue it, and come back when the next is due."""
        intended = self.start + number / self.rate
        if self.idle:
            self.idle.pop().send(next(self.requests), intended)
        else:
            self.waiting.append(intended)
        if number + 1 < self.count:
            self.loop.call_at(self.start + (number + 1) / self.rate, self.due, number + 1)

    def free(self, client: Client) -> None:
        if self.waiting:
            client.send(next(self.requests), self.waiting.popleft())
        else:
            self.idle.append(client)

    def answered(self, intended: float, *, ok: bool) -> None:
        latency = self.loop.time() - intended
        if ok and latency <= self.timeout_s:
            self.latencies.append(latency)
        else:
            self.failures += 1
        if len(self.latencies) + self.failures == self.count and not self.finished.done():
            self.finished.set_result(None)

    def closed(self, client: Client) -> None:
        """The server has closed a connection: its request failed, and a new connection replaces it."""
        if self.finished.done():
            return
        self.clients.discard(client)
        if client.intended is not None:
            self.answered(client.intended, ok=False)
        elif client in self.idle:
            self.idle.remove(client)
        if not self.finished.done():
            self.reconnecting = self.loop.create_task(self.connect())  # kept, or it could be collected

    def summary(self) -> Rung:
        ordered = sorted(self.latencies)

        def percentile(share: float) -> float | None:
            return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e6, 1) if ordered else None

        p50, p90, p99, highest = map(percentile, (0.5, 0.9, 0.99, 1))
        return Rung(self.rate, self.count, len(ordered) / self.count, p50, p90, p99, highest)


class Client(asyncio.Protocol):
    """One keep-alive connection with one request on its way at most."""

    transport: asyncio.Transport

    def __init__(self, run: Run) -> None:
        self.run = run
        self.intended: float | None = None
        self.missing: int | None = None  # bytes of the body still to come; None while the head or chunks are read
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes, intended: float) -> None:
        self.intended = intended
        self.missing = None
        self.received.clear()
        self.transport.write(request)

    def data_received(self, chunk: bytes) -> None:
        self.received += chunk
        if self.complete() and self.intended is not None:
            intended, self.intended = self.intended, None
            self.run.answered(intended, ok=self.received.startswith(b"HTTP/1.1 200 "))
            self.run.free(self)

    def complete(self) -> bool:
        if self.missing is None:
            end = self.received.find(HEAD_END)
            if end < 0:
                return False
            head = bytes(self.received[:end]).lower()
            _, found, length = head.partition(b"\r\ncontent-length:")
            if not found:  # chunked; JSON text holds no bare CRLF, so the end is the last chunk
                return self.received.endswith(LAST_CHUNK)
            self.missing = end + len(HEAD_END) + int(length.partition(b"\r\n")[0])
        return len(self.received) >= self.missing

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.closed(self)


def drive(port: int, rate: int, *, rows: int, features: int, seconds: float, timeout_s: float = 5) -> Rung:
    """One rate for `seconds`, and at most `timeout_s` more for the last answers."""

    async def run() -> Rung:
        return await Run(port, rate, seconds, timeout_s, bodies(features, rows)).result()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency at fixed rates, from the intended time; JSON lines.")
    parser.add_argument("port", type=int)
    parser.add_argument("--rates", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    for rate in options.rates:
        rung = drive(options.port, rate, rows=options.rows, features=options.features, seconds=options.seconds)
        print(json.dumps(asdict(rung)))


if __name__ == "__main__":
    main()
