"""The servers of the comparison: how each is installed, at which version, and how it is started.

Each peer has a virtual environment of its own under perf/.venvs/, made once and kept while its recipe stays the same.
A peer that cannot be installed (no Python of its version, no wheel) is a `Missing` with the reason, which rivals.py
reports.

Every peer is started as its own documentation says, for one process on one core, with its access log off and its own
settings otherwise. Exceptions, all in the peer's favour: Feast 0.67 does not recycle its worker (`--max-requests 0`),
and Feast 0.26 comes a second time with its Go server, because in that release `feast serve --go` tests an attribute
that nothing has set yet (feature_store.py:2275) and quietly serves from Python.

It downloads nothing but packages, and never a Python: interpreters have to be there (uv, pyenv or the system's).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
VENVS = Path(__file__).resolve().with_name(".venvs")
START_LIMIT_S = 60
# No server is given a proxy, a Feast that reports home, or settings of our own Python: one that keeps no bytecode would
# compile all modules at each start, which is twice the start-up time and 20 MB of memory.
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}, "FEAST_USAGE": "False"}

Command = Callable[[Path, Path, int], list[str]]  # of bin/, feature_store.yaml and port


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    python: str
    packages: tuple[str, ...]
    command: Command
    venv: str
    """Variants of one program share an environment."""


@dataclass(frozen=True, slots=True)
class Missing:
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    pid: int  # the leader of its session: procfs.py sums over that
    port: int
    start_up_s: float  # from the start of the process to its first answer
    log: Path

    def log_end(self) -> str:
        return last_line(self.log)


# --- the table -----------------------------------------------------------------------------------------------------


def yummy_fast(*options: str) -> Command:
    return lambda programs, config, port: [
        *(str(programs / "yummy-fast"), "serve", "-f", str(config), "-p", str(port), *options)
    ]


def yummy(programs: Path, config: Path, port: int) -> list[str]:
    serve = f"import yummy_features; yummy_features.serve({str(config)!r}, '127.0.0.1', {port}, 'error')"
    return [str(programs / "python"), "-c", serve]


def feast(*options: str) -> Command:
    return lambda programs, config, port: [
        *(str(programs / "feast"), "-c", str(config.parent), "serve", "-p", str(port), "--no-access-log", *options)
    ]


def feast_go(programs: Path, config: Path, port: int) -> list[str]:
    """What `feast serve --go` means to do: the Go server exists before `serve` looks whether it does."""
    serve = (
        "from feast import FeatureStore\n"
        f"store = FeatureStore(repo_path={str(config.parent)!r})\n"
        "store.config.go_feature_serving = True\n"
        "store._lazy_init_go_server()\n"
        f"store.serve('127.0.0.1', {port}, 'http', no_access_log=True, no_feature_log=True)\n"
    )
    return [str(programs / "python"), "-c", serve]


def floor(programs: Path, config: Path, port: int) -> list[str]:
    return [str(programs / "python"), str(Path(__file__).with_name("floor.py")), str(config), str(port)]


OURS = ("--editable", str(REPOSITORY))
# As of the day of 0.26.0: its dependencies have no upper bounds that still hold. `go` adds cffi.
FEAST_26 = ("--exclude-newer", "2022-11-10", "feast[redis,go]==0.26.0", "setuptools")

PEERS = {
    peer.name: peer
    for peer in (
        Peer("yummy-fast", "3.11", OURS, yummy_fast(), "yummy-fast"),
        Peer("yummy-fast-strict", "3.11", OURS, yummy_fast("--compat", "strict"), "yummy-fast"),
        Peer("yummy-fast-hmget", "3.11", OURS, yummy_fast("--redis-read", "hmget"), "yummy-fast"),
        Peer("floor", "3.11", OURS, floor, "yummy-fast"),
        Peer("yummy-0.0.9", "3.9", ("yummy-features==0.0.9",), yummy, "yummy"),
        Peer("feast-0.67.0", "3.11", ("feast[redis]==0.67.0",), feast("--max-requests", "0"), "feast-0.67"),
        Peer("feast-0.26.0", "3.9", FEAST_26, feast("--go"), "feast-0.26"),
        Peer("feast-0.26.0-go", "3.9", FEAST_26, feast_go, "feast-0.26"),
    )
}


# --- installing ----------------------------------------------------------------------------------------------------


def install(peer: Peer) -> Path | Missing:
    """The bin/ of the peer's environment, made if it is not there yet."""
    venv = VENVS / peer.venv
    interpreter = find_python(peer.python)
    if interpreter is None:
        return Missing(peer.name, f"no Python {peer.python} on this machine")
    recipe = json.dumps([interpreter, *peer.packages])
    if peer.packages == OURS:
        recipe += (REPOSITORY / "pyproject.toml").read_text()  # our dependencies change
    receipt = venv / "recipe.json"
    if receipt.exists() and receipt.read_text() == recipe:
        return venv / "bin"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    try:
        run([*uv, "venv", "--clear", "--python", interpreter, str(venv)])
        run([*uv, "pip", "install", "--python", str(venv / "bin" / "python"), *peer.packages])
    except subprocess.CalledProcessError as error:
        # Without addresses: the package index of a machine does not belong into a published result.
        return Missing(peer.name, f"not installed: {re.sub(r'[a-z]+://[^ ]+', '...', error.stderr.strip())[-500:]}")
    receipt.write_text(recipe)
    return venv / "bin"


