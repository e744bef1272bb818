"""How long large requests keep everybody else waiting: `make faults` writes the table in docs/reliability.md.

A real server with default limits reads a real Valkey. One client sends a request that is as large as it may be, while
another one asks for /health over and over. "Others wait" is the longest that one of its answers took. "Memory" is the
resident memory of the server at its highest (VmHWM), of a server that has just been started.

tests/system/test_large_requests.py plays the same requests and expects that no wait is as long as they once were.
"""

from __future__ import annotations

import re
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests import registries
from tests.harness import Server, Valkey
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import entity_key_header, feature_field, timestamp_field
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.feast_format.values import ValueType

MANY_KEYS = 100_000


def _map(entries: int) -> values.Map:
    return values.Map(val={f"key{number}": Value(int64_val=number) for number in range(entries)})


def _list_of_lists(rows: int, items: int) -> values.RepeatedValue:
    inner = Value(int64_list_val=values.Int64List(val=range(items)))
    return values.RepeatedValue(val=[inner] * rows)


FEATURES: Mapping[str, tuple[ValueType, Value]] = {
    "embedding": (
        ValueType.DOUBLE_LIST,
        Value(double_list_val=values.DoubleList(val=[number / 7 for number in range(768)])),
    ),
    "map": (ValueType.MAP, Value(map_val=_map(3))),
    "nested": (ValueType.VALUE_LIST, Value(list_val=_list_of_lists(3, 3))),
    "numbers": (
        ValueType.DOUBLE_LIST,
        Value(double_list_val=values.DoubleList(val=[number / 7 for number in range(900_000)])),
    ),
    "entries": (ValueType.MAP, Value(map_val=_map(200_000))),
    "maps": (ValueType.MAP_LIST, Value(map_list_val=values.MapList(val=[_map(1)] * 100_000))),
    "texts": (ValueType.STRING_LIST, Value(string_list_val=values.StringList(val=[""] * 2_000_000))),
    "text": (ValueType.STRING, Value(string_val="\x01" * 7_000_000)),
    "trips": (ValueType.INT64, Value(int64_val=11)),
}


class LargeRequest(NamedTuple):
    """A request, and what is expected of it."""

    name: str
    features: list[str]
    rows: list[int]
    status: int


def _wide(count: int) -> list[str]:
    return [f"wide:f{number}" for number in range(count)]


REQUESTS = [
    LargeRequest("a list of 768 numbers, 10,000 times", ["long:embedding"], [1] * 10_000, 413),
    LargeRequest("a list of 768 numbers, 40,000 times", ["long:embedding"], [1] * 40_000, 413),
    LargeRequest("a list of 768 numbers, 4,000 times", ["long:embedding"], [1] * 4_000, 200),
    LargeRequest("a map of 3 entries, 100,000 times", ["long:map"], [1] * 100_000, 200),
    LargeRequest("lists in a list, 100,000 times", ["long:nested"], [1] * 100_000, 200),
    LargeRequest("a map for each of 20,000 entities", ["many:map"], list(range(20_000)), 200),
    LargeRequest("a number for each of 20,000 entities", ["many:trips"], list(range(20_000)), 200),
    LargeRequest("250 features of 4,000 rows", _wide(250), [1] * 4_000, 200),
    LargeRequest("one list of 900,000 numbers", ["long:numbers"], [1], 200),
    LargeRequest("one map of 200,000 entries", ["long:entries"], [1], 200),
    LargeRequest("one list of 100,000 maps", ["long:maps"], [1], 200),
    LargeRequest("one list of 2,000,000 empty strings", ["long:texts"], [1], 200),
    LargeRequest("one string of 7 MB, all of it escaped", ["long:text"], [1], 200),
]


def key(entity: int) -> bytes:
    """The key of an entity's hash."""
    return entity_key_header(["item"], 3) + struct.pack("<IIq", 4, 8, entity) + registries.PROJECT.encode()


