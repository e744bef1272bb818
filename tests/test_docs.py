"""The documents against the program: what they link to, name and promise as defaults is there.

And the whole of the text against names that were given up: one thing has one word, so a word that is no longer used for
it stands nowhere.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import commands_document, errors_document, rooms_document, settings_document
from yummy_fast import __version__, errors
from yummy_fast.cli.main import main
from yummy_fast.config.settings import IGNORED_FLAGS, IGNORED_SWITCHES, SETTINGS
from yummy_fast.sources.yaml_text import load_config

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "deploy", "docs", "docs/how-to", "perf", "perf/results", "tests/*")
DOCUMENTS = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md"))
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
OF_USERS = [path for path in DOCUMENTS if path.parent in (ROOT, ROOT / "docs", ROOT / "docs" / "how-to")]


def anchors(document: Path) -> set[str]:
    """What can stand behind # in a link to a document, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(pattern: str, documents: list[Path]) -> set[Any]:
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
    paths = named(r"`((?:deploy|docs|locks|perf|tests|yummy_fast)/\w[\w/.-]*)`", DOCUMENTS)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_path_in_a_command_to_deploy_with_is_there() -> None:
    text = (ROOT / "deploy" / "README.md").read_text()
    paths = set(re.findall(r"(?<![\w/(])deploy/[\w/.-]+", text))
    assert len(paths) >= 4
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_line_that_ends_a_start_is_one_of_the_program() -> None:
    """docs/troubleshooting.md says what such lines have in them: words that stand in the code."""
    (section,) = re.findall(r"^## It does not start$(.+?)^## ", TROUBLESHOOTING.read_text(), re.DOTALL | re.MULTILINE)
    words = re.findall(r"^\| `([a-zA-Z ]+)`", section, re.MULTILINE)
    assert len(words) > 5
    code = "".join(path.read_text() for path in (ROOT / "yummy_fast").rglob("*.py"))
    assert [each for each in words if each not in code] == []


def test_every_make_target_that_is_named_is_there() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named(r"(?:`|\$ )make ([\w-]+)", DOCUMENTS) <= set(targets.split())


