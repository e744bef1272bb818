"""Question: how are the values of an answer's columns joined with the tails that stand between them?

`vectors.encode_vectors` has a text for the values of each column, and a tail that all columns of a view share.

    run by run         the columns that share a tail are joined first, with `tail.join(values)`, then the runs
    column by column   each value and each tail is picked by its position, and everything is joined at the end
    all at once        as they come, values and tails alternating, and everything is joined at the end

The first copies everything twice, but short texts are copied fast, and no list gets two items for each column. The
second can put the columns into any order.

Asked on 2026-11-26; Python 3.11.2, two shared AMD EPYC cores. us an answer, the best of 25 loops taken in turns:

             rows x features  column by column    all at once    run by run   bytes of a tail
    ints              1 x 50              18.9           20.3          14.9                98
    ints             1 x 250              41.0           47.1          29.0                98
    ints              5 x 50              74.7           76.0          72.4               249
    ints             10 x 50              89.8           89.9          87.6               438
    ints             20 x 50             122.0          122.5         121.3               817
    ints            100 x 50             364.8          370.4         368.2             3,844
    ints           100 x 250            2000.6         2070.7        2082.6             3,848
    mixed             1 x 50              17.1           18.2          14.3               114
    mixed            1 x 250              57.8           62.0          44.4               115
    mixed             5 x 50              84.6           85.3          82.2               330
    mixed            10 x 50             109.8          108.1         105.5               600
    mixed            20 x 50             156.4          152.9         152.8             1,140
    mixed           100 x 50             556.8          534.0         547.5             5,461
    mixed          100 x 250            3851.6         4042.8        4423.8             5,493

Verdict: run by run up to ten rows, which saves a fifth of the time for one entity; else column by column, which saves
an eighth at 100 x 250 of `mixed`. All at once was taken for long tails before. It is nowhere better than column by
column, by more than these numbers scatter, so it is gone, and this script measures the other two.

Ask again when tails or values become something else than bytes objects.

    python perf/experiments/join_by_runs_or_columns.py
"""

from __future__ import annotations

import sys
import tempfile
import timeit
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data

from yummy_fast.features import vectors
from yummy_fast.features.catalog import Compiled
from yummy_fast.features.vectors import encode_vectors
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.yaml_text import load_config

SHAPES = ((1, 50), (1, 250), (5, 50), (10, 50), (20, 50), (100, 50), (100, 250))
WAYS = {"column by column": 0, "run by run": 1 << 30}
"""How, and the value of MAX_ROWS_IN_RUNS with which it is taken."""
ROUNDS = 25


def main() -> None:
    print(f"{'':8}{'rows x features':>16}" + "".join(f"{way:>18}" for way in WAYS) + f"{'tail':>8} bytes")
    for name in ("ints", "mixed"):
        data_set = data.SETS[name]
        with tempfile.TemporaryDirectory() as folder:
            data.write_repository(data_set, Path(folder), 6379)
            config = load_config(chdir=folder, environ={})
            registry = Path(config.repository.registry_path).read_bytes()
            catalog = build_catalog(config, open_store(config), registry)
        hashes = [words[2:] for words in islice(data.hashes(data_set, "store"), 100)]
        for rows, features in SHAPES:
            compiled: Compiled[Any] = catalog.plan_for(data.service_name(features), [], False)
            bound = compiled.binder.bind({data.JOIN_KEY: list(range(1, rows + 1))})
            (reader,) = compiled.prepared
            found = [reader.make_row(list(words)) for words in hashes[:rows]]
            layout = compiled.layout

            def encode(layout: Any = layout, bound: Any = bound, found: Any = found) -> bytes:
                return encode_vectors(layout, bound, [found])

            took = dict.fromkeys(WAYS, float("inf"))
            answers = set()
            loops = max(1, int(0.01 / max(timeit.timeit(encode, number=3) / 3, 1e-7)))
            for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine hits both
                for way, max_rows in WAYS.items():
                    vectors.MAX_ROWS_IN_RUNS = max_rows
                    answers.add(encode())
                    took[way] = min(took[way], timeit.timeit(encode, number=loops) / loops * 1e6)
            if len(answers) > 1:
                raise SystemExit("they differ")
            tail = (len(answers.pop()) - rows) // (features + 1)
            print(
                f"{name:8}{f'{rows} x {features}':>16}" + "".join(f"{us:18.1f}" for us in took.values()) + f"{tail:8}",
                flush=True,
            )


if __name__ == "__main__":
    main()
