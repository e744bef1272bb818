"""A connection on which Redis reports changes of the keys that we have read: it feeds a `RowCache`.

    HELLO 3               from now on, replies are RESP3, and pushes may come between them
    CLIENT TRACKING ON    from now on, Redis remembers each key that we read, until it has told us that it has changed

With OPTIN, each read would need one more command and reply. With BCAST, a materialization would send every key to every
worker. Redis 6 is refused: there, a push may stand within the reply to a command (redis#8935).

If Redis refuses either command or is older than 7, we serve without the cache; `Tracker.begin` logs why, in one line.

This file does not know what is in the cache, or which rows are kept: `redis_cached` does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from yummy_fast.native.owner import ReplyReader
from yummy_fast.stores.redis_connection import RedisConnection
from yummy_fast.stores.row_cache import RowCache, keys_without

logger = logging.getLogger("yummy_fast")

LEAST_VERSION = 7
"""Of Redis. Valkey began as 7.2."""


class Tracker:
    """Makes connections that feed a cache. All links of a store share one."""

    def __init__(self, cache: RowCache, suffix: bytes) -> None:
        """`suffix` ends every key."""
        self.cache = cache
        self.suffix = suffix
        self._refusals: dict[str, str] = {}
        """Why nodes report no changes, by the names of their links."""

    @property
    def refusal(self) -> str:
        """Why some node reports no changes; "" if all do."""
        return next(iter(self._refusals.values()), "")

    async def begin(self, connector: Any, name: str) -> bool:
        """Ask Redis to tell us of changes. `connector` is redis-py's connection. Returns whether it will.

        Raises what redis-py raises, except for a reply that refuses.
        """
        refusal = await ask_to_track(connector)
        if not refusal:
            if self._refusals.pop(name, ""):
                logger.info("online store %s: serving with the cache", name)
            return True
        if refusal not in self._refusals.values():  # of several nodes that say the same, one line is enough
            logger.warning("online store %s: cache_mb: %s; serving without the cache", name, refusal)
        self._refusals[name] = refusal
        return False

    def forget(self, name: str) -> None:
        """The node is gone for good."""
        self._refusals.pop(name, None)


async def ask_to_track(connector: Any) -> str:
    """Ask Redis to tell us of changes. Returns why it will not, in a few words; "" if it will."""
    try:
        await connector.send_command("HELLO", 3)
        hello = await connector.read_response()
    except ResponseError as error:
        return f"Redis refuses HELLO 3: {error}"
    version = version_in(hello)
    if int(version.partition(".")[0] or 0) < LEAST_VERSION:
        return f"Redis {version} may put invalidations into other replies: expected {LEAST_VERSION} or newer"
    try:
        await connector.send_command("CLIENT", "TRACKING", "ON")
        await connector.read_response()
    except ResponseError as error:
        return f"Redis refuses CLIENT TRACKING: {error}"
    return ""


def version_in(hello: Any) -> str:
    """The version in the reply to HELLO, which comes as a map; "0" if there is none."""
    parts = {_text(name): _text(value) for name, value in hello.items()} if isinstance(hello, dict) else {}
    found = re.match(r"\d+(\.\d+)*", parts.get("version", ""))
    return found[0] if found else "0"


def _text(part: Any) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else str(part)


class TrackedReader:
    """A reply reader that hands on the keys that pushes name, before the replies that came with them."""

    def __init__(self, changed: Callable[[list[bytes | None]], None]) -> None:
        """`changed` gets keys, and None for all keys."""
        self._reader = reader = ReplyReader()
        self._changed = changed
        self.expect = reader.expect

    def feed(self, data: bytes | memoryview) -> list[Any]:
        """As ReplyReader.feed."""
        answers = self._reader.feed(data)
        keys = self._reader.take_invalidated()
        if keys:
            self._changed(keys)
        return answers

    @property
    def failed(self) -> str | None:
        """As ReplyReader.failed."""
        return self._reader.failed

    @property
    def unfinished_bytes(self) -> int:
        """As ReplyReader.unfinished_bytes."""
        return self._reader.unfinished_bytes


class TrackedConnection(RedisConnection):
    """A connection whose rows may be kept as long as it is open and not silent (`row_cache.SILENCE_S`)."""

    def __init__(self, tracker: Tracker, transport: Any, *arguments: Any, **keywords: Any) -> None:
        """`tracker` has begun on it. The rest is as for RedisConnection."""
        super().__init__(transport, *arguments, **keywords)
        self._cache = tracker.cache
        self._suffix = tracker.suffix
        self._over = False
        """Whether the connection feeds the cache no more."""
        self.generation = self._cache.begin(self, self._loop.time())
        self._reader = TrackedReader(self._changed)  # type: ignore[assignment]  # whose class in C has no subclasses

    def _changed(self, keys: list[bytes | None]) -> None:
        """Redis says that keys have changed."""
        self._state.cache_invalidations += len(keys)
        if None in keys and not self._over:  # FLUSHALL
            self._cache.end(self.generation)
            self.generation = self._cache.begin(self, self._loop.time())
        self._cache.forget(keys_without(self._suffix, keys))

    def data_received(self, data: bytes) -> None:
        if not self._over:
            self.generation = self._cache.heard(self.generation, self._loop.time())
        super().data_received(data)

    def left(self) -> None:
        self._over = True
        self._cache.end(self.generation)

    def _end(self, reason: str) -> None:
        self.left()
        super()._end(reason)
