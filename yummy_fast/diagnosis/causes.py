"""From what was found in a store to the cause of a null, and to one sentence that says what to do.

`explain` collects `Evidence`; `judge` looks at it from the nearest to the farthest: the row and its feature, the hash
around it, the same row elsewhere, the other rows of the view, the store as a whole. The first that explains the null
is the cause. So a row that is there is never blamed on the store, and "never materialized" is said only when no
likelier key has the row.

The sentences name views, features, join keys, types, projects and databases, and never a stored value. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from yummy_fast.diagnosis.findings import without_rows
from yummy_fast.diagnosis.question import Question
from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.feast_format.registry import FeatureView, Registry
from yummy_fast.feast_format.timestamps import decode_timestamp
from yummy_fast.feast_format.values import declared_type, decode_value, stored_type
from yummy_fast.features.views import stored_name
from yummy_fast.stores.looks import StoredHash, field_name

TIMESTAMP_PREFIX = b"_ts:"


class Cause(NamedTuple):
    """Why a feature is null, or that it is not."""

    name: str
    """For programs and tests."""
    sentence: str
    """For people: the cause and what to do."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The row, or one that may be it, under another key or in another database."""

    cause: str
    words: str
    """How the key differs: see `ideas.Idea`."""
    db: int
    has_view: bool
    """Whether there is a row of the view in it."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a sample of the store's other keys showed."""

    keys: int
    complete: bool
    """Whether it is no sample: all keys of the database were looked at."""
    of_project: int
    of_join_keys: int
    """Keys of the project under the view's join keys."""
    with_view: int
    """Of these, how many have a row of the view."""
    expiring: int
    """Of these, how many the store will remove by itself."""
    projects: tuple[str, ...] = ()
    """The projects of the keys, the most frequent first."""
    shapes: tuple[str, ...] = ()
    """Other join keys under which there are rows of the view: `city_id (INT64), driver_id (INT64)`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was found out about a question."""

    question: Question
    kind: str
    """Looks.kind of the store."""
    address: str
    db: int
    databases: dict[int, int]
    key_ttl_s: int
    row: StoredHash | None
    """What is under the key that a request looks up."""
    elsewhere: tuple[Elsewhere, ...] = ()
    neighbours: Neighbours | None = None
    """None if the row made it unnecessary to look at others."""
    collisions: tuple[tuple[str, str], ...] = ()
    """Features that share one field, of which one is asked about."""


# ----------------------------------------------------------------------------------------------------- what is there


class FeatureFound(NamedTuple):
    """One feature in the row."""

    name: str
    field: str
    """The name of its field: in Redis, in hexadecimal; in SQLite, view and feature."""
    state: str
    """present, null, absent or corrupt."""
    declared: str
    stored: str
    """The type of the stored value; empty if there is none."""
    value: Any = None


class ViewFound(NamedTuple):
    """One view that has a row in the hash."""

    name: str
    known: bool
    """Whether the registry has it."""
    event_time: datetime | None
    """None if it does not decode."""
    ttl_s: float

    def is_expired(self, now: datetime) -> bool:
        return bool(self.ttl_s) and self.event_time is not None and (now - self.event_time).total_seconds() > self.ttl_s


def features_found(evidence: Evidence) -> list[FeatureFound]:
    """What the row has of each feature that is asked about."""
    question = evidence.question
    fields = {} if evidence.row is None else evidence.row.fields
    found = []
    for feature in question.features:
        field = field_name(evidence.kind, question.store_name, feature.name)
        stored = fields.get(field)
        declared = declared_type(feature.type)
        in_words = field.hex() if evidence.kind == "redis" else field.decode()
        one = FeatureFound(feature.name, in_words, "absent", declared, "")
        if stored is not None:
            try:
                kind = stored_type(stored)
                one = one._replace(state="present" if kind else "null", stored=kind, value=decode_value(stored))
            except CorruptValueError:
                one = one._replace(state="corrupt")
        found.append(one)
    return found


