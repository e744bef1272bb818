"""Binding entity columns: what each is for, the keys that are made of them, what is answered.

The rules are those of feast/utils.py _prepare_entities_to_read_from_online_store and _get_unique_entities (of Feast
0.67.0).
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.registries import catalog, entity, projection, service, view
from yummy_fast.errors import RequestError
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features import binding as module
from yummy_fast.features.binding import Binder, Bound

INT32, INT64, STRING = ValueType.INT32, ValueType.INT64, ValueType.STRING

STATS = view("stats", ["driver"], {"driver_id": INT64}, {"trips": INT64})
SMALL = view("small", ["driver"], {"driver_id": INT32}, {"s": INT64})
COMBO = view("combo", ["driver", "customer"], {"driver_id": INT64, "customer_id": STRING}, {"pair": INT64})
GLOBAL = view("glob", ["__dummy"], {}, {"g": INT64})
UNTYPED = view("untyped", ["customer"], {}, {"u": INT64})
RATED = view("rated", ["rating"], {"rating_id": ValueType.DOUBLE}, {"r": INT64})
TEMP = view("locfv", ["location"], {"loc_id": INT64}, {"temp": ValueType.FLOAT})
ALIASES = service(
    "fs_alias",
    projection(TEMP, alias="origin", join_key_map={"loc_id": "origin_id"}),
    projection(TEMP, alias="dest", join_key_map={"loc_id": "dest_id"}),
)
CATALOG = catalog(
    *(entity("driver", "driver_id"), entity("customer", "customer_id", STRING), entity("location", "loc_id")),
    *(entity("rating", "rating_id"), STATS, SMALL, COMBO, GLOBAL, UNTYPED, RATED, TEMP, ALIASES),
)


def binder_of(*features: str) -> Binder:
    return CATALOG.plan_for(None, list(features), True).binder


def bind(entities: dict[str, list[Any]], *features: str) -> Bound:
    return binder_of(*features or ("stats:trips",)).bind(entities)


def refusal(entities: dict[str, list[Any]], *features: str) -> str:
    with pytest.raises(RequestError) as caught:
        bind(entities, *features)
    assert caught.value.status == 400
    return str(caught.value)


def int_key(join_key: str, value: int, *, size: int = 8) -> bytes:
    """An entity key of one integer by feast/infra/key_encoding_utils.py serialize_entity_key, version 3."""
    name = join_key.encode()
    head = b"\x01\0\0\0\x02\0\0\0" + len(name).to_bytes(4, "little") + name
    tag = b"\x04\0\0\0\x08\0\0\0" if size == 8 else b"\x03\0\0\0\x04\0\0\0"
    return head + tag + value.to_bytes(size, "little", signed=True)


def text_key(join_key: str, value: str) -> bytes:
    name, text = join_key.encode(), value.encode()
    head = b"\x01\0\0\0\x02\0\0\0" + len(name).to_bytes(4, "little") + name
    return head + b"\x02\0\0\0" + len(text).to_bytes(4, "little") + text


def echoed(bound: Bound) -> dict[str, list[Any]]:
    return dict(zip(answered_names(bound), bound.entity_columns, strict=True))


def answered_names(bound: Bound) -> list[str]:
    return [column.join_key for column in bound.binding.answered]


# --------------------------------------------------------------------------------------------------------------- keys


def test_each_row_becomes_a_key_in_order() -> None:
    bound = bind({"driver_id": [1001, -1, "7"]})
    assert (bound.rows, bound.row_to_key) == (3, [None])
    assert bound.keys == [[int_key("driver_id", value) for value in (1001, -1, 7)]]


def test_a_key_is_read_once_and_fanned_out_to_its_rows() -> None:
    bound = bind({"driver_id": [1001, 1001, 1002, "1001"]})
    assert bound.keys == [[int_key("driver_id", 1001), int_key("driver_id", 1002)]]
    assert bound.row_to_key == [[0, 0, 1, 0]]
    assert bound.spread(0, ["a", "b"]) == ["a", "a", "b", "a"]
    assert bound.spread(0, ["a", "b"], 2) == ["a", "b"]


def test_what_is_read_for_one_key_per_row_is_what_the_rows_have() -> None:
    bound = bind({"driver_id": [1001, 1002, 1003]})
    found = ["a", "b", "c"]
    assert bound.spread(0, found) is found
    assert bound.spread(0, found, 2) == ["a", "c"]


def test_each_lookup_is_spread_by_its_own_keys() -> None:
    bound = bind({"driver_id": [1, 1, 2], "customer_id": ["x", "y", "x"]}, "stats:trips", "combo:pair")
    assert bound.row_to_key == [[0, 0, 1], None]
    assert [bound.spread(0, ["a", "b"]), bound.spread(1, ["c", "d", "e"])] == [["a", "a", "b"], ["c", "d", "e"]]


def test_the_views_column_decides_the_type_in_the_key() -> None:
    assert bind({"driver_id": [5]}, "small:s").keys == [[int_key("driver_id", 5, size=4)]]


def test_of_two_views_types_for_one_key_the_later_one_holds() -> None:
    assert bind({"driver_id": [5]}, "stats:trips", "small:s").keys == [[int_key("driver_id", 5, size=4)]]
    assert bind({"driver_id": [5]}, "small:s", "stats:trips").keys == [[int_key("driver_id", 5)]]


@pytest.mark.parametrize(("value", "key"), [(5, int_key("customer_id", 5)), ("x", text_key("customer_id", "x"))])
def test_a_key_without_a_declared_type_has_the_type_of_its_values(value: object, key: bytes) -> None:
    assert bind({"customer_id": [value]}, "untyped:u").keys == [[key]]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_key_of_two_is_sorted_by_join_key_whatever_the_order_of_the_request(reverse: bool) -> None:
    entities: dict[str, list[Any]] = {"driver_id": [5], "customer_id": ["x"]}
    bound = bind(dict(reversed(entities.items())) if reverse else entities, "combo:pair")
    names = b"\x02\0\0\0\x02\0\0\0\x0b\0\0\0customer_id\x02\0\0\0\x09\0\0\0driver_id"
    values = b"\x02\0\0\0\x01\0\0\0x\x04\0\0\0\x08\0\0\0\x05\0\0\0\0\0\0\0"
    assert bound.keys == [[names + values]]


def test_a_part_of_a_key_makes_a_key_that_is_not_found() -> None:
    assert bind({"driver_id": [5]}, "combo:pair").keys == [[int_key("driver_id", 5)]]


@pytest.mark.parametrize("entities", [{"x": [1]}, {"x": [None]}, {}])
def test_a_view_without_entities_has_one_key(entities: dict[str, list[Any]]) -> None:
    bound = bind(entities, "glob:g")
    assert (bound.rows, bound.keys, echoed(bound)) == (1, [[text_key("__dummy_id", "")]], {})


def test_other_columns_tell_the_rows_of_a_view_without_entities() -> None:
    bound = bind({"x": [1, 2, 3]}, "glob:g")
    assert (bound.rows, bound.keys, bound.row_to_key) == (3, [[text_key("__dummy_id", "")]], [[0, 0, 0]])


# --------------------------------------------------------------------------------------------------- roles of columns


def test_each_join_key_of_the_project_is_echoed_in_the_order_of_the_request() -> None:
    bound = bind({"customer_id": [2.5], "foo": ["gone"], "driver_id": ["1001"]})
    assert echoed(bound) == {"customer_id": [2.5], "driver_id": [1001]}
    assert answered_names(bound) == ["customer_id", "driver_id"]


def test_an_entitys_name_stands_for_its_join_key() -> None:
    bound = bind({"driver": [1001]})
    assert echoed(bound) == {"driver_id": [1001]}
    assert bound.keys == [[int_key("driver_id", 1001)]]


@pytest.mark.parametrize(
    ("entities", "key"),
    [({"driver": [1], "driver_id": [2]}, 2), ({"driver_id": [2], "driver": [1]}, 1)],
)
def test_of_a_name_and_its_join_key_the_later_one_holds(entities: dict[str, list[Any]], key: int) -> None:
    bound = bind({**entities, "customer_id": ["x"]})
    assert bound.keys == [[int_key("driver_id", key)]]
    assert echoed(bound) == {"driver_id": [key], "customer_id": ["x"]}
    assert answered_names(bound) == ["driver_id", "customer_id"], "in the place of the first"


def test_the_join_key_of_views_without_entities_is_never_echoed() -> None:
    assert echoed(bind({"__dummy_id": [""]}, "glob:g")) == {}
    assert echoed(bind({"__dummy": ["x"]}, "glob:g")) == {}  # by the name of its entity
    assert echoed(bind({"driver_id": [1], "__dummy_id": [""]})) == {"driver_id": [1]}


def test_mapped_join_keys_are_asked_for_and_echoed_under_their_mapped_names() -> None:
    bound = CATALOG.plan_for("fs_alias", [], True).binder.bind({"origin_id": [1, 2], "dest_id": [2, 1]})
    assert echoed(bound) == {"origin_id": [1, 2], "dest_id": [2, 1]}
    assert bound.keys == [[int_key("loc_id", 1), int_key("loc_id", 2)], [int_key("loc_id", 2), int_key("loc_id", 1)]]


@pytest.mark.parametrize(
    ("entities", "origin", "dest"),
    [
        ({"origin_id": [1], "dest_id": [3], "loc_id": [2]}, 2, 2),
        ({"loc_id": [2], "origin_id": [1], "dest_id": [3]}, 1, 3),
        ({"origin_id": [1], "loc_id": [2]}, 2, 2),
        ({"loc_id": [2], "origin_id": [1]}, 1, 2),
    ],
)
def test_the_raw_join_key_counts_for_a_mapped_one_and_the_later_one_holds(
    entities: dict[str, list[Any]], origin: int, dest: int
) -> None:
    bound = CATALOG.plan_for("fs_alias", [], True).binder.bind(entities)
    assert bound.keys == [[int_key("loc_id", origin)], [int_key("loc_id", dest)]]


# ----------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("entities", [{}, {"wrong": [1]}])
def test_a_view_with_none_of_its_keys_is_told_which_it_has(entities: dict[str, list[Any]]) -> None:
    for _ in range(2):
        assert refusal(entities) == (
            "entities: Missing join key values for keys: ['driver_id']. No values provided for keys: ['driver_id']. "
            "Provided join_key_values: []"
        )


@pytest.mark.parametrize("typo", ["diver_id", "driverid", "Driver_ID", "driver_idd"])
def test_a_column_that_looks_like_the_missing_key_is_named(typo: str) -> None:
    assert refusal({"wrong": [1], typo: [1]}).endswith(f"; did you mean 'driver_id' instead of '{typo}'?")


@pytest.mark.parametrize("entities", [{"driver_id": []}, {"driver_id": [], "foo": []}, {"driver": []}])
def test_columns_without_values_are_missing(entities: dict[str, list[Any]]) -> None:
    assert refusal(entities) == (
        "entities: No values provided for keys: ['driver_id']. Provided join_key_values: ['driver_id']"
    )


@pytest.mark.parametrize("other", ["customer_id", "ignored"])
def test_columns_of_other_lengths_are_named(other: str) -> None:
    message = refusal({"driver_id": [1001, 1002], other: ["bar"]})
    assert message.startswith(f"entities.{other}: All entity rows must have the same columns.")
    assert message.endswith("Expected 2 values, as in the columns before, got 1")


@pytest.mark.parametrize(("empty", "shown"), [(None, "null"), ([1001], "an array"), ({"a": 1}, "an object")])
def test_a_key_without_a_value_is_named_with_its_place(empty: object, shown: str) -> None:
    assert refusal({"driver_id": [1001, empty]}) == f"entities.driver_id[1]: expected a key value, got {shown}"


@pytest.mark.parametrize(
    ("entities", "feature", "message"),
    [
        ({"driver_id": [1, "abc"]}, "stats:trips", 'entities.driver_id[1]: expected an integer, got "abc"'),
        (
            {"driver_id": [2**31]},
            "small:s",
            "entities.driver_id[0]: expected a 32-bit integer in range, got 2147483648",
        ),
        (
            *({"rating_id": [1]}, "rated:r"),
            "entities.rating_id: values of type DOUBLE cannot be part of an entity key; "
            "expected one of BYTES, INT32, INT64, STRING, UNIX_TIMESTAMP",
        ),
        (
            *({"customer_id": [1.5]}, "untyped:u"),
            "entities.customer_id: values of type float cannot be part of an entity key; "
            "expected one of BYTES, INT32, INT64, STRING, UNIX_TIMESTAMP",
        ),
        (
            *({"customer_id": [True]}, "untyped:u"),
            "entities.customer_id: values of type bool cannot be part of an entity key; "
            "expected one of BYTES, INT32, INT64, STRING, UNIX_TIMESTAMP",
        ),
    ],
)
def test_values_that_make_no_key_are_named(entities: dict[str, list[Any]], feature: str, message: str) -> None:
    assert refusal(entities, feature) == message


def test_half_of_a_surrogate_pair_is_no_text_key() -> None:
    """JSON can carry one, as \\ud800, and UTF-8 cannot."""
    assert refusal({"driver_id": [1], "customer_id": ["\ud800"]}, "combo:pair") == (
        "entities.customer_id: a value does not fit an entity key of version 3"
    )


def test_an_ignored_column_that_feast_would_refuse_is_refused() -> None:
    assert refusal({"driver_id": [1, 2], "foo": [1, "a"]}) == 'entities.foo[1]: expected an integer, got "a"'


def test_an_integer_beyond_version_ones_four_bytes_is_refused() -> None:
    small = catalog(entity("driver", "driver_id"), STATS, key_version=1)
    binder = small.plan_for(None, ["stats:trips"], False).binder
    assert binder.bind({"driver_id": [5]}).keys == [[b"\x02\0\0\0driver_id\x04\0\0\0\x04\0\0\0\x05\0\0\0"]]
    with pytest.raises(RequestError, match="driver_id: a value does not fit an entity key of version 1"):
        binder.bind({"driver_id": [2**31]})


# ------------------------------------------------------------------------------------------------------------- caches


def test_a_set_of_columns_is_looked_at_once() -> None:
    binder = binder_of("stats:trips")
    first = binder.bind({"driver_id": [1], "a": [2]}).binding
    assert binder.bind({"driver_id": [3], "a": [4]}).binding is first
    assert binder.bind({"a": [1], "driver_id": [2]}).binding is not first, "another order is another answer"


def test_the_sets_of_columns_kept_are_bounded_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BINDINGS", 2)
    binder = catalog(entity("driver", "driver_id"), STATS).plan_for(None, ["stats:trips"], False).binder
    first = binder.bind({"driver_id": [1]}).binding
    for name in "abc":
        binder.bind({"driver_id": [1], name: [1]})
    assert binder.bind({"driver_id": [1]}).binding is not first
    long = {"driver_id": [1], "x" * 2_000: [1]}
    assert binder.bind(long).binding is not binder.bind(long).binding
    assert binder.bind(long).keys == [[int_key("driver_id", 1)]]


def test_a_kept_mistake_does_not_grow_with_each_request_that_makes_it() -> None:
    binder, lengths = binder_of("stats:trips"), []
    for _ in range(3):
        with pytest.raises(RequestError) as caught:
            binder.bind({"wrong": [1]})
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1


@pytest.mark.parametrize("value_type", ValueType)
@pytest.mark.parametrize("value", [[1], ["a"], [None], [{}], [[1]], [], {"a": 1}, 1, "a"])
def test_whatever_a_join_key_is_declared_as_a_request_is_the_callers_mistake_at_most(
    value_type: ValueType, value: object
) -> None:
    plan = catalog(
        entity("driver", "driver_id"), view("v", ["driver"], {"driver_id": value_type}, {"a": ValueType.INT64})
    ).plan_for(None, ["v:a"], False)
    with contextlib.suppress(RequestError):
        plan.binder.bind({"driver_id": [value]})


# ---------------------------------------------------------------------------------------- views that disagree on a type

BY_TEXT = view("by_text", ["driver"], {"driver_id": STRING}, {"t": INT64})
BOTH_TYPES = ["stats:trips", "by_text:t"]
DISAGREEING = (entity("driver", "driver_id", ValueType.UNKNOWN), STATS, BY_TEXT)


@pytest.mark.parametrize("features", [BOTH_TYPES, BOTH_TYPES[::-1]])
def test_where_answers_are_strict_each_view_is_read_by_its_own_type(features: list[str]) -> None:
    binder = catalog(*DISAGREEING, strict=True).plan_for(None, features, True).binder
    expected = [
        [int_key("driver_id", 5), int_key("driver_id", 6)],
        [text_key("driver_id", "5"), text_key("driver_id", "6")],
    ]
    bound = binder.bind({"driver_id": [5, 6, 5]})
    assert bound.keys == (expected if features is BOTH_TYPES else expected[::-1])
    assert [column.name for column in bound.binding.answered] == ["driver_id"]
    assert bound.row_to_key == [[0, 1, 0], [0, 1, 0]]


def test_else_the_last_views_type_is_taken_for_all() -> None:
    bound = catalog(*DISAGREEING).plan_for(None, BOTH_TYPES, True).binder.bind({"driver_id": [5]})
    assert bound.keys == [[text_key("driver_id", "5")]]


@pytest.mark.parametrize(
    ("value", "message"),
    [("abc", 'entities.driver_id[0]: expected an integer, got "abc"'), (None, "expected a key value, got null")],
)
def test_a_value_that_one_of_the_types_cannot_have_is_named_by_its_column(value: object, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        catalog(*DISAGREEING, strict=True).plan_for(None, BOTH_TYPES, True).binder.bind({"driver_id": [value]})
    assert str(caught.value).endswith(message)
    assert str(caught.value).startswith("entities.driver_id[0]: ")


def test_a_service_that_maps_the_key_types_it_by_each_view() -> None:
    both = service(
        "both",
        projection(STATS, join_key_map={"driver_id": "who"}),
        projection(BY_TEXT, join_key_map={"driver_id": "who"}),
    )
    bound = catalog(*DISAGREEING, both, strict=True).plan_for("both", [], True).binder.bind({"who": [5]})
    assert bound.keys == [[int_key("driver_id", 5)], [text_key("driver_id", "5")]]
