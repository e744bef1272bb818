"""The admin listener: probes, metrics, status and reload, answered by threads of their own.

The event loop may be stuck, every connection taken, or Redis frozen: this listener answers. It is the standard
library's HTTP server, so it does not depend on the code of the data port either. It shows what a `Health` shows, hands
questions to whoever explains, what the page asks to the page, and knows nothing else.

    GET  /livez       200 or 503, never asks the store; {"status": ..., "reasons": [...]}
    GET  /readyz      200 or 503
    GET  /metrics     for Prometheus
    GET  /-/status    what is served, from where, since when
    POST /-/reload    reads the registry, and answers when that is done: 200 or 500
    POST /-/explain   why a feature is null: `explaining`
    GET  /-/ui        with --ui, the page for people, and what it asks for: `page`

What can show a stored value, which is the last two, is refused by a listener on the loopback interface to a request
that names another host: a browser sends one when a site points its own name at this machine (DNS rebinding).

Without an admin listener the data port has the first three (`app`), and nothing that changes anything. A connection is
for one request. When all MAX_CONNECTIONS are taken, a new one ends the oldest, so that slow clients keep none out.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from yummy_fast.config.kinds import split_address
from yummy_fast.errors import ConfigError
from yummy_fast.server.health import RELOAD_TIMEOUT_S, Health, ProbeResult
from yummy_fast.telemetry.exposition import Snapshot, render

logger = logging.getLogger("yummy_fast")

MAX_CONNECTIONS = 32
"""At once, each with a thread. One more ends the oldest of them."""
READ_S = 5.0
"""How long a client may send nothing, or read nothing, within a request."""
DEADLINE_S = 10.0
"""How long a client may take to send its request. kubelet's probes give up after one second by default."""
RETRY_S = 0.5
"""How long nothing is accepted after the process, or the system, has run out of descriptors."""
EXPLAIN = "/-/explain"
MAX_QUESTION_BYTES = 64 << 10
"""A view, and the values of its join keys."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_JSON = "application/json"


class Page(NamedTuple):
    """An answer. It is no `http11.Response`, because this listener is to depend on nothing of the data port."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_page(status: int, value: object, *headers: tuple[str, str]) -> Page:
    """An answer in JSON."""
    return Page(status, json.dumps(value, ensure_ascii=False).encode() + b"\n", headers=headers)


def _probe(result: ProbeResult, *when_bad: tuple[str, str]) -> Page:
    if result.good:
        return json_page(200, {"status": "ok", "reasons": list(result.reasons)})
    return json_page(503, {"status": "unavailable", "reasons": list(result.reasons)}, *when_bad)


def livez(health: Health, _: str = "") -> Page:
    """GET /livez. A process that is not alive has to be replaced: to ask again does not help."""
    return _probe(health.live())


def readyz(health: Health, _: str = "") -> Page:
    """GET /readyz."""
    return _probe(health.ready(), ("Retry-After", "1"))  # the store is asked again every second


def metrics(snapshots: Callable[[], list[Snapshot]], accept: str = "") -> Page:
    """GET /metrics. `accept`: the scraper's header. It takes milliseconds to write the text."""
    text, content_type = render(snapshots(), accept)
    return Page(200, text, content_type)


def _metrics(health: Health, accept: str) -> Page:
    return metrics(health.snapshots, accept)


def _status(health: Health, _: str) -> Page:
    return json_page(200, health.status())


def _reload(health: Health, _: str) -> Page:
    outcome = health.reload()
    return json_page(200 if outcome.good else 500, outcome.detail)


_View = Callable[[Health, str], Page]
Explain = Callable[[bytes], tuple[int, Mapping[str, Any]]]
"""From the body of a question to the status and the JSON of its answer."""
More = Mapping[str, tuple[str, Callable[[bytes, Mapping[str, str]], Page]]]
"""Further pages by path: the method that is taken, and what answers, given the body and the headers of a request."""

_PAGES: Mapping[str, tuple[str, _View]] = {
    "/livez": ("GET", livez),
    "/readyz": ("GET", readyz),
    "/metrics": ("GET", _metrics),
    "/-/status": ("GET", _status),
    "/-/reload": ("POST", _reload),
}


def refusal(address: str, headers: Mapping[str, str]) -> Page | None:
    """The answer to a request for another host, if `address`, that of this listener, is a loopback one; else None."""
    try:
        named = urlsplit(f"//{headers.get('Host', '')}").hostname or ""
    except ValueError:  # brackets around what is no IPv6 address
        named = ""
    if not _is_loopback(split_address(address)[0]) or _is_loopback(named):
        return None
    return json_page(403, {"detail": "Host: expected localhost, or an address of the loopback interface"})


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_bodies(address: str, explain: Explain | None, more: More) -> More:
    """The pages that look at the body or the headers of a request."""
    if explain is None:
        return more

    def explained(body: bytes, headers: Mapping[str, str]) -> Page:
        return refusal(address, headers) or json_page(*explain(body))

    return {EXPLAIN: ("POST", explained), **more}


