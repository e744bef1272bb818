"""What the program itself takes, and what no command takes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.cli.outcomes import in_process
from tests.harness import command_line
from yummy_fast import __version__


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "--help")
    assert (code, err) == (0, "")
    for word in ("serve", "check", "demo", "--chdir", "--feature-store-yaml", "--log-level"):
        assert word in out
    assert in_process(capsys, "-h") == (code, out, err)


def test_version_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(capsys, "version") == (0, f"yummy-fast {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["serve", "--no-such-flag"], ["serve", "--por", "1"]])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = in_process(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: yummy-fast")


def test_a_command_that_nobody_has() -> None:
    outcome = command_line("aply")
    assert outcome.code == 2
    assert "invalid choice: 'aply'" in outcome.err


@pytest.mark.parametrize("command", ["get", "explain", "doctor", "compare"])
def test_help_of_what_looks_for_causes(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = in_process(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert re.search(r"Exit code 0: .* 1: .* 2: ", " ".join(out.split()))
    assert f"yummy-fast {command} " in out
    for number in ("0", "-1", "x", "2000000"):
        if command == "doctor":
            assert in_process(capsys, command, "--keys", number)[0] == 2


def test_a_server_does_not_import_what_it_does_not_need() -> None:
    """What `explain`, `doctor` and `get` are made of would cost each start some milliseconds."""
    program = (
        "import sys, yummy_fast.cli.main, yummy_fast.stores.redis\n"
        "needless = ('looks', 'survey', 'server.once', 'explaining')\n"
        "print([name for name in sys.modules if 'diagnosis' in name or name.endswith(needless)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
