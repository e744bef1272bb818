"""Instructions a request, counted by callgrind: python perf/instructions.py [REV ...] beside the working tree.

CPU times on a shared machine differ by a tenth from minute to minute; a count of instructions differs by a few
thousandths, so it shows small changes. A server of each revision runs under valgrind and gets bursts of requests for
random entities over sixteen connections; with `--connections 1` each request is alone, as on a quiet server. Counting
starts after the first bursts. `--floor` counts floor.py as well.

What it does not see: the kernel, the processor's caches, Redis. An instruction is no microsecond; rivals.py and ab.py
measure those. Served values are sampled within a budget of time (`value_sampling`), so the share of the answers that is
sampled depends on the server's speed: sampling is switched off. So are heartbeats, looks at the registry and the checks
of the order of Redis's replies: ten, one and a hundred a second.

`--stores redis cluster replicas` compares how a tree reads from one Redis, from a cluster of three primaries with a
replica each, and from that cluster with read_from_replicas: the same data, the same requests.

It needs Debian's valgrind and redis-server. All revisions run under the Python that runs this script, with the packages
that are installed for it. Nothing is written to perf/results/.
"""

from __future__ import annotations

import argparse
import random
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path

PERF = Path(__file__).resolve().parent
sys.path[:0] = [str(PERF.parent)]  # for tests.clusters: this is run as a script

import ab  # noqa: E402
import data  # noqa: E402
import peers  # noqa: E402
import rivals  # noqa: E402

from tests.clusters import Cluster  # noqa: E402

Writers = dict[str, Callable[[Path], Path]]

CONNECTIONS = 16
REQUESTS = 1_600
"""So many are counted of one row each; of more rows fewer, in five bursts at least."""
WARM_UP = 20
"""Bursts before counting: connections, memos, lazy imports."""
SAMPLING_BUDGETS = (
    ("yummy_fast.features.value_sampling", "BUDGET_NS_PER_HEARTBEAT"),
    ("yummy_fast.features.value_sampling", "BUDGET_NS_A_BEAT"),
    ("yummy_fast.served", "BUDGET_NS_A_BEAT"),
)
"""Where the budget of sampling is: in this revision, and in earlier ones."""
PERIODS = (("yummy_fast.server.health", "BEAT_S"), ("yummy_fast.sources.file", "FileSource.look_every_s"))
"""What a server does by the clock. Under valgrind a request takes fifty times as long, and would be counted with fifty
times its part of that: more on a machine that has other work."""
PRELUDE = f"""
import importlib, sys
# Without the finders of editable installations: a module that this revision lacks would come from there.
sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__module__.startswith("_frozen_importlib")]
for module, budget in {SAMPLING_BUDGETS!r}:
    try:
        getattr(importlib.import_module(module), budget)
    except (ImportError, AttributeError):
        continue
    setattr(importlib.import_module(module), budget, 0)
    break
else:
    sys.exit("this revision has no budget of sampling by the names in SAMPLING_BUDGETS")
for module, period in {PERIODS!r}:
    *path, name = period.split(".")
    try:
        where = importlib.import_module(module)
        for part in path:
            where = getattr(where, part)
        setattr(where, name, 3600.0)
    except (ImportError, AttributeError):
        pass
for module in ("redis", "redis_link"):  # in earlier revisions, and in this one
    try:
        importlib.import_module(f"yummy_fast.stores.{{module}}").CHECK_EVERY_S = float("inf")
    except ImportError:
        pass
sys.argv[0] = "yummy-fast"
from yummy_fast.__main__ import main
main()
"""


def drive(links: Sequence[socket.socket], requests: Sequence[bytes]) -> None:
    """One burst: a request on each connection, then all the answers."""
    for link, request in zip(links, requests, strict=True):
        link.sendall(request)
    for link in links:
        read_answer(link)


def read_answer(link: socket.socket) -> None:
    received = b""
    while True:
        head, found, body = received.partition(b"\r\n\r\n")
        if found:
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not head.startswith(b"HTTP/1.1 200") or length is None:
                raise SystemExit(f"the server said {head!r}")
            if len(body) >= int(length[1]):
                return
        piece = link.recv(1 << 20)
        if not piece:
            raise SystemExit("the server closed the connection")
        received += piece


def burst(rng: random.Random, shape: rivals.Shape) -> list[bytes]:
    """A request for each connection."""
    bodies = [
        rivals.request(shape.features, [rng.randrange(1, data.ENTITIES + 1) for _ in range(shape.rows)])
        for _ in range(shape.connections)
    ]
    head = b"POST /get-online-features HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return [b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body) for body in bodies]


def control(option: str, pid: int) -> None:
    done = subprocess.run(["callgrind_control", *option.split(), str(pid)], check=True, capture_output=True, text=True)
    if "OK" not in done.stdout:
        raise SystemExit(f"callgrind_control {option}: {done.stdout.strip()}")


