"""What a request costs on one Redis, on a cluster and on its replicas; and by HMGET, HGETALL and Redis's two encodings.

    python perf/clusters.py [--seconds 2] [--rounds 3] [--feast-python .venv-feast/bin/python] [--what clusters]

Four stores have the same data: one Valkey; one that keeps hashes as tables (hash-max-listpack-entries 64); a cluster of
three primaries with a replica each; and one of twelve primaries without, to see what each further node costs. Each row
of the tables is a server that reads from one of them, all started at once and driven in turn, round after round: so the
ratios to the first row are those of one run. Feast reads from the same cluster where it can; Yummy has no cluster. A
server that answers otherwise than the first one ends the run.

CPU is that of the server and that of all nodes of its store, by /proc. Bytes between the two are counted by the nodes.
The server has core 0 for itself, the nodes and the load generator share core 1, so requests/s say little here. Of
several rounds the lowest counts.

Prints a table for each shape, and writes perf/results/DATE-WHAT.json, from which docs/scaling.md has its figures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]  # this is run as a script

import data  # noqa: E402
import peers  # noqa: E402
import procfs  # noqa: E402
import rivals  # noqa: E402
from saturate import ROUNDS_AT_LEAST, SLOW_S, WARM_UP_S, settle, wrk  # noqa: E402

from tests.clusters import Cluster, Node, until  # noqa: E402
from tests.ports import free_port  # noqa: E402

ATTEMPTS = 3
"""How often a round is tried in which a request fails: on a machine that is busy with other work, some do."""
TIMEOUTS = {"server": ("--store-timeout-ms", "10000"), "cluster": ("--cluster-node-timeout", "60000")}
"""So that a machine that is busy with other work makes no errors and no failovers."""
TABLE = ("--hash-max-listpack-entries", "64")
SHAPES = {
    "ints": (rivals.Shape(1, 50, 32), rivals.Shape(10, 50, 8), rivals.Shape(100, 50, 5)),
    "narrow": (rivals.Shape(1, 5, 32), rivals.Shape(100, 5, 5)),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """A row of the tables: a server that reads from a store."""

    name: str
    store: str
    options: tuple[str, ...] = ()
    is_feast: bool = False


READERS = (
    Reader("one Redis", "one"),
    Reader("cluster", "cluster"),
    Reader("cluster, read_from_replicas", "replicas"),
    Reader("cluster of 12", "wide"),
    Reader("one Redis, HMGET", "one", ("--redis-read", "hmget")),
    Reader("one Redis, HGETALL", "one", ("--redis-read", "hgetall")),
    Reader("tables, HMGET", "tables", ("--redis-read", "hmget")),
    Reader("tables, HGETALL", "tables", ("--redis-read", "hgetall")),
    Reader("Feast, one Redis", "one", is_feast=True),
    Reader("Feast, cluster", "cluster", is_feast=True),
)


@dataclass(slots=True)
class Store:
    """Nodes that have the data."""

    nodes: Sequence[Node]
    redis_type: str
    addresses: str

    def cpu_s(self) -> tuple[float, float]:
        """In all, and the kernel's part."""
        each = [procfs.process_cpu_s(node.process.pid) for node in self.nodes]
        return sum(user + system for user, system in each), sum(system for _, system in each)

    def sent_bytes(self) -> int:
        """By the nodes, to the servers and to each other."""
        return sum(int(node.info("INFO", "stats")["total_net_output_bytes"]) for node in self.nodes)

    def memory_bytes(self) -> int:
        return int(self.nodes[0].info("INFO", "memory")["used_memory"])


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one reader, one shape and one round; all but the first of one request."""

    requests_per_s: float
    server_cpu_us: float
    redis_cpu_us: float
    redis_system_us: float
    """The part of it that is the kernel's: reading and writing sockets, mostly."""
    redis_bytes: float
    response_bytes: float


@contextmanager
def single(folder: Path, *options: str) -> Iterator[Store]:
    with Node(["--dir", str(folder), *options]) as node:
        until(lambda: node.do("PING") == b"PONG", "a node")
        yield Store([node], "redis", f"127.0.0.1:{node.port}")


def fill(
    stores: Mapping[str, Store], clusters: Sequence[Cluster], data_set: data.DataSet, order: data.Order
) -> dict[str, float]:
    """Write the data into each store; how many bytes an entity takes in those of one node."""
    took = {}
    for name in ("one", "tables"):
        empty = stores[name].memory_bytes()
        data.fill(data_set, stores[name].nodes[0].port, order)
        took[name] = (stores[name].memory_bytes() - empty) / data.ENTITIES
    for some in data.batches(data_set, order):
        for cluster in clusters:
            cluster.write(some)
    return took


def serving(
    stack: ExitStack, reader: Reader, store: Store, data_set: data.DataSet, folder: Path, feast_python: str
) -> peers.Server:
    folder.mkdir()
    config = data.write_repository(data_set, folder, 0, redis_type=store.redis_type, addresses=store.addresses)
    port = free_port()
    programs = Path(feast_python).parent if reader.is_feast else Path(sys.executable).parent
    if reader.is_feast:
        peer = peers.PEERS["feast-0.67.0"]
    else:
        ours = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-P", "-m", "yummy_fast", "serve", *TIMEOUTS["server"]]
        command: peers.Command = lambda _, config, port: [*ours, "-f", str(config), "-p", str(port), *reader.options]  # noqa: E731
        peer = peers.Peer(reader.name, "", (), command, "")
    first = rivals.request(min(data_set.services), [1])
    server = stack.enter_context(peers.serving(peer, programs, config, port, rivals.SERVER_CORE, first))
    if isinstance(server, peers.Missing):
        raise SystemExit(f"{reader.name}: {server.reason}")
    return server


