"""Bearer tokens as a function of a header. Tests with a server are in tests/system/test_tokens.py."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from yummy_fast.errors import ConfigError, TokenError
from yummy_fast.http import tokens as module
from yummy_fast.http.http11 import Request
from yummy_fast.http.tokens import MAX_FILE_BYTES, MAX_TOKENS, Tokens

NO_TOKEN = (
    "expected a token of letters, digits and -._~+/, with or without = at its end, which the word write may follow"
)


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


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """Of a file with comments, empty lines, and two tokens."""
    (tmp_path / "tokens").write_text("# a comment\none\n\n  two==  \n")
    return Tokens(str(tmp_path / "tokens"))


@pytest.mark.parametrize(
    ("authorization", "accepted"),
    [
        (b"Bearer one", True),
        (b"bEARER two==", True),
        (b"Bearer  \t one \t", True),
        *((text, False) for text in (b"", b"one", b"Bearer", b"Bearer ", b"Bearer one two==", b"Bearer three")),
        *((text, False) for text in (b"Basic one", b"Bearerone", b" Bearer one", b"Bearer ONE", b"Bearer two")),
        *((text, False) for text in (b"Bearer # a comment", b"Bearer oneBearer two==")),
    ],
)
def test_the_header(tokens: Tokens, authorization: bytes, accepted: bool) -> None:
    """RFC 6750 2.1: one scheme, in whatever case; and a token that is the very one."""
    assert tokens.accepts(authorization) is accepted


@pytest.mark.parametrize(
    ("target", "without"),
    [
        (b"/health", True),
        (b"/livez?verbose", True),
        (b"/readyz", True),
        (b"http://h/readyz", True),
        (b"*", True),
        *((target, False) for target in (b"/get-online-features", b"/metrics", b"/", b"", b"/health/", b"/x?/health")),
    ],
)
def test_what_an_orchestrator_asks_for_needs_no_token(tokens: Tokens, target: bytes, without: bool) -> None:
    handled: list[bytes] = []

    def handle(request: Request) -> str:
        handled.append(request.url)
        return "answer"

    guarded = tokens.guard(handle)
    assert guarded(Request(b"GET", target, b"", True, authorization=b"Bearer one")) == "answer"
    if without:
        assert guarded(Request(b"GET", target, b"", True, authorization=b"Bearer x")) == "answer"
        assert handled == [target, target]
    else:
        with pytest.raises(TokenError):
            guarded(Request(b"GET", target, b"", True))
        assert handled == [target]


def test_a_file_that_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bad one changes nothing."""
    caplog.set_level(logging.INFO, "yummy_fast")
    path = tmp_path / "tokens"
    path.write_text("one\n")
    tokens = Tokens(str(path))
    path.write_text("two\nthree\n")
    tokens.reload()
    assert [tokens.accepts(b"Bearer %b" % token) for token in (b"one", b"two", b"three")] == [False, True, True]
    path.write_text("no token\n")
    tokens.reload()
    path.unlink()
    tokens.reload()
    assert [tokens.accepts(b"Bearer %b" % token) for token in (b"one", b"two", b"three")] == [False, True, True]
    reloaded, bad, gone = (record.getMessage() for record in caplog.records)
    assert reloaded == f"tokens reloaded: 2 from {path}"
    assert bad.endswith(f": --auth-tokens {path}, line 1: {NO_TOKEN}")
    assert gone.endswith(f": --auth-tokens {path}: cannot be read: No such file or directory")


def test_a_file_as_large_as_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(b"one".ljust(MAX_FILE_BYTES, b"\n"))
    assert Tokens(str(path)).accepts(b"Bearer one")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokens")
    with pytest.raises(ConfigError, match="expected a regular file"):
        Tokens(str(tmp_path / "tokens"))


def test_only_those_that_say_so_may_write(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(b"reader\nwriter write\nother  write \n")
    tokens = Tokens(str(path))
    assert [tokens.accepts(b"Bearer " + token) for token in (b"reader", b"writer", b"other")] == [True] * 3
    assert [tokens.lets_write(b"Bearer " + token) for token in (b"reader", b"writer", b"other")] == [False, True, True]


@pytest.mark.parametrize("line", [b"token write more", b"token read", b"token writer", b"write token"])
def test_what_may_stand_behind_a_token(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(line)
    with pytest.raises(ConfigError) as caught:
        Tokens(str(path))
    assert str(caught.value) == f"--auth-tokens {path}, line 1: {NO_TOKEN}"
