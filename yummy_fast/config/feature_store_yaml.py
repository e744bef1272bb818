"""feature_store.yaml, flags and environment variables become one frozen `Config`.

The text's variables are expanded (`variables`), it is parsed as YAML, Feast's keys are read from it (`repository`), and
each setting gets its value: from its flag, else its environment variable, else its key under `yummy_fast:`, else its
default (`settings`). Feast ignores `yummy_fast:`. Here, a key under it that is no setting is an error.

Pure: the text, the environment and `find_path`, which knows where files are, are handed in by `sources.yaml_text`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import yaml

from yummy_fast.config.repository import Repository, asks_for_metrics, parse_repository, used_keys
from yummy_fast.config.settings import GROUPS, SETTINGS, Admin, Config, Setting
from yummy_fast.config.variables import check_set, expand
from yummy_fast.errors import ConfigError

FEAST_METRICS_ADDRESS = ":8000"
"""The address of Feast's metrics server, which --metrics starts (feast/metrics.py, Feast 0.67.0)."""


class YamlText(NamedTuple):
    """feature_store.yaml as it was read, before anything in it is expanded."""

    text: str
    source: str
    """Where the text came from, for messages. It contains no secrets."""
    folders: tuple[str, str]
    """Where relative paths start: see `Repository.folders`."""


def parse_config(
    yaml_text: YamlText,
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    find_path: Callable[[str], str],
    metrics: bool = False,
    on_terminal: bool = False,
) -> Config:
    """Give every setting its value. Raises ConfigError, which names the key in the file, the variable or the flag.

    `flags` has the values from the command line, by Setting.name; `find_path` makes a relative path absolute; `metrics`
    says whether Feast's flag --metrics was given; with `on_terminal`, people read the log: every request is logged
    unless a setting says otherwise.
    """
    source = yaml_text.source
    text, unset = expand(yaml_text.text, environ)
    data = _parse(text, source, unset)
    check_set(used_keys(data), f"{source}: ", unset)
    repository = parse_repository(data, source, yaml_text.folders, find_path)
    defaults = {"access_log_sample": 1.0} if on_terminal else {}
    config = _settle(repository, data.get("yummy_fast"), flags, environ, unset, defaults)
    if bool(config.tls.key) != bool(config.tls.cert):
        raise ConfigError("--key and --cert go together: TLS needs both")
    if config.tls.client_ca and not config.tls.cert:
        raise ConfigError("--client-ca needs --key and --cert: without TLS no client can show a certificate")
    if config.admin.ui and not config.admin.address:
        raise ConfigError("--ui needs --admin: an address for the page")
    if config.admin.address:
        return replace(config, admin=replace(config.admin, reload=True))
    if metrics:
        return replace(config, admin=Admin(FEAST_METRICS_ADDRESS, reload=False, key="--metrics"))
    if asks_for_metrics(data):
        key = f"{source}: feature_server.metrics"
        return replace(config, admin=Admin(FEAST_METRICS_ADDRESS, reload=False, key=key))
    return config


def _parse(text: str, source: str, unset: frozenset[str]) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # An unset ${NAME} stays as it is, and YAML gives braces a meaning.
        hint = f"; there are no environment variables for {', '.join(sorted(unset))}" if unset else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(f"{source}{place}: not YAML: {problem}{hint}") from None
    except (ValueError, RecursionError):  # a date that does not exist, a thousand brackets
        raise ConfigError(f"{source}: this YAML cannot be read") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected keys and values, such as `project: my_project`")
    return data


def _settle(
    repository: Repository,
    block: object,
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    unset: frozenset[str],
    defaults: Mapping[str, Any],
) -> Config:
    """Flag, environment variable, file, default: the first that has a value for a setting decides.

    `defaults` has those that differ from what is declared.
    """
    where = f"{repository.source}: yummy_fast"
    block = {} if block is None else block
    if not isinstance(block, dict):
        raise ConfigError(f"{where}: expected keys and values, got {block!r}")
    known = {setting.name for setting in SETTINGS}
    for key in block:
        if key not in known:
            raise ConfigError(f"{where}.{key}: no such setting; expected one of: {', '.join(sorted(known))}")

    def value_of(setting: Setting) -> Any:
        in_file = f"{where}.{setting.name}"
        for given, place in (
            (flags.get(setting.name), setting.flag),
            (environ.get(setting.variable) or None, setting.variable),  # `NAME=` in an environment file: not set
            (block.get(setting.name), in_file),
        ):
            if given is None:
                continue
            if place is in_file:
                check_set(given, place, unset)
            try:
                return setting.kind.parse(str(given))
            except ValueError:
                raise ConfigError(f"{place}: expected {setting.kind.expected}, got {given!r}") from None
        return defaults.get(setting.name, setting.default)

    groups: dict[str, Any] = {
        name: group(**{field: value_of(setting) for field, setting in group.settings().items()})
        for name, group in GROUPS.items()
    }
    return Config(repository=repository, **groups)