def run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def find_python(version: str) -> str | None:
    """An interpreter of that version that really starts: pyenv's shims exist for versions that do not.

    The system's comes first: distributions build theirs with profile-guided optimisation, which is worth a quarter of
    all CPU time of a Python server, and pyenv by default does not.
    """
    candidates = [f"/usr/bin/python{version}", shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        versions = Path(run([pyenv, "root"]).strip()) / "versions"
        candidates += sorted(str(path) for path in versions.glob(f"{version}.*/bin/python"))
    question = [*("-c", "import sys; print('%d.%d' % sys.version_info[:2])")]
    for candidate in filter(None, candidates):
        if not Path(candidate).exists():
            continue
        answer = subprocess.run([candidate, *question], check=False, capture_output=True, text=True)
        if answer.stdout.strip() == version:
            return candidate
    return None


# --- running -------------------------------------------------------------------------------------------------------


@contextmanager
def redis(port: int, core: int, folder: Path) -> Iterator[int]:
    """A Redis of our own, pinned to a core, that keeps nothing; its process id."""
    if answers_ping(port):
        raise SystemExit(f"there is a Redis on port {port} already: it would be emptied, and measured instead of ours")
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with process(["redis-server", *settings], core, folder / "redis.log") as pid:
        wait_for(lambda: answers_ping(port), "redis-server", pid)
        yield pid


@contextmanager
def serving(peer: Peer, programs: Path, config: Path, port: int, core: int, body: bytes) -> Iterator[Server | Missing]:
    """The peer's server, started and answering `body`; or why it does not."""
    log = config.parent / f"{peer.name}.log"
    started = time.monotonic()
    with process(peer.command(programs, config, port), core, log, cwd=config.parent) as pid:
        try:
            wait_for(lambda: ask(port, body) is not None, peer.name, pid)
        except TimeoutError as error:
            yield Missing(peer.name, f"{error}; its log ends: {last_line(log)}")
        else:
            yield Server(peer.name, pid, port, time.monotonic() - started, log)


@contextmanager
def process(command: Sequence[str], core: int, log: Path, cwd: Path | None = None) -> Iterator[int]:
    """A program on one core in a session of its own, all of which ends with the block."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["taskset", "-c", str(core), *command],  # taskset becomes the program: same process id
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def wait_for(condition: Callable[[], bool], name: str, pid: int) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not condition():
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if ended or time.monotonic() > deadline:
            raise TimeoutError(f"{name} {'ended at once' if ended else f'gave no answer in {START_LIMIT_S} s'}")
        time.sleep(0.002)  # between two attempts, not instead of one


def last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]


def answers_ping(port: int) -> bool:
    return subprocess.run(["redis-cli", "-p", str(port), "ping"], check=False, capture_output=True).stdout == b"PONG\n"


def ask(port: int, body: bytes) -> bytes | None:
    """The answer to one request; None when there is no server yet, or it says anything but 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/get-online-features", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        return answer if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
