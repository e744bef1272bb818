"""`compare` as a command line; with Feast's own server, tests/differential/shadow.py."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path


def test_requests_of_a_standard_input_that_is_closed(corpus: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m yummy_fast -c {shlex.quote(str(corpus))} compare"
    done = subprocess.run(f"{line} --against http://127.0.0.1:1 - <&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "yummy-fast: compare: standard input is closed\n"
