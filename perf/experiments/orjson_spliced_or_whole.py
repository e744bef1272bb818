"""Question: is an answer built as text with values spliced in, or as Python objects that orjson dumps whole?

Whole is what one would write first: decode each column, put `values`, `statuses` and `event_timestamps` into
dictionaries, one orjson.dumps. `vectors.encode_vectors` makes only the values through orjson; the text between them it
knows from the plan and each view's timestamp.

Both begin with rows as the store gives them. Both decode the same way and have the same texts of timestamps made, which
`whole` needs as str.

Asked on 2026-11-23; orjson 3.13, Python 3.11.2, two shared AMD EPYC cores. us an answer, the best of 25 loops:

             rows x features   spliced     whole
    ints              1 x 50       7.7      16.9
    ints             10 x 50      71.0      78.9
    ints            100 x 50     298.5     357.8
    ints           100 x 250    1636.8    2249.6
    mixed             1 x 50      11.5      21.3
    mixed            10 x 50      82.5      97.2
    mixed           100 x 50     795.2     787.0
    mixed          100 x 250    4728.3    4029.0

Verdict: spliced. Half the time for one row, which most requests are for. Where every one of 100 rows has event times of
its own, whole is up to a sixth faster: 1.4 MB of text are put together in several copies here, and in one by orjson.

Ask again when orjson can splice many fragments cheaply (orjson.Fragment, one object each, was no faster here), or when
the shape of the answer changes.

    python perf/experiments/orjson_spliced_or_whole.py
"""

from __future__ import annotations

import sys
import tempfile
import timeit
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
import orjson

from yummy_fast.features.catalog import Compiled
from yummy_fast.features.vectors import encode_vectors
from yummy_fast.native.twin import HashPicker
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.yaml_text import load_config

SHAPES = ((1, 50), (10, 50), (100, 50), (100, 250))


def microseconds(run: Callable[[], object]) -> float:
    number = max(1, int(0.02 / max(timeit.timeit(run, number=3) / 3, 1e-7)))
    return min(timeit.repeat(run, number=number, repeat=25)) / number * 1e6


def main() -> None:
    print(f"{'':8}{'rows x features':>16}{'spliced':>10}{'whole':>10}   us an answer")
    for name in ("ints", "mixed"):
        data_set = data.SETS[name]
        with tempfile.TemporaryDirectory() as folder:
            data.write_repository(data_set, Path(folder), 6379)
            config = load_config(chdir=folder, environ={})
            catalog = build_catalog(config, open_store(config), Path(config.repository.registry_path).read_bytes())
        hashes = [words[2:] for words in islice(data.hashes(data_set, "store"), 100)]
        for rows, features in SHAPES:
            compiled: Compiled[Any] = catalog.plan_for(data.service_name(features), [], False)
            layout = compiled.layout
            bound = compiled.binder.bind({data.JOIN_KEY: list(range(1, rows + 1))})
            (reader,) = compiled.prepared
            pick = HashPicker(reader._fields)  # rows in Python, so that the native room makes no answer of them
            found = [pick(list(words)) for words in hashes[:rows]]
            (lookup,) = layout.lookups
            names = [data.JOIN_KEY, *(column.name for column in compiled.plan.columns)]

            times_of = layout.tails.timestamps.joined

            def whole(found: Any = found, lookup: Any = lookup, names: Any = names, times_of: Any = times_of) -> bytes:
                columns = list(zip(*found, strict=True))
                columns, stamps = columns[: lookup.width], columns[lookup.width :]
                times = [[text[1:-1].decode() for text in times_of(stamp).split(b",")] for stamp in stamps]
                statuses, epochs = ["PRESENT"] * len(found), ["1970-01-01T00:00:00Z"] * len(found)
                results = [{"values": list(range(1, len(found) + 1)), "statuses": statuses, "event_timestamps": epochs}]
                if len(found) == 1:
                    decoded = [[value] for value in lookup.row([stored for (stored,) in columns])]
                else:
                    decoded = [decode(stored) for decode, stored in zip(lookup.columns, columns, strict=True)]
                results += [
                    {"values": values, "statuses": statuses, "event_timestamps": times[view]}
                    for values, view in zip(decoded, lookup.view_of, strict=True)
                ]
                return orjson.dumps({"results": results, "metadata": {"feature_names": names}})

            spliced = microseconds(
                lambda layout=layout, bound=bound, found=found: encode_vectors(layout, bound, [found])
            )  # type: ignore[misc]
            print(f"{name:8}{f'{rows} x {features}':>16}{spliced:10.1f}{microseconds(whole):10.1f}", flush=True)
            if orjson.loads(whole()) != orjson.loads(encode_vectors(layout, bound, [found])):
                raise SystemExit("they differ")


if __name__ == "__main__":
    main()
