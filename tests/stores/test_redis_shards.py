"""The shards of a store with several nodes: which one has a key, and which of its nodes is asked. On links that are
told what they are."""

from __future__ import annotations

import math
from typing import cast

import pytest

from yummy_fast.stores.redis_link import Link
from yummy_fast.stores.redis_shards import ShardLinks, ShardTable, is_usable
from yummy_fast.stores.redis_slots import SLOTS

TIMEOUT_S = 1.0


class FakeLost:
    """In the place of the future that ends with a connection."""

    def __init__(self, *, done: bool) -> None:
        self._done = done

    def done(self) -> bool:
        return self._done


class FakeConnection:
    def __init__(self, *, responsive: bool, lost: bool) -> None:
        self.responsive = responsive
        self.lost = FakeLost(done=lost)


class FakeLink:
    """A node that is "well", "stalls", is "lost" (and nobody has noticed yet), or is "gone"."""

    def __init__(self, state: str = "well", down_since: float = 0.0) -> None:
        self.down_since = down_since
        self.connection: FakeConnection | None = None
        self.become(state)

    def become(self, state: str) -> None:
        self.connection = None if state == "gone" else FakeConnection(responsive=state == "well", lost=state == "lost")


def link(of: FakeLink) -> Link:
    return cast("Link", of)


def shard_of(primary: FakeLink, *replicas: FakeLink) -> ShardLinks:
    return ShardLinks(link(primary), [link(replica) for replica in replicas])


@pytest.mark.parametrize(("state", "usable"), [("well", True), ("stalls", False), ("gone", False)])
def test_a_node_can_be_used_if_it_is_connected_and_answers(state: str, usable: bool) -> None:
    assert is_usable(link(FakeLink(state))) is usable


# ---------------------------------------------------------------------------------------------------- the node to ask


@pytest.mark.parametrize(
    ("primary", "replica", "asked"),
    [
        ("well", "well", "primary"),
        ("well", "gone", "primary"),
        ("stalls", "well", "replica"),
        ("gone", "well", "replica"),
        ("stalls", "stalls", "primary"),
        ("stalls", "gone", "primary"),
        ("lost", "gone", None),
        ("gone", "stalls", None),
        ("gone", "gone", None),
    ],
)
def test_the_primary_is_asked_or_one_that_can_be_used(primary: str, replica: str, asked: str | None) -> None:
    nodes = {"primary": FakeLink(primary), "replica": FakeLink(replica)}
    shard = shard_of(nodes["primary"], nodes["replica"])
    assert shard.pick(None, spread=False) is (None if asked is None else link(nodes[asked]))


def test_replicas_have_their_turns_where_they_are_read_as_well() -> None:
    nodes = [FakeLink() for _ in range(3)]
    shard = shard_of(*nodes)
    found = [shard.pick(None, spread=True) for _ in range(6)]
    assert [found.count(link(node)) for node in nodes] == [2, 2, 2]
    assert found[:3] == found[3:]
    nodes[1].become("stalls")
    found = [shard.pick(None, spread=True) for _ in range(6)]
    assert [found.count(link(node)) for node in nodes] == [3, 0, 3]


@pytest.mark.parametrize("spread", [False, True])
def test_a_node_that_was_asked_in_vain_is_avoided(spread: bool) -> None:
    primary, replica = FakeLink(), FakeLink()
    shard = shard_of(primary, replica)
    for _ in range(2):
        assert shard.pick(link(primary), spread=spread) is link(replica)
        assert shard.pick(link(replica), spread=spread) is link(primary)
    replica.become("gone")
    primary.become("stalls")
    assert shard.pick(link(primary), spread=spread) is None
    assert shard.pick(link(replica), spread=spread) is link(primary), "a node that stalls is better than none"


@pytest.mark.parametrize("spread", [False, True])
def test_where_primaries_alone_are_asked_there_is_no_other(spread: bool) -> None:
    primary, replica = FakeLink(), FakeLink()
    shard = shard_of(primary, replica)
    assert {shard.pick(None, spread=spread, only_primary=True) for _ in range(4)} == {link(primary)}
    assert shard.pick(link(primary), spread=spread, only_primary=True) is None
    for state in ("stalls", "lost", "gone"):
        primary.become(state)
        assert shard.pick(None, spread=spread, only_primary=True) is None