def make_repository(folder: Path, valkey: Valkey) -> None:
    """A registry with long values, and rows that hold them."""
    types = {name: kind for name, (kind, _) in FEATURES.items()}
    many = {"map": ValueType.MAP, "trips": ValueType.INT64}
    wide = {f"f{number}": ValueType.DOUBLE for number in range(250)}
    join_keys = {"item": ValueType.INT64}
    items: list[registries.Item] = [
        registries.entity("item", "item"),
        registries.view("long", ["item"], join_keys, types),
        registries.view("many", ["item"], join_keys, many),
        registries.view("wide", ["item"], join_keys, wide),
    ]
    (folder / "registry.db").write_bytes(registries.serialised(items))
    (folder / "feature_store.yaml").write_text(
        f"project: {registries.PROJECT}\nregistry: registry.db\n"
        f"online_store: {{type: redis, connection_string: '127.0.0.1:{valkey.port}'}}\n"
        "yummy_fast: {redis_read: hmget}\n"
    )
    stamp = encode_timestamp(1_700_000_000)

    def row(view: str, stored: Mapping[str, Value]) -> list[bytes]:
        pairs = [(feature_field(view, name), value.SerializeToString()) for name, value in stored.items()]
        return [part for pair in [(timestamp_field(view), stamp), *pairs] for part in pair]

    stored = row("many", {name: FEATURES[name][1] for name in many})
    commands: list[list[Any]] = [["HSET", key(entity), *stored] for entity in range(20_000)]
    commands.append(["HSET", key(1), *row("long", {name: value for name, (_, value) in FEATURES.items()})])
    commands.append(["HSET", key(1), *row("wide", {name: Value(double_val=1 / 7) for name in wide})])
    valkey.pipeline(commands)


class Others:
    """A client that asks for something small all the time."""

    def __init__(self, server: Server) -> None:
        self.longest_s = 0.0
        self._ended = threading.Event()
        self._server = server
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with self._server.client() as client:
            while not self._ended.wait(0.002):
                began = time.perf_counter()
                assert client.ask("/health").status == 200
                self.longest_s = max(self.longest_s, time.perf_counter() - began)

    def __enter__(self) -> Others:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Outcome(NamedTuple):
    """What became of a request, and of the others meanwhile."""

    status: int
    answer_bytes: int
    took_s: float
    others_waited_s: float
    memory_mb: float


def play(request: LargeRequest, folder: Path, *arguments: str) -> Outcome:
    """Send it to a new server."""
    with Server(folder, "--store-timeout-ms", "10000", *arguments) as server:
        server.ask("/get-online-features", {"features": ["many:trips"], "entities": {"item": [1]}})
        with Others(server) as others, server.client() as client:
            began = time.perf_counter()
            body = {"features": request.features, "entities": {"item": request.rows}}
            answer = client.ask("/get-online-features", body)
            took_s = time.perf_counter() - began
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        highest = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert highest is not None
        return Outcome(answer.status, len(answer.body), took_s, others.longest_s, int(highest[1]) / 1024)


BEGIN, END = "<!-- large requests: written by `make faults` -->", "<!-- /large requests -->"


def main() -> int:
    lines = [
        "| request | status | answer | answered after | others wait | memory |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name, Valkey() as valkey:
        folder = Path(name)
        make_repository(folder, valkey)
        for request in REQUESTS:
            # The machine has other things to do as well: the best of three is what the server does.
            outcome = min((play(request, folder) for _ in range(3)), key=lambda one: one.others_waited_s)
            lines.append(
                f"| {request.name} | {outcome.status} | {outcome.answer_bytes / 1e6:.1f} MB "
                f"| {outcome.took_s * 1e3:,.0f} ms | {outcome.others_waited_s * 1e3:.0f} ms "
                f"| {outcome.memory_mb:.0f} MB |"
            )
            print(lines[-1], flush=True)
    page = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
    head, _, rest = page.read_text().partition(BEGIN)
    if rest:
        page.write_text("\n".join([head + BEGIN, *lines, END + rest.partition(END)[2]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
