"""Write docs/settings.md from the table of settings: `make docs`. tests/test_docs.py compares the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from yummy_fast.config.settings import GROUPS, Setting

DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"

_HEAD = """\
# Settings

This file is written by `make docs` from yummy_fast/config/settings.py.

Each setting has a flag of `yummy-fast serve`, an environment variable, and a key in `feature_store.yaml`:

    yummy-fast serve --max-rows 500
    YUMMY_FAST_MAX_ROWS=500 yummy-fast serve

```yaml
# feature_store.yaml, beside Feast's own keys; Feast ignores this block
yummy_fast:
  max_rows: 500
```

The flag decides, then the variable, then the key, then the default. A value that does not fit ends the start with one
line that says where it stands and what was expected, and exit code 2; so does a key under `yummy_fast:` that is no
setting. [compatibility.md](compatibility.md#configuration) has what is read of Feast's own keys, and
[reliability.md](reliability.md#limits) why each limit is what it is.
"""


def text() -> str:
    """The document."""
    return _HEAD + "".join(f"\n## {title}\n\n{_table(settings)}" for title, settings in _groups().items())


def _groups() -> Mapping[str, list[Setting]]:
    """The settings by the titles of their groups, in the order of `--help`."""
    found: dict[str, list[Setting]] = {}
    for group in GROUPS.values():
        title = f"{group.title[0].upper()}{group.title[1:]}"
        found.setdefault(title, []).extend(group.settings().values())
    return found


def _table(settings: Iterable[Setting]) -> str:
    return "| flag, variable, key | default | what it does |\n|---|---|---|\n" + "".join(map(_row, settings))


def _row(setting: Setting) -> str:
    names = f"`{setting.flag}`" + (f", `{setting.letter}`" if setting.letter else "")
    what = f"{setting.help.removesuffix('.')}. Takes {setting.kind.expected}."
    return f"| {names}<br>`{setting.variable}`<br>`{setting.name}` | {_default(setting)} | {what} |\n"


def _default(setting: Setting) -> str:
    if setting.default == "":
        return "none"
    return f"`{str(setting.default).lower() if setting.default is False else setting.default}`"


if __name__ == "__main__":
    DOCUMENT.write_text(text())
