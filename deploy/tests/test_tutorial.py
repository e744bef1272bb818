"""docs/tutorial.md: its commands, run one after the other in one shell, print what the page says.

A line that begins with `$ ` is a command, one with `> ` goes on with it, and what follows is its output, in which
`[...]` stands for anything. Feast is the one of .venv-feast. The tutorial's blocks marked `sh` are about installing and
a cluster; they are held against the Makefile and the folders that they name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools import ROOT

from tests.harness import NOT_INHERITED, Valkey, free_port

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
FEAST = Path(os.environ.get("FEAST_BIN", ROOT / ".venv-feast" / "bin"))
END = "-- end of output --"


def commands() -> list[tuple[str, str]]:
    """Each command of the page, and what it is to print."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            command, output = found.pop() if found and not line.startswith("$ ") else ("", "")
            if line.startswith("$ "):
                command = line.removeprefix("$ ")
            elif line.startswith(">"):
                command += "\n" + line.removeprefix(">").removeprefix(" ")
            else:
                output += line + "\n"
            found.append((command, output))
    return found


def pattern(output: str) -> str:
    """What is printed, as a regular expression: `[...]` is anything, over several lines if it has a line of its own."""
    lines = output.strip("\n").split("\n")
    anything = r"[\s\S]*"
    return "\n".join(anything if line == "[...]" else ".*".join(map(re.escape, line.split("[...]"))) for line in lines)


def in_order(text: str) -> str:
    """The same with the rows of feature services sorted: Feast writes them to the registry in any order."""
    lines = text.splitlines()
    rows = iter(sorted(line for line in lines if line.startswith("driver_activity_")))
    return "\n".join(next(rows) if line.startswith("driver_activity_") else line for line in lines)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the programs that the page's first step installs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "yummy-fast").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m yummy_fast "$@"\n')
    (folder / "yummy-fast").chmod(0o755)
    (folder / "feast").symlink_to(FEAST / "feast")
    return folder


def test_every_command_prints_what_the_page_says(tmp_path: Path, programs: Path) -> None:
    steps = commands()
    assert len(steps) > 15
    admin = f"127.0.0.1:{free_port()}"
    with Valkey() as valkey:
        kept = {name: value for name, value in os.environ.items() if not name.startswith((*NOT_INHERITED, "PYTHON"))}
        kept |= {"REDIS": f"127.0.0.1:{valkey.port}", "PATH": f"{programs}:{kept['PATH']}"}
        kept |= {"FEAST_USAGE": "False", "FEAST_TELEMETRY": "False"}  # Feast need not wait for a server far away
        script = "set -m\n" + "".join(f"{command}\necho; echo '{END}'\n" for command, _ in steps)
        done = subprocess.run(
            ["bash", "-c", script.replace("127.0.0.1:8000", admin)],
            cwd=tmp_path,
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=170,
            check=False,
        )
    printed = [text.strip("\n") for text in done.stdout.split(END)]
    different = [
        f"$ {command}\n{text}"
        for (command, output), text in zip(steps, printed, strict=False)
        if not re.fullmatch(pattern(in_order(output)), in_order(text))
    ]
    assert not different, "\n\n".join(different)
    assert len(printed) == len(steps) + 1, done.stdout


def test_what_it_installs_is_what_is_tested() -> None:
    """The same Feast, and in one environment with this program, as the page has it."""
    (feast,) = re.findall(r"'(feast\[redis\]==[\d.]+)'", TUTORIAL)
    assert feast in (ROOT / "Makefile").read_text()
    uv = str(Path(sys.executable).parent / "uv")
    command = [uv, "pip", "compile", "--quiet", "--python-version", "3.11", "-"]
    asked = f"{feast}\nyummy-fast[transforms] @ {ROOT.as_uri()}\n"
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_folder_that_it_applies_is_there() -> None:
    folders = re.findall(r"^kubectl apply -k (\S+)$", TUTORIAL, re.MULTILINE)
    assert folders
    assert all((ROOT / folder / "kustomization.yaml").exists() for folder in folders)
