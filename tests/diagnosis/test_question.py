"""The key that is looked up: the bytes that Feast has stored, for the questions that feast_breaks.py asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.diagnosis.recorded import RECORDED
from tests.registries import PROJECT, earlier, entity, parsed, projection, view
from yummy_fast.diagnosis.ideas import ideas
from yummy_fast.diagnosis.question import KeyPart, Question, ask, parse_pairs
from yummy_fast.diagnosis.stored_keys import read_key
from yummy_fast.errors import RequestError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format.registry import parse_registry
from yummy_fast.feast_format.values import ValueType

INT64 = ValueType.INT64


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


@pytest.mark.parametrize(
    ("about", "entities", "message"),
    [
        ("stat", {}, "project rides has no feature view stat; did you mean stats?"),
        ("nothing", {}, "project rides has no feature view nothing; there are: bonus, lost, stats"),
        ("stats:trip", {}, "view stats has no feature trip; did you mean trips?"),
        ("stats:x", {}, "view stats has no feature x; there are: rating, trips"),
        ("stats:trips", {}, "view stats: the join key driver_id is missing; add driver_id=VALUE"),
        ("stats:trips", {"driver_id": "x"}, 'entities.driver_id[0]: expected an integer, got "x"'),
        ("stats:trips", {"driver_id": None}, "driver_id: expected a value"),
        ("stats:trips", {"driver_id": 1, "b": 1, "a": 1}, "view stats has no join key a, b; it has driver_id"),
        ("lost:f", {"x": 1}, "view lost: project rides has no entity gone"),
        (
            "bonus",
            {},
            "bonus is an on-demand view: nothing is stored for it. It is computed from stats; ask about those",
        ),
        ("stats@v7:trips", {"driver_id": 1}, "project rides has no feature view stats@v7; did you mean stats?"),
    ],
)
def test_a_question_that_cannot_be_asked(about: str, entities: dict[str, Any], message: str) -> None:
    """It is said what there is, and what may have been meant."""
    stats = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64, "rating": INT64})
    lost = view("lost", ["gone"], {}, {"f": INT64})
    source = messages.OnDemandSource(feature_view_projection=projection(stats))
    bonus = messages.OnDemandFeatureView(
        spec=messages.OnDemandFeatureViewSpec(name="bonus", project=PROJECT, sources={"s": source})
    )
    registry = parsed(entity("driver", "driver_id"), stats, lost, bonus)
    with pytest.raises(RequestError) as caught:
        ask(registry, about, entities, key_version=3, versioning=False)
    assert str(caught.value) == message


def test_a_key_type_that_is_none() -> None:
    odd = view("odd", ["driver"], {"driver_id": ValueType.DOUBLE}, {"f": INT64})
    with pytest.raises(RequestError, match=r"^view odd: driver_id is declared DOUBLE, which no entity key can hold$"):
        ask(parsed(entity("driver", "driver_id"), odd), "odd", {"driver_id": 1}, key_version=3, versioning=False)


@pytest.mark.parametrize(("value", "kind"), [(7, INT64), ("7", ValueType.STRING)])
def test_a_join_key_without_a_type_has_that_of_its_value(value: object, kind: ValueType) -> None:
    untyped = view("v", ["driver"], {}, {"f": INT64})
    registry = parsed(entity("driver", "driver_id", ValueType.UNKNOWN), untyped)
    (part,) = ask(registry, "v", {"driver_id": value}, key_version=3, versioning=False).parts
    assert part == KeyPart("driver_id", kind, value)


def test_an_entity_may_be_given_by_its_own_name() -> None:
    """As in requests. The parts are sorted by join key, as Feast sorts them."""
    both = view("v", ["zone", "driver"], {"b_zone": INT64, "a_driver": INT64}, {"f": INT64, "g": INT64})
    registry = parsed(entity("zone", "b_zone"), entity("driver", "a_driver"), both)
    asked = ask(registry, "v", {"zone": 1, "a_driver": 2}, key_version=3, versioning=False)
    assert asked.parts == (KeyPart("a_driver", INT64, 2), KeyPart("b_zone", INT64, 1))
    assert asked.words() == "a_driver=2 (INT64), b_zone=1 (INT64)"
    assert [feature.name for feature in asked.features] == ["f", "g"]
    (one,) = ask(registry, "v:g", {"zone": 1, "driver": 2}, key_version=3, versioning=False).features
    assert one.name == "g"


def test_a_version_of_a_view() -> None:
    """Its rows are under a name of their own where versioning is enabled, as Feast writes them: v_v2."""
    now, before = (view("v", ["driver"], {"driver_id": INT64}, {"f": INT64}, version=n) for n in (2, 1))
    registry = parsed(entity("driver", "driver_id"), now, earlier(before, 1))

    def name(about: str, *, versioning: bool) -> str:
        return ask(registry, about, {"driver_id": 1}, key_version=3, versioning=versioning).store_name

    assert (name("v", versioning=False), name("v", versioning=True)) == ("v", "v_v2")
    assert (name("v@v1:f", versioning=False), name("v@v1:f", versioning=True)) == ("v", "v_v1")


def test_a_view_without_entities() -> None:
    lonely = view("v", ["__dummy"], {}, {"f": INT64})
    registry = parsed(entity("__dummy", "__dummy_id", ValueType.STRING), lonely)
    asked = ask(registry, "v", {}, key_version=3, versioning=False)
    assert asked.is_entityless
    assert asked.words() == 'the one row of a view without entities (__dummy_id="")'
    assert not question("sound").is_entityless
