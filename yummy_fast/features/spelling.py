"""What a caller may have meant by a name that does not exist: the known name that looks most like it.

An error that says only what is missing is read twice: `acount_id` for `account_id` looks right to who has written it.
So the messages about views, services, features and columns end with the nearest name, if one is near.

Names from requests can be long and many, and a registry can have thousands: what is compared is bounded, to a few
milliseconds.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import islice

MAX_CHARS = 64
"""Longer names are not compared: the time grows with the product of both lengths."""
MAX_NAMES = 20
"""Names of a request that are compared."""
MAX_COMPARED = 1_000
"""Pairs of about the same length that are compared."""
MAX_DIFFERENCE = 4
"""Characters by which the lengths of two names may differ."""
NEAR = 0.75
"""A larger share of the characters has to be in both, in the same order: `acount_id` and `account_id` have 0.95."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`; None if none is near."""
    found = _nearest_pair([name], known)
    return found[1] if found else None


def did_you_mean(given: Iterable[str], known: Iterable[str]) -> str:
    """The end of a message about known names that are missing where `given` ones came; "" if none are alike."""
    found = _nearest_pair(given, known)
    return f"; did you mean {found[1]!r} instead of {found[0]!r}?" if found else ""


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that does not exist."""
    found = nearest(name, known)
    return f"; did you mean {found!r}?" if found else ""


def _nearest_pair(given: Iterable[str], known: Iterable[str]) -> tuple[str, str] | None:
    listed = list(known)
    pairs = (
        (name, other)
        for name in islice((name for name in given if len(name) <= MAX_CHARS), MAX_NAMES)
        for other in listed
        if abs(len(name) - len(other)) <= MAX_DIFFERENCE and len(other) <= MAX_CHARS and name != other
    )
    best, least = None, NEAR
    matcher = SequenceMatcher()
    for name, other in islice(pairs, MAX_COMPARED):
        matcher.set_seqs(name.lower(), other.lower())
        if matcher.real_quick_ratio() > least and matcher.quick_ratio() > least and (ratio := matcher.ratio()) > least:
            best, least = (name, other), ratio
    return best
