"""From words to exit codes: what the program does before and after a command, as people and scripts see it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.outcomes import in_process, one_line, serve_command
from tests.harness import Client, Outcome, Process, command_line
from yummy_fast import __version__
from yummy_fast.cli import check
from yummy_fast.feast_format._proto.registry_pb2 import Registry


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(capsys, "--version") == (0, f"yummy-fast {__version__}\n", "")


def test_installed_command() -> None:
    """What pip puts beside the interpreter is the same program."""
    done = subprocess.run([Path(sys.executable).parent / "yummy-fast", "--version"], capture_output=True, check=True)
    assert done.stdout.decode() == f"yummy-fast {__version__}\n"


def test_ctrl_c_while_modules_are_imported(tmp_path: Path) -> None:
    """No traceback of whatever was being imported; by default the shell makes 130 of it."""
    (tmp_path / "uvloop.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    outcome = command_line("--version", environment={"PYTHONPATH": str(tmp_path)})
    assert outcome == Outcome(-signal.SIGINT, "", "")


def test_the_name_of_feast_in_front_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """An image whose entry point is this program, started with `feast serve ...`."""
    version = f"yummy-fast {__version__}\n"
    assert in_process(capsys, "feast", "version") == (0, version, "")
    assert in_process(capsys, "feast", "--version") == (0, version, "")
    assert in_process(capsys, "feast", "feast", "version").code == 2


def test_streams_that_were_closed(corpus: Path) -> None:
    """A socket in the place of a standard stream ends the process as soon as libuv closes it."""
    with Process(["sh", "-c", 'exec "$@" 0<&- 1>&-', "sh", *serve_command(corpus)]) as server:
        url = server.wait_for(r"serving .* on http://127\.0\.0\.1:(\d+)")
        with Client(int(url[1])) as client:
            assert client.ask("/health").status == 200
        assert server.stop() == 0
        assert "Assertion" not in server.log


def test_check_on_a_terminal_without_unicode(corpus: Path) -> None:
    path = corpus / "registry.db"
    registry = Registry.FromString(path.read_bytes())
    registry.feature_services[0].spec.name = "zürich"
    path.write_bytes(registry.SerializeToString())
    code, out, err = command_line("--chdir", corpus, "check", environment={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (1, "")
    assert "\nfeature service z\\xfcrich\n" in out


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_line(in_process(capsys, "--chdir", tmp_path, "check"), f"{tmp_path}/feature_store.yaml")


def test_ctrl_c_while_a_command_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "load", interrupted)
    assert in_process(capsys, "check") == (130, "", "")
