"""Strategies of hypothesis: Python values, stored Values of each type, and JSON."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st

from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.values import ValueType

texts = st.text(st.characters(codec="utf-8"), max_size=8)
int32s = st.integers(-(2**31), 2**31 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)
float32s = st.floats(width=32)
doubles = st.floats()
binaries = st.binary(max_size=8)
moments = st.integers(-(10**9), 10**10)


def lists(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, max_size=3)


_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bytes": binaries,
    "string": texts,
    "int32": int32s,
    "int64": int64s,
    "double": doubles,
    "float": float32s,
    "bool": st.booleans(),
    "unix_timestamp": int64s,
    "json": texts,
    "uuid": texts,
    "time_uuid": texts,
    "decimal": texts,
}
_LISTS: dict[str, Any] = {
    "bytes": values.BytesList,
    "int32": values.Int32List,
    "int64": values.Int64List,
    "double": values.DoubleList,
    "float": values.FloatList,
    "bool": values.BoolList,
    "unix_timestamp": values.Int64List,
}


def _in_field(field: str, found: Any) -> Value:
    keywords: dict[str, Any] = {field: found}
    return Value(**keywords)


def _in_list(name: str, found: list[Any]) -> Any:
    return _LISTS.get(name, values.StringList)(val=found)


_some_scalar = st.one_of(
    st.just(Value()),
    *(strategy.map(partial(_in_field, f"{name}_val")) for name, strategy in _SCALARS.items()),
)
_nested = st.recursive(
    _some_scalar,
    lambda inner: st.one_of(
        lists(inner).map(lambda found: Value(list_val=values.RepeatedValue(val=found))),
        st.dictionaries(texts, inner, max_size=3).map(lambda found: Value(map_val=values.Map(val=found))),
    ),
    max_leaves=4,
)
_maps = st.dictionaries(texts, _nested, max_size=3).map(lambda found: values.Map(val=found))
_map_lists = lists(_maps).map(lambda found: values.MapList(val=found))
_nested_lists = lists(_nested).map(lambda found: values.RepeatedValue(val=found))

_map_keys = st.one_of(
    st.builds(values.MapKey, int64_key=st.integers(-(1 << 53), 1 << 53)),
    st.builds(values.MapKey, bool_key=st.booleans()),
    st.builds(values.MapKey, double_key=st.floats()),
    st.builds(values.MapKey, bytes_key=st.binary(max_size=3)),
    st.builds(values.MapKey, uuid_key=st.uuids().map(str)),
)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **{f"{name}_val": strategy for name, strategy in _SCALARS.items()},
    **{
        f"{name}_{collection}_val": lists(strategy).map(partial(_in_list, name))
        for name, strategy in _SCALARS.items()
        for collection in ("list", "set")
        if (name, collection) != ("json", "set")
    },
    "null_val": st.just(values.NULL),
    "map_val": _maps,
    "struct_val": _maps,
    "map_list_val": _map_lists,
    "struct_list_val": _map_lists,
    "list_val": _nested_lists,
    "set_val": _nested_lists,
    "scalar_map_val": st.lists(st.builds(values.ScalarMapEntry, key=_map_keys, value=_nested), max_size=3).map(
        lambda found: values.ScalarMap(val=found)
    ),
    "zoned_timestamp_val": moments.map(lambda found: values.ZonedTimestamp(unix_timestamp=found)),
}
"""Field of Value -> what can be in it."""

_OTHER_FIELDS = {
    ValueType.PDF_BYTES: "bytes_val",
    ValueType.IMAGE_BYTES: "bytes_val",
    ValueType.VALUE_LIST: "list_val",
    ValueType.VALUE_SET: "set_val",
}


def _stored_in(field: str) -> st.SearchStrategy[bytes]:
    return FIELDS[field].map(lambda found: _in_field(field, found).SerializeToString())


anything = st.one_of(*(_stored_in(field) for field in FIELDS))
"""Any stored Value."""
nothing = st.sampled_from([None, b"", Value(null_val=values.NULL).SerializeToString()])


def well_stored(value_type: ValueType) -> st.SearchStrategy[bytes]:
    """A stored Value of the type that is declared for its feature."""
    if value_type is ValueType.UNKNOWN:
        return anything
    return _stored_in(_OTHER_FIELDS.get(value_type, f"{value_type.name.lower()}_val"))


def stored(value_type: ValueType) -> st.SearchStrategy[bytes | None]:
    """Mostly a stored Value of this type; now and then no Value, or one of any type."""
    well = well_stored(value_type)
    return st.one_of(well, well, well, nothing, anything)


value_types = st.sampled_from(ValueType)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), int64s, st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(lists(inner), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
