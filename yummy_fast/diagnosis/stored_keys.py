"""What a key in a store says of itself: its join keys and their types, its project, and which version wrote it.

    01000000 02000000 09000000 "driver_id" 04000000 08000000 e903000000000000 "rides"     version 3
             02000000          "driver_id" 04000000 08000000 e903000000000000 "rides"     version 2
             02000000          "driver_id" 04000000 04000000 e9030000         "rides"     version 1

Version 3 has the lengths of everything, so a key of it can be read by itself. Keys of the other two can only be read
with the names of their join keys, which the registry has. In Redis the project follows the entity key; in SQLite, whose
tables have the project in their names, nothing does. What does not fit to the last byte is no key of Feast's. Pure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from yummy_fast.feast_format.keys import KEY_TYPES, entity_key_header
from yummy_fast.feast_format.registry import FeatureView, Registry
from yummy_fast.feast_format.values import ValueType

MAX_JOIN_KEYS = 100
"""More join keys than any entity key has."""

_PROJECT = re.compile(r"[\w-]+")
"""Feast's is_valid_name (feast/repo_operations.py): letters of any language, digits, underscores and hyphens."""


class StoredKey(NamedTuple):
    """A stored key, read."""

    join_keys: tuple[str, ...]
    types: tuple[str, ...]
    """The types of their values."""
    project: str
    """What follows the entity key; "" for an entity key alone."""
    versions: frozenset[int]
    """The serialization versions that may have written it: 1 and 2 differ in an INT64 only."""
    values: tuple[bytes, ...] = ()
    """The values of the join keys, as they are stored."""


def read_key(key: bytes, known: Iterable[Sequence[str]] = ()) -> StoredKey | None:
    """A key of Redis: an entity key and a project. None for anything else.

    `known`: the sorted join keys of each set that the registry has, for versions 1 and 2.
    """
    for read, rest in _readings(key, known):
        try:
            project = rest.decode()
        except UnicodeDecodeError:
            continue
        if _PROJECT.fullmatch(project):
            return read._replace(project=project)
    return None


def read_entity_key(key: bytes, known: Iterable[Sequence[str]] = ()) -> StoredKey | None:
    """As `read_key`, of an entity key alone."""
    return next((read for read, rest in _readings(key, known) if not rest), None)


def join_keys_of(registry: Registry, view: FeatureView) -> tuple[str, ...]:
    """The join keys of a view, sorted; those of entities that the registry has."""
    return tuple(sorted(registry.entities[name].join_key for name in view.entities if name in registry.entities))


def known_join_keys(registry: Registry) -> list[tuple[str, ...]]:
    """The sets of join keys that the views of a registry have, each once."""
    views = (view for view in registry.views.values() if isinstance(view, FeatureView))
    return list(dict.fromkeys(join_keys_of(registry, view) for view in views))


def _readings(key: bytes, known: Iterable[Sequence[str]]) -> Iterator[tuple[StoredKey, bytes]]:
    """The ways to read a key, and what is left of it behind the values."""
    names, offset = _names(key)
    if names is not None:
        yield from _values(key, offset, names, is_version_3=True)
    for join_keys in known:
        header = entity_key_header(join_keys, 2)
        if join_keys and key.startswith(header):
            yield from _values(key, len(header), tuple(join_keys), is_version_3=False)


def _names(key: bytes) -> tuple[tuple[str, ...] | None, int]:
    """The names of a key of version 3, and where they end; None if it is none."""
    if len(key) < 4:
        return None, 0
    (count,) = struct.unpack_from("<I", key)
    offset = 4
    names = []
    for _ in range(count if count <= MAX_JOIN_KEYS else 0):
        if len(key) < offset + 8:
            return None, 0
        kind, size = struct.unpack_from("<II", key, offset)
        name = key[offset + 8 : offset + 8 + size]
        offset += 8 + size
        if kind != ValueType.STRING or len(name) != size:
            return None, 0
        try:
            names.append(name.decode())
        except UnicodeDecodeError:
            return None, 0
    return tuple(names) if len(names) == count else None, offset


def _values(
    key: bytes, offset: int, names: tuple[str, ...], *, is_version_3: bool
) -> Iterator[tuple[StoredKey, bytes]]:
    """The key, if the values of these join keys follow at `offset`."""
    types = []
    values = []
    integer_sizes = set()
    for _ in names:
        if len(key) < offset + 8:
            return
        kind, size = struct.unpack_from("<II", key, offset)
        values.append(key[offset + 8 : offset + 8 + size])
        offset += 8 + size
        if kind not in KEY_TYPES or offset > len(key):
            return
        types.append(ValueType(kind).name)
        if kind == ValueType.INT64:
            integer_sizes.add(size)
    versions = {1, 2} if not integer_sizes else {1} if integer_sizes == {4} else {2}
    written_by = frozenset((3,) if is_version_3 else versions)
    yield StoredKey(names, tuple(types), "", written_by, tuple(values)), key[offset:]
