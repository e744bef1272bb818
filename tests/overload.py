"""More is asked than the store can answer, on a real server: `python -m tests.overload` prints how much is still good.

A proxy before a real Valkey lets through a certain number of rows a second. Clients come at random times, whatever has
become of those before (an open loop), and ask for more than that. *Goodput* is the rows of answers of 200, a second.
After the load, a client asks for one row a hundred times a second: how long after the load's end did the last one get
an error, or wait more than 100 ms?

`tests/system/test_overload.py` plays some of it with every run of the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults import FEATURES, VIEW, hash_of, key_of, start_valkey, trips_of
from tests.harness import PATIENCE_S, Proxy, Server, repository, request
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.stores.resp import render_command

DRIVERS = 5_000
ROWS_PER_S = 2_000
"""What the proxy lets through."""
LATE_S = 0.1
MAX_CONNECTIONS = 900
"""Who comes while so many wait does not get through (status 0): the server refuses connections from 1,000 on."""

Mix = Sequence[tuple[int, float]]
"""(rows of a request, requests a second) of each kind of client."""

MIXES: Sequence[Mix] = (
    ((1, 1_500),),
    ((1, 6_000),),
    ((100, 60),),
    ((1, 1_000), (100, 50)),
    ((1, 300), (1_000, 6)),
    ((1, 300), (2_000, 3)),
)
"""The first is what the store can answer, the others three times as much."""


class Sample(NamedTuple):
    """One request and what became of it."""

    rows: int
    ended: float
    """As time.monotonic()."""
    took_s: float
    status: int


class Asked:
    """A request that is sent again and again: what is counted is the server's work, not the clients'."""

    def __init__(self, dice: random.Random, rows: int) -> None:
        self._drivers = dice.sample(range(DRIVERS), rows)
        body = {"features": FEATURES, "entities": {"driver_id": self._drivers}}
        self.data = request("/get-online-features", body)
        self._right = b""

    def check(self, answer: bytes) -> None:
        """The first answer is read, and the others are the same."""
        if not self._right:
            assert json.loads(answer)["results"][1]["values"] == [trips_of(driver) for driver in self._drivers]
            self._right = answer
        assert answer == self._right


class _Requests(dict[int, list[Asked]]):
    """Of so many rows each."""

    def __missing__(self, rows: int) -> list[Asked]:
        dice = random.Random(rows)
        self[rows] = [Asked(dice, rows) for _ in range(50)]
        return self[rows]


class OpenLoop:
    """Clients that come at random times."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._connections = 0
        self._requests = _Requests()
        self._dice = random.Random(1)
        self.samples: list[Sample] = []

    async def run(self, mix: Mix, seconds: float) -> float:
        """Ask for so long, and wait for the answers. Returns when the last request was sent."""
        end = time.monotonic() + seconds
        asked: set[asyncio.Task[None]] = set()

        async def come(rows: int, per_s: float) -> None:
            when = time.monotonic()
            while when < end:
                task = asyncio.create_task(self._ask(rows))
                asked.add(task)
                task.add_done_callback(asked.discard)
                when += self._dice.expovariate(per_s)
                await asyncio.sleep(max(when - time.monotonic(), 0))

        await asyncio.gather(*(come(rows, per_s) for rows, per_s in mix))
        ended = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            while asked:
                await asyncio.gather(*asked)
        return ended

    async def _ask(self, rows: int) -> None:
        asked = self._dice.choice(self._requests[rows])
        began = time.monotonic()
        if self._idle:
            reader, writer = self._idle.pop()
        elif self._connections == MAX_CONNECTIONS:
            self.samples.append(Sample(rows, began, 0, 0))
            return
        else:
            self._connections += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(asked.data)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(lines.split()[1])
        answer = await reader.readexactly(int(lines.partition(b"content-length:")[2].split()[0]))
        ended = time.monotonic()
        self.samples.append(Sample(rows, ended, ended - began, status))
        if status == 200:
            asked.check(answer)
        else:
            assert b"retry-after: 1\r\n" in lines, lines
        assert b"connection: close" not in lines, lines
        self._idle.append((reader, writer))

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


