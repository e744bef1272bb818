"""Has Feast write the corpus's registry to where a feature_store.yaml says. Runs in Feast's own venv.

    python feast_writes.py FOLDER CORPUS_REGISTRY    every object of the corpus's registry, applied there one by one
    python feast_writes.py FOLDER --copy-service OLD NEW    one more feature service, as a later `feast apply` would

FOLDER holds the feature_store.yaml. All is Feast's code, but for the reading of the arguments.
"""

from __future__ import annotations

import sys
from pathlib import Path

from feast import FeatureStore
from feast.infra.registry.registry import Registry
from feast.repo_config import RegistryConfig


def main() -> None:
    store = FeatureStore(repo_path=sys.argv[1])
    registry, project = store.registry, store.project
    if sys.argv[2] == "--copy-service":
        service = registry.get_feature_service(sys.argv[3], project)
        service.name = sys.argv[4]
        registry.apply_feature_service(service, project)
        return
    corpus = Registry(project, RegistryConfig(path=sys.argv[2]), Path("/"))
    for entity in corpus.list_entities(project):
        registry.apply_entity(entity, project)
    for source in corpus.list_data_sources(project):
        registry.apply_data_source(source, project)
    for view in corpus.list_all_feature_views(project):
        registry.apply_feature_view(view, project)
    for service in corpus.list_feature_services(project):
        registry.apply_feature_service(service, project)


if __name__ == "__main__":
    main()
