"""Question: are workers forked from the supervisor, or started anew (spawned)?

Forked workers share what the supervisor has imported, until they write to it; and Python writes to every object that it
looks at, by counting references. A spawned worker is what a server alone is, so four of those are measured instead.

Asked on 2026-11-23; Python 3.11.7, 25 feature views, 4 workers; forked, the supervisor is one process more:

    spawned                 4 processes   127.6 MB of PSS
    forked                  5 processes    73.6 MB of PSS
    forked, with --admin    6 processes    81.8 MB of PSS

Verdict: fork. The price: the supervisor has no threads and runs nothing that starts some (a fork copies locks, and not
the threads that would release them), so it does not read the registry, and the admin listener has a process of its own.
If the workers also shared the catalog, compiled before the fork, that would save more at the start but nothing after
the first reload, and the machine needs enough memory for the time after it.

Ask again with Python 3.12, whose immortal objects are not counted, or when 3.14 is the oldest (no fork by default).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import data as benchmark
import procfs

WORKERS = 4


def serve(config: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "yummy_fast", "serve", "-f", str(config), "-p", "0", *arguments]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def sizes(servers: list[subprocess.Popen[bytes]]) -> tuple[float, int]:
    """PSS of all processes in MB, and their number."""
    pids = [pid for server in servers for pid in procfs.session(server.pid)]
    return sum(procfs.pss_bytes(server.pid) for server in servers) / 1e6, len(pids)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = benchmark.write_repository(benchmark.SETS["ints"], Path(folder), 1)  # no Redis is at port 1
        for name, arguments, number in (
            ("spawned", (), WORKERS),
            ("forked", ("--workers", str(WORKERS)), 1),
            ("forked, with --admin", ("--workers", str(WORKERS), "--admin", "127.0.0.1:0"), 1),
        ):
            servers = [serve(config, *arguments) for _ in range(number)]
            time.sleep(5)
            megabytes, processes = sizes(servers)
            print(f"    {name:22}{processes:3} processes {megabytes:7.1f} MB of PSS")
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait()


if __name__ == "__main__":
    main()
