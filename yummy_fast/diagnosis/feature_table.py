"""`yummy-fast get`: entities of the command line to the body of a request, and its answer to a table.

The table has a line for each entity and feature: the value, its status, when its row happened, and how old it is. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from yummy_fast.diagnosis.causes import span
from yummy_fast.errors import RequestError

_EPOCH = "1970-01-01T00:00:00Z"
"""What Feast answers for a feature without an event timestamp."""


def request_of(
    pairs: Sequence[str], features: Sequence[str], service: str, *, full_feature_names: bool
) -> dict[str, Any]:
    """The body of a request: `-e driver_id=1001 -e driver_id=1002` are two rows. Raises RequestError.

    Values are text, as in Feast's own command; a join key's declared type decides what becomes of them.
    """
    if bool(features) == bool(service):
        raise RequestError("expected features (-f VIEW:FEATURE) or a feature service (--service NAME)")
    entities: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise RequestError(f"-e: expected JOIN_KEY=VALUE, such as driver_id=1001, got {pair!r}")
        entities.setdefault(name, []).append(value)
    asked: dict[str, Any] = {"entities": entities, "full_feature_names": full_feature_names}
    return asked | ({"feature_service": service} if service else {"features": list(features)})


class Cell(NamedTuple):
    """One feature of one entity row."""

    feature: str
    value: Any
    status: str
    event_time: str
    """Empty if there is none."""
    age_s: float | None


class EntityRow(NamedTuple):
    """One entity row, and its features."""

    entities: Mapping[str, Any]
    cells: Sequence[Cell]


def rows_of(answer: Mapping[str, Any], asked: Mapping[str, Any], now: datetime) -> list[EntityRow]:
    """An answer, row by row. The columns of entities are those before the features."""
    names = answer["metadata"]["feature_names"]
    results = answer["results"]
    if "features" in asked:
        entity_count = max(len(names) - len(asked["features"]), 0)
    else:
        entity_count = _entity_columns(names, results, len(asked["entities"]))
    count = len(results[0]["values"]) if results else 0
    rows = []
    for row in range(count):
        cells = []
        for name, column in zip(names[entity_count:], results[entity_count:], strict=True):
            stamp = column["event_timestamps"][row]
            moment = None if stamp == _EPOCH else datetime.fromisoformat(stamp)
            age_s = None if moment is None else (now - moment.astimezone(UTC)).total_seconds()
            cells.append(Cell(name, column["values"][row], column["statuses"][row], stamp if moment else "", age_s))
        entities = {
            name: column["values"][row]
            for name, column in zip(names[:entity_count], results[:entity_count], strict=True)
        }
        rows.append(EntityRow(entities, cells))
    return rows


def _entity_columns(names: Sequence[str], results: Sequence[Mapping[str, Any]], most: int) -> int:
    """How many columns of a feature service's answer are entities: no more than were sent, each without a timestamp."""
    count = 0
    while count < min(most, len(names)) and all(stamp == _EPOCH for stamp in results[count]["event_timestamps"]):
        count += 1
    return count


def table_rows(rows: Sequence[EntityRow]) -> list[Sequence[str]]:
    """For people: a head, and a line for each entity and feature."""
    entities = list(rows[0].entities) if rows else []
    table: list[Sequence[str]] = [(*entities, "feature", "value", "status", "event time", "age")]
    for row in rows:
        shown = [_shown(value) for value in row.entities.values()]
        for cell in row.cells:
            age = "" if cell.age_s is None else span(cell.age_s)
            table.append((*shown, cell.feature, _shown(cell.value), cell.status, cell.event_time, age))
    return table


def as_json(rows: Sequence[EntityRow]) -> list[dict[str, Any]]:
    """For programs."""
    return [
        {
            "entities": dict(row.entities),
            "features": {
                cell.feature: {
                    "value": cell.value,
                    "status": cell.status,
                    "event_time": cell.event_time or None,
                    "age_s": None if cell.age_s is None else round(cell.age_s, 1),
                }
                for cell in row.cells
            },
        }
        for row in rows
    ]


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
