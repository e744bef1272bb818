"""What pyproject.toml cannot say: the native room is compiled if it can be.

With a C compiler the wheel is for CPython from 3.11 on (cp311-abi3). Without one it is pure, and the room's twin in
Python serves. YUMMY_FAST_NATIVE=0 asks for a pure one; with 1 it is an error if the room cannot be compiled.
"""

from __future__ import annotations

import os
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import customize_compiler, new_compiler
from setuptools.errors import CCompilerError, ExecError, PlatformError

VARIABLE = "YUMMY_FAST_NATIVE"
FOLDER = "yummy_fast/native"
FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-g0"]


def obstacle() -> str:
    """Why the room cannot be compiled and linked, asked of the smallest of its files; "" if it can."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python runs without its global lock"
    compiler = new_compiler()
    customize_compiler(compiler)
    try:
        with tempfile.TemporaryDirectory() as folder:
            objects = compiler.compile(
                [f"{FOLDER}/numbers.c"],
                output_dir=folder,
                include_dirs=[FOLDER, sysconfig.get_path("include")],
                extra_preargs=FLAGS,
            )
            compiler.link_shared_object(objects, f"{folder}/numbers.so")
    except (CCompilerError, ExecError, PlatformError, OSError) as error:
        return f"no C compiler: {error}"
    return ""


wish = os.environ.get(VARIABLE, "")
if wish not in ("", "0", "1"):
    raise SystemExit(f"{VARIABLE}: expected 0 or 1, not {wish!r}")
why_not = f"{VARIABLE}=0" if wish == "0" else obstacle()
if wish == "1" and why_not:
    raise SystemExit(f"{VARIABLE}=1, but the native room cannot be compiled: {why_not}")
if why_not:
    print(f"yummy-fast without its native room: {why_not}")
    setup()
else:
    setup(
        ext_modules=[
            Extension(
                "yummy_fast.native._native",
                sorted(map(str, Path(FOLDER).glob("*.c"))),
                depends=[f"{FOLDER}/native.h"],
                extra_compile_args=FLAGS,
                py_limited_api=True,
            )
        ],
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
