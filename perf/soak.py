"""A soak: full load and a new registry every few seconds, for minutes. Do memory and descriptors stay flat?

    python perf/soak.py                      # ten minutes, two workers
    python perf/soak.py --minutes 3 --reload-every 1

Beside wrk's kept connections, clients come and go, metrics are scraped, and each registry is compiled by each worker;
every fifth one cannot be read. RSS, PSS and open descriptors of every process are sampled, and a line is laid through
the samples of each (least squares), the first fifth of the time left out: caches fill, allocators settle. Flat is what
moves by less than FLAT of itself along that line. There is no self-restart to hide anything: the processes must be the
same at the end, and no request may have failed.

The result is JSON under perf/results/. It needs what rivals.py needs, but for the peers.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import data
import peers
import procfs
import rivals
import saturate

FLAT = 0.03
"""A leak of one byte a request would be 2 % in ten minutes at 1,000 requests/s."""
WARM_UP = 0.2
SAMPLE_S = 2.0
BROKEN_EVERY = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one time."""

    at_s: float
    pid: int
    rss_bytes: int
    pss_bytes: int
    descriptors: int


def sample(leader: int, at_s: float) -> list[Sample]:
    """Every process of a session."""
    found = []
    for pid in procfs.session(leader):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("Rss:", "Pss:"))}
        found.append(Sample(at_s, pid, sizes["Rss:"], sizes["Pss:"], descriptors))
    return found


