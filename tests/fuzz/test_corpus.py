"""What the fuzzers kept is asked again in every run of the tests, without a fuzzer: what was found stays found."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fuzz import corpus


@pytest.mark.parametrize("name", ["http11", "bodies", "values"])
def test_nothing_that_was_kept_is_a_finding(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The fuzzer itself is not needed to ask once, and is no dependency: only its import is.
    atheris = SimpleNamespace(instrument_imports=lambda **_: contextlib.nullcontext())
    monkeypatch.setitem(sys.modules, "atheris", atheris)
    fuzzer = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    corpus.unpack(name, tmp_path)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) > 100
    for file in kept:
        fuzzer.test_one_input(file.read_bytes())
