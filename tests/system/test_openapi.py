"""/openapi.json of a real process: which one is served when. What is in it: tests/features/test_openapi.py."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.harness import Server, Valkey, add_service, replace_file, repository


def services(document: Any) -> list[str]:
    schema = document["paths"]["/get-online-features"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return [body["title"] for body in schema["anyOf"] if "feature_service" in body["properties"]]


def test_every_example_of_a_service_is_answered(server: Server) -> None:
    document = server.ask("/openapi.json").json
    schema = document["paths"]["/get-online-features"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    examples = [example for body in schema["anyOf"] for example in body.get("examples", ())]
    assert len(examples) >= 5
    for example in examples:
        answer = server.ask("/get-online-features", example)
        assert answer.status == 200, (example, answer.body)
    for body in schema["anyOf"][:-1]:
        names = server.ask("/get-online-features", body["examples"][0]).json["metadata"]["feature_names"]
        told = [feature["name"] for feature in body["x-features"]]
        assert names[-len(told) :] == told


def test_a_reload_changes_it(own_valkey: Valkey, tmp_path: Path) -> None:
    where = repository(tmp_path / "repository", "redis", f"127.0.0.1:{own_valkey.port}")
    with Server(where) as server:
        before = services(server.ask("/openapi.json").json)
        seen = len(server.lines)
        data = add_service((where / "registry.db").read_bytes(), "one_more", "svc_all")
        replace_file(where / "registry.db", data)
        server.send_signal(signal.SIGHUP)
        server.wait_for("registry reloaded", after=seen)
        assert services(server.ask("/openapi.json").json) == [*before, "one_more"]


def test_head_and_tokens(own_valkey: Valkey, tmp_path: Path) -> None:
    where = repository(tmp_path / "repository", "redis", f"127.0.0.1:{own_valkey.port}")
    (tmp_path / "tokens").write_text("opensesame\n")
    with Server(where, "--read-only") as server:
        got, headed = server.ask("/openapi.json"), server.ask("/openapi.json", method="HEAD")
        assert (headed.status, headed.body) == (200, b"")
        assert headed.headers["content-length"] == str(len(got.body))
        assert got.headers["content-type"] == "application/json"
        assert "/write-to-online-store" not in json.loads(got.body)["paths"]
        assert server.ask("/openapi.json", method="POST").status == 405
    with Server(where, "--auth-tokens", str(tmp_path / "tokens")) as server:
        assert server.ask("/openapi.json").status == 401  # it names features


def test_what_is_told_of_a_push_is_what_is_answered(own_valkey: Valkey, tmp_path: Path) -> None:
    """As Feast: a push is answered by nothing, without a Content-Type; what is written otherwise, by null."""
    where = repository(tmp_path / "repository", "push", f"127.0.0.1:{own_valkey.port}")
    with Server(where) as server:
        paths = server.ask("/openapi.json").json["paths"]
        sources = paths["/push"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
        assert "ps_off" in {body["title"] for body in sources}
        no_rows: dict[str, list[object]] = {"driver_id": [], "i64": [], "event_timestamp": []}
        pushed = server.ask("/push", {"push_source_name": "ps_off", "df": no_rows})
        assert (pushed.status, pushed.body) == (200, b"")
        assert "content-type" not in pushed.headers
        assert "content" not in paths["/push"]["post"]["responses"]["200"]
        written = server.ask("/write-to-online-store", {"feature_view_name": "off", "df": no_rows})
        assert (written.status, written.json) == (200, None)
        assert list(paths["/write-to-online-store"]["post"]["responses"]["200"]["content"]) == ["application/json"]
