"""The log of a real process: its forms, and the sampled access log."""

from __future__ import annotations

import io
import json
import logging
import re
import signal
import socket
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness import (
    PATIENCE_S,
    Client,
    Proxy,
    Server,
    Valkey,
    command_line,
    eventually,
    features_request,
    repository,
    request,
)
from tests.ports import free_port
from yummy_fast.telemetry.logs import JsonFormatter

SECRETIVE = {"feature_service": "svc_subset", "entities": {"driver_id": [1002]}}


def test_json_lines(corpus: Path) -> None:
    """Every line is an object, from the first to the last."""
    with Server(corpus, "--log-format", "json") as server:
        assert server.ask("/health").status == 200
        assert server.stop() == 0
        records = [json.loads(line) for line in server.lines]
    assert [set(record) for record in records] == [{"time", "level", "logger", "message"}] * 4
    assert "global_stats" in records[0]["message"]  # a view without entities: what is pushed to it is not read
    assert [record["message"].split()[0] for record in records[1:]] == ["serving", "hot", "stopping:"]
    for record in records:
        written = datetime.fromisoformat(record["time"])
        assert record["time"].endswith("Z")
        assert abs(datetime.now(UTC) - written) < timedelta(minutes=5)


def test_a_traceback_is_one_json_line() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("a")
    logger.addHandler(handler)
    try:
        raise ValueError('with "quotes"\nand lines')
    except ValueError:
        logger.exception("went %s", "wrong")
    (line,) = out.getvalue().splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"], record["message"]) == ("ERROR", "a", "went wrong")
    assert record["exception"].startswith("Traceback (most recent call last):\n")
    assert record["exception"].endswith('ValueError: with "quotes"\nand lines')


def entries(server: Server) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in server.lines]
    return [record for record in records if record["logger"] == "yummy_fast.access"]


def test_access_log(corpus: Path) -> None:
    """One line a request, of those that are drawn: here all. What was asked for and answered is not in it."""
    with Server(corpus, "--log-format", "json", "--access-log-sample", "1") as server:
        answers = [
            server.ask("/get-online-features", SECRETIVE),
            server.ask("/get-online-features", {**SECRETIVE, "feature_service": "nobody's"}),
            server.ask("/get-online-features?driver=4711", b"{"),
            server.ask("/health", method="POST"),
            server.ask("/no%0Awhere"),
        ]
        assert server.stop() == 0
        found = entries(server)
        assert [(entry["method"], entry["path"], entry["status"], entry["feature_service"]) for entry in found] == [
            ("POST", "/get-online-features", 200, "svc_subset"),
            ("POST", "/get-online-features", 404, None),
            ("POST", "/get-online-features", 422, None),
            ("POST", "/health", 200, None),
            ("GET", "/no%0Awhere", 404, None),
        ]
        for entry, answer in zip(found, answers, strict=True):
            assert (entry["status"], entry["bytes"]) == (answer.status, len(answer.body))
            assert 0 <= entry["duration_ms"] < 20_000
            line = json.dumps(entry)
            assert "1002" not in line
            assert "4711" not in line
            assert "driver" not in line


def test_requests_that_come_to_another_end(tmp_path: Path, valkey: Valkey) -> None:
    """One that took too long has its 504; one whose client left has a 499."""
    with Proxy(valkey.port) as proxy:
        settings = {"store_timeout_ms": 15_000}
        folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{proxy.port}", settings=settings)
        with Server(folder, "--log-format", "json", "--access-log-sample", "1") as server:
            proxy.hold()
            with server.client() as client:
                client.send(features_request(1002, "X-Request-Timeout-Ms: 20"))
                assert client.answer().status == 504
                proxy.forget()
                client.send(features_request(1002))
                proxy.wait_until_seen(1)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            server.wait_for('"status": 499')
            proxy.release()
            assert server.stop() == 0
            assert [(entry["status"], entry["bytes"] > 0) for entry in entries(server)] == [(504, True), (499, False)]


def test_access_log_as_text(corpus: Path) -> None:
    with Server(corpus, "--access-log-sample", "1.0") as server:
        size = len(server.ask("/get-online-features", SECRETIVE).body)
        server.wait_for(rf"INFO POST /get-online-features 200, {size} bytes in \d+\.\d\d\d ms, svc_subset$")


def test_a_share_of_the_requests(corpus: Path) -> None:
    """A tenth: of 2000, between 100 and 300 (7 standard deviations)."""
    with Server(corpus, "--log-format", "json", "--access-log-sample", "0.1") as server, server.client() as client:
        for _ in range(20):
            client.send(request("/health") * 100)
            assert {client.answer().status for _ in range(100)} == {200}
        assert server.stop() == 0
        assert 100 < len(entries(server)) < 300


def test_without_it_no_request_is_logged(corpus: Path) -> None:
    with Server(corpus, "--log-level", "debug") as server:
        assert server.ask("/get-online-features", SECRETIVE).status == 200
        assert server.ask("/get-online-features", b"{").status == 422
        assert server.stop() == 0
        assert not [line for line in server.lines if re.search(r"POST|/get-online", line)]


@pytest.mark.parametrize("flags", [("--log-format", "xml"), ("--access-log-sample", "2"), ("--access-log-sample", "x")])
def test_settings_that_are_none(corpus: Path, flags: tuple[str, str]) -> None:
    code, _, err = command_line("-c", corpus, "serve", *flags)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"yummy-fast: {flags[0]}: expected ")


# --------------------------------------------------------------------------------------------- a log that nobody reads


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_a_standard_error_that_nobody_reads_stops_nothing(corpus: Path, workers: tuple[str, ...]) -> None:
    """Ten times what the pipe takes: every request is answered, each missing line is counted, and SIGTERM works."""
    port = free_port()
    command = [sys.executable, "-m", "yummy_fast", "serve", "--chdir", str(corpus), "--port", str(port)]
    options = ["--log-format", "json", "--access-log-sample", "1", *workers]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stderr is not None
    try:
        asked = 0
        with eventually(lambda: Client(port), "the server") as client:
            while b"yummy_fast_log_lines_dropped_total 0.0" in client.ask("/metrics").body:
                client.send(request("/health") * 200)
                assert {client.answer().status for _ in range(200)} == {200}
                asked += 200
                assert asked < 100_000, "nothing was dropped, or nothing counted"
                if workers and asked >= 10_000:
                    break  # reports of workers are a second old
        process.send_signal(signal.SIGHUP)  # the supervisor and its workers log and act
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert all(json.loads(line) for line in process.stderr.read().splitlines()[:-1])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_standard_streams_that_are_closed(corpus: Path, workers: tuple[str, ...]) -> None:
    port = free_port()
    serve = [sys.executable, "-m", "yummy_fast", "serve", "--chdir", str(corpus), "--port", str(port), *workers]
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *serve])
    try:
        with eventually(lambda: Client(port), "the server") as client:
            assert client.ask("/health").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
