"""Question: to read F of the N fields of an entity's hash, HMGET those, or HGETALL and pick?

Asked on 2026-11-23; Redis 7.0.15, hiredis 3.5.0, Python 3.11.7, two shared AMD EPYC cores. CPU microseconds for one
command, a selection of the rows that this script prints (`by order`: the field order is the remembered one; `by name`:
it is not, so a dict is built):

      N    F | redis: HMGET  HGETALL | ours: HMGET  by order  by name | sum: HMGET  by order  by name
     25   20 |          7.4      8.2 |         0.8       3.2      3.9 |        8.2      11.4     12.1
     50   20 |         11.7      7.4 |         0.7       3.4      5.7 |       12.4      10.8     13.1
     50   50 |         18.8      7.4 |         1.3       3.6      6.4 |       20.2      11.0     13.9
    100   30 |         16.5     12.5 |         0.8       6.4     10.1 |       17.4      18.9     22.7
    100   50 |         25.7     12.5 |         1.5       6.5     10.5 |       27.3      19.0     23.1
    100  100 |         49.8     12.5 |         2.7       7.0     11.3 |       52.5      19.5     23.8
    275    5 |         11.9     26.6 |         0.4      25.1     39.0 |       12.3      51.7     65.6
    275   20 |         28.0     26.6 |         0.6      15.9     24.6 |       28.6      42.5     51.2
    275   30 |         34.6     26.6 |         0.9      16.2     24.9 |       35.4      42.8     51.5
    275   40 |         63.4     26.6 |         1.1      16.6     25.3 |       64.5      43.3     51.9
    275   50 |         65.3     26.6 |         1.3      16.4     25.3 |       66.7      43.0     51.9
    275  275 |        332.0     26.6 |         6.4      18.0     28.8 |      338.4      44.6     55.4
    510   30 |         81.3     60.7 |         1.4      31.2     45.9 |       82.8      92.0    106.6
    510   50 |         91.9     60.7 |         1.7      30.7     45.5 |       93.7      91.4    106.2
    510  100 |        194.7     60.7 |         2.4      30.4     46.5 |      197.1      91.1    107.2
    510  510 |       1047.7     60.7 |        11.8      33.8     56.7 |     1059.5      94.5    117.4
    600   50 |         32.1    111.0 |         1.6      27.8     54.2 |       33.7     138.8    165.2   (hash table)
    600  510 |        127.0    111.0 |        18.7      35.9     62.3 |      145.7     146.9    173.3   (hash table)

The verdict then: in a listpack HMGET costs about F * (0.1 + 0.004 N), HGETALL about 0.12 N in Redis and 0.06 N (by name
0.09 N) in us. N nearly cancels: the knee is a *number of fields asked*, nearly whatever the size of the hash. Redis
alone gains from F = 20, Redis and this server together from F = 35 (by order) or 45 (by name). Beyond the knee, HMGET
costs more with each field and HGETALL does not. Hence

    HGETALL when F >= 32 and N <= 512, else HMGET

which is never more than about 15 % worse in sum (510 / 32, by order; a third by name), always cheaper for Redis (which
all servers share), and up to eleven times cheaper in all. A hash table (N > 512, or one value over 64 bytes) is left to
HMGET.

The price is bytes on the network: a reply to HGETALL of 275 fields has 6 KB, one to HMGET of 50 has 0.5 KB. At 1 Gbit/s
6 KB take 50 us for each entity, so over a slow network the knee is nearer to F = N / 3.

Asked again on 2026-11-26, since C code now reads the replies (the same machine, but busy: Redis's figures vary by a
half). Now our share hardly counts. (The script prints the share of the reader in use, `native` or its twin.)

      N    F | redis: HMGET  HGETALL | native: HMGET  by order  by name | sum: HMGET  by order  by name
     50   15 |         15.9     10.0 |           0.2       0.4      0.8 |       16.2      10.4     10.9
     50   30 |         22.2     10.0 |           0.3       0.4      1.0 |       22.5      10.5     11.0
    100   20 |         24.3     18.4 |           0.3       0.6      1.6 |       24.6      19.0     20.0
    100   30 |         17.9     18.4 |           0.3       0.6      1.6 |       18.2      19.0     20.0
    275   15 |         38.9     38.4 |           0.4       1.9      8.6 |       39.3      40.4     47.0
    275   30 |         34.5     38.4 |           0.6       2.1      4.2 |       35.1      40.5     42.6
    275   40 |         85.4     38.4 |           0.6       1.9      4.0 |       86.0      40.3     42.4
    510   30 |         66.1     43.9 |           0.3       2.1      7.0 |       66.5      46.0     50.9
    510   50 |         90.8     43.9 |           0.4       2.2      7.2 |       91.2      46.1     51.0

And once more that day, on the quiet machine, HMGET and HGETALL in turns, batch by batch, so that both see the same
machine; which of the two goes first changes, too, since the second finds the hashes in the CPU's cache.

      N    F | redis: HMGET  HGETALL | native: HMGET  by order  by name | sum: HMGET  by order  by name
     50   10 |          5.5      7.1 |           0.2       0.3      0.8 |        5.7       7.5      8.0
     50   15 |          6.3      6.8 |           0.2       0.3      1.0 |        6.6       7.1      7.7
     50   20 |          7.9      6.3 |           0.3       0.3      0.9 |        8.2       6.6      7.1
    100   15 |         11.8     13.3 |           0.2       0.5      1.7 |       12.1      13.8     14.9
    100   20 |         19.0     16.1 |           0.3       0.5      1.6 |       19.3      16.6     17.7
    100   25 |         16.2     13.3 |           0.3       0.5      1.6 |       16.5      13.8     14.9
    275   15 |         23.8     31.4 |           0.3       1.3      6.2 |       24.1      32.7     37.6
    275   20 |         35.1     34.3 |           0.3       1.0      3.8 |       35.4      35.3     38.1
    275   25 |         51.6     40.7 |           0.3       1.0      7.7 |       51.9      41.8     48.4
    275   30 |         33.1     24.8 |           0.6       1.6      4.6 |       33.6      26.5     29.4
    510   20 |         40.1     46.6 |           0.3       1.8      7.6 |       40.4      48.4     54.2
    510   25 |         48.3     46.4 |           0.5       3.0     10.0 |       48.8      49.4     56.4
    510   30 |         58.8     47.2 |           0.3       1.8      9.8 |       59.1      49.0     57.0

Verdict: Redis's share decides now, and has its knee between 17 fields (N = 50) and 24 (N = 510). So

    HGETALL when F >= 24 and N <= 512, else HMGET

Of 25 fields Redis then needs 4 % less time (N = 510), 21 % (275) or 18 % (100); of 20 fields it would need 20 % less
(N = 50) and 16 % more (510). In sum no more than 1 % is lost; 16 % at N = 510 where each hash has an order of its own.
Without C code, HGETALL costs this server 13 us more at N = 275: between 24 and 35 fields the sum is up to a fifth worse
there, but Redis, which all servers share, still needs less; and one rule serves with and without C. From 20 fields on,
HGETALL would still pay for hashes of up to 100 fields, but not for longer ones, and the bytes on the network speak for
HMGET.

Ask again when Redis or Valkey is new (both work on a faster lookup in listpacks; Valkey 8.1 has another hash table), or
when fields are read as ranges or by HGETEX.

How: a redis-server of its own on core 1, hashes as Feast writes them (views of 10 features and one `_ts:`, values half
Int32 and half Double, fields of every hash inserted in one shuffled order of views), random keys, fields asked for in
another shuffled order. Commands travel in pipelines of 10. Redis's cost is its CPU time from /proc/PID/schedstat, so
it includes reading the command and writing the reply. Our cost is that of `ReplyReader.feed`; in the first table, that
of hiredis.Reader plus, for HGETALL, comparing the names with the remembered order and one itemgetter. Not measured: the
network, over which HGETALL sends more bytes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import random
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hiredis

from yummy_fast.native.owner import IN_USE, Picker, ReplyReader

PORT = 7109
KEYS = 2_000  # 2,000 hashes of 510 fields are about 20 MB: more than this machine's caches
PIPELINE = 10
HASH_SIZES = (25, 50, 100, 275, 510, 600)  # 600 is over hash-max-listpack-entries: a hash table
ASKED = (5, 10, 15, 20, 25, 30, 40, 50, 100, 275, 510)


@contextmanager
def redis_server() -> Iterator[tuple[socket.socket, int]]:
    """A throwaway Redis on core 1: one connection to it, and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", str(PORT), "--bind", "127.0.0.1", "--save", "", "--dir", folder, "--daemonize", "no"]
        server = subprocess.Popen(["taskset", "-c", "1", "redis-server", *options], stdout=subprocess.DEVNULL)
        try:
            yield connect_when_up(server), server.pid
        finally:
            server.terminate()
            server.wait()


