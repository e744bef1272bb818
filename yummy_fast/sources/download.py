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
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_S = 10.0
"""For the connection, for each read of the head, and for the whole body. A head that comes byte by byte passes these
timeouts; the callers put a deadline around the whole call (`deadline`)."""


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
        # Only http and https: the callers check the scheme, and urllib refuses redirects to others, such as file:.
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
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
