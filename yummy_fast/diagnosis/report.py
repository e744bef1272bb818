"""The text of `explain`, and of the sample of `doctor`. The last line of an explanation is its sentence.

Pure: records in, lines out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from textwrap import wrap
from unicodedata import combining, east_asian_width

from yummy_fast.diagnosis.causes import Explanation, ViewFound, features_found, span, views_found
from yummy_fast.diagnosis.census import Census
from yummy_fast.diagnosis.question import Question, entity_key
from yummy_fast.feast_format.keys import entity_key_header

_WIDTH = 110


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in aligned columns, the first one as the head. Numbers are aligned to the right."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(_columns, column)) for column in zip(*shown, strict=True)]
    lines = []
    for index, row in enumerate(shown):
        cells = []
        for cell, width in zip(row, widths, strict=True):
            padding = " " * (width - _columns(cell))
            is_number = cell.replace(".", "").replace("-", "").isdigit()
            cells.append(padding + cell if is_number else cell + padding)
        lines.append("  ".join(cells).rstrip())
        if index == 0:
            lines.append("  ".join("-" * width for width in widths))
    return lines


def printable(text: str) -> str:
    """A text in one line: a stored value may have line ends, or what a terminal takes for a command."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for wide letters (Unicode's annex 11), none for accents."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def explanation_lines(explanation: Explanation, *, values: bool) -> list[str]:
    """What was found about a question, and why."""
    evidence, question = explanation.evidence, explanation.evidence.question
    row = evidence.row
    names = ", ".join(feature.name for feature in question.features)
    lines = [
        *_labelled("question", f"{question.view.name}: {names}; for {question.words()}"),
        *_labelled("key", key_text(question)),
        *_labelled("", f"an entity key of serialization version {question.key_version}, then the project"),
        *_labelled("store", f"{evidence.address}{f', database {evidence.db}' if evidence.kind == 'redis' else ''}"),
    ]
    if row is None:
        lines += _labelled("found", "nothing under this key")
    elif evidence.kind == "sqlite":
        count = len(views_found(evidence))
        lines += _labelled("found", "rows of one view" if count == 1 else f"rows of {count} views")
    elif row.kind != "hash":
        lines += _labelled("found", f"a {row.kind} under this key")
    else:
        expiry = f"; Redis removes it in {span(row.expires_s)}" if row.expires_s is not None else ""
        lines += _labelled("found", f"a hash of {row.count} fields ({row.encoding}){expiry}")
    views = views_found(evidence)
    if views:
        head = "view in the hash" if evidence.kind == "redis" else "view with a row"
        rows: list[Sequence[str]] = [(head, "event time", "age", "ttl", "note")]
        rows += [_view_row(one, explanation) for one in views]
        lines += ["", *table_lines(rows)]
    if row is not None:
        of_features: list[Sequence[str]] = [
            ("feature", "field", "stored as", "declared as", "state", *(["value"] if values else []))
        ]
        for one in features_found(evidence):
            value = [json.dumps(one.value, ensure_ascii=False)] if values else []
            of_features.append((one.name, one.field, one.stored or "-", one.declared or "?", one.state, *value))
        lines += ["", *table_lines(of_features)]
    if evidence.elsewhere:
        rows_elsewhere: list[Sequence[str]] = [("elsewhere", "database", "differs by", "row of the view")]
        for place in evidence.elsewhere:
            has_view = "yes" if place.has_view else "no"
            rows_elsewhere.append((place.cause.replace("_", " "), str(place.db), place.words, has_view))
        lines += ["", *table_lines(rows_elsewhere)]
    if evidence.neighbours is not None:
        sample = evidence.neighbours
        looked = "all keys of the database" if sample.complete else "keys that were looked at"
        lines += ["", f"{looked}: {sample.keys}; of project {question.project}: {sample.of_project}"]
        lines[-1] += f"; under these join keys: {sample.of_join_keys}, with a row of the view: {sample.with_view}"
    # Names of views and projects are those of the store, which anybody may have written.
    return [printable(line) for line in [*lines, "", explanation.cause.sentence]]


def _view_row(one: ViewFound, explanation: Explanation) -> tuple[str, ...]:
    moment = one.event_time
    note = "not in the registry" if not one.known else "older than its ttl" if one.is_expired(explanation.now) else ""
    if moment is None:
        return (one.name, "not a timestamp", "", "", note)
    age = span((explanation.now - moment).total_seconds())
    return (one.name, f"{moment:%Y-%m-%dT%H:%M:%SZ}", age, span(one.ttl_s) if one.ttl_s else "none", note)


def key_text(question: Question) -> str:
    """The bytes of a key, with its texts as text: 01000000 02000000 09000000 "driver_id" 04000000 ... "rides"."""
    version = question.key_version
    pieces = [len(question.parts).to_bytes(4, "little").hex()] if version > 2 else []
    for part in question.parts:
        header = entity_key_header([part.join_key], version)[4 if version > 2 else 0 :]
        name = part.join_key.encode()
        pieces += [*wrap(header[: len(header) - len(name)].hex(), 8), json.dumps(part.join_key)]
    names = entity_key_header([part.join_key for part in question.parts], version)
    rest = entity_key(question.parts, version)[len(names) :]
    for part in question.parts:
        length = int.from_bytes(rest[4:8], "little")
        value = json.dumps(part.value) if isinstance(part.value, str) else rest[8 : 8 + length].hex()
        pieces += [rest[:4].hex(), rest[4:8].hex(), value]
        rest = rest[8 + length :]
    return " ".join([*pieces, json.dumps(question.project)])


def _labelled(label: str, text: str) -> list[str]:
    lines = wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{label:<11}{lines[0]}", *(f"{'':<11}{line}" for line in lines[1:])]


def sample_lines(census: Census, took_s: float) -> list[str]:
    """What a sample has. What is wrong with it is among the findings of `check_text`."""
    looked = "all keys" if census.complete else "keys that were looked at"
    projects = ", ".join(f"{name} {count}" for name, count in census.projects.most_common(5)) or "none"
    read = "hashes read" if census.kind == "redis" else "entities read"
    lines = [
        *_labelled("sample", f"{looked}: {census.keys}, in {took_s:.1f} s; {read}: {census.hashes}"),
        *_labelled("projects", f"{projects}; keys that are not Feast's: {census.foreign}"),
    ]
    if census.hashes and census.kind == "redis":
        encodings = ", ".join(f"{name} {count}" for name, count in census.encodings.most_common())
        fields = sorted(census.fields)
        size = f"{fields[len(fields) // 2]} fields in the middle, {fields[-1]} at most"
        known = 100 * (1 - census.unknown_bytes / census.total_bytes) if census.total_bytes else 100
        lines += _labelled("hashes", f"{encodings}; {size}; {known:.0f} % of the bytes are in the registry")
    if census.views:
        rows: list[Sequence[str]] = [("view", "keys", "rows", "found", "median age", "expired")]
        for name, count in sorted(census.views.items()):
            ages = sorted(count.ages_s)
            age = span(ages[len(ages) // 2]) if ages else "-"
            found = f"{100 * count.rows / count.keys:.0f} %" if count.keys else "-"
            rows.append((name, str(count.keys), str(count.rows), found, age, str(count.expired)))
        lines += ["", *table_lines(rows)]
    return lines
