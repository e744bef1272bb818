"""What the tests run of each module: all of them together, and the module's own alone. `make coverage` fails below.

A module is tested by the files that mirror it (`mirrors`). Lines that only the tests of other modules run are not
tested: those tests do not say what the lines must do. websockets measures itself in this way (maxi_cov.py). So
there are two floors: one for all modules together, in pyproject.toml, and one for each by its own tests, here.

Lines and branches count alike. What is run when modules are imported counts for all. tests/system is left out: there
the code runs in other processes.
"""

from __future__ import annotations

import argparse
import importlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.tools.mirrors import ROOT, modules, tests_of

OWN_FLOOR = 90.0
"""Per cent of a module that its own tests run, unless BELOW has another floor for it."""

BELOW: dict[str, float] = {
    "cli/demo.py": 88.0,  # the rest is a demo that runs: its test starts it as a process
    "cli/serve.py": 53.0,  # its tests start processes: a server does not run beside tests
    "endpoints.py": 89.0,  # requests that are answered in steps: tests/system/test_large_requests.py
    "features/binding.py": 80.0,  # in steps: tests/registries.py binds whatever test_vectors.py asks
    "features/large_answers.py": 88.0,  # tests/registries.py makes all answers of test_vectors.py in steps too
    "server/app.py": 63.0,  # the rest is the life of a process: tests/system/test_start.py, test_lifecycle.py
    "stores/redis_link.py": 76.0,  # how it connects: what connects a store, tests/stores/test_redis.py above all
    "stores/redis_sentinel.py": 79.0,  # the connections to sentinels: tests/system/test_sentinel.py
    "telemetry/spans.py": 54.0,  # the way out is tested by processes and a collector: tests/system/test_spans.py
    "workers/worker.py": 51.0,  # the rest is the life of a process: tests/system/test_supervisor.py
}
"""Modules of which their own tests run less, and how much it is at least. Numbers here may grow, and not shrink."""

WITHOUT: dict[str, str] = {
    "__main__.py": "it calls `cli.main`: tests/cli/test_main.py starts it as a process",
    "cli/demo_repository.py": "it is a program: tests/cli/test_demo.py starts it as a process",
    "cli/doctor.py": "tests/diagnosis/test_doctor.py starts it as a process",
    "cli/explain.py": "tests/diagnosis/test_explain.py starts it as a process",
    "features/written.py": "records: tests/features/test_writes.py has what makes them",
    "native/owner.py": "it chooses the room or its twin: tests/native/test_packaging.py",
    "native/powers_of_ten.py": "a table, which tests/native/test_body.py uses",
    "native/twin.py": "it has its tests in common with the room: tests/native, by what they ask of both",
    "server/admin.py": "it answers from threads beside a server: tests/system/test_admin.py",
    "server/drain.py": "it ends a process: tests/system/test_lifecycle.py",
    "server/health.py": "it is about a process: tests/system/test_admin.py",
    "sources/source.py": "a Protocol and a number",
    "stores/looks.py": "a Protocol, and records: tests/stores/test_redis_looks.py",
    "stores/survey.py": "a record: tests/stores/test_redis_survey.py",
    "workers/child.py": "it is about processes: tests/system/test_supervisor.py",
    "workers/fleet.py": "it is about processes: tests/system/test_supervisor.py",
    "workers/supervisor.py": "it starts processes: tests/system/test_supervisor.py",
}
"""Modules without a test file of their own, each with the reason. No others may be."""


CONTRACTS: dict[str, list[str]] = {
    "stores/redis.py": ["tests/contract/test_online_store.py"],
    "stores/sqlite.py": ["tests/contract/test_online_store.py"],
}
"""Tests that say what several modules must do alike, and are each one's own: every store passes the same contract."""


class Contexts:
    """Has coverage note which test file runs what.

    The context changes with the file alone: at each change coverage stores all that has been run since the last one.
    """

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self._file = ""

    def pytest_sessionstart(self) -> None:
        """Import all modules before there is a context: else a test of another may be the one that runs the `def`s."""
        for module in modules():
            importlib.import_module(f"yummy_fast.{module.removesuffix('.py').replace('/', '.')}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        file = item.nodeid.partition("::")[0]
        if file != self._file:
            self._file = file
            self._measured.switch_context(file)
        return (yield)


def own_tests(module: str) -> list[str]:
    """The test files that say what a module must do."""
    return [*tests_of(module), *CONTRACTS.get(module, [])]


def percent(measured: coverage.Coverage, module: str | None, contexts: list[str] | None) -> float:
    """How much of a module, or of all, is run in these contexts, or in any."""
    return measured.report(
        file=io.StringIO(),
        include=None if module is None else [str(ROOT / "yummy_fast" / module)],
        contexts=contexts,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", metavar="MODULE", help="show the lines of one that its own tests do not run")
    parser.add_argument("tests", nargs="*", help="for pytest; default: all but tests/system")
    arguments = parser.parse_args()
    measured = coverage.Coverage(data_file=None, config_file=str(ROOT / "pyproject.toml"))
    measured.start()
    code = pytest.main(
        ["-q", "-p", "no:cacheprovider", *(arguments.tests or ["tests", "--ignore=tests/system"])],
        plugins=[Contexts(measured)],
    )
    measured.stop()
    if code:
        return int(code)
    if arguments.missing:
        own = [f"^{re.escape(test)}$" for test in own_tests(arguments.missing)]
        path = str(Path(ROOT / "yummy_fast" / arguments.missing))
        measured.report(include=[path], contexts=[*own, "^$"], show_missing=True)
        return 0
    return _compare(measured, all_tests=not arguments.tests)


def _compare(measured: coverage.Coverage, *, all_tests: bool) -> int:
    """Print how much is run of each module, and what of it is below its floor."""
    wrong: list[str] = []
    print(f"{'module':36} {'own tests':>9} {'all':>7} {'floor':>7}")
    for module in modules():
        own = own_tests(module)
        if not own:
            if module not in WITHOUT:
                wrong.append(f"{module}: there is no test file of its name, and no reason in {Path(__file__).name}")
            print(f"{module:36} {'none':>9} {percent(measured, module, None):6.1f} %")
            continue
        if module in WITHOUT:
            wrong.append(f"{module}: it has tests of its own now: strike it from WITHOUT")
        found = percent(measured, module, [*(f"^{re.escape(test)}$" for test in own), "^$"])
        floor = BELOW.get(module, OWN_FLOOR)
        print(f"{module:36} {found:7.1f} % {percent(measured, module, None):5.1f} % {floor:5.1f} %", flush=True)
        if found < floor:
            wrong.append(f"{module}: its own tests run {found:.1f} % of it; the floor is {floor:g} %")
        if module in BELOW and found >= OWN_FLOOR:
            wrong.append(f"{module}: its own tests run {found:.1f} % of it: strike it from BELOW")
    gone = sorted({*BELOW, *WITHOUT} - set(modules()))
    wrong += [f"{module}: there is no such module: strike it from {Path(__file__).name}" for module in gone]
    whole, floor = percent(measured, None, None), float(str(measured.get_option("report:fail_under") or 0))
    print(f"{'all':36} {'':9} {whole:5.1f} % {floor:5.1f} %")
    if whole < floor:
        wrong.append(f"all together: {whole:.1f} %; the floor is {floor:g} %")
    if all_tests:
        print("\n".join(wrong) if wrong else "no module is below its floor")
    return int(bool(wrong) and all_tests)


if __name__ == "__main__":
    sys.exit(main())
