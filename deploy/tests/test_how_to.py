"""docs/how-to: the commands of each page print what the page says.

Each page is followed in the folder of a Feast repository with data, whose names the pages use: the recorded corpus. The
server of Feast that two pages start is that of .venv-feast.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from console import commands, different_outputs, environment
from tools import ROOT, tool

from tests.harness import Valkey, repository
from tests.ports import free_port

PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
STORES = {"from-yummy": "redis_v2"}
"""The corpus that a page is about, if it is not `redis`: keys of the version that Yummy knows."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_prints_what_the_page_says(page: Path, tmp_path: Path, programs: Path) -> None:
    steps = commands(page)
    assert len(steps) >= 3
    store = STORES.get(page.stem, "redis")
    ports = {port: str(free_port()) for port in ("6566", "6567", "8000")}
    (programs / "promtool").symlink_to(tool("promtool"))
    with Valkey() as valkey:
        valkey.load(store)
        folder = repository(tmp_path / "repository", store, f"127.0.0.1:{valkey.port}")
        (folder / "clone").symlink_to(ROOT)
        variables = environment(programs, YUMMY_FAST_PORT=ports["6566"])
        different = different_outputs(steps, folder, variables, ports)
    assert not different, "\n\n".join(different)


def test_there_is_a_section_for_each_alert() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    page = (ROOT / "docs" / "how-to" / "incidents.md").read_text()
    assert re.findall(r"^## (YummyFast\w+)$", page, re.MULTILINE) == alerts
