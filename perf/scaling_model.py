"""A model of what a number of requests a second needs: workers, pods, shards, memory, network.

    python perf/scaling_model.py --rate 100000 --rows 1 --features 50 --entities 10000000

It has what perf/clusters.py measured (MEASURED), and adds: costs are proportional to requests, a key's slot is random,
and nothing is busier than it may be (WORKER_BUSY, REDIS_BUSY). docs/scaling.md shows it worked for some rates; `make
docs` writes those tables, by tests/scaling_document.py.

What each node costs beyond the first is taken from one Redis, three and twelve of them, and is a straight line from
there on: at several hundred nodes it is an extrapolation.

Pure, but for reading the figures: numbers in, numbers out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().with_name("results")
MEASURED = RESULTS / "2026-11-26-clusters.json"

CACHE_MEASURED = RESULTS / "2026-11-26-caching.json"
"""What perf/caching.py measured: what a request costs at several hit rates of the cache of stored rows. All tables have
a row for each of them.
"""

WORKER_BUSY = 0.6
REDIS_BUSY = 0.5
"""How much of a core a worker, and a node of Redis, uses: a choice. A queue in front of a core that is used more grows
without need, and a shard has to carry on while its neighbour fails over."""
WORKERS_PER_POD = 4
SHARD_BYTES = 25e9
"""Data of a shard, at most: a choice. A replica that starts copies all of it."""
REPLICAS = 1
LARGEST_CLUSTER = 1000
"""Nodes of one cluster, at most: what Redis's cluster specification recommends."""

ONE, THREE, TWELVE = "one Redis", "cluster", "cluster of 12"
WAYS = {
    "HGETALL": ("one Redis, HGETALL", "one"),
    "HMGET": ("one Redis, HMGET", "one"),
    "HMGET, hashes as tables": ("tables, HMGET", "tables"),
}
"""Ways to read: what perf/clusters.py calls the server that reads so, and the store that keeps hashes so."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one request."""

    server_us: float
    redis_us: float
    redis_system_us: float
    """What of it the kernel takes for Redis: reading and writing sockets."""
    redis_bytes: float
    response_bytes: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What a number of requests a second needs."""

    workers: int
    pods: int
    shards: int
    clusters: int
    """More than one where a single one would have too many nodes: by feature service, or by a part of the entities."""
    data_gb: float
    """Of all primaries."""
    redis_gbit_s: float
    clients_gbit_s: float
    connections: int
    """Of one node of Redis: one of each worker, for primaries and for replicas that stand by."""


class Figures:
    """What was measured."""

    def __init__(self, report: Mapping[str, Any], cache: Mapping[str, Any] | None = None) -> None:
        self._report = report
        self._cache = [] if cache is None else cache["figures"]

    @classmethod
    def read(cls) -> Figures:
        """From the files of perf/results."""
        return cls(json.loads(MEASURED.read_text()), json.loads(CACHE_MEASURED.read_text()))

    def shapes(self) -> list[tuple[str, int, int]]:
        """Set, rows and features of each shape that was measured."""
        return list(dict.fromkeys((one["set"], one["rows"], one["features"]) for one in self._report["figures"]))

    def cost(self, data_set: str, rows: int, features: int, reader: str) -> Cost:
        """The lowest of the rounds of a reader of perf/clusters.py: whatever else runs on the machine only adds."""
        (figures,) = (
            figures
            for figures in self._report["figures"]
            if (figures["set"], figures["rows"], figures["features"], figures["reader"])
            == (data_set, rows, features, reader)
        )

        def lowest(name: str) -> float:
            return float(min(one[name] for one in figures["rounds"]))

        rounds = figures["rounds"]
        kernel = sum(one["redis_system_us"] for one in rounds) / sum(one["redis_cpu_us"] for one in rounds)
        return Cost(
            server_us=lowest("server_cpu_us"),
            redis_us=lowest("redis_cpu_us"),
            redis_system_us=lowest("redis_cpu_us") * kernel,
            redis_bytes=lowest("redis_bytes"),
            response_bytes=lowest("response_bytes"),
        )

    def entity_bytes(self, data_set: str, store: str) -> float:
        """Memory of an entity in Redis."""
        return float(self._report["memory"][data_set][store])

    def ways(self, data_set: str, rows: int, features: int) -> dict[str, tuple[Cost, float]]:
        """For each way to read what a request costs, and the memory of an entity."""
        found = {
            way: (self.cost(data_set, rows, features, reader), self.entity_bytes(data_set, store))
            for way, (reader, store) in WAYS.items()
        }
        for figures in self._cache:
            if (figures["rows"], figures["features"]) == (rows, features):
                cost = Cost(
                    figures["server_cpu_us"],
                    figures["redis_cpu_us"],
                    figures["redis_system_us"],
                    figures["redis_bytes"],
                    figures["response_bytes"],
                )
                found[f"cache, {figures['hit_rate']:.0%} hits"] = (cost, self.entity_bytes(data_set, "one"))
        return found

    def for_each_node(self, data_set: str, rows: int, features: int) -> tuple[float, float]:
        """What each node beyond the first costs a request that asks it, in us of the server and of Redis.

        For one row it is what a cluster costs at all: fewer requests share a write.
        """
        one, three, twelve = (self.cost(data_set, rows, features, reader) for reader in (ONE, THREE, TWELVE))
        if rows == 1:
            return max(twelve.server_us - one.server_us, 0), max(twelve.redis_us - one.redis_us, 0)
        more = [nodes_asked(rows, 3) - 1, nodes_asked(rows, 12) - 1]
        return (
            slope(more, [three.server_us - one.server_us, twelve.server_us - one.server_us]),
            slope(more, [three.redis_us - one.redis_us, twelve.redis_us - one.redis_us]),
        )


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line through the origin that is nearest to the points; 0 where it would fall."""
    return max(sum(x * y for x, y in zip(xs, ys, strict=True)) / sum(x * x for x in xs), 0.0)


