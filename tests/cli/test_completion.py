"""`yummy-fast completion`: it writes what the shells read. What they make of it is in test_completion_scripts.py."""

from __future__ import annotations

import pytest

from tests.cli.outcomes import in_process
from yummy_fast.cli.completion_scripts import script
from yummy_fast.cli.parser import make_parser


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_writes_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With all commands in it, though it is one of them, and is not the last."""
    assert in_process(capsys, "completion", shell) == (0, script(make_parser(), shell), "")


def test_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "completion", "tcsh")
    assert (code, out) == (2, "")
    assert "invalid choice: 'tcsh'" in err
