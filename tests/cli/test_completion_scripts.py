"""What the shells themselves make of the scripts: bash, and zsh and fish where they are installed (CI has both)."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import PATIENCE_S
from yummy_fast.cli.completion_scripts import script
from yummy_fast.cli.parser import make_parser
from yummy_fast.config.settings import SETTINGS

BASH, ZSH, FISH = shutil.which("bash"), shutil.which("zsh"), shutil.which("fish")
CASES = [
    # What was typed, and what it is completed to: all of it, and nothing else.
    (["ser"], ["serve"]),
    (["--chd"], ["--chdir"]),
    (["completion", ""], ["bash", "fish", "zsh"]),
    (["serve", "--comp"], ["--compat"]),
    (["serve", "--compat", ""], ["feast", "strict"]),
    (["--log-level", "info", "serve", "--compat", "st"], ["strict"]),
    (["serve", "--read-only", ""], ["false", "true"]),
    (["check", "--chdir", "fo"], ["folder/"]),
    (["compare", "--against", "http://feast", "re"], ["requests.jsonl"]),
    (["serve", "--auth-tokens", "re"], ["requests.jsonl"]),
    (["serve", "--read-only", "--shadow-s"], ["--shadow-share"]),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder to complete names in."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "requests.jsonl").write_text("")
    return tmp_path


def written(folder: Path, shell: str) -> Path:
    path = folder / f"script.{shell}"
    path.write_text(script(make_parser(), shell))
    return path


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_setting_is_in_it(shell: str) -> None:
    text = script(make_parser(), shell)
    for setting in SETTINGS:
        assert (f"-l {setting.flag[2:]} " if shell == "fish" else setting.flag) in text


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(("typed", "completed"), [*CASES, (["serve", "--compat", "=", "st"], ["strict"])])
def test_bash(files: Path, typed: list[str], completed: list[str]) -> None:
    source = written(files, "bash")
    commands = f'source {source}; COMP_WORDS=(yummy-fast "$@"); COMP_CWORD=$#; _yummy_fast'
    commands += '; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        [str(BASH), "--norc", "-c", commands, "bash", *typed],
        cwd=files,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    # Readline adds the slash to the name of a folder: that is `-o filenames`.
    assert sorted(done.stdout.split()) == [word.rstrip("/") for word in completed]


@pytest.mark.skipif(FISH is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("typed", "completed"),
    # To fish, what may follow --read-only may as well be another word.
    [case for case in CASES if case[0] != ["serve", "--read-only", ""]],
)
def test_fish(files: Path, typed: list[str], completed: list[str]) -> None:
    source = written(files, "fish")
    line = " ".join(("yummy-fast", *typed))
    done = subprocess.run(
        [str(FISH), "--no-config", "-c", f"source {source}; complete -C '{line}'"],
        cwd=files,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "HOME": str(files), "TERM": "dumb"},
    )
    assert done.stderr == ""
    assert sorted({found.split("\t")[0] for found in done.stdout.splitlines()}) == completed


@pytest.mark.skipif(ZSH is None, reason="zsh is not installed")
def test_zsh(files: Path) -> None:
    """zsh completes only in a terminal: each line is typed with a Tab, and run by a function that prints its words."""
    source = written(files, "zsh")
    process, terminal = pty.fork()
    if not process:
        os.chdir(files)
        os.environ.update(HOME=str(files), TERM="dumb")
        assert ZSH is not None
        os.execv(ZSH, [ZSH, "-f", "-i"])
    try:
        setup = f"PS1=; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -D -u; source {source}"
        os.write(terminal, f"{setup}; yummy-fast() {{ print -r -- '<'$*'>'; }}; print rea''dy\n".encode())
        read_until(terminal, "ready")
        for typed, completed in CASES:
            if len(completed) == 1:
                os.write(terminal, f"yummy-fast {' '.join(typed)}\t\n".encode())
                # zsh takes the slash off again.
                read_until(terminal, f"<{' '.join([*typed[:-1], *completed]).removesuffix('/')}>")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def read_until(terminal: int, words: str) -> None:
    text = b""
    until = time.monotonic() + PATIENCE_S
    while words.encode() not in text:
        ready, _, _ = select.select([terminal], [], [], max(until - time.monotonic(), 0))
        assert ready, f"{words!r} did not come: {text.decode(errors='replace')!r}"
        text += os.read(terminal, 65536)
