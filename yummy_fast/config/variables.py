"""Environment variables in the text of feature_store.yaml: `$NAME`, `${NAME}`, and `${NAME:-default}`.

They are replaced before the text is parsed as YAML, as Feast does it (os.path.expandvars, in feast/repo_config.py,
Feast 0.67.0): there are no escapes, and what a variable holds is not expanded again. Beyond Feast, which leaves such
text as it is, defaults are taken as in a shell:

    ${HOST:-localhost}      localhost if HOST is not set, or empty
    ${HOST-localhost}       localhost if HOST is not set

A default may hold variables with braces: `${HOST:-${NODE:-localhost}}`.

A variable that is not set stays in the text. Feast would go on and look for a host called `${HOST}`; here, such a
variable is an error if it ends up in a value that is used. But a `$` may also be a character of a password. So without
braces, only what looks like a variable is taken for one: a name in capitals that begins a value, or follows a space or
one of `=,:/@`. Everything else is text, as it is to Feast:

    password=$REDIS_PASSWORD     an error if it is not set
    password=pa$word             text
    password=pa$WORD             text
    password=$ecret              text

`password: $SECRET` with SECRET=pa$WORD is no error: that `$` came out of a variable.

The caller hands in the environment, and decides which values are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from yummy_fast.errors import ConfigError

_BRACED = r"\{[^{}]*\}"
_DEFAULT = rf"(?:[^${{}}]|\$(?!\{{)|\$\{{(?:[^${{}}]|\$(?!\{{)|\${_BRACED})*\}})*"
"""The text of a default, with two more levels of variables in it."""
_VARIABLE = re.compile(
    rf"\$(?:(?P<name>\w+)|\{{(?P<braced>\w+)(?P<empty>:?)-(?P<default>{_DEFAULT})\}}|(?P<other>\{{[^}}]*\}}))", re.ASCII
)
_UNSET_NAME = re.compile(r"(?:^|(?<=[\s=,:/@]))\$[A-Z_][A-Z0-9_]*$", re.ASCII)


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """The text with its variables replaced; and those that are not set, as they stand in it: `$NAME` or `${NAME}`."""
    unset: set[str] = set()

    def replaced(found: re.Match[str]) -> str:
        if found["braced"] is not None:
            value = environ.get(found["braced"])
            if value or (value is not None and not found["empty"]):
                return value
            default, unset_in_it = expand(found["default"], environ)
            unset.update(unset_in_it)
            return default
        value = environ.get(found["name"] or found["other"].strip("{}"))
        if value is not None:
            return value
        if found["name"] is None or _UNSET_NAME.search(found.string[: found.end()]):
            unset.add(found[0])
        return found[0]

    return _VARIABLE.sub(replaced, text), frozenset(unset)


def check_set(value: object, where: str, unset: frozenset[str]) -> None:
    """Raises ConfigError if a variable of `unset` is left in a value of the file, which stands at `where`."""
    for place, text in _texts(value, where):
        for found in _VARIABLE.finditer(text):
            if found[0] in unset and (found["name"] is None or _UNSET_NAME.search(text[: found.end()])):
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
