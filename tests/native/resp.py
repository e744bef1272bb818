"""RESP2 written and read plainly, whole arrays at a time: the second opinion on replies.

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
    """Bytes that are no RESP2."""


class ErrorText(str):
    """An error reply."""


def bulk(part: bytes | None) -> bytes:
    return b"$-1\r\n" if part is None else b"$%d\r\n%b\r\n" % (len(part), part)


def array(parts: Sequence[bytes | None]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(map(bulk, parts))


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        raise CutError
    return data[at:end], end + 2


def read(data: bytes, at: int) -> tuple[Any, int]:
    """The reply at `at`, and where it ends: bytes, None, a list, an integer, or the text of an error."""
    if at == len(data):
        raise CutError
    kind = data[at : at + 1]
    if kind not in b"$*+-:":
        raise DamageError
    line, at = _line(data, at + 1)
    if kind in b"+-":
        if b"\r" in line or b"\n" in line:
            raise DamageError
        return (line if kind == b"+" else ErrorText(line.decode(errors="replace"))), at
    if NUMBER.fullmatch(line) is None or not -(1 << 63) <= int(line) < 1 << 63:
        raise DamageError
    number = int(line)
    if kind == b":":
        return number, at
    if number < -1 or (kind == b"*" and number > 0xFFFFFFFF):
        raise DamageError
    if number == -1:
        return None, at
    if kind == b"$":
        if len(data) < at + number + 2:
            raise CutError
        if data[at + number : at + number + 2] != b"\r\n":
            raise DamageError
        return data[at : at + number], at + number + 2
    items = []
    for _ in range(number):
        item, at = read(data, at)
        items.append(item)
    return items, at


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


def answers(data: bytes, expected: Sequence[Expectation]) -> tuple[list[Any], bool]:
    """The answers in `data`, with tuples for rows, and whether it is damaged."""
    at = 0
    full: list[Any] = []
    for names, named, count in expected:
        replies: list[Any] = []
        for _ in range(count):
            try:
                reply, at = read(data, at)
            except (CutError, DamageError) as end:
                return full, isinstance(end, DamageError)
            replies.append(row(reply, names, named))
        problems = [reply for reply in replies if not isinstance(reply, tuple)]
        full.append(problems[0] if problems else replies)
    return full, at < len(data)
