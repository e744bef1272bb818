"""The slots of a Redis Cluster: which one a key is in, and which nodes hold it, by topologies and redirections.

A cluster has 16,384 slots. The slot of a key is the CRC16 of all its bytes, or of a hash tag: of what stands between
the first `{` and the next `}`, if that is anything. Feast writes no tags, but the bytes 7b and 7d occur in integers and
lengths, and Redis takes them for one:

    01000000 02000000 .. 7b000000 7d000000 "rides"       the tag is 00 00 00, between the braces

A `Topology` is what one node answered to CLUSTER SLOTS: for each range of slots the primary and its replicas. A node
may announce no host: then it is the one that was asked. `MOVED 3999 10.0.0.5:6379` corrects one slot.

The slots of a request's keys are counted in the native room, which has a function for all of them at once.

`RefreshPace` decides when the topology is asked for: soon when something looks wrong, but never by all workers at once,
and ever more rarely while nothing changes.

Pure: the caller hands in the time and the random numbers.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from yummy_fast.native import owner


class Address(NamedTuple):
    """Where a Redis listens, or a sentinel. The host is a name or an address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


SLOTS = 16_384

FIRST_WITHIN_S = 0.1
"""The first refresh after a sign of change comes after a random part of this: the signs reach all workers at once."""
PAUSE_FIRST_S, PAUSE_LAST_S = 0.1, 1.0
"""While signs go on and nothing changes, the pause between refreshes doubles, from the first to the last."""
REGULAR_S = 30.0
"""Without any sign, the topology is read so often, with jitter."""


def slot_of(key: bytes, suffix: bytes = b"") -> int:
    """The slot of `key` followed by `suffix`. The suffix has no braces: it is Feast's project."""
    return owner.slot_of(key, suffix)


def key_in(holds: Callable[[int], bool], name: bytes, attempts: int = 200_000) -> bytes:
    """A key that begins with `name`, and whose hash tag has a slot of which `holds` is true. `name` if none has."""
    for number in range(attempts):
        tag = b"%d" % number
        if holds(crc_hqx(tag, 0) % SLOTS):
            return b"%b {%b}" % (name, tag)
    return name


class Shard(NamedTuple):
    """The nodes that hold the same slots."""

    primary: Address
    replicas: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """Which nodes hold which slots, as one node knows it."""

    shards: tuple[Shard, ...]
    ranges: tuple[tuple[int, int, int], ...]
    """(first slot, last slot, which of the shards), in order."""

    @classmethod
    def of_one(cls, shard: Shard) -> Topology:
        """One shard that holds everything: a master that Sentinel watches over, and its replicas."""
        return cls((shard,), ((0, SLOTS - 1, 0),))

    def uncovered(self) -> list[tuple[int, int]]:
        """The ranges of slots that nobody holds."""
        gaps, next_slot = [], 0
        for first, last, _ in self.ranges:
            if first > next_slot:
                gaps.append((next_slot, first - 1))
            next_slot = last + 1
        if next_slot < SLOTS:
            gaps.append((next_slot, SLOTS - 1))
        return gaps

    def addresses(self) -> list[Address]:
        """All nodes."""
        return list(dict.fromkeys(node for shard in self.shards for node in (shard.primary, *shard.replicas)))


class TopologyError(ValueError):
    """An answer that is no topology."""


def parse_slots(reply: object, asked: Address) -> Topology:
    """The topology in an answer of `asked` to CLUSTER SLOTS, as redis-py hands it on. Raises TopologyError.

        [[0, 5460, [b"10.0.0.1", 6379, b"07c37df...", [b"hostname", b"a.example"]], [...a replica...]], ...]

    A range without slots, or with more than there are, is no topology; nor is none at all, which a node answers that
    has not met the others yet.
    """
    if not isinstance(reply, list) or not reply:
        raise TopologyError("it knows no slots yet" if reply == [] else "no answer to CLUSTER SLOTS")
    found: list[tuple[int, int, Shard]] = []
    for entry in reply:
        try:
            first, last, primary, *replicas = entry
            # Each node lists replicas and ranges in an order of its own: what means the same is to be equal.
            shard = Shard(_node(primary, asked), tuple(sorted({_node(node, asked) for node in replicas})))
            valid = 0 <= first <= last < SLOTS
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise TopologyError("no answer to CLUSTER SLOTS") from error
        if not valid:
            raise TopologyError(f"slots {first} to {last}")
        found.append((first, last, shard))
    found.sort()
    if any(before[1] >= after[0] for before, after in pairwise(found)):
        raise TopologyError("two nodes for one slot")
    shards: dict[Shard, int] = {}
    ranges = tuple((first, last, shards.setdefault(shard, len(shards))) for first, last, shard in found)
    return Topology(tuple(shards), ranges)


def _node(described: Any, asked: Address) -> Address:
    """[host, port, id, [name, value, ...]], of which some servers leave out the end."""
    host, port = described[0], described[1]
    if not 0 < port < 65_536:  # TypeError if it is no number
        raise ValueError
    host = host.decode() if isinstance(host, bytes) else ""
    if host == "?":  # it is to be known by a name, and has none
        facts = described[3] if len(described) > 3 else []
        host = dict(zip(facts[::2], facts[1::2], strict=True)).get(b"ip", b"").decode()
    return Address(host or asked.host, port)


class Redirect(NamedTuple):
    """MOVED or ASK."""

    code: str
    slot: int
    to: Address


def parse_redirect(text: str, asked: Address) -> Redirect | None:
    """The redirection in an error reply of `asked`; None if it is no redirection.

    `MOVED 3999 :6381` and `MOVED 3999 ?:6381` mean the same host with another port.
    """
    code, _, rest = text.partition(" ")
    slot, _, where = rest.partition(" ")
    host, colon, port = where.rpartition(":")
    if code not in ("MOVED", "ASK") or not colon or not _is_number(slot, SLOTS) or not _is_number(port, 65_536):
        return None
    if int(port) == 0:  # that node has no port for clients such as this one, with TLS or without it
        return None
    host = host.strip("[]")
    return Redirect(code, int(slot), Address(asked.host if host in ("", "?") else host, int(port)))


def _is_number(text: str, end: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < end


def describe_ranges(ranges: Sequence[tuple[int, int]], most: int = 3) -> str:
    """ "0-5460, 10923-16383", for people."""
    shown = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges[:most])
    return f"{shown} and more" if len(ranges) > most else shown


class RefreshPace:
    """When the topology is to be read next."""

    def __init__(self, now: float, random: Callable[[], float], regular_s: float = REGULAR_S) -> None:
        """`random` gives numbers from 0 to 1."""
        self._random = random
        self._regular_s = regular_s
        self._pause_s = 0.0
        self._wanted = False
        self._earliest = now
        self.due = now
        """When to read it, by the caller's clock."""

    def ask(self, now: float) -> None:
        """Something looks wrong: a node is gone, a slot has moved."""
        if not self._wanted:
            self._wanted = True
            self.due = min(self.due, max(now + self._random() * FIRST_WITHIN_S, self._earliest))

    def done(self, now: float, *, changed: bool) -> None:
        """It has been read, or could not be. `changed`: it is another one than before."""
        if changed or not self._wanted:
            self._pause_s = 0.0
        else:
            self._pause_s = min(max(2 * self._pause_s, PAUSE_FIRST_S), PAUSE_LAST_S)
        self._earliest = now + max(self._pause_s, PAUSE_FIRST_S) * (1 + self._random() / 2)
        self._wanted = False
        self.due = now + self._regular_s * (0.5 + self._random() / 2)
