"""deploy/feast-operator.md: the resource that it shows, turned into the command that the operator would run, and run.

The rules by which the operator makes a command line are those of its getContainerCommand, read at 0.66; the document's
table has them too.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml
from tools import ROOT

from tests.harness import Client, Process, Valkey, repository
from tests.ports import free_port

DOCUMENT = (ROOT / "deploy" / "feast-operator.md").read_text()
RESOURCE: dict[str, Any] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)[0])
WORKER_FLAGS = {
    "workers": "--workers",
    "workerConnections": "--worker-connections",
    "maxRequests": "--max-requests",
    "maxRequestsJitter": "--max-requests-jitter",
    "keepAliveTimeout": "--keep-alive-timeout",
    "registryTTLSeconds": "--registry_ttl_sec",
}


def operators_command(server: dict[str, Any], port: int) -> list[str]:
    """What the operator would give the container of an online server, without `feast`, which is this program."""
    options = ["--log-level", server["logLevel"].upper()] if "logLevel" in server else []
    arguments = ["serve", "-h", "0.0.0.0"]
    for name, flag in WORKER_FLAGS.items():
        if name in server.get("workerConfigs", {}):
            arguments += [flag, str(server["workerConfigs"][name])]
    return [*options, *arguments, "-p", str(port)]


def test_the_resource_runs(tmp_path: Path, valkey: Valkey) -> None:
    server = RESOURCE["spec"]["services"]["onlineStore"]["server"]
    environment = {variable["name"]: variable["value"] for variable in server["env"]}
    environment |= {"YUMMY_FAST_ADMIN": f"127.0.0.1:{free_port()}", "YUMMY_FAST_DRAIN_DELAY": "0"}
    environment |= {"TMP_FEATURE_STORE_YAML_BASE64": "bm90IHJlYWQ="}  # the operator sets it; only feast-init reads it
    folder = repository(tmp_path / "feature_repo", "redis", f"127.0.0.1:{valkey.port}")
    configs = dict.fromkeys(WORKER_FLAGS, 2)
    for given in (server, {**server, "workerConfigs": configs}):
        port = free_port()
        command = operators_command(given, port)
        program = f"import os, runpy; os.chdir({str(folder)!r}); runpy.run_module('yummy_fast', run_name='__main__')"
        with Process([sys.executable, "-c", program, *command], environment) as process:
            process.wait_for(rf"serving .* on http://0\.0\.0\.0:{port}")
            with Client(port) as client:
                body = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001]}}
                assert client.ask("/get-online-features", body).status == 200
            assert process.stop() == 0
            warnings = [line for line in process.lines if "WARNING" in line]
            flags = ["these flags have no effect: --max-requests, --max-requests-jitter (workers need no recycling)"]
            assert [line.partition("WARNING ")[2] for line in warnings] == (flags if "workerConfigs" in given else [])


def test_the_table_has_every_flag_of_the_operator() -> None:
    for name, flag in WORKER_FLAGS.items():
        assert f"`{flag}`" in DOCUMENT or f"`{flag} N`" in DOCUMENT, name
        assert name in DOCUMENT
