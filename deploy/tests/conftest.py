"""Fixtures of the tests of deploy/: the Valkey of the suite with the corpus in it, and the documents' programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from console import FEAST
from tools import ROOT

from tests.conftest import corpus, own_valkey, valkey

__all__ = ["corpus", "own_valkey", "programs", "valkey"]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the programs that the page's first step installs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "yummy-fast").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m yummy_fast "$@"\n')
    (folder / "yummy-fast").chmod(0o755)
    (folder / "feast").symlink_to(FEAST / "feast")
    return folder
