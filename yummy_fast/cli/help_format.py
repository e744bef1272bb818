"""What every `--help` looks like: its widths, its paragraphs, and the parser that all commands are made of.

argparse fills a description as one paragraph, breaks lines at hyphens, which takes flags such as --max-rows apart, and
lets a default begin on one line and end on the next. It would also take --por for --port, until a later version has
another flag that begins so. Here paragraphs, flags and defaults stay whole, and a flag is written in full.

Pure.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any, TypeAlias

_WIDTH_OF_FLAGS = 32
"""The column at which help texts begin: most flags, with the name of their value, are shorter."""


class HelpFormatter(argparse.HelpFormatter):
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


class Parser(argparse.ArgumentParser):
    """What the program and its commands have in common."""

    def __init__(self, *, help_flags: Sequence[str], **options: Any) -> None:
        super().__init__(**options, add_help=False, allow_abbrev=False, formatter_class=HelpFormatter)
        self.add_argument(*help_flags, action="help", help="Show this help and exit.")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""Where a command adds its parser."""
