"""What is handed out: the wheel, the source distribution and the executable file that `make pyz` wrote to dist/.

The wheel is installed into an environment with nothing in it, far from the sources, and serves the demo.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from tools import ROOT

from tests.harness import PATIENCE_S, Process, Valkey, repository
from yummy_fast import __version__

DIST = ROOT / "dist"
VERSION = __version__
LOCKS = {
    "base": ["pyproject.toml"],
    "transforms": ["pyproject.toml", "--extra", "transforms"],
    "all": ["pyproject.toml", "--all-extras"],
    "build": ["locks/build.in"],
}


def only(pattern: str) -> Path:
    """The one file of dist/ with such a name."""
    (found,) = DIST.glob(pattern)
    return found


def locked(name: str) -> dict[str, str]:
    """The versions in a lock file, by name."""
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([\w.!+-]+)", text, re.MULTILINE))


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---------------------------------------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel with its extra `demo`, in an environment that has nothing else."""
    folder = tmp_path_factory.mktemp("empty") / "environment"
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", f"yummy-fast[demo] @ {only('*.whl').as_uri()}")
    return folder / "bin"


def test_the_wheel_serves_the_demo(installed: Path) -> None:
    # PYTHONSAFEPATH: the current folder, which has the sources, is not searched for modules.
    with Process([installed / "yummy-fast", "demo", "--port", "0"], {"PYTHONSAFEPATH": "1"}) as demo:
        url = demo.wait_for(r"curl -s (http://\S+)/get-online-features")[1]
        body = {"feature_service": "driver_ranking", "entities": {"driver_id": [1001]}}
        with urllib.request.urlopen(f"{url}/get-online-features", json.dumps(body).encode(), PATIENCE_S) as answer:
            found = json.load(answer)
        assert found["metadata"]["feature_names"][:2] == ["driver_id", "trips_today"]
        assert found["results"][1]["values"] != [None]
        demo.wait_for("Ctrl-C stops the demo")


def test_the_wheel_has_what_it_should_and_no_more(installed: Path) -> None:
    with zipfile.ZipFile(only("*.whl")) as wheel:
        names = set(wheel.namelist())
    assert {"yummy_fast/py.typed", "yummy_fast/native/_native.pyi", "yummy_fast/server/page.html"} <= names
    assert {name.partition("/")[0] for name in names} == {"yummy_fast", f"yummy_fast-{VERSION}.dist-info"}
    assert not [name for name in names if name.endswith((".c", ".h", ".pyc"))]
    shown = run(installed / "python", "-c", "from yummy_fast.native import owner; print(owner.DESCRIPTION)")
    assert shown == "native\n"
    assert run(installed / "yummy-fast", "--version").split()[-1] == VERSION


def test_the_source_distribution_has_what_the_targets_need() -> None:
    with tarfile.open(only("*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("Makefile", "setup.py", "yummy_fast/native/body.c", "tests/harness.py", "deploy/compose.yaml"):
        assert needed in names
    assert {f"locks/{name}.txt" for name in LOCKS} <= names


# ------------------------------------------------------------------------------------------------- one executable file


def test_one_file_is_the_whole_program(tmp_path: Path, valkey: Valkey) -> None:
    """With an interpreter that has none of its dependencies, as on a machine where nothing was installed."""
    program = only("yummy-fast.pyz")
    assert os.access(program, os.X_OK)
    with program.open("rb") as file:
        assert file.readline() == b"#!/usr/bin/env python%d.%d\n" % sys.version_info[:2]
    bare = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    environment = {"SHIV_ROOT": str(tmp_path / "shiv"), "PATH": "/usr/bin:/bin"}
    assert run(bare, "-I", program, "--version", environment=environment).split()[-1] == VERSION
    repository(tmp_path / "repo", "redis", f"127.0.0.1:{valkey.port}")
    command = (bare, "-I", program, "serve", "--chdir", tmp_path / "repo", "--port", "0")
    with Process([*map(str, command)], environment) as server:
        port = server.wait_for(r"serving .* on http://127.0.0.1:(\d+)")[1]
        server.wait_for("hot path: native")
        body = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001]}}
        url = f"http://127.0.0.1:{port}/get-online-features"
        with urllib.request.urlopen(url, json.dumps(body).encode(), PATIENCE_S) as answer:
            assert json.load(answer)["metadata"]["feature_names"] == ["driver_id", "trips"]


# ----------------------------------------------------------------------------------------------------------- the locks


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_are_those_of_the_project(name: str, tmp_path: Path) -> None:
    """`make locks` keeps the versions that are in a file as long as they fit, so it changes nothing now."""
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    (tmp_path / "lock.txt").write_text(text)
    (recipe,) = re.findall(r"^LOCK = \$\(BIN\)/(uv .+) \$\(UPGRADE\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    uv, *options = recipe.split()
    command = [Path(sys.executable).parent / uv, *options, *LOCKS[name], "--output-file", tmp_path / "lock.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lock.txt").read_text() == text, "run `make locks`"


def test_every_locked_version_has_hashes_and_no_lock_names_an_index() -> None:
    for name in LOCKS:
        text = (ROOT / "locks" / f"{name}.txt").read_text()
        requirements = re.split(r"\n(?! )", text.strip())
        for requirement in requirements:
            assert "--hash=sha256:" in requirement, requirement
        assert "://" not in text


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_image_can_be_built_for_both_machines(machine: str, tmp_path: Path) -> None:
    """Everything that it downloads is there as a wheel, for the Python of the Dockerfile, with the hash of the lock."""
    (python,) = re.findall(r"^ARG PYTHON=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for name in LOCKS:
        run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--target", tmp_path, "--no-deps"),
            *("--require-hashes", "--only-binary", ":all:", "--python-version", python, "--implementation", "cp"),
            *(f"--platform=manylinux_2_28_{machine}", f"--platform=manylinux_2_17_{machine}"),
            *(f"--platform=manylinux2014_{machine}", "-r", ROOT / "locks" / f"{name}.txt"),
        )


def test_the_list_of_contents_has_every_locked_package(tmp_path: Path) -> None:
    """As the Dockerfile makes it, but of the lock file: with versions and hashes."""
    cyclonedx = Path(sys.executable).parent / "cyclonedx-py"
    written = tmp_path / "sbom.json"
    run(cyclonedx, "requirements", ROOT / "locks" / "base.txt", "--output-reproducible", "--output-file", written)
    parts = json.loads(written.read_text())["components"]
    assert {part["name"]: part["version"] for part in parts} == locked("base")
    assert all(reference["hashes"] for part in parts for reference in part["externalReferences"])


# -------------------------------------------------------------------------------------------------------- the version


def test_there_is_one_version() -> None:
    """`yummy_fast/__init__.py` has it, a package takes it from there, and whatever must repeat it says the same."""
    assert f"ARG VERSION={VERSION}\n" in (ROOT / "Dockerfile").read_text()
    chart = yaml.safe_load((ROOT / "deploy/helm/yummy-fast/Chart.yaml").read_text())
    values = yaml.safe_load((ROOT / "deploy/helm/yummy-fast/values.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == values["image"]["tag"] == VERSION
    files = [path for pattern in ("deploy/**/*.yaml", "docs/*.md", "deploy/*.md") for path in ROOT.glob(pattern)]
    tags = {(path.name, tag) for path in files for tag in re.findall(r"\byummy-fast:(\d+\.[\w.]+)", path.read_text())}
    assert len(tags) >= 3
    assert {tag for _, tag in tags} == {VERSION}
