"""`yummy-fast explain`: why a feature of an entity is null.

The words of the command line become a `Question`, `diagnosis.explain` answers it, and the answer is printed. Stored
values are shown only with --values. The admin listener answers the same question: `server.explaining`.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from yummy_fast.cli.help_format import Commands
from yummy_fast.cli.options import add_json, add_repository, load
from yummy_fast.cli.terminal import Progress, write, write_json
from yummy_fast.errors import ConfigError, RequestError, StoreError
from yummy_fast.server.app import open_store

_DESCRIPTION = """\
Say why a feature is null. Look its row up as a request would; if it is not there, look for it under the keys that
another repository would have written it under (another database, project, key version, type or set of join keys, name
of the view), and at other entities. The last line says what to do."""

_EXIT_CODES = """\
Exit code 0: the row is there, and it has values. 1: the last line says why not. 2: it could not be found out."""


def add(commands: Commands) -> None:
    explain = commands.add_parser(
        "explain",
        help="Say why a feature is null.",
        usage="yummy-fast explain VIEW[:FEATURE] [KEY=VALUE ...] [options]",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    add_repository(explain, letters=False)
    explain.add_argument("about", metavar="VIEW[:FEATURE]", help="A feature, or all features of a view.")
    explain.add_argument("entities", metavar="KEY=VALUE", nargs="*", help="The join keys of the view.")
    explain.add_argument("--values", action="store_true", help="Show stored values, which are left out otherwise.")
    add_json(explain)
    explain.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    from yummy_fast.diagnosis.explain import explain
    from yummy_fast.diagnosis.question import ask, parse_pairs
    from yummy_fast.diagnosis.report import explanation_lines
    from yummy_fast.server.explaining import read_registry

    config = load(arguments)
    repository = config.repository
    looks = open_store(config).looks()
    try:
        question = ask(
            read_registry(config),
            arguments.about,
            parse_pairs(arguments.entities),
            key_version=repository.key_version,
            versioning=repository.versioning,
        )
        with Progress("looking into the online store", sys.stderr):
            explanation = explain(question, looks, datetime.now(UTC))
    except RequestError as error:
        raise ConfigError(f"explain: {error}") from None
    except StoreError as error:
        raise ConfigError(f"{repository.source}: online_store: cannot be reached: {error}") from None
    finally:
        looks.close()
    if arguments.json:
        write_json(explanation.as_json(values=arguments.values))
    else:
        write("\n".join(explanation_lines(explanation, values=arguments.values)))
    return int(explanation.cause.name != "present")
