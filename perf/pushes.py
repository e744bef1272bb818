"""CPU of a push, ours beside Feast's: the same bodies to both, in turn, each to its own Redis database.

    python perf/pushes.py [--seconds 3] [--feast-python .venv-feast/bin/python]

The view is that of the recorded pushes: 10 features (four numbers, a text, a boolean, a timestamp, three lists). Each
push is newer than the one before, so all rows are written. CPU is the server's alone, by /proc (`procfs`); Redis's and
the clients' are not in it. Four clients, each of which waits for its answer. A push that is not answered 200 ends it.

Prints a table: microseconds of CPU of one push, and how many times ours goes into Feast's.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "perf")]  # this is run as a script

import procfs  # noqa: E402

from tests.differential.servers import valkey  # noqa: E402
from tests.ports import free_port  # noqa: E402

ROWS = (1, 10, 100, 1000)
CLIENTS = 4
START = datetime(2026, 3, 1, tzinfo=UTC)
_seconds = itertools.count()


def body(rows: int) -> bytes:
    """A push of rows of different drivers, a second later than the last one."""
    now = (START + timedelta(seconds=next(_seconds))).isoformat()
    numbers = range(rows)
    columns: dict[str, list[object]] = {
        "driver_id": [1000 + number for number in numbers],
        "i32": [number * 7 for number in numbers],
        "i64": [number * 7_000_000_019 for number in numbers],
        "f32": [number / 3 for number in numbers],
        "f64": [number / 7 for number in numbers],
        "s": [f"name {number}" for number in numbers],
        "b": [number % 2 == 0 for number in numbers],
        "ts": [1769904000 + number for number in numbers],
        "li": [[number, number + 1, number + 2] for number in numbers],
        "ls": [["a", f"b{number}"] for number in numbers],
        "lf": [[number / 2, 0.25, 0.5] for number in numbers],
        "event_timestamp": [now] * rows,
        "created": [now] * rows,
    }
    return json.dumps({"push_source_name": "ps_all", "df": columns}).encode()


def start(stack: ExitStack, command: list[str], port: int, folder: Path, name: str) -> int:
    """A server as the leader of a session; its pid once it answers."""
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    environment = {**os.environ, "TZ": "UTC", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            connection.getresponse().read()
            return process.pid
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{name} does not answer:\n{(folder / f'{name}.log').read_text()[-2000:]}")


def cpu_us(pid: int, port: int, rows: int, seconds: float) -> float:
    """Microseconds of the server's CPU for one push, with CLIENTS that push at the same time."""
    pushes = [0] * CLIENTS
    ends_at = time.monotonic() + seconds

    def client(number: int, least: int, ends_at: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < ends_at or pushes[number] < least:
            connection.request("POST", "/push", body(rows), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise SystemExit(f"{answer.status} {text[:300]!r}")
            pushes[number] += 1

    client(0, 3, 0)
    pushes[0] = 0
    before = procfs.cpu_s(pid)
    with ThreadPoolExecutor(CLIENTS) as threads:
        for done in [threads.submit(client, number, 3, ends_at) for number in range(CLIENTS)]:
            done.result()
    return (procfs.cpu_s(pid) - before) / sum(pushes) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each figure (default: %(default)s)")
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pushes-")))
        redis_port = stack.enter_context(valkey(folder))
        servers: dict[str, tuple[int, int]] = {}
        for db, name in enumerate(("yummy-fast", "feast")):
            repository = folder / name
            shutil.copytree(ROOT / "tests" / "conformance" / "push", repository)
            config = repository / "feature_store.yaml"
            config.write_text(config.read_text().replace("localhost:6379", f"127.0.0.1:{redis_port},db={db}"))
            port = free_port()
            program = (
                [sys.executable, "-m", "yummy_fast"]
                if name == "yummy-fast"
                else [str(Path(arguments.feast_python).with_name("feast"))]
            )
            options = ["--workers", "1", "--no-access-log", "--max-requests", "0"] if name == "feast" else []
            command = [*program, "-c", str(repository), "serve", "--host", "127.0.0.1", "--port", str(port), *options]
            servers[name] = (start(stack, command, port, folder, name), port)
        print("| rows | yummy-fast, us | Feast, us | times |\n|---|---|---|---|")
        for rows in ROWS:
            ours, theirs = (cpu_us(pid, port, rows, arguments.seconds) for pid, port in servers.values())
            print(f"| {rows:,} | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
