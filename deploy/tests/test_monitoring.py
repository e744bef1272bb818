"""The dashboard and the alerts, over a real server that has been made to show all that it can show.

One server with two workers is asked for features that are there, that are not, that are too old, and of an on-demand
view; it is written to, and gets bad requests, a registry that is broken, and a Valkey that goes away and comes back.
Prometheus scrapes it meanwhile. Then every query of the dashboard must come to something: an empty panel is a
misspelled name, or a label that is not there.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from prometheus import Prometheus
from tools import ROOT, tool

from tests.harness import PATIENCE_S, Server, Valkey, eventually, replace_file, repository
from tests.ports import free_port
from yummy_fast.telemetry.exposition import FAMILIES

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "yummy-fast.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}, {target['legendFormat'] or target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}
"""What Grafana puts in. A minute, so that what happened at the beginning is still in it."""
SHADOW = ("--shadow", "http://127.0.0.1:1", "--shadow-share", "1")
"""Nothing listens there: the answers are counted as not compared."""
METRIC = re.compile(r"\b(?:yummy_fast|feast|process)_\w+")


def exported() -> set[str]:
    """The names of all series that a server has."""
    names = set()
    for family in FAMILIES:
        suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.kind, ("",))
        names |= {family.name.removesuffix("_total") + suffix for suffix in suffixes}
    return names


def admin(port: int, method: str, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path)
        return connection.getresponse().status


class Busy(Server):
    """What happens is logged with tracebacks of the corpus's functions."""

    tracebacks_are_fine = True


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the series of a server to which everything has happened."""
    folder = tmp_path_factory.mktemp("monitoring")
    with Valkey() as store:
        store.load("redis")
        feast = repository(folder / "repo", "redis", f"127.0.0.1:{store.port}")
        port = free_port()
        target = f"127.0.0.1:{port}"
        with (
            Busy(feast, "--workers", "2", "--admin", target, "--registry_ttl_sec", "0", *SHADOW) as server,
            Prometheus(folder, PROMETHEUS / "prometheus.yaml", target) as monitor,
        ):

            def scraped(expression: str) -> None:
                eventually(lambda: monitor.query(expression) or None, expression)

            def busy() -> Literal[True]:
                for drivers in ([1001], [1001, 1002, 99999]):
                    assert server.features(drivers).status == 200
                    for service in ("svc_all", "svc_stale", "svc_odfv"):
                        entities = {"driver_id": drivers, "bonus": [1] * len(drivers)}
                        body = {"feature_service": service, "entities": entities}
                        assert server.ask("/get-online-features", body).status == 200
                server.ask("/get-online-features", {"features": ["nothing:here"], "entities": {"driver_id": [1]}})
                row = {"customer_id": ["pushed"], "total": [1.5], "n": [1], "event_timestamp": ["2026-03-01"]}
                written = server.ask("/write-to-online-store", {"feature_view_name": "customer_orders", "df": row})
                assert written.status == 200, written.body
                return True

            scraped("yummy_fast_build_info")
            busy()
            # A rate needs a sample from before: what is counted further on must not be in the first one too.
            scraped("feast_feature_server_transformation_duration_seconds_count > 0")
            requests = "sum(yummy_fast_requests_total)"
            at_first = float(monitor.query(requests)[0]["value"][1])
            registry = (feast / "registry.db").read_bytes()
            replace_file(feast / "registry.db", b"broken")
            admin(port, "POST", "/-/reload")
            replace_file(feast / "registry.db", registry)
            scraped("yummy_fast_registry_failures_total > 0")
            valkey_port = store.port
            store.stop()
            assert server.features([1001]).status == 503
            with Valkey(port=valkey_port) as again:
                again.load("redis")
                # Each worker connects again by itself, so one may answer when the other does not yet.
                eventually(busy, "both workers have found Valkey again", AssertionError)
                scraped(f"{requests} >= {2 * at_first}")
                scraped("rate(yummy_fast_store_errors_total[1m]) > 0")
                yield monitor


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_dashboard_finds_something(prometheus: Prometheus, expression: str) -> None:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    eventually(lambda: prometheus.query(expression) or None, expression)


def test_every_variable_of_the_dashboard_has_values(prometheus: Prometheus) -> None:
    queried = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    assert {each["name"] for each in queried} == {"job", "instance"}
    for each in queried:
        found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", each["query"])
        assert found is not None
        assert prometheus.get(f"/api/v1/label/{found[2]}/values", **{"match[]": found[1]})


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles)) > 20
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_dashboard_and_alerts_use_no_metric_that_is_not_there() -> None:
    rules = (PROMETHEUS / "rules.yaml").read_text()
    used = {name for panel in PANELS for target in panel["targets"] for name in METRIC.findall(target["expr"])}
    used |= set(METRIC.findall(" ".join(re.findall(r"expr: \|?(.*?)(?=\n +(?:for|labels):)", rules, re.DOTALL))))
    assert len(used) > 30
    assert used <= exported()


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    """But those that say the same as another one."""
    used = {name for panel in PANELS for target in panel["targets"] for name in METRIC.findall(target["expr"])}
    unseen = {family.name for family in FAMILIES} - used - {re.sub("_(bucket|sum|count)$", "", name) for name in used}
    assert unseen == {  # a new metric has a panel in deploy/grafana/yummy-fast.json, or a line here that says why not
        "feast_feature_server_request_total",  # yummy_fast_requests_total, with codes
        "feast_online_features_request_total",  # the same
        "feast_push_request_total",  # yummy_fast_writes_total, with codes
        "feast_feature_freshness_seconds",  # the age of the values says it of what is served
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "yummy_fast_log_lines_dropped_total",  # an alert
    }


# -------------------------------------------------------------------------------------------------------------- alerts


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [tool("promtool"), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_alerts_fire_when_they_must() -> None:
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yaml")


def test_the_configuration_is_valid() -> None:
    assert "is valid" in promtool("check", "config", "prometheus.yaml")


def test_every_alert_has_a_case() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (PROMETHEUS / "rules.yaml").read_text()))
    cases = (PROMETHEUS / "rules_test.yaml").read_text()
    assert len(alerts) == 12
    assert alerts <= set(re.findall(r"alertname: (\w+)", cases))
    assert f"value: {len(alerts) - 1}}}" in cases  # all but YummyFastDown, which has a case of its own


def test_prometheus_evaluates_every_alert(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]] | None:
        found = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
        return found if all(rule["health"] == "ok" for rule in found) else None

    assert len(eventually(rules, "the rules are evaluated without an error")) == 12
