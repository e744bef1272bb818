"""Fixtures of the tests of deploy/: the Valkey of the suite with the corpus in it."""

from __future__ import annotations

from tests.conftest import corpus, own_valkey, valkey

__all__ = ["corpus", "own_valkey", "valkey"]
