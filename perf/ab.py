"""Two revisions of yummy-fast, interleaved: python perf/ab.py REV [OTHER], OTHER being the working tree by default.

Both serve the same Redis at once, pinned to the same core, and are driven in turn: A B B A, round after round, so that
drift of the machine hits both alike. Before that they must agree in their answers. The result is each one's medians for
each shape, and their ratio to those of the first, with the spread of the rounds: a ratio inside the spread is no news.
Experiments use it for variants of the working tree.

REV becomes a git worktree in a temporary folder; dependencies are those of the environment that rivals.py made for the
working tree, so a revision that needs others cannot be compared. Nothing is written to perf/results/.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median

import data
import peers
import rivals
from peers import Missing, Peer, Server
from saturate import Saturation, saturate

FIGURES = {"requests_per_s": "requests/s", "server_cpu_us": "server CPU us", "redis_cpu_us": "Redis CPU us"}


@contextmanager
def worktree(revision: str, folder: Path) -> Iterator[Path]:
    """The sources of a revision, its C compiled, without touching the working tree or the index."""
    git = ["git", "-C", str(peers.REPOSITORY), "worktree"]
    peers.run([*git, "add", "--detach", str(folder), revision])
    try:
        if (folder / "setup.py").exists():
            native = ["env", "-C", str(folder), "YUMMY_FAST_NATIVE=1", sys.executable, "setup.py", "--quiet"]
            peers.run([*native, "build_ext", "--inplace"])
        yield folder
    finally:
        peers.run([*git, "remove", "--force", str(folder)])


def revision_peer(name: str, sources: Path) -> Peer:
    """yummy-fast from `sources`: PYTHONPATH comes before the environment's editable installation."""
    ours = peers.PEERS["yummy-fast"]
    programs = peers.install(ours)
    if isinstance(programs, Missing):
        raise SystemExit(programs.reason)
    python = ["env", f"PYTHONPATH={sources}", str(programs / "python"), "-P"]
    where = peers.run([*python, "-c", "import yummy_fast as y; print(y.__file__)"]).strip()
    if not Path(where).is_relative_to(sources):  # two servers of the same code would compare beautifully
        raise SystemExit(f"{sources} is not what would be measured")
    return Peer(
        name,
        ours.python,
        ours.packages,
        lambda _, config, port: [*python, "-m", "yummy_fast", "serve", "-f", str(config), "-p", str(port)],
        ours.venv,
    )


def variant_peer(name: str, prelude: str = "") -> Peer:
    """yummy-fast of the working tree, after the Python statements of `prelude`: for experiments."""
    ours = peers.PEERS["yummy-fast"]
    program = f"{prelude}\nfrom yummy_fast.cli.main import main\nmain()"

    def command(programs: Path, config: Path, port: int) -> list[str]:
        return [str(programs / "python"), "-c", program, "serve", "-f", str(config), "-p", str(port)]

    return Peer(name, ours.python, ours.packages, command, ours.venv)


def compare(
    data_set: data.DataSet, contestants: Sequence[Peer], shapes: Sequence[rivals.Shape], options: argparse.Namespace
) -> None:
    """Drive all of them in turn; print each one's medians, beside those of the first."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(peers.redis(options.port, rivals.LOAD_CORE, folder))
        data.fill(data_set, options.port, options.order)
        first = rivals.request(min(data_set.services), [1])
        servers: list[Server] = []
        for number, peer in enumerate(contestants):
            programs = peers.install(peer)
            if isinstance(programs, Missing):
                raise SystemExit(programs.reason)
            config = data.write_repository(data_set, folder / f"{number}", options.port)
            port = options.port + 100 + number
            server = stack.enter_context(peers.serving(peer, programs, config, port, rivals.SERVER_CORE, first))
            if isinstance(server, Missing):
                raise SystemExit(f"{server.peer}: {server.reason}")
            servers.append(server)
        for server in servers[1:]:
            if text := rivals.difference(server, servers[0], data_set):
                raise SystemExit(f"{server.name} gives {text}")
        for shape in shapes:
            results: dict[str, list[Saturation]] = {server.name: [] for server in servers}
            for number in range(options.rounds):
                for server in servers if number % 2 == 0 else reversed(servers):
                    figures = saturate(
                        *(server.port, server.pid, redis),
                        **asdict(shape),
                        seconds=options.seconds,
                        core=rivals.LOAD_CORE,
                    )
                    results[server.name].append(figures)
            show(data_set, shape, results)


def show(data_set: data.DataSet, shape: rivals.Shape, results: dict[str, list[Saturation]]) -> None:
    print(f"{data_set.name} {shape.rows} x {shape.features}, {shape.connections} connections")
    (_, before), *_ = results.items()
    for name, rounds in results.items():
        columns = [f"  {name:24}"]
        for figure, title in FIGURES.items():
            of_first, ours = ([getattr(figures, figure) for figures in some] for some in (before, rounds))
            middle = median(ours)
            spread = (max(ours) - min(ours)) / (middle or 1)
            columns.append(f"{title} {middle:8.1f}, {middle / (median(of_first) or 1):5.3f} (spread {spread:4.0%})")
        print(" | ".join(columns), flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", nargs="+", choices=data.SETS, default=["ints", "mixed"])
    parser.add_argument(
        "--order", choices=("entity", "store"), default="store", help="fields in one order per entity, or one for all"
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--port", type=int, default=7150, help="Redis's; the servers' are a hundred above")


def main() -> None:
    parser = argparse.ArgumentParser(description="Two revisions of yummy-fast, interleaved: ratios for each shape.")
    parser.add_argument("revision", help="A: a commit, branch or tag")
    parser.add_argument("other", nargs="?", help="B: another one; without it, the working tree")
    add_options(parser)
    options = parser.parse_args()
    os.sched_setaffinity(0, {rivals.LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        contestants = [revision_peer(options.revision, stack.enter_context(worktree(options.revision, folder / "a")))]
        if options.other:
            other = stack.enter_context(worktree(options.other, folder / "b"))
            contestants.append(revision_peer(options.other, other))
        else:
            contestants.append(revision_peer("working tree", peers.REPOSITORY))
        for name in options.sets:
            compare(data.SETS[name], contestants, rivals.QUICK[name].shapes, options)


if __name__ == "__main__":
    main()
