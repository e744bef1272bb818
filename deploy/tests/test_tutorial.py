"""docs/tutorial.md: its commands, run one after the other in one shell, print what the page says.

Feast is the one of .venv-feast. The tutorial's blocks marked `sh` are about installing and a cluster; they are held
against the Makefile and the folders that they name.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from console import commands, different_outputs, environment
from tools import ROOT

from tests.harness import Valkey, free_port

PAGE = ROOT / "docs" / "tutorial.md"
TUTORIAL = PAGE.read_text()


def test_every_command_prints_what_the_page_says(tmp_path: Path, programs: Path) -> None:
    steps = commands(PAGE)
    assert len(steps) > 15
    with Valkey() as valkey:
        variables = environment(programs, REDIS=f"127.0.0.1:{valkey.port}")
        different = different_outputs(steps, tmp_path, variables, {"8000": str(free_port())})
    assert not different, "\n\n".join(different)


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
