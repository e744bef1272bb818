"""Question: are Redis's replies received as bytes (asyncio.Protocol) or into a buffer of ours (BufferedProtocol)?

asyncio's documentation promises fewer copies for BufferedProtocol. What counts here is the CPU of one process that
receives replies of HGETALL and parses them with hiredis, which copies what it is fed in both cases.

Asked on 2026-11-23; hiredis 3.5, uvloop 0.23.0, Python 3.11.2, two shared AMD EPYC cores. CPU us a reply of 275 fields,
medians of 7 (lowest to highest):

                                      bytes                     buffer
    one reply a write (6 KB)     19.4 (13.9 to 20.5)      19.2 (12.2 to 20.3)
    ten (57 KB)                  12.7 (12.1 to 14.0)      11.8 (11.6 to 16.6)
    a hundred (570 KB)           14.8 (12.2 to 18.8)      17.0 (12.8 to 19.3)

Verdict: bytes. One copy of 6 KB is nothing beside making 550 objects of it; the difference is the machine's.

Ask again when hiredis can parse in place, or the store is read in larger pieces than uvloop's 256 KB.

    python perf/experiments/buffered_protocol.py
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
import hiredis
import uvloop

REPLIES = 30_000
BUFFER_BYTES = 256_000


def send(where: socket.socket, replies: bytes, times: int) -> None:
    for _ in range(times):
        where.sendall(replies)


class ByBytes(asyncio.Protocol):
    def __init__(self, done: asyncio.Event, wanted: int) -> None:
        self._done, self._wanted = done, wanted
        self._reader = hiredis.Reader()

    def data_received(self, chunk: bytes) -> None:
        for start in range(0, len(chunk), 16 << 10):
            self._reader.feed(chunk, start, min(16 << 10, len(chunk) - start))
            self.parse()

    def parse(self) -> None:
        while self._reader.gets() is not False:
            self._wanted -= 1
        if self._wanted == 0:
            self._done.set()


class ByBuffer(asyncio.BufferedProtocol):
    def __init__(self, done: asyncio.Event, wanted: int) -> None:
        self._parse = ByBytes(done, wanted)
        self._buffer = bytearray(BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        for start in range(0, size, 16 << 10):
            self._parse._reader.feed(self._buffer, start, min(16 << 10, size - start))
            self._parse.parse()


async def receive(protocol: Any, replies: bytes, each: int) -> float:
    """CPU us a reply."""
    here, there = socket.socketpair()
    times = REPLIES // each
    sender = multiprocessing.Process(target=send, args=(there, replies, times))
    sender.start()
    done = asyncio.Event()
    began = time.process_time()
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol(done, times * each), here)
    await done.wait()
    spent = time.process_time() - began
    transport.close()
    sender.join()
    there.close()
    return spent / (times * each) * 1e6


def main() -> None:
    hashes = [words[2:] for words in islice(data.hashes(data.SETS["ints"], "store"), 100)]
    bulk = [
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words) for words in hashes
    ]
    for each, title in ((1, "one reply a write (6 KB)"), (10, "ten (57 KB)"), (100, "a hundred (570 KB)")):
        results: dict[Any, list[float]] = {ByBytes: [], ByBuffer: []}
        for _ in range(7):
            for protocol, figures in results.items():
                figures.append(uvloop.run(receive(protocol, b"".join(bulk[:each]), each)))
        columns = [
            f"{protocol.__name__} {median(figures):5.2f} ({min(figures):.2f} to {max(figures):.2f})"
            for protocol, figures in results.items()
        ]
        print(f"{title:28}{'   '.join(columns)}   us a reply", flush=True)


if __name__ == "__main__":
    main()