def measure(server: peers.Server, store: Store, shape: rivals.Shape, seconds: int) -> Figures:
    """Drive a server for a round."""
    asked = (server.port, shape.rows, shape.features, shape.connections)
    for _ in range(ATTEMPTS):
        before, (redis_before, system_before), sent = procfs.cpu_s(server.pid), store.cpu_s(), store.sent_bytes()
        result = wrk(*asked, seconds, rivals.LOAD_CORE)
        after, (redis_after, system_after) = procfs.cpu_s(server.pid), store.cpu_s()
        settle(server.pid)
        if result["requests"] and not result["failed"]:
            break
        print(f"{server.name}, {shape}: {result}; its log ends: {server.log_end()}", file=sys.stderr)
    else:
        raise SystemExit("a round that failed is no figure")
    requests = result["requests"]
    return Figures(
        requests_per_s=requests / result["duration_s"],
        server_cpu_us=(after - before) / requests * 1e6,
        redis_cpu_us=(redis_after - redis_before) / requests * 1e6,
        redis_system_us=(system_after - system_before) / requests * 1e6,
        redis_bytes=(store.sent_bytes() - sent) / requests,
        response_bytes=result["bytes"] / requests,
    )


def compare(
    data_set: data.DataSet, servers: Mapping[Reader, peers.Server], stores: Mapping[str, Store], options: Any
) -> Iterator[dict[str, Any]]:
    """Drive all of them in turn, and print a table for each shape."""
    for shape in SHAPES[data_set.name]:
        rounds: dict[Reader, list[Figures]] = {reader: [] for reader in servers}
        seconds = {}
        for reader, server in servers.items():
            warm_up = wrk(server.port, shape.rows, shape.features, shape.connections, WARM_UP_S, rivals.LOAD_CORE)
            settle(server.pid)
            slow = warm_up["requests"] * options.seconds < ROUNDS_AT_LEAST * shape.connections * WARM_UP_S
            seconds[reader] = SLOW_S if slow else options.seconds
        for number in range(options.rounds):
            for reader in servers if number % 2 == 0 else reversed(list(servers)):
                figures = measure(servers[reader], stores[reader.store], shape, seconds[reader])
                rounds[reader].append(figures)
        show(data_set, shape, rounds)
        for reader, some in rounds.items():
            about = {"set": data_set.name, **asdict(shape), "reader": reader.name}
            yield {**about, "rounds": [asdict(one) for one in some]}


def lowest(rounds: Sequence[Figures], figure: Callable[[Figures], float]) -> float:
    """Of the rounds: whatever else runs on the machine only adds to them."""
    return min(map(figure, rounds))


def show(data_set: data.DataSet, shape: rivals.Shape, rounds: Mapping[Reader, Sequence[Figures]]) -> None:
    print(f"\n{data_set.name} {shape.rows} x {shape.features}, {shape.connections} connections\n")
    print("| | server CPU, us | times | Redis CPU, us | times | bytes from Redis |\n|---|---|---|---|---|---|")
    first = next(iter(rounds.values()))
    for reader, some in rounds.items():
        server_us, redis_us = (
            (lowest(some, figure), lowest(some, figure) / (lowest(first, figure) or 1))
            for figure in (lambda one: one.server_cpu_us, lambda one: one.redis_cpu_us)
        )
        sent = lowest(some, lambda one: one.redis_bytes)
        print(
            f"| {reader.name} | {server_us[0]:,.0f} | {server_us[1]:.2f} | {redis_us[0]:,.0f} | {redis_us[1]:.2f} "
            f"| {sent:,.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=2, help="of each round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--order", choices=("entity", "store"), default="store", help="as in data.py")
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    parser.add_argument("--readers", nargs="+", choices=[reader.name for reader in READERS], help="these only")
    parser.add_argument("--what", default="", help="write perf/results/DATE-WHAT.json")
    options = parser.parse_args()
    os.sched_setaffinity(0, {rivals.LOAD_CORE})
    report: dict[str, Any] = {"machine": procfs.machine(), "entities": data.ENTITIES, "memory": {}, "figures": []}
    today = datetime.datetime.now(tz=datetime.UTC).date()
    path = rivals.RESULTS / f"{today}-{options.what}.json" if options.what else None
    readers = [reader for reader in READERS if reader.name in (options.readers or [one.name for one in READERS])]
    for name in options.sets:
        data_set = data.SETS[name]
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clusters-")))
            cluster = stack.enter_context(Cluster(options=TIMEOUTS["cluster"]))
            wide = stack.enter_context(Cluster(12, replicas=0, options=TIMEOUTS["cluster"]))
            stores = {
                "one": stack.enter_context(single(folder)),
                "tables": stack.enter_context(single(folder, *TABLE)),
                "cluster": Store(cluster.nodes, "redis_cluster", cluster.addresses),
                "wide": Store(wide.nodes, "redis_cluster", wide.addresses),
                "replicas": Store(cluster.nodes, "redis_cluster", f"{cluster.addresses},read_from_replicas=true"),
            }
            report["memory"][name] = fill(stores, (cluster, wide), data_set, options.order)
            servers: dict[Reader, peers.Server] = {}
            for number, reader in enumerate(readers):
                where = folder / str(number)
                servers[reader] = serving(stack, reader, stores[reader.store], data_set, where, options.feast_python)
            reference = servers[readers[0]]
            for reader, server in servers.items():
                if text := rivals.difference(server, reference, data_set):
                    raise SystemExit(f"{reader.name} gives {text}")
            for figures in compare(data_set, servers, stores, options):
                report["figures"].append(figures)
                if path is not None:
                    path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
