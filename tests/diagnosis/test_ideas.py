"""Which other keys are looked at. The keys of other writers are Feast's own bytes: tests/diagnosis/test_question.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.registries import PROJECT, entity, parsed, view
from yummy_fast.diagnosis.ideas import MAX_IDEAS, ideas, value_bytes
from yummy_fast.diagnosis.question import KeyPart, Question, ask, entity_key
from yummy_fast.feast_format.values import ValueType

INT32, INT64, STRING, TIME = ValueType.INT32, ValueType.INT64, ValueType.STRING, ValueType.UNIX_TIMESTAMP


def question(types: dict[str, ValueType], values: dict[str, Any], *, version: int = 3) -> Question:
    """About a view with these join keys. The entity of `driver_id` is `driver_id_entity`."""
    entities = [entity(f"{name}_entity", name, kind) for name, kind in types.items()]
    asked = view("v", [one.spec.name for one in entities], types, {"f": INT64})
    return ask(parsed(*entities, asked), "v:f", values, key_version=version, versioning=False)


def words(asked: Question, cause: str) -> list[str]:
    return [idea.words for idea in ideas(asked) if idea.cause == cause]


def key_of(*parts: tuple[str, ValueType, Any], version: int = 3) -> bytes:
    return entity_key([KeyPart(*part) for part in parts], version) + PROJECT.encode()


def test_other_projects_and_other_versions_come_first() -> None:
    asked = question({"a": INT64}, {"a": 1})
    asked = replace(asked, registry=replace(asked.registry, other_projects=("staging",)))
    first, second, third = ideas(asked)[:3]
    assert first == (key_of(("a", INT64, 1)).removesuffix(PROJECT.encode()) + b"staging", "other_project", "staging")
    assert second == (key_of(("a", INT64, 1), version=2), "key_version", "2")
    assert third == (key_of(("a", INT64, 1), version=1), "key_version", "1")


@pytest.mark.parametrize(("version", "others"), [(3, ["2", "1"]), (2, ["3", "1"]), (1, ["3", "2"])])
def test_every_other_version_of_the_same_key(version: int, others: list[str]) -> None:
    asked = question({"a": INT64}, {"a": 1}, version=version)
    alone = [name for name in words(asked, "key_version") if "," not in name]
    assert alone == others


def test_a_number_that_version_1_has_no_room_for() -> None:
    """Feast packs an INT64 into 4 bytes there, and raises struct.error."""
    asked = question({"a": INT64}, {"a": 1 << 40})
    assert words(asked, "key_version")[0] == "2"
    assert "1" not in words(asked, "key_version")


@pytest.mark.parametrize(
    ("declared", "value", "others"),
    [
        (INT64, 7, {"STRING": "7", "INT32": 7, "UNIX_TIMESTAMP": 7}),
        (INT64, -7, {"STRING": "-7", "INT32": -7, "UNIX_TIMESTAMP": -7}),
        (INT64, (1 << 31) - 1, {"STRING": "2147483647", "INT32": (1 << 31) - 1, "UNIX_TIMESTAMP": (1 << 31) - 1}),
        (INT64, 1 << 31, {"STRING": "2147483648", "UNIX_TIMESTAMP": 1 << 31}),
        (INT64, -(1 << 31), {"STRING": "-2147483648", "INT32": -(1 << 31), "UNIX_TIMESTAMP": -(1 << 31)}),
        (INT64, -(1 << 31) - 1, {"STRING": "-2147483649", "UNIX_TIMESTAMP": -(1 << 31) - 1}),
        (INT32, 7, {"STRING": "7", "INT64": 7, "UNIX_TIMESTAMP": 7}),
        (STRING, "7", {"INT64": 7, "INT32": 7, "UNIX_TIMESTAMP": 7, "BYTES": b"7"}),
        (STRING, "a", {"BYTES": b"a"}),
        (STRING, "9" * 30, {"BYTES": b"9" * 30}),
    ],
)
def test_a_value_of_another_type(declared: ValueType, value: Any, others: dict[str, Any]) -> None:
    """A number that a text may have been, a text that a number may have been, as far as each type reaches."""
    found = {idea.words: idea.key for idea in ideas(question({"a": declared}, {"a": value})) if "_type" in idea.cause}
    expected = {f"a as {name}": key_of(("a", ValueType[name], other)) for name, other in others.items()}
    # Some types have the same bytes, and each key is an idea once.
    assert set(found.values()) == set(expected.values()) - {key_of(("a", declared, value))}
    assert all(expected[name] == key for name, key in found.items())


def test_fewer_join_keys_and_other_orders() -> None:
    asked = question({"a": INT64, "b": STRING, "c": INT64}, {"a": 1, "b": "x", "c": 2})
    a, b, c = ("a", INT64, 1), ("b", STRING, "x"), ("c", INT64, 2)
    found = {idea.words: idea.key for idea in ideas(asked) if idea.cause == "join_keys"}
    for fewer, names in (((a, b), "a, b"), ((a, c), "a, c"), ((b, c), "b, c"), ((a,), "a"), ((b,), "b"), ((c,), "c")):
        assert found[f"only {names}"] == key_of(*fewer)
    assert found["the order c, a, b"] == key_of(c, a, b)
    assert "the order a, b, c" not in found  # which is the key itself
    assert sum(name.startswith("the order") for name in found) == 5


def test_the_orders_of_many_join_keys_are_not_tried() -> None:
    """Five have 120 orders."""
    four = dict.fromkeys("abcd", STRING)
    asked = question(four, dict.fromkeys(four, "x"))
    assert sum(name.startswith("the order") for name in words(asked, "join_keys")) == 23
    five = dict.fromkeys("abcde", STRING)
    asked = question(five, dict.fromkeys(five, "x"))
    assert not any(name.startswith("the order") for name in words(asked, "join_keys"))


def test_the_name_of_the_entity_instead_of_the_join_key() -> None:
    """Sorted anew, as a writer would: z comes after a_entity, and before z_entity."""
    asked = question({"a": INT64, "z": STRING}, {"a": 1, "z": "x"})
    found = {idea.words: idea.key for idea in ideas(asked) if idea.cause == "join_keys"}
    assert found["as a_entity, z_entity"] == key_of(("a_entity", INT64, 1), ("z_entity", STRING, "x"))


def test_an_entity_that_the_view_does_not_have_gives_no_name() -> None:
    other = entity("other", "a")
    asked = view("v", ["a_entity"], {"a": INT64}, {"f": INT64})
    registry = parsed(other, entity("a_entity", "a"), asked)
    found = words(ask(registry, "v:f", {"a": 1}, key_version=3, versioning=False), "join_keys")
    assert found == ["as a_entity"]


def test_another_type_and_another_version_at_once() -> None:
    asked = question({"a": INT64}, {"a": 1})
    found = {idea.words: idea.key for idea in ideas(asked) if idea.cause == "key_version"}
    assert found["2, a as STRING"] == key_of(("a", STRING, "1"), version=2)


def test_two_join_keys_of_other_types_at_once() -> None:
    asked = question({"a": INT64, "b": INT64}, {"a": 1, "b": 2})
    found = {idea.words: idea.key for idea in ideas(asked) if idea.cause == "join_key_type"}
    assert found["a as STRING, b as INT32"] == key_of(("a", STRING, "1"), ("b", INT32, 2))
    assert found["b as STRING"] == key_of(("a", INT64, 1), ("b", STRING, "2"))


@pytest.mark.parametrize("version", [2, 3])
def test_a_view_without_entities(version: int) -> None:
    """Feast's push writes it under a key of no join keys: 00000000, or nothing at all before version 3."""
    dummy = entity("__dummy", "__dummy_id", STRING)
    asked = view("v", ["__dummy"], {}, {"f": INT64})
    found = ideas(ask(parsed(dummy, asked), "v:f", {}, key_version=version, versioning=False))
    pushed = [idea.key for idea in found if idea.cause == "entityless_push"]
    assert sorted(pushed) == sorted([bytes(4) + PROJECT.encode(), PROJECT.encode()])
    assert {idea.cause for idea in found} == {"entityless_push", "key_version"}


def test_a_bound_on_ideas() -> None:
    """Eight join keys with four types each would be 65,536 keys."""
    names = dict.fromkeys("abcdefgh", INT64)
    assert len(ideas(question(names, dict.fromkeys(names, 1)))) == MAX_IDEAS


def test_the_bytes_of_values() -> None:
    """Type, length, value: of each alone, whatever the join keys are called."""
    parts = [KeyPart("driver_id", INT64, 258), KeyPart("x", STRING, "ab")]
    assert value_bytes(parts, 3) == [
        bytes.fromhex("04000000 08000000 0201000000000000"),
        bytes.fromhex("02000000 02000000 6162"),
    ]
    assert value_bytes(parts[1:], 2) == [bytes.fromhex("02000000 02000000 6162")]
