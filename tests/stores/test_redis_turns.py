"""Whose turn it is on the connection to Redis, and how much goes before whom."""

from __future__ import annotations

import random

import pytest

from yummy_fast.native.owner import Picker
from yummy_fast.stores.redis_turns import COST_BYTES, QUANTUM, Part, Queued, TurnQueue, cost_of
from yummy_fast.stores.resp import CommandTemplate, render_command

GET = CommandTemplate(b"GET")
LONG = CommandTemplate(b"HMGET", [b"%04d" % number for number in range(800)])
"""Eight KiB a command."""

PICKER = Picker([b"value"], False)


def fetch(name: str, *counts: int, command: CommandTemplate = GET) -> Queued:
    """A fetch of as many lookups as there are counts, with so many keys each."""
    parts = [
        Part(command, PICKER, [b"%b %d %d" % (name.encode(), place, number) for number in range(count)])
        for place, count in enumerate(counts)
    ]
    return Queued(name, parts, 0.0)


def all_turns(turns: TurnQueue, room: int = 1 << 40) -> list[tuple[str, int]]:
    taken = []
    while (turn := turns.take(room)) is not None:
        taken.append((turn.pending, turn.replies))
    return taken


def test_the_example() -> None:
    turns = TurnQueue()
    for name, count in (("A", 200), ("B", 200), ("c", 1), ("d", 1), ("e", 1)):
        turns.add(fetch(name, count))
    assert turns.commands == 403
    expected = "A64 A64 B64 A64 c1 d1 e1 B64 A8 B64 B8"
    assert " ".join(f"{name}{count}" for name, count in all_turns(turns)) == expected
    assert turns.commands == turns.cost == len(turns) == 0


@pytest.mark.parametrize("seed", range(5))
def test_every_command_is_sent_once_and_in_order_but_for_those_that_are_dropped(seed: int) -> None:
    dice = random.Random(seed)
    turns = TurnQueue()
    names = [f"f{number}" for number in range(30)]
    counts = {name: [dice.choice((1, 3, 64, 65, 500)) for _ in range(dice.randrange(1, 4))] for name in names}
    waiting = {name: fetch(name, *counts[name]) for name in names}
    dropped: set[str] = set()
    sent: dict[str, bytes] = dict.fromkeys(names, b"")
    to_add = list(names)
    while to_add or turns.commands:
        if to_add and dice.random() < 0.3:
            turns.add(waiting[to_add.pop()])
        turn = turns.take(QUANTUM)
        if turn is not None:
            sent[turn.pending] += turn.commands
        if dice.random() < 0.05 and len(to_add) < 30:
            name = dice.choice([name for name in names if name not in to_add])
            if waiting[name].commands:
                dropped.add(name)
                turns.drop(waiting[name])
    assert turns.cost == len(turns) == 0
    assert 0 < len(dropped) < 30
    for name in names:
        keys = [
            b"%b %d %d" % (name.encode(), place, number)
            for place, count in enumerate(counts[name])
            for number in range(count)
        ]
        whole = b"".join(render_command(b"GET", key) for key in keys)
        assert sent[name] == whole if name not in dropped else whole.startswith(sent[name])


def test_nothing_is_rendered_before_its_turn() -> None:
    turns = TurnQueue()
    turns.add(fetch("A", 100_000))
    turn = turns.take(QUANTUM)
    assert turn is not None
    assert turn.commands.count(b"GET") == QUANTUM
    assert turns.take(QUANTUM - 1) is None
    assert turns.commands == 100_000 - QUANTUM


def test_long_commands_cost_more_and_have_shorter_turns() -> None:
    one = LONG.about_bytes(b"x")
    assert one == pytest.approx(len(LONG.render([b"x"])), abs=4)
    assert cost_of(1, one) == 1 + one // COST_BYTES > 7
    turns = TurnQueue()
    turns.add(fetch("A", 100, command=LONG))
    turn = turns.take(1 << 40)
    assert turn is not None
    assert turn.replies == QUANTUM // cost_of(1, one)
    assert turn.cost == QUANTUM
    assert len(turn.commands) <= QUANTUM * COST_BYTES


@pytest.mark.parametrize("seed", range(20))
def test_a_short_fetch_waits_for_no_more_than_it_was_told(seed: int) -> None:
    """Whatever comes after it, and however much waits in long fetches."""
    dice = random.Random(seed)
    turns = TurnQueue()

    def add(name: str) -> None:
        turns.add(fetch(name, dice.choice((1, 1, 2, 5, 30, 64, 100, 1000, 5000))))

    for number in range(dice.randrange(60)):
        add(f"before {number}")
        if dice.random() < 0.5:
            turns.take(QUANTUM)
    told = turns.ahead(3)
    turns.add(fetch("it", 3))
    before = 0
    while (turn := turns.take(1 << 40)) is not None and turn.pending != "it":
        before += turn.replies
        add("later")
    assert turn is not None
    assert before <= told


def test_a_long_fetch_gets_half_although_short_ones_keep_coming() -> None:
    turns = TurnQueue()
    turns.add(fetch("A", 1000))
    before = 0
    for _ in range(10_000):
        turns.add(fetch("short", 1))
        turn = turns.take(1 << 40)
        assert turn is not None
        before += turn.replies if turn.pending != "A" else 0
        if not any(queued.pending == "A" for queued in (*turns._first, *turns._later)):
            break
    assert 0 < before <= 1000
