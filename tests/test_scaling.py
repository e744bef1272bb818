"""The model behind docs/scaling.md, on figures that are easy to reckon with; and the page, whose tables are its own."""

from __future__ import annotations

import pytest

from perf import scaling_model
from perf.scaling_model import Cost, Figures, needs, nodes_asked, on_shards, slope
from tests import scaling_document

COST = Cost(server_us=60, redis_us=50, redis_system_us=20, redis_bytes=5000, response_bytes=2500)
"""A core answers 10,000 requests/s with 60 % of it; a node of Redis, too, with half of it."""


def report(reader: str, **figures: float) -> dict[str, object]:
    rounds = [{"server_cpu_us": 60, "redis_cpu_us": 50, "redis_system_us": 20, "redis_bytes": 1, "response_bytes": 1}]
    return {"set": "ints", "rows": 100, "features": 50, "reader": reader, "rounds": [{**rounds[0], **figures}] * 3}


def test_the_page_has_the_tables_of_the_model() -> None:
    found = scaling_document.DOCUMENT.read_text()
    assert {name for _, name, _ in scaling_document.BLOCK.findall(found)} == set(scaling_document.tables())
    assert found == scaling_document.text(), "run `make docs`"


def test_a_small_rate_needs_two_pods_to_survive_one() -> None:
    found = needs(1000, 1, COST, (0, 0), entity_bytes=5000, entities=1e6)
    assert (found.workers, found.pods, found.shards, found.clusters) == (2, 2, 1, 1)
    assert found.data_gb == 5


def test_a_rate_by_processor_time() -> None:
    found = needs(100_000, 1, COST, (0, 0), entity_bytes=5000, entities=1e6)
    assert (found.workers, found.pods, found.shards) == (10, 3, 10)
    assert (found.redis_gbit_s, found.clients_gbit_s) == (4, 2)
    assert found.connections == 10
    dearer = needs(100_000, 1, COST, (60, 50), entity_bytes=5000, entities=1e6)  # what a cluster costs besides
    assert (dearer.workers, dearer.shards) == (20, 20)


def test_data_that_no_shard_can_hold() -> None:
    assert needs(1, 1, COST, (0, 0), entity_bytes=5000, entities=1e7).shards == 2
    assert needs(1, 1, COST, (0, 0), entity_bytes=25_000, entities=1e7).shards == 10


def test_more_nodes_than_a_cluster_may_have() -> None:
    found = needs(10e6, 1, COST, (0, 0), entity_bytes=5000, entities=1e7)
    assert (found.shards, found.clusters) == (1000, 2)  # with their replicas they are 2,000
    assert found.connections == found.workers / 2


def test_how_many_nodes_a_request_asks() -> None:
    assert nodes_asked(1, 7) == pytest.approx(1)
    assert nodes_asked(2, 2) == pytest.approx(1.5)
    assert nodes_asked(100, 3) == pytest.approx(3)
    assert nodes_asked(100, 100_000) == pytest.approx(100, rel=0.001)
    assert on_shards(COST, 100, 3, (10, 5)).server_us == pytest.approx(80)
    assert on_shards(COST, 1, 3, (10, 5)).server_us == 70
    assert on_shards(COST, 100, 1, (10, 5)) == COST


def test_what_a_further_node_costs() -> None:
    assert slope([1, 2], [2, 4]) == 2
    assert slope([2, 11], [-2, -20]) == 0
    figures = Figures(
        {
            "figures": [
                report("one Redis"),
                report("cluster", server_cpu_us=80, redis_cpu_us=60),
                report("cluster of 12", server_cpu_us=170, redis_cpu_us=105),
            ]
        }
    )
    assert figures.for_each_node("ints", 100, 50) == pytest.approx((10, 5), rel=0.01)  # of 2 and 11 nodes more


def test_the_figures_of_a_cache_become_ways_to_read() -> None:
    readers = [reader for reader, _ in scaling_model.WAYS.values()]
    measured = {"memory": {"ints": {"one": 5000, "tables": 25_000}}, "figures": [report(reader) for reader in readers]}
    hit = {"rows": 100, "features": 50, "hit_rate": 0.9, "server_cpu_us": 30, "redis_cpu_us": 5}
    cache = {"figures": [{**hit, "redis_system_us": 2, "redis_bytes": 500, "response_bytes": 2500}]}
    found = Figures(measured, cache).ways("ints", 100, 50)
    assert found["cache, 90% hits"] == (Cost(30, 5, 2, 500, 2500), 5000)
    assert len(found) == 4
    assert "| 100 x 50 | cache, 90% hits | 30 |" in scaling_model.costs_table(
        Figures(measured, cache), "ints", [(100, 50)]
    )
