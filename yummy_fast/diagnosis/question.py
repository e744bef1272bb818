"""What somebody wonders about: a view or a feature and an entity, looked up in the registry; and the key it is read by.

    stats:trips  driver_id=1001   ->   view stats, feature trips, key 01000000 02000000 09000000 "driver_id" ... "rides"

Pure. The conversion of key values is that of requests (`features.entities`), so that what is explained is what a
request would read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from yummy_fast.errors import NotFoundError, RequestError
from yummy_fast.feast_format.keys import KEY_TYPES, entity_key_header, key_value_encoder
from yummy_fast.feast_format.registry import DUMMY_JOIN_KEY, DUMMY_VALUE, FeatureView, Field, Registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.entities import convert_column
from yummy_fast.features.views import parse_ref, stored_name


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One join key of an entity key, with its value."""

    join_key: str
    type: ValueType
    value: Any


@dataclass(frozen=True, slots=True)
class Question:
    """One view and one entity, as a request would look them up."""

    registry: Registry
    view: FeatureView
    store_name: str
    """What the online store calls the view."""
    features: tuple[Field, ...]
    """Those that are wondered about: one, or all of the view."""
    parts: tuple[KeyPart, ...]
    """Sorted by join key, as Feast sorts them."""
    key_version: int

    @property
    def project(self) -> str:
        return self.registry.project

    @property
    def is_entityless(self) -> bool:
        return [part.join_key for part in self.parts] == [DUMMY_JOIN_KEY]

    @property
    def key(self) -> bytes:
        """The key of the row in Redis."""
        return entity_key(self.parts, self.key_version) + self.project.encode()

    def words(self) -> str:
        """The key for people."""
        return key_words(self.parts)


def key_words(parts: Sequence[KeyPart]) -> str:
    """Join keys with their values and types: `driver_id=1001 (INT64)`."""
    if [part.join_key for part in parts] == [DUMMY_JOIN_KEY]:
        return 'the one row of a view without entities (__dummy_id="")'
    return ", ".join(f"{part.join_key}={json.dumps(part.value)} ({part.type.name})" for part in parts)


def entity_key(parts: Sequence[KeyPart], version: int) -> bytes:
    """The entity key of these parts in their order. Raises struct.error for a value that does not fit."""
    header = entity_key_header([part.join_key for part in parts], version)
    return header + b"".join(key_value_encoder(part.type, version)(part.value) for part in parts)


def parse_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Entities of the command line: `driver_id=1001 city=Wien`. Each value is text. Raises RequestError."""
    entities: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise RequestError(f"expected JOIN_KEY=VALUE, such as driver_id=1001, got {pair!r}")
        if name in entities:
            raise RequestError(f"{name}: expected one value")
        entities[name] = value
    return entities


def ask(registry: Registry, about: str, entities: Mapping[str, Any], *, key_version: int, versioning: bool) -> Question:
    """The question about `about`, which is VIEW or VIEW:FEATURE. Raises RequestError, which says what there is."""
    ref = parse_ref(about if ":" in about else f"{about}:", 0)
    view = registry.views.get(ref.view) if ref.version is None else registry.versions.get((ref.view, ref.version))
    if view is None:
        raise NotFoundError(
            "FeatureViewNotFoundException",
            f"project {registry.project} has no feature view {ref.view_name}{_nearest(ref.view, list(registry.views))}",
        )
    if not isinstance(view, FeatureView):
        sources = ", ".join(sorted(source.view for source in view.sources)) or "request data alone"
        raise RequestError(
            f"{view.name} is an on-demand view: nothing is stored for it. It is computed from {sources}; ask about "
            "those"
        )
    features = [field for field in view.features if ref.feature in ("", field.name)]
    if not features:
        names = [field.name for field in view.features]
        raise RequestError(f"view {view.name} has no feature {ref.feature}{_nearest(ref.feature, names)}")
    version = ref.version if ref.version is not None else view.version
    store_name = stored_name(view.name, version if versioning else 0)
    parts = tuple(sorted(_parts(registry, view, entities), key=lambda part: part.join_key))
    return Question(registry, view, store_name, tuple(features), parts, key_version)


def _parts(registry: Registry, view: FeatureView, entities: Mapping[str, Any]) -> list[KeyPart]:
    """The join keys of a view, with the values that `entities` gives them. Raises RequestError."""
    types = {column.name: column.type for column in view.entity_columns}
    parts = []
    taken: set[str] = set()
    for name in view.entities:
        entity = registry.entities.get(name)
        if entity is None:
            raise NotFoundError(
                "EntityNotFoundException", f"view {view.name}: project {registry.project} has no entity {name}"
            )
        join_key = entity.join_key
        if join_key == DUMMY_JOIN_KEY:
            return [KeyPart(join_key, ValueType.STRING, DUMMY_VALUE)]
        given = next((column for column in (join_key, name) if column in entities), None)
        if given is None:
            raise RequestError(f"view {view.name}: the join key {join_key} is missing; add {join_key}=VALUE")
        taken.add(given)
        declared = types.get(join_key) or entity.type
        kind = declared or (ValueType.INT64 if isinstance(entities[given], int) else ValueType.STRING)
        if kind not in KEY_TYPES:
            raise RequestError(f"view {view.name}: {join_key} is declared {kind.name}, which no entity key can hold")
        (value,) = convert_column(given, kind, [entities[given]], exact=True)
        if value is None:
            raise RequestError(f"{join_key}: expected a value")
        parts.append(KeyPart(join_key, kind, value))
    unknown = sorted(set(entities) - taken)
    if unknown:
        keys = ", ".join(part.join_key for part in parts)
        raise RequestError(f"view {view.name} has no join key {', '.join(unknown)}; it has {keys}")
    return parts


def _nearest(name: str, names: Sequence[str]) -> str:
    """Which of the names may have been meant."""
    near = get_close_matches(name, names, 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are: {', '.join(sorted(names)[:20])}" if names else "; there are none"
