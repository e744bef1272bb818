"""A log that writes each distinct message once per period, for causes that repeat with every request or every retry.

An online store that refuses a command fails each of a thousand requests a second in the same way. One line a minute
says as much as sixty thousand, and does not fill a disk.

Two messages are the same if their texts are, with the arguments put in; a caller whose text varies names a `key`
instead. The memory is bounded, and so is the log: while `max_messages` messages are remembered, another one is dropped.
It must therefore not be used for messages of which each counts.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable


class OnceLog:
    """Writes to a `logging.Logger`, each distinct message once per period. Any thread may call it."""

    __slots__ = ("_clock", "_expiry", "_lock", "_logger", "_max_messages", "_period_s")

    def __init__(
        self,
        logger: logging.Logger,
        *,
        period_s: float = math.inf,
        max_messages: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With an infinite `period_s`, a message is written once, and again only after `forget`."""
        self._logger = logger
        self._period_s = period_s
        self._max_messages = max_messages
        self._clock = clock
        self._expiry: dict[str, float] = {}
        """Message -> when it may be written again."""
        self._lock = threading.Lock()

    def log(
        self,
        level: int,
        message: str,
        *args: object,
        key: str | None = None,
        exc_info: bool | BaseException | None = None,
    ) -> bool:
        """Write `message % args` unless it was written within the period. Returns whether it was written."""
        if not self._is_due(key if key is not None else message % args if args else message):
            return False
        self._logger.log(level, message, *args, exc_info=exc_info)
        return True

    def forget(self) -> None:
        """Forget all messages: what they reported is over, and its return would be news."""
        with self._lock:
            self._expiry.clear()

    def _is_due(self, key: str) -> bool:
        now = self._clock()
        with self._lock:
            if self._expiry.get(key, -math.inf) > now:
                return False
            if len(self._expiry) >= self._max_messages:
                self._expiry = {kept: expiry for kept, expiry in self._expiry.items() if expiry > now}
                if len(self._expiry) >= self._max_messages:
                    return False
            self._expiry[key] = now + self._period_s
            return True
