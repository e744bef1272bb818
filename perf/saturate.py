"""wrk at saturation: how many requests a second a server answers, and what each costs.

A closed loop: every connection sends its next request when the last is answered. That finds the throughput and the CPU
time of a request of the server and of Redis; its latencies only say how long the queue was, so compare latency with
openloop.py. A short run that is not counted comes first (connections, caches, lazy imports).
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data
import procfs

SCRIPT = Path(__file__).with_name("wrk.lua")
BODIES = 2_000
WARM_UP_S = 1
ROUNDS_AT_LEAST = 5  # of all connections; a server too slow for them in the time gets SLOW_S
SLOW_S = 15
SETTLE_LIMIT = 300  # a minute of waits; the slowest of the peers takes 30 s for what a run leaves behind


@dataclass(frozen=True, slots=True)
class Saturation:
    requests_per_s: float
    server_cpu_us: float  # each of one request
    redis_cpu_us: float
    response_bytes: float
    requests: int
    failed: int
    p50_us: int
    p90_us: int
    p99_us: int
    max_us: int


def saturate(
    port: int, server: int, redis: int, *, rows: int, features: int, connections: int, seconds: int, core: int
) -> Saturation:
    """Drive the server whose session is `server` and whose Redis is `redis`, from `core`."""
    warm_up = wrk(port, rows, features, connections, WARM_UP_S, core)
    settle(server)
    if warm_up["requests"] * seconds < ROUNDS_AT_LEAST * connections * WARM_UP_S:
        seconds = max(seconds, SLOW_S)
    server_before, redis_before = procfs.cpu_s(server), procfs.cpu_s(redis)
    result = wrk(port, rows, features, connections, seconds, core)
    server_s, redis_s = procfs.cpu_s(server) - server_before, procfs.cpu_s(redis) - redis_before
    settle(server)
    # Requests that wrk abandons at the end cost CPU and are not counted: `connections` of them at most.
    requests = max(1, result["requests"])
    return Saturation(
        requests_per_s=result["requests"] / result["duration_s"],
        server_cpu_us=server_s / requests * 1e6,
        redis_cpu_us=redis_s / requests * 1e6,
        response_bytes=result["bytes"] / requests,
        **{name: result[name] for name in ("requests", "failed", "p50_us", "p90_us", "p99_us", "max_us")},
    )


def settle(server: int) -> None:
    """Wait until the server has dealt with the requests that wrk left behind, which a slow one does for seconds."""
    spent = procfs.cpu_s(server)
    for _ in range(SETTLE_LIMIT):
        time.sleep(0.2)  # how long it must have done nothing, to a tick
        before, spent = spent, procfs.cpu_s(server)
        if spent - before < 0.015:
            return
    raise TimeoutError(f"process {server} is still at work a minute after its last request")


def wrk(port: int, rows: int, features: int, connections: int, seconds: int, core: int) -> dict[str, Any]:
    command = ["taskset", "-c", str(core), "wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s"]
    command += ["--timeout", "10s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}"]
    command += ["--", data.service_name(features), str(rows), str(data.ENTITIES), str(BODIES)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    if ended.returncode:
        raise ConnectionError(f"wrk ended with {ended.stderr.strip() or ended.stdout.strip()}")
    result: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return result
