"""Microseconds per stage of a request, without a network: to see where a change landed.

Every stage of `Endpoints.get_online_features` is run alone, many times, on one data set's registry and on rows as Redis
would send them (HMGET or HGETALL, whichever the plan has chosen). The sum is what a request costs us in our own code;
the event loop, the sockets and the kernel come on top: rivals.py measures those.

    python perf/stages.py                       all shapes, ints and mixed
    python perf/stages.py mixed 1x50 100x250    some
    YUMMY_FAST_NATIVE=0 python perf/stages.py   without the native room

It compares nothing and stores nothing. Quote ratios: the machine is shared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import timeit
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import data as benchmark

from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.query import parse_query
from yummy_fast.features.value_sampling import sample
from yummy_fast.features.vectors import encode_vectors
from yummy_fast.http.http11 import Clock, RequestParser, Response, response_head
from yummy_fast.native import owner
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.telemetry.metrics import Metrics

SHAPES = ("1x50", "1x250", "10x50", "100x50", "100x250")
SAMPLE = "(sample)"
"""Not part of the sum: a few answers in a tenth of a second are sampled, however many there are (`value_sampling`)."""
TARGET_S = 0.1
"""How long each timing loop runs, about; the best of five counts."""


def microseconds(run: Callable[[], Any]) -> float:
    timer = timeit.Timer(run)
    once = max(timer.timeit(3) / 3, 1e-7)
    number = max(1, int(TARGET_S / once))
    return min(timer.repeat(repeat=5, number=number)) / number * 1e6


def bulk(parts: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def stages(
    catalog: Catalog[Any], data_set: benchmark.DataSet, order: benchmark.Order, service: str, rows: int
) -> dict[str, float]:
    """Microseconds of each stage, for a request of `rows` random entities to `service`."""
    hashes = {words[1]: words[2:] for words in islice(benchmark.hashes(data_set, order), rows)}
    entities = list(range(1, rows + 1))
    body = json.dumps({"feature_service": service, "entities": {benchmark.JOIN_KEY: entities}}).encode()
    request = b"POST /get-online-features HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    parser = RequestParser(8 << 20)
    query = parse_query(body)
    compiled = catalog.plan_for(query.feature_service, query.features, query.full_feature_names)
    plan, binder, layout = compiled.plan, compiled.binder, compiled.layout
    bound = binder.bind(query.entities)
    (lookup,) = compiled.prepared
    found_hashes = [hashes[key + data_set.project.encode()] for key in bound.keys[0]]
    if lookup.name == "hmget":
        fields = [feature_field(feature.view, feature.name) for feature in plan.lookups[0].features]
        fields += map(timestamp_field, plan.lookups[0].views)
        by_name = [dict(zip(words[::2], words[1::2], strict=True)) for words in found_hashes]
        replies = b"".join(bulk([row[field] for field in fields]) for row in by_name)
    else:
        replies = b"".join(map(bulk, found_hashes))
    reader = owner.ReplyReader()

    def parse_replies() -> list[Any]:
        reader.expect(lookup.picker, rows)
        (answer,) = reader.feed(replies)
        return answer

    found = [parse_replies()]
    answer = Response(200, encode_vectors(layout, bound, found))
    clock = Clock()
    metrics = Metrics()
    slots = metrics.service(service, len(plan.columns), 1)

    def count() -> None:
        begun, bound_at, read_at = perf_counter_ns(), perf_counter_ns(), perf_counter_ns()
        slots.answered(begun, bound_at, read_at, read_at, perf_counter_ns(), rows)

    return {
        "http in": microseconds(lambda: parser.feed(request)),
        "query": microseconds(lambda: parse_query(body)),
        "plan": microseconds(lambda: catalog.plan_for(query.feature_service, query.features, False)),
        "bind": microseconds(lambda: binder.bind(query.entities)),
        "command": microseconds(lambda: lookup.command.render(bound.keys[0])),
        "replies": microseconds(parse_replies),
        "encode": microseconds(lambda: encode_vectors(layout, bound, found)),
        "count": microseconds(count),
        "http out": microseconds(lambda: response_head(answer, clock.line, True) + answer.body),
        SAMPLE: microseconds(lambda: sample(plan, bound, found, slots, metrics, datetime(2026, 12, 1, tzinfo=UTC))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wanted", nargs="*", help="data sets and shapes (default: ints, mixed; all shapes)")
    parser.add_argument("--order", choices=("entity", "store"), default="store", help="as in data.py")
    arguments = parser.parse_args()
    wanted = arguments.wanted
    shapes = [word for word in wanted if "x" in word and word[0].isdigit()] or list(SHAPES)
    names = [word for word in wanted if word not in shapes] or ["ints", "mixed"]
    print(f"hot path: {owner.DESCRIPTION}\n")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            data_set = benchmark.SETS[name]
            benchmark.write_repository(data_set, Path(folder), 6379)
            config = load_config(chdir=folder, environ={})
            store = open_store(config)
            catalog = build_catalog(config, store, Path(config.repository.registry_path).read_bytes())
        results = {}
        for shape in shapes:
            rows, features = shape.split("x")
            results[shape] = stages(
                catalog, data_set, arguments.order, benchmark.service_name(int(features)), int(rows)
            )
        print(f"{name:10}" + "".join(f"{shape:>10}" for shape in results))
        for stage in next(iter(results.values())):
            print(f"{stage:10}" + "".join(f"{result[stage]:10.1f}" for result in results.values()))
        sums = [sum(took for stage, took in result.items() if stage != SAMPLE) for result in results.values()]
        print(f"{'sum':10}" + "".join(f"{took:10.1f}" for took in sums) + "\n")


if __name__ == "__main__":
    main()
