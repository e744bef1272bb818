"""The same requests to yummy-fast and to its rivals, on the same Redis: first whether they agree, then how fast.

Every server is pinned to core 0; Redis and the load generator share core 1, so no server pays for either. All servers
of a data set run at once and are driven in turn, round after round, so that they share the machine's good and bad
minutes. The result has one record per round; the table that is printed shows medians.

The rule: no speed without the same values. A peer that cannot be installed, does not start or answers differently is
left out of the rest, and the result names it with the reason. Statuses and timestamps are not compared: Yummy makes
them up (README.md says what each peer leaves out).

It makes JSON under perf/results/ and prints; plots.py draws.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import data
import openloop
import peers
import procfs
from peers import Missing, Server
from saturate import saturate, settle

SERVER_CORE, LOAD_CORE = 0, 1
SETTINGS = ("full", "order", "rounds", "seconds", "ladder_rounds", "ladder_seconds")
"""Options that are written into the result."""
RESULTS = Path(__file__).resolve().with_name("results")


@dataclass(frozen=True, slots=True)
class Shape:
    rows: int
    features: int
    connections: int


@dataclass(frozen=True, slots=True)
class Ladder:
    rows: int
    features: int
    rates: Sequence[int]


@dataclass(frozen=True, slots=True)
class Programme:
    shapes: Sequence[Shape]
    ladders: Sequence[Ladder] = ()


# What issue 4 wants won; `narrow` and `huge` are the two kinds of hash that a fixed choice of HGETALL would lose on.
QUICK_SHAPES = (Shape(1, 50, 32), Shape(1, 250, 5), Shape(10, 50, 5), Shape(100, 50, 5), Shape(100, 250, 5))
QUICK_LADDERS = (Ladder(1, 50, (10, 100, 300, 1000)), Ladder(100, 250, (10, 30, 60, 80)))
NARROW = Programme((Shape(1, 5, 32), Shape(100, 5, 5)))
HUGE = Programme((Shape(1, 50, 32), Shape(1, 250, 5), Shape(100, 50, 5)))
QUICK = {
    "ints": Programme(QUICK_SHAPES, QUICK_LADDERS),
    "mixed": Programme(QUICK_SHAPES),
    "narrow": NARROW,
    "huge": HUGE,
}

# The original benchmark's grid.
GRID = [Shape(rows, count, 32 if rows == 1 else 5) for rows in (1, 10, 50, 100) for count in data.ORIGINAL_SERVICES]
RATES = (*range(10, 101, 10), 200, 500, 1000)
LADDERS = [Ladder(rows, count, RATES) for rows, count in ((1, 50), (1, 250), (10, 50), (50, 50), (100, 50), (100, 250))]
FULL = {"ints": Programme(GRID, LADDERS), "mixed": Programme(GRID, LADDERS), "narrow": NARROW, "huge": HUGE}

# The figure of Yummy's article: latency against the rate, of one row of 50 features, with Feast beside.
ARTICLE = {"ints": Programme((), [Ladder(1, 50, RATES)])}
ARTICLE_PEERS = ("yummy-fast", "yummy-0.0.9", "feast-0.67.0")

USUAL_PEERS = ("yummy-fast", "yummy-0.0.9", "feast-0.67.0", "feast-0.26.0-go", "floor")


@dataclass(slots=True)
class Report:
    """What is written to perf/results/, apart from the machine."""

    servers: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    saturation: list[dict[str, Any]] = field(default_factory=list)
    open_loop: list[dict[str, Any]] = field(default_factory=list)


# --- agreement -----------------------------------------------------------------------------------------------------


def request(features: int, entities: Sequence[int]) -> bytes:
    return json.dumps(
        {"feature_service": data.service_name(features), "entities": {data.JOIN_KEY: list(entities)}}
    ).encode()


def values_by_feature(answer: bytes) -> dict[str, list[object]]:
    """Feast's order of features changes from process to process, so names decide."""
    body = json.loads(answer)
    names = body["metadata"]["feature_names"]
    return {name: column["values"] for name, column in zip(names, body["results"], strict=True)}


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # A Float32 is printed as its own shortest text by some, and widened to a double by others.
        return math.isclose(one, other, rel_tol=2**-23)
    return type(one) is type(other) and one == other


def difference(server: Server, reference: Server, data_set: data.DataSet) -> str:
    """Where the two answer differently, for every service and 50 entities; nothing if they do not."""
    entities = random.Random(4).sample(range(1, data.ENTITIES + 1), 50)
    for features in data_set.services:
        body = request(features, entities)
        answer, expected = peers.ask(server.port, body), peers.ask(reference.port, body)
        if answer is None or expected is None:
            return f"no answer for {features} features"
        ours, theirs = values_by_feature(answer), values_by_feature(expected)
        if ours.keys() != theirs.keys():
            return f"other features than {reference.name} for {features}"
        if len(ours) != features + 1 or None in [value for column in ours.values() for value in column]:
            return f"not {features} features with values"
        for name, column in ours.items():
            if not all(map(same, column, theirs[name])):
                return f"other values than {reference.name} in {name}"
    return ""


