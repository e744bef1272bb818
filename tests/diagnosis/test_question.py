"""The key that is looked up: the bytes that Feast has stored, for the questions that feast_breaks.py asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.diagnosis.recorded import RECORDED
from yummy_fast.diagnosis.ideas import ideas
from yummy_fast.diagnosis.question import Question, ask, parse_pairs
from yummy_fast.diagnosis.stored_keys import read_key
from yummy_fast.errors import RequestError
from yummy_fast.feast_format.registry import parse_registry


def stored_keys(folder: Path) -> list[bytes]:
    return [bytes.fromhex(json.loads(line)["key"]) for line in (folder / "store.jsonl").read_text().splitlines()]


def question(name: str) -> Question:
    folder = RECORDED / name
    asked = json.loads((folder / "question.json").read_text())
    registry = parse_registry((folder / "registry.db").read_bytes(), "rides", "registry.db")
    return ask(registry, asked["about"], asked["entities"], key_version=3, versioning=False)


@pytest.mark.parametrize("name", ["sound", "stored_null", "expired", "added_feature", "collision"])
def test_the_key_is_feasts(name: str) -> None:
    assert question(name).key in stored_keys(RECORDED / name)


@pytest.mark.parametrize(
    "name", ["int32_key", "text_key", "key_version", "fewer_join_keys", "renamed_join_key", "entityless_push"]
)
def test_the_key_of_another_writer_is_among_the_ideas(name: str) -> None:
    asked = question(name)
    assert asked.key not in stored_keys(RECORDED / name)
    assert set(stored_keys(RECORDED / name)) & {idea.key for idea in ideas(asked)}


def test_each_idea_is_another_key() -> None:
    asked = question("fewer_join_keys")
    keys = [idea.key for idea in ideas(asked)]
    assert len(keys) == len(set(keys)) > 20
    assert asked.key not in keys


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDED.iterdir()))
def test_every_key_of_feasts_is_read(name: str) -> None:
    for key in stored_keys(RECORDED / name):
        read = read_key(key, [("driver_id",)])
        assert read is not None
        assert read.project == ("staging" if name == "other_project" else "rides")
        assert max(read.versions) == (2 if name == "key_version" else 3)
        expected = {
            "entityless_push": (),
            "more_join_keys": ("city_id", "driver_id"),
            "renamed_join_key": ("driver",),
        }
        assert read.join_keys == expected.get(name, ("driver_id",))
        if read.join_keys == ("driver_id",):
            assert read.types == ({"text_key": "STRING", "int32_key": "INT32"}.get(name, "INT64"),)


@pytest.mark.parametrize("key", [b"", b"x", b"session:1", b"\xff" * 40, b"\1\0\0\0", b"\0\0\0\0", b"\2\0\0\0driver_id"])
def test_a_key_of_another_program_is_not_read(key: bytes) -> None:
    assert read_key(key, [("driver_id",)]) is None


def test_a_key_that_is_cut_anywhere_is_not_read_wrongly() -> None:
    (key, _) = stored_keys(RECORDED / "sound")
    for end in range(len(key)):
        read = read_key(key[:end], [("driver_id",)])
        assert read is None or "rides".startswith(read.project)


def test_pairs() -> None:
    assert parse_pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(RequestError):
            parse_pairs(wrong)
