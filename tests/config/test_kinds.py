"""What values of settings look like: what each kind accepts, what it makes of that, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from yummy_fast.config import kinds
from yummy_fast.config.kinds import Kind, one_of, split_address, whole_number

FORMATS = one_of("text", "json", "xml")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole_number("rows", "N"), "1", 1),
        (whole_number("rows", "N", least=0), "0", 0),
        (FORMATS, "json", "json"),
        (kinds.HOST, "", ""),
        (kinds.PORT, "0", 0),
        (kinds.PORT, "65535", 65535),
        (kinds.ADDRESS, "", ""),
        (kinds.ADDRESS, "[::1]:9", "[::1]:9"),
        (kinds.MODE, "660", "660"),
        (kinds.MODE, "0600", "0600"),
        (kinds.MODE, "777", "777"),
        (kinds.PROCESSES, "-1", -1),
        (kinds.PROCESSES, "8", 8),
        (kinds.SECONDS, "0", 0.0),
        (kinds.SECONDS, "0.5", 0.5),
        (kinds.SECONDS, "86400", 86400.0),
        (kinds.FRACTION, "1", 1.0),
        (kinds.FRACTION, "0.01", 0.01),
        (kinds.LOG_LEVEL, "WARNING", "warning"),
        (kinds.LOG_LEVEL, "critical", "critical"),
        (kinds.SWITCH, "True", True),
        (kinds.SWITCH, "1", True),
        (kinds.SWITCH, "false", False),
        (kinds.SWITCH, "0", False),
    ],
)
def test_what_is_accepted(kind: Kind[Any], text: str, value: object) -> None:
    parsed = kind.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (whole_number("rows", "N"), ["0", "-1", "1.5", "", "many"]),
        (whole_number("rows", "N", least=0), ["-1"]),
        (FORMATS, ["", "TEXT", "yaml"]),
        (kinds.PORT, ["-1", "65536", "http", ""]),
        (kinds.ADDRESS, ["8000", "host:", "::1:80"]),
        (kinds.MODE, ["432", "200", "060", "1777", "9", "", "rw"]),
        (kinds.PROCESSES, ["0", "-2", "1.5", ""]),
        (kinds.SECONDS, ["-0.1", "86400.1", "nan", "inf", "", "1 s"]),
        (kinds.FRACTION, ["-0.01", "1.01", "nan", "1%"]),
        (kinds.LOG_LEVEL, ["", "loud", "10"]),
        (kinds.SWITCH, ["", "yes", "no", "2"]),
    ],
)
def test_what_is_refused(kind: Kind[Any], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError):  # noqa: PT011  # its message is not used: `expected` is
            kind.parse(text)


def test_what_was_expected_is_made_of_the_limits() -> None:
    assert whole_number("megabytes", "MB", least=0).expected == "a whole number of megabytes, 0 or more"
    assert (FORMATS.expected, FORMATS.metavar) == ("text, json or xml", "{text,json,xml}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        (":8000", ("", 8000)),
        ("[::1]:0", ("::1", 0)),
        ("a.b:65535", ("a.b", 65535)),
    ],
)
def test_an_address_is_split_into_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "8000", "host", "host:", "::1:80", "host:x", "host:-1", "host:65536"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        split_address(text)
