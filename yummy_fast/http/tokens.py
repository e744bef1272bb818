"""Bearer tokens: who may ask.

A file holds the tokens that are accepted, one a line, so that a new one can be let in before the old one goes. They are
kept as digests, and each is compared in constant time, whichever fits: neither a core dump nor the time that a refusal
takes tells a token. The file is read again on SIGHUP; one that cannot be used changes nothing.

The answer to the others is Feast's (feast/permissions/server/rest.py, Feast 0.67.0), with the WWW-Authenticate that RFC
9110 11.6.1 asks for. No message names a token, or a piece of one.

It says yes or no. It does not know who asks, nor that some may ask for less than others.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TypeVar

from yummy_fast.errors import ConfigError, TokenError
from yummy_fast.http.http11 import Request, split_target

logger = logging.getLogger("yummy_fast")

OPEN_PATHS = frozenset((b"/health", b"/livez", b"/readyz"))
"""What an orchestrator asks for, who has no token. Nothing there is about data."""

MAX_TOKENS = 100
"""All are compared at every request. Two are enough to rotate them."""
MAX_FILE_BYTES = 1 << 20

_is_token = re.compile(rb"[A-Za-z0-9._~+/-]+=*").fullmatch  # token68, RFC 9110 11.2: what a header can carry

T = TypeVar("T")


class Tokens:
    """The tokens of one file."""

    __slots__ = ("_digests", "_path")

    def __init__(self, path: str) -> None:
        """Raises ConfigError for a file that cannot be read, or holds no token."""
        self._path = path
        self._digests = _read(path)

    def reload(self) -> None:
        """Read the file again: requests from now on need a token that is in it. A bad one is logged, and left alone."""
        try:
            self._digests = _read(self._path)
        except ConfigError as error:
            logger.error("tokens not reloaded, those before stay: %s", error)
        else:
            logger.info("tokens reloaded: %d from %s", len(self._digests), self._path)

    def accepts(self, authorization: bytes) -> bool:
        """Whether this is the value of an Authorization header with a token of ours."""
        if authorization[:7].lower() != b"bearer ":
            return False
        given = sha256(authorization[7:].strip(b" \t")).digest()
        good = False
        for digest in self._digests:  # all of them: the time must not tell which it was
            good |= compare_digest(digest, given)
        return good

    def guard(self, handle: Callable[[Request], T]) -> Callable[[Request], T]:
        """`handle`, for those who have a token. Raises TokenError for the others, unless the path is an open one."""

        def guarded(request: Request) -> T:
            if not self.accepts(request.authorization) and split_target(request.url)[0] not in OPEN_PATHS:
                raise TokenError
            return handle(request)

        return guarded


def _read(path: str) -> tuple[bytes, ...]:
    where = f"--auth-tokens {path}"
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{where}: longer than {MAX_FILE_BYTES} bytes")
    digests = []
    for number, line in enumerate(data.splitlines(), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        if not _is_token(token):
            raise ConfigError(
                f"{where}, line {number}: expected a token of letters, digits and -._~+/, with = at its end if need be"
            )
        digests.append(sha256(token).digest())
    if not digests:
        raise ConfigError(f"{where}: expected a token a line, and found none: everybody would be refused")
    if len(digests) > MAX_TOKENS:
        raise ConfigError(f"{where}: {len(digests)} tokens; the limit is {MAX_TOKENS}")
    return tuple(digests)
