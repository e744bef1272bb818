"""`yummy-fast explain` and `POST /-/explain`: ask the store about one entity until the cause of a null is known.

What is asked, in this order, each step only if the ones before left the cause open:

1. the hash under the key that a request looks up                              HGETALL, or HMGET of a large one
2. the keys that other repositories would have used, here and in other databases     EXISTS, HEXISTS
3. keys that have the same values in them: other projects, more join keys      SCAN with MATCH, bounded in time
4. a sample of the other keys: has anybody a row of the view?                  SCAN, HEXISTS, bounded in number and time

It knows no store: it asks `stores.looks.Looks`. What follows from the answers is for `causes` to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from yummy_fast.diagnosis.causes import (
    Elsewhere,
    Evidence,
    Explanation,
    Neighbours,
    judge,
    known_views,
)
from yummy_fast.diagnosis.ideas import ideas, value_bytes
from yummy_fast.diagnosis.question import Question
from yummy_fast.diagnosis.stored_keys import join_keys_of, known_join_keys, read_key
from yummy_fast.feast_format.keys import entity_key_header, feature_field, timestamp_field
from yummy_fast.feast_format.registry import FeatureView
from yummy_fast.stores.looks import Looks, field_name

MATCH_S = 2.0
"""How long a SCAN may look for keys with the entity's values."""
SAMPLE_S = 1.0
"""How long a sample of the other keys may take."""
MAX_MATCHES = 100
SAMPLED_KEYS = 1_000


def explain(question: Question, looks: Looks, now: datetime) -> Explanation:
    """Find the cause. Raises StoreUnavailableError."""
    wanted = [field_name(looks.kind, question.store_name, feature.name) for feature in question.features]
    stamp = timestamp_field(question.store_name)
    evidence = Evidence(
        question=question,
        kind=looks.kind,
        address=looks.address,
        db=looks.db,
        databases=dict(looks.databases()),
        key_ttl_s=looks.key_ttl_s,
        row=looks.read(question.key, looks.db, [*wanted, stamp]),
        collisions=collisions(question) if looks.kind == "redis" else (),
    )
    cause = judge(evidence, now)
    if cause.name in ("wrong_redis", "wrong_file", "never_materialized", "rows_missing", "unknown_entity"):
        evidence = replace(evidence, elsewhere=_elsewhere(question, looks, evidence.databases))
        if not any(one.has_view for one in evidence.elsewhere):
            evidence = replace(evidence, neighbours=_neighbours(question, looks))
        cause = judge(evidence, now)
    return Explanation(evidence, cause, now)


def collisions(question: Question) -> tuple[tuple[str, str], ...]:
    """The features that are asked about, each with one that has the same field under the same join keys."""
    join_keys = join_keys_of(question.registry, question.view)
    fields: dict[bytes, list[str]] = {}
    for view in question.registry.views.values():
        if isinstance(view, FeatureView) and join_keys_of(question.registry, view) == join_keys:
            for feature in view.features:
                fields.setdefault(feature_field(view.name, feature.name), []).append(f"{view.name}:{feature.name}")
    found = []
    for feature in question.features:
        own = f"{question.view.name}:{feature.name}"
        found += [
            (own, other) for other in fields.get(feature_field(question.view.name, feature.name), ()) if other != own
        ]
    return tuple(found)


def _elsewhere(question: Question, looks: Looks, databases: Mapping[int, int]) -> tuple[Elsewhere, ...]:
    """The row under another key, or in another database."""
    stamp = timestamp_field(question.store_name)
    others = [db for db in databases if db != looks.db]
    found = []
    for db in others:
        if looks.exist([question.key], db)[0]:
            has_view = looks.have_field([question.key], stamp, db)[0]
            found.append(Elsewhere("other_db", f"database {db}", db, has_view))
    guesses = ideas(question)
    keys = [idea.key for idea in guesses]
    for db in (looks.db, *others):
        there = [idea for idea, exists in zip(guesses, looks.exist(keys, db), strict=True) if exists]
        rows = looks.have_field([idea.key for idea in there], stamp, db)
        found += [Elsewhere(idea.cause, idea.words, db, row) for idea, row in zip(there, rows, strict=True)]
    if not any(one.has_view for one in found):
        found += _with_the_values(question, looks)
    return tuple(found)


def _with_the_values(question: Question, looks: Looks) -> list[Elsewhere]:
    """Keys with the entity's values in them, whatever else they have: of another project, or of more join keys."""
    if question.is_entityless:
        return []
    views = list(known_views(question.registry))
    contains = value_bytes(question.parts, question.key_version)
    scan = looks.scan(db=looks.db, contains=contains, views=views, max_keys=MAX_MATCHES, time_s=MATCH_S)
    keys = [key for key in scan.keys if key != question.key]
    stamp = timestamp_field(question.store_name)
    found: dict[Elsewhere, None] = {}
    names = tuple(part.join_key for part in question.parts)
    known = known_join_keys(question.registry)
    for key, has_view in zip(keys, looks.have_field(keys, stamp, looks.db), strict=True):
        read = read_key(key, known)
        if read is None:
            continue
        if read.project != question.project and read.join_keys == names:
            found[Elsewhere("other_project", read.project, looks.db, has_view)] = None
        elif read.project == question.project and read.join_keys != names:
            found[Elsewhere("join_keys", ", ".join(read.join_keys), looks.db, has_view)] = None
    return list(found)


def _neighbours(question: Question, looks: Looks) -> Neighbours:
    """What a sample of the other keys shows."""
    scan = looks.scan(db=looks.db, views=list(known_views(question.registry)), max_keys=SAMPLED_KEYS, time_s=SAMPLE_S)
    known = known_join_keys(question.registry)
    names = tuple(part.join_key for part in question.parts)
    read = {key: found for key in scan.keys if (found := read_key(key, known)) is not None}
    if not scan.complete and not any(found.join_keys == names for found in read.values()):
        # Many other keys hide those of this kind: look for the latter alone.
        header = entity_key_header(names, question.key_version)
        more = looks.scan(db=looks.db, contains=[header], max_keys=MAX_MATCHES, time_s=MATCH_S)
        read |= {key: found for key in more.keys if (found := read_key(key, known)) is not None}
    own = [key for key, found in read.items() if found.project == question.project]
    same = [key for key in own if read[key].join_keys == names]
    stamp = timestamp_field(question.store_name)
    having = dict(zip(own, looks.have_field(own, stamp, looks.db), strict=True))
    with_view = [key for key in same if having[key]]
    expiring = sum(1 for _, one in looks.read_many(with_view[:10], [stamp]) if one.expires_s is not None)
    shapes = Counter(
        ", ".join(f"{name} ({kind})" for name, kind in zip(read[key].join_keys, read[key].types, strict=True))
        for key in own
        if having[key] and key not in with_view
    )
    return Neighbours(
        keys=len(scan.keys),
        complete=scan.complete,
        of_project=len(own),
        of_join_keys=len(same),
        with_view=len(with_view),
        expiring=expiring,
        projects=tuple(name for name, _ in Counter(found.project for found in read.values()).most_common()),
        shapes=tuple(shape or "no join keys" for shape, _ in shapes.most_common()),
    )
