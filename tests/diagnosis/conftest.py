"""A Valkey that the tests of diagnosis fill and empty as they like."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import Valkey


@pytest.fixture(scope="module")
def blank_valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server