def slope(points: list[tuple[float, float]]) -> float:
    """What the line through the points rises in a second."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0


def judge(samples: list[Sample], seconds: float) -> dict[str, dict[str, Any]]:
    """For each process and figure: where it began and ended, its slope, and what that makes of the whole time."""
    steady = [each for each in samples if each.at_s >= seconds * WARM_UP]
    verdicts: dict[str, dict[str, Any]] = {}
    for pid in sorted({each.pid for each in steady}):
        own = [each for each in steady if each.pid == pid]
        verdicts[str(pid)] = {"samples": len(own)}
        for name in ("rss_bytes", "pss_bytes", "descriptors"):
            points = [(each.at_s, float(getattr(each, name))) for each in own]
            rise = slope(points)
            moved = rise * (points[-1][0] - points[0][0]) / points[0][1]
            verdicts[str(pid)][name] = {
                "first": points[0][1],
                "last": points[-1][1],
                "most": max(value for _, value in points),
                "per_hour": round(rise * 3600, 1),
                "moved": round(moved, 5),
                "flat": abs(moved) < FLAT,
            }
    return verdicts


def scraped_errors(admin: int) -> dict[str, float]:
    """What the server itself counts as failed."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    families = ("yummy_fast_http_errors_total{", "yummy_fast_store_errors_total{", "yummy_fast_worker_deaths_total")
    pairs = (line.rpartition(" ") for line in lines if line.startswith(families))
    return {name: float(value) for name, _, value in pairs if float(value)}


class Reloads:
    """A registry that keeps changing."""

    def __init__(self, file: Path, good: bytes) -> None:
        self.file = file
        self.good = good
        self.made = 0
        self.broken = 0

    def next(self) -> None:
        self.made += 1
        if self.made % BROKEN_EVERY == 0:
            self.broken += 1
            self.put(b"\xff no registry")
        else:
            self.put(self.good + data.field(4, f"soak {self.made}"))  # another version_id: the last one counts

    def put(self, registry: bytes) -> None:
        new = self.file.with_suffix(".new")
        new.write_bytes(registry)
        new.replace(self.file)


@contextmanager
def visitors(port: int, admin: int, stop: threading.Event) -> Iterator[dict[str, int]]:
    """Clients that come for one request and go, some in the middle of it, and a scraper."""
    seen = {"answered": 0, "left": 0, "scraped": 0, "failed": 0}
    body = rivals.request(50, [1])

    def visit() -> None:
        while not stop.wait(0.05):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("POST", "/get-online-features", body, {"Connection": "close"})
                if (seen["answered"] + seen["left"]) % 4 == 3:
                    seen["left"] += 1
                    continue
                answer = connection.getresponse()
                answer.read()
                seen["answered" if answer.status == 200 else "failed"] += 1
            except (OSError, http.client.HTTPException):
                seen["failed"] += 1
            finally:
                connection.close()

    def scrape() -> None:
        while not stop.wait(5):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
                    answer.read()
                seen["scraped"] += 1
            except urllib.error.URLError:
                seen["failed"] += 1

    threads = [threading.Thread(target=visit), threading.Thread(target=scrape)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def soak(minutes: float, workers: int, reload_s: float, redis_port: int) -> dict[str, Any]:
    data_set = data.SETS["ints"]
    port, admin = redis_port + 1, redis_port + 2
    seconds = round(minutes * 60)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(peers.redis(redis_port, rivals.LOAD_CORE, folder))
        data.fill(data_set, redis_port)
        config = data.write_repository(data_set, folder / "repository", redis_port)
        reloads = Reloads(config.with_name("registry.db"), config.with_name("registry.db").read_bytes())
        command = [sys.executable, "-m", "yummy_fast", "serve", "-f", str(config), "-p", str(port)]
        command += ["--workers", str(workers), "--admin", f"127.0.0.1:{admin}"]
        log = folder / "server.log"
        server = stack.enter_context(peers.process(command, rivals.SERVER_CORE, log, cwd=config.parent))
        peers.wait_for(lambda: peers.ask(port, rivals.request(50, [1])) is not None, "the server", server)
        loads: list[dict[str, Any]] = []
        load = threading.Thread(target=lambda: loads.append(saturate.wrk(port, 1, 50, 32, seconds, rivals.LOAD_CORE)))
        stop = threading.Event()
        seen = stack.enter_context(visitors(port, admin, stop))
        load.start()
        start = time.monotonic()
        samples: list[Sample] = []
        begun = set(procfs.session(server))
        cpu_s = procfs.cpu_s(server), procfs.cpu_s(redis)
        due = reload_s
        while (now := time.monotonic() - start) < seconds:
            samples += sample(server, now)
            if now >= due:
                reloads.next()
                due += reload_s
            time.sleep(min(SAMPLE_S, reload_s))
        load.join()
        spent_s = procfs.cpu_s(server) - cpu_s[0], procfs.cpu_s(redis) - cpu_s[1]
        errors = scraped_errors(admin)
        lines = log.read_text(errors="replace").splitlines()
        verdicts = judge(samples, seconds)
        (result,) = loads
        good = begun == set(procfs.session(server)) and not result["failed"] and not seen["failed"]
        good = good and all(v["flat"] for figures in verdicts.values() for v in figures.values() if isinstance(v, dict))
        return {
            "machine": procfs.machine(),
            "minutes": minutes,
            "workers": workers,
            "flat": good,
            "requests": result["requests"],
            "failed": result["failed"],
            "requests_per_s": round(result["requests"] / result["duration_s"], 1),
            "server_cpu_us": round(spent_s[0] / result["requests"] * 1e6, 1),
            "redis_cpu_us": round(spent_s[1] / result["requests"] * 1e6, 1),
            "errors": errors,
            "visitors": seen,
            "registries": {
                "put": reloads.made,
                "broken": reloads.broken,
                "reloads": sum("registry reloaded" in line for line in lines),
                "refused": sum("registry not reloaded" in line for line in lines),
            },
            "processes": verdicts,
            "samples": [[s.at_s, s.pid, s.rss_bytes, s.pss_bytes, s.descriptors] for s in samples],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Full load with reloads; memory and descriptors must stay flat.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--reload-every", type=float, default=5, metavar="S", help="seconds from registry to registry")
    parser.add_argument("--port", type=int, default=7180, help="Redis's; the server's two are the next")
    parser.add_argument("--out", type=Path, help="the JSON; by default perf/results/DATE-soak.json")
    options = parser.parse_args()
    result = soak(options.minutes, options.workers, options.reload_every, options.port)
    out = options.out or rivals.RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-soak.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['requests']} requests, {result['requests_per_s']}/s, {result['failed']} failed; {out}")
    print(f"visitors {result['visitors']}, errors {result['errors']}, registries {result['registries']}")
    for pid, figures in result["processes"].items():
        for name, found in figures.items():
            if isinstance(found, dict):
                flat = "flat" if found["flat"] else "NOT FLAT"
                print(
                    f"  {pid:>8} {name:12} {found['first']:14,.0f} {found['last']:14,.0f} {found['moved']:+8.2%} {flat}"
                )
    sys.exit(not result["flat"])


if __name__ == "__main__":
    main()
