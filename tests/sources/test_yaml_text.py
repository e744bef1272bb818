"""Where the text of feature_store.yaml comes from: base64, a path, a URL; and what its relative paths lead to."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.harness import FileServer
from yummy_fast.errors import ConfigError
from yummy_fast.sources.yaml_text import MAX_YAML_BYTES, load_config

MINIMAL = "project: rides\nregistry: data/registry.db\n"
ENCODED = base64.b64encode(MINIMAL.encode()).decode()


def refusal(**how: str) -> str:
    """What is said when the text cannot be had."""
    environ = {"FEATURE_STORE_YAML_BASE64": how.pop("encoded", "")}
    with pytest.raises(ConfigError) as caught:
        load_config(**how, environ=environ)  # type: ignore[arg-type]  # flags and metrics are not among them
    return str(caught.value)


def test_the_file_may_come_in_base64(tmp_path: Path) -> None:
    found = load_config(chdir=str(tmp_path), environ={"FEATURE_STORE_YAML_BASE64": ENCODED}).repository
    assert (found.project, found.source) == ("rides", "FEATURE_STORE_YAML_BASE64")
    assert found.registry_path == str(tmp_path / "data/registry.db")


@pytest.mark.parametrize(
    "encoded",
    [
        "not base64!",
        base64.b64encode(b"\xff\xfe").decode(),
        f"{ENCODED}!",
        f"{ENCODED[:8]} {ENCODED[8:]}",
        ENCODED[:-1],
    ],
)
def test_base64_that_is_none_is_named_and_not_quoted(encoded: str) -> None:
    """Python would skip what is not of base64's alphabet, and take what is left for the file."""
    assert refusal(encoded=encoded) == "FEATURE_STORE_YAML_BASE64: expected the file's text in base64"


def test_the_path_of_the_file_comes_from_the_argument_then_the_environment_then_the_folder(tmp_path: Path) -> None:
    for name in ("given", "ours", "feasts", "feature_store"):
        (tmp_path / f"{name}.yaml").write_text(f"project: {name}\nregistry: r.db")
    feasts = {"FEAST_FS_YAML_FILE_PATH": str(tmp_path / "feasts.yaml")}
    environ = {**feasts, "YUMMY_FAST_FEATURE_STORE_YAML": str(tmp_path / "ours.yaml")}

    def project(environ: dict[str, str], *, chdir: str | None = None, given: str | None = None) -> str:
        return load_config(chdir=chdir, feature_store_yaml=given, environ=environ).repository.project

    folder = str(tmp_path)
    assert project(environ, chdir=folder, given=str(tmp_path / "given.yaml")) == "given"
    assert project(environ, chdir=folder) == "ours"
    assert project(feasts, chdir=folder) == "feasts"
    assert project({}, chdir=folder) == "feature_store"


def test_the_folder_comes_from_the_argument_then_the_environment_then_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("given", "ours", "feasts", "current"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "feature_store.yaml").write_text(f"project: {name}\nregistry: r.db")
    feasts = {"FEATURE_REPO_DIR_ENV_VAR": str(tmp_path / "feasts")}
    environ = {**feasts, "YUMMY_FAST_CHDIR": str(tmp_path / "ours")}
    monkeypatch.chdir(tmp_path / "current")
    assert load_config(chdir=str(tmp_path / "given"), environ=environ).repository.project == "given"
    assert load_config(environ=environ).repository.project == "ours"
    assert load_config(environ=feasts).repository.project == "feasts"
    found = load_config(environ={}).repository
    assert (found.project, found.registry_path) == ("current", str(tmp_path / "current" / "r.db"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(chdir=str(tmp_path)) == f"{tmp_path}/feature_store.yaml: cannot be read: No such file or directory"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_bytes(b"project: \xff")
    assert refusal(chdir=str(tmp_path)) == f"{tmp_path}/feature_store.yaml: cannot be read: not UTF-8 text"


def test_the_file_may_lie_behind_a_url(tmp_path: Path) -> None:
    with FileServer({"/fs.yaml": MINIMAL.encode(), "/none.yaml": b"\xff", "/long": b"#" * (MAX_YAML_BYTES + 1)}) as web:
        url = web.url.replace("://", "://me:secret@")
        config = load_config(chdir=str(tmp_path), feature_store_yaml=f"{url}/fs.yaml?token=secret", environ={})
        assert (config.repository.project, config.repository.source) == ("rides", f"{web.url}/fs.yaml")
        assert config.repository.registry_path == str(tmp_path / "data/registry.db")
        assert web.asked[0].headers["Authorization"] == "Basic bWU6c2VjcmV0"
        for path, reason in (
            ("absent.yaml", "HTTP status 404"),
            ("none.yaml", "not UTF-8 text"),
            ("long", f"longer than {MAX_YAML_BYTES} bytes"),
        ):
            assert refusal(feature_store_yaml=f"{url}/{path}") == f"{web.url}/{path}: cannot be read: {reason}"
    assert refusal(feature_store_yaml=f"{url}/fs.yaml") == f"{web.url}/fs.yaml: cannot be read: Connection refused"


def test_a_relative_registry_is_the_repositorys_and_else_lies_beside_the_file(tmp_path: Path) -> None:
    repo, beside = tmp_path / "repo", tmp_path / "beside"
    repo.mkdir()
    beside.mkdir()
    (beside / "fs.yaml").write_text("project: rides\nregistry: r.db")

    def found() -> str:
        config = load_config(chdir=str(repo), feature_store_yaml=str(beside / "fs.yaml"), environ={})
        return config.repository.registry_path

    assert found() == str(repo / "r.db"), "neither is there yet: where Feast would look"
    (beside / "r.db").touch()
    assert found() == str(beside / "r.db")
    (repo / "r.db").touch()
    assert found() == str(repo / "r.db")


def test_flags_and_the_environment_reach_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "feature_store.yaml").write_text(MINIMAL)
    given = {"port": "1"}
    assert load_config(chdir=str(tmp_path), flags=given, environ={"YUMMY_FAST_HOST": "h"}).address.host == "h"
    monkeypatch.setenv("YUMMY_FAST_HOST", "from-the-process")
    address = load_config(chdir=str(tmp_path), flags=given).address
    assert (address.host, address.port) == ("from-the-process", 1)
    assert load_config(chdir=str(tmp_path), environ={}, metrics=True).admin.address == ":8000"


def test_static_artifacts_are_not_loaded(tmp_path: Path) -> None:
    """Feast's server runs that file of the repository. Here it is only said that it is not."""
    (tmp_path / "feature_store.yaml").write_text("project: rides\nregistry: r.db\n")
    assert load_config(chdir=str(tmp_path), environ={}).repository.notices == ()
    artifacts = tmp_path / "static_artifacts.py"
    artifacts.write_text("raise SystemExit")
    (notice,) = load_config(chdir=str(tmp_path), environ={}).repository.notices
    assert notice.text.startswith(f"{artifacts}: not loaded: ")
    assert not notice.is_problem
