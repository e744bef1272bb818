"""Question: how much of Redis's replies is worked through in one turn of the event loop, and over how many connections?

Redis answers all that it has read before it writes; we used to read all that it had written before we wrote. So with a
few busy clients the two took turns, each idle while the other worked. Two remedies: work the replies through in chunks,
with a turn of the loop between two (answers leave, requests come in, commands go out), or several connections.

Asked on 2026-11-23; Redis 7.0.15, Python 3.11.2, uvloop 0.23.0, two shared AMD EPYC cores, one of them the server's.
Set `ints`, medians of 4 rounds of 2 s, requests/s and CPU us a request of the server:

                             1 x 50         10 x 50         100 x 50
    all at once            9,906,  79      1,455, 426      173, 2,852
    chunks of 16 KB         9,481,  96      2,237, 403      241, 3,158
    chunks of 32 KB         8,407, 103      1,916, 441      249, 2,905
    chunks of 64 KB         9,839,  88      1,808, 439      226, 3,340
    32 KB, 2 connections   9,944,  87      2,143, 424      190, 3,851
    32 KB, 4 connections   9,281,  91      1,930, 434      185, 3,886

The machine was busy: rounds of one figure differed by 10 to 50 %, which drowns everything at 1 x 50. What does not
drown: a third to a half more requests/s for 10 and 100 rows, at the same CPU.

Verdict: chunks of 32 KB, which five or six hashes of 275 fields fill. A second connection adds nothing to that, and
takes CPU: its replies come in smaller reads. It also would need a rule for which request goes where.

Ask again when a chunk's work changes much (a faster decoder), or with Redis on another machine.

    python perf/experiments/replies_in_chunks.py
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ab
import data
import rivals

SHAPES = (rivals.Shape(1, 50, 32), rivals.Shape(10, 50, 5), rivals.Shape(100, 50, 5))

CHUNKS = (
    "import yummy_fast.stores.redis_connection as store; "
    "store.CHUNK_BYTES = {bytes}; store.MAX_CHUNKS = (256 << 10) // {bytes}"
)

# A request goes over one of several connections, each in its turn. Only for measuring: the others are not reconnected.
CONNECTIONS = """
import itertools
from yummy_fast.stores import redis as store

class Connections:
    def __init__(self, connections):
        self._next = itertools.cycle(connections).__next__

    def send(self, pending, commands):
        self._next().send(pending, commands)

async def open_all(self):
    await one(self)
    self.others = [self._client().connection_pool.make_connection() for _ in range({number} - 1)]
    connections = [self._connection]
    for other in self.others:
        await other.connect()
        connections.append(store.RedisConnection(other._writer.transport, self._timeout_s, 64 << 20, self.state))
    self._connection = Connections(connections)

one, store.RedisStore.open = store.RedisStore.open, open_all
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ab.add_options(parser)
    parser.set_defaults(sets=["ints"], rounds=4)
    options = parser.parse_args()
    os.sched_setaffinity(0, {rivals.LOAD_CORE})
    contestants = [
        ab.variant_peer("all at once", CHUNKS.format(bytes=1 << 30)),
        *(ab.variant_peer(f"chunks of {size} KB", CHUNKS.format(bytes=size << 10)) for size in (16, 32, 64)),
        *(ab.variant_peer(f"32 KB, {number} connections", CONNECTIONS.format(number=number)) for number in (2, 4)),
    ]
    for name in options.sets:
        ab.compare(data.SETS[name], contestants, SHAPES, options)


if __name__ == "__main__":
    main()
