"""`yummy-fast serve`: its flags, those of Feast above all, and what a server says when it starts."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.outcomes import in_process, one_line, serve_command, unservable
from tests.harness import PATIENCE_S, Client, Process, Server, command_line
from yummy_fast.config.settings import GROUPS


def test_serve_help() -> None:
    """-h is the host, as in Feast."""
    code, out, err = command_line("serve", "--help")
    assert (code, err) == (0, "")
    assert re.search(r"-h( HOST)?, --host HOST", out)  # Python 3.13 names it once
    assert re.search(r"-p( PORT)?, --port PORT", out)
    assert "6566" in out
    assert "YUMMY_FAST_PORT" in out
    # What stands for a value is what has to be given: a file, a number, milliseconds.
    for option in ("--auth-tokens FILE", "--max-in-flight N", "--store-timeout-ms MS", "--admin HOST:PORT"):
        assert f"  {option}  " in out
    assert "[default: none; in the file: tls_key]" in " ".join(out.split())


@pytest.mark.parametrize("columns", [80, 120])
def test_serve_help_has_every_setting_in_its_section(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = in_process(capsys, "serve", "--help")
    assert max(map(len, out.splitlines())) <= columns
    sections = dict(re.findall(r"^([^\n]+):\n((?:  .*\n)+)", out, re.MULTILINE))
    for group in GROUPS.values():
        section = sections[group.title]
        for setting in group.settings().values():
            (text,) = re.findall(rf"^  (?:-\w\b.*, )?{setting.flag} .*\n(?:   .*\n)*", section, re.MULTILINE)
            default = "none" if setting.default == "" else f"{setting.default}".lower().removesuffix(".0")
            assert re.search(rf"\[default: {re.escape(default)}[];]", text), text  # on one line
            assert setting.help in " ".join(text.split())


def test_a_feast_command_line(corpus: Path) -> None:
    """Everything that `feast serve` takes is taken; what has no effect here is said in one line."""
    flags = [
        *("--host", "127.0.0.1", "--type", "http", "--no-access-log", "--workers", "1"),
        *("--worker-connections", "1000", "--max-requests", "1000", "--max-requests-jitter", "50"),
        *("--keep-alive-timeout", "30", "--registry_ttl_sec", "60"),
    ]
    with Server(corpus, *flags) as server:
        assert server.features([1002]).columns["trips"] == [1]
        (line,) = [line for line in server.lines if "WARNING" in line]
        for flag in ("--max-requests", "--max-requests-jitter"):
            assert flag in line


def test_the_command_line_of_yummys_benchmark(corpus: Path) -> None:
    """As it is published, for Feast 0.26."""
    arguments = ("--chdir", corpus, "serve", "--host", "127.0.0.1", "--port", "0")
    command = [sys.executable, "-m", "yummy_fast", *map(str, arguments), "--no-access-log", "--no-feature-log", "--go"]
    with Process(command) as server:
        found = server.wait_for(r"WARNING these flags have no effect: (.+)")
        assert found[1] == "--go, --no-feature-log (no other server is started; what is served is never logged)"
        server.wait_for(r"serving .* on http://127\.0\.0\.1:\d+")


def test_feasts_letters(corpus: Path) -> None:
    command = [sys.executable, "-m", "yummy_fast", "-c", str(corpus), "serve", "-h", "127.0.0.1", "-p", "0", "-r", "5"]
    with Process([*command, "-t", "http", "-w", "1"]) as server:
        server.wait_for(r"serving .* on http://127\.0\.0\.1:\d+")


@pytest.mark.parametrize(
    "line",
    [
        "--log-level INFO serve --metrics -h 0.0.0.0 --workers 2 --worker-connections 1000 --max-requests 1000 "
        "--max-requests-jitter 50 --keep-alive-timeout 30 --registry_ttl_sec 60 -p 6566",
        "--log-level WARNING serve --no-access-log -h 0.0.0.0 -p 6567 --key tls.key --cert tls.crt -r 5 -t http",
        "-c repo -f feature_store.yaml serve -w -1 -m",
    ],
)
def test_command_lines_of_feasts_chart_and_operator(line: str, tmp_path: Path) -> None:
    """They get as far as the configuration, of which there is none."""
    one_line(command_line(*line.replace("-c repo", f"-c {tmp_path}").split()), "feature_store.yaml")


def test_feasts_metrics_letter(corpus: Path) -> None:
    """It takes no value; where --admin says where, it means the same."""
    with Server(corpus, "-m", "--admin", "127.0.0.1:0") as server:
        server.wait_for(r"admin on http://127\.0\.0\.1:\d+")
        assert server.ask("/health").status == 200
        assert "WARNING" not in server.log


def test_type_other_than_http(corpus: Path) -> None:
    one_line(command_line("--chdir", corpus, "serve", "--type", "grpc"), "--type", "grpc")


@pytest.mark.parametrize("kind", ["HTTP", "Http"])
def test_type_in_any_case(corpus: Path, kind: str) -> None:
    with Server(corpus, "--type", kind) as server:
        assert server.ask("/health").status == 200


def test_what_has_no_effect_is_said_at_start(corpus: Path) -> None:
    """Once, by the first process, whatever the number of workers."""
    file = corpus / "feature_store.yaml"
    file.write_text(
        file.read_text()
        + "feature_server:\n  type: local\n  audit_logging: {enabled: true}\n  offline_push_batching_batch_size: 5\n"
        "offline_config: {type: dask}\n"
    )
    (corpus / "static_artifacts.py").write_text("")
    with Server(corpus, "--workers", "2") as server:
        said = [line.partition(" WARNING ")[2] for line in server.lines if " WARNING " in line]
    assert [line.partition(": ")[0] for line in said] == [str(file)] * 3 + [f"{corpus}/static_artifacts.py"]
    for line, word in zip(
        said, ("offline_config", "audit_logging", "offline_push_batching_batch_size", ""), strict=True
    ):
        assert word in line


@pytest.mark.parametrize("flag", [True, False])
def test_metrics_whose_port_is_taken(corpus: Path, flag: bool) -> None:
    """Nobody who reads of --admin would think of feature_server.metrics."""
    with contextlib.ExitStack() as taken:
        try:
            holder = taken.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("", 8000))
            holder.listen()
        except OSError:
            pass  # somebody else has it: just as good
        if not flag:
            with open(corpus / "feature_store.yaml", "a") as file:
                file.write("feature_server: {type: local, metrics: {enabled: true}}\n")
        outcome = command_line("--chdir", corpus, "serve", "--port", "0", *(["--metrics"] if flag else []))
    key = "--metrics" if flag else f"{corpus}/feature_store.yaml: feature_server.metrics"
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("yummy-fast: ")]
    assert line.startswith(f"yummy-fast: {key} :8000: cannot listen: ")
    assert "--admin HOST:PORT takes another address" in line


def test_address_that_is_not_ours(corpus: Path) -> None:
    """192.0.2.1 is for documentation (RFC 5737): nobody has it."""
    one_line(command_line("--chdir", corpus, "serve", "--host", "192.0.2.1", "--port", "0"), "192.0.2.1")


def test_broken_registry(corpus: Path) -> None:
    (corpus / "registry.db").write_bytes(b"\xff\xff not a registry")
    one_line(command_line("--chdir", corpus, "serve", "--port", "0"), "registry.db")


def test_serve_what_can_be_served(corpus: Path) -> None:
    """What `check` says, the log says; the others are served. Those that cannot be are the caller's mistake."""
    path, why = unservable(corpus)
    with Server(corpus) as server:
        for name, reason in why.items():
            assert f"WARNING {path}: feature service {name} cannot be served: {reason}" in server.log
            answer = server.ask("/get-online-features", {"feature_service": name, "entities": {"driver_id": [1002]}})
            assert (400 <= answer.status < 500, reason in answer.body.decode()) == (True, True), answer
        assert server.features([1002]).columns["trips"] == [1]