# --- one data set --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Contest:
    """The servers of one data set on one Redis, and what is done with them."""

    data_set: data.DataSet
    options: argparse.Namespace
    report: Report
    stack: ExitStack  # ends what was started
    servers: list[Server] = field(default_factory=list)
    redis: int = 0

    def start(self) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        redis_port = self.options.port
        self.redis = self.stack.enter_context(peers.redis(redis_port, LOAD_CORE, folder))
        print(f"{self.data_set.name}: filling Redis", flush=True)
        data.fill(self.data_set, redis_port, self.options.order)
        first = request(min(self.data_set.services), [1])
        for number, name in enumerate(self.options.peers):
            config = data.write_repository(self.data_set, folder / name, redis_port)
            peer, programs = peers.PEERS[name], peers.install(peers.PEERS[name])
            if isinstance(programs, Missing):
                self.leave_out(programs)
                continue
            port = redis_port + 100 + number
            server = self.stack.enter_context(peers.serving(peer, programs, config, port, SERVER_CORE, first))
            if isinstance(server, Missing):
                self.leave_out(server)
                continue
            self.servers.append(server)
            about = {"start_up_s": server.start_up_s, "pss_bytes_at_start": procfs.pss_bytes(server.pid)}
            self.report.servers.append({**self.where(server), **about})

    def agree(self) -> None:
        """Keep the servers that answer as the reference does: Feast itself if it is there, else the first.

        The floor (floor.py) answers nonsense by design.
        """
        others = [server for server in self.servers if server.name != "floor"]
        for server in others:
            reference = next((other for other in others if other.name == "feast-0.67.0"), others[0])
            if text := difference(server, reference, self.data_set):
                self.leave_out(Missing(server.name, text))

    def saturate(self, shape: Shape) -> None:
        for number in range(self.options.rounds):
            for server in list(self.servers):
                try:
                    figures = saturate(
                        *(server.port, server.pid, self.redis),
                        **asdict(shape),
                        seconds=self.options.seconds,
                        core=LOAD_CORE,
                    )
                except (ConnectionError, TimeoutError) as error:
                    self.leave_out(Missing(server.name, f"{shape}: {error}; its log ends: {server.log_end()}"))
                    continue
                record = {**self.where(server), "round": number, **asdict(shape), **asdict(figures)}
                self.report.saturation.append(record)
        for server in self.servers:
            self.print_saturation(shape, server)

    def climb(self, ladder: Ladder) -> None:
        """Each rate to all servers in turn, round after round; one that fails half of a rate goes no higher."""
        failing: set[str] = set()
        for number in range(self.options.ladder_rounds):
            climbing = [server for server in self.servers if server.name not in failing]
            for rate in ladder.rates:
                climbing = [server for server in climbing if self.step(ladder, server, rate, number)]
            failing = {server.name for server in self.servers if server not in climbing}
        for server in self.servers:
            for rate in ladder.rates:
                self.print_rung(ladder, server, rate)

    def step(self, ladder: Ladder, server: Server, rate: int, number: int) -> bool:
        """Drive a server at one rate. Returns False if it would only be worse at the next."""
        size = {"rows": ladder.rows, "features": ladder.features}
        before = procfs.cpu_s(server.pid)
        rung = openloop.drive(server.port, rate, **size, seconds=self.options.ladder_seconds)
        try:
            settle(server.pid)
        except TimeoutError as error:
            self.leave_out(Missing(server.name, f"{ladder}: {error}"))
            return False
        cpu_us = (procfs.cpu_s(server.pid) - before) / rung.sent * 1e6
        record = {**self.where(server), "round": number, **size, **asdict(rung), "server_cpu_us": round(cpu_us, 1)}
        self.report.open_loop.append(record)
        return rung.success >= 0.5

    def print_rung(self, ladder: Ladder, server: Server, rate: int) -> None:
        """The medians of its rounds."""
        mine = {**self.where(server), "rows": ladder.rows, "features": ladder.features, "rate": rate}
        rounds = [record for record in self.report.open_loop if mine.items() <= record.items()]
        if not rounds:
            return
        names = ("p50_us", "p99_us", "max_us", "server_cpu_us")
        p50, p99, highest, cpu = (median(record[name] or math.nan for record in rounds) for name in names)
        print(
            f"{self.title(ladder.rows, ladder.features, server)} {rate:5}/s:"
            f" {min(record['success'] for record in rounds):6.1%} ok, p50 {p50:.0f} p99 {p99:.0f} max {highest:.0f} us,"
            f" {cpu:.0f} us of CPU",
            flush=True,
        )

    def note_memory(self) -> None:
        """After all of it."""
        for server in self.servers:
            mine = self.where(server)
            record = next(record for record in self.report.servers if mine.items() <= record.items())
            record["pss_bytes_at_end"] = procfs.pss_bytes(server.pid)

    def leave_out(self, missing: Missing) -> None:
        self.servers = [server for server in self.servers if server.name != missing.peer]
        self.report.missing.append({"set": self.data_set.name, **asdict(missing)})
        print(f"{self.data_set.name}: WITHOUT {missing.peer}: {missing.reason}", flush=True)

    def where(self, server: Server) -> dict[str, Any]:
        return {"set": self.data_set.name, "peer": server.name}

    def title(self, rows: int, features: int, server: Server) -> str:
        return f"{self.data_set.name:7}{rows:4} x {features:<4} {server.name:17}"

    def print_saturation(self, shape: Shape, server: Server) -> None:
        mine = {**self.where(server), **asdict(shape)}
        rounds = [record for record in self.report.saturation if mine.items() <= record.items()]
        names = ("requests_per_s", "server_cpu_us", "redis_cpu_us")
        rate, ours, redis = (median(record[name] for record in rounds) for name in names)
        failed = sum(record["failed"] for record in rounds)
        print(
            f"{self.title(shape.rows, shape.features, server)} {rate:9.1f} requests/s, CPU us:"
            f" {ours:9.1f} server {redis:8.1f} Redis{f', {failed} FAILED' if failed else ''}",
            flush=True,
        )