def connect_when_up(server: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", PORT))
        except ConnectionRefusedError:
            time.sleep(0.01)  # between two attempts to connect
    raise SystemExit(f"redis-server did not come up on port {PORT}")


def field_names(count: int) -> list[bytes]:
    """Feast's fields of a hash: 4 random bytes for a feature, text for a view's timestamp, views of 10 features."""
    rng = random.Random(count)
    names = [
        b"_ts:view_%d" % (i // 11) if i % 11 == 10 else struct.pack("<I", rng.getrandbits(32)) for i in range(count)
    ]
    views = [names[i : i + 11] for i in range(0, count, 11)]
    rng.shuffle(views)
    return [name for view in views for name in view]


def value(rng: random.Random, name: bytes) -> bytes:
    if name.startswith(b"_ts:"):
        return b"\x08" + struct.pack("<I", rng.getrandbits(32)) + b"\x06"  # as long as a Timestamp
    if name[0] % 2:
        return struct.pack("<BH", 0x18, rng.getrandbits(16))  # Value.int32_val: tag and a two-byte varint
    return struct.pack("<Bd", 0x29, rng.random())  # Value.double_val


def encode(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def converse(link: socket.socket, commands: list[bytes], replies: int) -> list[object]:
    """Send, then read that many replies. One batch is small enough for both socket buffers."""
    link.sendall(b"".join(commands))
    reader = hiredis.Reader()
    answers: list[object] = []
    while len(answers) < replies:
        reader.feed(link.recv(1 << 20))
        while (answer := reader.gets()) is not False:
            answers.append(answer)
    return answers


def fill(link: socket.socket, names: list[bytes]) -> None:
    rng = random.Random(1)
    converse(link, [encode(b"FLUSHALL")], 1)
    for i in range(KEYS):
        pairs = [part for name in names for part in (name, value(rng, name))]
        converse(link, [encode(b"HSET", b"key:%d" % i, *pairs)], 1)


def cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def redis_us(
    link: socket.socket, pid: int, commands: Sequence[Callable[[bytes], bytes]], batches: int
) -> tuple[float, ...]:
    """Redis's CPU time for one of each of these commands, in microseconds: the median of nine runs. The commands take
    turns, batch by batch, so that whatever else the machine does slows all of them alike. Which goes first with a
    batch's keys changes, too: only the first has to fetch their hashes into the CPU's cache.
    """
    rng = random.Random(2)
    runs: list[list[float]] = []
    for run in range(9):
        spent = [0] * len(commands)
        for turn in range(batches):
            keys = [b"key:%d" % rng.randrange(KEYS) for _ in range(PIPELINE)]
            for place in range(len(commands)):
                number = (place + run + turn) % len(commands)
                batch = list(map(commands[number], keys))
                before = cpu_ns(pid)
                converse(link, batch, PIPELINE)
                # Redis may still be on its way back to epoll when the last reply is here. That tail is the same few
                # hundred ns for every command.
                spent[number] += cpu_ns(pid) - before
        runs.append([each / batches / PIPELINE / 1000 for each in spent])
    return tuple(map(statistics.median, zip(*runs, strict=True)))


def read_us(replies: Sequence[bytes], asked: list[bytes], named: bool) -> float:
    """This server's cost of one of these replies, in microseconds; the best of 15 runs, as others use the machine."""
    loops = 20
    best = float("inf")
    reader, picker = ReplyReader(), Picker(asked, named)
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(loops):
            for reply in replies:
                reader.expect(picker, 1)
                reader.feed(reply)
        best = min(best, time.perf_counter() - start)
    return best / loops / len(replies) * 1e6


def raw_reply(link: socket.socket, command: bytes) -> bytes:
    link.sendall(command)
    reader = hiredis.Reader()
    reply = b""
    while True:
        chunk = link.recv(1 << 20)
        reply += chunk
        reader.feed(chunk)
        if reader.gets() is not False:
            return reply


def reordered(reply: bytes) -> list[bytes]:
    """Replies with the same fields, each in an order of its own."""
    reader = hiredis.Reader()
    reader.feed(reply)
    words = reader.gets()
    pairs = list(zip(words[::2], words[1::2], strict=True))
    rng = random.Random(3)
    return [encode(*itertools.chain.from_iterable(rng.sample(pairs, len(pairs)))) for _ in range(20)]


def measure(link: socket.socket, pid: int, options: argparse.Namespace) -> None:
    print(f"{'':10} | {'redis':18} |" + "".join(f" {name:26} |" for name in (f"ours ({IN_USE})", "sum")))
    print("    N    F |    HMGET   HGETALL |" + "   HMGET  by order  by name |" * 2 + " cheapest")
    batches = options.batches
    for size in options.sizes:
        names = field_names(size)
        fill(link, names)
        whole = functools.partial(encode, b"HGETALL")
        reply_all = raw_reply(link, whole(b"key:1"))
        for count in [f for f in options.asked if f <= size]:
            asked = random.Random(count).sample(names, count)
            # The places of the fields in the hash decide what HMGET costs, so this averages over 50 choices of fields.
            choices = itertools.cycle([asked] + [random.Random(i).sample(names, count) for i in range(49)])

            def some(key: bytes, choices: Iterator[list[bytes]] = choices) -> bytes:
                return encode(b"HMGET", key, *next(choices))

            redis_some, redis_all = redis_us(link, pid, (some, whole), batches)
            one, others = raw_reply(link, some(b"key:1")), reordered(reply_all)
            ours = (
                read_us([one], asked, False),
                read_us([reply_all], asked, True),
                read_us(others, asked, True),
            )
            of_redis = (redis_some, redis_all, redis_all)
            sums = [redis + own for redis, own in zip(of_redis, ours, strict=True)]
            print(
                f"{size:5} {count:4} | {redis_some:8.1f} {redis_all:9.1f} |"
                + "".join(f"{of[0]:8.1f} {of[1]:9.1f} {of[2]:8.1f} |" for of in (ours, sums))
                + f" {('HMGET', 'HGETALL', 'HGETALL by name')[sums.index(min(sums))]}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="HMGET or HGETALL: CPU of Redis and of us, for F of N fields.")
    parser.add_argument("--batches", type=int, default=50, help="pipelines of 10 in each of a figure's nine runs")
    parser.add_argument("--sizes", type=int, nargs="+", default=HASH_SIZES, help="fields of a hash")
    parser.add_argument("--asked", type=int, nargs="+", default=ASKED, help="fields asked for")
    options = parser.parse_args()
    with redis_server() as (link, pid):
        measure(link, pid, options)


if __name__ == "__main__":
    main()
