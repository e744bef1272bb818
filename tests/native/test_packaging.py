"""With a C compiler, one wheel is built for CPython from 3.11 on; without, a pure one. And which reader serves then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.native.rooms import needs_compiler, needs_native

REPOSITORY = Path(__file__).resolve().parents[2]


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build a wheel from a copy of the sources: setuptools leaves files of its own beside them."""
    copy = folder / "source"
    if not copy.exists():
        shutil.copytree(REPOSITORY / "yummy_fast", copy / "yummy_fast", ignore=shutil.ignore_patterns("*.so", "*.pyc"))
        for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"):
            shutil.copy(REPOSITORY / name, copy)
    shutil.rmtree(copy / "build", ignore_errors=True)
    shutil.rmtree(folder / "wheels", ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder / "wheels")]
    clean = {name: value for name, value in os.environ.items() if name not in ("CC", "PYTHONPATH", "YUMMY_FAST_NATIVE")}
    return subprocess.run(
        [*command, "."], cwd=copy, env=clean | environment, capture_output=True, text=True, check=False
    )


def wheel(folder: Path) -> Path:
    (found,) = (folder / "wheels").iterdir()
    return found


def run(code: str, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "YUMMY_FAST_NATIVE"}
    clean["PYTHONPATH"] = os.pathsep.join(map(str, path or (REPOSITORY,)))
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False, cwd="/")


IN_USE = "from yummy_fast.native import owner; print(owner.IN_USE, owner.WHY)"
A_ROW = """
from yummy_fast.native.owner import Picker, ReplyReader
reader = ReplyReader()
reader.expect(Picker((b"b", b"c"), True), 1)
print([tuple(row) for row in reader.feed(b"*4\\r\\n$1\\r\\na\\r\\n$1\\r\\n1\\r\\n$1\\r\\nb\\r\\n$1\\r\\n2\\r\\n")[0]])
"""
"""One reply to HGETALL, with the fields a and b: b is asked for, and c."""
VERSION = (
    "import runpy, sys; sys.argv = ['yummy-fast', '--version']; runpy.run_module('yummy_fast', run_name='__main__')"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packaging")


@needs_compiler
def test_with_a_compiler_there_is_one_binary_for_all_versions(folder: Path) -> None:
    done = build(folder, YUMMY_FAST_NATIVE="1")
    assert done.returncode == 0, done.stderr
    assert "-cp311-abi3-" in wheel(folder).name
    with zipfile.ZipFile(wheel(folder)) as content:
        names = content.namelist()
        content.extractall(folder / "native")
    assert "yummy_fast/native/_native.abi3.so" in names
    assert "yummy_fast/native/_native.pyi" in names
    assert "yummy_fast/server/page.html" in names
    assert not [name for name in names if name.endswith((".c", ".h"))]
    assert run(IN_USE, folder / "native").stdout == "native \n"


@pytest.mark.parametrize("environment", [{"CC": "/bin/false"}, {"CC": "/no/such/compiler"}, {"YUMMY_FAST_NATIVE": "0"}])
def test_without_one_the_wheel_is_pure_and_works(folder: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    done = build(folder, **environment)
    assert done.returncode == 0, done.stderr
    assert wheel(folder).name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel(folder)) as content:
        names = content.namelist()
        content.extractall(tmp_path)
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "yummy_fast").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert (
        run("import yummy_fast; print(yummy_fast.__file__)", tmp_path).stdout == f"{tmp_path}/yummy_fast/__init__.py\n"
    )
    assert run(IN_USE, tmp_path).stdout == "python this package was built without it\n"
    assert run(A_ROW, tmp_path).stdout == "[(b'2', None)]\n"
    assert run(VERSION, tmp_path).stdout.startswith("yummy-fast ")


def test_who_insists_gets_no_pure_one(folder: Path) -> None:
    done = build(folder, CC="/bin/false", YUMMY_FAST_NATIVE="1")
    assert done.returncode != 0
    assert "YUMMY_FAST_NATIVE=1, but the native room cannot be compiled: no C compiler" in done.stderr + done.stdout


@needs_native
def test_the_variable_says_which_of_the_two_serves() -> None:
    assert run(IN_USE).stdout == "native \n"
    assert run(IN_USE, YUMMY_FAST_NATIVE="1").stdout == "native \n"
    assert run(IN_USE, YUMMY_FAST_NATIVE="0").stdout == "python YUMMY_FAST_NATIVE=0\n"


def test_a_wish_that_cannot_be_granted_is_an_error() -> None:
    check = "from yummy_fast.native import owner; owner.check_wish()"
    refused = run(check, YUMMY_FAST_NATIVE="yes").stderr
    assert refused.endswith("YUMMY_FAST_NATIVE: expected 0 or 1, not 'yes'\n")
    absent = "import sys; sys.modules['yummy_fast.native._native'] = None; " + check
    refused = run(absent, YUMMY_FAST_NATIVE="1").stderr.splitlines()[-1]
    assert "YUMMY_FAST_NATIVE=1, but the native room cannot be used: " in refused
    assert run(absent).returncode == run(absent, YUMMY_FAST_NATIVE="0").returncode == 0


def test_without_the_global_lock_the_twin_serves() -> None:
    """`get_config_var` answers as in a free-threaded Python, which could not load the binary either."""
    free_threaded = "import sysconfig; sysconfig.get_config_var = {'Py_GIL_DISABLED': 1}.get; "
    assert run(free_threaded + IN_USE).stdout == "python this Python runs without its global lock\n"
