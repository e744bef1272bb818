"""Pushes random rows to Feast's server and to ours, and compares the answers and what is in Redis after each.

    python tests/differential/pushes.py --requests 400 --seed 1 [--feast-python .venv-feast/bin/python]

Both serve the repository of the recorded pushes (tests/conformance/push), each with a Redis database of its own. What
must hold, push by push:
- Where Feast answers 200, so do we, and both databases hold the same: the same keys and fields, and Values that are
  equal as protobuf messages (the order of a map's entries is not defined). But where Feast spoils values without a
  word (docs/writing.md, "What differs from Feast"), we may refuse: `spoils` says when.
- Where Feast refuses or fails, we answer 4xx, and nothing has changed in our database; or 200, where docs/writing.md
  says so: after that, both databases are emptied.

The last line is 'N passed, M failed', the exit code 1 if any failed. The same seed makes the same pushes.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hiredis

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this is run as a script

from tests.differential.servers import running, valkey  # noqa: E402
from tests.ports import free_port  # noqa: E402
from yummy_fast.feast_format._proto.value_pb2 import Value  # noqa: E402
from yummy_fast.stores.resp import render_command  # noqa: E402

SHOWN = 10

GOOD: dict[str, Any] = {
    "i32": lambda rng: rng.choice((rng.randrange(-(1 << 31), 1 << 31), rng.randrange(200), "17", True)),
    "i64": lambda rng: rng.choice((rng.randrange(-(1 << 63), 1 << 63), rng.randrange(200), 3.9, "-8")),
    "f32": lambda rng: rng.choice((rng.uniform(-9, 9), rng.randrange(9), 1e39, 0)),
    "f64": lambda rng: rng.choice((rng.uniform(-1e9, 1e9), rng.randrange(99), 0.0)),
    "s": lambda rng: rng.choice(("", "x", "ü" * rng.randrange(1, 200), "日本")),
    "b": lambda rng: rng.random() < 0.5,
    "ts": lambda rng: rng.randrange(-(10**9), 2 * 10**9),
    "li": lambda rng: [rng.randrange(-(10**12), 10**12) for _ in range(rng.randrange(4))],
    "ls": lambda rng: [rng.choice(("", "a", "é" * 90)) for _ in range(rng.randrange(4))],
    "lf": lambda rng: [rng.uniform(-1, 1) for _ in range(rng.randrange(4))],
}
ODD: tuple[Any, ...] = (None, "abc", [1], {"a": 1}, True, 1 << 63, 1 << 40, 2.5, "", [None], ["a", 1], [[1]], -0.0)


class Frame(dict[str, Any]):
    """The columns of a push, and whether every value is one that both must take."""

    is_good = True


def frame(rng: random.Random) -> Frame:
    """Rows of the view `every`. One row may be anything; of several, each column has values of one kind."""
    rows = rng.choice((1, 1, 2, 5))
    made = Frame()
    drivers = [rng.randrange(1, 6) for _ in range(rows)]
    made["driver_id"] = [str(driver) for driver in drivers] if rng.random() < 0.1 else drivers
    for name, make in GOOD.items():
        column = [make(rng) for _ in range(rows)]
        if rows > 1:  # pandas makes one type of a column's values: let them have one
            kind = type(column[0])
            column = [value if type(value) is kind else column[0] for value in column]
        if rng.random() < 0.15:
            column = [None] * rows if rows > 1 else [None]
        made[name] = column
    if rng.random() < 0.3:
        name = rng.choice(list(GOOD))
        made[name] = [rng.choice(ODD), *made[name][1:]]
        made.is_good = False
    if rng.random() < 0.08:
        del made[rng.choice(list(made))]
        made.is_good = False
    time = f"2026-03-{rng.randrange(1, 28):02d}T10:00:{rng.randrange(60):02d}"
    forms = (time, time + "Z", time + ".25", time + "+02:00", time[:10], "1969-12-31T00:00:00")
    form = rng.randrange(len(forms))
    made["event_timestamp"] = [forms[form]] * rows if rows > 1 else [rng.choice(forms)]
    if rng.random() < 0.06:
        made["event_timestamp"][-1] = rng.choice((None, "garbage", 1767225600))
        made.is_good = False
    return made


def spoils(pushed: Frame) -> bool:
    """Whether Feast may answer 200 to what it spoils."""
    return not pushed.is_good


class Redis:
    """One database."""

    def __init__(self, port: int, db: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._reader = hiredis.Reader()
        self.do(b"SELECT", b"%d" % db)

    def do(self, *command: bytes) -> Any:
        self._socket.sendall(render_command(*command))
        while (answer := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 16))
        return answer

    def hashes(self) -> dict[bytes, dict[bytes, Any]]:
        """All keys, with their fields decoded, but for the timestamps, which are compared as bytes."""
        found = {}
        for key in self.do(b"KEYS", b"*"):
            flat = self.do(b"HGETALL", key)
            pairs = zip(flat[::2], flat[1::2], strict=True)
            found[key] = {name: value if name.startswith(b"_ts:") else Value.FromString(value) for name, value in pairs}
        return found


class Server:
    """A server, and the database that it writes to."""

    def __init__(self, port: int, redis: Redis) -> None:
        self._port = port
        self.redis = redis

    def push(self, body: bytes) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("POST", "/push", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def compare(pushed: Frame, feast: Server, yummy: Server) -> str | None:
    """What is wrong, or None."""
    body = json.dumps({"push_source_name": "ps_all", "df": pushed}).encode()
    before = yummy.redis.hashes()
    theirs, ours = feast.push(body), yummy.push(body)
    after = yummy.redis.hashes()
    if theirs[0] == 200 == ours[0]:
        if after == feast.redis.hashes():
            return None
        if spoils(pushed):
            _empty(feast, yummy)
            return None
        return "Redis differs"
    if ours[0] == 200 or theirs[0] == 200:
        _empty(feast, yummy)
    if theirs[0] == 200:
        return None if spoils(pushed) and 400 <= ours[0] < 500 else f"answered {ours}, Feast 200"
    if ours[0] == 200:
        return None if spoils(pushed) else f"answered 200, Feast {theirs}"
    if not 400 <= ours[0] < 500:
        return f"answered {ours}"
    return None if after == before else "a refused push has written"


def _empty(*servers: Server) -> None:
    for server in servers:
        server.redis.do(b"FLUSHDB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    parser.add_argument("--yummy", default=str(Path(sys.executable).with_name("yummy-fast")), metavar="COMMAND")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pushes-")))
        redis_port = stack.enter_context(valkey(folder))
        servers = []
        for db, program in enumerate((str(Path(arguments.feast_python).with_name("feast")), arguments.yummy)):
            repository = folder / str(db)
            shutil.copytree(ROOT / "tests" / "conformance" / "push", repository)
            config = repository / "feature_store.yaml"
            config.write_text(config.read_text().replace("localhost:6379", f"127.0.0.1:{redis_port},db={db}"))
            port = free_port()
            command = [*program.split(), "-c", str(repository), "serve", "--host", "127.0.0.1", "--port", str(port)]
            stack.enter_context(running(f"server-{db}", command, port, folder))
            servers.append(Server(port, Redis(redis_port, db)))
        feast, yummy = servers
        failed = written = 0
        for _ in range(arguments.requests):
            pushed = frame(rng)
            why = compare(pushed, feast, yummy)
            written += pushed.is_good
            if why is not None:
                failed += 1
                if failed <= SHOWN:
                    print(f"--- {why}\n    {json.dumps(pushed, ensure_ascii=False)[:900]}")
                _empty(feast, yummy)
    print(f"{written} of them were pushes that both must take")
    print(f"{arguments.requests - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
