"""What the tests of the command line have in common: a command in this process, and what is expected of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import registries
from tests.harness import Outcome
from yummy_fast.cli.main import main
from yummy_fast.feast_format._proto.registry_pb2 import Registry
from yummy_fast.feast_format.values import ValueType


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Outcome:
    """As `command_line`, without the third of a second that a process takes to start."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return Outcome(ended.value.code, *capsys.readouterr())


def one_line(outcome: Outcome, *words: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that holds these words."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("yummy-fast: ")
    for word in words:
        assert word in outcome.err, outcome.err


def assert_checked(outcome: Outcome, corpus: Path) -> None:
    """Exit code 1, because one view of this repository was never materialized; 2 would say that nothing was read."""
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.startswith(f"configuration  {corpus / 'feature_store.yaml'}\n")
    assert "driver_never was never materialized" in outcome.out


def serve_command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "yummy_fast", "-c", str(folder), "serve", "--port", "0"]


def unservable(folder: Path) -> tuple[Path, dict[str, str]]:
    """Adds feature services that no request can be answered from; the registry, and what is said of them."""
    path = folder / "registry.db"
    registry = Registry.FromString(path.read_bytes())
    stats = next(view for view in registry.feature_views if view.spec.name == "driver_stats")
    for name, view in (("svc_gone", "no_such_view"), ("svc_double", "by_double")):
        service = registry.feature_services.add()
        service.CopyFrom(registries.service(name, registries.projection(stats), project="corpus"))
        service.spec.features[0].feature_view_name = view
    copy = registry.feature_views.add()
    copy.CopyFrom(stats)
    copy.spec.name = "by_double"
    copy.spec.entity_columns[0].value_type = ValueType.DOUBLE
    path.write_bytes(registry.SerializeToString())
    return path, {
        "svc_gone": "Feature view no_such_view does not exist in project corpus",
        "svc_double": "entities.driver_id: values of type DOUBLE cannot be part of an entity key; "
        "expected one of BYTES, INT32, INT64, STRING, UNIX_TIMESTAMP",
    }