def count(command: Sequence[str], folder: Path, port: int, shape: rivals.Shape, bursts: int) -> float:
    """Instructions a request of a server. `command` begins with its Python."""
    out = folder / "callgrind.out"
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    rng = random.Random(1)
    with ExitStack() as stack:
        whole = ["env", "PYTHONHASHSEED=0", *command[:1], *valgrind, *command[1:]]
        pid = stack.enter_context(peers.process(whole, rivals.SERVER_CORE, folder / "log", folder))
        first = rivals.request(shape.features, [1])
        peers.wait_for(lambda: peers.ask(port, first) is not None, "the server", pid)
        links = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(shape.connections)]
        for _ in range(WARM_UP * CONNECTIONS // shape.connections):
            drive(links, burst(rng, shape))
        control("-i on", pid)
        for _ in range(bursts):
            drive(links, burst(rng, shape))
        control("-i off", pid)
        control("-d", pid)
    texts = [file.read_text(errors="replace") for file in sorted(out.parent.glob("callgrind.out*"))]
    totals = [int(total) for text in texts for total in re.findall(r"^totals: (\d+)", text, re.MULTILINE)]
    return sum(totals) / bursts / shape.connections


def serve(config: Path, port: int) -> list[str]:
    """The arguments of Python that serve, with time enough for valgrind."""
    return ["-c", PRELUDE, "serve", "-f", str(config), "-p", str(port), "--store-timeout-ms", "20000"]


def floor(config: Path, port: int) -> list[str]:
    return [str(PERF / "floor.py"), str(config), str(port)]


@contextmanager
def stores(
    names: Sequence[str], data_set: data.DataSet, port: int, order: data.Order, folder: Path
) -> Iterator[Writers]:
    """For each store by name what writes a repository that reads from it. They have the same data."""
    with ExitStack() as stack:
        writers: Writers = {}
        if "redis" in names:
            stack.enter_context(peers.redis(port, rivals.LOAD_CORE, folder))
            data.fill(data_set, port, order)
            writers["redis"] = lambda where: data.write_repository(data_set, where, port)
        if {"cluster", "replicas"}.intersection(names):
            cluster = stack.enter_context(Cluster())
            for some in data.batches(data_set, order):
                cluster.write(some)
            for name, option in ("cluster", ""), ("replicas", ",read_from_replicas=true"):
                addresses = cluster.addresses + option
                writers[name] = partial(
                    data.write_repository, data_set, redis_port=port, redis_type="redis_cluster", addresses=addresses
                )
        yield {name: writers[name] for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description="Instructions a request, of revisions and of the working tree.")
    parser.add_argument("revisions", nargs="*")
    parser.add_argument("--sets", nargs="+", choices=data.SETS, default=["ints", "mixed"])
    parser.add_argument("--shapes", nargs="+", default=["1x50"], help="rows x features")
    parser.add_argument("--stores", nargs="+", choices=("redis", "cluster", "replicas"), default=["redis"])
    parser.add_argument("--bursts", type=int, help=f"of one request a connection; default: {REQUESTS} requests in all")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="1: each request is alone")
    parser.add_argument("--floor", action="store_true", help="count floor.py as well")
    parser.add_argument("--order", choices=("entity", "store"), default="store", help="as in data.py")
    parser.add_argument("--port", type=int, default=7180, help="Redis's; the server's is the next")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        trees: list[tuple[str, Path, Callable[[Path, int], list[str]]]] = [
            (revision, stack.enter_context(ab.worktree(revision, folder / revision.replace("/", "-"))), serve)
            for revision in options.revisions
        ]
        trees.append(("working tree", peers.REPOSITORY, serve))
        if options.floor:
            trees.append(("floor", peers.REPOSITORY, floor))
        for name in options.sets:
            data_set = data.SETS[name]
            where = folder / name
            where.mkdir()
            with stores(options.stores, data_set, options.port, options.order, where) as writers:
                for shape in options.shapes:
                    rows, features = map(int, shape.split("x"))
                    wanted = rivals.Shape(rows, features, options.connections)
                    bursts = max(5, (options.bursts or REQUESTS // options.connections) // rows)
                    before = 0.0
                    for number, ((tree, sources, script), (store, write)) in enumerate(product(trees, writers.items())):
                        config = write(where / f"{shape}-{number}")
                        port = options.port + 1
                        command = [f"PYTHONPATH={sources}:{PERF}", sys.executable, "-P", *script(config, port)]
                        counted = count(command, config.parent, port, wanted, bursts)
                        before = before or counted
                        what = f"{tree:24} {store:8}" if len(writers) > 1 else f"{tree:24}"
                        print(f"{name} {shape:8} {what} {counted:12,.0f}  {counted / before:6.3f}", flush=True)


if __name__ == "__main__":
    main()
