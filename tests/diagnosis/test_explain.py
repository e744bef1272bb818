"""`explain` against what Feast has written: nineteen repositories, eighteen of them broken, each in another way.

The causes are those that feast_breaks.py made (`recorded.CAUSES`).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.diagnosis.recorded import CAUSES, RECORDED, SQLITE_CAUSES, load, load_sqlite
from tests.harness import TESTS, Valkey, command_line
from yummy_fast.diagnosis import causes, ideas
from yummy_fast.diagnosis.explain import explain
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.server.app import open_store

NOW = datetime(2026, 3, 20, tzinfo=UTC)
"""Nineteen days after everything happened."""
STAMP = encode_timestamp(int(NOW.timestamp()))

SAID = {
    "added_feature": r"The row of stats has no tips: .* materialize stats again\.$",
    "collision": r"^stats:f5728 and stats:f9010 share one field .* rename one of the two",
    "entityless_push": r"^The row was pushed: .* __dummy_id; materialize weather",
    "expired": r"^The row is 19 days old, and the ttl of stats is 24 h",
    "fewer_join_keys": r"under other join keys \(only driver_id\), and stats is read by city_id, driver_id",
    "int32_key": r"written with driver_id as INT32, and the registry declares driver_id as INT64",
    "key_version": r"version 2, and this repository reads version 3: set entity_key_serialization_version: 2",
    "more_join_keys": r"under other join keys \(city_id, driver_id\), and stats is read by driver_id",
    "never_materialized": r"^Feature view profile was never materialized, so all of it is null; run `feast",
    "other_db": r"^The row is in database 3 of this Redis, and this repository reads database 0: write db=3",
    "other_project": r"^The row was written by project staging, and this repository is project rides",
    "redis_expiry": r"Redis removes these keys by itself \(key_ttl_seconds: 3600\).* raise key_ttl_seconds",
    "renamed_join_key": r"under other join keys \(as driver\), and stats is read by driver_id",
    "renamed_view": r"^The values were written by a view stats, which the registry does not have.*driver_stats",
    "sound": r"^The row is there and every feature has a value",
    "stored_null": r"^A null is stored for trips: the source had no value in the row of 2026-03-01 10:00:00 UTC",
    "text_key": r"written with driver_id as STRING, and the registry declares driver_id as INT64",
    "unknown_entity": r"^Other entities have a row of stats \(2 of 2 keys\), and this one has none",
    "wrong_redis": r"^Database 0 of 127\.0\.0\.1:\d+ has no keys: this is another Redis",
}
"""What the sentence has to say: the names that were chosen by feast_breaks.py, and what to do."""


def test_the_document_has_every_cause() -> None:
    code = Path(causes.__file__).read_text() + Path(ideas.__file__).read_text()
    named = set(re.findall(r'(?:Cause|_made)\([^"]*?"(\w+)"', code)) | set(CAUSES.values())
    text = (TESTS.parent / "docs" / "troubleshooting.md").read_text()
    assert len(named) > 15
    assert [name for name in named if f"`{name}`" not in text] == []


def test_every_recorded_repository_has_an_expectation() -> None:
    assert {path.name for path in RECORDED.iterdir()} == set(CAUSES) == set(SAID)


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_the_cause_is_named(name: str, tmp_path: Path, blank_valkey: Valkey) -> None:
    recorded = load(name, tmp_path, blank_valkey)
    looks = open_store(recorded.config).looks()
    try:
        explanation = explain(recorded.question(), looks, NOW)
    finally:
        looks.close()
    assert explanation.cause.name == CAUSES[name]
    assert re.search(SAID[name], explanation.cause.sentence), explanation.cause.sentence


@pytest.mark.parametrize("name", sorted(SQLITE_CAUSES))
def test_the_cause_is_named_of_a_file(name: str, tmp_path: Path) -> None:
    recorded = load_sqlite(name, tmp_path)
    code, out, err = command_line("--chdir", tmp_path, "explain", *recorded.arguments, "--json")
    found = json.loads(out)
    cause = SQLITE_CAUSES[name]
    assert (code, err, found["cause"]) == (int(cause != "present"), "", cause)
    said = SAID["sound" if cause == "present" else name].replace("is 19 days old", r"is \d+ days old")  # by now
    if cause == "wrong_file":
        said = r"^\S+/online\.db has no rows: this is another file than .* compare online_store\.path"
    assert re.search(said, found["sentence"]), found["sentence"]
    assert "Redis" not in found["sentence"]


def test_the_text_of_a_file(tmp_path: Path) -> None:
    recorded = load_sqlite("collision", tmp_path)
    out = command_line("--chdir", tmp_path, "explain", *recorded.arguments, "--values").out
    assert f"store      {tmp_path}/online.db\n" in out
    assert "found      rows of one view\n" in out
    assert re.search(r"^f5728 +stats:f5728 +int64 +int64 +present +11$", out, re.MULTILINE)  # and not the text of f9010


@pytest.mark.parametrize("name", ["text_key", "collision", "sound"])
def test_the_command_ends_with_the_sentence(name: str, tmp_path: Path, blank_valkey: Valkey) -> None:
    recorded = load(name, tmp_path, blank_valkey)
    code, out, err = command_line("--chdir", tmp_path, "explain", *recorded.arguments)
    assert (code, err) == (int(CAUSES[name] != "present"), "")
    assert re.search(SAID[name], out.splitlines()[-1])
    assert '01000000 02000000 09000000 "driver_id" 04000000 08000000 e903000000000000 "rides"' in out


def test_values_are_shown_to_who_asks_for_them(tmp_path: Path, blank_valkey: Valkey) -> None:
    recorded = load("collision", tmp_path, blank_valkey)
    command = ["--chdir", str(tmp_path), "explain", *recorded.arguments]
    assert "eleven" not in command_line(*command).out
    assert "eleven" not in command_line(*command, "--json").out
    assert "eleven" in command_line(*command, "--values").out
    found = json.loads(command_line(*command, "--values", "--json").out)
    assert found["features"] == [
        {
            "name": "f5728",
            "field": "462836e0",
            "state": "present",
            "declared": "int64",
            "stored": "string",
            "value": "eleven",
        }
    ]
    assert found["cause"] == "collision"


def test_a_store_among_whose_keys_the_views_are_rare(tmp_path: Path, blank_valkey: Valkey) -> None:
    """5,000 keys of another program, and two of Feast's: a sample may show neither, and proves nothing then."""
    recorded = load("unknown_entity", tmp_path, blank_valkey)
    blank_valkey.pipeline([("SET", f"session:{number}", "x") for number in range(5_000)])
    looks = open_store(recorded.config).looks()
    try:
        explanation = explain(recorded.question(), looks, NOW)
    finally:
        looks.close()
    assert explanation.cause.name == "unknown_entity"
    neighbours = explanation.evidence.neighbours
    assert neighbours is not None
    assert (neighbours.with_view in (1, 2), neighbours.complete) == (True, False)


