"""A sample of a store against its registry: from keys and hashes to what is wrong with them, without a question.

`take` counts what the sample has; `judge` makes findings of the counts. Those that are no problems are about memory and
time. What a sample shows is said of the sample: "of 800 keys that were looked at". Names, types and numbers only, and
never a value. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from yummy_fast.diagnosis.causes import TIMESTAMP_PREFIX, known_views, span
from yummy_fast.diagnosis.findings import Finding, without_rows
from yummy_fast.diagnosis.stored_keys import StoredKey, join_keys_of
from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.feast_format.registry import DUMMY_JOIN_KEY, FeatureView, Registry
from yummy_fast.feast_format.timestamps import decode_timestamp
from yummy_fast.feast_format.values import declared_type, stored_type
from yummy_fast.features.views import stored_name
from yummy_fast.stores.looks import StoredHash, field_name

BIG_VALUE_BYTES = 10_000
"""A value that takes longer to send and to write than all else in an answer of 50 features."""
MOSTLY = 0.5
"""The share of rows from which on something is said of a view."""
LISTPACK_ENTRIES = 512
"""hash-max-listpack-entries, by default: a longer hash is a hash table whatever its values are."""


@dataclass(slots=True)
class ViewCount:
    """What the sample has of one view."""

    keys: int = 0
    """Keys under its join keys."""
    rows: int = 0
    """Of these, how many have a row of it."""
    other_version: int = 0
    """Rows of it under keys of another serialization version."""
    expired: int = 0
    ages_s: list[float] = field(default_factory=list)
    absent: Counter[str] = field(default_factory=Counter)
    """Feature -> rows without it."""
    nulls: Counter[str] = field(default_factory=Counter)
    other_types: dict[str, Counter[str]] = field(default_factory=dict)
    """Feature -> stored types that are not the declared one."""
    corrupt: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Census:
    """What a sample has, counted."""

    keys: int
    complete: bool
    """Whether it is no sample: these are all keys."""
    kind: str = "redis"
    """Looks.kind of the store."""
    hashes: int = 0
    """Hashes of the project that were read."""
    foreign: int = 0
    """Keys that are not Feast's."""
    projects: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    """Of the project's keys."""
    key_types: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=Counter)
    """(join keys, types of their values) of the project's keys."""
    views: dict[str, ViewCount] = field(default_factory=dict)
    unknown_views: Counter[str] = field(default_factory=Counter)
    """Views that the registry does not have."""
    misplaced: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    """(view, join keys): rows of a view under other join keys than its own."""
    encodings: Counter[str] = field(default_factory=Counter)
    short_hashtables: int = 0
    """Hash tables that are no longer than a listpack may be: a value over 64 bytes made them so."""
    fields: list[int] = field(default_factory=list)
    total_bytes: int = 0
    unknown_bytes: int = 0
    """Names and values of fields that the registry does not know."""
    big_values: Counter[str] = field(default_factory=Counter)
    """Feature -> values over BIG_VALUE_BYTES."""


def take(
    registry: Registry,
    *,
    kind: str,
    versioning: bool,
    key_version: int,
    keys: Mapping[bytes, StoredKey | None],
    hashes: Iterable[tuple[bytes, StoredHash]],
    complete: bool,
    now: datetime,
) -> Census:
    """Count. `kind`: Looks.kind; `keys`: those of the sample, read; `hashes`: what some of the project's keys have."""
    census = Census(len(keys), complete, kind)
    views = {
        stored_name(view.name, view.version if versioning else 0): view
        for view in registry.views.values()
        if isinstance(view, FeatureView)
    }
    census.views = {name: ViewCount() for name in views}
    for read in keys.values():
        if read is None:
            census.foreign += 1
            continue
        census.projects[read.project] += 1
        if read.project == registry.project:
            census.versions[_version(read, key_version)] += 1
            census.key_types[read.join_keys, read.types] += 1
    known = {field_name(kind, name, feature.name) for name, view in views.items() for feature in view.features}
    known |= set(map(timestamp_field, views))
    everything = known_views(registry)
    for key, stored in hashes:
        read = keys.get(key)
        if read is None or stored.kind != "hash":
            continue
        census.hashes += 1
        _count_hash(census, stored, known)
        for name in _views_in(stored):
            if name not in everything:
                census.unknown_views[name] += 1
        for name, view in views.items():
            own = join_keys_of(registry, view)
            there = timestamp_field(name) in stored.fields
            if read.join_keys != own:
                census.misplaced[name, read.join_keys] += there
                continue
            if _version(read, key_version) != key_version:
                census.views[name].other_version += there
                continue
            count = census.views[name]
            count.keys += 1
            if there:
                _count_row(count, census, name, view, stored, now)
    return census


