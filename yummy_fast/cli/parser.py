"""The parser of the whole command line: what the program itself takes, and all commands in the order of the help.

Flags carry Feast's names and letters, so that a command line written for `feast` works with the program's name changed.
What a command takes is in the module of its name; that module sets `command`, the function that runs it.
"""

from __future__ import annotations

import argparse

from yummy_fast import __version__
from yummy_fast.cli import check, compare, completion, demo, doctor, explain, get, serve
from yummy_fast.cli.help_format import Parser
from yummy_fast.cli.options import add_repository, add_setting, setting_named


def make_parser() -> Parser:
    parser = Parser(
        prog="yummy-fast",
        usage="yummy-fast [options] COMMAND ...",
        description="A fast feature server for Feast repositories.",
        epilog="`yummy-fast COMMAND --help` shows the options of a command.",
        help_flags=("-h", "--help"),
    )
    parser.add_argument(
        "--version", action="version", version=f"yummy-fast {__version__}", help="Show the version and exit."
    )
    add_repository(parser, letters=True)
    add_setting(parser, setting_named("log_level"))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog="yummy-fast")
    for command in (serve, check, get, explain, doctor, compare, demo):
        command.add(commands)
    completion.add(commands, parser)
    version = commands.add_parser(
        "version", help="Show the version.", usage="yummy-fast version", help_flags=("-h", "--help")
    )
    version.set_defaults(command=_version)
    return parser


def _version(_: argparse.Namespace) -> int:
    print(f"yummy-fast {__version__}")
    return 0
