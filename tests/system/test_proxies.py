"""Real proxies before a real server: what haproxy makes of our answers to its health checks and of one connection too
many, and what clients of nginx see of a redirect and of a refused body.
"""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import pytest

from tests.harness import PATIENCE_S, Answer, Client, Process, Server, eventually, features_request, request
from tests.ports import free_port

PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
HAPROXY, NGINX = shutil.which("haproxy", path=PATHS), shutil.which("nginx", path=PATHS)
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
ASKED = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1002]}}


class Front(Process):
    """A proxy that listens on a port of its own."""

    def __init__(self, command: list[str], port: int) -> None:
        super().__init__(command)
        self.port = port
        try:
            eventually(self._listens, "the proxy listens")
        except BaseException:
            self.process.kill()
            self.__exit__(None, None, None)
            raise

    def _listens(self) -> bool | None:
        assert self.process.poll() is None, self.log
        with Client(self.port):
            return True

    def ask(self, target: str, body: object = None, method: str = "", *headers: str) -> Answer:
        with Client(self.port) as client:
            return client.ask(target, body, method, *headers)


def haproxy(folder: Path, server: Server, *lines: str, options: str = "") -> Front:
    """`lines` of its own; `options` of the one server behind it. /stats;csv says what it thinks of that."""
    port = free_port()
    (folder / "haproxy.cfg").write_text(
        "\n".join(
            (
                "defaults",
                "  mode http",
                *(f"  timeout {kind} 10s" for kind in ("connect", "client", "server", "check")),
                "listen features",
                f"  bind 127.0.0.1:{port}",
                "  stats uri /stats",
                *(f"  {line}" for line in lines),
                f"  server one 127.0.0.1:{server.port} {options}",
                "",
            )
        )
    )
    assert HAPROXY is not None
    return Front([HAPROXY, "-db", "-f", str(folder / "haproxy.cfg")], port)


def nginx(folder: Path, server: Server) -> Front:
    """Takes /feast off what its clients ask for."""
    port = free_port()
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n"
        "events { }\n"
        "http {\n"
        "  access_log off;\n"
        + "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in temporary)
        + f"  server {{ listen 127.0.0.1:{port}; location /feast/ {{\n"
        f"    proxy_pass http://127.0.0.1:{server.port}/; proxy_http_version 1.1;\n"
        "  } }\n"
        "}\n"
    )
    assert NGINX is not None
    return Front([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"], port)


@needs_haproxy
@pytest.mark.parametrize(
    "lines",
    [
        ("option httpchk HEAD /health",),
        ("option httpchk GET /health",),
        ("option httpchk OPTIONS *",),
        ("option httpchk", "http-check send meth OPTIONS uri * ver HTTP/1.1 hdr Host features"),
        ("option httpchk", "http-check send meth HEAD uri /readyz ver HTTP/1.1 hdr Host features"),
    ],
    ids=" ".join,
)
def test_haproxy_calls_us_up(server: Server, tmp_path: Path, lines: tuple[str, ...]) -> None:
    """Its checks are of HTTP/1.0 if nothing else is said."""
    with haproxy(tmp_path, server, *lines, options="check inter 50ms") as front:

        def checked() -> str | None:
            with urlopen(f"http://127.0.0.1:{front.port}/stats;csv", timeout=PATIENCE_S) as answer:  # it is in chunks
                rows = list(csv.DictReader(answer.read().decode().splitlines()))
            (row,) = [row for row in rows if row["svname"] == "one"]
            return f"{row['status']} {row['check_status']} {row['check_code']}" if row["check_code"] else None

        assert eventually(checked, "a check") == "UP L7OK 200"
        with Client(front.port) as client:
            for _ in range(3):
                client.send(features_request(1002))
                assert client.answer().columns["trips"] == [1]


@needs_haproxy
@pytest.mark.parametrize("option", ["http-reuse always", "option http-server-close"])
def test_haproxy_passes_on_what_one_connection_too_many_is_told(corpus: Path, tmp_path: Path, option: str) -> None:
    """Our 503, and not a 502 of its own, for which it would blame us."""
    with Server(corpus, "--worker-connections", "1") as server, haproxy(tmp_path, server, option) as front:
        with server.client() as first:
            assert first.ask("/health").status == 200
            for _ in range(20):
                answer = front.ask("/get-online-features", ASKED)
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.json == {"detail": "Service Unavailable: too many connections"}
        eventually(lambda: front.ask("/health").status == 200 or None, "room for a connection")


@needs_nginx
@pytest.mark.parametrize(
    ("target", "body", "method"),
    [
        ("/feast/get-online-features/", ASKED, "POST"),
        ("/feast/health/?a=b", None, "GET"),
        ("/feast/readyz/", None, "HEAD"),
    ],
)
def test_a_redirect_leads_nginxs_client_to_what_it_asked_for(
    server: Server, tmp_path: Path, target: str, body: object, method: str
) -> None:
    with nginx(tmp_path, server) as front:
        first = front.ask(target, body, method)
        assert first.status == 307
        there = urlsplit(urljoin(f"http://127.0.0.1:{front.port}{target}", first.headers["location"]))
        assert there.netloc == f"127.0.0.1:{front.port}"
        second = front.ask(f"{there.path}?{there.query}", body, method)
        assert second.status == 200
        if body is not None:
            assert second.columns["trips"] == [1]


@needs_nginx
def test_nginx_passes_on_what_a_compressed_body_is_told(server: Server, tmp_path: Path) -> None:
    with nginx(tmp_path, server) as front, Client(front.port) as client:
        for _ in range(3):
            client.send(request("/feast/get-online-features", b"\x1f\x8b", "POST", "Content-Encoding: gzip"))
            answer = client.answer()
            assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
            assert client.ask("/feast/get-online-features", ASKED).columns["trips"] == [1]
