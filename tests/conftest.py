"""Fixtures that the tests share: a Valkey with the corpus's data, and servers that read it. See `harness`.

It also keeps a starved machine from passing for a faulty server: a test of REAL_TIME that fails while the clock of this
process ran late is tried again, at most ATTEMPTS times in all, and the end of the output says so.

Hypothesis looks for the same examples each time, so that a failure is the change's and not the day's.
HYPOTHESIS_PROFILE=explore looks for new ones, and more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from tests.harness import ATTEMPTS, STARVED_S, TESTS, Heartbeat, Server, Valkey, note_starved, repository, starved

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

CORPUS_DBS = {"redis": 0, "redis_v2": 1}
"""The database of the shared Valkey that each corpus of a Redis is in."""

REAL_TIME = (
    "cli/",
    "contract/",
    "server/",
    "stores/test_redis",
    "stores/test_sqlite.py",
    "system/",
    "workers/",
    "test_traps.py",
)
"""Tests that give processes little time: 150 ms for a store to answer, or a second until a deadline."""


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A Valkey with the corpus in it, for everybody: read from it, write under names of your own, do not hurt it."""
    with Valkey() as server:
        for store, db in CORPUS_DBS.items():
            server.load(store, db=db)
        yield server


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey for one test, with the corpus in it, to do anything to."""
    with Valkey() as server:
        server.load("redis")
        yield server


@pytest.fixture(scope="session")
def server(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`yummy-fast serve` of the corpus, for everybody: do not stop it."""
    folder = repository(tmp_path_factory.mktemp("server"), "redis", f"127.0.0.1:{valkey.port}")
    with Server(folder) as started:
        yield started


@pytest.fixture
def corpus(tmp_path: Path, valkey: Valkey) -> Path:
    """A copy of the corpus's repository that reads the shared Valkey."""
    return repository(tmp_path / "repository", "redis", f"127.0.0.1:{valkey.port}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Try a test of REAL_TIME again if it fails on a starved machine."""
    if not item.path.as_posix().startswith(tuple(f"{TESTS.as_posix()}/{prefix}" for prefix in REAL_TIME)):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, ATTEMPTS + 1):
        with Heartbeat() as heartbeat:
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = [report for report in reports if report.failed]
        if not failed or heartbeat.late_s <= STARVED_S or attempt == ATTEMPTS:
            break
        crash = getattr(failed[0].longrepr, "reprcrash", failed[0].longrepr)
        note_starved(item.nodeid, heartbeat.late_s, str(getattr(crash, "message", crash)).strip().splitlines()[0])
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was tried again."""
    if starved:
        terminalreporter.section("a starved machine")
        for line in starved:
            terminalreporter.write_line(line)