def views_found(evidence: Evidence) -> list[ViewFound]:
    """The views that have a row in the hash, by their event timestamps."""
    if evidence.row is None:
        return []
    known = known_views(evidence.question.registry)
    found = []
    for field, stamp in sorted(evidence.row.fields.items()):
        if not field.startswith(TIMESTAMP_PREFIX):
            continue
        name = field[len(TIMESTAMP_PREFIX) :].decode("utf-8", "replace")
        try:
            moment: datetime | None = decode_timestamp(stamp)
        except CorruptValueError:
            moment = None
        view = known.get(name)
        found.append(ViewFound(name, view is not None, moment, view.ttl_s if view else 0.0))
    return found


def known_views(registry: Registry) -> dict[str, FeatureView]:
    """The views of a registry by every name that a store may have them under."""
    views = {view.name: view for view in registry.views.values() if isinstance(view, FeatureView)}
    for (name, version), view in registry.versions.items():
        if isinstance(view, FeatureView):
            views.setdefault(stored_name(name, version), view)
    for view in list(views.values()):
        views.setdefault(stored_name(view.name, view.version), view)
    return views


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say about one question."""

    evidence: Evidence
    cause: Cause
    now: datetime

    def as_json(self, *, values: bool) -> dict[str, Any]:
        """For programs. Stored values only with `values`."""
        evidence, question = self.evidence, self.evidence.question
        row = evidence.row
        return {
            "view": question.view.name,
            "features": [
                {
                    "name": one.name,
                    "field": one.field,
                    "state": one.state,
                    "declared": one.declared,
                    "stored": one.stored or None,
                    **({"value": one.value} if values else {}),
                }
                for one in features_found(evidence)
            ],
            "key": {
                "words": question.words(),
                "project": question.project,
                "version": question.key_version,
                "bytes": question.key.hex(),
                "exists": row is not None,
                "fields": row.count if row is not None else 0,
                "expires_s": row.expires_s if row is not None else None,
            },
            "store": {
                "kind": evidence.kind,
                "address": evidence.address,
                "db": evidence.db,
                "keys_by_db": evidence.databases,
            },
            "views_in_hash": [
                {
                    "name": one.name,
                    "known": one.known,
                    "event_time": one.event_time.isoformat() if one.event_time else None,
                    "age_s": round((self.now - one.event_time).total_seconds(), 1) if one.event_time else None,
                    "ttl_s": one.ttl_s or None,
                    "expired": one.is_expired(self.now),
                }
                for one in views_found(evidence)
            ],
            "elsewhere": [
                {"cause": one.cause, "differs": one.words, "db": one.db, "has_view": one.has_view}
                for one in evidence.elsewhere
            ],
            "cause": self.cause.name,
            "sentence": self.cause.sentence,
        }


# ------------------------------------------------------------------------------------------------------------ judging


def judge(evidence: Evidence, now: datetime) -> Cause:
    """The cause."""
    question, row = evidence.question, evidence.row
    if row is not None and row.kind != "hash":
        return Cause(
            "not_a_hash",
            f"Under this key Redis has a {row.kind}, and Feast writes hashes: another program uses this database; "
            "delete the key, and materialize the view again.",
        )
    if row is None or timestamp_field(question.store_name) not in row.fields:
        return (_hash_without_view(evidence) if row is not None else None) or _no_row(evidence)
    return _of_the_row(evidence, now)


def _of_the_row(evidence: Evidence, now: datetime) -> Cause:
    """The view has a row for the entity."""
    question, name = evidence.question, evidence.question.view.name
    view = question.view
    if evidence.collisions:
        own_ref, other_ref = evidence.collisions[0]
        return Cause(
            "collision",
            f"{own_ref} and {other_ref} share one field in Redis, since the murmur3 hashes of their names are equal, "
            "so whichever was written last is answered for both: rename one of the two, run feast apply, and "
            f"materialize {name}.",
        )
    if view.disabled:
        return Cause(
            "disabled", f"View {name} is disabled, and requests for it are refused: enable it, and run feast apply."
        )
    states: dict[str, list[str]] = {}
    features = features_found(evidence)
    for feature in features:
        states.setdefault(feature.state, []).append(feature.name)
    if "corrupt" in states:
        return Cause(
            "corrupt",
            f"The stored bytes of {_list(states['corrupt'])} are no Feast value: something else wrote them; "
            f"materialize {name} again.",
        )
    if "absent" in states:
        return Cause(
            "added_feature",
            f"The row of {name} has no {_list(states['absent'])}: it was written before the feature was added or "
            f"renamed; materialize {name} again.",
        )
    own = next(found for found in views_found(evidence) if found.name == question.store_name)
    if own.event_time is None:
        return Cause(
            "corrupt", f"The event timestamp of {name} is no Feast timestamp; materialize {name} for this entity again."
        )
    if own.is_expired(now):
        age = span((now - own.event_time).total_seconds())
        return Cause(
            "expired",
            f"The row is {age} old, and the ttl of {name} is {span(own.ttl_s)}: strict statuses say OUTSIDE_MAX_AGE, "
            f"and Feast's Java and Go servers do so too; materialize {name} more often, or raise its ttl.",
        )
    if "null" in states:
        return Cause(
            "stored_null",
            f"A null is stored for {_list(states['null'])}: the source had no value in the row of "
            f"{own.event_time:%Y-%m-%d %H:%M:%S} UTC; look at the source of {name}.",
        )
    retyped = [feature for feature in features if feature.declared and feature.stored != feature.declared]
    if retyped:
        feature = retyped[0]
        return Cause(
            "value_type",
            f"{feature.name} is stored as {feature.stored}, and declared as {feature.declared}: it was written before "
            f"its type was changed; materialize {name} again.",
        )
    return Cause("present", "The row is there and every feature has a value: a request for this entity is answered.")


def _hash_without_view(evidence: Evidence) -> Cause | None:
    """The entity has a hash, and the view has no row in it."""
    question, name = evidence.question, evidence.question.view.name
    assert evidence.row is not None, "there is a hash"  # noqa: S101
    found = views_found(evidence)
    versions = [one.name for one in found if _without_version(one.name) == _without_version(question.store_name)]
    if versions:
        setting = "enable_online_feature_view_versioning"
        return Cause(
            "view_version",
            f"Under this key are rows of {_list(versions)}, and {question.store_name} is looked up: another version of "
            f"the view was written; compare {setting} of the writer and of this repository, and materialize {name}.",
        )
    unknown = [one.name for one in found if not one.known]
    fields = set(evidence.row.fields)
    renamed = [
        one
        for one in unknown
        if any(field_name(evidence.kind, one, feature.name) in fields for feature in question.features)
    ]
    if renamed:
        return Cause(
            "renamed_view",
            f"The values were written by a view {renamed[0]}, which the registry does not have, and Feast finds a "
            f"value by the names of view and feature: if {name} is its new name, materialize {name}.",
        )
    return None


def _no_row(evidence: Evidence) -> Cause:
    """The view has no row for the entity under the key that is looked up."""
    with_view = [one for one in evidence.elsewhere if one.has_view]
    if with_view:
        return _found_elsewhere(evidence, with_view[0])
    return _not_found(evidence)


def _found_elsewhere(evidence: Evidence, found: Elsewhere) -> Cause:
    question, name = evidence.question, evidence.question.view.name
    join_keys = ", ".join(part.join_key for part in question.parts)
    declared = ", ".join(f"{part.join_key} as {part.type.name}" for part in question.parts)
    in_db = f" in database {found.db}" if found.db != evidence.db else ""
    if found.cause == "other_db":
        sentence = (
            f"The row is in database {found.db} of this Redis, and this repository reads database {evidence.db}: "
            f"write db={found.db} into online_store.connection_string, or materialize with db={evidence.db}."
        )
    elif found.cause == "other_project":
        sentence = (
            f"The row{in_db} was written by project {found.words}, and this repository is project {question.project}: "
            f"a project reads its own rows only; set project: {found.words}, or materialize {name} in "
            f"{question.project}."
        )
    elif found.cause == "key_version":
        version, _, types = found.words.partition(", ")
        with_types = f", with {types}" if types else ""
        sentence = (
            f"The row{in_db} is under an entity key of serialization version {version}{with_types}, and this "
            f"repository reads version {question.key_version}: set entity_key_serialization_version: {version}, or "
            f"materialize {name} with {question.key_version}."
        )
    elif found.cause == "join_key_type":
        sentence = (
            f"The row{in_db} was written with {found.words}, and the registry declares {declared}: the types are part "
            f"of the key; declare in entity and schema the type that the writer has, or materialize {name} again."
        )
    elif found.cause == "entityless_push":
        sentence = (
            f"The row{in_db} was pushed: Feast's push stores a view without entities under a key of no join keys, and "
            f"its reads look for __dummy_id; materialize {name}, give the view an entity, or serve with --compat "
            "strict, which reads both keys."
        )
    else:  # join_keys
        sentence = (
            f"The row{in_db} was written under other join keys ({found.words}), and {name} is read by {join_keys}: "
            f"materialize {name} with the entities that it has now, or give it those of the writer."
        )
    return Cause(found.cause, sentence)


def _not_found(evidence: Evidence) -> Cause:
    """No row of the entity is to be found: what the other rows say."""
    question, name = evidence.question, evidence.question.view.name
    neighbours = evidence.neighbours
    project = question.project
    if neighbours is None or neighbours.keys == 0:
        if evidence.kind == "sqlite":
            return Cause(
                "wrong_file",
                f"{evidence.address} has no rows: this is another file than the one that was written, or nothing was "
                "ever materialized; compare online_store.path with the writer's feature_store.yaml.",
            )
        elsewhere = [db for db in evidence.databases if db != evidence.db]
        others = f", though databases {_list(list(map(str, elsewhere)))} have keys" if elsewhere else ""
        return Cause(
            "wrong_redis",
            f"Database {evidence.db} of {evidence.address} has no keys{others}: this is another Redis than the one "
            "that was written, or nothing was ever materialized; compare online_store with the writer's "
            "feature_store.yaml.",
        )
    if neighbours.of_project == 0:
        projects = f"; there are keys of {_list(list(neighbours.projects[:3]))}" if neighbours.projects else ""
        cause, where = "wrong_redis", f"Database {evidence.db} of {evidence.address}"
        if evidence.kind == "sqlite":
            cause, where = "wrong_file", evidence.address
        return Cause(
            cause,
            f"{where} has no keys of project "
            f"{project}{_so_far(neighbours)}{projects}: compare project and online_store with the writer's "
            "feature_store.yaml, or materialize.",
        )
    if neighbours.with_view == 0:
        shapes = f" There are rows of {name} under {neighbours.shapes[0]}:" if neighbours.shapes else ""
        if shapes:
            return Cause(
                "join_keys",
                f"{shapes.strip()} those are other join keys than the registry has now; materialize {name}.",
            )
        seen = "" if neighbours.complete else f"of {neighbours.keys} keys that were looked at"
        unwritten = without_rows(question.view, seen)
        return Cause(unwritten.name, f"{unwritten.text[0].upper()}{unwritten.text[1:]}.")
    share = f"{neighbours.with_view} of {neighbours.of_join_keys} keys {'looked at' if not neighbours.complete else ''}"
    if neighbours.expiring or evidence.key_ttl_s:
        ttl = f" (key_ttl_seconds: {evidence.key_ttl_s})" if evidence.key_ttl_s else ""
        return Cause(
            "redis_expiry",
            f"Other entities have a row of {name} ({share.strip()}), and Redis removes these keys by itself{ttl}: the "
            f"row of this entity has expired, or was never written; materialize {name} more often, or raise "
            "key_ttl_seconds.",
        )
    return Cause(
        "unknown_entity",
        f"Other entities have a row of {name} ({share.strip()}), and this one has none: the source has no such entity "
        "in the time that was materialized; look for it in the source, and check the key for a typing error.",
    )


def _so_far(neighbours: Neighbours) -> str:
    return "" if neighbours.complete else f" (of {neighbours.keys} keys that were looked at)"


def _without_version(name: str) -> str:
    return re.sub(r"_v\d+$", "", name)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def span(seconds: float) -> str:
    """A length of time in words: 90 s, 5 min, 3 h, 12 days."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.0f} days"