def on_terminal(corpus: Path, *flags: str, environment: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """The status of a request to a server whose standard error is a terminal, and what that shows."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("YUMMY_FAST_", "FEAST_")) and k != "NO_COLOR"}
    command = [*serve_command(corpus), *flags]
    process = subprocess.Popen(command, stderr=theirs, env={**kept, "TERM": "xterm", **(environment or {})})
    os.close(theirs)
    shown = b""

    def read_until(pattern: bytes) -> re.Match[bytes]:
        nonlocal shown
        while not (found := re.search(pattern, shown)):
            assert select.select([ours], [], [], PATIENCE_S)[0], shown
            shown += os.read(ours, 1 << 16)
        return found

    try:
        port = int(read_until(rb"serving .* on http://127\.0\.0\.1:(\d+)")[1])
        with Client(port) as client:
            status = client.ask("/no-such-path").status
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(OSError):  # a terminal that nobody writes to any more
            while data := os.read(ours, 1 << 16):
                shown += data
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return status, shown


def test_requests_are_logged_in_a_terminal(corpus: Path) -> None:
    """One line a request, in colours: yellow for 4xx. In a pipe, nothing of that."""
    status, shown = on_terminal(corpus)
    assert status == 404
    (line,) = [line for line in shown.splitlines() if b"/no-such-path" in line]
    assert re.fullmatch(rb"\x1b\[33m\S+ \S+ INFO GET /no-such-path 404, .*\x1b\[0m", line)
    with Server(corpus) as server:
        assert server.ask("/no-such-path").status == 404
        assert server.stop() == 0
        assert "/no-such-path" not in server.log
        assert "\x1b" not in server.log


@pytest.mark.parametrize(
    ("flags", "environment", "logged", "coloured"),
    [
        (["--no-access-log"], {}, False, True),
        (["--access-log-sample", "0"], {}, False, True),
        ([], {"NO_COLOR": "1"}, True, False),
        ([], {"TERM": "dumb"}, True, False),
        (["--log-format", "json"], {}, True, False),
    ],
)
def test_a_terminal_for_which_it_is_turned_off(
    corpus: Path, flags: list[str], environment: dict[str, str], logged: bool, coloured: bool
) -> None:
    _, shown = on_terminal(corpus, *flags, environment=environment)
    assert (b"/no-such-path" in shown, b"\x1b" in shown) == (logged, coloured)
