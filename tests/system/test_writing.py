"""Pushes to a real server, a real Valkey, and to SQLite: who may write, what is written, what faults leave."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Answer, Proxy, Server, Valkey, eventually, replace_file, repository
from tests.scrapes import samples
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import KeyPart, compile_key, feature_field, timestamp_field
from yummy_fast.feast_format.values import ValueType

SOURCE, VIEW = "ps_pair", "pair"
DRIVER_KEY = compile_key([KeyPart("driver_id", "k", ValueType.INT64)], 3)


def frame(rows: int, *, x: float = 1.5, time: str = "2026-03-01T10:00:00") -> dict[str, Any]:
    """Rows of the view `batch`, of drivers 0 and on: one INT64 feature, i64."""
    return {"driver_id": list(range(rows)), "i64": [int(x)] * rows, "event_timestamp": time}


def write(server: Server, rows: int = 1, **values: Any) -> Answer:
    return server.ask("/write-to-online-store", {"feature_view_name": "batch", "df": frame(rows, **values)})


def stored(valkey: Valkey, driver: int) -> bytes | None:
    (key,) = DRIVER_KEY({"k": [driver]}, 1)
    found: bytes | None = valkey.do("HGET", key + b"writes", feature_field("batch", "i64"))
    return found


@contextmanager
def serving(folder: Path, valkey: Valkey, *arguments: str, port: int = 0, **options: Any) -> Iterator[Server]:
    with Server(
        repository(folder / "push", "push", f"127.0.0.1:{port or valkey.port}"), *arguments, **options
    ) as server:
        yield server


def set_store_option(folder: Path, line: str) -> Path:
    path = folder / "feature_store.yaml"
    path.write_text(path.read_text().replace("  type: redis\n", f"  type: redis\n  {line}\n"))
    return folder


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """An empty one."""
    with Valkey() as server:
        yield server


def test_the_answers_are_feasts(valkey: Valkey, tmp_path: Path) -> None:
    with serving(tmp_path, valkey) as server:
        pushed = server.ask(
            "/push",
            {
                "push_source_name": SOURCE,
                "df": {"driver_id": [1], "cust_id": ["c"], "x": [1], "event_timestamp": ["2026-03-01"]},
            },
        )
        assert (pushed.status, pushed.body) == (200, b"")
        assert "content-type" not in pushed.headers
        written = write(server)
        assert (written.status, written.body, written.headers["content-type"]) == (200, b"null", "application/json")
        assert server.ask("/push").status == 405


def test_what_is_written_is_read(valkey: Valkey, tmp_path: Path) -> None:
    with serving(tmp_path, valkey) as server:
        assert write(server, 2, x=42).status == 200
        answer = server.ask("/get-online-features", {"features": ["batch:i64"], "entities": {"driver_id": [1, 7]}})
        assert answer.columns["i64"] == [42, None]


def test_nobody_writes_to_a_server_that_is_read_only(valkey: Valkey, tmp_path: Path) -> None:
    with serving(tmp_path, valkey, "--read-only") as server:
        answer = write(server)
        assert answer.status == 403
        assert json.loads(answer.json)["class"] == "FeastPermissionError"
        assert server.ask("/push", {"push_source_name": SOURCE, "df": {}}).status == 403
        assert valkey.do("DBSIZE") == 0


def test_only_tokens_that_say_so_may_write(valkey: Valkey, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("reader\nwriter write\n")
    body = {"feature_view_name": "batch", "df": frame(1)}
    query = {"features": ["batch:i64"], "entities": {"driver_id": [0]}}
    with serving(tmp_path, valkey, "--auth-tokens", str(tokens)) as server, server.client() as client:

        def ask(path: str, asked: object, token: str) -> int:
            return client.ask(path, asked, "POST", *([f"Authorization: Bearer {token}"] if token else [])).status

        for path in ("/write-to-online-store", "/write%2Dto-online-store", "/write-to-online-store?x=1"):
            assert [ask(path, body, token) for token in ("", "reader", "other", "writer")] == [401, 403, 401, 200]
        assert [ask("/get-online-features", query, token) for token in ("reader", "writer")] == [200, 200]


def test_pushes_to_the_offline_store_are_not_for_this_server(valkey: Valkey, tmp_path: Path) -> None:
    """Nothing is written, not even what is for the online store."""
    with serving(tmp_path, valkey) as server:
        for to in ("offline", "online_and_offline"):
            body = {"push_source_name": "ps_off", "df": frame(1), "to": to}
            answer = server.ask("/push", body)
            assert answer.status == 501
            assert "--forward-to" in json.loads(answer.json)["message"]
        assert valkey.do("DBSIZE") == 0


def test_a_refused_push_has_written_to_none_of_its_views(valkey: Valkey, tmp_path: Path) -> None:
    frames = {"driver_id": [1], "a": [5], "c": ["no number"], "event_timestamp": ["2026-03-01"], "created": [None]}
    with serving(tmp_path, valkey) as server:
        answer = server.ask("/push", {"push_source_name": "ps_two", "df": frames})
        assert (answer.status, answer.json) == (400, 'df.c[0]: expected a number, got "no number"')
        assert valkey.do("DBSIZE") == 0


def test_a_ttl_is_set_with_each_row(valkey: Valkey, tmp_path: Path) -> None:
    folder = set_store_option(
        repository(tmp_path / "push", "push", f"127.0.0.1:{valkey.port}"), "key_ttl_seconds: 1000"
    )
    with Server(folder) as server:
        assert write(server, 3000).status == 200  # in turns
        assert write(server, 1, time="2026-03-02").status == 200  # at once
        ttls = valkey.pipeline([("TTL", key) for key in valkey.do("KEYS", "*")])
        assert len(ttls) == 3000
        assert all(900 < ttl <= 1000 for ttl in ttls)


def test_without_dedup_the_last_row_wins(valkey: Valkey, tmp_path: Path) -> None:
    folder = set_store_option(repository(tmp_path / "push", "push", f"127.0.0.1:{valkey.port}"), "skip_dedup: true")
    with Server(folder) as server:
        assert write(server, x=1).status == 200
        rows = {"driver_id": [0, 0], "i64": [2, 3], "event_timestamp": ["2026-02-02", "2026-02-01"]}
        assert server.ask("/write-to-online-store", {"feature_view_name": "batch", "df": rows}).status == 200
        assert stored(valkey, 0) == b"\x20\x03"


def test_a_large_push_leaves_time_to_others(valkey: Valkey, tmp_path: Path) -> None:
    """It is bound in slices and sent in turns; all of it is stored, and what is not newer is counted."""
    with serving(tmp_path, valkey) as server:
        assert write(server, 30_000, x=7).status == 200
        assert valkey.do("DBSIZE") == 30_000
        assert {stored(valkey, driver) for driver in (0, 29_999)} == {b"\x20\x07"}
        assert write(server, 30_001, x=8).status == 200
        assert (stored(valkey, 0), stored(valkey, 30_000)) == (b"\x20\x07", b"\x20\x08")
        text = server.ask("/metrics").body
        found = samples(text, "yummy_fast_rows_written_total")
        assert found == {("batch", "written"): 30_001, ("batch", "older"): 30_000}


def test_too_much_is_refused(valkey: Valkey, tmp_path: Path) -> None:
    with serving(tmp_path, valkey, "--max-rows", "10", "--max-cells", "30") as server:
        assert write(server, 10).status == 200
        assert write(server, 11).status == 413
        wide = {"push_source_name": "ps_all", "df": {"driver_id": [1, 2, 3]}}
        assert server.ask("/push", wide).status == 413


def test_metrics_name_the_source(valkey: Valkey, tmp_path: Path) -> None:
    with serving(tmp_path, valkey) as server:
        body = {"push_source_name": "ps_off", "df": frame(1)}
        assert server.ask("/push", body).status == 200
        assert server.ask("/push", {**body, "push_source_name": "nope"}).status == 422
        text = server.ask("/metrics").body
        assert samples(text, "feast_push_request_total") == {("online", "ps_off"): 1}
        requests = samples(text, "feast_feature_server_request_total")
        assert (requests["/push", "success"], requests["/push", "error"]) == (1, 1)
        assert samples(text, "yummy_fast_writes_total") == {("200", "/push"): 1, ("422", "/push"): 1}


def test_a_store_that_falls_silent_before_the_rows_are_sent(valkey: Valkey, tmp_path: Path) -> None:
    with Proxy(valkey.port) as proxy, serving(tmp_path, valkey, "--store-timeout-ms", "200", port=proxy.port) as server:
        assert write(server).status == 200
        proxy.hold()
        answer = write(server, time="2026-04-01")
        assert answer.status == 504
        assert "may have been written" not in answer.json
        proxy.release()
        assert stored(valkey, 0) == b"\x20\x01"


def test_a_store_that_falls_silent_after_the_rows_were_sent(valkey: Valkey, tmp_path: Path) -> None:
    """Without dedup the rows are all that is sent: what became of them is not known, and says so."""
    with Proxy(valkey.port) as proxy:
        folder = repository(tmp_path / "push", "push", f"127.0.0.1:{proxy.port}", settings={"store_timeout_ms": 200})
        with Server(set_store_option(folder, "skip_dedup: true")) as server:
            assert write(server).status == 200
            proxy.hold()
            for rows in (1, 3000):
                answer = write(server, rows, x=9)
                assert answer.status in (503, 504)  # of the second, the server may know already
                if answer.status == 504:
                    assert "may have been written, or may not" in answer.json
            proxy.release()
            eventually(lambda: stored(valkey, 0) == b"\x20\x09" or None, "what was sent is written")


def test_a_client_that_does_not_wait_is_told_the_same(valkey: Valkey, tmp_path: Path) -> None:
    with Proxy(valkey.port) as proxy:
        folder = repository(tmp_path / "push", "push", f"127.0.0.1:{proxy.port}")
        with Server(set_store_option(folder, "skip_dedup: true")) as server, server.client() as client:
            assert write(server).status == 200
            proxy.hold()
            body = {"feature_view_name": "batch", "df": frame(1)}
            answer = client.ask("/write-to-online-store", body, "POST", "X-Request-Timeout-Ms: 50")
            assert answer.status == 504
            assert "may have been written, or may not" in answer.json
            proxy.release()


def test_what_was_answered_200_outlives_a_redis_that_is_killed(tmp_path: Path) -> None:
    """With a Redis that writes each command to its disk; and of no row there is a half."""
    options = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(tmp_path))
    source = "ps_two"
    good: list[int] = []
    enough, stop = threading.Event(), threading.Event()

    def push(server: Server) -> None:
        for number in range(100_000):
            rows = {
                "driver_id": [number],
                "a": [number],
                "c": [0.5],
                "event_timestamp": ["2026-03-01"],
                "created": [None],
            }
            if server.ask("/push", {"push_source_name": source, "df": rows}).status == 200:
                good.append(number)
            if len(good) >= 100:
                enough.set()
            if stop.is_set():
                return

    with Valkey(*options) as first, serving(tmp_path, first) as server:
        pushing = threading.Thread(target=push, args=(server,))
        pushing.start()
        assert enough.wait(20)
        first.send_signal(signal.SIGKILL)
        first.wait()
        stop.set()
        pushing.join()
    with Valkey(*options, port=first.port) as again:
        eventually(lambda: again.do("DBSIZE"), "its data is loaded", Exception)
        keys = DRIVER_KEY({"k": good}, len(good))
        fields = [feature_field("view_a", "a"), feature_field("view_c", "c")]
        found = again.pipeline([("HMGET", key + b"writes", *fields) for key in keys])
        assert all(None not in row for row in found)
        for key in again.do("KEYS", "*"):
            names = set(again.do("HKEYS", key))
            assert (timestamp_field("view_a") in names) == (fields[0] in names)
            assert (timestamp_field("view_c") in names) == (fields[1] in names)


def test_what_was_answered_200_outlives_a_worker_that_is_killed(valkey: Valkey, tmp_path: Path) -> None:
    """Four clients, each of which pushes 5 or 2,000 drivers of its own to two views; and of no row there is a half."""
    good: list[list[int]] = [[] for _ in range(4)]
    lost: list[int] = []
    stop = threading.Event()

    def push(server: Server, number: int) -> None:
        rows = 5 if number % 2 else 2_000
        first = number * 10_000_000
        client = server.client()
        while not stop.is_set():
            drivers = list(range(first, first + rows))
            first += rows
            columns = {"driver_id": drivers, "a": drivers, "c": [0.5] * rows, "event_timestamp": "2026-03-01"}
            try:
                answer = client.ask("/push", {"push_source_name": "ps_two", "df": {**columns, "created": None}})
            except OSError:
                lost.append(number)
                client.close()
                client = eventually(server.client, "another worker")
                continue
            assert answer.status == 200, answer.body
            good[number] += drivers
        client.close()

    def workers(server: Server) -> list[int]:
        pid = server.process.pid
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def two_without(server: Server, victim: int) -> bool | None:
        found = workers(server)
        return (victim not in found and len(found) == 2) or None

    def have_grown(before: list[int]) -> bool | None:
        return all(len(now) > was for now, was in zip(good, before, strict=True)) or None

    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        pytest.skip("needs Linux")
    with serving(tmp_path, valkey, "--workers", "2") as server, ThreadPoolExecutor(4) as threads:
        pushing = [threads.submit(push, server, number) for number in range(4)]
        for _ in range(4):
            before = list(map(len, good))
            eventually(partial(have_grown, before), "pushes of all")
            victim = workers(server)[0]
            os.kill(victim, signal.SIGKILL)
            eventually(partial(two_without, server, victim), "a new worker")
        stop.set()
        for done in pushing:
            done.result()
    assert lost
    fields = [
        timestamp_field("view_a"),
        feature_field("view_a", "a"),
        timestamp_field("view_c"),
        feature_field("view_c", "c"),
    ]
    promised = [driver for drivers in good for driver in drivers]
    keys = [key + b"writes" for key in DRIVER_KEY({"k": promised}, len(promised))]
    found = valkey.pipeline([("HMGET", key, *fields) for key in keys])
    assert all(None not in row for row in found)
    assert [Value.FromString(row[1]).int64_val for row in found] == promised
    for row in valkey.pipeline([("HMGET", key, *fields) for key in valkey.do("KEYS", "*")]):
        assert (row[0] is None) == (row[1] is None)
        assert (row[2] is None) == (row[3] is None)


def test_a_client_that_is_gone_leaves_no_half_of_a_row(valkey: Valkey, tmp_path: Path) -> None:
    every: dict[str, Any] = {
        "i32": 1,
        "i64": 2,
        "f32": 0.5,
        "f64": 0.5,
        "s": "x",
        "b": True,
        "ts": 3,
        "li": [1],
        "ls": ["a"],
        "lf": [1],
    }
    rows = 5_000
    columns: dict[str, Any] = {name: [value] * rows for name, value in every.items()}
    columns |= {"driver_id": list(range(rows)), "event_timestamp": "2026-03-01"}
    with serving(tmp_path, valkey) as server:
        with server.client() as client:
            client.send(_head_and_body("/push", {"push_source_name": "ps_all", "df": columns}))
            eventually(lambda: valkey.do("DBSIZE") or None, "some rows are there")
        assert write(server).status == 200  # the server goes on
        lengths = {valkey.do("HLEN", key) for key in valkey.do("KEYS", "*")}
        assert lengths <= {len(every) + 1, len(every) + 3, 2}


def _head_and_body(path: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def test_a_view_that_was_applied_a_moment_ago(valkey: Valkey, tmp_path: Path) -> None:
    """`allow_registry_cache: false`, which Feast's SDK sends: the registry is looked at first."""
    folder = repository(tmp_path / "push", "push", f"127.0.0.1:{valkey.port}")
    registry = (folder / "registry.db").read_bytes()
    replace_file(folder / "registry.db", registry.replace(b"\x05batch", b"\x05botch"))
    with Server(folder, "--registry_ttl_sec", "0") as server:
        body = {"feature_view_name": "batch", "df": frame(1)}
        assert server.ask("/write-to-online-store", body).status == 404
        replace_file(folder / "registry.db", registry)
        fresh = {**body, "allow_registry_cache": False}
        eventually(lambda: server.ask("/write-to-online-store", fresh).status == 200 or None, "it is found")


