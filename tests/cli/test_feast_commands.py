"""Commands of Feast's: whoever runs one with our program is told where it is."""

from __future__ import annotations

import pytest

from tests.cli.outcomes import one_line
from tests.harness import command_line
from yummy_fast.cli.feast_commands import refuse
from yummy_fast.errors import ConfigError


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply",),
        ("-c", "repo", "materialize", "2026-01-01", "2026-01-02"),
        ("--log-level", "info", "ui", "--port", "1"),
    ],
)
def test_what_only_feast_does(arguments: tuple[str, ...]) -> None:
    """Our image answers to the name `feast`: whoever comes to another command than serve is told where it is."""
    one_line(command_line(*arguments), "feastdev/feature-server")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "serve apply",
        "get -f plan:apply",
        "-c apply serve",
        "--chdir apply check",
        "-f plan check",
        "--feature-store-yaml plan check",
        "--log-level ui serve",
        "--version",
        "-c",
        "aply",
    ],
)
def test_whose_command_comes_first(line: str) -> None:
    """The value of a flag is no command, nor is a word behind a command."""
    refuse(line.split())


@pytest.mark.parametrize("line", ["ui", "-c repo plan", "-m apply serve", "--log-level info ui", "feature-views list"])
def test_a_command_of_feasts(line: str) -> None:
    (command,) = {"ui", "plan", "apply", "feature-views"} & set(line.split())
    with pytest.raises(ConfigError, match=f"^{command}: .* run `feast {command}` in Feast's own image"):
        refuse(line.split())
