"""One small file over http or https, bounded in time and size.

feature_store.yaml and a registry are fetched with this where a URL names them. It blocks, and is called before the
event loop runs or in a thread. Credentials before the host (https://user:password@host/) are sent as Basic
authentication to that host only: not to where a redirect leads. No message holds them: messages call a URL by
`without_secrets`.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_S = 10.0
"""For the connection, for each read of the head, and for the whole body."""
END_S = 40.0
"""For everything, redirects included. A head, or a handshake, that comes byte by byte keeps all other timeouts. The
connection is ended from another thread then, or this one would wait for ever."""


class Reply(NamedTuple):
    """A server's answer, if its status was 200 or 304; all else is an OSError."""

    status: int
    headers: Message
    body: bytes


def get(url: str, max_bytes: int, headers: Mapping[str, str] | None = None, *, want_body: bool = True) -> Reply:
    """GET `url`. Raises OSError with a text that says why, but not the URL."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers=dict(headers or {}))  # noqa: S310
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(credentials).decode())
    try:
        with _Sockets(END_S) as sockets, sockets.opener().open(request, timeout=TIMEOUT_S) as response:
            body = _read(response, max_bytes) if want_body else b""
            return Reply(response.status, response.headers, body)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:
            return Reply(304, error.headers, b"")
        raise OSError(f"HTTP status {error.code}") from None
    except urllib.error.URLError as error:
        raise OSError(reason(error.reason) if isinstance(error.reason, Exception) else str(error.reason)) from None
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"not HTTP as expected ({type(error).__name__})") from None


class _Sockets:
    """The connections of one download, which are shut down when its time is over."""

    def __init__(self, end_s: float) -> None:
        self._sockets: list[socket.socket] = []
        self._end_s = end_s
        self._is_over = False
        self._timer = threading.Timer(end_s, self._end)
        self._timer.daemon = True

    def opener(self) -> urllib.request.OpenerDirector:
        """urllib's, for http and https alone: its default one follows redirects to ftp: too."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Http(self),
            _Https(self),
        ):
            opener.add_handler(handler)
        return opener

    def watch(self, connection: http.client.HTTPConnection) -> None:
        """Know the socket of a connection, from before its TLS handshake on."""
        connect: Any = connection._create_connection  # type: ignore[attr-defined]

        def connected(*arguments: Any) -> socket.socket:
            made: socket.socket = connect(*arguments)
            self._sockets.append(made.dup())  # TLS takes the descriptor of the other one away
            if self._is_over:
                self._end()
            return made

        connection._create_connection = connected  # type: ignore[attr-defined]

    def _end(self) -> None:
        self._is_over = True
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Sockets:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for each in self._sockets:
            each.close()
        if self._is_over:  # http.client takes a head that is cut off for a whole one
            raise OSError(f"not complete after {self._end_s:g} s") from None


class _Http(urllib.request.HTTPHandler):
    def __init__(self, sockets: _Sockets) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_watched, self._sockets, http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, sockets: _Sockets) -> None:
        super().__init__()
        self._sockets = sockets

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_watched, self._sockets, http.client.HTTPSConnection), req)


def _watched(
    sockets: _Sockets, kind: type[http.client.HTTPConnection], host: str, **options: Any
) -> http.client.HTTPConnection:
    connection = kind(host, **options)
    sockets.watch(connection)
    return connection


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    deadline = time.monotonic() + TIMEOUT_S
    body = bytearray()
    while piece := response.read1(1 << 20):
        body += piece
        if len(body) > max_bytes:
            raise OSError(f"longer than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise OSError(f"not complete after {TIMEOUT_S:g} s")
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != len(body):  # read1 raises nothing for an end that came too soon
        raise OSError(f"cut off after {len(body)} of {announced} bytes")
    return bytes(body)


def reason(error: Exception) -> str:
    """An exception's reason in one line, without the errno that OSError puts in front."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def without_secrets(url: str) -> str:
    """What messages call a path or URL: without user, password, query and fragment.

    In doubt too much is cut: a password may contain any of @ : / ?, and then the name loses a part, but no secret gets
    into a log. S3 and GCS URLs have no credentials in them, and keys of objects may contain all of these characters.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme in ("s3", "gs"):
        return url
    return scheme + separator + re.split(r"[?#&;]", rest.rpartition("@")[2], maxsplit=1)[0]
