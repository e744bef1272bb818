"""RESP2 written and read plainly, whole arrays at a time: the second opinion on replies. And what we read of RESP3.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

NUMBER = re.compile(rb"0|-?[1-9][0-9]*")


class CutError(Exception):
    """A reply that is not whole."""


class DamageError(Exception):
    """Bytes that are neither RESP2 nor what we read of RESP3."""


class ErrorText(str):
    """An error reply."""


class Map(list[Any]):
    """A map: names and values in turn."""


class Push(list[Any]):
    """A push, which is no reply."""


def bulk(part: bytes | None) -> bytes:
    return b"$-1\r\n" if part is None else b"$%d\r\n%b\r\n" % (len(part), part)


def array(parts: Sequence[bytes | None]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(map(bulk, parts))


def hash_of(parts: Sequence[bytes | None]) -> bytes:
    """A map of names and values in turn."""
    return b"%%%d\r\n" % (len(parts) // 2) + b"".join(map(bulk, parts))


def nulls_of_3(reply: bytes) -> bytes:
    """With the nulls of RESP3."""
    return reply.replace(b"$-1\r\n", b"_\r\n")


def invalidation(keys: Sequence[bytes] | None) -> bytes:
    """The push that says that keys have changed, or all of them."""
    return b">2\r\n" + bulk(b"invalidate") + (b"_\r\n" if keys is None else array(keys))


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        raise CutError
    return data[at:end], end + 2


def read(data: bytes, at: int, *, nested: bool = False) -> tuple[Any, int]:
    """The reply at `at`, and where it ends: bytes, None, a list, an integer, or the text of an error; or a push."""
    if at == len(data):
        raise CutError
    kind = data[at : at + 1]
    if kind not in b"$*+-:_%>":
        raise DamageError
    line, at = _line(data, at + 1)
    if kind == b"_":
        if line:
            raise DamageError
        return None, at
    if kind in b"+-":
        if b"\r" in line or b"\n" in line:
            raise DamageError
        return (line if kind == b"+" else ErrorText(line.decode(errors="replace"))), at
    if NUMBER.fullmatch(line) is None or not -(1 << 63) <= int(line) < 1 << 63:
        raise DamageError
    number = int(line)
    if kind == b":":
        return number, at
    if number < (0 if kind in b"%>" else -1) or (kind in b"*%>" and number > 0xFFFFFFFF):
        raise DamageError
    if kind == b">" and nested:
        raise DamageError
    if number == -1:
        return None, at
    if kind == b"$":
        if len(data) < at + number + 2:
            raise CutError
        if data[at + number : at + number + 2] != b"\r\n":
            raise DamageError
        return data[at : at + number], at + number + 2
    items: list[Any] = {b"*": list, b"%": Map, b">": Push}[kind]()
    for _ in range(2 * number if kind == b"%" else number):
        item, at = read(data, at, nested=True)
        items.append(item)
    return items, at


def keys_of(push: Push) -> list[bytes | None]:
    """The keys that a push says have changed; None for all."""

    def within(parts: list[Any]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for part in parts:
            found += within(part) if isinstance(part, list) else [part]
        return [key for key in found if key is None or type(key) is bytes]

    return within(push[1:]) if push[:1] == [b"invalidate"] else []


def row(reply: Any, names: Sequence[bytes] | None, named: bool) -> Any:
    """What a reader gives out for a reply: a tuple, the text of an error, or None."""
    if isinstance(reply, ErrorText):
        return str(reply)
    if not isinstance(reply, list) or names is None:
        return None
    if not named:
        is_hash = len(reply) == len(names) and all(value is None or isinstance(value, bytes) for value in reply)
        return tuple(reply) if is_hash else None
    if len(reply) % 2:
        return None
    fields = dict(zip(reply[::2], reply[1::2], strict=True)) if _are_names(reply[::2]) else None
    if fields is None or not all(value is None or isinstance(value, bytes) for value in reply[1::2]):
        return None
    return tuple(map(fields.get, names))


def _are_names(found: list[Any]) -> bool:
    return all(isinstance(name, bytes) for name in found)


Expectation = tuple[tuple[bytes, ...] | None, bool, int]
"""Names, whether they come in the replies, and how many replies there are."""


def answers(data: bytes, expected: Sequence[Expectation]) -> tuple[list[Any], bool, list[bytes | None]]:
    """The answers in `data`, with tuples for rows; whether it is damaged; and the keys that pushes name."""
    at = 0
    full: list[Any] = []
    keys: list[bytes | None] = []
    try:
        for names, named, count in expected:
            replies: list[Any] = []
            while len(replies) < count:
                if data[at : at + 1] == b"%" and not (named and names is not None):
                    _line(data, at)
                    raise DamageError
                reply, at = read(data, at)
                if isinstance(reply, Push):
                    keys += keys_of(reply)
                else:
                    replies.append(row(reply, names, named))
            problems = [reply for reply in replies if not isinstance(reply, tuple)]
            full.append(problems[0] if problems else replies)
        while data[at : at + 1] == b">":
            push, at = read(data, at)
            keys += keys_of(push)
    except (CutError, DamageError) as end:
        return full, isinstance(end, DamageError), keys
    return full, at < len(data), keys
