"""The command line as people and scripts use it: real processes, their output and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import registries
from tests.harness import PATIENCE_S, Client, Outcome, Process, Server, Valkey, command_line, free_port, repository
from yummy_fast import __version__
from yummy_fast.cli.main import main
from yummy_fast.config.settings import GROUPS
from yummy_fast.feast_format._proto.registry_pb2 import Registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.native.owner import DESCRIPTION


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Outcome:
    """As `command_line`, without the third of a second that a process takes to start."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return Outcome(ended.value.code, *capsys.readouterr())


def one_line(outcome: Outcome, *words: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that holds these words."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("yummy-fast: ")
    for word in words:
        assert word in outcome.err, outcome.err


# ----------------------------------------------------------------------------------------------------------------- help


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "--help")
    assert (code, err) == (0, "")
    for word in ("serve", "check", "demo", "--chdir", "--feature-store-yaml", "--log-level"):
        assert word in out
    assert in_process(capsys, "-h") == (code, out, err)


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


def test_check_help_says_what_its_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "check", "--help")
    assert (code, err) == (0, "")
    assert re.search(r"Exit code 0: .* 1: .* 2: ", " ".join(out.split()))
    assert in_process(capsys, "check", "-h") == (code, out, err)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(capsys, "--version") == (0, f"yummy-fast {__version__}\n", "")


def test_installed_command() -> None:
    """What pip puts beside the interpreter is the same program."""
    done = subprocess.run([Path(sys.executable).parent / "yummy-fast", "--version"], capture_output=True, check=True)
    assert done.stdout.decode() == f"yummy-fast {__version__}\n"


