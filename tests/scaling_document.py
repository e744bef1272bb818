"""Write the tables of docs/scaling.md from what was measured and simulated: `make docs`.

The figures are those of perf/results, the model is perf/scaling_model.py, the simulation perf/refreshes.py. Each table
stands between two markers, and the text around them is written by hand. tests/test_scaling.py compares the tables with
what is there.
"""

from __future__ import annotations

import re
from pathlib import Path

from perf import refreshes, scaling_model
from perf.scaling_model import Figures

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
BLOCK = re.compile(r"(<!-- written by `make docs`: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

SET = "ints"
"""275 fields in a hash: 25 feature views of 10 features. A request asks for features of 5 of them."""
ENTITIES = 1e7
RATES_OF_ONE_ROW = (1e3, 1e5, 1e7)
RATES_OF_100_ROWS = (1e3, 1e5)
READERS = (
    *(scaling_model.ONE, scaling_model.THREE, "cluster, read_from_replicas", scaling_model.TWELVE),
    *("Feast, one Redis", "Feast, cluster"),
)


def tables() -> dict[str, str]:
    """By the names in the markers."""
    figures = Figures.read()
    return {
        "costs": scaling_model.costs_table(figures, SET, [(1, 50), (10, 50), (100, 50)]),
        "clusters": scaling_model.clusters_table(figures, READERS),
        "one_row": scaling_model.needs_table(figures, SET, 1, 50, RATES_OF_ONE_ROW, ENTITIES),
        "hundred_rows": scaling_model.needs_table(figures, SET, 100, 50, RATES_OF_100_ROWS, ENTITIES),
        "refreshes": refreshes.table(),
    }


def text() -> str:
    """The document with the tables as they have to be."""
    made = tables()
    return BLOCK.sub(lambda block: f"{block[1]}\n{made[block[2]]}\n{block[3]}", DOCUMENT.read_text())


def main() -> None:
    DOCUMENT.write_text(text())


if __name__ == "__main__":
    main()
