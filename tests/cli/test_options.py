"""Where the configuration is; which of flag, variable and file decides; and one line for each mistake in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.outcomes import assert_checked, in_process, one_line
from tests.harness import Server, Valkey, command_line, repository


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


@pytest.mark.parametrize(
    "flag", ["--port", "--registry_ttl_sec", "--keep-alive-timeout", "--log-level", "--redis-read"]
)
def test_mistakes_in_flags(corpus: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    one_line(in_process(capsys, "--chdir", corpus, "serve", flag, "many"), flag, "many")


def test_mistakes_in_the_environment(corpus: Path) -> None:
    outcome = command_line("--chdir", corpus, "serve", environment={"YUMMY_FAST_PORT": "many"})
    one_line(outcome, "YUMMY_FAST_PORT", "many")
