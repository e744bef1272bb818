"""Views without entities have two rows in the store, one materialized and one pushed: which of them is answered.

Feast reads such a view under the join key __dummy_id, and its materialization writes there. But what is pushed
(`push`, `write_to_online_store`), it writes under the entity key that has no join key at all, which it never reads
(feast/utils.py _build_entity_keys, Feast 0.67.0). In version 3 of the entity key, of the project `rides`:

    01000000 02000000 0a000000 "__dummy_id" 02000000 00000000 "rides"     materialized
    00000000 "rides"                                                      pushed

Where answers are strict both are read, and of each view the row whose event timestamp is newer is answered.

Pure. `catalog` decides which lookups there are; `endpoints` calls this between the store's answer and ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from yummy_fast.errors import CorruptValueError
from yummy_fast.feast_format.timestamps import decode_timestamp
from yummy_fast.features.plan import Lookup, Plan, Row, Rows

_NEVER = datetime.min.replace(tzinfo=UTC)


def newer_rows(plan: Plan, rows: Rows) -> Rows:
    """`rows` with the newer row of each view where `plan.pushed` has two lookups for it, in the first of them."""
    merged = list(rows)
    for materialized, pushed in plan.pushed:
        pairs = zip(rows[materialized], rows[pushed], strict=True)
        merged[materialized] = [_newer(plan.lookups[materialized], *pair) for pair in pairs]
    return merged


def _newer(lookup: Lookup, materialized: Row, pushed: Row) -> Sequence[bytes | None]:
    width = len(lookup.features)
    of_views = [
        pushed if _moment(pushed[width + view]) > _moment(materialized[width + view]) else materialized
        for view in range(len(lookup.views))
    ]
    values = [of_views[view][position] for position, view in enumerate(lookup.view_of)]
    return [*values, *(row[width + view] for view, row in enumerate(of_views))]


def _moment(stamp: bytes | None) -> datetime:
    """When a row of a view happened; the least time if there is no row, or if it cannot be said."""
    if stamp is None:
        return _NEVER
    try:
        return decode_timestamp(stamp)
    except CorruptValueError:
        return _NEVER
