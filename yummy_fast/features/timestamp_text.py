"""Stored event timestamps to the text that Feast answers: "2026-11-22T23:18:19.123Z".

A fraction has 3 or 6 digits, or there is none. The rows of one materialisation share a few timestamps, so their texts
are remembered. Other stores give each row a timestamp of its own, and there remembering would be work for nothing. So
a memo takes in what was made only every eighth time: what comes often is soon known, and what comes once costs little.

Pure: a memo belongs to its maker, not to this module. It is bounded in number and in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, repeat

import orjson

from yummy_fast.feast_format.timestamps import decode_timestamps

Stamp = bytes | None
"""A stored google.protobuf.Timestamp. Absent and empty ones are the epoch."""

MAX_KNOWN_TIMESTAMPS = 4096
"""Stored timestamps in one memo. With their texts they take less than 1 MB."""
MAX_TIMESTAMP_BYTES = 24
"""Longer ones are not remembered. A serialised Timestamp has 22 bytes at most, unless it has fields of others too."""


class TimestampMemo:
    """Stored timestamp -> a text that was made of it, for those that come often."""

    __slots__ = ("is_due", "texts")

    def __init__(self) -> None:
        self.texts: dict[Stamp, bytes] = {}
        self.is_due: Callable[[], bool] = cycle((True, *repeat(False, 7))).__next__
        """Whether the texts that have just been made should be remembered: every eighth time."""

    def remember(self, stored: Sequence[Stamp], texts: Sequence[bytes]) -> None:
        """Keep the texts for the next time, unless they are too many or too long."""
        if len(b"".join(filter(None, stored))) > MAX_TIMESTAMP_BYTES * len(stored):
            return
        new = dict(zip(stored, texts, strict=True))
        if len(new) > MAX_KNOWN_TIMESTAMPS // 2:
            return
        if len(self.texts) + len(new) > MAX_KNOWN_TIMESTAMPS:
            self.texts.clear()
        self.texts.update(new)


class TimestampTexts:
    """Writes timestamps as JSON strings."""

    __slots__ = ("_memo",)

    def __init__(self) -> None:
        self._memo = TimestampMemo()

    def joined(self, stored: Sequence[Stamp]) -> bytes:
        """The texts of one or more timestamps, with commas between them. Raises CorruptValueError."""
        known = self._memo.texts
        if stored[0] in known:  # if the first is unknown, the others probably are too
            texts = list(map(known.get, stored))
            if None not in texts:
                return b",".join(texts)  # type: ignore[arg-type]  # there is no None
        # orjson writes a fraction of 6 digits or none. Where the last three are zeros, Feast writes three.
        text = orjson.dumps(decode_timestamps(stored), option=orjson.OPT_UTC_Z)[1:-1].replace(b'000Z"', b'Z"')
        if self._memo.is_due():
            self._memo.remember(stored, text.split(b","))
        return text
