"""`yummy-fast check`: what it prints, and its exit codes. What it finds is in tests/diagnosis."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.outcomes import in_process, one_line, unservable
from tests.harness import Outcome, Valkey, command_line, repository
from tests.ports import free_port
from yummy_fast.native.owner import DESCRIPTION


def test_check_help_says_what_its_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "check", "--help")
    assert (code, err) == (0, "")
    assert re.search(r"Exit code 0: .* 1: .* 2: ", " ".join(out.split()))
    assert in_process(capsys, "check", "-h") == (code, out, err)


def test_check_prints_text(corpus: Path, valkey: Valkey) -> None:
    """Exit code 1, because two services need full names, and one view has no rows: tests/diagnosis has the rest."""
    code, out, err = command_line("--chdir", corpus, "check")
    assert (code, err) == (1, "")
    problems = [line for line in out.splitlines() if line.startswith("PROBLEM  ")]
    assert len(problems) == 3
    for problem, word in zip(problems, ("service svc_alias", "service svc_collide", "view driver_never"), strict=True):
        assert word in problem
    assert f"{corpus}/feature_store.yaml" in out
    assert "Valkey" in out
    assert f"127.0.0.1:{valkey.port}" in out
    block = out.partition("\nfeature service svc_mixed\n")[2].partition("\n\n")[0]
    assert "  features      7\n" in block
    assert "  reads         1 feature of 1 view by driver_id; " in block
    assert "HMGET" not in out


def test_check_json(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = in_process(capsys, "--chdir", corpus, "check", "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert found["project"] == "corpus"
    assert found["hot_path"] == DESCRIPTION
    assert found["online_store"]["reachable"] is True
    services = {service["name"]: service for service in found["feature_services"]}
    assert services["svc_mixed"]["features"] == 7
    assert services["svc_odfv"]["features"] == 3  # one stored, two computed
    assert services["svc_mixed"]["keys_per_row"] == 4
    assert len(services["svc_mixed"]["commands"]) == 4


def test_check_when_redis_is_away(tmp_path: Path) -> None:
    """What was found is shown; the one line on stderr says what is wrong; exit 2, for scripts."""
    folder = repository(tmp_path / "r", "redis", f"127.0.0.1:{free_port()}")
    outcome = command_line("--chdir", folder, "check", "--json")
    one_line(Outcome(outcome.code, "", outcome.err), "feature_store.yaml", "online_store")
    assert json.loads(outcome.out)["online_store"]["reachable"] is False


def test_check_of_what_cannot_be_served(corpus: Path) -> None:
    """The others are served: exit code 1, and a line for each."""
    path, why = unservable(corpus)
    code, out, err = command_line("--chdir", corpus, "check")
    assert code == 1
    assert [line.partition("WARNING ")[2] for line in err.splitlines()] == [
        f"{path}: feature service {name} cannot be served: {reason}" for name, reason in why.items()
    ]
    for name, reason in why.items():
        assert f"\nfeature service {name}\n  CANNOT BE SERVED: {reason}\n" in out
        assert f"\nPROBLEM  {path}: feature service {name} cannot be served: {reason}\n" in out
    assert "\nfeature service svc_mixed\n  features " in out
    code, out, _ = command_line("--chdir", corpus, "check", "--json")
    services = json.loads(out)["feature_services"]
    assert (code, {each["name"]: each["error"] for each in services if "error" in each}) == (1, why)


def test_check_of_another_project(corpus: Path) -> None:
    """It would serve nothing. That is no reason not to start: the first `feast apply` may be yet to come."""
    file = corpus / "feature_store.yaml"
    file.write_text(file.read_text().replace("project: corpus", "project: corpsu"))
    code, _, err = command_line("--chdir", corpus, "check")
    assert code == 1
    (line,) = err.splitlines()
    assert line.endswith("registry.db: no feature views in project corpsu; the registry's other projects: corpus")