def test_ctrl_c_while_modules_are_imported(tmp_path: Path) -> None:
    """No traceback of whatever was being imported; by default the shell makes 130 of it."""
    (tmp_path / "uvloop.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    outcome = command_line("--version", environment={"PYTHONPATH": str(tmp_path)})
    assert outcome == Outcome(-signal.SIGINT, "", "")


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["serve", "--no-such-flag"], ["serve", "--por", "1"]])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = in_process(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: yummy-fast")


# ------------------------------------------------------------------------------------------------------- Feast's flags


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


def test_the_name_of_feast_in_front_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """An image whose entry point is this program, started with `feast serve ...`."""
    version = f"yummy-fast {__version__}\n"
    assert in_process(capsys, "feast", "version") == (0, version, "")
    assert in_process(capsys, "feast", "--version") == (0, version, "")
    assert in_process(capsys, "feast", "feast", "version").code == 2


def test_version_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(capsys, "version") == (0, f"yummy-fast {__version__}\n", "")


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


# ---------------------------------------------------------------------------------------------------------------- check


def test_check_prints_text(corpus: Path, valkey: Valkey) -> None:
    """Exit code 1, because two services need full names, and one view has no rows: tests/diagnosis has the rest."""
    code, out, err = command_line("--chdir", corpus, "check")
    assert (code, err) == (1, "")
    problems = [line for line in out.splitlines() if line.startswith("PROBLEM  ")]
    assert len(problems) == 3
    for problem, word in zip(problems, ("service svc_alias", "service svc_collide", "view driver_never"), strict=True):
        assert word in problem
    assert f"{corpus}/feature_store.yaml" in out
    assert "Valkey" in out
    assert f"127.0.0.1:{valkey.port}" in out
    block = out.partition("\nfeature service svc_mixed\n")[2].partition("\n\n")[0]
    assert "  features      7\n" in block
    assert "  reads         1 feature of 1 view by driver_id; " in block
    assert "HMGET" not in out


def test_check_json(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "--chdir", corpus, "check", "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert found["project"] == "corpus"
    assert found["hot_path"] == DESCRIPTION
    assert found["online_store"]["reachable"] is True
    services = {service["name"]: service for service in found["feature_services"]}
    assert services["svc_mixed"]["features"] == 7
    assert services["svc_odfv"]["features"] == 3  # one stored, two computed
    assert services["svc_mixed"]["keys_per_row"] == 4
    assert len(services["svc_mixed"]["commands"]) == 4


def test_check_when_redis_is_away(tmp_path: Path) -> None:
    """What was found is shown; the one line on stderr says what is wrong; exit 2, for scripts."""
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{free_port()}")
    outcome = command_line("--chdir", folder, "check", "--json")
    one_line(Outcome(outcome.code, "", outcome.err), "feature_store.yaml", "online_store")
    assert json.loads(outcome.out)["online_store"]["reachable"] is False


def unservable(folder: Path) -> tuple[Path, dict[str, str]]:
    """Adds feature services that no request can be answered from; the registry, and what is said of them."""
    path = folder / "registry.db"
    registry = Registry.FromString(path.read_bytes())
    stats = next(view for view in registry.feature_views if view.spec.name == "driver_stats")
    for name, view in (("svc_gone", "no_such_view"), ("svc_double", "by_double")):
        service = registry.feature_services.add()
        service.CopyFrom(registries.service(name, registries.projection(stats), project="corpus"))
        service.spec.features[0].feature_view_name = view
    copy = registry.feature_views.add()
    copy.CopyFrom(stats)
    copy.spec.name = "by_double"
    copy.spec.entity_columns[0].value_type = ValueType.DOUBLE
    path.write_bytes(registry.SerializeToString())
    return path, {
        "svc_gone": "Feature view no_such_view does not exist in project corpus",
        "svc_double": "entities.driver_id: values of type DOUBLE cannot be part of an entity key; "
        "expected one of BYTES, INT32, INT64, STRING, UNIX_TIMESTAMP",
    }


def test_check_of_what_cannot_be_served(corpus: Path) -> None:
    """The others are served: exit code 1, and a line for each."""
    path, why = unservable(corpus)
    code, out, err = command_line("--chdir", corpus, "check")
    assert code == 1
    assert [line.partition("WARNING ")[2] for line in err.splitlines()] == [
        f"{path}: feature service {name} cannot be served: {reason}" for name, reason in why.items()
    ]
    for name, reason in why.items():
        assert f"\nfeature service {name}\n  CANNOT BE SERVED: {reason}\n" in out
        assert f"\nPROBLEM  {path}: feature service {name} cannot be served: {reason}\n" in out
    assert "\nfeature service svc_mixed\n  features " in out
    code, out, _ = command_line("--chdir", corpus, "check", "--json")
    services = json.loads(out)["feature_services"]
    assert (code, {each["name"]: each["error"] for each in services if "error" in each}) == (1, why)


def test_check_of_another_project(corpus: Path) -> None:
    """It would serve nothing. That is no reason not to start: the first `feast apply` may be yet to come."""
    file = corpus / "feature_store.yaml"
    file.write_text(file.read_text().replace("project: corpus", "project: corpsu"))
    code, _, err = command_line("--chdir", corpus, "check")
    assert code == 1
    (line,) = err.splitlines()
    assert line.endswith("registry.db: no feature views in project corpsu; the registry's other projects: corpus")


NEEDS_DEV_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@pytest.mark.parametrize("into", ["| head -n 1", pytest.param("> /dev/full", marks=NEEDS_DEV_FULL)])
def test_check_whose_output_nobody_takes(corpus: Path, into: str) -> None:
    line = f"{shlex.quote(sys.executable)} -m yummy_fast -c {shlex.quote(str(corpus))} check {into}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    if into.startswith("|"):
        assert (done.stdout, done.stderr) == (f"configuration  {corpus}/feature_store.yaml\n", "")
    else:
        assert (done.returncode, done.stderr) == (2, "yummy-fast: standard output: No space left on device\n")


def test_check_on_a_terminal_without_unicode(corpus: Path) -> None:
    path = corpus / "registry.db"
    registry = Registry.FromString(path.read_bytes())
    registry.feature_services[0].spec.name = "zürich"
    path.write_bytes(registry.SerializeToString())
    code, out, err = command_line("--chdir", corpus, "check", environment={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (1, "")
    assert "\nfeature service z\\xfcrich\n" in out


def test_streams_that_were_closed(corpus: Path) -> None:
    """A socket in the place of a standard stream ends the process as soon as libuv closes it."""
    with Process(["sh", "-c", 'exec "$@" 0<&- 1>&-', "sh", *serve_command(corpus)]) as server:
        url = server.wait_for(r"serving .* on http://127\.0\.0\.1:(\d+)")
        with Client(int(url[1])) as client:
            assert client.ask("/health").status == 200
        assert server.stop() == 0
        assert "Assertion" not in server.log


def serve_command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "yummy_fast", "-c", str(folder), "serve", "--port", "0"]


def test_serve_what_can_be_served(corpus: Path) -> None:
    """What `check` says, the log says; the others are served. Those that cannot be are the caller's mistake."""
    path, why = unservable(corpus)
    with Server(corpus) as server:
        for name, reason in why.items():
            assert f"WARNING {path}: feature service {name} cannot be served: {reason}" in server.log
            answer = server.ask("/get-online-features", {"feature_service": name, "entities": {"driver_id": [1002]}})
            assert (400 <= answer.status < 500, reason in answer.body.decode()) == (True, True), answer
        assert server.features([1002]).columns["trips"] == [1]


def assert_checked(outcome: Outcome, corpus: Path) -> None:
    """Exit code 1, because one view of this repository was never materialized; 2 would say that nothing was read."""
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.startswith(f"configuration  {corpus / 'feature_store.yaml'}\n")
    assert "driver_never was never materialized" in outcome.out


def test_flags_before_and_after_the_command(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = corpus / "feature_store.yaml"
    orders: list[list[str | Path]] = [
        ["--chdir", corpus, "check"],
        ["check", "--chdir", corpus],
        ["-f", yaml, "check"],
        ["check", "-f", yaml],
        ["--feature-store-yaml", yaml, "check"],
    ]
    for arguments in orders:
        assert_checked(in_process(capsys, *arguments), corpus)


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("command", ["serve", "check"])
def test_missing_file(tmp_path: Path, command: str) -> None:
    one_line(command_line("--chdir", tmp_path, command), f"{tmp_path}/feature_store.yaml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("project: corpus", "project: [corpus", ["feature_store.yaml, line", "not YAML"]),
        ("project: corpus", "\tproject: corpus", ["feature_store.yaml, line", "not YAML"]),
        ("project: corpus", "project: 5", ["feature_store.yaml: project:", "5"]),
        ("project: corpus", "project: my-project", ["feature_store.yaml: project:", "my-project"]),
        ("project: corpus", "", ["feature_store.yaml: project:"]),
        ("registry: registry.db", "", ["feature_store.yaml: registry:"]),
        ("registry: registry.db", "registry: nowhere.db", ["nowhere.db"]),
        ("registry: registry.db", "registry: [registry.db]", ["feature_store.yaml: registry:"]),
        ("registry: registry.db", "registry: hdfs://bucket/registry.db", ["feature_store.yaml: registry"]),
        ("registry: registry.db", "registry: ${NO_SUCH_NAME}", ["registry: ${NO_SUCH_NAME}"]),
        ("registry: registry.db", "registry: {registry_type: sql, path: x}", ["registry.path", "database URL"]),
        ("registry: registry.db", "registry: {registry_type: remote, path: x}", ["registry.registry_type", "remote"]),
        ("registry: registry.db", "registry: feature_store.yaml", ["feature_store.yaml"]),
        ("registry: registry.db", "registry: .", ["registry"]),
        ("  type: redis", "  type: cassandra", ["online_store.type", "cassandra", "redis"]),
        ("  type: redis", "  type: [redis]", ["online_store"]),
        ("  type: redis", "  type: redis\n  colour: red", ["online_store.colour"]),
        ("  type: redis", "  type: redis\n  redis_type: cluster", ["online_store.redis_type", "redis_cluster"]),
        (
            "entity_key_serialization_version: 3",
            "entity_key_serialization_version: '3'",
            ["entity_key_serialization_version"],
        ),
        (
            "entity_key_serialization_version: 3",
            "entity_key_serialization_version: 4",
            ["entity_key_serialization_version"],
        ),
        ("project: corpus", "project: corpus\nyummy_fast: {redis_read: many}", ["yummy_fast.redis_read", "many"]),
        ("project: corpus", "project: corpus\nyummy_fast: {colour: red}", ["yummy_fast.colour"]),
        ("project: corpus", "project: corpus\nyummy_fast: 6566", ["yummy_fast"]),
    ],
)
def test_mistakes_in_the_file(
    corpus: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: list[str]
) -> None:
    path = corpus / "feature_store.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    one_line(in_process(capsys, "--chdir", corpus, "check"), *words)


def test_bytes_that_are_no_text(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / "feature_store.yaml").write_bytes(b"\xff\xfe\x00")
    one_line(in_process(capsys, "--chdir", corpus, "check"), "feature_store.yaml")


def test_folder_for_a_file(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_line(in_process(capsys, "-f", corpus, "check"), str(corpus))


def test_broken_registry(corpus: Path) -> None:
    (corpus / "registry.db").write_bytes(b"\xff\xff not a registry")
    one_line(command_line("--chdir", corpus, "serve", "--port", "0"), "registry.db")


@pytest.mark.parametrize(
    "flag", ["--port", "--registry_ttl_sec", "--keep-alive-timeout", "--log-level", "--redis-read"]
)
def test_mistakes_in_flags(corpus: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    one_line(in_process(capsys, "--chdir", corpus, "serve", flag, "many"), flag, "many")


def test_mistakes_in_the_environment(corpus: Path) -> None:
    outcome = command_line("--chdir", corpus, "serve", environment={"YUMMY_FAST_PORT": "many"})
    one_line(outcome, "YUMMY_FAST_PORT", "many")


def test_address_that_is_not_ours(corpus: Path) -> None:
    """192.0.2.1 is for documentation (RFC 5737): nobody has it."""
    one_line(command_line("--chdir", corpus, "serve", "--host", "192.0.2.1", "--port", "0"), "192.0.2.1")


# --------------------------------------------------------------------------------------------- flag, environment, file


def test_order_of_settings(tmp_path: Path, valkey: Valkey) -> None:
    """Flag over environment over file over default, seen from outside: by the limit of a body."""
    folder = repository(
        tmp_path / "r", "redis", f"127.0.0.1:{valkey.port}", settings={"max_body_bytes": 3000, "log_level": "debug"}
    )

    def limit(*flags: str, **environment: str) -> str:
        with Server(folder, *flags, environment=environment) as server:
            answer = server.ask("/get-online-features", b" " * 5000)
            assert answer.status == 413
            found = re.search(r"limit is (\d+)", answer.json["detail"])
            assert found
            return found[1]

    assert limit() == "3000"
    assert limit(YUMMY_FAST_MAX_BODY_BYTES="2000") == "2000"
    assert limit("--max-body-bytes", "1000", YUMMY_FAST_MAX_BODY_BYTES="2000") == "1000"


@pytest.mark.parametrize(
    ("variable", "path"), [("FEAST_FS_YAML_FILE_PATH", "feature_store.yaml"), ("FEATURE_REPO_DIR_ENV_VAR", "")]
)
def test_variables_of_feast(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, path: str
) -> None:
    monkeypatch.setenv(variable, str(corpus / path))
    assert_checked(in_process(capsys, "check"), corpus)


def test_variables_in_the_file(
    corpus: Path, valkey: Valkey, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = corpus / "feature_store.yaml"
    path.write_text(path.read_text().replace(f"127.0.0.1:{valkey.port}", "${REDIS_AT}:$REDIS_PORT"))
    one_line(in_process(capsys, "--chdir", corpus, "check"), "online_store.connection_string")
    monkeypatch.setenv("REDIS_AT", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(valkey.port))
    assert_checked(in_process(capsys, "--chdir", corpus, "check"), corpus)


# ----------------------------------------------------------------------------------------------------------------- demo


def test_demo() -> None:
    """The curl line that it prints works when pasted; Ctrl-C ends it, Valkey and folder included."""
    with Process([sys.executable, "-m", "yummy_fast", "demo"]) as demo:
        line = demo.wait_for(r"^\s*(curl .*)$")[1]
        folder = demo.wait_for(r"^\s*(/\S+)$")[1]
        demo.wait_for("Ctrl-C")
        _, *arguments = shlex.split(line)
        url = next(argument for argument in arguments if argument.startswith("http://"))
        body = json.loads(arguments[arguments.index("-d") + 1])
        host, _, target = url.removeprefix("http://").partition("/")
        with Client(int(host.partition(":")[2])) as client:
            answer = client.ask(f"/{target}", body)
        assert answer.columns["driver_id"] == body["entities"]["driver_id"]
        assert len(answer.columns) > 3
        assert demo.stop(signal.SIGINT) == 0
        assert "Traceback" not in demo.log
        assert not Path(folder).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply",),
        ("-c", "repo", "materialize", "2026-01-01", "2026-01-02"),
        ("--log-level", "info", "ui", "--port", "1"),
    ],
)
def test_what_only_feast_does(arguments: tuple[str, ...]) -> None:
    """Our image answers to the name `feast`: whoever comes to another command than serve is told where it is."""
    one_line(command_line(*arguments), "feastdev/feature-server")


def test_a_command_that_nobody_has() -> None:
    outcome = command_line("aply")
    assert outcome.code == 2
    assert "invalid choice: 'aply'" in outcome.err


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


# --------------------------------------------------------------------------------------------- get, explain, doctor


def test_a_server_does_not_import_what_it_does_not_need() -> None:
    """What `explain`, `doctor` and `get` are made of would cost each start some milliseconds."""
    program = (
        "import sys, yummy_fast.cli.main, yummy_fast.stores.redis\n"
        "needless = ('looks', 'survey', 'server.once', 'explaining')\n"
        "print([name for name in sys.modules if 'diagnosis' in name or name.endswith(needless)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", ["get", "explain", "doctor"])
def test_help_of_what_looks_for_causes(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = in_process(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert re.search(r"Exit code 0: .* 1: .* 2: ", " ".join(out.split()))
    assert f"yummy-fast {command} " in out
    for number in ("0", "-1", "x", "2000000"):
        if command == "doctor":
            assert in_process(capsys, command, "--keys", number)[0] == 2
