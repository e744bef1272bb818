"""`doctor` against what Feast has written: what can be seen without a key."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import ANY

import pytest

from tests.diagnosis.recorded import CAUSES, SQLITE_CAUSES, Recorded, load, load_sqlite
from tests.harness import Valkey, command_line
from yummy_fast.diagnosis.doctor import Examination, examine
from yummy_fast.server.app import open_store

NEEDS_A_KEY = {"sound", "stored_null", "unknown_entity", "redis_expiry"}
"""Where the other rows are all right."""
SAMPLE_SHOWS = {**CAUSES, "collision": "value_type"}
"""Of a field of two features, its value has the type of one of them. That there are two is in the registry."""


def examined(recorded: Recorded, *, max_keys: int = 10_000, time_s: float = 10) -> Examination:
    """Without a process of its own."""
    looks = open_store(recorded.config).looks()
    try:
        return examine(
            recorded.registry(),
            recorded.config.repository,
            looks,
            max_keys=max_keys,
            time_s=time_s,
            strict=False,
            now=datetime.now(UTC),
        )
    finally:
        looks.close()


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_what_is_seen_without_a_key(name: str, tmp_path: Path, blank_valkey: Valkey) -> None:
    examination = examined(load(name, tmp_path, blank_valkey))
    problems = [finding.name for finding in examination.findings if finding.is_problem]
    assert problems[:1] == ([] if name in NEEDS_A_KEY else [SAMPLE_SHOWS[name]])
    assert examination.census.complete


@pytest.mark.parametrize("name", ["sound", "expired", "collision"])
def test_the_command(name: str, tmp_path: Path, blank_valkey: Valkey) -> None:
    """What the registry shows by itself is in it as well."""
    load(name, tmp_path, blank_valkey)
    code, out, _ = command_line("--chdir", tmp_path, "doctor", "--json")
    found = json.loads(out)
    problems = [finding["name"] for finding in found["findings"] if finding["problem"]]
    if name in NEEDS_A_KEY:
        assert (code, problems) == (0, [])
    else:
        assert code == 1
        assert problems[0] == CAUSES[name]
    assert found["project"] == "rides"
    assert found["sample"]["complete"] is True


@pytest.mark.parametrize("name", sorted(SQLITE_CAUSES))
def test_what_is_seen_of_a_file_without_a_key(name: str, tmp_path: Path) -> None:
    load_sqlite(name, tmp_path)
    code, out, _ = command_line("--chdir", tmp_path, "doctor", "--json")
    found = json.loads(out)
    problems = [finding["name"] for finding in found["findings"] if finding["problem"]]
    if name in NEEDS_A_KEY or SQLITE_CAUSES[name] == "present":
        assert (code, problems) == (0, [])
    else:
        assert (code, problems[0]) == (1, SQLITE_CAUSES[name])
    assert found["sample"]["complete"] is True


def test_the_text(tmp_path: Path, blank_valkey: Valkey) -> None:
    load("expired", tmp_path, blank_valkey)
    code, out, err = command_line("--chdir", tmp_path, "doctor")
    assert (code, err) == (1, "")
    assert "online store   redis, answers: Valkey" in out
    assert "PROBLEM  2 of 2 rows of stats are older than its ttl of 24 h" in out


def test_a_bound_on_keys(tmp_path: Path, blank_valkey: Valkey) -> None:
    recorded = load("sound", tmp_path, blank_valkey)
    # Without a row of the view: whether it is among the 300 would be chance.
    blank_valkey.pipeline([("FLUSHALL",), *(("SET", f"session:{number}", "x") for number in range(5_000))])
    _, out, _ = command_line("--chdir", tmp_path, "doctor", "--json", "--keys", "300")
    sample = json.loads(out)["sample"]
    assert (sample["keys"], sample["complete"]) == (300, False)
    assert examined(recorded, max_keys=300).as_json() == {**sample, "took_s": ANY}


def test_a_bound_on_time(tmp_path: Path, blank_valkey: Valkey) -> None:
    """All keys were seen, and not all hashes: of what was not read, nothing is said to be missing."""
    recorded = load("sound", tmp_path, blank_valkey)
    found = examined(recorded, time_s=0)
    assert found.census.keys > found.census.hashes == 1
    assert not found.census.complete


def test_big_values_and_fields_of_nobody(tmp_path: Path, blank_valkey: Valkey) -> None:
    """Advice is no problem: the exit code stays 0."""
    recorded = load("sound", tmp_path, blank_valkey)
    key = recorded.question().key
    text = "x" * 20_000
    blank_valkey.do("HSET", key, "a field of nobody", text)
    code, out, _ = command_line("--chdir", tmp_path, "doctor", "--json")
    assert code == 0
    advice = [finding["name"] for finding in json.loads(out)["findings"]]
    assert advice == ["unknown_fields"]


def test_a_store_that_does_not_answer(tmp_path: Path, blank_valkey: Valkey) -> None:
    load("sound", tmp_path, blank_valkey)
    path = tmp_path / "feature_store.yaml"
    path.write_text(path.read_text().replace(str(blank_valkey.port), "1"))
    code, out, err = command_line("--chdir", tmp_path, "doctor")
    assert (code, out) == (2, "")
    assert "online_store: cannot be reached" in err
