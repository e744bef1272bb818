"""Every recorded answer of the real Feast 0.67.0, asked again of a real server process.

The cases, the data and the rules of what counts as the same answer (`replay.difference`) are the corpus's, copied as
they are: see README.md beside this file. To replay them against another store, enter it in STORES.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CORPUS_DBS
from tests.harness import CORPUS, Client, Server, Valkey, repository

STORES = ("redis", "redis_v2", "sqlite")

replay: Any = importlib.import_module("tests.conformance.replay")  # the corpus's own script: not typed, not linted


@cache
def _cases(store: str) -> dict[str, dict[str, Any]]:
    with open(CORPUS / "cases.jsonl", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    return {case["id"]: case for case in cases if case["store"] == store}


def cases_of(store: str) -> list[dict[str, Any]]:
    """All cases that were recorded with a store."""
    return list(_cases(store).values())


def check_case(client: Client, case: dict[str, Any]) -> str | None:
    """Ask a case again. What is different from the recorded answer, or None."""
    asked = case["request"]
    head = [f"{asked['method']} {asked['path']} HTTP/1.1", "host: localhost"]
    head += [f"{header}: {value}" for header, value in asked["headers"].items()]
    body = (asked["body"] or "").encode()
    if asked["body"] is not None:
        head.append(f"content-length: {len(body)}")
    client.send("\r\n".join([*head, "", ""]).encode() + body)
    answer = client.answer(asked["method"])
    found: str | None = replay.difference(
        case, answer.status, answer.headers.get("content-type", ""), answer.body.decode()
    )
    return found


@pytest.fixture(scope="module")
def server_of(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """What gives the server of a store, started when it is asked for."""
    with ExitStack() as stack:

        @cache
        def start(store: str) -> Server:
            connection_string = f"127.0.0.1:{valkey.port},db={CORPUS_DBS.get(store, 0)}"
            folder = repository(tmp_path_factory.mktemp(store), store, connection_string)
            return stack.enter_context(Server(folder))

        yield start


@pytest.mark.parametrize("case_id", [case_id for store in STORES for case_id in _cases(store)])
def test_same_answer_as_feast(server_of: Callable[[str], Server], case_id: str) -> None:
    store = case_id.partition("/")[0]
    with server_of(store).client() as client:
        assert check_case(client, _cases(store)[case_id]) is None


@pytest.mark.parametrize("store", STORES)
def test_corpus_is_whole(store: str) -> None:
    """A guard against a corpus that was cut, or cases that are not run."""
    assert len(_cases(store)) >= 230
    assert (Path(CORPUS) / store / "registry.db").exists()
