"""Write docs/commands.md from the parser of the command line: `make docs`. tests/test_docs.py compares the two.

Not from the text of `--help`, whose form depends on the version of Python. The settings of `serve` are in
docs/settings.md, which tests/settings_document.py writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from yummy_fast.cli.parser import make_parser
from yummy_fast.config.settings import IGNORED_FLAGS, IGNORED_SWITCHES, SETTINGS

DOCUMENT = Path(__file__).parent.parent / "docs" / "commands.md"

_HEAD = """\
# Commands and flags

This file is written by `make docs` from the modules in yummy_fast/cli.

    yummy-fast [options] COMMAND ...

`yummy-fast COMMAND --help` says the same. The first two options stand before or behind the command, as in Feast.
"""

_OF_SERVE = f"""
All settings are flags of this command, and variables, and keys of feature_store.yaml: [settings.md](settings.md).
Besides them it takes the flags below. Of Feast's, these are taken and do nothing, with a line in the log:
{", ".join(f"`{flag}`" for flag in (*IGNORED_FLAGS, *IGNORED_SWITCHES))}.
"""


def text() -> str:
    """The document."""
    parser = make_parser()
    parts = [_HEAD, _table(parser)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                parts += [f"\n## {name}\n\n{summaries[name]}\n\n", f"    {command.usage}\n"]
                if name == "serve":
                    parts.append(_OF_SERVE)
                elif command.description:
                    parts.append(f"\n{_prose(command.description)}\n")
                parts += [_table(command), f"\n{_prose(command.epilog)}\n" if command.epilog else ""]
    return "".join(parts)


def _prose(description: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in description.split("\n\n"))


def _table(parser: argparse.ArgumentParser) -> str:
    rows = "".join(_rows(parser))
    return f"\n| flag or argument | what it does |\n|---|---|\n{rows}" if rows else ""


def _rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    settings = {setting.flag for setting in SETTINGS} if parser.prog.endswith(" serve") else set()
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        if settings & set(action.option_strings):
            continue
        value = str(action.metavar or ",".join(map(str, action.choices or ()))).strip("{}").replace(",", "|")
        value = f"`{value}`".replace("|", "` or `")  # a | would end the cell of the table
        names = ", ".join(f"`{flag}`" for flag in action.option_strings) or value
        takes = f" {value}" if action.option_strings and value != "``" and action.nargs != 0 else ""
        yield f"| {names}{takes} | {' '.join((action.help or '').split())} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(text())
