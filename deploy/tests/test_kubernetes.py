"""The manifests of deploy/kubernetes: rendered by kustomize, held against Kubernetes's schemas, and run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pods import Manifest, check_references, of_kind, one, parse, probe, run_container, validate
from tools import tool

from tests.harness import CORPUS, Process, Valkey

KUBERNETES = Path(__file__).resolve().parents[1] / "kubernetes"
FOLDERS = sorted(path.parent for path in KUBERNETES.glob("*/kustomization.yaml"))


def render(folder: Path) -> list[Manifest]:
    done = subprocess.run([tool("kubectl"), "kustomize", folder], capture_output=True, text=True, check=True)
    return parse(done.stdout)


def feature_repository(manifests: list[Manifest], folder: Path, valkey: Valkey) -> tuple[Path, dict[str, str]]:
    """The ConfigMap's feature_store.yaml in a folder, for the corpus's project; and what its variables are here."""
    text = one(manifests, "ConfigMap")["data"]["feature_store.yaml"]
    project = yaml.safe_load((CORPUS / "redis" / "feature_store.yaml").read_text())["project"]
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(text.replace("project: drivers", f"project: {project}"))
    given = {"REDIS": f"127.0.0.1:{valkey.port}", "REGISTRY": str(CORPUS / "redis" / "registry.db")}
    return folder, given


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_they_are_what_kubernetes_takes(folder: Path) -> None:
    manifests = render(folder)
    validate(manifests)
    check_references(manifests)
    assert {path.name for path in folder.iterdir()} == {
        "kustomization.yaml",
        *yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"],
        "feature_store.yaml",
    }


def test_the_kinds_of_a_server_for_many_clients_are_all_there() -> None:
    kinds = {manifest["kind"] for manifest in render(KUBERNETES / "server")}
    assert kinds == {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceMonitor",
    }


def test_the_server_serves(tmp_path: Path, valkey: Valkey) -> None:
    manifests = render(KUBERNETES / "server")
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    repository, given = feature_repository(manifests, tmp_path / "repo", valkey)
    given |= {"YUMMY_FAST_DRAIN_DELAY": "0"}
    with run_container(container, repository, given, {}) as (server, admin):
        probe(container, admin)
        assert server.features([1001]).status == 200
        assert server.ask("/push", {}).status == 403
        assert server.lines[0].startswith("{")  # the log is JSON


def test_the_time_to_end_is_enough() -> None:
    """docs/deploy.md, "Signals": more than the three settings together, whose other two have their defaults."""
    pod = one(render(KUBERNETES / "server"), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert pod["terminationGracePeriodSeconds"] > float(variables["YUMMY_FAST_DRAIN_DELAY"]) + 0.5 + 10


def test_the_model_reads_from_its_sidecar(tmp_path: Path, valkey: Valkey) -> None:
    manifests = render(KUBERNETES / "sidecar")
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    (sidecar,), (model,) = pod["initContainers"], pod["containers"]
    assert sidecar["restartPolicy"] == "Always"
    shared = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
    for container in (sidecar, model):
        assert shared & {mount["name"] for mount in container["volumeMounts"]}
    (tmp_path / "run").mkdir()
    paths = {"/run/features": tmp_path / "run"}
    repository, given = feature_repository(manifests, tmp_path / "repo", valkey)
    with run_container(sidecar, repository, given, paths) as (server, admin):
        probe(sidecar, admin)
        assert server.url == f"unix:{tmp_path}/run/features.sock"
        (variable,) = model["env"]
        environment = {variable["name"]: variable["value"].replace("/run/features", str(tmp_path / "run"))}
        assert model["command"] == ["python", "-c"]
        with Process([sys.executable, "-c", *model["args"]], environment) as process:
            process.wait_for('"feature_names":."driver_id","trips"')
            process.stop()


def test_nothing_runs_as_root_or_writes() -> None:
    for folder in FOLDERS:
        (deployment,) = of_kind(render(folder), "Deployment")
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
