"""Requests to compare two servers with, for who has none: made from the registry and from keys that a store has.

There is one for each feature service and each feature view, with up to ROWS entities that are stored, and one that is
not:

    {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001, 1002, -1]}, "full_feature_names": true}

What an on-demand feature view wants to know from the client cannot be made up: such requests are named as left out.
Join keys of several views are taken from the longest stored key that has them, so that composite keys are whole. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from yummy_fast.diagnosis.stored_keys import known_join_keys, read_entity_key
from yummy_fast.errors import RequestError
from yummy_fast.feast_format.registry import FeatureView
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.plan import Plan

ROWS = 20
MAX_FEATURES = 500
"""Of one view."""

_ABSENT: Mapping[str, Any] = {"STRING": "(absent)", "INT32": -1, "INT64": -1}


class MadeRequests(NamedTuple):
    """Requests, and what there is none for."""

    queries: Sequence[tuple[str, Mapping[str, Any]]]
    """What it asks for, in words, and the query."""
    left_out: Sequence[str]
    """A line for each feature service or view, with the reason."""


def make_requests(catalog: Catalog[Any], stored: Iterable[bytes]) -> MadeRequests:
    """A request for each feature service and each view. `stored`: entity keys without the project."""
    known = known_join_keys(catalog.registry)
    entities = _entities(stored, known)
    queries: list[tuple[str, Mapping[str, Any]]] = []
    left_out = []
    for name, compiled in sorted(catalog.services(), key=lambda pair: pair[0]):
        what = f"feature service {name}"
        if isinstance(compiled, RequestError):
            left_out.append(f"{what}: it cannot be served: {compiled}")
            continue
        _add(queries, left_out, what, {"feature_service": name}, compiled.plan, entities)
    for view in sorted(catalog.registry.views.values(), key=lambda view: view.name):
        if not isinstance(view, FeatureView) or view.disabled or not view.features:
            continue
        refs = [f"{view.name}:{field.name}" for field in view.features[:MAX_FEATURES]]
        what = f"feature view {view.name}"
        try:
            plan = catalog.plan_for(None, refs, True).plan
        except RequestError as error:
            left_out.append(f"{what}: it cannot be served: {error}")
            continue
        _add(queries, left_out, what, {"features": refs}, plan, entities)
    return MadeRequests(queries, left_out)


_Entities = Mapping[tuple[str, ...], Sequence[tuple[Any, ...]]]
"""The values of stored keys, by their join keys."""


def _add(
    queries: list[tuple[str, Mapping[str, Any]]],
    left_out: list[str],
    what: str,
    asked: Mapping[str, Any],
    plan: Plan,
    entities: _Entities,
) -> None:
    data = [field.name for computed in plan.computed for field in computed.view.request_data]
    if data:
        left_out.append(f"{what}: it wants request data: {', '.join(data)}")
        return
    columns: dict[str, list[Any]] = {}
    found = [
        (lookup, entities.get(tuple(join_key for join_key, _ in lookup.join_keys), ()))
        for lookup in plan.lookups
        if lookup.join_keys and not lookup.is_pushed
    ]
    # Of the keys that are stored the longest first: what is a part of a composite key has to fit the rest of it.
    for lookup, values in sorted(found, key=lambda pair: (not pair[1], -len(pair[0].join_keys))):
        for position, (_, name) in enumerate(lookup.join_keys):
            if name in columns:
                continue
            absent = _ABSENT.get(plan.types.get(name, ValueType.UNKNOWN).name)
            columns[name] = [row[position] for row in values[:ROWS]] + ([] if absent is None else [absent])
    rows = max(map(len, columns.values()), default=1)
    if not all(columns.values()):
        missing = ", ".join(sorted(name for name, values in columns.items() if not values))
        left_out.append(f"{what}: the sample of the store has no key with {missing}")
        return
    whole = {name: [values[row % len(values)] for row in range(rows)] for name, values in columns.items()}
    queries.append((what, {**asked, "entities": whole, "full_feature_names": True}))


def _entities(stored: Iterable[bytes], known: Sequence[Sequence[str]]) -> dict[tuple[str, ...], list[tuple[Any, ...]]]:
    found: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for key in sorted(stored):
        read = read_entity_key(key, known)
        if read is None:
            continue
        values = tuple(_value(kind, data) for kind, data in zip(read.types, read.values, strict=True))
        if None not in values:
            found.setdefault(read.join_keys, []).append(values)
    return found


def _value(kind: str, data: bytes) -> Any:
    """A value of a join key as a request has it; None for a type that JSON cannot carry as it is."""
    if kind == "STRING":
        return data.decode("utf-8", "replace")
    sizes = {("INT32", 4): "<i", ("INT64", 4): "<i", ("INT64", 8): "<q"}
    code = sizes.get((kind, len(data)))
    return None if code is None else struct.unpack(code, data)[0]
