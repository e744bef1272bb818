"""A short look into a Redis, for `yummy-fast check`: which keys a project has, and which views have rows.

Bounded: SCAN with a small COUNT, until there are enough keys of the project, or MAX_STEPS or TIME_S are over; nothing
that blocks Redis. A user who may not run SCAN or INFO is no error: the survey says what it could not see.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from yummy_fast.feast_format.keys import timestamp_field
from yummy_fast.stores.survey import Survey

MAX_KEYS = 200
"""Keys of the project that are looked at."""
COUNT = 500
"""Keys that one SCAN looks at: a Redis does so in less than a millisecond."""
MAX_STEPS = 400
"""How many times SCAN is called: 200,000 keys."""
TIME_S = 2.0
"""How long keys are looked for."""
MAX_HASHES = 50
"""Of so many keys, it is looked which views have rows there."""

_GLOB = re.compile(rb"([*?\[\]\\^])")


async def survey_redis(client: Redis, address: str, suffix: bytes, views: Sequence[str]) -> Survey:
    """Look for keys that end with `suffix`, the project's name."""
    refused: list[tuple[str, str]] = []
    mode, databases = "", {}
    db = int(client.connection_pool.connection_kwargs.get("db") or 0)
    try:
        info: dict[str, Any] = await client.info()
    except NoPermissionError:
        refused.append(("INFO", "whether it is a cluster or a sentinel"))
    else:
        mode = str(info.get("redis_mode") or info.get("server_mode") or "")
        numbers = ((name[2:], block) for name, block in info.items() if re.fullmatch(r"db\d+", name))
        databases = {int(number): int(block["keys"]) for number, block in numbers if int(number) != db}
    keys: list[Any] = []
    looked_at, complete, cursor, deadline = 0, False, 0, time.monotonic() + TIME_S
    pattern = b"*" + _GLOB.sub(rb"\\\1", suffix)
    try:
        total = await client.dbsize()
        for _ in range(MAX_STEPS):
            cursor, found = await client.scan(cursor, match=pattern, count=COUNT)
            looked_at = min(looked_at + COUNT, total)
            keys += found
            complete = cursor == 0
            if complete or len(keys) >= MAX_KEYS or time.monotonic() > deadline:
                break
    except NoPermissionError:
        refused.append(("SCAN", "what is stored"))
    except ResponseError:  # a sentinel has no keys, and no such command
        complete = True
    return Survey(
        address=address,
        keys=tuple(key.removesuffix(suffix) for key in keys[:MAX_KEYS]),
        views=await _views_there(client, keys[:MAX_HASHES], views),
        looked_at=looked_at,
        complete=complete,
        place=f", database {db}",
        databases=databases,
        mode=mode,
        expected_mode="redis",
        refused=tuple(refused),
    )


async def _views_there(client: Redis, keys: Sequence[bytes], views: Sequence[str]) -> frozenset[str]:
    """Which of `views` have a row under one of `keys`."""
    found: set[str] = set()
    for key in keys:
        missing = [view for view in views if view not in found]
        if not missing:
            break
        try:
            times = await client.hmget(key, [timestamp_field(view) for view in missing])
        except ResponseError:  # it is no hash
            continue
        found.update(view for view, event_time in zip(missing, times, strict=True) if event_time is not None)
    return frozenset(found)
