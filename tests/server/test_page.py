"""What the page for people is served with, and whom it answers. tests/page drives it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.harness import CERTIFICATE, CERTIFICATE_KEY, PATIENCE_S, Server, Valkey, command_line, repository
from tests.ports import free_port
from yummy_fast.server import page as module
from yummy_fast.server.page import PeoplePage

QUESTION = json.dumps({"features": ["driver_stats:trips"], "entities": {"driver_id": [1001]}}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def folder(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("page") / "repository", "redis", f"127.0.0.1:{valkey.port}")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with Server(folder, "--admin", "127.0.0.1:0", "--ui") as server:
        yield admin_port(server)


def admin_port(server: Server) -> int:
    return int(server.wait_for(r"admin on http://\S+:(\d+)")[1])


def ask(
    port: int, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET" if body is None else "POST", target, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_only_what_is_in_the_page_may_run(port: int) -> None:
    response, html = ask(port, "/-/ui")
    assert (response.status, response.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    policy = dict(
        directive.partition(" ")[::2] for directive in (response.getheader("Content-Security-Policy") or "").split("; ")
    )
    for element, directive in ((b"script", "script-src"), (b"style", "style-src")):
        (piece,) = re.findall(rb"<%b>(.*?)</%b>" % (element, element), html, re.DOTALL)
        assert policy[directive] == f"'sha256-{base64.b64encode(hashlib.sha256(piece).digest()).decode()}'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert not re.search(rb"""(src|href)=["'](?!#|data:)""", html)  # nothing from outside
    assert b"innerHTML" not in html


def test_the_page_gets_the_answer_of_the_data_port(port: int) -> None:
    response, body = ask(port, "/-/ui/features", QUESTION, {**JSON, "X-Feast-Compat": "strict"})
    assert (response.status, response.getheader("X-Feast-Compat")) == (200, "strict")
    assert json.loads(body)["metadata"] == {"feature_names": ["driver_id", "trips"]}
    response, body = ask(port, "/-/ui/openapi.json")
    assert "/get-online-features" in json.loads(body)["paths"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", response.getheader("X-Yummy-Fast-Url") or "")
    assert ask(port, "/-/ui/features", b'{"features": []}', JSON)[0].status == 422


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_another_site_may_send_without_leave_is_refused(port: int, content_type: str) -> None:
    """The Content-Types of which a browser does not ask first: https://fetch.spec.whatwg.org/#cors-safelisted-request-header"""
    assert ask(port, "/-/ui/features", QUESTION, {"Content-Type": content_type})[0].status == 415


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost:1", 200), ("localhost", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("[::1]", 200)),
        *(("rebound.example:80", 403), ("192.0.2.1", 403), ("[::1", 403), ("", 403)),
    ],
)
def test_a_name_of_another_site_is_refused(port: int, host: str, status: int) -> None:
    assert ask(port, "/-/ui", headers={"Host": host})[0].status == status
    assert ask(port, "/-/ui/openapi.json", headers={"Host": host})[0].status == status
    assert ask(port, "/-/ui/features", QUESTION, {**JSON, "Host": host})[0].status == status


def test_on_another_address_the_names_are_not_known() -> None:
    page = PeoplePage("0.0.0.0:1", str).paths["/-/ui"][1]
    assert page(b"", {"Host": "features.internal:8080"}).status == 200