def test_every_flag_that_is_named_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("serve", "check", "get", "explain", "doctor", "compare", "demo"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    flags = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    flags |= {*IGNORED_FLAGS, *IGNORED_SWITCHES, "--type", "--version"}
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
    assert rooms_document.MAP.read_text() == rooms_document.map_svg(), "run `make docs`"
    wings = {path.parent.name for path in (ROOT / "yummy_fast").glob("*/__init__.py")}
    assert wings == set(rooms_document.WINGS)


@pytest.mark.parametrize("wing", sorted(path.parent for path in (ROOT / "yummy_fast").glob("*/__init__.py")))
def test_the_caption_of_a_wing_names_all_its_modules(wing: Path) -> None:
    modules = {path.stem for path in wing.glob("*.py")} - {"__init__"}
    named = set(re.findall(r"`(?:yummy-fast )?(\w+)`", (wing / "__init__.py").read_text()))
    assert modules - named == set()


def test_the_top_is_short() -> None:
    """What is no wing is at the top because everybody starts there, or everything uses it; the rest has a wing."""
    top = sorted(path.stem for path in (ROOT / "yummy_fast").glob("*.py") if path.stem != "__init__")
    assert len(top) <= 6, top


def test_the_settings_are_the_current_ones() -> None:
    assert settings_document.DOCUMENT.read_text() == settings_document.text(), "run `make docs`"


def test_the_commands_are_the_current_ones() -> None:
    assert commands_document.DOCUMENT.read_text() == commands_document.text(), "run `make docs`"


def test_the_errors_are_the_current_ones() -> None:
    assert errors_document.DOCUMENT.read_text() == errors_document.text(), "run `make docs`"


def test_every_error_is_in_the_tree_and_has_its_status_there() -> None:
    """The picture at the top of yummy_fast/errors.py, against the classes: names, what inherits from what, statuses."""
    lines = re.findall(r"^    ([ │├└─]*)(\w+Error)\b(.*)$", errors.__doc__ or "", re.MULTILINE)
    kinds = errors_document.classes()
    assert {name for _, name, _ in lines} == set(kinds)
    parents: dict[int, str] = {}
    for branches, name, text in lines:
        parents[len(branches)] = name
        (base,) = kinds[name].__bases__
        assert base.__name__ == parents.get(len(branches) - 4, "Exception"), name
        codes = {int(code) for code in re.findall(r"\b[45]\d\d\b", text)}
        if codes and "its own" not in text and name not in errors_document.NOT_ANSWERS:
            assert codes == errors_document.statuses(name, kinds[name]), name


# -------------------------------------------------------------------------------------------------------- the pictures

PICTURES = ROOT / "perf" / "pictures"
PICTURE = re.compile(
    r'<picture>\n<source media="\(prefers-color-scheme: dark\)" srcset="(.+)-dark\.svg">\n'
    r'<img src="(.+)-light\.svg" alt="(.+)">\n</picture>'
)


def test_every_picture_is_there_in_light_and_dark_and_in_words() -> None:
    shown = set()
    for document in DOCUMENTS:
        text = document.read_text()
        pictures = PICTURE.findall(text)
        assert len(pictures) == text.count("<picture>") == text.count("<img"), document
        for dark, light, alt in pictures:
            assert dark == light
            assert len(alt.split()) > 15
            for theme in ("dark", "light"):
                assert (document.parent / f"{light}-{theme}.svg").exists()
            shown.add((document.parent / light).resolve())
    assert shown == {(PICTURES / path.name.rpartition("-")[0]).resolve() for path in PICTURES.glob("*.svg")}


def median_cpu_us(results: list[str], peer: str, data_set: str, rows: int, features: int) -> float:
    wanted = {"peer": peer, "set": data_set, "rows": rows, "features": features}.items()
    found = [json.loads((ROOT / "perf" / "results" / f"2026-11-26-{name}.json").read_text()) for name in results]
    rounds = [record for result in found for record in result["saturation"] if wanted <= record.items()]
    return float(statistics.median(record["server_cpu_us"] for record in rounds))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pictures_say_what_was_measured(theme: str) -> None:
    """Of each picture of CPU time: every number in it, computed here once more."""
    peers = ("feast-0.67.0", "yummy-0.0.9", "yummy-fast")
    costs = {f"{median_cpu_us(['feast'], peer, 'ints', 1, 50):,.0f} µs" for peer in peers}
    assert len(costs) == 3
    assert set(re.findall(r">([\d,]+ µs)<", (PICTURES / f"cpu-{theme}.svg").read_text())) == costs
    times = []
    for rows, features in ((1, 50), (1, 250), (10, 50), (100, 50), (100, 250)):
        for data_set in ("ints", "mixed"):
            rival, ours = (
                median_cpu_us(["race"], peer, data_set, rows, features) for peer in ("yummy-0.0.9", "yummy-fast")
            )
            times.append(f"{rival / ours:.1f}")
    assert re.findall(r">([\d.]+) times, ", (PICTURES / f"wider-{theme}.svg").read_text()) == times


def test_the_newest_version_in_the_changelog_is_this_one() -> None:
    """Above it stands what comes next, and each version has its date."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    versions = [re.fullmatch(r"(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)", heading) for heading in headings[1:]]
    assert all(versions)
    assert versions[0] is not None
    assert versions[0][1] == __version__


def test_the_readme_is_short() -> None:
    """But for its pictures."""
    assert len(PICTURE.sub("", (ROOT / "README.md").read_text()).splitlines()) <= 90


# ------------------------------------------------------------------------------------ what documents say of the code

ABOUT_THE_CODE = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
MODULES = sorted(path for path in (ROOT / "yummy_fast").rglob("*.py*") if path.suffix in (".py", ".pyi"))


def definitions(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """What a module or class defines, with the names in its classes behind a dot."""
    found: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            found |= {prefix + statement.name, *definitions(statement.body, f"{prefix}{statement.name}.")}
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(prefix + statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_every_name_in_the_code_that_is_named_is_there() -> None:
    """`features/plan.py:Plan.bind` names a file below yummy_fast/ and a definition in it; `Plan.bind`, one anywhere."""
    defined = {path.relative_to(ROOT / "yummy_fast").as_posix(): ast.parse(path.read_text()) for path in MODULES}
    names = {path: definitions(tree.body) for path, tree in defined.items()}
    placed = named(r"`([\w/]+\.py):([\w.]+)`", ABOUT_THE_CODE)
    assert len(placed) > 20
    assert [f"{path}:{name}" for path, name in placed if name not in names.get(path, ())] == []
    anywhere = named(r"`([A-Z][a-z]+[A-Z]?\w*(?:\.\w+)?)`", ABOUT_THE_CODE)
    assert len(anywhere) > 20
    assert anywhere - set().union(*names.values()) == set()


# ------------------------------------------------------------------------------------------------------- names given up

LEFT_THE_TOP = (
    "accept|board|catalog|codec|completion|connection|control|demo|download|drain|entities|exposition|fleet|http11|"
    "listeners|logs|metrics|patience|plan|process|python_values|query|registry|reload|resp|served|settings|spans|"
    "sql_registry|supervisor|terminal|tokens|trace|transforms|vectors|views|worker"
)
"""Modules that have left the top of yummy_fast/ for a wing. Not admin: yummy_fast.admin is a setting."""
GIVEN_UP = re.compile(
    rf"\byummy_fast[./](?:{LEFT_THE_TOP})\b(?!/)|\byummy_fast[./]stores[./]redis_wire\b|(?<![\w/])codec\.py\b|"
    r"\b(?:leave_when_told|be_worker|Seat|Turns|Board|ServingProcess|nudge|looking_ns_left|Patience|Pace|Gently|Wire)\b|"
    r"\bVerdict\b(?!:)|\bstop\.at_once\b|\bgrowing\(|\breload\.growing\b|\b(?:_unnoticed|_aside|_let_go|hang_up)\b|"
    r"\.fans\b|\.echoes\b|\.again\(|\b\w*BITES?\w*\b|\bStatuses\.[A-Z]|\bStatusPolicy\.(?:FOUND|TRUE)\b|"
    r"\bhttp11\.Answer\b|\bBUDGET_NS_A_BEAT\b"
)
MAY_NAME_THEM = {Path(__file__), ROOT / "perf" / "instructions.py"}
"""This file; and what imports modules of earlier revisions."""


def test_no_name_that_was_given_up_is_left() -> None:
    folders = (ROOT / "yummy_fast", ROOT / "tests", ROOT / "docs", ROOT / "perf", ROOT / "perf" / "experiments")
    paths = [path for folder in folders[:2] for path in folder.rglob("*.py")]
    paths += [path for folder in folders[2:] for path in folder.iterdir() if path.suffix in (".py", ".md", ".lua")]
    paths += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".example")]
    paths += [ROOT / "Makefile", ROOT / "Dockerfile", *(ROOT / ".ci").iterdir()]
    assert len(paths) > 150
    found = {
        path.relative_to(ROOT).as_posix(): sorted(set(match))
        for path in paths
        if path not in MAY_NAME_THEM
        and "_proto" not in path.parts  # generated: its package is yummy_fast.registry
        and (match := GIVEN_UP.findall(path.read_text()))
    }
    assert found == {}
