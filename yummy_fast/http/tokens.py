"""Bearer tokens: requests without an accepted token are refused.

A file holds the accepted tokens, one per line, so that a new token can be accepted before the old one is withdrawn.
Only their SHA-256 digests are kept, and a given token is compared with every one of them in constant time: a token can
be found neither in a core dump nor by measuring how long a refusal takes. SIGHUP reads the file again; if that fails,
the tokens that were read before stay accepted.

A refusal is Feast's answer (feast/permissions/server/rest.py, Feast 0.67.0), with the WWW-Authenticate that RFC 9110
11.6.1 requires. No message contains a token, or a part of one.

A token lets a request pass or not. It identifies no client. To write needs more: a token is followed by `write` in the
file if it may be used for that. So a file that names no writer makes the server read-only for everybody; without a
file, whoever can connect can write, as with Feast.

    7c9e66797425
    f4b2d0a81e55 write
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from yummy_fast.errors import ConfigError, ReadOnlyError, TokenError
from yummy_fast.http.http11 import Request, split_target

logger = logging.getLogger("yummy_fast")

OPEN_PATHS = frozenset((b"/health", b"/livez", b"/readyz", b"*"))
"""Probes of an orchestrator or a proxy (`OPTIONS *`), which has no token. Their answers contain no data."""

MAX_TOKENS = 100
"""Every request is compared with all of them. Two are enough to rotate tokens."""
MAX_FILE_BYTES = 1 << 20

_is_token = re.compile(rb"[A-Za-z0-9._~+/-]+=*").fullmatch  # token68 in RFC 9110 11.2

WRITING_PATHS = frozenset((b"/push", b"/write-to-online-store", b"/materialize", b"/materialize-incremental"))
WRITER = b"write"
"""What follows a token that may be used to write."""

T = TypeVar("T")


class Tokens:
    """The accepted tokens of one file."""

    __slots__ = ("_digests", "_path", "_writers")

    def __init__(self, path: str) -> None:
        """Raises ConfigError if the file cannot be read, or holds no token."""
        self._path = path
        self._digests, self._writers = _read(path)

    def reload(self) -> None:
        """Read the file again: later requests need a token of it. If it is invalid, log why and keep the old tokens."""
        try:
            self._digests, self._writers = _read(self._path)
        except ConfigError as error:
            logger.error("tokens not reloaded, the previous ones stay in use: %s", error)
        else:
            logger.info("tokens reloaded: %d from %s", len(self._digests), self._path)

    def accepts(self, authorization: bytes) -> bool:
        """Whether the value of an Authorization header, such as b"Bearer 7c9e", has an accepted token."""
        return _is_one_of(self._digests, authorization)

    def lets_write(self, authorization: bytes) -> bool:
        """As `accepts`, for tokens that may be used to write."""
        return _is_one_of(self._writers, authorization)

    def guard(self, handle: Callable[[Request], T]) -> Callable[[Request], T]:
        """`handle`, for requests with an accepted token or an open path. It raises TokenError for others."""

        def guarded(request: Request) -> T:
            if not self.accepts(request.authorization):
                if split_target(request.url)[0] not in OPEN_PATHS:
                    raise TokenError
            elif _writes(request) and not self.lets_write(request.authorization):
                raise ReadOnlyError("This token does not allow to write")
            return handle(request)

        return guarded


def _is_one_of(digests: tuple[bytes, ...], authorization: bytes) -> bool:
    if authorization[:7].lower() != b"bearer ":
        return False
    given = sha256(authorization[7:].strip(b" \t")).digest()
    found = False
    for digest in digests:  # no early exit: the time must not depend on which one is equal
        found |= compare_digest(digest, given)
    return found


def _writes(request: Request) -> bool:
    """Whether a request is to a path that writes, however that is spelled."""
    if request.url == b"/get-online-features":  # the usual case
        return False
    path = unquote_to_bytes(split_target(request.url)[0]).rstrip(b"/")
    return path in WRITING_PATHS or path.startswith(b"/mcp")


def _read(path: str) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The digests of all tokens, and of those that may be used to write."""
    where = f"--auth-tokens {path}"
    try:
        if not Path(path).is_file():  # a pipe would be waited for, on the event loop when it is read again
            Path(path).stat()  # which says why, if there is nothing
            raise ConfigError(f"{where}: expected a regular file")
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{where}: longer than {MAX_FILE_BYTES} bytes")
    digests, writers = [], []
    for number, line in enumerate(data.splitlines(), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        token, _, right = token.partition(b" ")
        if not _is_token(token) or right.strip() not in (b"", WRITER):
            raise ConfigError(
                f"{where}, line {number}: expected a token of letters, digits and -._~+/, with or without = at its "
                "end, which the word write may follow"
            )
        digests.append(sha256(token).digest())
        if right:
            writers.append(digests[-1])
    if not digests:
        raise ConfigError(f"{where}: expected one token per line, found none: every request would be refused")
    if len(digests) > MAX_TOKENS:
        raise ConfigError(f"{where}: {len(digests)} tokens; the limit is {MAX_TOKENS}")
    return tuple(digests), tuple(writers)
