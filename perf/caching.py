"""What the cache saves: the same requests to a server with `cache_mb` and to one without, in turn, on one Redis.

    python perf/caching.py [--shapes 1x50 10x50] [--shares 0 0.5 0.9 0.99] [--rounds 3] [--seconds 3] [--what caching]

With `--cluster`, both read from a cluster of three primaries instead.

A share of the requests asks for 1,000 hot entities, by Zipf's law; the rest walks through the other 9,000 (zipf.lua).
The cache has room for a third of all, so the share is about the hit rate; the hit rate itself is read from the metrics
of the server. Both servers run all the time on one core, Redis (all its nodes) and the generator on the other; the one
that is not asked does nothing but probe Redis once a second.

Prints a table, medians of the rounds: requests/s and the CPU of a request, of the server and of Redis, with 16
connections that never wait; and p50 with one connection, so without a queue. The last column has ratios: how many times
as many requests/s, and which part of p50 and of Redis's CPU is left. With `--what caching`, several shapes are written
to perf/results/DATE-caching.json, which `scaling_model.py` reads.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from redis import Redis

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "perf")]  # this is run as a script

import data  # noqa: E402
import peers  # noqa: E402
import procfs  # noqa: E402
import rivals  # noqa: E402
import saturate  # noqa: E402

from tests.clusters import Cluster  # noqa: E402

CONNECTIONS = 16
HOT = 1000
CACHE_MB = {"1x50": 4, "10x50": 4, "100x50": 4, "1x250": 12}
"""Room for a third of the entities, by the size of their rows."""


@dataclass(frozen=True, slots=True)
class Figures:
    requests_per_s: float
    p50_us: float
    server_cpu_us: float
    redis_cpu_us: float
    redis_system_us: float
    """The part of it that is the kernel's."""
    redis_bytes: float
    response_bytes: float
    hit_rate: float


SHOWN = ("requests_per_s", "p50_us", "server_cpu_us", "redis_cpu_us")

asked: Counter[int] = Counter()
"""How many requests each port has had: where its walk through the entities that are not hot goes on."""


def wrk(port: int, rows: int, features: int, share: float, connections: int, seconds: int) -> dict[str, Any]:
    command = ["taskset", "-c", str(rivals.LOAD_CORE), "wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s"]
    command += ["--timeout", "10s", "-s", str(ROOT / "perf" / "zipf.lua"), f"http://127.0.0.1:{port}", "--"]
    command += [data.service_name(features), str(rows), str(data.ENTITIES), str(HOT), str(share), str(asked[port])]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    result: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    if result["failed"]:
        raise SystemExit(f"{result['failed']} requests failed")
    asked[port] += round(result["requests"] * (1 - share)) + connections
    return result


