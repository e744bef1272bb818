"""`yummy-fast compare`: the same requests to Feast's server and to this one, and what differs in the answers.

Three things are chosen here: where the requests come from (a file, standard input, or made up from the registry), who
answers for this server (a catalog of our own, or a running server), and what is printed. The configuration is read only
if one of the two needs it. How answers are compared is in `diagnosis.compare` and `diagnosis.differences`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from yummy_fast.cli.help_format import Commands
from yummy_fast.cli.options import add_json, add_repository, load
from yummy_fast.cli.terminal import Progress, write, write_json
from yummy_fast.errors import ConfigError, StoreError
from yummy_fast.native import owner as native

_DESCRIPTION = """\
Ask a Feast server and this one the same, and say what is not the same in their answers: columns, values and their JSON
types, statuses, event timestamps. Requests are the bodies of POST /get-online-features, one a line of a file, or of
standard input for "-". Without a file, requests are made up: for each feature service and feature view, with entities
that the online store has.

This server's answers are made here, from the online store itself; with --url, a running server is asked."""

_EXIT_CODES = """\
Exit code 0: all answers are the same. 1: some are not; a line says what. 2: no answer: the configuration, the registry,
the online store or a server."""


def add(commands: Commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="Compare this server's answers with those of Feast's own.",
        usage="yummy-fast compare --against URL [REQUESTS] [options]",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    add_repository(compare, letters=False)
    compare.add_argument("requests", metavar="REQUESTS", nargs="?", default="", help="File of requests, one a line.")
    compare.add_argument("--against", metavar="URL", required=True, help="The Feast server.")
    compare.add_argument(
        "--against-token-file",
        metavar="FILE",
        default="",
        help="File with the bearer token for --against, in its first line.",
    )
    compare.add_argument("--url", metavar="URL", default="", help="A running server to compare, instead of this one.")
    compare.add_argument(
        "--token-file", metavar="FILE", default="", help="File with the bearer token for --url, in its first line."
    )
    compare.add_argument("--values", action="store_true", help="Show values that differ, which are left out otherwise.")
    add_json(compare)
    compare.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    from yummy_fast.diagnosis import compare
    from yummy_fast.diagnosis.ask_server import ServerLink, token_headers
    from yummy_fast.diagnosis.differences import Answer, compare_answers
    from yummy_fast.diagnosis.made_requests import MadeRequests, make_requests
    from yummy_fast.server.once import Answerer

    feast = ServerLink(arguments.against, "--against")
    feast_headers = token_headers(arguments.against_token_file, "--against-token-file")
    with contextlib.ExitStack() as closing:
        closing.callback(feast.close)
        answerer = None
        if not arguments.url or not arguments.requests:
            native.check_wish()
            answerer = closing.enter_context(Answerer(load(arguments)))
        if arguments.url:
            link = ServerLink(arguments.url, "--url")
            closing.callback(link.close)
            headers = {"X-Feast-Compat": "feast", **token_headers(arguments.token_file)}

        def ours(body: bytes) -> Answer:
            if arguments.url:
                answer = link.ask_or_say(body, headers)
            else:
                assert answerer is not None  # noqa: S101
                answer = answerer.answer(body, "feast")
            if answer.status in (503, 504):  # else each request would be a difference
                raise ConfigError(f"compare: {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}")
            return answer

        made = MadeRequests([], [])
        if arguments.requests == "-":
            if sys.stdin is None:  # the program was started with it closed: <&-
                raise ConfigError("compare: standard input is closed")
            requests = compare.read_requests(sys.stdin.buffer, "line")
        elif arguments.requests:
            try:
                file = closing.enter_context(open(arguments.requests, "rb"))
            except OSError as error:
                raise ConfigError(f"{arguments.requests}: {error.strerror}") from None
            requests = compare.read_requests(file, arguments.requests)
        else:
            assert answerer is not None  # noqa: S101
            try:
                made = make_requests(answerer.catalog, answerer.stored_keys())
            except StoreError as error:
                raise ConfigError(f"online_store: cannot be reached: {error}") from None
            requests = iter([compare.Asked(what, json.dumps(query).encode()) for what, query in made.queries])
        theirs = lambda body: feast.ask_or_say(body, feast_headers)  # noqa: E731
        with Progress("comparing", sys.stderr) as progress:
            counted = compare.counted(requests, lambda number: setattr(progress, "detail", f"{number} requests"))
            tally = compare.compare(counted, theirs, ours, compare_answers)
    if not tally.asked:
        raise ConfigError("compare: there is no request to compare by")
    if arguments.json:
        write_json(compare.as_json(tally, made.left_out, values=arguments.values))
    else:
        write("\n".join(compare.lines(tally, made.left_out, values=arguments.values)))
    return int(tally.outcomes["different"] > 0)