class Outcome(NamedTuple):
    """What became of one load."""

    mix: Mix
    goodput: float
    samples: list[Sample]
    back_s: float
    """After the end of the load."""

    def __str__(self) -> str:
        lines = []
        for place, (rows, per_s) in enumerate(self.mix):
            samples = [sample for sample in self.samples if sample.rows == rows]
            good = sorted(sample.took_s for sample in samples if sample.status == 200)
            bad = sorted(sample.took_s for sample in samples if sample.status != 200)
            statuses = ", ".join(f"{status} {count}" for status, count in sorted(statuses_of(samples).items()))
            whole = f"{self.goodput:.0f} | {self.back_s:.2f} s" if place == 0 else " | "
            cells = (f"{per_s:g} x {rows}", statuses, _ms(good, 0.5), _ms(good, 0.99), _ms(bad, 0.5))
            lines.append(f"| {' | '.join(cells)} | {whole} |")
        return "\n".join(lines)


def statuses_of(samples: Sequence[Sample]) -> Counter[int]:
    return Counter(sample.status for sample in samples)


def _ms(sorted_s: Sequence[float], share: float) -> str:
    return f"{sorted_s[int(share * (len(sorted_s) - 1))] * 1000:.0f}" if sorted_s else ""


@contextlib.contextmanager
def limited_server(folder: Path, *flags: str, rows_per_s: int = ROWS_PER_S) -> Iterator[Server]:
    """A server whose store answers so many rows a second; 0: as many as it can."""
    valkey = start_valkey(folder)
    with valkey, Proxy(valkey.port) as proxy:
        valkey.pipeline([("HSET", key_of(driver), *hash_of(driver)) for driver in range(DRIVERS)])
        names = (feature_field(VIEW, "trips"), feature_field(VIEW, "nick"), timestamp_field(VIEW))
        reply_bytes = 0
        for driver in range(DRIVERS):
            held = hash_of(driver)
            stored = dict(zip(held[::2], held[1::2], strict=True))
            reply_bytes += len(render_command(*map(stored.__getitem__, names)))  # a reply looks as a command does
        proxy.limit(rows_per_s * reply_bytes // DRIVERS)
        port = proxy.port if rows_per_s else valkey.port
        repository(folder / "repository", "redis", f"127.0.0.1:{port}")
        with Server(folder / "repository", *flags) as server:
            yield server


def play(port: int, mix: Mix, seconds: float) -> Outcome:
    """Put a load on the server, and look how soon it is over."""

    async def playing() -> Outcome:
        load, after = OpenLoop(port), OpenLoop(port)
        try:
            began = time.monotonic()
            ended = await load.run(mix, seconds)
            rows = sum(sample.rows for sample in load.samples if sample.status == 200 and sample.ended <= ended)
            over = time.monotonic()
            after._idle, load._idle = load._idle, []
            await after.run(((1, 100),), 2.0)
            bad = [sample.ended for sample in after.samples if sample.status != 200 or sample.took_s > LATE_S]
            return Outcome(mix, rows / (ended - began), load.samples, max(bad, default=over) - over)
        finally:
            load.close()
            after.close()

    return asyncio.run(playing())


def saturate(seconds: float) -> int:
    """The capacity of this machine, by clients that wait for their answers; and the goodput at three times of it."""
    rows = 1_000
    with tempfile.TemporaryDirectory() as name, limited_server(Path(name), rows_per_s=0) as server:

        async def closed_loop() -> float:
            load = OpenLoop(server.port)
            end = time.monotonic() + seconds

            async def ask() -> None:
                while time.monotonic() < end:
                    await load._ask(rows)

            await asyncio.gather(*(ask() for _ in range(8)))
            load.close()
            return rows * statuses_of(load.samples)[200] / seconds

        capacity = asyncio.run(closed_loop())
        print(f"capacity: {capacity:.0f} rows/s")
        print(play(server.port, ((rows, 3 * capacity / rows), (1, 100)), seconds))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument(
        "--saturate", action="store_true", help="without the proxy's limit: three times what eight clients get"
    )
    arguments = parser.parse_args()
    if arguments.saturate:
        return saturate(arguments.seconds)
    print("| requests a second x rows | answers | 200, ms: median | 99 % | errors, ms | goodput, rows/s | over after |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, limited_server(Path(name)) as server:
        for mix in MIXES:
            print(play(server.port, mix, arguments.seconds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
