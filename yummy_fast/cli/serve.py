"""`yummy-fast serve`: the flags of all settings, and a server as they say.

The flags are made from `config.settings`: the help has a section for each title of a group. They carry Feast's names
and letters, so that a command line written for `feast serve` works. Those of Feast's that have no effect here are
taken, and the log says so.

A server with one process runs in this one (`server.app`); for several, this one becomes their `workers.supervisor`. The
limit on open files is raised here, once for all of them.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace

from yummy_fast.cli.help_format import Commands
from yummy_fast.cli.options import add_repository, add_setting, load
from yummy_fast.config.settings import GROUPS, IGNORED_FLAGS, IGNORED_SWITCHES, Config, Telemetry
from yummy_fast.errors import ConfigError
from yummy_fast.http.descriptors import connections_that_fit, needed, raise_soft_limit
from yummy_fast.native import owner as native
from yummy_fast.server import admin, app
from yummy_fast.workers import supervisor

logger = logging.getLogger("yummy_fast")

_DESCRIPTION = """\
Serve the features of a Feast repository over HTTP.

Every option with a default can also be set by an environment variable, YUMMY_FAST_ and the flag in capitals, such as
YUMMY_FAST_PORT for --port. Those from "address" on can also be set under `yummy_fast:` in feature_store.yaml, where
--max-rows is called max_rows. A flag overrides the variable, and the variable overrides the file."""


def add(commands: Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="Serve features over HTTP.",
        usage="yummy-fast serve [options]",
        description=_DESCRIPTION,
        help_flags=("--help",),  # as in Feast, -h is the host
    )
    add_repository(serve, letters=False)
    _add_settings(serve)
    serve.add_argument("-t", "--type", default="http", help=argparse.SUPPRESS)
    for flag in IGNORED_FLAGS:
        serve.add_argument(flag, help=argparse.SUPPRESS)
    for flag in IGNORED_SWITCHES:
        serve.add_argument(flag, action="store_const", const=flag, help=argparse.SUPPRESS)
    serve.set_defaults(command=run)


def _add_settings(serve: argparse.ArgumentParser) -> None:
    """A section for each title of a group."""
    sections = {
        title: serve.add_argument_group(title) for title in dict.fromkeys(group.title for group in GROUPS.values())
    }
    for group in GROUPS.values():
        for setting in group.settings().values():
            add_setting(sections[group.title], setting)
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


def run(arguments: argparse.Namespace) -> int:
    app.install_startup_signals()
    native.check_wish()
    config = load(arguments)
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
    app.run(config)
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
