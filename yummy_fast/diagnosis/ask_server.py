"""Ask a running feature server, as a client does: `get --url`, `compare --against`, and a server's `--shadow`.

One POST at a time, bounded in time and size, with the standard library, which every Python has. The connection is kept;
Feast closes it after each of its errors, and then the request is sent once more on a new one: reading features changes
nothing. Redirects are not followed: a token would go to whoever is named there.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from yummy_fast.diagnosis.differences import Answer
from yummy_fast.errors import ConfigError

TIMEOUT_S = 20.0
READ_BYTES = 1 << 16
MAX_ANSWER_BYTES = 64 << 20
"""As --max-answer-bytes."""


class ServerLink:
    """A connection to one feature server."""

    def __init__(
        self, url: str, flag: str, *, timeout_s: float = TIMEOUT_S, max_answer_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        """`flag` is what the URL was given by, for messages. Raises ConfigError for what is no URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigError(
                f"{flag}: expected a URL such as http://127.0.0.1:6566, without a user, got {_scheme(url)}"
            )
        path = parts.path.rstrip("/")
        self.name = f"{parts.scheme}://{parts.netloc}"
        """For messages."""
        self._flag = flag
        self._path = path if path.endswith("/get-online-features") else f"{path}/get-online-features"
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._ended = False
        self._connection = (
            http.client.HTTPSConnection(parts.hostname, port, timeout=timeout_s, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)
        )

    def ask(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer to POST /get-online-features. Raises OSError, HTTPException, ValueError; LongAnswerError."""
        for is_last in (self._connection.sock is None, True):
            try:
                return self._ask(body, headers)
            except BaseException as error:
                self._connection.close()  # an answer may still come, and would be taken for the next one
                closed = isinstance(error, ConnectionError | http.client.BadStatusLine)  # RemoteDisconnected is both
                if is_last or self._ended or not closed:
                    raise
        raise AssertionError

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json", **headers})
        response = self._connection.getresponse()
        # In pieces: http.client's timeout is that of one piece, and a server may send one byte a second for ever.
        deadline = time.monotonic() + self._timeout_s
        answer, size = bytearray(), response.length
        while size is None or len(answer) < size:
            piece = response.read1(READ_BYTES if size is None else min(READ_BYTES, size - len(answer)))
            if not piece:
                break
            answer += piece
            if len(answer) > self._max_answer_bytes:
                self._connection.close()
                raise LongAnswerError(f"the answer is longer than {self._max_answer_bytes} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the answer takes longer than {self._timeout_s:g} s")
        if size is not None and len(answer) < size:  # http.client says so of `read()` alone
            raise http.client.IncompleteRead(bytes(answer), size - len(answer))
        response.close()  # which keeps the connection
        return Answer(response.status, bytes(answer))

    def ask_or_say(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """As `ask`. Raises ConfigError, which names the flag and the host."""
        try:
            return self.ask(body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ConfigError(f"{self._flag} {self.name}: {why(error)}") from None

    def end(self) -> None:
        """End the connection, from any thread: an `ask` that waits there fails."""
        self._ended = True
        tcp = self._connection.sock
        if tcp is not None:
            with suppress(OSError):
                tcp.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def why(error: Exception) -> str:
    """Why a server did not answer, in words of our own: of an answer that is no HTTP, http.client quotes the bytes."""
    if isinstance(error, http.client.IncompleteRead):
        return "the answer ends too early"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return f"the answer is no HTTP ({type(error).__name__})"
    return str(error) or type(error).__name__


class LongAnswerError(ValueError):
    """The answer is longer than it may be."""


def token_headers(token_file: str, flag: str = "--token-file") -> dict[str, str]:
    """The header with the token of a file; none without a file. Raises ConfigError."""
    if not token_file:
        return {}
    try:
        return {"Authorization": f"Bearer {Path(token_file).read_text().splitlines()[0].strip()}"}
    except (OSError, UnicodeDecodeError, IndexError) as error:
        why = error.strerror if isinstance(error, OSError) else "expected a token in its first line"
        raise ConfigError(f"{flag} {token_file}: {why}") from None


def ask_server(url: str, body: bytes, compat: str, token_file: str) -> Answer:
    """What a server answers to one request. Raises ConfigError."""
    link = ServerLink(url, "--url")
    headers = {"X-Feast-Compat": compat, **token_headers(token_file)}
    try:
        return link.ask_or_say(body, headers)
    finally:
        link.close()


def _scheme(url: str) -> str:
    return repr(f"{url.partition('://')[0]}://...") if "://" in url else "another text"
