"""Question: how do several workers share one address: a socket each (SO_REUSEPORT), or one inherited listener?

Four ways, with servers on uvloop that answer 200 to everything:

    reuseport    each worker has a listening socket of its own; the kernel picks one by a hash of the addresses
    inherited    one socket, made before the fork; uvloop accepts (all that wait, in a loop)
    one a turn   one socket; a worker accepts one connection per turn of its event loop
    fewest       as before, but a worker with two connections more than another lets it go first, for 2 ms

Three questions: how are keep-alive connections spread, what is lost when a worker is killed (kill -9) or stuck
(SIGSTOP), and what does it cost to take a connection?

Asked on 2026-11-23; Python 3.11.7, uvloop 0.23, Linux 6.18, two shared AMD EPYC cores, busy with other work. On the
last line, "fewest" without the allowance of two connections was 132 us; clients that come and go made it defer all
the time.

    connections that each of 2 (4) workers has, from few to many; worst of 3 runs
                                           reuseport         inherited        one a turn            fewest
        5 on 2, one by one                       0/5               0/5               1/4               2/3
        5 on 2, at once                          1/4               0/5               0/5               2/3
        5 on 2, under load                       1/4               2/3               2/3               2/3
        32 on 2, one by one                    11/21             11/21             10/22             15/17
        32 on 2, at once                       15/17              0/32              1/31             16/16
        32 on 2, under load                    14/18              2/30              8/24             15/17
        32 on 4, one by one                6/6/10/10          4/6/9/13          2/2/4/24           7/8/8/9
        32 on 4, at once                    6/6/8/12          0/2/5/25          0/0/0/32           7/8/8/9
        32 on 4, under load                 4/8/8/12         1/3/12/16          4/8/9/11           7/8/8/9
        200 on 4, one by one             40/43/55/62       13/25/71/91        7/48/67/78       49/49/51/51
        200 on 4, at once                41/46/52/61       7/39/43/111       0/10/27/163       48/49/51/52
        200 on 4, under load             39/49/52/60       38/44/55/63       38/49/52/61       49/50/50/51
    400 connections within 0.2 s, one request each, on 2 workers, one of which is
        killed after 50 ms stuck  reuseport   1047 answered, 153 cut off
        killed after 50 ms stuck  inherited   1200 answered
        killed after 50 ms stuck  one a turn  1192 answered, 8 cut off
        killed after 50 ms stuck  fewest      1200 answered
        stuck for good            reuseport   745 answered, 455 waited for 2 s in vain
        stuck for good            inherited   1196 answered, 4 waited for 2 s in vain
        stuck for good            one a turn  1123 answered, 77 waited for 2 s in vain
        stuck for good            fewest      1181 answered, 19 waited for 2 s in vain
    CPU of the workers for a connection with one request
        reuseport     57.4 us
        inherited     60.3 us
        one a turn    79.6 us
        fewest        95.3 us

Verdict: one inherited listener, and "fewest". With SO_REUSEPORT an eighth of all connections was lost with a worker
that was killed (its queue dies with it), and 38 % waited in vain for one that was stuck. What was cut off, or waited,
with one listener had been taken already by the worker that was hurt. Left to themselves, workers at one listener are
unfair: one worker can get all 32 connections, and kept alive they stay there. Counting them in shared memory makes it
even. It costs 35 us per new connection, half of what an answer of 50 values costs, and nothing for those that are kept.

Ask again when workers handle connections that are not alike (HTTP/2, streams), or with a kernel that has
net.ipv4.tcp_migrate_req on by default.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import uvloop

WAYS = ("reuseport", "inherited", "one a turn", "fewest")
HOWS = (("one by one", False, False), ("at once", True, False), ("under load", False, True))
DEFER_S = 0.002
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Server(asyncio.Protocol):
    """Answers with the number of the worker."""

    def __init__(self, number: int, counts: mmap.mmap) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number
        self.number, self.counts = number, counts

    def _count(self, by: int) -> None:
        (now,) = struct.unpack_from("i", self.counts, 4 * self.number)
        struct.pack_into("i", self.counts, 4 * self.number, now + by)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._count(1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._count(-1)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)  # type: ignore[attr-defined]


def reuseport_socket(port: int) -> socket.socket:
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(("127.0.0.1", port))
    return own


async def serve(way: str, number: int, workers: int, listener: socket.socket, counts: mmap.mmap) -> None:
    loop = asyncio.get_running_loop()

    def make() -> Server:
        return Server(number, counts)

    if way == "reuseport":
        own = reuseport_socket(listener.getsockname()[1])
        own.listen(2048)
        await loop.create_server(make, sock=own)
    elif way == "inherited":
        await loop.create_server(make, sock=listener, backlog=2048)
    else:
        tasks: set[asyncio.Task[object]] = set()

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            task = loop.create_task(loop.connect_accepted_socket(make, connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        def ready() -> None:
            if way == "fewest":
                held = struct.unpack_from(f"{workers}i", counts)
                if held[number] > min(held) + 1:
                    loop.remove_reader(listener)
                    loop.call_later(DEFER_S, again)
                    return
            accept()

        def again() -> None:
            accept()
            loop.add_reader(listener, ready)

        loop.add_reader(listener, ready)
    await asyncio.Event().wait()


class Fleet:
    """Some workers on one port."""

    def __init__(self, way: str, workers: int) -> None:
        self.counts = mmap.mmap(-1, 4 * workers)
        # With SO_REUSEPORT this one is only there to reserve the port: it does not listen.
        self.listener = reuseport_socket(0)
        self.port = self.listener.getsockname()[1]
        if way != "reuseport":
            self.listener.listen(2048)
            self.listener.setblocking(False)
        self.pids = []
        for number in range(workers):
            pid = os.fork()
            if pid == 0:
                with suppress(BaseException):
                    uvloop.run(serve(way, number, workers, self.listener, self.counts))
                os._exit(0)
            self.pids.append(pid)
        time.sleep(0.5)

    def close(self) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                os.kill(pid, signal.SIGCONT)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self.listener.close()


async def ask(port: int, timeout_s: float = 3) -> tuple[asyncio.StreamWriter, int]:
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            return writer, int(await reader.readexactly(1))
        except BaseException:
            writer.close()
            raise


async def spread(port: int, connections: int, *, at_once: bool, load: bool) -> Counter[int]:
    """Which worker each connection came to. With `load`, those that there are go on asking meanwhile."""
    writers: list[asyncio.StreamWriter] = []
    taken: Counter[int] = Counter()
    stop = asyncio.Event()

    async def go_on(writer: asyncio.StreamWriter) -> None:
        while not stop.is_set():
            writer.write(REQUEST)
            await asyncio.sleep(0.002)

    async def one() -> None:
        writer, worker = await ask(port)
        writers.append(writer)
        taken[worker] += 1
        if load:
            asking.append(asyncio.create_task(go_on(writer)))

    asking: list[asyncio.Task[None]] = []
    if at_once:
        await asyncio.gather(*(one() for _ in range(connections)))
    else:
        for _ in range(connections):
            await one()
    stop.set()
    await asyncio.gather(*asking)
    for writer in writers:
        writer.close()
    await asyncio.sleep(0.1)
    return taken


async def hurt(fleet: Fleet, number: signal.Signals) -> Counter[str]:
    """400 connections, each with one request, while the first worker is killed or stopped before they come."""
    outcomes: Counter[str] = Counter()

    async def one(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            writer, _ = await ask(fleet.port, 2)
            writer.close()
            outcomes["answered"] += 1
        except TimeoutError:
            outcomes["waited for 2 s in vain"] += 1
        except (OSError, EOFError):
            outcomes["cut off"] += 1

    clients = [asyncio.create_task(one(place / 2000)) for place in range(400)]  # in 0.2 s
    await asyncio.sleep(0.05)
    if number is signal.SIGKILL:
        os.kill(fleet.pids[0], signal.SIGSTOP)  # so that it has something to lose: it is busy for 50 ms
        await asyncio.sleep(0.05)
    os.kill(fleet.pids[0], number)
    await asyncio.gather(*clients)
    return outcomes


def cost(fleet: Fleet, connections: int = 4000) -> float:
    """CPU us of the workers for a connection with one request."""

    def spent() -> float:
        ticks = 0
        for pid in fleet.pids:
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                ticks += int(file.read().split()[0])
        return ticks / 1e3

    async def run() -> None:
        async def some(number: int) -> None:
            for _ in range(number):
                writer, _ = await ask(fleet.port)
                writer.close()

        await asyncio.gather(*(some(connections // 8) for _ in range(8)))

    uvloop.run(run())
    before = spent()
    uvloop.run(run())
    return (spent() - before) / connections


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"connections that each of 2 (4) workers has, from few to many; worst of {runs} runs")
    cases: list[tuple[str, int, int, Callable[[int], Counter[int]]]] = []
    for workers, connections in ((2, 5), (2, 32), (4, 32), (4, 200)):
        for name, at_once, load in HOWS:

            def case(port: int, n: int = connections, a: bool = at_once, b: bool = load) -> Counter[int]:
                return uvloop.run(spread(port, n, at_once=a, load=b))

            cases.append((f"{connections} on {workers}, {name}", workers, connections, case))
    print(f"    {'':26}" + "".join(f"{way:>18}" for way in WAYS))
    for name, workers, _, case in cases:
        cells = []
        for way in WAYS:
            fleet = Fleet(way, workers)
            worst: list[int] = []
            for _ in range(runs):
                taken = case(fleet.port)
                held = sorted(taken[number] for number in range(workers))
                if not worst or held[-1] > worst[-1]:
                    worst = held
            fleet.close()
            cells.append("/".join(map(str, worst)))
        print(f"    {name:26}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    print("400 connections within 0.2 s, one request each, on 2 workers, one of which is")
    for name, number in (("killed after 50 ms stuck", signal.SIGKILL), ("stuck for good", signal.SIGSTOP)):
        for way in WAYS:
            total: Counter[str] = Counter()
            for _ in range(runs):
                fleet = Fleet(way, 2)
                total += uvloop.run(hurt(fleet, number))
                fleet.close()
            text = ", ".join(f"{count} {what}" for what, count in sorted(total.items()))
            print(f"    {name:26}{way:12}{text}", flush=True)
    print("CPU of the workers for a connection with one request")
    for way in WAYS:
        fleet = Fleet(way, 2)
        print(f"    {way:12}{min(cost(fleet) for _ in range(3)):6.1f} us", flush=True)
        fleet.close()


if __name__ == "__main__":
    main()
