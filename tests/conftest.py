"""Fixtures that the tests share: a Valkey with the corpus's data, and servers that read it. See `harness`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, Valkey, repository

CORPUS_DBS = {"redis": 0, "redis_v2": 1}
"""The database of the shared Valkey that each corpus of a Redis is in."""


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
