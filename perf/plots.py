"""Pictures of a result: python perf/plots.py perf/results/DATE-WHAT.json, which writes DATE-WHAT-*.svg beside it.

Three kinds: p99 against the rate (only where the answers came: a server's line ends where it began to fail), requests
a second against rows and features, and the CPU time of a request split into the server's and Redis's. They show medians
of the rounds, on logarithmic axes, since servers differ by factors. matplotlib is needed here and nowhere else.

It measures nothing and leaves nothing out: what the JSON has for a data set is what is drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib import ticker

Record = dict[str, Any]
mpl.rcParams["svg.hashsalt"] = "yummy-fast"
COLOURS = ("#0b6e4f", "#c8553d", "#3a6ea5", "#8f6fb0", "#888888", "#c9a227")


def distinct(records: Iterable[Record], *names: str) -> list[Any]:
    """The different values of those fields, in order of appearance; tuples when there are several names."""
    return list(
        dict.fromkeys(record[names[0]] if len(names) == 1 else tuple(map(record.get, names)) for record in records)
    )


def colours(result: Record) -> dict[str, str]:
    return dict(zip(distinct(result["servers"], "peer"), COLOURS, strict=False))


def caption(result: Record) -> str:
    machine, commit = result["machine"], result["versions"]["commit"][:10] or "no commit"
    return (
        f"{result['date']}, {machine['cpu']}, server on one core, Redis and load on another; yummy-fast {commit}"
        f"{' + changes' if result['versions']['uncommitted_changes'] else ''}"
    )


def readable(axis: Any) -> None:
    """1, 2, 5, 10 instead of powers of ten."""
    axis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("{x:g}")


def finish(figure: Any, result: Record, path: Path) -> None:
    figure.text(0.01, 0.005, caption(result), fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path, metadata={"Date": None})  # the same picture is the same file
    plt.close(figure)
    print(path)


def latency(result: Record, data_set: str, path: Path) -> None:
    rungs = [record for record in result["open_loop"] if record["set"] == data_set]
    shapes = distinct(rungs, "rows", "features")
    figure, axes = plt.subplots(1, len(shapes), figsize=(4.6 * len(shapes), 4), squeeze=False)
    for axis, (rows, features) in zip(axes[0], shapes, strict=True):
        for peer, colour in colours(result).items():
            mine = [
                rung
                for rung in rungs
                if (rung["peer"], rung["rows"], rung["features"]) == (peer, rows, features) and rung["success"] == 1
            ]
            rates, p99_ms = [rung["rate"] for rung in mine], [rung["p99_us"] / 1000 for rung in mine]
            axis.plot(rates, p99_ms, "o-", color=colour, label=peer)
        axis.set(xscale="log", yscale="log", xlabel="requests/s sent", title=f"{rows} x {features}, {data_set}")
        readable(axis.yaxis)
        axis.set_xticks(
            distinct([rung for rung in rungs if (rung["rows"], rung["features"]) == (rows, features)], "rate")
        )
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.grid(visible=True, alpha=0.3)
    axes[0][0].set_ylabel("p99, ms, from the intended time")
    axes[0][0].legend(fontsize=8)
    finish(figure, result, path)


def bars(result: Record, data_set: str, path: Path, *, cpu: bool) -> None:
    """One group for each shape and one bar for each server: requests a second, or CPU time of a request."""
    records = [record for record in result["saturation"] if record["set"] == data_set]
    shapes = distinct(records, "rows", "features")
    peers = [peer for peer in colours(result) if peer in distinct(records, "peer")]
    width = 0.8 / max(1, len(peers))
    figure, axis = plt.subplots(figsize=(max(6, 1.5 * len(shapes)), 4.2))
    for number, peer in enumerate(peers):
        places = [place + (number - (len(peers) - 1) / 2) * width for place in range(len(shapes))]
        colour = colours(result)[peer]
        if cpu:
            server = medians(records, peer, shapes, "server_cpu_us")
            redis = medians(records, peer, shapes, "redis_cpu_us")
            # Side by side: stacked bars say nothing on a logarithmic axis.
            left, right = ([place + side * width / 4 for place in places] for side in (-1, 1))
            axis.bar(left, server, width * 0.46, color=colour, label=peer)
            axis.bar(right, redis, width * 0.46, color=colour, alpha=0.35, hatch="//")
        else:
            axis.bar(places, medians(records, peer, shapes, "requests_per_s"), width * 0.92, color=colour, label=peer)
    ticks = [f"{rows} x {features}" for rows, features in shapes]
    axis.set(yscale="log", title=f"rows x features, {data_set}")
    axis.set_xticks(range(len(shapes)), ticks)
    readable(axis.yaxis)
    axis.set_ylabel("CPU us a request: server, and Redis (pale)" if cpu else "requests/s")
    axis.grid(visible=True, axis="y", alpha=0.3)
    axis.legend(fontsize=8)
    finish(figure, result, path)


def medians(records: list[Record], peer: str, shapes: list[Any], name: str) -> list[float]:
    groups = [
        [record[name] for record in records if (record["peer"], record["rows"], record["features"]) == (peer, *shape)]
        for shape in shapes
    ]
    return [median(group) if group else 0 for group in groups]


def main() -> None:
    parser = argparse.ArgumentParser(description="Plots of a result of rivals.py, beside it.")
    parser.add_argument("result", type=Path)
    path: Path = parser.parse_args().result
    result: Record = json.loads(path.read_text())
    for data_set in distinct(result["saturation"], "set"):
        bars(result, data_set, path.with_name(f"{path.stem}-{data_set}-throughput.svg"), cpu=False)
        bars(result, data_set, path.with_name(f"{path.stem}-{data_set}-cpu.svg"), cpu=True)
    for data_set in distinct(result["open_loop"], "set"):
        latency(result, data_set, path.with_name(f"{path.stem}-{data_set}-latency.svg"))


if __name__ == "__main__":
    main()
