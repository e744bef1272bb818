"""Logins for Redis: from a file, from a provider, or not at all. What a link does with them: test_redis_link.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import run
from yummy_fast.errors import ConfigError
from yummy_fast.stores.redis_credentials import Credentials, FileCredentials, Login, open_credentials


class Fixed:
    """A provider of one login."""

    async def login(self) -> Login:
        return Login("u", "p", 60.0)


def failing() -> Credentials:
    raise RuntimeError("no metadata service")


def test_without_settings_there_are_none() -> None:
    assert open_credentials("", "", "user") is None


@pytest.mark.parametrize("content", ["se cret", "se cret\n", "se cret\r\n"])
def test_a_file(tmp_path: Path, content: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content.encode())
    credentials = open_credentials(str(secret), "", "reader")
    assert credentials is not None
    assert run(credentials.login()) == Login("reader", "se cret", None)
    secret.write_text("another")
    assert run(credentials.login()).password == "another"


def test_a_file_that_is_too_long_or_gone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x" * 70_000)
    with pytest.raises(ValueError, match="on one line"):
        FileCredentials(str(secret), "").read()
    secret.unlink()
    with pytest.raises(OSError, match="No such file"):
        FileCredentials(str(secret), "").read()


def test_a_secret_that_is_no_text_is_not_quoted(tmp_path: Path) -> None:
    """At a later connect the message is logged as it is."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"ab\xffcd")
    with pytest.raises(ValueError, match="expected a password on one line") as raised:
        FileCredentials(str(secret), "").read()
    assert "0xff" not in str(raised.value)


def test_a_provider() -> None:
    credentials = open_credentials("", f"{__name__}:Fixed", "")
    assert credentials is not None
    assert run(credentials.login()) == Login("u", "p", 60.0)


def test_a_provider_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--redis-credentials .*:failing: RuntimeError: no metadata service"):
        open_credentials("", f"{__name__}:failing", "")


def test_one_of_the_two() -> None:
    with pytest.raises(ConfigError, match="expected one of them"):
        open_credentials("file", "module:name", "")
