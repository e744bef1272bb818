"""Bearer tokens as a function of a header. Tests with a server are in tests/system/test_tokens.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from yummy_fast.errors import ConfigError
from yummy_fast.http import tokens as module
from yummy_fast.http.tokens import MAX_TOKENS, Tokens

NO_TOKEN = "expected a token of letters, digits and -._~+/, with or without = at its end"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ": expected one token per line, found none: every request would be refused"),
        (b"\n  \n# one\n", ": expected one token per line, found none: every request would be refused"),
        (b"good\nBearer bad\n", ", line 2: " + NO_TOKEN),
        (b"\xff\xfeb\0a\0d\0", ", line 1: " + NO_TOKEN),
        (b"x\n" * 101, ": 101 tokens; the limit is 100"),
        (b"x" * (1 << 20) + b"\n", ": longer than 1048576 bytes"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, data: bytes, expected: str) -> None:
    """The error is one line that names the file and the line in it, and quotes nothing of its contents."""
    path = tmp_path / "tokens"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        Tokens(str(path))
    assert str(caught.value) == f"--auth-tokens {path}{expected}"


def test_a_token_is_compared_with_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In constant time, and all of them: how long it takes must depend neither on a token nor on its position."""
    path = tmp_path / "tokens"
    path.write_text("".join(f"token-{number}\n" for number in range(MAX_TOKENS)))
    tokens = Tokens(str(path))
    compared = 0

    def compare(one: bytes, other: bytes) -> bool:
        nonlocal compared
        assert len(one) == len(other)
        compared += 1
        return one == other

    monkeypatch.setattr(module, "compare_digest", compare)
    for given, good in ((0, True), (MAX_TOKENS - 1, True), (MAX_TOKENS, False)):
        compared = 0
        assert tokens.accepts(b"Bearer token-%d" % given) is good
        assert compared == MAX_TOKENS


def test_nothing_of_a_token_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("a-secret\n")
    tokens = Tokens(str(path))
    kept = [getattr(tokens, name) for name in Tokens.__slots__]
    assert b"a-secret" not in repr(kept).encode()
    assert tokens.accepts(b"Bearer a-secret")
