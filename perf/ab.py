"""Two revisions of yummy-fast, interleaved: python perf/ab.py REV [OTHER], OTHER being the working tree by default.

Both serve the same Redis at once, pinned to the same core, and are driven in turn: A B B A, round after round, so that
drift of the machine hits both alike. Before that they must agree in their answers. The result is the ratio B / A of the
medians for each shape, with the spread of the rounds: a ratio inside the spread is no news.

REV becomes a git worktree in a temporary folder; dependencies are those of the environment that rivals.py made for the
working tree, so a revision that needs others cannot be compared. Nothing is written to perf/results/.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
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
    """The sources of a revision, without touching the working tree or the index."""
    git = ["git", "-C", str(peers.REPOSITORY), "worktree"]
    peers.run([*git, "add", "--detach", str(folder), revision])
    try:
        yield folder
    finally:
        peers.run([*git, "remove", "--force", str(folder)])


def revision_peer(name: str, sources: Path) -> Peer:
    """yummy-fast from `sources`: PYTHONPATH comes before the environment's editable installation."""

    def command(programs: Path, config: Path, port: int) -> list[str]:
        python = ["env", f"PYTHONPATH={sources}", str(programs / "python"), "-m"]
        return [*python, "yummy_fast", "serve", "-f", str(config), "-p", str(port)]

    ours = peers.PEERS["yummy-fast"]
    return Peer(name, ours.python, ours.packages, command, ours.venv)


def check_sources(programs: Path, sources: Path) -> None:
    """Two servers of the same code would compare beautifully."""
    where = [
        "env",
        f"PYTHONPATH={sources}",
        str(programs / "python"),
        "-c",
        "import yummy_fast as y; print(y.__file__)",
    ]
    if not Path(peers.run(where).strip()).is_relative_to(sources):
        raise SystemExit(f"{sources} is not what would be measured")


def compare(data_set: data.DataSet, sources: dict[str, Path], options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(peers.redis(options.port, rivals.LOAD_CORE, folder))
        data.fill(data_set, options.port)
        first = rivals.request(min(data_set.services), [1])
        servers: list[Server] = []
        for number, (name, where) in enumerate(sources.items()):
            peer = revision_peer(name, where)
            programs = peers.install(peer)
            if isinstance(programs, Missing):
                raise SystemExit(programs.reason)
            check_sources(programs, where)
            config = data.write_repository(data_set, folder / f"{number}", options.port)
            port = options.port + 100 + number
            server = stack.enter_context(peers.serving(peer, programs, config, port, rivals.SERVER_CORE, first))
            if isinstance(server, Missing):
                raise SystemExit(f"{server.peer}: {server.reason}")
            servers.append(server)
        if text := rivals.difference(servers[1], servers[0], data_set):
            raise SystemExit(f"{servers[1].name} gives {text}")
        for shape in rivals.QUICK[data_set.name].shapes:
            results: dict[str, list[Saturation]] = {server.name: [] for server in servers}
            for number in range(options.rounds):
                for server in servers if number % 2 == 0 else reversed(servers):
                    figures = saturate(
                        server.port,
                        server.pid,
                        redis,
                        **asdict(shape),
                        seconds=options.seconds,
                        core=rivals.LOAD_CORE,
                    )
                    results[server.name].append(figures)
            show(data_set, shape, results)


def show(data_set: data.DataSet, shape: rivals.Shape, results: dict[str, list[Saturation]]) -> None:
    columns = [f"{data_set.name:7}{shape.rows:4} x {shape.features:<4}"]
    for name in FIGURES:
        before, after = ([getattr(figures, name) for figures in rounds] for rounds in results.values())
        middle = median(before) or float("nan")
        spread = (max(before) - min(before)) / middle
        columns.append(f"{middle:9.1f} {median(after):9.1f} {median(after) / middle:6.3f} {spread:5.0%}")
    print(" | ".join(columns), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Two revisions of yummy-fast, interleaved: ratios for each shape.")
    parser.add_argument("revision", help="A: a commit, branch or tag")
    parser.add_argument("other", nargs="?", help="B: another one; without it, the working tree")
    parser.add_argument("--sets", nargs="+", choices=data.SETS, default=["ints", "mixed"])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--port", type=int, default=7150, help="Redis's; the servers' are a hundred above")
    options = parser.parse_args()
    os.sched_setaffinity(0, {rivals.LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        sources = {f"A {options.revision}": stack.enter_context(worktree(options.revision, folder / "a"))}
        if options.other:
            sources[f"B {options.other}"] = stack.enter_context(worktree(options.other, folder / "b"))
        else:
            sources["B working tree"] = peers.REPOSITORY
        print(
            " | ".join(["rows x features  ", *(f"{title:>13}: A  B  B/A  spread of A" for title in FIGURES.values())])
        )
        for name in options.sets:
            compare(data.SETS[name], sources, options)


if __name__ == "__main__":
    main()
