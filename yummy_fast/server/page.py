"""The page for people (`--ui`): one HTML file, and what it asks for features, on the admin listener.

    GET  /-/ui                 the page: page.html beside this file, which needs nothing from outside
    GET  /-/ui/openapi.json    the data port's document, of which the page makes its forms
    POST /-/ui/features        a request for features, as the data port answers it

The last two go to the data port as a client's would, with the bearer token that the page was given: whoever may see
the page may see no value that the data port would not answer. The rest that it shows is on the admin listener already.

Scripts and styles run only if their hashes are in the Content-Security-Policy, which are made of the file itself. Other
sites cannot use the page through its reader's browser: a request needs a JSON Content-Type, which a browser sends to
another origin only with leave; and on the loopback interface the page is for names of the loopback alone
(`admin.refusal`), so a name of another site that was pointed at it reads no feature.

It is imported only with `--ui`. It knows nothing of features.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from yummy_fast.server.admin import Page, json_page, refusal

UI = "/-/ui"
MAX_ANSWER_BYTES = 16 << 20
"""More is no table that anybody reads."""
TIMEOUT_S = 30.0

_HTML = Path(__file__).with_name("page.html").read_bytes()


def _policy(html: bytes) -> str:
    """The Content-Security-Policy of a page: what is in it may run, and nothing else."""

    def hashes(element: bytes) -> str:
        pieces = re.findall(rb"<%b>(.*?)</%b>" % (element, element), html, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(piece).digest()).decode()}'" for piece in pieces)

    return (
        f"default-src 'none'; script-src {hashes(b'script')}; style-src {hashes(b'style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


_HEADERS = (
    ("Content-Security-Policy", _policy(_HTML)),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


class PeoplePage:
    """Answers the requests of the page."""

    def __init__(self, address: str, data_url: Callable[[], str]) -> None:
        """`address`: the admin listener's. `data_url`: where the data port is; empty before it is open."""
        self._address = address
        self._data_url = data_url
        self.paths: Mapping[str, tuple[str, Callable[[bytes, Mapping[str, str]], Page]]] = {
            UI: ("GET", self._page),
            f"{UI}/openapi.json": ("GET", self._openapi),
            f"{UI}/features": ("POST", self._features),
        }
        """By path, the method that is taken, and what answers: given the body and the headers of the request."""

    def _page(self, _: bytes, headers: Mapping[str, str]) -> Page:
        return refusal(self._address, headers) or Page(200, _HTML, "text/html; charset=utf-8", _HEADERS)

    def _openapi(self, _: bytes, headers: Mapping[str, str]) -> Page:
        return refusal(self._address, headers) or self._ask("GET", "/openapi.json", None, headers)

    def _features(self, body: bytes, headers: Mapping[str, str]) -> Page:
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return json_page(415, {"detail": "Content-Type: expected application/json"})
        return refusal(self._address, headers) or self._ask("POST", "/get-online-features", body, headers)

    def _ask(self, method: str, path: str, body: bytes | None, given: Mapping[str, str]) -> Page:
        """What the data port answers."""
        url = self._data_url()
        if not url:
            return json_page(503, {"detail": "the data port is not open yet"}, ("Retry-After", "1"))
        headers = {name: given[name] for name in ("Authorization", "X-Feast-Compat", "Content-Type") if given.get(name)}
        connection = _connection(url)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            return json_page(
                502, {"detail": f"the data port, {url}, does not answer: {str(error) or type(error).__name__}"}
            )
        finally:
            connection.close()
        if len(answer) > MAX_ANSWER_BYTES:
            return json_page(413, {"detail": f"Content Too Large: the page shows {MAX_ANSWER_BYTES} bytes at most"})
        return Page(
            response.status,
            answer,
            headers=(("X-Yummy-Fast-Url", url), ("X-Feast-Compat", response.getheader("X-Feast-Compat", ""))),
        )


def _connection(url: str) -> http.client.HTTPConnection:
    """A connection, not yet open, to this server's own data port, as `listeners.url_of` names it."""
    scheme, _, rest = url.partition(":")
    if scheme == "unix":
        return _UnixConnection(rest)
    host, _, port = rest.removeprefix("//").rpartition(":")
    if scheme == "http":
        return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    # Its certificate is for the names by which clients know it. This is an address of the same machine, whose sockets
    # we opened: there is nobody else to be.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S, context=context)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)
