"""How a help is laid out: in paragraphs, with flags and defaults whole."""

from __future__ import annotations

import pytest

from yummy_fast.cli.help_format import Parser


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """argparse leaves two columns free."""
    monkeypatch.setenv("COLUMNS", "62")


def test_paragraphs_stay_apart() -> None:
    parser = Parser(prog="p", usage="p", description="one\ntwo\n\nthree", help_flags=("--help",))
    assert "\none two\n\nthree\n" in parser.format_help()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("abcdefghij abcdefghij --max-rows", ["abcdefghij abcdefghij", "--max-rows"]),
        ("abcdefghij abcdefg [default: x]", ["abcdefghij abcdefg", "[default: x]"]),
        ("short [default: x]", ["short [default: x]"]),
        ("two\n  lines", ["two lines"]),
    ],
)
def test_what_is_not_broken(text: str, lines: list[str]) -> None:
    """28 columns are left beside the flags: "-" and "default:" would still have fitted into the first line."""
    parser = Parser(prog="p", usage="p", help_flags=("--help",))
    parser.add_argument("--flag", metavar="N" * 21, help=text)
    shown = parser.format_help().splitlines()
    assert [line[32:] for line in shown[-len(lines) :]] == lines
    assert shown[-len(lines)].startswith("  --flag NNN")


def test_a_flag_is_written_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="p", usage="p", help_flags=("-h", "--help"))
    parser.add_argument("--port")
    assert parser.parse_args(["--port", "1"]).port == "1"
    with pytest.raises(SystemExit):
        parser.parse_args(["--por", "1"])
    assert "unrecognized arguments: --por 1" in capsys.readouterr().err


def test_the_flags_of_the_help_are_those_given(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="p", usage="p", help_flags=("--help",))
    parser.add_argument("-h", "--host")
    assert parser.parse_args(["-h", "x"]).host == "x"
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--help"])
    assert ended.value.code == 0
    assert "Show this help and exit." in capsys.readouterr().out
