"""`yummy-fast doctor`: what `check` shows, and what is wrong with a sample of the online store.

The sample is taken first: what it shows replaces the small look that `check` takes into the store. It is bounded by
--keys and --seconds, because production serves from that store meanwhile. How it is taken is in `diagnosis.doctor`.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from yummy_fast.cli.check import exit_code
from yummy_fast.cli.help_format import Commands
from yummy_fast.cli.options import add_json, add_repository, load
from yummy_fast.cli.terminal import Progress, write, write_json
from yummy_fast.errors import ConfigError, StoreError
from yummy_fast.native import owner as native
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.open_source import open_source

_DESCRIPTION = """\
Do what check does, and look at a sample of the online store: which views have rows, how old they are, whether keys and
values have the types that the registry declares, what Redis holds for nothing. Redis is asked in small steps, for a
bounded time, and is written nothing."""

_EXIT_CODES = """\
Exit code 0: no problem was found. 1: at least one was. 2: a server would not start, or the online store does not
answer."""


def add(commands: Commands) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="Look at a sample of the online store, and say what is wrong.",
        usage="yummy-fast doctor [options]",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    add_repository(doctor, letters=False)
    doctor.add_argument(
        "--keys", metavar="N", type=_positive, default=1000, help="Look at no more keys than these. [default: 1000]"
    )
    doctor.add_argument(
        "--seconds", metavar="N", type=_positive, default=5, help="Look for no longer than this. [default: 5]"
    )
    add_json(doctor)
    doctor.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    from yummy_fast.diagnosis.check_run import Checked
    from yummy_fast.diagnosis.doctor import examine
    from yummy_fast.diagnosis.report import sample_lines

    native.check_wish()
    config = load(arguments)
    store = open_store(config)
    looks = store.looks()
    source = open_source(config.repository)
    catalog = build_catalog(config, store, source.read())
    try:
        with Progress("looking at a sample of the online store", sys.stderr):
            examination = examine(
                catalog.registry,
                config.repository,
                looks,
                max_keys=arguments.keys,
                time_s=arguments.seconds,
                strict=config.features.compat == "strict",
                now=datetime.now(UTC),
            )
    except StoreError as error:
        raise ConfigError(f"{config.repository.source}: online_store: cannot be reached: {error}") from None
    finally:
        looks.close()
    checked = Checked(config, source.name, catalog, store, examination.findings)
    if arguments.json:
        write_json({**checked.found, "sample": examination.as_json()}, ensure_ascii=True)
    else:
        write("\n".join(checked.lines(sample_lines(examination.census, examination.took_s))))
    return exit_code(config, checked)


def _positive(text: str) -> int:
    number = int(text)
    if not 0 < number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1000000, got {text}")
    return number
