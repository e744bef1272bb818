"""When a server counts as started for a comparison, and that another process on its port is not taken for it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.differential.servers import StartError, running
from tests.ports import free_port

LISTEN = "import socket, sys, time; listener = socket.create_server(('127.0.0.1', int(sys.argv[1]))); "
FOREVER = "time.sleep(600)"
NEVER = "import time; print('waiting for the port'); "
CHILD = LISTEN + "sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {CHILD!r}, sys.argv[1]], stdin=-1).wait()"
"""The child ends with its parent, which holds the other end of its standard input."""


def command(code: str, port: int) -> list[str]:
    return [sys.executable, "-u", "-c", code, str(port)]


def test_a_process_counts_as_started_when_it_listens(tmp_path: Path) -> None:
    port = free_port()
    with running("one", command(LISTEN + FOREVER, port), port, tmp_path) as found:
        assert found == port


def test_a_process_may_leave_listening_to_its_child(tmp_path: Path) -> None:
    """`--yummy` may be a script that starts the server."""
    port = free_port()
    with running("one", command(PARENT, port), port, tmp_path) as found:
        assert found == port


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
def test_another_process_on_the_port_is_not_taken_for_the_one_that_was_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with (
            pytest.raises(StartError, match=f"one: another process listens on port {port}"),
            running("one", command(NEVER + FOREVER, port), port, tmp_path),
        ):
            pytest.fail("it counts as started")


def test_a_process_that_ends_is_an_error_with_the_end_of_its_output(tmp_path: Path) -> None:
    port = free_port()
    with (
        pytest.raises(StartError, match="one ended with 3:\nno such store"),
        running("one", command("import sys; print('no such store'); sys.exit(3)", port), port, tmp_path),
    ):
        pytest.fail("it counts as started")
