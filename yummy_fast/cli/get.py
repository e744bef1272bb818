"""`yummy-fast get`: features of entities, from the online store itself or from a running server, as a table.

Either way it is one request with one JSON body, so the answer is a server's: refused for the same reasons, in the same
words. With --url, no configuration is read.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime

from yummy_fast.cli.help_format import Commands
from yummy_fast.cli.options import add_json, add_repository, load
from yummy_fast.cli.terminal import write, write_json
from yummy_fast.errors import ConfigError, RequestError
from yummy_fast.native import owner as native

_DESCRIPTION = """\
Read features of entities, as a request would: from the online store itself, or from a running server. Each line of the
answer has a value, its status, the time of its row, and how old it is.

Statuses are strict unless --compat says otherwise: NOT_FOUND, NULL_VALUE and OUTSIDE_MAX_AGE tell one null from
another. `yummy-fast explain` says why."""

_EXIT_CODES = """\
Exit code 0: the request was answered. 1: it was refused. 2: no answer: the configuration, the registry, the online
store or the server."""


def add(commands: Commands) -> None:
    get = commands.add_parser(
        "get",
        help="Read features of entities, with statuses and ages.",
        usage="yummy-fast get -e KEY=VALUE [-e ...] (-f VIEW:FEATURE [-f ...] | --service NAME) [options]",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    add_repository(get, letters=False, file_letter=False)
    get.add_argument(
        *("-e", "--entities"),
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="A join key and its value. The same join key again begins another row.",
    )
    get.add_argument(
        *("-f", "--features"), metavar="VIEW:FEATURE", action="append", default=[], help="A feature to read."
    )
    get.add_argument("--service", metavar="NAME", default="", help="A feature service to read, instead of features.")
    get.add_argument("--full-feature-names", action="store_true", help="Call features VIEW__FEATURE.")
    get.add_argument(
        "--compat",
        choices=("feast", "strict"),
        default="strict",
        help="Which statuses, as `serve --compat` has them. [default: strict]",
    )
    get.add_argument("--url", metavar="URL", default="", help="A running server to ask, instead of the online store.")
    get.add_argument(
        "--token-file", metavar="FILE", default="", help="File with the bearer token for --url, in its first line."
    )
    add_json(get)
    get.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    from yummy_fast.diagnosis import feature_table
    from yummy_fast.diagnosis.report import table_lines

    try:
        asked = feature_table.request_of(
            arguments.entities,
            arguments.features,
            arguments.service,
            full_feature_names=arguments.full_feature_names,
        )
    except RequestError as error:
        raise ConfigError(f"get: {error}") from None
    body = json.dumps(asked).encode()
    if arguments.url:
        from yummy_fast.diagnosis.ask_server import ask_server

        status, answer = ask_server(arguments.url, body, arguments.compat, arguments.token_file)
    else:
        native.check_wish()
        from yummy_fast.server.once import answer_once

        status, answer = answer_once(load(arguments), body, arguments.compat)
    try:
        found = json.loads(answer)
    except ValueError:
        raise ConfigError(f"get: the answer ({status}) is not JSON: {answer[:80]!r}") from None
    if status != 200:
        if status >= 500:
            raise ConfigError(f"get: {status}: {_message(found)}")
        print(f"yummy-fast: get: {status}: {_message(found)}", file=sys.stderr)
        return 1
    try:
        rows = feature_table.rows_of(found, asked, datetime.now(UTC))
    except (KeyError, TypeError, ValueError, IndexError):
        raise ConfigError("get: the answer has no features: is this the URL of a feature server?") from None
    if arguments.json:
        write_json(feature_table.as_json(rows))
    else:
        write("\n".join(table_lines(feature_table.table_rows(rows))))
    return 0


def _message(found: object) -> str:
    """The text of an error's body: a string, a string of JSON with a message, or an object with details."""
    if isinstance(found, str):
        try:
            inner = json.loads(found)
        except ValueError:
            return found
        return str(inner["message"]) if isinstance(inner, dict) and "message" in inner else found
    detail = found.get("detail") if isinstance(found, dict) else None
    return detail if isinstance(detail, str) else json.dumps(found)