def nodes_asked(rows: int, shards: int) -> float:
    """How many shards have a key of a request, on average."""
    return shards * (1 - (1 - 1 / shards) ** rows)


def needs(
    rate: float, rows: int, cost: Cost, node_us: tuple[float, float], entity_bytes: float, entities: float
) -> Needs:
    """What `rate` requests a second need. `node_us` as of Figures.for_each_node."""
    data_bytes = entities * entity_bytes
    shards = 1
    while True:
        whole = on_shards(cost, rows, shards, node_us)
        more = max(math.ceil(rate * whole.redis_us / 1e6 / REDIS_BUSY), math.ceil(data_bytes / SHARD_BYTES), 1)
        if more <= shards:
            break
        shards = more
    workers = math.ceil(rate * whole.server_us / 1e6 / WORKER_BUSY)
    pods = max(math.ceil(workers / WORKERS_PER_POD), 2)
    clusters = math.ceil(shards * (1 + REPLICAS) / LARGEST_CLUSTER)
    return Needs(
        workers=max(workers, pods),
        pods=pods,
        shards=shards,
        clusters=clusters,
        data_gb=data_bytes / 1e9,
        redis_gbit_s=rate * cost.redis_bytes * 8 / 1e9,
        clients_gbit_s=rate * cost.response_bytes * 8 / 1e9,
        connections=math.ceil(max(workers, pods) / clusters),
    )


def on_shards(cost: Cost, rows: int, shards: int, node_us: tuple[float, float]) -> Cost:
    """What a request costs whose keys may be on several shards."""
    if shards == 1:
        return cost
    times = 1 if rows == 1 else nodes_asked(rows, shards) - 1
    server_us, redis_us = node_us
    return replace(cost, server_us=cost.server_us + times * server_us, redis_us=cost.redis_us + times * redis_us)


# ------------------------------------------------------------------------------------------------------------ tables

HEAD = (
    "| requests/s | read by | workers | pods | shards | data, GB | Redis to workers, Gbit/s | to clients, Gbit/s "
    "| connections of a node |\n|---|---|---|---|---|---|---|---|---|\n"
)


def costs_table(figures: Figures, data_set: str, shapes: Sequence[tuple[int, int]]) -> str:
    """What a request costs, by shape and way."""
    lines = [
        "| rows x features | read by | worker, us | a worker's core answers, requests/s | Redis, us | of it the kernel "
        "| bytes from Redis | to the client | memory of an entity, bytes |\n|---|---|---|---|---|---|---|---|---|\n"
    ]
    for rows, features in shapes:
        for way, (cost, entity_bytes) in figures.ways(data_set, rows, features).items():
            kernel = cost.redis_system_us / cost.redis_us
            lines.append(
                f"| {rows} x {features} | {way} | {cost.server_us:,.0f} | {1e6 / cost.server_us:,.0f} "
                f"| {cost.redis_us:,.0f} | {kernel:.0%} | {cost.redis_bytes:,.0f} | {cost.response_bytes:,.0f} "
                f"| {entity_bytes:,.0f} |\n"
            )
    return "".join(lines)


def clusters_table(figures: Figures, readers: Sequence[str]) -> str:
    """CPU of a request on several nodes, as parts of what one Redis costs: of the server, and of Redis."""
    shapes = figures.shapes()
    lines = ["| | " + " | ".join(f"{rows} x {features}" for _, rows, features in shapes) + " |\n"]
    lines.append("|---|" + "---|" * len(shapes) + "\n")
    first = [figures.cost(*shape, ONE) for shape in shapes]
    for reader in readers:
        costs = [figures.cost(*shape, reader) for shape in shapes]
        cells = [
            f"{cost.server_us / one.server_us:.2f}, {cost.redis_us / one.redis_us:.2f}"
            for cost, one in zip(costs, first, strict=True)
        ]
        lines.append(f"| {reader} | {' | '.join(cells)} |\n")
    return "".join(lines)


def needs_table(
    figures: Figures, data_set: str, rows: int, features: int, rates: Sequence[float], entities: float
) -> str:
    """What each of the rates needs, by each way."""
    node_us = figures.for_each_node(data_set, rows, features)
    lines = [HEAD]
    for rate in rates:
        for way, (cost, entity_bytes) in figures.ways(data_set, rows, features).items():
            found = needs(rate, rows, cost, node_us, entity_bytes, entities)
            shards = f"{found.shards:,}" + (f" in {found.clusters} clusters" if found.clusters > 1 else "")
            lines.append(
                f"| {rate:,.0f} | {way} | {found.workers:,} | {found.pods:,} | {shards} | {found.data_gb:,.0f} "
                f"| {shown(found.redis_gbit_s)} | {shown(found.clients_gbit_s)} | {found.connections:,} |\n"
            )
    return "".join(lines)


def shown(number: float) -> str:
    """Two digits at least."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, nargs="+", default=[1e3, 1e5, 1e7], help="requests/s")
    parser.add_argument("--set", default="ints", help="of perf/data.py")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--entities", type=float, default=1e7)
    options = parser.parse_args()
    figures = Figures.read()
    print(costs_table(figures, options.set, [(options.rows, options.features)]))
    print(needs_table(figures, options.set, options.rows, options.features, options.rate, options.entities), end="")


if __name__ == "__main__":
    main()
