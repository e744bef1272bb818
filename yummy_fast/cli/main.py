"""From the words of a command line to an exit code: `main` parses them, runs the command and reports what ended it.

Exit codes: 2, with one line on standard error, if nothing can be served (ConfigError, RegistryError); 1 from `check` if
a server would start but something could not be served, or not correctly, from `get` if the request was refused, from
`explain` and `doctor` if something was found, from `compare` if answers differ; 3 from `serve` if its workers keep
dying (see `workers.supervisor`); 130 after Ctrl-C.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import NoReturn

from yummy_fast.cli import feast_commands
from yummy_fast.cli.parser import make_parser
from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.telemetry.stderr_log import FLUSH_S, is_writable


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the `yummy-fast` command, which images also have under the name `feast`."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["feast"]:
        # An image whose entry point is this program, in a deployment that says `feast serve`: the name is said twice.
        del given[0]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        feast_commands.refuse(given)
        arguments = make_parser().parse_args(given)
        code = arguments.command(arguments)
    except (ConfigError, RegistryError) as error:
        if is_writable(2, FLUSH_S):  # else nobody reads it: to end is more important
            print(f"yummy-fast: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
