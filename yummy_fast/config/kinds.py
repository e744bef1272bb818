"""What values of settings look like: text in; a value out, or ValueError.

A `Kind` says how text becomes a value, how an error message describes the text that was expected, and what stands for
the value in `--help`. Every value arrives as text: flags and environment variables are text, and the values that YAML
has parsed are turned into text again. So `--port 6566`, YUMMY_FAST_PORT=6566 and `port: 6566` are parsed by the same
function.

Which setting has which kind is in `settings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of value that settings can have."""

    parse: Callable[[str], T]
    """Raises ValueError for text that is no value of this kind."""
    expected: str
    """What `parse` accepts, for the message when it refuses."""
    metavar: str
    """What stands for a value in `--help`."""


def whole_number(unit: str, metavar: str, *, least: int = 1) -> Kind[int]:
    """A number of things, `least` or more."""

    def parse(text: str) -> int:
        number = int(text)
        if number < least:
            raise ValueError
        return number

    return Kind(parse, f"a whole number of {unit}, {least} or more", metavar)


def one_of(*choices: str) -> Kind[str]:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return Kind(parse, f"{', '.join(choices[:-1])} or {choices[-1]}", f"{{{','.join(choices)}}}")


def split_address(text: str) -> tuple[str, int]:
    """ "HOST:PORT", with brackets around IPv6; ":PORT" stands for all addresses of the machine. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or (":" in host and host[:1] + host[-1:] != "[]"):
        raise ValueError
    return host.strip("[]"), _port(port)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def _address(text: str) -> str:
    if text:
        split_address(text)
    return text


def _mode(text: str) -> str:
    # YAML reads 0660 as octal and makes 432 of it. As a mode, 432 would lock the owner out, so it is refused.
    if int(text, 8) & ~0o777 or int(text, 8) & 0o600 != 0o600:
        raise ValueError
    return text


def _processes(text: str) -> int:
    number = int(text)
    if number < 1 and number != -1:
        raise ValueError
    return number


def _from_zero_to(most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = float(text)
        if not 0 <= number <= most:  # false for "nan" too
            raise ValueError
        return number

    return parse


def _log_level(text: str) -> str:
    level = text.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError
    return level.lower()


def _switch(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except KeyError:
        raise ValueError from None


HOST = Kind(str, "an address", "HOST")
PORT = Kind(_port, "a port number", "PORT")
ADDRESS = Kind(_address, "HOST:PORT, such as 127.0.0.1:8000", "HOST:PORT")
PATH = Kind(str, "a path", "PATH")
FILE = Kind(str, "a path", "FILE")
URL = Kind(str, "a URL", "URL")
PROVIDER = Kind(str, "the name of a module, a colon and the name of a function in it", "MODULE:NAME")
MODE = Kind(_mode, "a mode of three octal digits that lets the owner read and write", "MODE")
PROCESSES = Kind(_processes, "a number of processes, 1 or more, or -1", "N")
BYTES = whole_number("bytes", "BYTES")
WHOLE_SECONDS = whole_number("seconds", "SECONDS")
MILLISECONDS = whole_number("milliseconds", "MS")
SECONDS = Kind(_from_zero_to(86_400), "seconds, from 0 to 86400", "SECONDS")
FRACTION = Kind(_from_zero_to(1), "a number from 0 to 1", "FRACTION")
LOG_LEVEL = Kind(_log_level, "DEBUG, INFO, WARNING, ERROR or CRITICAL", "LEVEL")
SWITCH = Kind(_switch, "true or false", "true|false")
