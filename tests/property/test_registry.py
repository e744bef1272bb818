"""A registry read in pieces says what it says when it is read whole.

`RegistryPieces` lists the fields of `Registry` a second time, as bytes: that the two agree is nobody's business but
these tests'. The registries are the corpus's, which Feast wrote, and random ones.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tests import registries
from tests.harness import CORPUS
from yummy_fast.errors import RegistryError
from yummy_fast.feast_format import registry
from yummy_fast.feast_format._proto.registry_pb2 import Registry, RegistryPieces
from yummy_fast.feast_format.registry import parse_registry
from yummy_fast.feast_format.values import ValueType

STORES = ("redis", "redis_v2", "sqlite")
PIECES = [field for field in RegistryPieces.DESCRIPTOR.fields if field.type == FieldDescriptor.TYPE_BYTES]


def corpus(store: str) -> bytes:
    return (CORPUS / store / "registry.db").read_bytes()


def pieces_of(whole: Registry) -> RegistryPieces:
    """What a whole registry would be in pieces, by the names of its fields alone."""
    pieces = RegistryPieces(version_id=whole.version_id)
    pieces.feature_view_version_history.CopyFrom(whole.feature_view_version_history)
    for field in PIECES:
        getattr(pieces, field.name).extend(item.SerializeToString() for item in getattr(whole, field.name))
    return pieces


def same(data: bytes, project: str) -> registry.Registry:
    """Both readings, which are found to be one."""
    in_pieces = parse_registry(data, project, "registry.db")
    assert (
        registry._read(pieces_of(Registry.FromString(data)), project, "registry.db", registry.unthrottled) == in_pieces
    )
    return in_pieces


def test_the_pieces_are_the_registrys_fields() -> None:
    """Each by its number, repeated where that is, and either of the same type or the bytes of a message."""
    whole = Registry.DESCRIPTOR.fields_by_name
    for field in RegistryPieces.DESCRIPTOR.fields:
        like = whole[field.name]
        assert (field.number, field.is_repeated) == (like.number, like.is_repeated), field.name
        if field.type == FieldDescriptor.TYPE_BYTES:
            assert (like.type, like.is_repeated) == (FieldDescriptor.TYPE_MESSAGE, True), field.name
        else:
            assert (field.type, field.message_type) == (like.type, like.message_type), field.name


def test_no_objects_are_left_out_of_the_pieces() -> None:
    """A list that the one has and the other has not would be served as empty."""
    lists = {field.name for field in Registry.DESCRIPTOR.fields if field.is_repeated}
    assert {field.name for field in PIECES} == lists


@pytest.mark.parametrize("store", STORES)
def test_the_corpus_reads_alike_whole_and_in_pieces(store: str) -> None:
    data = corpus(store)
    found = same(data, "corpus")
    whole = Registry.FromString(data)
    views: list[Any] = [*whole.feature_views, *whole.stream_feature_views]
    views += [*whole.on_demand_feature_views, *whole.label_views]
    assert set(found.views) == {view.spec.name for view in views}
    assert set(found.services) == {service.spec.name for service in whole.feature_services}
    assert set(found.entities) == {entity.spec.name for entity in whole.entities} | {"__dummy"}
    assert found.views
    assert found.version == whole.version_id != ""


NAMES = st.sampled_from(["a", "b", "é", ""])
PROJECTS = st.sampled_from([registries.PROJECT, "b", ""])
COLUMNS = st.dictionaries(NAMES, st.sampled_from(list(ValueType)), max_size=3)
VIEWS = st.builds(
    lambda name, entities, columns, features, project, version: registries.view(
        name, entities, columns, features, project=project, version=version
    ),
    *(NAMES, st.lists(NAMES, max_size=2), COLUMNS, COLUMNS, PROJECTS, st.integers(0, 3)),
)
PROJECTIONS = st.builds(
    lambda view, alias, keys, version: registries.projection(view, alias=alias, join_key_map=keys, version=version),
    *(VIEWS, NAMES, st.dictionaries(NAMES, NAMES, max_size=2), st.none() | st.integers(0, 3)),
)
ITEMS: st.SearchStrategy[Any] = st.one_of(
    st.builds(registries.entity, NAMES, NAMES, st.sampled_from(list(ValueType)), PROJECTS),
    VIEWS,
    st.builds(
        lambda name, used, project: registries.service(name, *used, project=project),
        *(NAMES, st.lists(PROJECTIONS, max_size=2), PROJECTS),
    ),
    st.builds(registries.earlier, VIEWS, st.integers(0, 3), PROJECTS),
)


@given(st.lists(ITEMS, max_size=8), NAMES)
def test_any_registry_reads_alike_whole_and_in_pieces(items: list[registries.Item], version_id: str) -> None:
    same(registries.serialised(items, version_id), registries.PROJECT)


@given(st.data())
def test_what_is_cut_off_is_refused_in_pieces_where_it_is_refused_whole(data: st.DataObject) -> None:
    whole = corpus("redis")
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        Registry.FromString(cut)
    except DecodeError:
        with pytest.raises(RegistryError, match="not a Feast registry"):
            parse_registry(cut, "corpus", "registry.db")
    else:
        same(cut, "corpus")
