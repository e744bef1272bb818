"""Colours and progress: in a terminal, which is a real one here, and not in a pipe."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from tests.harness import PATIENCE_S, command_line, inherited_environment
from yummy_fast.cli.terminal import Progress, is_coloured, paint, write
from yummy_fast.errors import ConfigError

SGR = re.compile(r"\x1b\[\d+m")


@contextmanager
def opened_terminal() -> Iterator[tuple[int, TextIO]]:
    """The end that a terminal's program reads, and the one that a command writes to."""
    reading, writing = pty.openpty()
    try:
        with closing(os.fdopen(writing, "w")) as stream:
            yield reading, stream
    finally:
        os.close(reading)


def read(reading: int, wanted: str) -> str:
    """What is written, up to `wanted`."""
    text = ""
    until = time.monotonic() + PATIENCE_S
    while wanted not in text:
        ready, _, _ = select.select([reading], [], [], max(until - time.monotonic(), 0))
        assert ready, f"{wanted!r} did not come: {text!r}"
        text += os.read(reading, 65536).decode()
    return text


@pytest.mark.parametrize(
    ("text", "painted"),
    [
        (
            "driver_id  status\n---------  ------\n1  PRESENT",
            "\x1b[1mdriver_id  status\x1b[0m\n\x1b[2m---------  ------\x1b[0m\n1  \x1b[32mPRESENT\x1b[0m",
        ),
        ("2  trips  null  NOT_FOUND", "2  trips  null  \x1b[33mNOT_FOUND\x1b[0m"),
        ("PROBLEM  a table is missing", "\x1b[31mPROBLEM\x1b[0m  a table is missing"),
        ("no PROBLEM here", "no PROBLEM here"),
        ("No problem was found.", "\x1b[32mNo problem was found.\x1b[0m"),
        ("2 requests: 2 the same, 0 different", "\x1b[32m2 requests: 2 the same, 0 different\x1b[0m"),
        ("20 requests: 10 the same, 10 different", "\x1b[31m20 requests: 10 the same, 10 different\x1b[0m"),
        ("", ""),
        ("a\n\nb", "a\n\nb"),
    ],
)
def test_colours(text: str, painted: str) -> None:
    assert paint(text) == painted
    assert SGR.sub("", paint(text)) == text


def test_who_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with opened_terminal() as (_, stream), open(os.devnull, "w") as pipe:
        assert is_coloured(stream)
        assert not is_coloured(pipe)
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert is_coloured(pipe)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not is_coloured(pipe)
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.delenv("FORCE_COLOR")
        monkeypatch.setenv("NO_COLOR", "1")
        assert not is_coloured(stream)
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("TERM", "dumb")
        assert not is_coloured(stream)


def test_a_command_in_a_terminal_and_in_a_pipe(corpus: Path) -> None:
    asked = ["--chdir", str(corpus), "get", "-e", "driver_id=1002", "-e", "driver_id=2", "-f", "driver_stats:trips"]
    code, plain, _ = command_line(*asked)
    assert code == 0
    assert "\x1b" not in plain
    with opened_terminal() as (reading, stream):
        command = [sys.executable, "-m", "yummy_fast", *asked]
        process = subprocess.Popen(command, stdout=stream, env={**inherited_environment(), "TERM": "xterm"})
        text = read(reading, "NOT_FOUND\x1b[0m").replace("\r\n", "\n")
        assert process.wait(PATIENCE_S) == 0
    assert "\x1b[32mPRESENT\x1b[0m" in text
    assert SGR.sub("", text).strip() == plain.strip()


def test_json_and_scripts_have_no_colours(corpus: Path) -> None:
    """A program reads them: CI sets FORCE_COLOR for everything that runs there."""
    for_ci = {"FORCE_COLOR": "1"}
    asked = ["--chdir", str(corpus), "get", "-e", "driver_id=1002", "-f", "driver_stats:trips"]
    assert "\x1b[32mPRESENT" in command_line(*asked, environment=for_ci).out
    code, text, _ = command_line(*asked, "--json", environment=for_ci)
    assert code == 0
    assert json.loads(text)[0]["features"]["trips"]["status"] == "PRESENT"
    assert "\x1b" not in command_line("completion", "bash", environment=for_ci).out


def test_what_takes_long_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with opened_terminal() as (reading, stream):
        with Progress("comparing", stream, wait_s=0) as progress:
            progress.detail = "120 requests"
            text = read(reading, "comparing: 120 requests, ")
        stream.write("after")
        stream.flush()
        text += read(reading, "after")
    assert text.endswith(" s\r\x1b[Kafter")


def test_what_is_done_soon_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with opened_terminal() as (reading, stream):
        with Progress("asking", stream, wait_s=PATIENCE_S):
            pass
        stream.write("after")
        stream.flush()
        assert read(reading, "after") == "after"


def test_a_pipe_gets_no_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with open(tmp_path / "log", "w") as file, Progress("asking", file, wait_s=0) as progress:
        assert progress._thread is None
    assert (tmp_path / "log").read_text() == ""


NEEDS_DEV_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@pytest.mark.parametrize("into", ["| head -n 1", pytest.param("> /dev/full", marks=NEEDS_DEV_FULL)])
def test_check_whose_output_nobody_takes(corpus: Path, into: str) -> None:
    line = f"{shlex.quote(sys.executable)} -m yummy_fast -c {shlex.quote(str(corpus))} check {into}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    if into.startswith("|"):
        assert (done.stdout, done.stderr) == (f"configuration  {corpus}/feature_store.yaml\n", "")
    else:
        assert (done.returncode, done.stderr) == (2, "yummy-fast: standard output: No space left on device\n")


def test_a_line_about_progress_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps would leave its first half behind each time that it is drawn."""
    monkeypatch.setenv("TERM", "xterm")
    with opened_terminal() as (reading, stream):
        fcntl.ioctl(stream, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
        with Progress("looking at a sample of the online store", stream, wait_s=0):
            text = read(reading, "looking at a")
        stream.write("after")
        stream.flush()
        text += read(reading, "after")
    assert set(text.removesuffix("after").split("\r\x1b[K")) == {"", "looking at a sample"}


class Console(io.StringIO):
    """A terminal without a descriptor, as the shell of IDLE is: nobody can be asked for its width."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_without_a_descriptor_has_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    console = Console()
    with Progress("x" * 100, console, wait_s=0):
        until = time.monotonic() + PATIENCE_S
        while not console.getvalue():
            assert time.monotonic() < until
            time.sleep(0.001)
    assert set(console.getvalue().split("\r\x1b[K")) == {"", "x" * 79}


def test_what_a_command_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    write("1  PRESENT")
    assert capsys.readouterr() == ("1  PRESENT\n", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    write("1  PRESENT")
    assert capsys.readouterr() == ("1  \x1b[32mPRESENT\x1b[0m\n", "")


def test_nothing_is_wrong_if_a_reader_has_read_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `| head` does. Nor is it when Python writes the rest, as it does at exit."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        write("a table")
        print("the rest")
        stream.flush()


@NEEDS_DEV_FULL
def test_output_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(ConfigError, match=r"^standard output: No space left on device$"):
            write("a table")
        print("the rest")
        stream.flush()
