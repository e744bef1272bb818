"""Question: how much memory does a plan take, and a view that no service asks for?

Asked on 2026-11-23; Python 3.11.2, the registry of `mixed`, as tracemalloc counts:

    a plan of 50 features: 25.1 KB
    10 plans: 456 bytes a feature
    a feature of the registry: 176 bytes

Verdict: small enough to compile all services at the start. A feature service is two plans, one for each form of names
(full_feature_names): 500 services of 50 features are 23 MB, and 2,000 views of 50 features 18 MB. Lists of features
that callers send are plans as well: MAX_AD_HOC_PLANS and MAX_AD_HOC_REFS in catalog.py bound those.

Ask again when a plan holds something new for each feature.

    python perf/experiments/memory_of_a_plan.py
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data

from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.yaml_text import load_config


def catalog_bytes(data_set: data.DataSet) -> int:
    """What a catalog of this registry takes, its requests' first bindings included."""
    with tempfile.TemporaryDirectory() as folder:
        data.write_repository(data_set, Path(folder), 6379)
        config = load_config(chdir=folder, environ={})
        store = open_store(config)
        registry = Path(config.repository.registry_path).read_bytes()
        build_catalog(config, store, registry)  # what all catalogs share
        tracemalloc.start()
        catalog = build_catalog(config, store, registry)
        for features in data_set.services:
            for full_names in (False, True):
                catalog.plan_for(data.service_name(features), [], full_names).binder.bind({data.JOIN_KEY: [1]})
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return taken


def main() -> None:
    data_set = data.SETS["mixed"]
    views = catalog_bytes(replace(data_set, services={}))
    one_service = catalog_bytes(replace(data_set, services={50: data.FEATURES_PER_VIEW}))
    all_services = catalog_bytes(data_set)
    plans = 2 * len(data_set.services)
    in_plans = 2 * sum(data_set.services)
    print(f"a plan of 50 features: {(one_service - views) / 2 / 1024:.1f} KB")
    print(f"{plans} plans: {(all_services - views) / in_plans:.0f} bytes a feature")
    print(f"a feature of the registry: {views / data_set.views / data.FEATURES_PER_VIEW:.0f} bytes")


if __name__ == "__main__":
    main()
