"""Options that several commands have: where the repository is, and settings; and the `Config` that they come to.

Feast takes --chdir and --feature-store-yaml before the command only; here they may stand behind it as well. So neither
they nor settings have a default in the parser: the one that is not given must not replace the one that is. Defaults are
put in by `config`, after variables and files; here they are text of the help.
"""

from __future__ import annotations

import argparse
import sys

from yummy_fast.cli.terminal import is_coloured
from yummy_fast.config.settings import SETTINGS, Config, Setting
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.telemetry.logs import set_up_logging


def add_repository(parser: argparse.ArgumentParser, *, letters: bool, file_letter: bool = True) -> None:
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


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Write JSON, for programs.")


def setting_named(name: str) -> Setting:
    (found,) = (setting for setting in SETTINGS if setting.name == name)
    return found


def add_setting(parser: argparse.ArgumentParser | argparse._ArgumentGroup, setting: Setting) -> None:
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


def load(arguments: argparse.Namespace) -> Config:
    """Read the configuration that the options and the environment ask for, and log as it says. Raises ConfigError."""
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