def test_values_need_the_token_of_the_data_port(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("opensesame\n")
    with Server(folder, "--admin", "127.0.0.1:0", "--ui", "--auth-tokens", str(tmp_path / "tokens")) as server:
        port = admin_port(server)
        assert ask(port, "/-/ui")[0].status == 200
        assert ask(port, "/-/ui/openapi.json")[0].status == 401
        assert ask(port, "/-/ui/features", QUESTION, JSON)[0].status == 401
        assert ask(port, "/-/ui/features", QUESTION, {**JSON, "Authorization": "Bearer opensesame"})[0].status == 200


@pytest.mark.parametrize("options", [["--uds", "{folder}/socket"], ["--key", "{key}", "--cert", "{cert}"], ["-w", "2"]])
def test_wherever_the_data_port_is(folder: Path, tmp_path: Path, options: list[str]) -> None:
    names = {"folder": tmp_path, "key": CERTIFICATE_KEY, "cert": CERTIFICATE}
    given = [option.format(**names) for option in options]
    with Server(folder, "--admin", "127.0.0.1:0", "--ui", *given) as server:
        assert ask(admin_port(server), "/-/ui/features", QUESTION, JSON)[0].status == 200


@pytest.mark.parametrize("options", [[], ["--uds", "{folder}/socket"], ["--key", "{key}", "--cert", "{cert}"]])
def test_the_data_port_is_asked_as_by_a_client(folder: Path, tmp_path: Path, options: list[str]) -> None:
    """With what the page's request says of the token, the answers and the body; and the page learns where it is."""
    names = {"folder": tmp_path, "key": CERTIFICATE_KEY, "cert": CERTIFICATE}
    (tmp_path / "tokens").write_text("opensesame\n")
    given = [option.format(**names) for option in options]
    with Server(folder, "--auth-tokens", str(tmp_path / "tokens"), *given) as server:
        url = server.wait_for(r"serving .* on (\S+)")[1]
        paths = PeoplePage("127.0.0.1:1", lambda: url).paths
        headers = {**JSON, "Host": "localhost", "X-Feast-Compat": "strict", "Authorization": "Bearer opensesame"}
        method, features = paths["/-/ui/features"]
        assert method == "POST"
        answer = features(QUESTION, headers)
        assert (answer.status, dict(answer.headers)) == (200, {"X-Yummy-Fast-Url": url, "X-Feast-Compat": "strict"})
        assert json.loads(answer.body)["metadata"] == {"feature_names": ["driver_id", "trips"]}
        assert features(QUESTION, {**headers, "Authorization": ""}).status == 401
        assert paths["/-/ui/openapi.json"][0] == "GET"
        assert paths["/-/ui/openapi.json"][1](b"", headers).status == 200
        assert features(QUESTION, {**headers, "Content-Type": "application/json; charset=utf-8"}).status == 200
        assert features(QUESTION, {**headers, "Content-Type": "text/plain"}).status == 415
        for path in ("/-/ui", "/-/ui/openapi.json", "/-/ui/features"):
            assert paths[path][1](QUESTION, {**headers, "Host": "rebound.example"}).status == 403


def test_a_data_port_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(url: str) -> Any:
        return PeoplePage("127.0.0.1:1", lambda: url).paths["/-/ui/openapi.json"][1](b"", {"Host": "localhost"})

    assert asked("").status == 503
    gone = asked(f"http://127.0.0.1:{free_port()}")
    assert gone.status == 502
    assert b"does not answer" in gone.body


def test_an_answer_that_is_too_long(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100)
    with Server(folder) as server:
        page = PeoplePage("127.0.0.1:1", lambda: server.url).paths["/-/ui/openapi.json"][1]
        assert page(b"", {"Host": "localhost"}).status == 413


@pytest.mark.parametrize("options", [[], ["--ui"]])
def test_it_is_imported_only_if_it_is_wanted(folder: Path, options: list[str]) -> None:
    log_imports = {"PYTHONPROFILEIMPORTTIME": "1"}
    with Server(folder, "--admin", "127.0.0.1:0", *options, environment=log_imports) as server:
        assert "yummy_fast.server.admin" in server.log
        assert ("yummy_fast.server.page" in server.log) == bool(options)


def test_without_the_flag_there_is_no_page(folder: Path) -> None:
    with Server(folder, "--admin", "127.0.0.1:0") as server:
        assert ask(admin_port(server), "/-/ui")[0].status == 404
    refused = command_line("serve", "--chdir", folder, "--ui")
    assert (refused.code, refused.err) == (2, "yummy-fast: --ui needs --admin: an address for the page\n")