def test_writes_to_sqlite(tmp_path: Path) -> None:
    """Feast's local default. It compares no times: what is written last is there."""
    folder = repository(tmp_path / "push", "push", "unused")
    config = (folder / "feature_store.yaml").read_text()
    start, end = config.index("online_store:"), config.index("offline_store:")
    (folder / "feature_store.yaml").write_text(config[:start] + "online_store:\n  path: online.db\n" + config[end:])
    with closing(sqlite3.connect(folder / "online.db")) as file, file:
        file.execute(
            'CREATE TABLE "writes_batch" (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, '
            "vector_value BLOB, event_ts timestamp, created_ts timestamp, PRIMARY KEY(entity_key, feature_name))"
        )
    with Server(folder) as server:
        assert write(server, 2, x=5).status == 200
        assert write(server, 1, x=4, time="2020-01-01").status == 200
        answer = server.ask("/get-online-features", {"features": ["batch:i64"], "entities": {"driver_id": [0, 1, 2]}})
        assert answer.columns["i64"] == [4, 5, None]
        with closing(sqlite3.connect(folder / "online.db")) as file:
            row = file.execute(
                'SELECT value_text, event_ts, created_ts FROM "writes_batch" ORDER BY event_ts'
            ).fetchone()
        assert row == ("4", 1577836800, None)
        missing = {"feature_view_name": "off", "df": frame(1)}
        assert server.ask("/write-to-online-store", missing).status == 502
