"""Who we are to Redis: user and password, asked for at each connect.

    --redis-password-file     a file, read at each connect: a rotated secret needs no restart
    --redis-credentials       MODULE:NAME of a function without arguments that makes a `Credentials`: for providers of
                              tokens (IAM of ElastiCache, Entra ID), of which this server has none

A login may end. `Login.renew_in_s` says when the next one is to be asked for: it is then sent as AUTH on the connection
that is there, between the commands of requests. If Redis refuses it, the old one stays, and another is asked for soon.

What a provider raises fails the attempt to connect; its text is logged, so it must not hold a secret. This file knows
nothing of connections: `redis_link` does as it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from yummy_fast.errors import ConfigError

MAX_SECRET_BYTES = 64 << 10
"""A token of Entra ID has about 2 KB."""


class Login(NamedTuple):
    """A user and a password, or a token in its place."""

    user: str
    """ "" for Redis's default user."""
    password: str
    renew_in_s: float | None = None
    """In how many seconds another one is to be sent; None: this one does not end."""


class Credentials(Protocol):
    """Where logins come from. Called in the event loop, for each connection that is made."""

    async def login(self) -> Login:
        """The login for a connection now. Whatever it raises is a failed attempt to connect."""


class FileCredentials:
    """A password in a file, whose last end of line does not count; the user is the connection string's."""

    def __init__(self, path: str, user: str) -> None:
        self._path = Path(path)
        self._user = user

    async def login(self) -> Login:
        """As Credentials.login. Raises OSError, ValueError."""
        return await asyncio.to_thread(self.read)

    def read(self) -> Login:
        """Read the file now. Raises OSError, ValueError."""
        with open(self._path, "rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
        try:
            text = data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:  # whose message would quote a byte of the secret
            text = ""
        if not text or len(data) > MAX_SECRET_BYTES or "\n" in text:
            raise ValueError(f"{self._path}: expected a password on one line")
        return Login(self._user, text)


def open_credentials(password_file: str, provider: str, user: str) -> Credentials | None:
    """What the settings ask for; None for the connection string's own password. Raises ConfigError."""
    if password_file and provider:
        raise ConfigError("--redis-password-file and --redis-credentials: expected one of them")
    if password_file:
        credentials = FileCredentials(password_file, user)
        try:
            credentials.read()
        except OSError as error:
            raise ConfigError(f"--redis-password-file: {password_file}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"--redis-password-file: {error}") from None
        return credentials
    if not provider:
        return None
    module, colon, name = provider.partition(":")
    if not colon or not name:
        raise ConfigError(f"--redis-credentials: expected MODULE:NAME, got {provider!r}")
    try:
        make = cast("Callable[[], Credentials]", getattr(import_module(module), name))
        return make()
    except Exception as error:
        raise ConfigError(f"--redis-credentials {provider}: {type(error).__name__}: {error}") from None
