"""The pictures of README.md and perf/README.md: python perf/plots.py draws them from perf/results/ into perf/pictures/.

Each picture says one thing, in its title, whose numbers are computed from the results as the bars and lines are:
medians of the rounds of all results that are named. Each is drawn twice, for pages in light and in dark colours, with a
ground of its own, so that it can be read on either. Letters stay letters in the SVG: they can be found and copied, and
tests/test_docs.py compares them with the results.

It measures nothing. matplotlib is needed here and nowhere else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib import ticker

Record = dict[str, Any]

PERF = Path(__file__).resolve().parent
PICTURES = PERF / "pictures"
FEAST = ("2026-11-26-feast",)
YUMMY = ("2026-11-26-race",)
LADDERS = ("2026-11-26-race",)
NAMES = {"yummy-fast": "yummy-fast", "yummy-0.0.9": "Yummy 0.0.9 (Rust)", "feast-0.67.0": "feast serve 0.67.0"}
SHAPES = ((1, 50), (1, 250), (10, 50), (100, 50), (100, 250))


@dataclass(frozen=True, slots=True)
class Colours:
    ground: str
    text: str
    pale: str
    grid: str
    peers: dict[str, str]


THEMES = {
    "light": Colours(
        *("#ffffff", "#1f2328", "#59636e", "#d8dee4"),
        {"yummy-fast": "#0b6e4f", "yummy-0.0.9": "#b3541e", "feast-0.67.0": "#6e7781"},
    ),
    "dark": Colours(
        *("#0d1117", "#e6edf3", "#9198a1", "#2f363d"),
        {"yummy-fast": "#3fb68b", "yummy-0.0.9": "#e09b61", "feast-0.67.0": "#8b949e"},
    ),
}


# --- the results -----------------------------------------------------------------------------------------------------


def records(results: Sequence[str], kind: str) -> list[Record]:
    return [record for name in results for record in json.loads((PERF / f"results/{name}.json").read_text())[kind]]


def typical(results: Sequence[str], field: str, **wanted: object) -> float:
    """The median of a field over all rounds that are `wanted`."""
    return median(record[field] for record in records(results, "saturation") if wanted.items() <= record.items())


def source(results: Sequence[str]) -> str:
    """What a picture was drawn from, for its last line."""
    machine = json.loads((PERF / f"results/{results[0]}.json").read_text())["machine"]
    files = " and ".join(f"perf/results/{name}.json" for name in results)
    return f"{files}; {machine['cpu']}, the server on one core, Redis and the load on another"


# --- drawing ---------------------------------------------------------------------------------------------------------


def canvas(colours: Colours, height: float) -> tuple[Any, Any]:
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "yummy-fast",  # the same picture is the same file
            "font.family": "sans-serif",
            "font.size": 10,
            "text.color": colours.text,
            "axes.labelcolor": colours.text,
            "axes.edgecolor": colours.grid,
            "xtick.color": colours.pale,
            "ytick.color": colours.text,
            "figure.facecolor": colours.ground,
            "axes.facecolor": colours.ground,
        }
    )
    figure, axis = plt.subplots(figsize=(8, height))
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.set_axisbelow(True)
    return figure, axis


def finish(figure: Any, colours: Colours, title: str, below: Sequence[str], path: Path) -> None:
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.3 / height, title, fontsize=12, fontweight="bold")
    for number, line in enumerate(reversed(below)):
        figure.text(0.02, (0.1 + 0.17 * number) / height, line, fontsize=7.5, color=colours.pale)
    figure.tight_layout(rect=(0, (0.12 + 0.17 * len(below)) / height, 1, 1 - 0.45 / height))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(path.relative_to(PERF.parent))


def lying_bars(axis: Any, colours: Colours, rows: Sequence[tuple[str, float, str, str, float]]) -> None:
    """Bars with a name before them and a text behind them: name, length, text, colour, distance from the top."""
    places = [place for *_, place in rows]
    axis.barh(places, [length for _, length, *_ in rows], height=0.7, color=[colour for *_, colour, _ in rows])
    for _, length, text, _, place in rows:
        axis.annotate(text, (length, place), xytext=(5, 0), textcoords="offset points", va="center")
    axis.set_yticks(places, [name for name, *_ in rows])
    axis.invert_yaxis()
    axis.tick_params(left=False, bottom=False, labelbottom=False)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)


def cpu(colours: Colours, path: Path) -> None:
    """What a request costs, beside Feast and beside Yummy."""
    figure, axis = canvas(colours, 2.2)
    bars = []
    for place, peer in enumerate(("feast-0.67.0", "yummy-0.0.9", "yummy-fast")):
        cost_us = typical(FEAST, "server_cpu_us", set="ints", peer=peer, rows=1, features=50)
        bars.append((NAMES[peer], cost_us, f"{cost_us:,.0f} µs", colours.peers[peer], float(place)))
    lying_bars(axis, colours, bars)
    axis.set_xlim(0, 1.12 * max(length for _, length, *_ in bars))
    lead = bars[0][1] / bars[-1][1]
    title = f"CPU time of one request: feast serve needs {lead:.0f} times that of yummy-fast"
    below = ["One row of 50 features, medians of the rounds of one run.", source(FEAST)]
    finish(figure, colours, title, below, path)


def wider(colours: Colours, path: Path) -> None:
    """How many times the CPU of ours Yummy needs, for each size of request."""
    figure, axis = canvas(colours, 4.1)
    bars = []
    for number, (rows, features) in enumerate(SHAPES):
        for half, (data_set, kind) in enumerate((("ints", "whole numbers"), ("mixed", "mixed types"))):
            wanted = {"set": data_set, "rows": rows, "features": features}
            ours = typical(YUMMY, "server_cpu_us", peer="yummy-fast", **wanted)
            yummys = typical(YUMMY, "server_cpu_us", peer="yummy-0.0.9", **wanted)
            times = yummys / ours
            name = f"{rows} row{'s' if rows > 1 else ''} of {features} features" if half == 0 else ""
            colour = colours.peers["yummy-fast"] if half == 0 else colours.pale
            text = f"{times:.1f} times, {kind}"
            bars.append((name, times, text, colour, 2.2 * number + 0.8 * half))
    lying_bars(axis, colours, bars)
    lengths = [length for _, length, *_ in bars]
    axis.set_xlim(0, 1.45 * max(lengths))
    below = "CPU time of the server for a request, of Yummy 0.0.9 divided by that of yummy-fast; medians of the rounds."
    title = f"Yummy needs {min(lengths):.1f} to {max(lengths):.1f} times the CPU time, most for wide requests"
    finish(figure, colours, title, [below, source(YUMMY)], path)


def medians(rungs: Iterable[Record]) -> list[Record]:
    """Of the rounds of each peer and rate: the median p99, and the least success."""
    rounds: dict[tuple[str, int], list[Record]] = {}
    for rung in rungs:
        rounds.setdefault((rung["peer"], rung["rate"]), []).append(rung)
    return [
        {
            **some[0],
            "p99_us": median(one["p99_us"] or math.inf for one in some),
            "success": min(one["success"] for one in some),
        }
        for some in rounds.values()
    ]


def p99(colours: Colours, path: Path, results: Sequence[str], rows: int, features: int, title: str) -> None:
    """p99 against the rate. A line ends at the last rate that was answered whole; what came of the next is written."""
    figure, axis = canvas(colours, 4.3)
    rungs = medians(
        rung
        for rung in records(results, "open_loop")
        if rung["set"] == "ints" and (rung["rows"], rung["features"]) == (rows, features) and rung["peer"] in NAMES
    )
    for peer, name in NAMES.items():
        mine = sorted((rung for rung in rungs if rung["peer"] == peer), key=lambda rung: rung["rate"])
        whole = [rung for rung in mine if rung["success"] == 1]
        if not whole:
            continue
        rates, p99_ms = [rung["rate"] for rung in whole], [rung["p99_us"] / 1000 for rung in whole]
        axis.plot(rates, p99_ms, "o-", color=colours.peers[peer], linewidth=2)
        failed = [rung for rung in mine if rung["success"] < 1]
        text = f"{name}: {p99_ms[-1]:.{0 if p99_ms[-1] >= 10 else 1}f} ms"
        if failed:
            text += f";\nat {failed[0]['rate']}/s {1 - failed[0]['success']:.0%} fail"
        axis.annotate(
            *(text, (rates[-1], p99_ms[-1])),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            color=colours.peers[peer],
        )
    axis.set(xscale="log", yscale="log", xlabel="requests/s", ylabel="p99 in milliseconds")
    ticks: list[int] = []
    for rate in sorted({rung["rate"] for rung in rungs}):
        if not ticks or rate > 1.3 * ticks[-1]:  # nearer ones would be written over each other
            ticks.append(rate)
    axis.set_xticks(ticks)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.margins(x=0.15, y=0.2)
    axis.grid(visible=True, color=colours.grid, linewidth=0.6)
    size = f"{rows} row{'s' if rows > 1 else ''} of {features} whole numbers"
    below = [f"{size}; latency counts from the moment at which a request was due.", source(results)]
    finish(figure, colours, title, below, path)


def large(colours: Colours, path: Path) -> None:
    most = max(
        rung["rate"]
        for rung in records(LADDERS, "open_loop")
        if rung["peer"] == "yummy-fast" and rung["rows"] == 100 and rung["success"] == 1
    )
    title = f"100 rows of 250 features: yummy-fast answers all of {most} requests/s"
    p99(colours, path, LADDERS, 100, 250, title)


def article(colours: Colours, path: Path) -> None:
    """The figure of Yummy's article: Feast's p99 and ours against requests/s, of one row of 50 features."""
    newest = max((PERF / "results").glob("*-article.json")).stem
    p99(colours, path, (newest,), 1, 50, "One row of 50 features: p99 against requests/s")


def main() -> None:
    pictures: dict[str, Callable[[Colours, Path], None]] = {"cpu": cpu, "wider": wider, "large": large}
    if any((PERF / "results").glob("*-article.json")):  # `make perf-article` writes it
        pictures["article"] = article
    PICTURES.mkdir(exist_ok=True)
    for name, draw in pictures.items():
        for theme, colours in THEMES.items():
            draw(colours, PICTURES / f"{name}-{theme}.svg")


if __name__ == "__main__":
    main()
