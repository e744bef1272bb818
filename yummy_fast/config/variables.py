"""Environment variables in the text of feature_store.yaml: `$NAME` and `${NAME}`.

They are replaced before the text is parsed as YAML, as Feast does it (os.path.expandvars, in feast/repo_config.py,
Feast 0.67.0): there are no defaults and no escapes, and what a variable holds is not expanded again. A variable that is
not set stays in the text. Feast would go on and look for a host called `${HOST}`; here, such a variable is an error if
it ends up in a value that is used. `password: $SECRET` with SECRET=pa$word is no error: that `$` came out of a
variable.

The caller hands in the environment, and decides which values are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from yummy_fast.errors import ConfigError

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})", re.ASCII)


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """The text with its variables replaced; and those that are not set, as they stand in it: `$NAME` or `${NAME}`."""
    unset = frozenset(found[0] for found in _VARIABLE.finditer(text) if found[1].strip("{}") not in environ)
    return _VARIABLE.sub(lambda found: environ.get(found[1].strip("{}"), found[0]), text), unset


def check_set(value: object, where: str, unset: frozenset[str]) -> None:
    """Raises ConfigError if a variable of `unset` is left in a value of the file, which stands at `where`."""
    for place, text in _texts(value, where):
        for found in _VARIABLE.finditer(text):
            if found[0] in unset:
                raise ConfigError(f"{place}: {found[0]}: there is no such environment variable")


def _texts(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Every string in a value, and where it stands: `fs.yaml: online_store.connection_string`."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{where}{key}" if where.endswith(" ") else f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{where}[{index}]")