def _version(read: StoredKey, wanted: int) -> int:
    """The version that wrote a key: the wanted one, if it may have been."""
    return wanted if wanted in read.versions else max(read.versions)


def _views_in(stored: StoredHash) -> list[str]:
    prefix = len(TIMESTAMP_PREFIX)
    return [name[prefix:].decode("utf-8", "replace") for name in stored.fields if name.startswith(TIMESTAMP_PREFIX)]


def _count_hash(census: Census, stored: StoredHash, known: set[bytes]) -> None:
    census.encodings[stored.encoding or "unknown"] += 1
    if stored.encoding == "hashtable" and stored.count <= LISTPACK_ENTRIES:
        census.short_hashtables += 1
    census.fields.append(stored.count)
    for name, value in stored.fields.items():
        size = len(name) + len(value)
        census.total_bytes += size
        if name not in known:
            census.unknown_bytes += size


def _count_row(
    count: ViewCount, census: Census, name: str, view: FeatureView, stored: StoredHash, now: datetime
) -> None:
    count.rows += 1
    try:
        age_s = (now - decode_timestamp(stored.fields[timestamp_field(name)])).total_seconds()
    except CorruptValueError:
        count.corrupt["the event timestamp"] += 1
    else:
        count.ages_s.append(age_s)
        count.expired += bool(view.ttl_s) and age_s > view.ttl_s
    for feature in view.features:
        value = stored.fields.get(field_name(census.kind, name, feature.name))
        if value is None:
            count.absent[feature.name] += 1
            continue
        if len(value) > BIG_VALUE_BYTES:
            census.big_values[f"{view.name}:{feature.name}"] += 1
        try:
            kind = stored_type(value)
        except CorruptValueError:
            count.corrupt[feature.name] += 1
            continue
        if not kind:
            count.nulls[feature.name] += 1
        elif declared_type(feature.type) not in ("", kind):
            count.other_types.setdefault(feature.name, Counter())[kind] += 1


# ------------------------------------------------------------------------------------------------------------ judging


def judge(
    census: Census,
    registry: Registry,
    *,
    key_version: int,
    address: str,
    db: int,
    databases: Mapping[int, int],
    strict: bool = False,
) -> list[Finding]:
    """What is wrong, the gravest first.

    `strict`: whether requests are answered with --compat strict, where a view without entities is read from both keys
    that Feast may have written it under.
    """
    found: list[Finding] = []
    if not census.keys and census.kind == "sqlite":
        text = f"{address} has no rows at all: nothing was ever materialized, or this is another file than the writer's"
        return [Finding("wrong_file", text)]
    if not census.keys:
        others = ", ".join(f"{number} ({keys} keys)" for number, keys in databases.items() if number != db)
        if others:
            found.append(
                Finding(
                    "other_db",
                    f"database {db} of {address} is empty, and there are keys in {others}: db in "
                    "online_store.connection_string is not that of the writer",
                )
            )
        else:
            found.append(
                Finding(
                    "wrong_redis",
                    f"{address} has no keys at all: nothing was ever materialized, or this is another Redis than the "
                    "one that was written",
                )
            )
        return found
    looked = f"of {census.keys} keys" if census.complete else f"of {census.keys} keys that were looked at"
    own = census.projects[registry.project]
    if not own:
        others = ", ".join(f"{name} ({keys})" for name, keys in census.projects.most_common(5)) or "none of Feast's"
        cause = "other_project" if census.projects else "wrong_file" if census.kind == "sqlite" else "wrong_redis"
        found.append(
            Finding(
                cause,
                f"no key belongs to project {registry.project}, {looked}; their projects: {others}. A project reads "
                "its own rows only: compare project in feature_store.yaml with the writer's",
            )
        )
        return found
    found += _of_keys(census, registry, key_version, own, strict=strict)
    for name, count in sorted(census.views.items()):
        found += _of_view(census, registry, name, count, looked, strict=strict)
    found += _advice(census)
    return found