def lookups(port: int) -> tuple[float, float]:
    """Hits and misses of the cache so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("yummy_fast_store_cache_")}
    return found["yummy_fast_store_cache_hits_total"], found["yummy_fast_store_cache_misses_total"]


@dataclass(frozen=True, slots=True)
class Store:
    """The one Redis, or the nodes of the cluster."""

    pids: Sequence[int]
    ports: Sequence[int]
    redis_type: str = "redis"
    addresses: str = ""

    def cpu_s(self) -> tuple[float, float]:
        """The user's part, and the kernel's."""
        users, systems = zip(*map(procfs.process_cpu_s, self.pids), strict=True)
        return sum(users), sum(systems)

    def sent_bytes(self) -> int:
        """What it has sent so far."""
        sent = 0
        for port in self.ports:
            with closing(Redis(port=port)) as redis:
                sent += int(redis.info("stats")["total_net_output_bytes"])
        return sent


def measure(port: int, server: int, store: Store, rows: int, features: int, share: float, seconds: int) -> Figures:
    wrk(port, rows, features, share, CONNECTIONS, 1)  # the hot entities come into the cache
    saturate.settle(server)
    hits, misses = lookups(port)
    server_s, (user_s, system_s), sent = procfs.cpu_s(server), store.cpu_s(), store.sent_bytes()
    result = wrk(port, rows, features, share, CONNECTIONS, seconds)
    server_s, (user_after_s, system_after_s) = procfs.cpu_s(server) - server_s, store.cpu_s()
    sent = store.sent_bytes() - sent
    hits_after, misses_after = lookups(port)
    alone = wrk(port, rows, features, share, 1, seconds)
    wanted = hits_after - hits + misses_after - misses
    requests = result["requests"]
    return Figures(
        requests_per_s=requests / result["duration_s"],
        p50_us=alone["p50_us"],
        server_cpu_us=server_s / requests * 1e6,
        redis_cpu_us=(user_after_s - user_s + system_after_s - system_s) / requests * 1e6,
        redis_system_us=(system_after_s - system_s) / requests * 1e6,
        redis_bytes=sent / requests,
        response_bytes=result["bytes"] / requests,
        hit_rate=(hits_after - hits) / wanted if wanted else 0.0,
    )


def median(rounds: list[Figures], name: str) -> float:
    return statistics.median(getattr(figures, name) for figures in rounds)


def filled(stack: ExitStack, data_set: data.DataSet, folder: Path, options: argparse.Namespace) -> Store:
    """Start the store, and write the data into it."""
    if not options.cluster:
        store = Store([stack.enter_context(peers.redis(options.port, rivals.LOAD_CORE, folder))], [options.port])
        data.fill(data_set, options.port)
        return store
    os.sched_setaffinity(0, {rivals.LOAD_CORE})  # the nodes inherit it
    cluster = stack.enter_context(
        Cluster(replicas=0, binary="redis-server", options=("--cluster-node-timeout", "60000"))
    )
    for some in data.batches(data_set, "store"):
        cluster.write(some)
    pids, ports = [node.process.pid for node in cluster.nodes], [node.port for node in cluster.nodes]
    return Store(pids, ports, "redis_cluster", cluster.addresses)


def compare(stack: ExitStack, shape: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Start Redis and both servers, drive them in turn, and print a table. Returns the medians of each share."""
    rows, features = map(int, shape.split("x"))
    data_set = data.SETS["ints"]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caching-"))).resolve()
    store = filled(stack, data_set, folder, options)
    servers: dict[str, tuple[int, int]] = {}
    for place, name in enumerate(("without", "with"), 1):
        config = data.write_repository(
            data_set, folder / name, options.port, redis_type=store.redis_type, addresses=store.addresses
        )
        if name == "with":
            config.write_text(config.read_text() + f"yummy_fast: {{cache_mb: {CACHE_MB[shape]}}}\n")
        port = options.port + place
        command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-P", "-m", "yummy_fast"]
        command += ["serve", "-f", str(config), "-p", str(port), "--store-timeout-ms", "10000"]  # a busy machine
        log = folder / f"{name}.log"
        pid = stack.enter_context(peers.process(command, rivals.SERVER_CORE, log, cwd=config.parent))
        body = rivals.request(features, [1])
        peers.wait_for(lambda port=port, body=body: peers.ask(port, body) is not None, name, pid)
        servers[name] = (port, pid)
    print(f"\n{shape}, load average {os.getloadavg()[0]:.1f}\n")
    print("| hit rate | requests/s, without / with | p50, us | server CPU, us | Redis CPU, us | ratios |")
    print("|---|---|---|---|---|---|")
    for share in options.shares:
        found: dict[str, list[Figures]] = {"without": [], "with": []}
        for _ in range(options.rounds):
            for name, (port, pid) in servers.items():
                found[name].append(measure(port, pid, store, rows, features, share, options.seconds))
        medians = {
            name: {one.name: median(rounds, one.name) for one in fields(Figures)} for name, rounds in found.items()
        }
        without, cached = medians["without"], medians["with"]
        cells = [f"{without[name]:,.0f} / {cached[name]:,.0f}" for name in SHOWN]
        ratios = [cached[name] / without[name] for name in ("requests_per_s", "p50_us", "redis_cpu_us")]
        cells.append("x {:.2f}, p50 {:.2f}, Redis {:.2f}".format(*ratios))
        print(f"| {cached['hit_rate']:.1%} | {' | '.join(cells)} |", flush=True)
        yield {"set": data_set.name, "rows": rows, "features": features, **cached, "without": without}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shapes", nargs="+", default=["1x50"], choices=CACHE_MB, help="rows x features (default: 1x50)"
    )
    parser.add_argument("--shares", nargs="+", type=float, default=[0, 0.5, 0.9, 0.99], help="of hot requests")
    parser.add_argument("--cluster", action="store_true", help="of three primaries, instead of one Redis")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each figure (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7380, help="Redis's; the servers' are the next two")
    parser.add_argument("--what", default="", help="write perf/results/DATE-WHAT.json")
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": procfs.machine(), "entities": data.ENTITIES, "figures": []}
    for shape in options.shapes:
        with ExitStack() as stack:
            report["figures"] += compare(stack, shape, options)
    if options.what:
        today = datetime.datetime.now(tz=datetime.UTC).date()
        (rivals.RESULTS / f"{today}-{options.what}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
