"""The command line: serve, check, demo.

Flags carry Feast's names and letters, so that a command line written for `feast` works with the program's name changed.
Those of the settings are made from settings.SETTINGS. A ConfigError or RegistryError is one line and exit code 2:
nothing could be served. `check` has exit code 1 for what would be served, but not all of it, or not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from yummy_fast import __version__
from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.config.settings import IGNORED_FLAGS, SETTINGS
from yummy_fast.errors import ConfigError, RegistryError, RequestError, StoreError
from yummy_fast.features.plan import Plan
from yummy_fast.server.app import build_catalog, install_startup_signals, open_store, run
from yummy_fast.sources.open_source import open_source
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.online_store import OnlineStore
from yummy_fast.telemetry.logs import set_up_logging
from yummy_fast.workers import supervisor

logger = logging.getLogger("yummy_fast")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the `yummy-fast` command. Its exit code is 2 for a configuration or registry of no use."""
    arguments = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        code = arguments.command(arguments)
    except (ConfigError, RegistryError) as error:
        print(f"yummy-fast: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="yummy-fast", description="A fast feature server for Feast repositories.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"yummy-fast {__version__}")
    _add_repository(parser, letters=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", help="serve features over HTTP", add_help=False, allow_abbrev=False)
    serve.add_argument("--help", action="help", help="show this help message and exit")
    _add_repository(serve, letters=False)
    _add_settings(serve)
    serve.add_argument(
        "--no-access-log", action="store_true", help="accepted for Feast's sake: see --access-log-sample"
    )
    serve.add_argument(
        *("-m", "--metrics"), action="store_true", help="as Feast: probes and metrics on port 8000, unless --admin"
    )
    serve.add_argument("-t", "--type", default="http", help=argparse.SUPPRESS)
    for flag in IGNORED_FLAGS:
        serve.add_argument(flag, help=argparse.SUPPRESS)
    serve.set_defaults(command=_serve)

    check = commands.add_parser(
        "check",
        help="read configuration and registry, ask the store, show what was found; exit 1 if not all can be served",
    )
    _add_repository(check, letters=False)
    check.add_argument("--json", action="store_true", help="for machines")
    check.set_defaults(command=_check)

    demo = commands.add_parser("demo", help="make a small repository with data, and serve it", add_help=False)
    demo.add_argument("--help", action="help", help="show this help message and exit")
    demo.add_argument("-p", "--port", type=int, default=0, help="the port to listen on (default: a free one)")
    demo.set_defaults(command=_demo)
    return parser


def _add_repository(parser: argparse.ArgumentParser, *, letters: bool) -> None:
    """Where feature_store.yaml is: Feast's global flags, taken after the command as well."""
    file = "the configuration (default: feature_store.yaml in the folder; YUMMY_FAST_FEATURE_STORE_YAML)"
    for flag, letter, metavar, text in (
        ("--chdir", "-c" if letters else "", "DIR", "the repository's folder (default: this one; YUMMY_FAST_CHDIR)"),
        ("--feature-store-yaml", "-f", "FILE", file),
    ):
        names = [letter, flag] if letter else [flag]
        parser.add_argument(*names, metavar=metavar, default=argparse.SUPPRESS, help=text)
    if letters:
        _add_settings(parser, only=("log_level",))


def _add_settings(parser: argparse.ArgumentParser, only: Sequence[str] = ()) -> None:
    for setting in SETTINGS:
        if only and setting.name not in only:
            continue
        names = [setting.letter, setting.flag] if setting.letter else [setting.flag]
        text = f"{setting.help} (default: {setting.default!r}; {setting.variable})"
        parser.add_argument(
            *names,
            dest=f"set_{setting.name}",
            metavar=setting.name.rpartition("_")[2].upper(),
            default=argparse.SUPPRESS,
            help=text,
            nargs="?" if setting.default is False else None,  # a switch: the flag alone says true
            const="true" if setting.default is False else None,
        )


def _load(arguments: argparse.Namespace) -> Config:
    given = vars(arguments)
    config = load_config(
        chdir=given.get("chdir"),
        feature_store_yaml=given.get("feature_store_yaml"),
        flags={name.removeprefix("set_"): value for name, value in given.items() if name.startswith("set_")},
        metrics=given.get("metrics", False),
    )
    set_up_logging(config.log_level, config.log_format)
    return config


# --------------------------------------------------------------------------------------------------------------- serve


def _serve(arguments: argparse.Namespace) -> int:
    install_startup_signals()
    config = _load(arguments)
    if arguments.type != "http":
        raise ConfigError(f"--type: expected http, got {arguments.type!r}")
    ignored = [flag for flag in IGNORED_FLAGS if getattr(arguments, flag[2:].replace("-", "_")) is not None]
    if ignored:
        reasons = dict.fromkeys(IGNORED_FLAGS[flag] for flag in ignored)
        logger.warning("without effect: %s (%s)", ", ".join(ignored), "; ".join(reasons))
    if config.workers != 1:
        return supervisor.run(config)
    run(config)
    return 0


# --------------------------------------------------------------------------------------------------------------- check


def _check(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    store = open_store(config)
    source = open_source(config)
    catalog = build_catalog(config, store, source.read())
    try:
        answer, reachable = asyncio.run(store.ping()), True
    except StoreError as error:
        answer, reachable = str(error), False
    found = {
        "configuration": config.source,
        "project": config.project,
        "registry": source.name,
        "registry_version": catalog.registry.version,
        "entity_key_serialization_version": config.key_version,
        "online_store": {"type": config.online_store["type"], "reachable": reachable, "answer": answer},
        "feature_views": len(catalog.registry.views),
        "broken_views": [{"name": name, "error": str(error)} for name, error in catalog.broken_views()],
        "collisions": catalog.collisions,
        "feature_services": [_describe(name, plan, store) for name, plan in catalog.services()],
    }
    try:
        if arguments.json:
            print(json.dumps(found, indent=2))
        else:
            _print_check(found)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest at its end
        if not isinstance(error, BrokenPipeError):  # `| head`: whoever has read enough is no error
            raise ConfigError(f"standard output: {error.strerror}") from None
    if not reachable:
        raise ConfigError(f"{config.source}: online_store: cannot be reached: {answer}")
    # A server would start, and has a line in its log for each, as here: in CI, somebody should look.
    nothing = not catalog.registry.views
    return int(any((nothing, catalog.broken_services(), catalog.broken_views(), catalog.collisions)))


def _describe(name: str, plan: Plan | RequestError, store: OnlineStore) -> dict[str, Any]:
    if isinstance(plan, RequestError):
        return {"name": name, "error": str(plan)}
    return {
        "name": name,
        "features": len(plan.columns) + sum(len(one.outputs) for one in plan.computed),
        "feature_views": sum(len(lookup.views) for lookup in plan.lookups),
        "keys_per_row": len(plan.lookups),
        "commands": [
            f"{', '.join(request_name for _, request_name in lookup.join_keys)}: {command}"
            for lookup, command in zip(plan.lookups, store.describe(plan.prepared), strict=True)
        ],
    }


def _print_check(found: dict[str, Any]) -> None:
    online_store = found["online_store"]
    state = "answers" if online_store["reachable"] else "DOES NOT ANSWER"
    print(f"configuration  {found['configuration']}")
    print(f"project        {found['project']}")
    print(f"registry       {found['registry']} (version {found['registry_version'] or 'unknown'})")
    print(f"entity keys    serialization version {found['entity_key_serialization_version']}")
    print(f"online store   {online_store['type']}, {state}: {online_store['answer']}")
    print(f"feature views  {found['feature_views']}")
    for view in found["broken_views"]:
        print(f"               {view['error']}")
    for pair in found["collisions"]:
        print(f"               STORED IN ONE PLACE: {pair}")
    print()
    rows = [("feature service", "features", "views", "keys a row", "commands")]
    for service in found["feature_services"]:
        if "error" in service:
            rows.append((service["name"], "", "", "", f"CANNOT BE SERVED: {' '.join(service['error'].split())}"))
        else:
            counts = (service["features"], service["feature_views"], service["keys_per_row"])
            rows.append((service["name"], *map(str, counts), "; ".join(service["commands"])))
    print_table(rows)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, the first row as the head. Numbers stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for place, row in enumerate(rows):
        cells = [
            cell.rjust(width) if cell.replace(".", "").replace("-", "").isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())
        if place == 0:
            print("  ".join("-" * width for width in widths))


# ---------------------------------------------------------------------------------------------------------------- demo


def _demo(arguments: argparse.Namespace) -> int:
    try:
        from yummy_fast import demo
    except ImportError as error:
        raise ConfigError(f"demo: {error.name} is not installed; try: pip install 'yummy-fast[demo]'") from None
    install_startup_signals()
    return demo.run_demo(arguments.port, print_table)
