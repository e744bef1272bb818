"""What an entity key in a store says of itself: which serialization version wrote it.

    01000000 02000000 09000000 "driver_id" 04000000 08000000 e903000000000000     version 3
             02000000          "driver_id" 04000000 08000000 e903000000000000     version 2
             02000000          "driver_id" 04000000 04000000 e9030000             version 1

Version 3 has the lengths of everything, so a key of it can be read by itself. Keys of the other two can only be read
with the names of their join keys, which the registry has. What does not fit to the last byte is no entity key, or one
of another project whose name has the same end. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from yummy_fast.feast_format.keys import KEY_TYPES, entity_key_header
from yummy_fast.feast_format.values import ValueType

MAX_JOIN_KEYS = 100
"""More join keys than any entity key has."""


def key_versions(key: bytes, known: Iterable[Sequence[str]]) -> frozenset[int]:
    """The serialization versions that may have written an entity key; none if it is not one.

    `known`: the sorted join keys of each set that the registry has. 1 and 2 differ in an INT64 only.
    """
    if _values(key, _names_end(key)):
        return frozenset((3,))
    for join_keys in known:
        header = entity_key_header(join_keys, 2)
        sizes = _values(key, (len(header), len(join_keys))) if key.startswith(header) else []
        if sizes:
            integers = {size for kind, size in sizes if kind == ValueType.INT64}
            return frozenset((1, 2)) if not integers else frozenset((1,) if integers == {4} else (2,))
    return frozenset()


def _names_end(key: bytes) -> tuple[int, int]:
    """Where the names of a key of version 3 end, and how many there are; 0 of them if it is none."""
    if len(key) < 4:
        return 0, 0
    (count,) = struct.unpack_from("<I", key)
    offset = 4
    for _ in range(count if count <= MAX_JOIN_KEYS else 0):
        if len(key) < offset + 8:
            return 0, 0
        kind, size = struct.unpack_from("<II", key, offset)
        offset += 8 + size
        if kind != ValueType.STRING:
            return 0, 0
    return offset, count


def _values(key: bytes, names: tuple[int, int]) -> list[tuple[int, int]]:
    """Type and size of each value, if these are all that follows the names of the join keys; else nothing."""
    offset, count = names
    found = []
    for _ in range(count if count <= MAX_JOIN_KEYS else 0):
        if len(key) < offset + 8:
            return []
        kind, size = struct.unpack_from("<II", key, offset)
        offset += 8 + size
        if kind not in KEY_TYPES:
            return []
        found.append((kind, size))
    return found if offset == len(key) else []
