"""What a cluster is asked in bad moments, simulated: with the real pace there is no storm, without it there is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perf import refreshes
from yummy_fast.stores.redis_slots import PAUSE_LAST_S, REGULAR_S, RefreshPace

WORKERS = refreshes.PODS * refreshes.WORKERS_PER_POD


class AtOnce(RefreshPace):
    """Each sign of trouble is a reading, and it is always time for one: what others do."""

    def ask(self, now: float) -> None:
        self.due = min(self.due, now)

    def done(self, now: float, *, changed: bool) -> None:
        self.due = now + REGULAR_S


def at_once(now: float, random: Callable[[], float]) -> RefreshPace:
    return AtOnce(now, random)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_failover_makes_no_storm(seed: int) -> None:
    found = refreshes.failover(seed)
    # The first within a tenth of a second, then pauses of 0.1, 0.2, 0.4 and 0.8 s at least, or up to half more.
    assert found.most_in_a_second <= 4 * WORKERS
    assert found.readings <= 10 * WORKERS
    assert found.over_s <= 1.5 * PAUSE_LAST_S + 0.2, "and all know of the new primary soon"


def test_without_the_pace_there_is_one() -> None:
    found = refreshes.failover(make_pace=at_once)
    assert found.most_in_a_second > 5 * refreshes.failover().most_in_a_second
    assert found.readings > 20 * refreshes.failover().readings


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("at_once", [1, 25, 100])
def test_each_new_worker_reads_once_and_then_now_and_then(seed: int, at_once: int) -> None:
    found = refreshes.rolling_restart(seed, at_once=at_once)
    regular = 2 * WORKERS * (found.over_s + 1) / (REGULAR_S / 2)  # of old and new ones, as often as can be
    assert WORKERS <= found.readings <= WORKERS + regular
    assert found.most_in_a_second < WORKERS
    assert found.most_of_one_node < 3 * found.most_in_a_second / refreshes.NODES + 10


def test_the_seed_decides() -> None:
    assert refreshes.table(1) == refreshes.table(1) != refreshes.table(2)
