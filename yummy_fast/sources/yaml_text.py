"""Where the text of feature_store.yaml comes from: a file, a URL, or an environment variable; and `load_config`.

It is read once, at start, and never again. `load_config` hands it to `config.feature_store_yaml`, which knows what the
text means and neither files nor the process's environment. No message holds the text, nor a secret of its URL.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from yummy_fast.config.feature_store_yaml import YamlText, parse_config
from yummy_fast.config.repository import Notice
from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError
from yummy_fast.sources import download
from yummy_fast.sources.deadline import DeadlineRunner
from yummy_fast.sources.file import find_path


def load_config(
    *,
    chdir: str | None = None,
    feature_store_yaml: str | None = None,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    metrics: bool = False,
    on_terminal: bool = False,
) -> Config:
    """Read feature_store.yaml and settle every setting. Raises ConfigError naming file and key.

    `flags` holds what the command line gave, by Setting.name; `environ` defaults to the process's own; `metrics` and
    `on_terminal` are as in `parse_config`.
    """
    environ = os.environ if environ is None else environ
    chdir = chdir or environ.get("YUMMY_FAST_CHDIR") or environ.get("FEATURE_REPO_DIR_ENV_VAR")
    yaml_text = read_yaml(Path(chdir or ".").absolute(), feature_store_yaml, environ)
    config = parse_config(
        yaml_text,
        flags or {},
        environ,
        find_path=lambda path: find_path(path, *yaml_text.folders),
        metrics=metrics,
        on_terminal=on_terminal,
    )
    artifacts = Path(find_path(STATIC_ARTIFACTS, *yaml_text.folders))
    if not artifacts.is_file():
        return config
    notice = Notice(
        f"{artifacts}: not loaded: Feast's server runs this file, so functions of on-demand feature views may find "
        "other globals there than here"
    )
    return replace(config, repository=replace(config.repository, notices=(*config.repository.notices, notice)))


STATIC_ARTIFACTS = "static_artifacts.py"
"""Feast's server runs this file of the repository when it starts (feast/feature_server.py, load_static_artifacts)."""


MAX_YAML_BYTES = 1 << 20
"""A file behind a URL may be this long. Most have a few hundred bytes."""


def read_yaml(repo: Path, given: str | None, environ: Mapping[str, str]) -> YamlText:
    """The text of the file that `given`, or else the environment, names. Raises ConfigError."""
    encoded = environ.get("FEATURE_STORE_YAML_BASE64")
    if encoded:
        try:
            text = base64.b64decode(encoded, validate=True).decode()
            return YamlText(text, "FEATURE_STORE_YAML_BASE64", (str(repo), str(repo)))
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError("FEATURE_STORE_YAML_BASE64: expected the file's text in base64") from None
    given = given or environ.get("YUMMY_FAST_FEATURE_STORE_YAML") or environ.get("FEAST_FS_YAML_FILE_PATH")
    if given and given.startswith(("https://", "http://")):
        name = download.without_secrets(given)
        try:
            reply = DeadlineRunner(2 * download.TIMEOUT_S).run(lambda: download.get(given, MAX_YAML_BYTES))
            return YamlText(reply.body.decode(), name, (str(repo), str(repo)))
        except (OSError, UnicodeDecodeError) as error:
            why = download.reason(error) if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"{name}: cannot be read: {why}") from None
    path = Path(given or repo / "feature_store.yaml").absolute()
    try:
        return YamlText(path.read_text(), str(path), (str(repo), str(path.parent)))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
