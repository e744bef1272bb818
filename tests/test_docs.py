"""The documents against the program: what they link to, name and promise as defaults is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests import rooms_document
from yummy_fast.cli import main
from yummy_fast.config.settings import IGNORED_FLAGS, SETTINGS
from yummy_fast.sources.yaml_text import load_config

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("perf/*.md"), *ROOT.glob("tests/*/*.md")])
OF_USERS = [path for path in DOCUMENTS if path.parent in (ROOT, ROOT / "docs")]


def anchors(document: Path) -> set[str]:
    """What can stand behind # in a link to a document, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(pattern: str, documents: list[Path]) -> set[str]:
    return {found for document in documents for found in re.findall(pattern, document.read_text())}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_every_file_that_is_named_is_there() -> None:
    paths = named(r"`((?:docs|perf|tests|yummy_fast)/\w[\w/.-]*)`", DOCUMENTS)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_make_target_that_is_named_is_there() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named(r"(?:`|\$ )make ([\w-]+)", DOCUMENTS) <= set(targets.split())


def test_every_flag_that_is_named_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("serve", "check", "demo"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    flags = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out)) | {*IGNORED_FLAGS, "--type", "--version"}
    told = named(r"`(--[a-z][\w-]*)", OF_USERS) | named(r"yummy-fast serve[^`\n]*? (--[a-z][\w-]*)", OF_USERS)
    assert len(told) > 20
    assert told <= flags


def test_the_example_names_settings_and_their_defaults(tmp_path: Path) -> None:
    example = (ROOT / "feature_store.yaml.example").read_text()
    (tmp_path / "feature_store.yaml").write_text(example)
    config = load_config(chdir=str(tmp_path), environ={"REDIS_PASSWORD": "secret"})
    assert config.repository.project == "driver_ranking"
    block = yaml.safe_load(example)["yummy_fast"]
    defaults = {setting.name: setting.default for setting in SETTINGS}
    assert block == {name: defaults[name] for name in block}
    in_comments = re.findall(r"^  # (\w+):", example.partition("yummy_fast:")[2], re.MULTILINE)
    assert {"uds", "tls_cert"} <= set(in_comments) <= set(defaults)


def test_the_map_has_every_room() -> None:
    assert rooms_document.current() == rooms_document.rooms(), "run `make docs`"
    wings = {path.parent.name for path in (ROOT / "yummy_fast").glob("*/__init__.py")}
    assert wings == set(rooms_document.WINGS)
