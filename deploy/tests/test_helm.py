"""The chart deploy/helm/yummy-fast: rendered by Helm itself (as a library), held against Kubernetes's schemas, run."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from pods import Manifest, check_references, of_kind, one, parse, probe, run_container, validate
from tools import ROOT

from tests.harness import Valkey, repository

CHART = ROOT / "deploy" / "helm" / "yummy-fast"
YAML = "project: drivers\nregistry: s3://features/registry.db\n"

# A values file as people have it for Feast's chart feast-feature-server 0.47: every key that its README lists, set.
OF_FEAST: dict[str, Any] = {
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["features"]}]}]}}},
    "extraEnvs": [{"name": "REDIS", "value": "redis:6379"}],
    "feast_mode": "online",
    "feature_store_yaml_base64": base64.b64encode(YAML.encode()).decode(),
    "fullnameOverride": "features",
    "image": {"repository": "yummy-fast", "pullPolicy": "Always", "tag": "0.1.0"},
    "imagePullSecrets": [{"name": "pull"}],
    "livenessProbe": {"initialDelaySeconds": 30, "periodSeconds": 30},
    "logLevel": "WARNING",
    "metrics": {"enabled": True, "otelCollector": {"endpoint": "otel:4317", "port": 4317}},
    "nameOverride": "",
    "nodeSelector": {"pool": "features"},
    "podAnnotations": {"team": "ranking"},
    "podSecurityContext": {"fsGroup": 2000},
    "readinessProbe": {"initialDelaySeconds": 20, "periodSeconds": 10},
    "replicaCount": 3,
    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
    "route": {"enabled": True},
    "securityContext": {"runAsUser": 1000},
    "service": {"port": 8080, "type": "LoadBalancer"},
    "serviceAccount": {"name": "features"},
    "tolerations": [{"key": "features", "operator": "Exists"}],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "volumes": [{"name": "data", "emptyDir": {}}],
}  # fmt: skip

EVERYTHING: dict[str, Any] = {
    "feature_store_yaml": YAML,
    "settings": {
        "max_rows": 500,
        "max_answer_bytes": 67108864,
        "compat": "strict",
        "drain_idle": 0.5,
        "read_only": True,
    },
    "metrics": {"enabled": True},
    "autoscaling": {"enabled": True},
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {"enabled": True},
}


def render(values: dict[str, Any], name: str = "features") -> list[Manifest]:
    """What `helm template` prints, without NOTES.txt."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        rendered = chart.render(values, name=name, namespace="ranking")
    return [each for path, text in sorted(rendered.items()) if path.endswith(".yaml") for each in parse(text)]


@pytest.mark.parametrize(
    "values", [OF_FEAST, EVERYTHING, {"feature_store_yaml": YAML}], ids=["of Feast", "all", "least"]
)
def test_it_renders_what_kubernetes_takes(values: dict[str, Any]) -> None:
    manifests = render(values)
    validate(manifests)
    check_references(manifests)


def test_helm_has_nothing_to_say_against_it() -> None:
    report = helm.lint(CHART, EVERYTHING, strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []  # 1: an icon would be nice


def test_a_values_file_for_feasts_chart_does_the_same() -> None:
    manifests = render(OF_FEAST)
    deployment, pod = one(manifests, "Deployment"), one(manifests, "Deployment")["spec"]["template"]
    assert deployment["metadata"]["name"] == "features"
    assert deployment["spec"]["replicas"] == 3
    assert pod["metadata"]["annotations"]["team"] == "ranking"
    for key in ("affinity", "imagePullSecrets", "nodeSelector", "tolerations", "volumes"):
        assert pod["spec"][key] == OF_FEAST[key]
    assert pod["spec"]["serviceAccountName"] == "features"
    assert pod["spec"]["securityContext"]["fsGroup"] == 2000
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "yummy-fast:0.1.0"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == OF_FEAST["resources"]
    assert container["volumeMounts"] == OF_FEAST["volumeMounts"]
    assert container["securityContext"]["runAsUser"] == 1000
    assert container["livenessProbe"].items() >= OF_FEAST["livenessProbe"].items()
    assert container["readinessProbe"].items() >= OF_FEAST["readinessProbe"].items()
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["FEATURE_STORE_YAML_BASE64"] == OF_FEAST["feature_store_yaml_base64"]
    assert variables["YUMMY_FAST_LOG_LEVEL"] == "warning"
    assert variables["REDIS"] == "redis:6379"
    service = next(each for each in of_kind(manifests, "Service") if each["metadata"]["name"] == "features")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["ports"] == [{"name": "http", "port": 8080, "targetPort": "http"}]
    assert one(manifests, "Route")["spec"]["to"]["name"] == "features"


def test_settings_become_variables_as_they_are_written() -> None:
    """Helm makes a float of every number in a values file, and Go writes large ones as 6.7108864e+07."""
    (container,) = one(render(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["YUMMY_FAST_MAX_ANSWER_BYTES"] == "67108864"
    assert variables["YUMMY_FAST_MAX_ROWS"] == "500"
    assert variables["YUMMY_FAST_COMPAT"] == "strict"
    assert variables["YUMMY_FAST_DRAIN_IDLE"] == "0.5"
    assert variables["YUMMY_FAST_READ_ONLY"] == "true"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "feature_store_yaml_base64 or feature_store_yaml is required"),
        ({"feature_store_yaml": YAML, "feast_mode": "offline"}, "/feast_mode"),
        ({"feature_store_yaml": YAML, "replicas": 3}, "'replicas' not allowed"),
        ({"feature_store_yaml": YAML, "service": {"port": "http"}}, "/service/port"),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(helm.HelmError, match=complaint):
        render(values)


def test_its_own_values_fit_its_schema() -> None:
    """Every value has an entry in the schema, and the other way round, so no name is misspelled in either."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    with helm.Chart.load(CHART) as chart:
        schema = chart.schema
    assert schema is not None
    assert schema["properties"].keys() - {"global"} == values.keys()


def test_a_pod_of_it_serves(tmp_path: Path, valkey: Valkey) -> None:
    """With the ConfigMap's file, and with the base64 that Feast's chart has."""
    written = repository(tmp_path / "repo", "redis", f"127.0.0.1:{valkey.port}")
    text = (written / "feature_store.yaml").read_text()
    text = text.replace("registry.db", str(written / "registry.db"))
    for values in (
        {"feature_store_yaml": text},
        {"feature_store_yaml_base64": base64.b64encode(text.encode()).decode()},
    ):
        manifests = render({**values, "settings": {"max_rows": 2}})
        (container,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
        mounted = tmp_path / next(iter(values))
        mounted.mkdir()
        for config in of_kind(manifests, "ConfigMap"):
            for name, data in config["data"].items():
                (mounted / name).write_text(data)
        with run_container(container, mounted, {"YUMMY_FAST_DRAIN_DELAY": "0"}, {}) as (server, admin):
            probe(container, admin)
            assert server.features([1001, 1002]).status == 200
            assert server.features([1001, 1002, 1003]).status == 413
