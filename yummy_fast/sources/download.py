"""One small file over http or https, bounded in time and size.

What feature_store.yaml and a registry are fetched with where a URL names them. Blocks: called before the loop runs, or
in a thread. Credentials before the host (https://user:password@host/) are sent as Basic authentication, and nowhere
else: not to where a redirect leads, and not into a message; `without_secrets` is what messages call a URL.
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
"""For the connection, for each read of the head, and for the whole body to have come. A head that comes byte by byte is
for the callers to give up on."""


class Reply(NamedTuple):
    """What a server answered, when that was of use."""

    status: int
    """200 or 304."""
    headers: Message
    body: bytes


def get(url: str, max_bytes: int, headers: Mapping[str, str] | None = None, *, want_body: bool = True) -> Reply:
    """GET `url`. Raises OSError whose text says why, without the URL."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers=dict(headers or {}))  # noqa: S310
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(credentials).decode())
    try:
        # Only ever http and https: the callers look at the scheme, and urllib refuses redirects to file:.
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
            raise OSError(f"not here within {TIMEOUT_S:g} s")
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != len(body):  # read1 does not tell an end that came too soon
        raise OSError(f"cut off after {len(body)} of {announced} bytes")
    return bytes(body)


def reason(error: Exception) -> str:
    """An exception's reason in one line, without the errno that OSError puts in front."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def without_secrets(url: str) -> str:
    """What to call a path or URL in messages: no user, password, query or fragment.

    Cut generously: a password may itself hold any of @ : / ?, and then the name loses a part, but no secret gets out.
    Keys of objects in S3 and GCS hold no credentials.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme in ("s3", "gs"):
        return url
    return scheme + separator + re.split(r"[?#&;]", rest.rpartition("@")[2], maxsplit=1)[0]
