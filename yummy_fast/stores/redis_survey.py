"""A short look into a Redis, for `yummy-fast check`: which keys a project has, and which views have rows.

It asks through `Looks`, until there are enough keys of the project or the time is over. A user who may not run SCAN or
INFO is no error: the survey says what it could not see.
"""

from __future__ import annotations

from collections.abc import Sequence

from yummy_fast.errors import StoreRefusedError, StoreUnavailableError
from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.stores.looks import Looks, Scan
from yummy_fast.stores.survey import Survey

MAX_KEYS = 200
"""Keys of the project that are looked at."""
TIME_S = 2.0
"""How long keys are looked for."""
MAX_HASHES = 50
"""Of so many keys, it is looked which views have rows there."""


def survey_redis(looks: Looks, suffix: bytes, views: Sequence[str]) -> Survey:
    """Look for keys that end with `suffix`, the project's name. Blocks. Raises StoreUnavailableError."""
    refused: list[tuple[str, str]] = []
    mode, databases = "", dict[int, int]()
    try:
        mode = looks.mode()
        databases = {number: keys for number, keys in looks.databases().items() if number != looks.db}
    except StoreRefusedError:
        refused.append(("INFO", "whether it is a cluster or a sentinel"))
    scan = Scan([], complete=True, looked_at=0)
    if mode != "sentinel":  # which has no keys, and no such command
        try:
            scan = looks.scan(db=looks.db, suffix=suffix, max_keys=MAX_KEYS, time_s=TIME_S)
        except StoreRefusedError:
            scan = scan._replace(complete=False)
            refused.append(("SCAN", "what is stored"))
    return Survey(
        address=looks.address,
        keys=tuple(key.removesuffix(suffix) for key in scan.keys),
        views=_views_there(looks, scan.keys[:MAX_HASHES], views),
        looked_at=scan.looked_at,
        complete=scan.complete,
        place=f", database {looks.db}",
        databases=databases,
        mode=mode,
        expected_mode="redis",
        refused=tuple(refused),
    )


def _views_there(looks: Looks, keys: Sequence[bytes], views: Sequence[str]) -> frozenset[str]:
    """Which of `views` have a row under one of `keys`."""
    found: set[str] = set()
    for key in keys:
        missing = [view for view in views if view not in found]
        if not missing:
            break
        try:
            there = looks.fields_there(key, list(map(timestamp_field, missing)), looks.db)
        except StoreUnavailableError:  # a node of a cluster that does not answer for this key; `mode` says what it is
            break
        found.update(view for view, is_there in zip(missing, there, strict=True) if is_there)
    return frozenset(found)


def joined(surveys: Sequence[Survey], address: str, redis_type: str) -> Survey:
    """What several nodes show, as one. They are known to be of the type that is configured."""
    keys = tuple(key for survey in surveys for key in survey.keys)
    return Survey(
        address=address,
        keys=keys[:MAX_KEYS],
        views=frozenset().union(*(survey.views for survey in surveys)),
        looked_at=sum(survey.looked_at for survey in surveys),
        complete=len(keys) <= MAX_KEYS and all(survey.complete for survey in surveys),
        place=surveys[0].place if redis_type == "redis_sentinel" else "",
        databases=surveys[0].databases,
        expected_mode=redis_type,
        refused=tuple(dict.fromkeys(refused for survey in surveys for refused in survey.refused)),
    )