def _of_keys(census: Census, registry: Registry, key_version: int, own: int, *, strict: bool) -> list[Finding]:
    found = []
    for version, count in sorted(census.versions.items()):
        if version != key_version:
            found.append(
                Finding(
                    "key_version",
                    f"{count} of {own} keys have serialization version {version}, and this repository reads "
                    f"{key_version}: set entity_key_serialization_version: {version}, or materialize again",
                )
            )
    declared = _declared_types(registry)
    sets = {join_keys_of(registry, view) for view in registry.views.values() if isinstance(view, FeatureView)}
    for (join_keys, types), count in census.key_types.most_common():
        if not join_keys and (strict or any(rows and not names for (_, names), rows in census.misplaced.items())):
            continue  # these are read, or `_of_view` names the view
        if not join_keys:
            found.append(
                Finding(
                    "entityless_push",
                    "there is a key of no join keys: Feast's push stores a view without entities there, and reads "
                    "look for __dummy_id; materialize the view, give it an entity, or serve with --compat strict, "
                    "which reads both keys",
                )
            )
            continue
        names = ", ".join(join_keys)
        if join_keys not in sets:
            found.append(
                Finding(
                    "join_keys",
                    f"{count} of {own} keys have the join keys {names}, which no view of the registry has: views were "
                    "written with other entities, or are gone; materialize those that have other entities now",
                )
            )
            continue
        for join_key, kind in zip(join_keys, types, strict=True):
            wanted = declared.get(join_key, set())
            if wanted and kind not in wanted and join_key != DUMMY_JOIN_KEY:
                those = " and ".join(sorted(wanted))
                found.append(
                    Finding(
                        "join_key_type",
                        f"{count} of {own} keys have {join_key} as {kind}, and the registry declares {those}: the "
                        "types are part of the key; declare the type that the writer has, or materialize again",
                    )
                )
    for name, count in census.unknown_views.most_common(5):
        found.append(
            Finding(
                "renamed_view",
                f"{count} of {census.hashes} hashes have rows of a view {name}, which the registry does not have: if "
                "it was renamed, materialize it under its new name",
            )
        )
    return found


def _declared_types(registry: Registry) -> dict[str, set[str]]:
    """Join key -> its types: those that the views declare, or else that of the entity."""
    types: dict[str, set[str]] = {}
    for view in registry.views.values():
        if isinstance(view, FeatureView):
            for column in view.entity_columns:
                if column.type:
                    types.setdefault(column.name, set()).add(column.type.name)
    for entity in registry.entities.values():
        if entity.type:
            types.setdefault(entity.join_key, {entity.type.name})
    return types