def test_another_programs_key(tmp_path: Path, blank_valkey: Valkey) -> None:
    recorded = load("wrong_redis", tmp_path, blank_valkey)
    blank_valkey.do("SET", recorded.question().key, "x")
    looks = open_store(recorded.config).looks()
    try:
        explanation = explain(recorded.question(), looks, NOW)
    finally:
        looks.close()
    assert explanation.cause.name == "not_a_hash"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stat:trips", "driver_id=1001"], "no feature view stat; did you mean stats?"),
        (["stats:trip", "driver_id=1001"], "view stats has no feature trip; did you mean trips?"),
        (["stats"], "the join key driver_id is missing; add driver_id=VALUE"),
        (["stats", "driver_id=x"], 'entities.driver_id[0]: expected an integer, got "x"'),
        (["stats", "driver_id=1", "city=2"], "view stats has no join key city; it has driver_id"),
        (["stats", "1001"], "expected JOIN_KEY=VALUE"),
    ],
)
def test_a_question_that_cannot_be_asked(
    arguments: list[str], words: str, tmp_path: Path, blank_valkey: Valkey
) -> None:
    load("sound", tmp_path, blank_valkey)
    code, out, err = command_line("--chdir", tmp_path, "explain", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_a_store_that_does_not_answer(tmp_path: Path, blank_valkey: Valkey) -> None:
    recorded = load("sound", tmp_path, blank_valkey)
    path = tmp_path / "feature_store.yaml"
    path.write_text(path.read_text().replace(str(blank_valkey.port), "1"))
    code, out, err = command_line("--chdir", tmp_path, "explain", *recorded.arguments)
    assert (code, out) == (2, "")
    assert "online_store: cannot be reached: 127.0.0.1:1: " in err


def test_a_name_in_the_store_is_no_command_for_a_terminal(tmp_path: Path, blank_valkey: Valkey) -> None:
    """The name of a view in a hash is bytes that anybody may have written."""
    recorded = load("renamed_view", tmp_path, blank_valkey)
    key = recorded.question().key
    name = "\x1b]0;title\x07stats"
    blank_valkey.do("DEL", key)
    blank_valkey.do("HSET", key, timestamp_field(name), STAMP, feature_field(name, "trips"), b"\x20\x0b")
    for command in (["explain", *recorded.arguments], ["doctor"]):
        out = command_line("--chdir", tmp_path, *command).out
        assert r"a view \x1b]0;title\x07stats" in out
        assert "\x1b" not in out
