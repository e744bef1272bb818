"""The floor: what a Python server cannot be faster than. Run by rivals.py as the peer `floor`.

It does what cannot be left out and nothing else: takes the numbers out of the body by splitting it, sends Redis one
command for each entity in one write, lets the server's own reader make rows of the replies, and writes an answer that
was made beforehand, of the right shape and size, with none of the values in it. No HTTP parsing, no JSON, no decoding,
no checks, no errors.

The distance between this and yummy-fast is what our work on a request costs. The reads are those of the rule in
experiments/hmget_or_hgetall.py. It is not a server: anything but the benchmark's own requests ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import re
import struct
from collections import deque
from pathlib import Path
from typing import NamedTuple, cast

import data
import uvloop

from yummy_fast.native.owner import Picker, ReplyReader

HGETALL_FROM_FIELDS = 24
LISTPACK_LIMIT = 512


class Redis(asyncio.Protocol):
    """One connection for all requests; replies come in the order of the commands."""

    def __init__(self) -> None:
        self.reader = ReplyReader()
        self.waiting: deque[Exchange] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from it

    def data_received(self, chunk: bytes) -> None:
        for _ in self.reader.feed(chunk):
            exchange = self.waiting.popleft()
            if not exchange.client.is_closing():
                exchange.client.write(exchange.answer)


class Exchange(NamedTuple):
    client: asyncio.Transport
    answer: bytes


class Client(asyncio.Protocol):
    """Requests are small and come one at a time, so each is one chunk; 100 entities take two at most."""

    def __init__(self, data_set: data.DataSet, redis: Redis) -> None:
        self.data_set = data_set
        self.redis = redis
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from it

    def data_received(self, chunk: bytes) -> None:
        self.received += chunk
        if not self.received.endswith(b"}}"):
            return
        request, self.received = self.received, b""
        start = request.rindex(b"[")
        entities = request[start + 1 : request.index(b"]", start)].split(b",")
        features = int(request[request.index(b"features_") + 9 : start].partition(b'"')[0])
        head, tail, picker = command(self.data_set.name, features)
        project = self.data_set.project.encode()
        key = data.entity_key(0, "")[:-8]
        self.redis.waiting.append(Exchange(self.transport, answer(features, len(entities))))
        self.redis.reader.expect(picker, len(entities))
        pack = struct.Struct("<q").pack
        self.redis.transport.write(b"".join([head + key + pack(int(one)) + project + tail for one in entities]))


@functools.cache
def command(set_name: str, features: int) -> tuple[bytes, bytes, Picker]:
    """What comes before and after the key in a command, and what makes a row of a reply."""
    data_set = data.SETS[set_name]
    per_view = data_set.services[features]
    fields = []
    for view in range(features // per_view):
        name = data.view_name(view)
        for feature, _ in list(data_set.features(view))[:per_view]:
            fields.append(struct.pack("<I", data.murmur3_32(f"{name}:{feature}".encode())))
        fields.append(f"_ts:{name}".encode())
    held = data_set.views * (data.FEATURES_PER_VIEW + 1)
    whole = len(fields) >= HGETALL_FROM_FIELDS and held <= LISTPACK_LIMIT
    words = [b"HGETALL", b"KEY"] if whole else [b"HMGET", b"KEY", *fields]
    key = data.entity_key(0, data_set.project)
    head, _, tail = data.command(words).partition(b"$3\r\nKEY")
    return head + b"$%d\r\n" % len(key), tail, Picker(fields, whole)


@functools.cache
def answer(features: int, rows: int) -> bytes:
    """As many bytes as Feast would send."""
    names = [data.JOIN_KEY, *(f"feature_{number}" for number in range(features))]
    column = {
        "values": [4711] * rows,
        "statuses": ["PRESENT"] * rows,
        "event_timestamps": ["2026-01-01T00:00:00Z"] * rows,
    }
    document = {"results": [column] * len(names), "metadata": {"feature_names": names}}
    body = json.dumps(document, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def serve(config: str, port: int) -> None:
    (redis_port,) = re.findall(r"127\.0\.0\.1:(\d+)", config)
    (name,) = re.findall(r"project: perf_(\w+)", config)
    loop = asyncio.get_running_loop()
    _, redis = await loop.create_connection(Redis, "127.0.0.1", int(redis_port))
    server = await loop.create_server(lambda: Client(data.SETS[name], redis), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A canned answer after a bare round trip to Redis.")
    parser.add_argument("config", type=Path)
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    uvloop.run(serve(options.config.read_text(), options.port))


if __name__ == "__main__":
    main()