def measure(data_set: data.DataSet, programme: Programme, options: argparse.Namespace, report: Report) -> None:
    with ExitStack() as stack:
        contest = Contest(data_set, options, report, stack)
        contest.start()
        contest.agree()
        for shape in programme.shapes:
            contest.saturate(shape)
        for ladder in programme.ladders:
            contest.climb(ladder)
        contest.note_memory()


# --- the result ----------------------------------------------------------------------------------------------------


def output_of(*command: str) -> str:
    """The first line that a program prints, to either stream; empty if it fails."""
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=peers.REPOSITORY)
    return ((ended.stdout or ended.stderr).splitlines() or [""])[0]


def versions(names: Sequence[str]) -> dict[str, object]:
    installed = {}
    for name in names:
        program = str(peers.VENVS / peers.PEERS[name].venv / "bin" / "python")
        freeze = [sys.executable, "-m", "uv", "--quiet", "pip", "freeze", "--python", program, "--exclude-editable"]
        installed[name] = subprocess.run(freeze, check=False, capture_output=True, text=True).stdout.split()
    return {
        "commit": output_of("git", "rev-parse", "--verify", "--quiet", "HEAD"),
        "uncommitted_changes": bool(output_of("git", "status", "--porcelain", "--", "yummy_fast")),
        "redis": output_of("redis-server", "--version"),
        "wrk": output_of("wrk", "--version"),
        "python": platform.python_version(),
        "packages": installed,
    }


def write(report: Report, machine: dict[str, object], options: argparse.Namespace) -> Path:
    RESULTS.mkdir(exist_ok=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    head = {
        "date": today,
        "machine": machine,
        "versions": versions(options.peers),
        "settings": {name: getattr(options, name) for name in SETTINGS},
    }
    path = RESULTS / f"{today}-{options.what}.json"
    path.write_text(json.dumps({**head, **asdict(report)}, indent=1) + "\n")
    return path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="yummy-fast and its rivals: agreement, then speed.")
    parser.add_argument("--peers", nargs="+", choices=peers.PEERS)
    parser.add_argument("--sets", nargs="+", choices=data.SETS, default=list(data.SETS))
    parser.add_argument("--full", action="store_true", help="the original benchmark's whole grid: hours")
    parser.add_argument("--article", action="store_true", help="p99 against requests/s, beside Feast; for plots.py")
    parser.add_argument(
        "--order", choices=("entity", "store"), default="store", help="fields in one order per entity, or one for all"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="for each figure")
    parser.add_argument("--ladder-seconds", type=int, default=10, help="for each rate; over 5, or no queue is too long")
    parser.add_argument("--ladder-rounds", type=int, help="default: 3 with --article, else 1")
    parser.add_argument("--shapes", nargs="+", metavar="ROWSxFEATURES", help="only these; no ladders")
    parser.add_argument("--port", type=int, default=7100, help="Redis's; the servers' are a hundred above")
    parser.add_argument("--what", help="the name of the result; rivals, or article with --article")
    options = parser.parse_args()
    options.peers = options.peers or (ARTICLE_PEERS if options.article else USUAL_PEERS)
    options.ladder_rounds = options.ladder_rounds or (3 if options.article else 1)
    options.what = options.what or ("article" if options.article else "rivals")
    if options.article:
        options.sets = list(ARTICLE)
    return options


def main() -> None:
    options = arguments()
    os.sched_setaffinity(0, {LOAD_CORE})
    machine = procfs.machine()  # now, while its load is that of others
    report = Report()
    for name in options.sets:
        programme = (ARTICLE if options.article else FULL if options.full else QUICK)[name]
        if options.shapes:
            chosen = [shape for shape in programme.shapes if f"{shape.rows}x{shape.features}" in options.shapes]
            programme = Programme(chosen)
        measure(data.SETS[name], programme, options, report)
        path = write(report, machine, options)  # after each set: the next may take an hour
    print(path)


if __name__ == "__main__":
    main()
