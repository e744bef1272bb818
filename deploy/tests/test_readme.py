"""README.md: its commands print what it says, in a clone that has nothing but what git has.

`make demo` goes on until Ctrl-C, and so does `yummy-fast serve`: they are read until they have printed what the page
shows. The repository of the second part is that of the demo. Ports are those of the test.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from console import commands, different_outputs, environment, pattern
from tools import ROOT

from tests.harness import Process
from tests.ports import free_port

PAGE = ROOT / "README.md"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git has, in a folder of its own."""
    folder = tmp_path / "clone"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def test_every_command_prints_what_the_page_says(clone: Path, programs: Path) -> None:
    (make, demo_prints), *others, (serve, serve_prints) = commands(PAGE)
    assert (make, serve) == ("make demo", "yummy-fast serve")
    assert others[0][0] == "yummy-fast check"
    in_clone = ["make", "-C", str(clone), "--no-print-directory", f"PYTHON={sys.executable}"]
    # Its first half, which takes as long as the packages take to come.
    installing = subprocess.run(
        [*in_clone, ".venv-demo/ready"], stdout=subprocess.PIPE, text=True, check=True, timeout=600
    )
    with Process([*in_clone, "demo"]) as demo:
        folder = Path(demo.wait_for(r"^ +(/\S+yummy-fast-demo-\S+)$")[1])
        demo.wait_for("Ctrl-C stops the demo")
        printed = installing.stdout + demo.log.strip("\n")
        assert re.fullmatch(pattern(demo_prints), printed), printed
        (curl,) = re.findall(r"^ +(curl .+)$", printed, re.MULTILINE)
        answer = json.loads(subprocess.run(curl, shell=True, capture_output=True, check=True).stdout)
        columns = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        assert columns["driver_id"]["values"] == [1001, 1002, 2000]
        assert columns["city"]["values"] == ["Kraków", "Zürich", None]
        port = str(free_port())
        variables = environment(programs, YUMMY_FAST_PORT=port)
        assert different_outputs(others, folder, variables, {"6566": port}) == []
        shown = pattern(serve_prints.replace("6566", port))
        with Process([programs / "yummy-fast", "serve", "--chdir", str(folder), "--port", port]) as server:
            server.wait_for("hot path")
            assert re.fullmatch(shown, server.log.strip("\n")), server.log


def test_no_block_of_commands_is_left_out() -> None:
    assert set(re.findall(r"^```(\w+)$", PAGE.read_text(), re.MULTILINE)) == {"console"}


def test_every_extra_that_is_named_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set(re.findall(r"pip install '\.\[([\w-]+)\]'", PAGE.read_text()))
    assert named
    assert named <= set(extras)
