"""Entity keys and field names, against the bytes that Feast 0.67.0 wrote. More in property/.

It makes them in feast/infra/key_encoding_utils.py and feast/infra/online_stores/helpers.py.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from yummy_fast.feast_format.keys import (
    KEY_TYPES,
    KeyPart,
    KeyValueError,
    NullKeyValueError,
    compile_key,
    constant_key,
    entity_key_header,
    feature_field,
    key_value_encoder,
    timestamp_field,
)
from yummy_fast.feast_format.values import ValueType

INT32, INT64, STRING, BYTES = ValueType.INT32, ValueType.INT64, ValueType.STRING, ValueType.BYTES
UNIX_TIMESTAMP, UNKNOWN = ValueType.UNIX_TIMESTAMP, ValueType.UNKNOWN

CONFORMANCE = Path(__file__).parent.parent / "conformance"


def keys(version: int, *parts: tuple[str, ValueType, list[Any]]) -> list[bytes]:
    """The entity keys of rows, from columns that are called as their join keys, "of" added."""
    make_keys = compile_key([KeyPart(name, f"of {name}", value_type) for name, value_type, _ in parts], version)
    return make_keys({f"of {name}": values for name, _, values in parts}, len(parts[0][2]))


# ----------------------------------------------------------------------------------------------- what Feast has written


@pytest.mark.parametrize(
    ("version", "parts", "stored"),
    [
        (
            *(3, [("driver_id", INT64, [1001])]),
            "0100000002000000090000006472697665725f69640400000008000000e903000000000000",
        ),
        (2, [("driver_id", INT64, [1001])], "020000006472697665725f69640400000008000000e903000000000000"),
        (1, [("driver_id", INT64, [1001])], "020000006472697665725f69640400000004000000e9030000"),
        (
            *(3, [("a", INT64, [5]), ("b", STRING, ["x"])]),
            "0200000002000000010000006102000000010000006204000000080000000500000000000000020000000100000078",
        ),
        (
            *(2, [("a", INT64, [5]), ("b", STRING, ["x"])]),
            "0200000061020000006204000000080000000500000000000000020000000100000078",
        ),
        (
            *(3, [("t", UNIX_TIMESTAMP, [1_700_000_000])]),
            "01000000020000000100000074080000000800000000f1536500000000",
        ),
        (3, [("by", BYTES, [b"\x01\x02"])], "010000000200000002000000627901000000020000000102"),
        (3, [("i", INT32, [-1])], "0100000002000000010000006903000000" + "04000000ffffffff"),
        (
            *(3, [("__dummy_id", STRING, [""])]),
            "01000000020000000a0000005f5f64756d6d795f69640200000000000000",
        ),
    ],
)
def test_entity_keys_are_the_bytes_that_feast_wrote(version: int, parts: list[Any], stored: str) -> None:
    assert [key.hex() for key in keys(version, *parts)] == [stored]
    assert [key.hex() for key in keys(version, *reversed(parts))] == [stored], "names are sorted"


def recorded_keys(corpus: str) -> set[bytes]:
    """The entity keys under which Feast has written a corpus's rows: all but the project's name at the end."""
    rows = [json.loads(line) for line in (CONFORMANCE / corpus / "store.jsonl").read_text().splitlines()]
    return {bytes.fromhex(row["key"]).removesuffix(b"corpus") for row in rows}


DRIVERS = [0, -(2**63), 2001, 2002, *range(1001, 1021), 2**63 - 1, -1]
CUSTOMERS = ["", "a", "b", "1001", "ünï", "with space"]


@pytest.mark.parametrize(("corpus", "version"), [("redis", 3), ("redis_v2", 2)])
def test_each_row_that_feast_has_written_is_found_by_its_values(corpus: str, version: int) -> None:
    """An integer, a text, a pair of both, and the constant of a view without entities: no key more, and none less."""
    pairs = [(customer, driver) for customer in CUSTOMERS for driver in (1001, 1002)]
    customers, drivers = ([pair[place] for pair in pairs] for place in (0, 1))
    made = [
        *keys(version, ("driver_id", INT64, DRIVERS)),
        *keys(version, ("zone_id", INT32, [0, 7, -7, 2**31 - 1])),
        *keys(version, ("customer_id", STRING, CUSTOMERS)),
        *keys(version, ("driver_id", INT64, drivers), ("customer_id", STRING, customers)),
        *constant_key("__dummy_id", "", version)({}, 1),
    ]
    assert set(made) == recorded_keys(corpus)
    assert len(made) == len(set(made))


# ------------------------------------------------------------------------------------------------------ what makes them


def test_a_key_counts_the_bytes_of_its_text_and_not_the_characters() -> None:
    assert keys(3, ("é", STRING, ["日本"])) == [
        b"\x01\0\0\0" + b"\x02\0\0\0\x02\0\0\0\xc3\xa9" + b"\x02\0\0\0\x06\0\0\0\xe6\x97\xa5\xe6\x9c\xac"
    ]


def test_the_type_is_part_of_a_key() -> None:
    assert keys(3, ("id", INT32, [7])) != keys(3, ("id", INT64, [7]))


@pytest.mark.parametrize(("value", "declared"), [(7, INT64), ("7", STRING)])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_without_a_declared_type_the_first_value_decides(value: object, declared: ValueType, version: int) -> None:
    assert keys(version, ("id", UNKNOWN, [value])) == keys(version, ("id", declared, [value]))


def test_a_constant_key_is_the_same_for_each_row() -> None:
    stored = bytes.fromhex("01000000020000000a0000005f5f64756d6d795f69640200000000000000")
    assert constant_key("__dummy_id", "", 3)({"x": [1, 2]}, 2) == [stored, stored]


# --------------------------------------------------------------------------------------------- what makes none of a key


@pytest.mark.parametrize("other", [[], [("b", STRING, ["x", "y", "z"])]], ids=["alone", "of two"])
@pytest.mark.parametrize("value_type", [INT64, INT32, UNKNOWN])
def test_a_null_is_named_by_column_and_row(value_type: ValueType, other: list[Any]) -> None:
    with pytest.raises(NullKeyValueError) as caught:
        keys(3, ("a", value_type, [5, None, None]), *other)
    assert (caught.value.column, caught.value.row) == ("of a", 1)


@pytest.mark.parametrize(("version", "value"), [(1, 2**31), (1, -(2**31) - 1)])
def test_version_one_has_four_bytes_for_an_integer(version: int, value: int) -> None:
    with pytest.raises(KeyValueError, match=r"^a value does not fit an entity key of version 1$") as caught:
        keys(version, ("a", INT64, [5, value]))
    assert caught.value.column == "of a"
    least = struct.pack("<i", -(2**31))
    assert keys(1, ("a", INT64, [-(2**31)])) == [b"\x02\0\0\0a" + b"\x04\0\0\0" + b"\x04\0\0\0" + least]


@pytest.mark.parametrize("declared", [STRING, UNKNOWN])
def test_half_of_a_surrogate_pair_is_no_text_of_a_key(declared: ValueType) -> None:
    """JSON can carry one, as \\ud800. UTF-8 cannot."""
    with pytest.raises(KeyValueError, match=r"^a value does not fit an entity key of version 3$") as caught:
        keys(3, ("a", declared, ["x", "\ud800"]))
    assert caught.value.column == "of a"


@pytest.mark.parametrize(
    ("declared", "value", "kind"),
    [(ValueType.DOUBLE, 1.5, "DOUBLE"), (UNKNOWN, 1.5, "float"), (UNKNOWN, True, "bool"), (ValueType.BOOL, 1, "BOOL")],
)
def test_a_type_that_no_key_has_is_named(declared: ValueType, value: object, kind: str) -> None:
    with pytest.raises(KeyValueError) as caught:
        keys(3, ("a", declared, [value]))
    assert caught.value.column == "of a"
    assert str(caught.value) == (
        f"values of type {kind} cannot be part of an entity key; "
        "expected one of BYTES, INT32, INT64, STRING, UNIX_TIMESTAMP"
    )


@pytest.mark.parametrize("value_type", sorted(set(ValueType) - KEY_TYPES), ids=lambda value_type: value_type.name)
def test_other_types_have_no_encoder(value_type: ValueType) -> None:
    with pytest.raises(KeyError):
        key_value_encoder(value_type, 3)


# -------------------------------------------------------------------------------------------------- their parts


def test_a_header_and_a_value_are_a_key() -> None:
    made = entity_key_header(["driver_id"], 3) + key_value_encoder(INT64, 3)(1001)
    assert made.hex() == "0100000002000000090000006472697665725f69640400000008000000e903000000000000"


# ----------------------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("view", "feature", "field"),
    [
        ("stats", "trips", "eb342a65"),
        ("stats", "conv_rate", "d5713f9f"),
        ("stats", "acc_rate", "6361db4b"),
    ],
)
def test_feature_fields_are_the_hashes_that_feast_wrote(view: str, feature: str, field: str) -> None:
    assert feature_field(view, feature).hex() == field


def test_a_timestamp_field_is_text() -> None:
    assert timestamp_field("stats_é") == "_ts:stats_é".encode()
