"""Question: HKEYS and HVALS instead of HGETALL, so that names which are always the same are compared, not parsed?

Asked on 2026-11-23, because half of the instructions of a request for 50 of 250 features are hiredis making bytes
objects of a hash's names and values (perf/instructions.py): 550, of which 55 values and their names are looked at. When
an entity's names stand in the order of the last one, their reply is the same text, and one comparison proves it.
Redis 7.0.15, hiredis 3.5, Python 3.11.2, two shared AMD EPYC cores; CPU microseconds an entity, ten in a request:

                    | Redis | ours
    HGETALL         |  29.9 | 11.9
    HKEYS and HVALS |  33.7 |  6.2
    at once         |  34.5 |  6.2

Verdict: no. In sum it is 1 us of 42 less; but what it takes from us it gives to Redis, which all servers share. And it
asks for MULTI and ECHO, which not every user's rights and not every proxy have.

Other ways to parse less were thought through and fail for one reason. To step over views that are not asked for, the
parser must know where they end, and only the length in front of each value says so. To search for the name of the next
view, or to count line ends, either takes a value that looks like a reply for one, or costs what hiredis costs.

Ask again when Redis has a command that answers names and values apart, or hiredis gives some of a reply.

How: the hashes of hmget_or_hgetall.py, N = 275 fields in a listpack, and its ways of measuring. "At once" is what makes
the two commands as good as one: MULTI and EXEC around them, since another client may write between two commands; and
an ECHO of a secret between entities, since only then is it certain where the text of names begins: a value can be any
bytes, and may look like a reply.
"""

from __future__ import annotations

import random
import timeit

import hiredis
import hmget_or_hgetall as hashes
from hmget_or_hgetall import encode

FIELDS = 275
NONCE = b"0123456789abcdef"
ENTITIES = 10
BATCHES = 300

WAYS = {
    "HGETALL": (lambda keys: [encode(b"HGETALL", key) for key in keys]),
    "HKEYS, HVALS": (lambda keys: [encode(name, key) for key in keys for name in (b"HKEYS", b"HVALS")]),
    "at once": (
        lambda keys: [
            encode(b"MULTI"),
            *(part for key in keys for part in (encode(b"ECHO", NONCE), encode(b"HKEYS", key), encode(b"HVALS", key))),
            encode(b"EXEC"),
        ]
    ),
}


def main() -> None:
    with hashes.redis_server() as (link, pid):
        names = hashes.field_names(FIELDS)
        hashes.fill(link, names)
        rng = random.Random(2)
        for entities in (1, ENTITIES):
            for way, commands in WAYS.items():
                best = float("inf")
                for _ in range(7):
                    spent = 0
                    for _ in range(BATCHES):
                        batch = commands([b"key:%d" % rng.randrange(hashes.KEYS) for _ in range(entities)])
                        before = hashes.cpu_ns(pid)
                        hashes.converse(link, batch, len(batch))
                        spent += hashes.cpu_ns(pid) - before
                    best = min(best, spent / BATCHES / entities / 1000)
                print(f"Redis, {entities:2} entities a request: {way:14} {best:6.1f} us an entity")
        both = hashes.raw_reply(link, encode(b"HGETALL", b"key:1"))
        values = hashes.raw_reply(link, encode(b"HVALS", b"key:1"))
        text = hashes.raw_reply(link, encode(b"HKEYS", b"key:1"))
    reply = text + values
    start = len(text)

    def compare_and_parse() -> object:
        reader = hiredis.Reader()
        if not reply.startswith(text):
            return None
        reader.feed(reply, start, len(values))
        return reader.gets()

    assert compare_and_parse() == hiredis_reads(values)
    loops = 2000
    for way, run in (("HGETALL", lambda: hiredis_reads(both)), ("HKEYS, HVALS", compare_and_parse)):
        best = min(timeit.repeat(run, number=loops, repeat=15)) / loops * 1e6
        print(f"ours: {way:14} {best:6.1f} us an entity")


def hiredis_reads(reply: bytes) -> object:
    reader = hiredis.Reader()
    reader.feed(reply)
    return reader.gets()


if __name__ == "__main__":
    main()