# --------------------------------------------------------------------------------------------- since when there is none


def test_a_shard_is_down_since_its_primary_went_or_its_last_node() -> None:
    primary, replica = FakeLink("gone", down_since=3.0), FakeLink()
    shard = shard_of(primary, replica)
    assert shard.down_since(10.0, only_primary=False) == 10.0
    assert shard.down_since(10.0, only_primary=True) == 3.0
    replica.become("gone")
    assert shard.down_since(10.0, only_primary=False) == 3.0
    shard.usable_at = 7.0  # as redis_nodes sees it now and then
    assert shard.down_since(10.0, only_primary=False) == 7.0
    shard.usable_at = 2.0
    assert shard.down_since(10.0, only_primary=False) == 3.0
    primary.become("stalls")
    assert shard.down_since(10.0, only_primary=False) == 3.0
    assert shard.down_since(10.0, only_primary=True) == 10.0


def test_a_shard_that_has_refused_reads_for_the_timeout() -> None:
    """With pauses that are no longer than that. After a longer one, it counts anew."""
    shard = shard_of(FakeLink())
    times = (100.0, 100.9, 101.0, 101.1, 102.0)
    assert [shard.refused(now, TIMEOUT_S) for now in times] == [False, False, False, True, True]
    assert [shard.refused(now, TIMEOUT_S) for now in (103.5, 104.5, 104.6)] == [False, False, True]


# ----------------------------------------------------------------------------------------------------- slots and shards


def owner_of(*counts: int) -> list[int]:
    """The number of each slot's shard: so many slots of the first one, of the second; the others have none."""
    owner = [number for number, count in enumerate(counts) for _ in range(count)]
    return owner + [-1] * (SLOTS - len(owner))


def test_a_table_says_which_slots_have_another_primary() -> None:
    a, b, c = FakeLink(), FakeLink(), FakeLink()
    table = ShardTable()
    first = [shard_of(a), shard_of(b)]
    assert table.fill(first, owner_of(100, SLOTS - 100), 1.0) == list(range(SLOTS)), "before, no slot had one"
    assert (table.by_slot[99], table.by_slot[100], table.only) == (*first, None)
    assert table.fill(first, owner_of(102, SLOTS - 102), 2.0) == [100, 101]
    assert table.fill([shard_of(a, c), first[1]], owner_of(102, SLOTS - 102), 3.0) == [], "replicas do not matter"
    assert table.fill([shard_of(c), first[1]], owner_of(2, SLOTS - 2), 4.0) == list(range(102))


def test_the_table_itself_stays() -> None:
    """A fetch that is cut into shares reads it while it is filled anew."""
    table = ShardTable()
    before = table.by_slot
    table.fill([shard_of(FakeLink())], owner_of(SLOTS), 1.0)
    assert table.by_slot is before


def test_one_shard_for_all_slots() -> None:
    table, shard, other = ShardTable(), shard_of(FakeLink()), shard_of(FakeLink())
    table.fill([shard], owner_of(SLOTS), 1.0)
    assert table.only is shard
    table.move(5, other)
    assert table.only is None
    assert [table.by_slot[slot] for slot in (4, 5, 6)] == [shard, other, shard]
    table.fill([shard], owner_of(SLOTS), 2.0)
    assert (table.only, table.by_slot[5]) == (shard, shard)
    table.fill([shard], owner_of(SLOTS - 1), 3.0)
    assert (table.only, table.by_slot[-1]) == (None, None)


def test_slots_that_nobody_holds_are_so_since_they_first_were() -> None:
    """Those that had no node in the first topology have had none for ever: nothing waits for them."""
    table, shards = ShardTable(), [shard_of(FakeLink())]
    seen = [table.uncovered_since]
    for count, now in ((10, 1.0), (SLOTS, 2.0), (10, 3.0), (9, 4.0), (SLOTS, 5.0), (10, 6.0)):
        table.fill(shards, owner_of(count), now)
        seen.append(table.uncovered_since)
    assert seen == [-math.inf, -math.inf, math.inf, 3.0, 3.0, math.inf, 6.0]
