"""A real Prometheus over real servers: started with a configuration, asked over HTTP."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import yaml
from tools import tool

from tests.harness import PATIENCE_S, Process, eventually
from tests.ports import free_port

INTERVAL_S = 0.2
"""How often it scrapes: a rate needs two samples."""


class Prometheus(Process):
    """Prometheus as deploy/prometheus configures it, with the targets of this machine."""

    def __init__(self, folder: Path, config: Path, target: str) -> None:
        written = yaml.safe_load(config.read_text())
        written["global"] = {"scrape_interval": f"{int(INTERVAL_S * 1000)}ms", "evaluation_interval": "200ms"}
        written["rule_files"] = [str(config.parent / name) for name in written["rule_files"]]
        (job,) = written["scrape_configs"]
        job["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(written))
        self.port = free_port()
        super().__init__(
            [
                *(tool("prometheus"), f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"),
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        )

    def __enter__(self) -> Self:
        eventually(lambda: self.get("/api/v1/status/buildinfo"), "Prometheus")
        return self

    def get(self, path: str, **query: str) -> Any:
        """What `data` of an answer holds. An answer with an error raises."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request("GET", f"{path}?{urlencode(query)}")
            answer = connection.getresponse()
            body = answer.read()
        if answer.status == 503:
            raise OSError("it is still starting")
        parsed = json.loads(body)
        assert parsed["status"] == "success", parsed
        return parsed["data"]

    def query(self, expression: str) -> list[Any]:
        """The series that an expression comes to now, without those that are no number."""
        result = self.get("/api/v1/query", query=expression)["result"]
        return [series for series in result if series["value"][1] != "NaN"]
