"""Kubernetes manifests as the cluster would see them: validated, and their containers run as processes.

`validate` holds manifests against the schemas of several versions of Kubernetes, from the package
kubernetes-validate. `run_container` starts what a container's `args` and `env` say, with the addresses and paths
that this machine has instead of the pod's, and `probe` asks what the kubelet would ask.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.harness import PATIENCE_S, Server, eventually
from tests.ports import free_port

VERSIONS = ("1.29", "1.33", "1.37")
"""Native sidecars are on by default since the first."""
NOT_KUBERNETES = {"ServiceMonitor", "Route"}
"""Kinds of operators, for which Kubernetes has no schema."""

Manifest = dict[str, Any]


def parse(text: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(text) if document]


def validate(manifests: list[Manifest]) -> None:
    """Each manifest fits each version's schema, without a field that it does not know."""
    for manifest in manifests:
        if manifest["kind"] in NOT_KUBERNETES:
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = of_kind(manifests, kind)
    return found


def fits(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def check_references(manifests: list[Manifest]) -> None:
    """What names something else, in words that no schema connects, names what is there."""
    deployment = one(manifests, "Deployment")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    ports = {port["name"] for container in containers for port in container.get("ports", [])}
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    configs = {manifest["metadata"]["name"]: manifest for manifest in of_kind(manifests, "ConfigMap")}

    assert fits(deployment["spec"]["selector"]["matchLabels"], labels)
    assert pod["spec"]["enableServiceLinks"] is False
    for container in containers:
        for mount in container.get("volumeMounts", []):
            assert mount["name"] in volumes
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            if name in container:
                assert container[name]["httpGet"]["port"] in ports
    for volume in volumes.values():
        if "configMap" in volume:
            assert "feature_store.yaml" in configs[volume["configMap"]["name"]]["data"]
    for service in of_kind(manifests, "Service"):
        assert fits(service["spec"]["selector"], labels)
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert "replicas" not in deployment["spec"]
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert fits(budget["spec"]["selector"]["matchLabels"], labels)
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert fits(policy["spec"]["podSelector"]["matchLabels"], labels)
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= ports
    for monitor in of_kind(manifests, "ServiceMonitor"):
        watched = [
            service
            for service in of_kind(manifests, "Service")
            if fits(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
        ]
        names = {port["name"] for service in watched for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= names
        # The job that the alerts look for.
        assert all("yummy-fast" in service["metadata"]["labels"][monitor["spec"]["jobLabel"]] for service in watched)


@contextmanager
def run_container(
    container: Manifest, repository: Path, given: Mapping[str, str], paths: Mapping[str, Path]
) -> Iterator[tuple[Server, int]]:
    """The container of a feature server as a process, and the port of its admin listener.

    `given`: variables whose values are this machine's. `paths`: where the pod's folders are here.
    """
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert given.keys() <= environment.keys()
    admin = free_port()
    for name, value in environment.items():
        for folder, here in paths.items():
            environment[name] = value = value.replace(folder, str(here))
    environment |= {"YUMMY_FAST_ADMIN": f"127.0.0.1:{admin}", **given}
    command, *arguments = container["args"]
    assert command == "serve"
    with Server(repository, *arguments, environment=environment) as server:
        yield server, admin


def probe(container: Manifest, admin: int) -> None:
    """What the kubelet asks: 200, or the container would be killed or get no requests."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        question = container[name]["httpGet"]
        assert ports[question["port"]] == 8000

        def status(path: str = question["path"]) -> bool | None:
            with closing(http.client.HTTPConnection("127.0.0.1", admin, timeout=PATIENCE_S)) as connection:
                connection.request("GET", path)
                return True if connection.getresponse().status == 200 else None

        eventually(status, name)
