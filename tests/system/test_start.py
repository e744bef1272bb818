"""A start that comes to nothing ends by itself, and says why in one line: with one process and with several.

The registry's server is a real one, which takes connections and never says a word; where a file is to hang, it is a
FIFO that nobody writes. The program is told, by a sitecustomize, to lose its patience sooner than it does.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.harness import PATIENCE_S, Process, Server, command_line, eventually, silent_server

SOON_S = PATIENCE_S / 4
"""Much sooner than any of the patience that is not told to end sooner."""


def hurried(folder: Path, *orders: str) -> dict[str, str]:
    """The environment of a program that carries out these orders first."""
    (folder / "sitecustomize.py").write_text("\n".join(orders) + "\n")
    return {"PYTHONPATH": f"{folder}:{Path.cwd()}"}


def registry_at(corpus: Path, where: str) -> None:
    path = corpus / "feature_store.yaml"
    path.write_text(path.read_text().replace("registry: registry.db", f"registry: {where}"))


def make_silent(path: Path) -> None:
    """Whoever opens it waits for ever."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_registry_that_gives_no_answer_is_one_line(corpus: Path, tmp_path: Path, workers: str) -> None:
    environment = hurried(tmp_path, "from yummy_fast.sources import download", "download.TIMEOUT_S = 0.5")
    with silent_server() as port:
        registry_at(corpus, f"http://me:secret@127.0.0.1:{port}/registry.db?token=secret")
        arguments = ("-c", corpus, "serve", "-p", "0", "-w", workers)
        code, out, err = command_line(*arguments, environment=environment)
    assert (code, out) == (2, "")
    line = f"yummy-fast: http://127.0.0.1:{port}/registry.db: the registry cannot be read: timed out"
    assert err.splitlines() == [line]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_that_gives_no_answer_is_one_line(corpus: Path, tmp_path: Path, workers: str) -> None:
    environment = hurried(
        tmp_path, "from yummy_fast.sources import open_source as sources", "sources.ANSWER_TIMEOUT_S = 0.5"
    )
    make_silent(corpus / "registry.db")
    code, out, err = command_line("-c", corpus, "serve", "-p", "0", "-w", workers, environment=environment)
    line = f"yummy-fast: {corpus}/registry.db: the registry cannot be read: no answer within 0.5 s"
    assert (code, out, err.splitlines()) == (2, "", [line])


def test_a_configuration_that_gives_no_answer_is_one_line(tmp_path: Path) -> None:
    environment = hurried(tmp_path, "from yummy_fast.sources import download", "download.TIMEOUT_S = 0.5")
    with silent_server() as port:
        url = f"http://127.0.0.1:{port}/feature_store.yaml"
        outcome = command_line("-f", url, "serve", environment=environment)
    assert outcome == (2, "", f"yummy-fast: {url}: cannot be read: timed out\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_signals_while_the_configuration_is_fetched(workers: str) -> None:
    """SIGHUP has nothing to reload yet, and ends nothing; SIGTERM is a stop like any other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/feature_store.yaml"
        with Process([sys.executable, "-m", "yummy_fast", "-f", url, "serve", "-w", workers]) as process:
            with listener.accept()[0]:
                process.send_signal(signal.SIGHUP)
                assert process.stop() == 0
            assert process.lines == []


def test_workers_that_never_come_to_serving_are_one_line(corpus: Path, tmp_path: Path) -> None:
    """Whatever it is that they hang at, be it a function of the user's: the supervisor counts the time."""
    environment = hurried(tmp_path, "from yummy_fast.workers import policy", "policy.START_S = 2.0")
    make_silent(corpus / "registry.db")
    code, out, err = command_line("-c", corpus, "serve", "-p", "0", "-w", "2", environment=environment)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert re.fullmatch(
        r"yummy-fast: worker \d \(\d+\): it does not serve after 2 s, it is at \w+\.py:\d+ in \w+", line
    )


def test_a_worker_that_never_comes_to_serving_is_replaced(corpus: Path, tmp_path: Path) -> None:
    """The other one serves meanwhile; when the registry is there again, so are both."""
    environment = hurried(tmp_path, "from yummy_fast.workers import policy", "policy.START_S = 1.0")
    registry = corpus / "registry.db"
    good = registry.read_bytes()
    with Server(corpus, "-w", "2", "-r", "0", environment=environment) as server:
        make_silent(registry)
        first = min(_children(server))
        os.kill(first, signal.SIGKILL)
        server.wait_for(r"ERROR killing worker \d \(\d+\): it does not serve after 1 s")
        mark = len(server.lines)
        assert server.features([1002]).columns["trips"] == [1]
        # Written by nobody, it is opened by nobody: whoever waits is killed in its time.
        registry.unlink()
        registry.write_bytes(good)
        server.wait_for(r"INFO worker \d \(\d+\) serves", after=mark)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_can_be_stopped_while_the_registry_gives_no_answer(corpus: Path, workers: str) -> None:
    with silent_server() as port:
        registry_at(corpus, f"http://127.0.0.1:{port}/registry.db")
        command = [sys.executable, "-m", "yummy_fast", "serve", "--chdir", str(corpus), "-p", "0", "-w", workers]
        with Process([*command, "--admin", "127.0.0.1:0"]) as server:
            server.wait_for("admin on http")
            eventually(lambda: _connections(port) >= int(workers) or None, "who asks for the registry")
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < SOON_S
            assert "Traceback" not in server.log


def _children(server: Process) -> list[int]:
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    if not path.exists():
        pytest.skip("needs Linux")
    return [int(pid) for pid in path.read_text().split()]


def _connections(port: int) -> int:
    """How many there are to a server on this port of ours that takes none out of its queue."""
    path = Path("/proc/net/tcp")
    if not path.exists():
        pytest.skip("needs Linux")
    rows = [row.split() for row in path.read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
