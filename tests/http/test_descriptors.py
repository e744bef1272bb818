"""The limit on open files: raised as far as it goes, and how many connections fit under it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from yummy_fast.http.descriptors import RESERVED, connections_that_fit, needed, raise_soft_limit

SCRIPT = """
import resource, subprocess, sys
from yummy_fast.http.descriptors import raise_soft_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(raise_soft_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)
subprocess.run(["sh", "-c", "ulimit -n"], check=True)
"""


def test_the_soft_limit_is_raised_to_the_hard_one_here_and_in_children() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["300", "300", "300", "300"]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("others", [0, 32])
def test_what_fits_is_the_most_that_fits(tls: bool, others: int) -> None:
    for descriptors in range(RESERVED + others + 4, 5000, 7):
        fits = connections_that_fit(descriptors, tls=tls, others=others)
        assert needed(fits, tls=tls, others=others) <= descriptors
        assert needed(fits + 1, tls=tls, others=others) > descriptors
    assert connections_that_fit(RESERVED, tls=tls, others=others) == 1


def test_what_is_returned_is_the_limit_of_this_process() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 200), before[1]))
        found = raise_soft_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert hard == before[1]
    assert found == (sys.maxsize if soft == resource.RLIM_INFINITY else soft)
    assert found > 200