class AdminListener:
    """Answers for a Health until closed."""

    def __init__(
        self,
        address: str,
        health: Health,
        *,
        reload: bool = True,
        explain: Explain | None = None,
        more: More | None = None,
        key: str = "--admin",
    ) -> None:
        """Listen on `address` (`split_address`). Raises ConfigError.

        Without `reload` there is no /-/reload, and no /-/explain without `explain`.

        `key` is what asked for this listener, for the message if it cannot listen.
        """
        host, port = split_address(address)
        pages = {path: page for path, page in _PAGES.items() if reload or page[1] is not _reload}
        try:
            self._server = _Server(host, port, health, pages, _with_bodies(address, explain, more or {}))
        except OSError as error:
            remedy = "" if key == "--admin" else "; --admin HOST:PORT takes another address"
            raise ConfigError(f"{key} {address}: cannot listen: {error.strerror or error}{remedy}") from None
        shown, port = self._server.socket.getsockname()[:2]
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
        self._thread = threading.Thread(target=self._serve, name="admin", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            render([])  # imports what it needs before the first scrape waits for it
        except Exception as error:  # out of descriptors, perhaps. Probes need no metrics, and the first scrape retries
            logger.warning("/metrics cannot be shown yet: %r", error)
        self._server.serve_forever()

    def close(self) -> None:
        """Listen no more. Requests that have come are still answered."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """The standard library's server, with a bound on connections and on the time that each may take."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        health: Health,
        pages: Mapping[str, tuple[str, _View]],
        more: More,
    ) -> None:
        self.health = health
        self.pages = pages
        self.more = more
        self._open: dict[socket.socket, float] = {}
        """Connections, the oldest first, and by when each must have sent its request."""
        self._lock = threading.Lock()
        if host:
            family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        elif socket.has_dualstack_ipv6():
            family, where = socket.AF_INET6, ("::", port)
        else:
            family, where = socket.AF_INET, ("", port)
        self.address_family = family
        super().__init__(where[:2], _Handler)  # type: ignore[arg-type]  # (host, port) of whichever family

    def server_bind(self) -> None:
        if self.server_address[0] == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)  # not HTTPServer's, which asks the DNS for a name

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _EXHAUSTED:  # the connection stays in the queue: without a pause, this would take a core
                time.sleep(RETRY_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                self._end(next(iter(self._open)))
            self._open[request] = time.monotonic() + DEADLINE_S
        super().process_request(request, client_address)

    def asked(self, request: socket.socket) -> None:
        """The whole request is here: its connection may wait as long as the answer takes."""
        with self._lock:
            if request in self._open:
                self._open[request] += RELOAD_TIMEOUT_S

    def service_actions(self) -> None:
        """Called twice a second: end the connections whose time is over."""
        now = time.monotonic()
        with self._lock:
            for request in [request for request, deadline in self._open.items() if deadline < now]:
                self._end(request)

    def _end(self, request: socket.socket) -> None:
        del self._open[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)  # its thread wakes up and closes it

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("an admin connection ended early", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection: its request, and the page that answers it."""

    server: _Server
    server_version = "yummy-fast"
    sys_version = ""
    timeout = READ_S

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        path = self.path.partition("?")[0]
        more = self.server.more.get(path)
        found = (more[0], lambda *_: self._with_body(*more)) if more is not None else self.server.pages.get(path)
        if found is None:
            self.send_error(404, "Not Found; there are " + ", ".join((*self.server.pages, *self.server.more)))
            return
        allowed, view = found
        if method != allowed:
            allow = ("Allow", "GET, HEAD" if allowed == "GET" else allowed)  # RFC 9110 15.5.6
            self._send(json_page(405, {"detail": f"Method Not Allowed; {path} takes {allowed}"}, allow))
            return
        self.server.asked(self.connection)
        try:
            page = view(self.server.health, self.headers.get("Accept", ""))
        except Exception:
            logger.exception("%s failed by a server bug", path)
            self.send_error(500, "Internal Server Error")
            return
        self._send(page)

    def _with_body(self, method: str, answer: Callable[[bytes, Mapping[str, str]], Page]) -> Page:
        if method == "GET":
            return answer(b"", self._given())
        length = self.headers.get("Content-Length", "")
        if not (length.isdecimal() and length.isascii()):
            return json_page(411, {"detail": "Length Required"})
        if len(length) > 6 or int(length) > MAX_QUESTION_BYTES:
            return json_page(413, {"detail": f"Content Too Large: the limit is {MAX_QUESTION_BYTES} bytes"})
        try:
            body = self.rfile.read(int(length))
        except OSError:  # after READ_S, or because the client has left
            return json_page(408, {"detail": "Request Timeout"})
        return answer(body, self._given())

    def _given(self) -> Mapping[str, str]:
        """The headers of the request, under the names that HTTP gives them."""
        return {name.title(): value for name, value in self.headers.items()}

    def _send(self, page: Page) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in page.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The base class also calls this, for bytes that are no request."""
        self.close_connection = True
        self._send(json_page(code, {"detail": message or self.responses.get(code, ("",))[0]}))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass
