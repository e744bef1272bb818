"""The benchmark's feature repository, and a Redis filled with it.

A data set is 10,000 entities under one join key, feature views of ten features each, and feature services that ask for
a number of them. Its registry and its hashes are written here byte by byte, without Feast, in Feast's own formats
(Registry.proto; redis.py and key_encoding_utils.py of the SDK). So every server of the comparison reads the same bytes;
rivals.py compares their answers before it times anything.

The rule: nothing here may favour a server. Values are drawn anew for each entity from a fixed seed. Views are written
in one shuffled order for all entities, as after one full `feast materialize` (`--order entity`: each in its own
order). Keys use entity_key_serialization_version 2, the newest that all the rivals know.

It starts no server, and empties only the Redis that it fills.
"""

from __future__ import annotations

import argparse
import random
import socket
import string
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

ENTITIES = 10_000
JOIN_KEY = "entity"
FEATURES_PER_VIEW = 10
HASHES_PER_WRITE, HASHES_PER_BATCH = 50, 500
SECOND_2026 = 1_767_225_600  # 2026-01-01T00:00:00Z, the event time of all rows of `ints`

Order = Literal["entity", "store"]


# --- protobuf, as much of it as the two formats need ---------------------------------------------------------------


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def field(number: int, content: int | str | bytes) -> bytes:
    """One field of a message: a varint, or a length and that many bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


# --- the sets ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeatureType:
    """A Feast type: its number in ValueType.Enum and one random Value of it, serialised."""

    number: int
    draw: Callable[[random.Random], bytes]


def short_text(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=12))


INT32 = FeatureType(3, lambda rng: b"\x18" + varint(rng.randrange(1, 10_000)))
INT64 = FeatureType(4, lambda rng: b"\x20" + varint(rng.getrandbits(40)))
DOUBLE = FeatureType(5, lambda rng: struct.pack("<Bd", 0x29, rng.random()))
FLOAT = FeatureType(6, lambda rng: struct.pack("<Bf", 0x35, rng.random()))
STRING = FeatureType(2, lambda rng: field(2, short_text(rng)))
BOOL = FeatureType(7, lambda rng: b"\x38" + varint(rng.getrandbits(1)))


@dataclass(frozen=True, slots=True)
class DataSet:
    """`services`: for each number of features that can be asked for, how many of them come from each view."""

    name: str
    views: int
    types: tuple[FeatureType, ...]
    services: dict[int, int]
    timestamps_differ: bool

    @property
    def project(self) -> str:
        return f"perf_{self.name}"

    def features(self, view: int) -> Iterator[tuple[str, FeatureType]]:
        for i in range(view * FEATURES_PER_VIEW, (view + 1) * FEATURES_PER_VIEW):
            yield f"feature_{i}", self.types[i % len(self.types)]


ORIGINAL_SERVICES = dict.fromkeys((50, 100, 150, 200, 250), FEATURES_PER_VIEW)
MIXED = (DOUBLE, FLOAT, INT64, STRING, BOOL)
SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet("ints", 25, (INT32,), ORIGINAL_SERVICES, timestamps_differ=False),
        DataSet("mixed", 25, MIXED, ORIGINAL_SERVICES, timestamps_differ=True),
        DataSet("narrow", 25, (INT32,), {5: 1}, timestamps_differ=False),
        # 660 fields with the timestamps: over hash-max-listpack-entries, so Redis keeps a hash table.
        DataSet("huge", 60, (INT32,), {50: FEATURES_PER_VIEW, 250: FEATURES_PER_VIEW}, timestamps_differ=False),
    )
}


def service_name(features: int) -> str:
    return f"features_{features}"


def view_name(view: int) -> str:
    return f"feature_view_{view}"


# --- the registry (feast/core/*.proto; the numbers are the fields') -------------------------------------------------


def registry(data_set: DataSet) -> bytes:
    """Registry.proto as both Feast 0.26 and 0.67 read it."""
    entity = field(1, JOIN_KEY) + field(2, 4) + field(4, JOIN_KEY) + field(9, data_set.project)
    parts = [field(1, field(1, entity) + field(2, b"")), field(3, "1"), field(4, "1"), field(5, field(1, SECOND_2026))]
    parts += [field(6, field(1, view_spec(data_set, view)) + field(2, b"")) for view in range(data_set.views)]
    parts += [field(7, field(1, service_spec(data_set, count)) + field(2, b"")) for count in data_set.services]
    parts += [field(17, field(1, field(1, data_set.project)) + field(2, b""))]
    return b"".join(parts)


def feature_spec(name: str, kind: FeatureType) -> bytes:
    return field(1, name) + field(2, kind.number)


def view_spec(data_set: DataSet, view: int) -> bytes:
    name = view_name(view)
    # This source is never read, but Feast refuses a view without one.
    source = field(1, 1) + field(3, "event_timestamp") + field(11, field(2, "never-read.parquet")) + field(20, name)
    features = b"".join(field(4, feature_spec(*feature)) for feature in data_set.features(view))
    key_column = field(12, feature_spec(JOIN_KEY, INT64))
    head = field(1, name) + field(2, data_set.project) + field(3, JOIN_KEY)
    return head + features + field(6, b"") + field(7, source) + field(8, 1) + key_column


def service_spec(data_set: DataSet, count: int) -> bytes:
    per_view = data_set.services[count]
    projections = []
    for view in range(count // per_view):
        columns = list(data_set.features(view))[:per_view]
        chosen = b"".join(field(2, feature_spec(*column)) for column in columns)
        projections.append(field(3, field(1, view_name(view)) + chosen))
    return field(1, service_name(count)) + field(2, data_set.project) + b"".join(projections)


def write_repository(
    data_set: DataSet, folder: Path, redis_port: int, *, redis_type: str = "redis", addresses: str = ""
) -> Path:
    """The registry and its feature_store.yaml in `folder`; the path of the latter.

    `addresses` is a whole connection_string, for other types than `redis`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    registry_file = folder.resolve() / "registry.db"
    registry_file.write_bytes(registry(data_set))
    config = folder.resolve() / "feature_store.yaml"
    config.write_text(
        f"project: {data_set.project}\n"
        "provider: local\n"
        f"registry: {registry_file}\n"
        "online_store:\n"
        "  type: redis\n"
        f"  redis_type: {redis_type}\n"
        f'  connection_string: "{addresses or f"127.0.0.1:{redis_port}"}"\n'
        "entity_key_serialization_version: 2\n"
        "go_feature_retrieval: True\n"  # what the original benchmark set for Feast 0.26; the others ignore it
    )
    return config


