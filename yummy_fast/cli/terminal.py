"""What a command prints: plain text; in a terminal, with colours, and a line of progress after a second.

Into a pipe or a file goes the same text without either, so scripts see one thing. NO_COLOR and TERM=dumb turn colours
off in a terminal (https://no-color.org); FORCE_COLOR turns them on in a pipe (https://force-color.org), for the
logs of CI. Colours are put on finished text: they change no width, and no command needs to know of them.

Why not rich (15.0): to import its Console and Table takes 75 ms of CPU, and the modules that this file needs take 24,
in each command that prints a table (medians of 20, Python 3.11); with pygments it is 13 MB. As an extra it could not
replace this file, since tables are aligned without it as well. It would wrap cells in a narrow terminal; but these
tables are searched with grep, for which a row has to stay one line.

The line of progress goes to standard error, is drawn again every DRAW_S, and is erased in the end. A command that is
done within WAIT_S shows none.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from types import TracebackType
from typing import Protocol, Self

from yummy_fast.errors import ConfigError

WAIT_S = 1.0
"""What takes longer shows that it goes on."""
DRAW_S = 0.2
_COLUMNS = 80
"""The width of a terminal that does not tell its own."""
_ERASE = "\r\x1b[K"
"""To the beginning of the line, and erase it (ECMA-48, 8.3.41)."""

_BOLD, _DIM, _RED, _GREEN, _YELLOW, _CYAN = 1, 2, 31, 32, 33, 36
"""Parameters of SGR, the escape sequence that sets colours (ECMA-48, 8.3.117)."""

_RULE = r"-+(  -+)*"
_WORDS = (
    (r"\bPRESENT\b", _GREEN),
    (r"\b(?:NOT_FOUND|NULL_VALUE|OUTSIDE_MAX_AGE)\b", _YELLOW),
    (r"\bINVALID\b|^(?:PROBLEM|DIFFERENT)\b|CANNOT BE SERVED|DOES NOT ANSWER", _RED),
    (r"^(?:note|not asked|not compared)\b", _CYAN),
    (r"^No problem was found\.$|^\d+ requests?: \d+ the same, 0 different$", _GREEN),
    (r"^\d+ requests?: \d+ the same, [1-9]\d* different$", _RED),
)
"""What is coloured within a line, by what it says. `re` compiles each when it is first used, and keeps it: here, it
would cost time at the start of a server, which paints nothing."""


class Stream(Protocol):
    """Standard output or standard error."""

    def isatty(self) -> bool: ...
    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...
    def fileno(self) -> int: ...


def is_coloured(stream: Stream) -> bool:
    """Whether colours are for this stream."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def paint(text: str) -> str:
    """The text with colours: the heads of its tables, statuses, problems and results."""
    lines = text.split("\n")
    painted = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(_RULE, line):
            painted.append(_in_colour(line, _DIM))
        elif line and re.fullmatch(_RULE, following):
            painted.append(_in_colour(line, _BOLD))
        else:
            for words, colour in _WORDS:
                line = re.sub(words, lambda found, colour=colour: _in_colour(found[0], colour), line)  # type: ignore[misc]
            painted.append(line)
    return "\n".join(painted)


def _in_colour(text: str, colour: int) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def write(text: str) -> None:
    """Print to standard output, in colours if it is a terminal. Raises ConfigError if it cannot be written."""
    _print(paint(text) if is_coloured(sys.stdout) else text)


def write_json(found: object, *, ensure_ascii: bool = False) -> None:
    """As `write`, JSON for a program: without colours, whatever FORCE_COLOR says."""
    _print(json.dumps(found, indent=2, ensure_ascii=ensure_ascii))


def write_script(text: str) -> None:
    """As `write`, a script for a shell: without colours, too."""
    _print(text)


def _print(text: str) -> None:
    try:
        print(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it exits
        if not isinstance(error, BrokenPipeError):  # after `| head`, which has read enough, nothing is wrong
            raise ConfigError(f"standard output: {error.strerror}") from None


class Progress:
    """A line of progress while the `with` block lasts, if `stream` is a terminal: "comparing: 120 requests, 3 s"."""

    def __init__(self, what: str, stream: Stream, *, wait_s: float = WAIT_S) -> None:
        self.detail = ""
        """How far it is. Any thread may set it."""
        self._what = what
        self._stream = stream
        self._wait_s = wait_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _width(self) -> int:
        """Of the terminal, which may have changed."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        except OSError:
            return _COLUMNS

    def _draw(self) -> None:
        began = time.monotonic()
        if self._ended.wait(self._wait_s):
            return
        while True:
            detail = f": {self.detail}," if self.detail else ""
            line = f"{self._what}{detail} {time.monotonic() - began:.0f} s"
            # A line that wraps could not be erased. The last column stays empty: some terminals wrap when it is filled.
            self._stream.write(f"{_ERASE}{line[: max(self._width() - 1, 1)]}")
            self._stream.flush()
            if self._ended.wait(DRAW_S):
                self._stream.write(_ERASE)
                self._stream.flush()
                return
