"""Bodies out parse to what a plain encoder makes of the same rows."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tests.property import second_opinion
from tests.property.strategies import int64s, stored, texts, value_types, well_stored
from tests.registries import answer, catalog, entity, view
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.statuses import StatusPolicy

stamps = st.one_of(
    st.sampled_from([None, b""]),
    st.builds(Timestamp, seconds=st.integers(0, 4_102_444_800), nanos=st.integers(0, 999_999_999)).map(
        Timestamp.SerializeToString
    ),
)


@given(data=st.data())
def test_an_answer_is_what_a_plain_encoder_makes_of_the_same_rows(data: st.DataObject) -> None:
    """Views over one entity, the other or both; any types; repeated entities; features in any order; gaps."""
    columns = {"a_id": ValueType.INT64, "b_id": ValueType.STRING}
    views: dict[str, tuple[list[str], dict[str, ValueType]]] = {}
    for name in ["one", "two", "three"][: data.draw(st.integers(1, 3))]:
        join_keys = data.draw(st.sampled_from([["a_id"], ["b_id"], ["a_id", "b_id"]]))
        types = data.draw(st.lists(value_types, min_size=1, max_size=4))
        views[name] = (join_keys, {f"f{place}": value_type for place, value_type in enumerate(types)})
    compiled = catalog(
        *(entity("a", "a_id"), entity("b", "b_id", ValueType.STRING)),
        *(
            view(name, [key[0] for key in join_keys], {key: columns[key] for key in join_keys}, features)
            for name, (join_keys, features) in views.items()
        ),
    )
    asked = data.draw(st.permutations([(name, feature) for name, (_, types) in views.items() for feature in types]))

    rows = data.draw(st.integers(1, 4))
    keys: dict[str, list[Any]] = {
        "a_id": data.draw(st.lists(st.one_of(st.just(1), int64s), min_size=rows, max_size=rows)),
        "b_id": data.draw(st.lists(st.one_of(st.just("x"), texts), min_size=rows, max_size=rows)),
    }
    store: dict[tuple[bytes, str, str], bytes | None] = {}
    expected = []
    for name, feature in asked:
        join_keys, declared = views[name]
        entity_keys = [
            second_opinion.entity_key(3, {key: (columns[key].name, keys[key][row]) for key in join_keys})
            for row in range(rows)
        ]
        for entity_key in entity_keys:
            if (entity_key, name, "") not in store:
                store[entity_key, name, ""] = data.draw(stamps)
            if (entity_key, name, feature) not in store:
                store[entity_key, name, feature] = data.draw(stored(declared[feature]))
        expected.append(
            (
                f"{name}__{feature}",
                [store[entity_key, name, feature] for entity_key in entity_keys],
                [store[entity_key, name, ""] for entity_key in entity_keys],
            )
        )

    plan = compiled.plan_for(None, [f"{name}:{feature}" for name, feature in asked], True)
    found = json.loads(answer(plan, keys, store))
    assert second_opinion.same(found, second_opinion.response(list(keys.items()), expected))


cut = st.one_of(*(well_stored(value_type) for value_type in ValueType)).flatmap(
    lambda whole: st.integers(0, len(whole)).map(lambda length: whole[:length])
)
damaged = st.one_of(cut, st.binary(max_size=6))


def valid_value_of(stored: bytes | None) -> tuple[Any, str]:
    """Value and status of a cell, taken for itself."""
    try:
        value = second_opinion.value_of_stored(stored, exact=True)
    except (DecodeError, ValueError, OverflowError):
        return None, "INVALID"
    if second_opinion.is_of_unknown_type(stored):
        return None, "INVALID"
    return value, "NOT_FOUND" if stored is None else "NULL_VALUE" if value is None else "PRESENT"


@given(data=st.data())
def test_damage_is_marked_where_it_is_and_nowhere_else(data: st.DataObject) -> None:
    """--compat strict: Values that are cut off, or none, among good ones. Joined, they must not spoil the others."""
    types = data.draw(st.lists(value_types, min_size=1, max_size=4))
    compiled = catalog(
        entity("a", "a_id"),
        view("one", ["a"], {"a_id": ValueType.INT64}, {f"f{place}": one for place, one in enumerate(types)}),
        statuses=StatusPolicy.EXACT,
    )
    rows = data.draw(st.integers(1, 4))
    store: dict[tuple[bytes, str, str], bytes | None] = {}
    expected = []
    for place, value_type in enumerate(types):
        cells = []
        for row in range(rows):
            well = stored(value_type)
            found = data.draw(st.one_of(well, well, damaged))
            store[second_opinion.entity_key(3, {"a_id": ("INT64", row)}), "one", f"f{place}"] = found
            cells.append(valid_value_of(found))
        expected.append(cells)
    plan = compiled.plan_for(None, [f"one:f{place}" for place in range(len(types))], False)
    found_columns = json.loads(answer(plan, {"a_id": list(range(rows))}, store))["results"][1:]
    found_cells = [list(zip(column["values"], column["statuses"], strict=True)) for column in found_columns]
    assert second_opinion.same(found_cells, expected)
