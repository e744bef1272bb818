"""`yummy-fast check`: what a server would serve, and how it would read it.

It goes as far as a server does before it listens: configuration, registry, catalog, store. So what would end a server's
start ends this command, too, with the same line and exit code 2. What it asks the store is in `diagnosis.check_run`.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from yummy_fast.cli.help_format import Commands
from yummy_fast.cli.options import add_json, add_repository, add_setting, load, setting_named
from yummy_fast.cli.terminal import Progress, write, write_json
from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError
from yummy_fast.native import owner as native
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.open_source import open_source

if TYPE_CHECKING:
    from yummy_fast.diagnosis.check_run import Checked

_DESCRIPTION = """\
Read feature_store.yaml and the registry, ask the online store, and show what a server would serve and how it would read
it."""

_EXIT_CODES = """\
Exit code 0: no problem was found. 1: a server would start, but something that requests may ask for cannot be served, or
is null, or is not what it seems; a line says what. 2: a server would not start, or the online store does not answer."""


def add(commands: Commands) -> None:
    check = commands.add_parser(
        "check",
        help="Show what a server would serve; exit code 1 if it could not serve everything.",
        usage="yummy-fast check [options]",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    add_repository(check, letters=False)
    add_setting(check, setting_named("compat"))
    add_json(check)
    check.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    native.check_wish()
    config = load(arguments)
    store = open_store(config)
    source = open_source(config.repository)
    catalog = build_catalog(config, store, source.read())
    from yummy_fast.diagnosis.check_run import Checked

    with Progress("asking the online store", sys.stderr):
        checked = Checked(config, source.name, catalog, store)
    if arguments.json:
        write_json(checked.found, ensure_ascii=True)
    else:
        write("\n".join(checked.lines()))
    return exit_code(config, checked)


def exit_code(config: Config, checked: Checked) -> int:
    """The exit code of `check` and of `doctor`. Raises ConfigError if the online store does not answer."""
    if not checked.answer.reachable:
        raise ConfigError(f"{config.repository.source}: online_store: cannot be reached: {checked.answer.text}")
    return int(checked.has_problems)