def _of_view(
    census: Census, registry: Registry, name: str, count: ViewCount, looked: str, *, strict: bool
) -> list[Finding]:
    found = []
    view = known_views(registry)[name]
    if not count.rows:
        if count.other_version:
            return []  # which is a finding about the keys
        under = [join_keys for (view, join_keys), rows in census.misplaced.items() if view == name and rows]
        if under and under[0]:
            names = ", ".join(under[0])
            text = f"view {name} has rows under {names}, and none under its own join keys; materialize it"
            found.append(Finding("join_keys", text))
        elif under and not strict:
            text = (
                f"view {name} has a row under no join keys, where Feast's push stores it, and none under __dummy_id, "
                "which reads look for; materialize it, give it an entity, or serve with --compat strict, which reads "
                "both keys"
            )
            found.append(Finding("entityless_push", text))
        elif not under and view.online and (count.keys or census.complete):
            under_join_keys = f"; {count.keys} of them are under its join keys" if count.keys else ""
            found.append(without_rows(view, f"{looked}{under_join_keys}"))
        return found
    for feature, rows in count.corrupt.most_common():
        found.append(Finding("corrupt", f"{name}: {feature} is no Feast value in {rows} of {count.rows} rows"))
    for feature, rows in count.absent.most_common():
        found.append(
            Finding(
                "added_feature",
                f"{rows} of {count.rows} rows of {name} have no {feature}: they were written before it was added or "
                f"renamed; materialize {name} again",
            )
        )
    for feature, kinds in sorted(count.other_types.items()):
        declared = {one.name: declared_type(one.type) for one in view.features}[feature]
        kind, rows = kinds.most_common(1)[0]
        found.append(
            Finding(
                "value_type",
                f"{name}:{feature} is stored as {kind} in {rows} of {count.rows} rows, and declared as {declared}; "
                f"materialize {name} again",
            )
        )
    if count.expired > MOSTLY * count.rows:
        found.append(
            Finding(
                "expired",
                f"{count.expired} of {count.rows} rows of {name} are older than its ttl of {span(view.ttl_s)} (half "
                f"of them older than {span(sorted(count.ages_s)[len(count.ages_s) // 2])}): materialize it more "
                "often, or raise its ttl",
            )
        )
    for feature, rows in count.nulls.most_common():
        if rows == count.rows or rows > MOSTLY * count.rows:
            found.append(
                Finding(
                    "stored_null",
                    f"{name}:{feature} is a stored null in {rows} of {count.rows} rows: look at its source",
                    is_problem=rows == count.rows,
                )
            )
    return found


def _advice(census: Census) -> list[Finding]:
    if census.kind != "redis":  # what follows is about HGETALL and Redis's memory
        return []
    found = []
    if census.unknown_bytes > MOSTLY * census.total_bytes:
        share = 100 * census.unknown_bytes / census.total_bytes
        found.append(
            Finding(
                "unknown_fields",
                f"{share:.0f} % of the bytes in {census.hashes} hashes belong to fields that the registry does not "
                "have: they take memory, and HGETALL sends them for nothing; remove the rows of views that are gone, "
                "or materialize into an empty database",
                is_problem=False,
            )
        )
    if census.short_hashtables > MOSTLY * census.hashes:
        found.append(
            Finding(
                "hashtable",
                f"{census.short_hashtables} of {census.hashes} hashes are hash tables though they are short: a value "
                "over hash-max-listpack-value (64 bytes) makes Redis keep them so, which takes several times the "
                "memory. HMGET is cheap there and HGETALL sends everything: serve with --redis-read hmget, or raise "
                "that setting of Redis",
                is_problem=False,
            )
        )
    for feature, values in census.big_values.most_common(3):
        found.append(
            Finding(
                "big_value",
                f"{feature} has values over {BIG_VALUE_BYTES} bytes ({values} of {census.hashes} hashes): every "
                "request that reads its entity by HGETALL is sent them",
                is_problem=False,
            )
        )
    return found


def as_json(census: Census) -> dict[str, Any]:
    """The counts, for programs."""
    return {
        "keys": census.keys,
        "complete": census.complete,
        "foreign_keys": census.foreign,
        "projects": dict(census.projects),
        "key_versions": dict(census.versions),
        "hashes": census.hashes,
        "encodings": dict(census.encodings),
        "fields": _quantiles([float(count) for count in census.fields]),
        "bytes": census.total_bytes,
        "unknown_bytes": census.unknown_bytes,
        "unknown_views": dict(census.unknown_views),
        "views": [
            {
                "name": name,
                "keys": count.keys,
                "rows": count.rows,
                "expired": count.expired,
                "age_s": _quantiles(count.ages_s),
                "nulls": dict(count.nulls),
                "absent": dict(count.absent),
            }
            for name, count in sorted(census.views.items())
        ],
    }


def _quantiles(numbers: list[float]) -> dict[str, float] | None:
    if not numbers:
        return None
    ordered = sorted(numbers)
    return {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]}