# --- the hashes (feast/infra/online_stores/redis.py) -----------------------------------------------------------------


def murmur3_32(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, the hash of Feast's field names."""
    h = 0
    whole = len(data) & ~3
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        h ^= murmur_mix(block)
        h = ((h << 13 | h >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if tail := data[whole:]:
        h ^= murmur_mix(int.from_bytes(tail, "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def murmur_mix(block: int) -> int:
    block = block * 0xCC9E2D51 & 0xFFFFFFFF
    block = (block << 15 | block >> 17) & 0xFFFFFFFF
    return block * 0x1B873593 & 0xFFFFFFFF


def entity_key(entity: int, project: str) -> bytes:
    """The key of an entity's hash, entity_key_serialization_version 2: type and name, type and length and value."""
    return struct.pack("<I", 2) + JOIN_KEY.encode() + struct.pack("<IIq", 4, 8, entity) + project.encode()


def hashes(data_set: DataSet, order: Order) -> Iterator[list[bytes]]:
    """For each entity the words of its HSET."""
    rng = random.Random(data_set.name)
    views = []
    for view in range(data_set.views):
        name = view_name(view)
        columns = [
            (struct.pack("<I", murmur3_32(f"{name}:{feature}".encode())), kind.draw)
            for feature, kind in data_set.features(view)
        ]
        views.append((f"_ts:{name}".encode(), columns))
    rng.shuffle(views)
    for entity in range(1, ENTITIES + 1):
        if order == "entity":
            rng.shuffle(views)
        words = [b"HSET", entity_key(entity, data_set.project)]
        for timestamp_field, columns in views:
            words += (timestamp_field, timestamp(data_set, rng))
            for feature_field, draw in columns:
                words += (feature_field, draw(rng))
        yield words


def batches(data_set: DataSet, order: Order) -> Iterator[dict[bytes, list[bytes]]]:
    """The hashes, some at a time: key -> field, value, field, value ..."""
    every = hashes(data_set, order)
    while some := {words[1]: words[2:] for words in islice(every, HASHES_PER_BATCH)}:
        yield some


def timestamp(data_set: DataSet, rng: random.Random) -> bytes:
    if not data_set.timestamps_differ:
        return field(1, SECOND_2026)
    return field(1, SECOND_2026 + rng.randrange(86_400 * 200)) + field(2, rng.randrange(1_000_000) * 1000)


def fill(data_set: DataSet, redis_port: int, order: Order = "store") -> None:
    """Empty that Redis and write the set into it."""
    with socket.create_connection(("127.0.0.1", redis_port)) as link, link.makefile("rb") as replies:
        send(link, replies, [[b"FLUSHALL"]])
        batch = []
        for words in hashes(data_set, order):
            batch.append(words)
            if len(batch) == HASHES_PER_WRITE:
                send(link, replies, batch)
                batch = []
        send(link, replies, batch)


def send(link: socket.socket, replies: BinaryIO, commands: Sequence[Sequence[bytes]]) -> None:
    """Send the commands and read their replies, each of which is one line; an error ends the run."""
    link.sendall(b"".join(map(command, commands)))
    for _ in commands:
        reply = replies.readline()
        if reply[:1] not in (b"+", b":"):
            raise SystemExit(f"Redis said {reply!r}")


def command(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill a Redis, and write the feature repository that goes with it.")
    parser.add_argument("set", choices=SETS)
    parser.add_argument("folder", type=Path, help="where feature_store.yaml and registry.db go")
    parser.add_argument("--redis-port", type=int, required=True, help="of a Redis on 127.0.0.1 that may be emptied")
    parser.add_argument(
        "--order", choices=("entity", "store"), default="store", help="fields in one order per entity, or one for all"
    )
    options = parser.parse_args()
    print(write_repository(SETS[options.set], options.folder, options.redis_port))
    fill(SETS[options.set], options.redis_port, options.order)


if __name__ == "__main__":
    main()
