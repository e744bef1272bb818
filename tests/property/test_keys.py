"""Entity keys are the bytes that the second opinion makes, for any join keys and values."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.property import second_opinion
from tests.property.strategies import int32s, int64s, texts
from yummy_fast.feast_format.keys import KeyPart, compile_key
from yummy_fast.feast_format.values import ValueType

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "INT32": int32s,
    "INT64": int64s,
    "UNIX_TIMESTAMP": int64s,
    "STRING": texts,
    "BYTES": st.binary(max_size=8),
}

key_types = st.dictionaries(texts, st.sampled_from(list(VALUES)), min_size=1, max_size=3)
"""Join key -> the name of its type."""


def key_of(parts: dict[str, tuple[str, Any]]) -> bytes:
    """The key of one row in version 3: join key -> (type, value)."""
    key_parts = [KeyPart(name, name, ValueType[kind]) for name, (kind, _) in parts.items()]
    (key,) = compile_key(key_parts, 3)({name: [value] for name, (_, value) in parts.items()}, 1)
    return key


@given(version=st.sampled_from([2, 3]), types=key_types, rows=st.integers(1, 3), data=st.data())
def test_an_entity_key(version: int, types: dict[str, str], rows: int, data: st.DataObject) -> None:
    columns = {name: data.draw(st.lists(VALUES[kind], min_size=rows, max_size=rows)) for name, kind in types.items()}
    parts = [KeyPart(name, f"from {name}", ValueType[kind]) for name, kind in types.items()]
    made = compile_key(parts, version)({f"from {name}": values for name, values in columns.items()}, rows)
    assert made == [
        second_opinion.entity_key(version, {name: (kind, columns[name][row]) for name, kind in types.items()})
        for row in range(rows)
    ]


entities = st.dictionaries(
    texts, st.one_of(*(st.tuples(st.just(kind), values) for kind, values in VALUES.items())), min_size=1, max_size=3
)


@given(entities, entities)
@example({"a": ("INT32", 7)}, {"a": ("INT64", 7)})
@example({"a": ("STRING", "b")}, {"ab": ("STRING", "")})
def test_two_entities_have_two_keys(one: dict[str, tuple[str, Any]], other: dict[str, tuple[str, Any]]) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)
