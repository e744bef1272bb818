"""deploy/compose.yaml without an engine: what it names is there, and its services' commands do what they are for.

No container runs here. The data service and the clients run as the processes that their commands say, against a real
Valkey and a server with the compose file's settings, and Prometheus with its configuration.
"""

from __future__ import annotations

import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus import Prometheus
from tools import ROOT

from tests.harness import PATIENCE_S, Process, Server, Valkey, eventually
from tests.ports import free_port
from yummy_fast import __version__

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def command(service: str, replaced: dict[str, str]) -> list[str]:
    """The command of a service that runs Python, with what this machine has instead of the compose network."""
    parts = [*SERVICES[service]["entrypoint"], *SERVICES[service]["command"]]
    assert parts[0] == "python"
    return [sys.executable, *(replaced.get(part, part) for part in parts[1:])]


def test_what_it_names_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, *_ = volume.split(":")
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[other] or other == "yummy-fast"  # whose check is the image's
        assert re.fullmatch(r"[\w/.-]+:v?\d[\w.-]*", service["image"]), (
            f"{name}: a version, so that it stays what it is"
        )
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


def test_the_image_is_the_one_that_is_built_here() -> None:
    for service in SERVICES.values():
        if service["image"].startswith("yummy-fast:"):
            assert service["image"] == f"yummy-fast:{__version__}"
    assert SERVICES["data"]["build"] == ".."


def test_grafana_finds_its_data_source_and_dashboard() -> None:
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasource.yaml").read_text())["datasources"]
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert (host in SERVICES, port) == (True, "9090")
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards.yaml").read_text())["providers"]
    dashboard = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounts["./grafana/yummy-fast.json"] == dashboard
    assert str(Path(dashboard).parent) == provider["options"]["path"]


@pytest.mark.parametrize("name", ["prometheus"])
def test_prometheus_asks_the_admin_listener(name: str) -> None:
    (argument,) = SERVICES[name]["command"]
    (mount,) = SERVICES[name]["volumes"]
    source, target, _ = mount.split(":")
    config = DEPLOY / argument.removeprefix("--config.file=").replace(target, source)
    (job,) = yaml.safe_load(config.read_text())["scrape_configs"]
    (asked,) = job["static_configs"][0]["targets"]
    host, port = asked.split(":")
    assert SERVICES[host]["environment"]["YUMMY_FAST_ADMIN"].endswith(f":{port}")


def test_data_is_written_served_asked_for_and_counted(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    repository.mkdir()
    with Valkey() as valkey:
        store = f"127.0.0.1:{valkey.port}"
        paths = {
            "/compose/data.py": str(DEPLOY / "compose" / "data.py"),
            "/repo": str(repository),
            "valkey:6379": store,
        }
        with Process(command("data", paths), {"PYTHONPATH": str(ROOT)}) as data:
            data.wait_for("written")
            target = f"127.0.0.1:{free_port()}"
            _, *arguments = SERVICES["yummy-fast"]["command"]
            settings = {**SERVICES["yummy-fast"]["environment"], "YUMMY_FAST_ADMIN": target}
            with Server(repository, *arguments, environment=settings) as server:
                with urllib.request.urlopen(f"http://{target}/-/ui", timeout=PATIENCE_S) as page:
                    assert page.status == 200
                answer = server.ask(
                    "/get-online-features", {"feature_service": "ranking", "entities": {"driver_id": [1001]}}
                )
                assert answer.status == 200
                assert all(column["values"] != [None] for column in answer.json["results"])
                paths["yummy-fast:6566"] = f"127.0.0.1:{server.port}"
                with (
                    Process(command("clients", paths), {"PYTHONPATH": str(ROOT)}) as clients,
                    Prometheus(tmp_path, DEPLOY / "prometheus" / "prometheus.yaml", target) as prometheus,
                ):
                    counted = 'yummy_fast_requests_total{feature_service="ranking", code="200"} > 5'
                    eventually(lambda: prometheus.query(counted) or None, counted)
                    missing = 'feast_online_features_status_total{status="not_found", feature_view="trips"} > 0'
                    eventually(lambda: prometheus.query(missing) or None, missing)
                    assert clients.lines == []
                    clients.process.kill()
                    clients.wait()
            data.process.kill()
            data.wait()
