"""Ask a running feature server, as a client does: `yummy-fast get --url`.

One POST, bounded in time and size, with the standard library, which every Python has. Redirects are not followed: a
token would go to whoever is named there.
"""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from yummy_fast.errors import ConfigError

TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 64 << 20
"""As --max-answer-bytes."""


def ask_server(url: str, body: bytes, compat: str, token_file: str) -> tuple[int, bytes]:
    """The status and the body that a server answers. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ConfigError(f"--url: expected a URL such as http://127.0.0.1:6566, without a user, got {_scheme(url)}")
    headers = {"Content-Type": "application/json", "X-Feast-Compat": compat}
    if token_file:
        try:
            headers["Authorization"] = f"Bearer {Path(token_file).read_text().splitlines()[0].strip()}"
        except (OSError, UnicodeDecodeError, IndexError) as error:
            why = error.strerror if isinstance(error, OSError) else "expected a token in its first line"
            raise ConfigError(f"--token-file {token_file}: {why}") from None
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = parts.path.rstrip("/")
    path = path if path.endswith("/get-online-features") else f"{path}/get-online-features"
    try:
        connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES + 1)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConfigError(f"--url {parts.scheme}://{parts.netloc}: {error or type(error).__name__}") from None
    if len(answer) > MAX_ANSWER_BYTES:
        raise ConfigError(f"--url {parts.scheme}://{parts.netloc}: the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return response.status, answer


def _scheme(url: str) -> str:
    return repr(f"{url.partition('://')[0]}://...") if "://" in url else "another text"
