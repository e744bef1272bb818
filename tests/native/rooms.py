"""The native room and its twin, for tests that are about both; and builds of the room for tests that need another one.

The room is the one beside its sources, where `make` puts it. Without it, tests skip: but not if YUMMY_FAST_NATIVE=1
says that it has to be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from yummy_fast.native import twin

try:
    from yummy_fast.native import _native
except ImportError:
    if os.environ.get("YUMMY_FAST_NATIVE") == "1":
        raise
    _native = None  # type: ignore[assignment]  # what the annotation of a module cannot say

SOURCES = Path(twin.__file__).parent
COMPILER = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]

twin_room: Any = twin
native_room: Any = _native

needs_native = pytest.mark.skipif(native_room is None, reason="the native room is not built")
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="there is no C compiler")
both = pytest.mark.parametrize(
    "room", [pytest.param(twin_room, id="twin"), pytest.param(native_room, id="native", marks=needs_native)]
)


def compile_room(folder: Path, *flags: str) -> Any:
    """The room as a module of its own, compiled in `folder` with more flags."""
    built = folder / "_native.so"
    include = sysconfig.get_path("include")
    sources = sorted(map(str, SOURCES.glob("*.c")))
    command = [COMPILER, "-std=c11", "-O1", "-fPIC", "-shared", f"-I{include}", *flags, *sources, "-o", str(built)]
    subprocess.run(command, check=True)
    return load("_native", built)


def compile_extension(source: Path, folder: Path) -> ModuleType:
    """A C file of the tests' as a module."""
    built = folder / f"{source.stem}.so"
    include = sysconfig.get_path("include")
    subprocess.run([COMPILER, "-fPIC", "-shared", f"-I{include}", str(source), "-o", str(built)], check=True)
    return load(source.stem, built)


def load(name: str, path: Path) -> ModuleType:
    loader = ExtensionFileLoader(name, str(path))
    spec = spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    sys.modules.pop(name, None)  # nobody else's
    return module
