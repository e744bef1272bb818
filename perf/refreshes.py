"""How often a cluster is asked for its topology while a primary fails, and while 100 pods restart: a simulation.

    python perf/refreshes.py [--seed 1]

Each worker has a real `RefreshPace` (yummy_fast/stores/redis_slots.py): when it reads is decided by the code that
serves. The rest is made up: the clock, the requests that meet the dead node, and how long a reading takes. A storm is
what others report of such moments (valkey-go#140, redis-py#4074): all clients ask at once, again and again, and the
cluster has no CPU left for the failover.

Pure: the seed decides everything. Prints the table that docs/scaling.md has.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]  # this is run as a script

from yummy_fast.stores.redis_slots import REGULAR_S, RefreshPace  # noqa: E402

PODS, WORKERS_PER_POD = 100, 4
SHARDS = 6
NODES = 2 * SHARDS
PROMOTED_AFTER_S = 3.7
"""After a primary's death its replica is the primary: Valkey 9 with cluster-node-timeout 2000, measured."""
SIGNS_PER_S = 100.0
"""How many requests a second a worker has for the slots of the dead primary. Each is a sign that something is wrong."""
READING_S = 0.005
"""How long a reading takes: a connection, AUTH, CLUSTER SLOTS."""
AT_ONCE = PODS // 4
"""Pods that start at the same time in a rolling restart: maxSurge is 25 % by default in Kubernetes, and 1 pod in
deploy/kubernetes."""
STARTS_WITHIN_S = (1.0, 5.0)
"""How long a pod takes to be ready: an assumption, with the image on the machine."""

MakePace = Callable[[float, Callable[[], float]], RefreshPace]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the nodes of the cluster see."""

    what: str
    workers: int
    readings: int
    most_in_a_second: int
    most_of_one_node: int
    """In one second."""
    over_s: float
    """The last worker knows the new primary so long after it has been promoted; or so long the restart takes."""


def failover(seed: int = 1, workers: int = PODS * WORKERS_PER_POD, make_pace: MakePace = RefreshPace) -> Outcome:
    """A primary dies under load, and its replica is promoted. Readings are counted from its death on."""
    dice = random.Random(seed)
    died_at = 2 * REGULAR_S
    promoted_at = died_at + PROMOTED_AFTER_S
    times: list[float] = []
    last_knows_at = 0.0
    for _ in range(workers):
        pace = make_pace(dice.uniform(0, REGULAR_S), dice.random)
        sign_at = died_at + dice.expovariate(SIGNS_PER_S)
        knows = False
        while pace.due < promoted_at + REGULAR_S:
            if not knows and sign_at <= pace.due:
                pace.ask(sign_at)
                sign_at += dice.expovariate(SIGNS_PER_S)
                continue
            read_at = pace.due
            done_at = read_at + READING_S
            times.append(read_at)
            learns = not knows and read_at >= promoted_at
            if learns:
                knows = True
                last_knows_at = max(last_knows_at, done_at)
            pace.done(done_at, changed=learns)
            sign_at = max(sign_at, done_at)
    during = [moment for moment in times if died_at <= moment < last_knows_at]
    return _outcome("a primary dies", workers, during, dice, last_knows_at - promoted_at)


def rolling_restart(seed: int = 1, pods: int = PODS, at_once: int = AT_ONCE) -> Outcome:
    """Each pod is replaced by a new one, `at_once` of them at a time. `at_once` of all of them: a cold start."""
    dice = random.Random(seed)
    begins_at = 2 * REGULAR_S
    starting = [begins_at] * at_once  # when each of them may start the next pod
    times: list[float] = []
    ended_at = begins_at
    for _ in range(pods):
        starting.sort()
        ready_at = starting.pop(0) + dice.uniform(*STARTS_WITHIN_S)
        starting.append(ready_at)  # the old pod ends, and the next one may start
        ended_at = max(ended_at, ready_at)
        for _ in range(WORKERS_PER_POD):
            times += _readings(dice, dice.uniform(0, REGULAR_S), ready_at)
            times += _readings(dice, ready_at, begins_at + pods * STARTS_WITHIN_S[1])
    during = [moment for moment in times if begins_at <= moment <= ended_at + 1]
    what = "all pods start at once" if at_once == pods else f"a rolling restart, {at_once} at a time"
    return _outcome(what, pods * WORKERS_PER_POD, during, dice, ended_at - begins_at)


def _readings(dice: random.Random, begins_at: float, ends_at: float) -> Iterable[float]:
    """When a worker reads to which nothing happens."""
    pace = RefreshPace(begins_at, dice.random)
    while pace.due < ends_at:
        yield pace.due
        pace.done(pace.due + READING_S, changed=False)


def _outcome(what: str, workers: int, times: list[float], dice: random.Random, over_s: float) -> Outcome:
    """Each reading asks one node that answers, drawn at random, as `redis_nodes` does."""
    by_second = Counter(int(moment) for moment in times)
    by_node = Counter((int(moment), dice.randrange(NODES)) for moment in times)
    return Outcome(what, workers, len(times), max(by_second.values()), max(by_node.values()), over_s)


def table(seed: int = 1) -> str:
    """The table of docs/scaling.md."""
    restarts = (rolling_restart(seed, at_once=at_once) for at_once in (1, AT_ONCE, PODS))
    outcomes = (failover(seed), *restarts)
    lines = [
        f"| {PODS} pods of {WORKERS_PER_POD} workers, {SHARDS} shards with a replica each | readings of the topology "
        "| most in a second | most of one node in a second | it takes, s |\n|---|---|---|---|---|\n"
    ]
    lines += [
        f"| {one.what} | {one.readings:,} | {one.most_in_a_second:,} | {one.most_of_one_node} | {one.over_s:.1f} |\n"
        for one in outcomes
    ]
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    print(table(parser.parse_args().seed), end="")


if __name__ == "__main__":
    main()
