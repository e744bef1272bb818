"""Slots, topologies and redirections; and how often many workers together ask for the topology."""

from __future__ import annotations

import random
from binascii import crc_hqx
from itertools import pairwise
from typing import Any

import pytest

from tests.clusters import Node, until
from yummy_fast.stores.redis_slots import (
    REGULAR_S,
    SLOTS,
    Address,
    Redirect,
    RefreshPace,
    Shard,
    Topology,
    TopologyError,
    describe_ranges,
    key_in,
    parse_redirect,
    parse_slots,
    slot_of,
)

ASKED = Address("seed.example", 6379)

# ---------------------------------------------------------------------------------------------------------------- slots


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        # https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/: CRC16 of 123456789 is 31C3
        (b"123456789", 0x31C3 % SLOTS),
        (b"{user1000}.following", crc_hqx(b"user1000", 0) % SLOTS),
        (b"foo{}{bar}", crc_hqx(b"foo{}{bar}", 0) % SLOTS),
        (b"foo{{bar}}zap", crc_hqx(b"{bar", 0) % SLOTS),
        (b"foo{bar}{zap}", crc_hqx(b"bar", 0) % SLOTS),
        (b"foo{bar", crc_hqx(b"foo{bar", 0) % SLOTS),
        (b"}foo{bar", crc_hqx(b"}foo{bar", 0) % SLOTS),
    ],
)
def test_slot(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


def test_slots_are_those_of_a_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The keys are binary, and many have braces."""
    dice = random.Random(1)
    keys = [bytes(dice.choices(b"{}\x00\x01ab", k=dice.randrange(1, 14))) for _ in range(3000)]
    keys += [dice.randbytes(dice.randrange(1, 60)) for _ in range(3000)]
    folder = tmp_path_factory.mktemp("node")
    with Node(["--cluster-enabled", "yes", "--dir", str(folder)]) as node:
        until(lambda: node.do("PING") == b"PONG", "a node")
        asked = [("CLUSTER", "KEYSLOT", key + b"rides") for key in keys]
        assert node.pipeline(asked) == [slot_of(key, b"rides") for key in keys]


def test_a_key_in_a_slot() -> None:
    key = key_in(lambda slot: 100 <= slot < 200, b"name")
    assert key.startswith(b"name {")
    assert 100 <= slot_of(key) < 200
    assert key_in(lambda slot: False, b"name", attempts=10) == b"name"


# ----------------------------------------------------------------------------------------------------------- topologies


def node_reply(host: Any, port: int, *facts: Any) -> list[Any]:
    return [host, port, b"id", list(facts)]


def test_topology() -> None:
    reply = [
        [5461, 16383, node_reply(b"10.0.0.2", 2), node_reply(b"10.0.0.4", 4)],
        [0, 100, node_reply(b"10.0.0.1", 1)],
        [200, 5460, node_reply(b"10.0.0.1", 1)],
    ]
    topology = parse_slots(reply, ASKED)
    one, two = Shard(Address("10.0.0.1", 1)), Shard(Address("10.0.0.2", 2), (Address("10.0.0.4", 4),))
    assert {topology.shards[number] for _, _, number in topology.ranges} == {one, two}
    assert [(first, last, topology.shards[number]) for first, last, number in topology.ranges] == [
        (0, 100, one),
        (200, 5460, one),
        (5461, 16383, two),
    ]
    assert topology.uncovered() == [(101, 199)]
    assert set(topology.addresses()) == {Address("10.0.0.1", 1), Address("10.0.0.2", 2), Address("10.0.0.4", 4)}


def test_the_order_in_which_a_node_lists_the_others_means_nothing() -> None:
    """Each read asks a node by chance. A topology that seems to have changed is logged, and read again soon."""
    first = [0, 100, node_reply(b"a", 1), node_reply(b"b", 2), node_reply(b"c", 3)]
    second = [101, 200, node_reply(b"d", 4)]
    turned_round = [*first[:3], *reversed(first[3:])]
    topology = parse_slots([first, second], ASKED)
    assert parse_slots([second, turned_round], ASKED) == topology
    assert topology.shards[0].replicas == (Address("b", 2), Address("c", 3))


@pytest.mark.parametrize(
    ("described", "host"),
    [
        ([b"10.0.0.1", 6379], "10.0.0.1"),  # Redis 3: no id
        (node_reply(b"node.example", 6379, b"ip", b"10.0.0.1"), "node.example"),
        (node_reply(b"", 6379), "seed.example"),  # a cluster of one node, which does not know its own address
        (
            node_reply(None, 6379, b"ip", b"10.0.0.1"),
            "seed.example",
        ),  # cluster-preferred-endpoint-type unknown-endpoint
        (node_reply(b"?", 6379, b"ip", b"10.0.0.1"), "10.0.0.1"),  # preferred-endpoint-type hostname, but it has none
        (node_reply(b"?", 6379), "seed.example"),
        (node_reply(b"?", 6379, b"availability-zone", b"a", b"ip", b"10.0.0.1"), "10.0.0.1"),
        ([b"?", 6379, b"id"], "seed.example"),  # Redis 4 to 6: nothing behind the id
        (node_reply(b"::1", 6379, b"availability-zone", b"a"), "::1"),  # Valkey 9
    ],
)
def test_the_host_of_a_node_that_announces_one_or_none(described: list[Any], host: str) -> None:
    topology = parse_slots([[0, 16383, described]], ASKED)
    assert topology.shards == (Shard(Address(host, 6379)),)
    assert not topology.uncovered()


@pytest.mark.parametrize(
    "reply",
    [
        [],
        None,
        b"OK",
        5,
        [None],
        [[0, 100]],
        [[0, 16384, [b"h", 1]]],
        [[5, 4, [b"h", 1]]],
        [[-1, 4, [b"h", 1]]],
        [[0, 100, [b"h"]]],
        [[0, 100, [b"h", 0]]],
        [[0, 100, [b"h", b"1"]]],
        [[0, 100, [b"\xff", 1]]],
        [[0, 100, [b"h", 1]], [100, 200, [b"h", 1]]],
        [[0, 100, [b"?", 1, b"id", [b"ip"]]]],
        [[0, 100, [b"?", 1, b"id", [b"ip", 1]]]],
        [[b"0", 100, [b"h", 1]]],
    ],
)
def test_what_is_no_topology(reply: Any) -> None:
    with pytest.raises(TopologyError):
        parse_slots(reply, ASKED)


def test_why_it_is_no_topology() -> None:
    """A node that has not met the others is healthy, and the log says so."""
    with pytest.raises(TopologyError, match=r"^it knows no slots yet$"):
        parse_slots([], ASKED)
    no_answers: list[Any] = [None, 5, {}, [None]]
    for reply in no_answers:
        with pytest.raises(TopologyError, match=r"^no answer to CLUSTER SLOTS$"):
            parse_slots(reply, ASKED)
    with pytest.raises(TopologyError, match=r"^slots 5 to 4$"):
        parse_slots([[5, 4, [b"h", 1]]], ASKED)


def test_the_last_ports_and_slots() -> None:
    topology = parse_slots([[0, 0, [b"h", 1]], [1, 1, [b"h", 65535]], [16383, 16383, [b"i", 1]]], ASKED)
    assert topology.addresses() == [Address("h", 1), Address("h", 65535), Address("i", 1)]
    assert topology.uncovered() == [(2, 16382)]
    assert parse_slots([[1, 16382, [b"h", 1]]], ASKED).uncovered() == [(0, 0), (16383, 16383)]
    with pytest.raises(TopologyError):
        parse_slots([[0, 1, [b"h", 65536]]], ASKED)
    assert parse_redirect("MOVED 1 h:65535", ASKED) == Redirect("MOVED", 1, Address("h", 65535))
    assert parse_redirect("MOVED 1 h:1", ASKED) == Redirect("MOVED", 1, Address("h", 1))
    assert parse_redirect("MOVED 1 h:65536", ASKED) is None


def test_an_address_for_people() -> None:
    """As in a URL: an address of IPv6 has colons, so it stands in brackets."""
    assert str(Address("::1", 6379)) == "[::1]:6379"
    assert str(Address("node.example", 6379)) == "node.example:6379"


@pytest.mark.parametrize(
    ("text", "redirect"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirect("MOVED", 3999, Address("127.0.0.1", 6381))),
        ("ASK 3999 node.example:6381", Redirect("ASK", 3999, Address("node.example", 6381))),
        ("MOVED 0 :6381", Redirect("MOVED", 0, Address("seed.example", 6381))),
        ("MOVED 0 ?:6381", Redirect("MOVED", 0, Address("seed.example", 6381))),
        ("MOVED 16383 ::1:6381", Redirect("MOVED", 16383, Address("::1", 6381))),
        ("MOVED 16383 [::1]:6381", Redirect("MOVED", 16383, Address("::1", 6381))),
        ("MOVED 16384 h:1", None),
        ("MOVED -1 h:1", None),
        ("MOVED x h:1", None),
        ("MOVED 1 h:99999", None),
        ("MOVED 1 h:0", None),
        ("MOVED 1 h:", None),
        ("MOVED 1 6381", None),
        ("MOVED 000001 h:1", None),
        ("MOVED 1 h:" + "9" * 5000, None),  # of which Python makes no int
        ("MOVED 1", None),
        ("MOVED", None),
        ("TRYAGAIN 1 h:1", None),
        ("MOVED 1\u0661 h:1", None),
        ("", None),
    ],
)
def test_redirect(text: str, redirect: Redirect | None) -> None:
    assert parse_redirect(text, ASKED) == redirect


def test_ranges_for_people() -> None:
    assert describe_ranges([(0, 5460), (7, 7)]) == "0-5460, 7"
    assert describe_ranges([(0, 1)] * 3) == "0-1, 0-1, 0-1"
    assert describe_ranges([(0, 1)] * 4) == describe_ranges([(0, 1)] * 5) == "0-1, 0-1, 0-1 and more"


# ---------------------------------------------------------------------------------------------------- when to ask again


class Worker:
    """A worker that asks when its pace says so, and that hears of trouble in every millisecond of a failover."""

    def __init__(self, seed: int) -> None:
        self.pace = RefreshPace(0.0, random.Random(seed).random)
        self.asked_at: list[float] = []

    def live(self, until_s: float, trouble: tuple[float, float], change_at: float) -> None:
        changed = False
        for step in range(int(until_s * 1000)):
            now = step / 1000
            if trouble[0] <= now < trouble[1]:
                self.pace.ask(now)
            if now >= self.pace.due:
                self.asked_at.append(now)
                first_since = now >= change_at and not changed
                changed = changed or first_since
                self.pace.done(now, changed=first_since)


def test_a_hundred_workers_make_no_storm() -> None:
    """During a failover of ten seconds, each worker hears of trouble a thousand times a second."""
    workers = [Worker(seed) for seed in range(100)]
    for worker in workers:
        worker.live(60, (20.0, 30.0), change_at=29.5)
    asked = sorted(moment for worker in workers for moment in worker.asked_at if 20 <= moment < 31)
    by_tenth = [sum(begin / 10 <= moment < begin / 10 + 0.1 for moment in asked) for begin in range(200, 310)]
    assert max(by_tenth) <= 101  # each worker at most once in a tenth of a second
    assert sum(by_tenth[:10]) < 100 * 5
    per_second = [sum(second <= moment < second + 1 for moment in asked) for second in range(23, 29)]
    assert max(per_second) <= 100  # each worker pauses for 1 to 1.5 s
    noticed = [min(m for m in worker.asked_at if m >= 29.5) for worker in workers]
    assert max(noticed) < 31.1  # each worker reads the new topology within 1.6 s


def test_a_quiet_cluster_is_asked_now_and_then() -> None:
    worker = Worker(1)
    worker.live(600, (0, 0), change_at=1000)
    pauses = [after - before for before, after in pairwise(worker.asked_at)]
    assert all(REGULAR_S / 2 - 0.01 <= pause <= REGULAR_S + 0.01 for pause in pauses)
    assert len(pauses) > 15


def test_the_pauses_between_reads() -> None:
    """While signs go on and nothing changes: 0.1, 0.2, 0.4, 0.8 and then 1 s, and up to half as much more."""
    for by_chance, more in ((0.0, 1.0), (1.0, 1.5)):
        pace = RefreshPace(100.0, lambda by_chance=by_chance: by_chance)  # type: ignore[misc]
        assert pace.due == 100.0  # at once: nothing is known
        pace.done(100.0, changed=True)
        now = 110.0
        pace.ask(now)
        first = pace.due
        assert first == pytest.approx(now + 0.1 * by_chance)
        pace.ask(now + 0.05)
        assert pace.due == first  # further signs do not put it off
        for pause_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
            now = pace.due
            pace.done(now, changed=False)
            pace.ask(now + 1e-6)
            assert pace.due == pytest.approx(now + max(pause_s * more, 0.1 * by_chance), abs=1e-5)
        now = pace.due
        pace.done(now, changed=True)
        pace.ask(now + 1e-6)
        assert pace.due == pytest.approx(now + 0.1 * more, abs=1e-5)  # the next change is noticed sooner again


def test_a_sign_long_after_vain_refreshes_is_like_the_first() -> None:
    """A regular read in between, which no sign asked for, takes the pause away."""
    pace = RefreshPace(0.0, lambda: 0.0)
    for now in (0.0, 1.0, 3.0):
        pace.ask(now)
        pace.done(now, changed=False)
    pace.done(20.0, changed=False)
    pace.ask(20.0)
    assert pace.due == pytest.approx(20.1)


@pytest.mark.parametrize("asked", [False, True])
def test_the_pauses_begin_with_the_first_vain_refresh(asked: bool) -> None:
    """Whether or not somebody has already asked for the very first read, which is due at once and may fail."""
    pace = RefreshPace(100.0, lambda: 0.0)
    if asked:
        pace.ask(100.0)
        assert pace.due == 100.0
    pace.done(100.0, changed=False)
    for pause_s in (0.2, 0.4) if asked else (0.1, 0.2):
        pace.ask(200.0)  # unless it is wanted already
        pace.done(200.0, changed=False)
        pace.ask(200.0)
        assert pace.due == pytest.approx(200.0 + pause_s)


def test_a_sign_does_not_put_off_a_regular_read() -> None:
    """Which comes 15 to 30 s after the one before it."""
    for by_chance, regular_s in ((0.0, 15.0), (1.0, 30.0)):
        pace = RefreshPace(0.0, lambda by_chance=by_chance: by_chance)  # type: ignore[misc]
        pace.done(0.0, changed=False)
        assert pace.due == pytest.approx(regular_s)
        pace.ask(regular_s - 0.001)
        assert pace.due == pytest.approx(regular_s - (0.001 if by_chance == 0 else 0))
    pace = RefreshPace(0.0, lambda: 1.0, regular_s=2.0)
    pace.done(0.0, changed=False)
    assert pace.due == 2.0


def test_topology_of_one() -> None:
    shard = Shard(Address("h", 1), (Address("h", 2),))
    topology = Topology.of_one(shard)
    assert topology.shards == (shard,)
    assert topology.ranges == ((0, 16383, 0),)
    assert not topology.uncovered()
