"""Where else the row of an entity may be: the keys that a slightly different repository would have written it under.

An online store answers by the bytes of a key, so a row that was written with another type of join key, another version
of the format or another project is as absent as one that was never written. Each `Idea` is such a key, and the words
for what differs. There are some dozens, and each is asked for by an EXISTS. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, permutations, product
from typing import NamedTuple

from yummy_fast.diagnosis.question import KeyPart, Question, entity_key
from yummy_fast.feast_format.keys import entity_key_header
from yummy_fast.feast_format.values import ValueType

MAX_IDEAS = 400
"""A key of many join keys could be written in thousands of ways."""
MAX_PERMUTED = 4
"""Join keys whose orders are all tried: 24."""


class Idea(NamedTuple):
    """A key that the row may be under."""

    key: bytes
    cause: str
    """Which of the causes it would be: see `causes`."""
    words: str
    """How the key differs from the one that is looked up."""


def ideas(question: Question) -> list[Idea]:
    """All ideas about a question, the likelier first, each key once, without the key itself."""
    found: dict[bytes, Idea] = {}
    for idea in _all(question):
        if idea.key != question.key and idea.key not in found:
            found[idea.key] = idea
            if len(found) >= MAX_IDEAS:
                break
    return list(found.values())


def _all(question: Question) -> Iterator[Idea]:
    parts, version = question.parts, question.key_version
    project = question.project.encode()
    own = entity_key(parts, version)
    for other in question.registry.other_projects:
        yield Idea(own + other.encode(), "other_project", other)
    for other_version in (3, 2, 1):
        if other_version != version:
            yield from _made(parts, other_version, project, "key_version", str(other_version))
    if question.is_entityless:
        # Feast 0.67's push of a view without entities makes a key of no join keys at all: 00000000.
        for each in (version, *{3, 2} - {version}):
            yield Idea(entity_key((), each) + project, "entityless_push", "no join keys at all")
        return
    for retyped in product(*map(_other_types, parts)):
        changes = [
            f"{new.join_key} as {new.type.name}"
            for new, old in zip(retyped, parts, strict=True)
            if new.type != old.type
        ]
        if changes:
            yield from _made(retyped, version, project, "join_key_type", ", ".join(changes))
    for size in range(len(parts) - 1, 0, -1):
        for fewer in combinations(parts, size):
            names = ", ".join(part.join_key for part in fewer)
            yield from _made(fewer, version, project, "join_keys", f"only {names}")
    if 1 < len(parts) <= MAX_PERMUTED:
        for order in permutations(parts):
            names = ", ".join(part.join_key for part in order)
            yield from _made(order, version, project, "join_keys", f"the order {names}")
    renamed = [_by_entity(question, part) for part in parts]
    if renamed != list(parts):
        names = ", ".join(part.join_key for part in renamed)
        yield from _made(sorted(renamed, key=lambda part: part.join_key), version, project, "join_keys", f"as {names}")
    # Two differences at once: an old repository had both other types and another version.
    for other_version in {3, 2} - {version}:
        for retyped in product(*map(_other_types, parts)):
            words = f"{other_version}, {', '.join(f'{part.join_key} as {part.type.name}' for part in retyped)}"
            yield from _made(retyped, other_version, project, "key_version", words)


def _made(parts: Sequence[KeyPart], version: int, project: bytes, cause: str, words: str) -> Iterator[Idea]:
    with suppress(struct.error):  # of a number that version 1 has no room for
        yield Idea(entity_key(parts, version) + project, cause, words)


def _other_types(part: KeyPart) -> list[KeyPart]:
    """A part, and what it would be if its join key had another type."""
    found = [part]
    text = part.value if isinstance(part.value, str) else str(part.value)
    if part.type is not ValueType.STRING:
        found.append(replace(part, type=ValueType.STRING, value=text))
    if text.removeprefix("-").isdecimal() and len(text) < 20:
        number = int(text)
        for kind, bits in ((ValueType.INT64, 63), (ValueType.INT32, 31), (ValueType.UNIX_TIMESTAMP, 63)):
            if kind is not part.type and -(1 << bits) <= number < 1 << bits:
                found.append(replace(part, type=kind, value=number))
    if isinstance(part.value, str):
        found.append(replace(part, type=ValueType.BYTES, value=text.encode()))
    return found


def _by_entity(question: Question, part: KeyPart) -> KeyPart:
    """A part under the name of its entity, which some writers take for the join key."""
    for entity in question.registry.entities.values():
        if entity.join_key == part.join_key and entity.name in question.view.entities:
            return replace(part, join_key=entity.name)
    return part


def value_bytes(parts: Iterable[KeyPart], version: int) -> list[bytes]:
    """Each value as it stands in an entity key, whatever the join keys are called."""
    header = len(entity_key_header([""], version))
    return [entity_key([replace(part, join_key="")], version)[header:] for part in parts]
