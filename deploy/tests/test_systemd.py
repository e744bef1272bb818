"""The units of deploy/systemd: systemd's own checks, and the command of the service run as the units say.

There is no systemd here that would start them, so this test stands in for it: it listens as the socket unit says, runs
ExecStart, and reads what the service tells its manager.
"""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tools import ROOT, tool

from tests.harness import PATIENCE_S, Client, Process
from tests.ports import free_port

UNITS = ROOT / "deploy" / "systemd"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with the program of this environment in the place of the one in /opt."""
    (tmp_path / "yummy-fast").write_text(f'#!/bin/sh\nexec {sys.executable} -m yummy_fast "$@"\n')
    (tmp_path / "yummy-fast").chmod(0o755)
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/yummy-fast/bin/yummy-fast", str(tmp_path / "yummy-fast"))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their capitals
    parser.read_string(unit.read_text())
    return parser


def test_systemd_understands_them(units: Path) -> None:
    names = sorted(unit.name for unit in UNITS.iterdir())
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", *names],
        cwd=units,
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_little_of_the_machine_is_exposed(units: Path) -> None:
    """systemd's measure from 0 to 10; the units that Debian installs mostly have over 9."""
    unit = str(units / "yummy-fast.service")
    command = [tool("systemd-analyze"), "security", "--offline=true", "--threshold=15", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_service_serves_on_the_socket_and_says_so(units: Path, corpus: Path) -> None:
    listens = read(units / "yummy-fast.socket")["Socket"]["ListenStream"]
    service = read(units / "yummy-fast.service")["Service"]
    assert service["Type"] == "notify"
    command = shlex.split(service["ExecStart"])
    assert listens == "127.0.0.1:6566"
    port, admin = free_port(), free_port()
    command[command.index("--admin") + 1] = f"127.0.0.1:{admin}"
    address = str(units / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(PATIENCE_S)
        activate = [tool("systemd-socket-activate"), "-l", f"127.0.0.1:{port}", f"--setenv=NOTIFY_SOCKET={address}"]
        # systemd-socket-activate starts the service at the first connection, which waits in the queue meanwhile.
        with Process([*activate, *command, "--chdir", corpus]) as process:
            process.wait_for("Listening on")
            with Client(port) as client:
                answer = client.ask(
                    "/get-online-features", {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001]}}
                )
                assert answer.status == 200
            assert manager.recv(100) == b"READY=1"
            reload = service["ExecReload"].replace("$MAINPID", str(process.process.pid))
            subprocess.run(shlex.split(reload), check=True)
            process.wait_for("registry")
            assert process.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_a_repository_that_cannot_be_served_is_not_tried_again(units: Path) -> None:
    service = read(units / "yummy-fast.service")["Service"]
    command = shlex.split(service["ExecStart"])
    done = subprocess.run([*command, "--chdir", units], capture_output=True, text=True, check=False)
    assert done.returncode == int(service["RestartPreventExitStatus"])


def test_the_time_to_end_is_enough() -> None:
    """More than --drain-delay, --drain-idle and --shutdown-timeout, which have their defaults."""
    service = read(UNITS / "yummy-fast.service")["Service"]
    assert int(service["TimeoutStopSec"].removesuffix("s")) > 0 + 0.5 + 10
    assert "drain" not in service["ExecStart"]
    assert re.search("--admin 127.0.0.1:", service["ExecStart"])
    assert shutil.which(service["ExecReload"].split()[0])
