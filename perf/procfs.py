"""What /proc says about a server and about the machine.

CPU time counts everything a server is: all processes of its session (peers.py starts each server as the leader of one),
their threads, the threads that have ended and the children that were waited for. The kernel counts it exactly and shows
it in ticks of 10 ms, so a figure is good for runs of seconds, not for single requests.

Linux only, and no figure here is estimated: what /proc does not show is not reported.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def session(leader: int) -> list[int]:
    """The processes of a session: a server, and the workers that it forked."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (stat := stat_fields(pid)) and int(stat[3]) == leader]


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on, past the name (which may hold blanks); empty when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_s(leader: int) -> float:
    """User and system time of the whole session, of its dead threads and of its reaped children."""
    ticks = sum(sum(map(int, stat_fields(pid)[11:15])) for pid in session(leader))
    return ticks / TICKS_PER_S


def process_cpu_s(pid: int) -> tuple[float, float]:
    """User and system time of one process, with its threads: for one that leads no session."""
    user, system = map(int, stat_fields(pid)[11:13])
    return user / TICKS_PER_S, system / TICKS_PER_S


def pss_bytes(leader: int) -> int:
    """Memory of the session: what is its own, plus its share of what it shares."""
    total = 0
    for pid in session(leader):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended since it was listed
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def machine() -> dict[str, object]:
    cpu_models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": cpu_models[0] if cpu_models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
    }
