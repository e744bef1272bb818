"""Every recorded write to the real Feast 0.67.0, sent to a real server process, and what is in Redis afterwards.

The cases and the script that judges them are the corpus's, copied as they are: `replay_pushes.py --help` says what each
kind of case asks for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.harness import CORPUS, Server, Valkey, repository


def test_each_write_does_what_feast_does(own_valkey: Valkey, tmp_path: Path) -> None:
    folder = repository(tmp_path / "push", "push", f"127.0.0.1:{own_valkey.port}")
    with Server(folder) as server:
        script = [sys.executable, str(CORPUS / "replay_pushes.py"), str(CORPUS / "push")]
        options = ["--url", server.url, "--redis-port", str(own_valkey.port)]
        replayed = subprocess.run([*script, *options], capture_output=True, text=True, timeout=120, check=False)
    assert replayed.stdout.splitlines()[-1:] == ["144 passed, 0 failed"], replayed.stdout + replayed.stderr


def test_corpus_is_whole() -> None:
    """A guard against a corpus that was cut."""
    with open(CORPUS / "push" / "cases.jsonl", encoding="utf-8") as lines:
        kinds = [json.loads(line)["kind"] for line in lines]
    assert (len(kinds), set(kinds)) == (144, {"same", "exact", "refuse"})
