"""Asks a real server what its /openapi.json says can be asked, and checks each answer against it (schemathesis).

    python tests/page/ask_by_schema.py [--schemathesis .venv/bin/schemathesis] [--examples 100] [--seed 1]

The server has the corpus's repository and a Valkey of its own, which it writes to. It is asked for what the schemas
allow; then, wanting bearer tokens, also for what they do not allow. A third server has push sources, which the corpus's
repository has none of, and is written to. Exit code 0 if nothing was found.

Two checks are set by hand, as SETTINGS says and why. All others are schemathesis's own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this is run as a script

from tests.harness import Server, Valkey, repository  # noqa: E402

TIMEOUT_S = 160.0

SETTINGS = """
# A schema cannot say that all columns have one length, or which join keys the features of a list need: 400 and 404.
# But whatever fits the schema has the shape of a request: never 422.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404]
# Feast's models take "yes" for true and its converter "1001" for an integer, and so does this server: tests/conformance
# has what is refused.
[checks.negative_data_rejection]
enabled = false
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--schemathesis", default=str(Path(sys.executable).with_name("schemathesis")), metavar="COMMAND"
    )
    parser.add_argument("--examples", type=int, default=100, help="for each operation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="by-schema-") as name, Valkey() as valkey:
        folder = Path(name)
        valkey.load("redis")
        where = repository(folder / "repository", "redis", f"127.0.0.1:{valkey.port}")
        (folder / "schemathesis.toml").write_text(SETTINGS)
        (folder / "tokens").write_text("reader\nwriter write\n")
        pushed = repository(folder / "pushed", "push", f"127.0.0.1:{valkey.port}")
        found = 0
        for repo, options, asking in (
            (where, [], ["--mode", "positive"]),
            (where, ["--auth-tokens", str(folder / "tokens")], ["--header", "Authorization: Bearer writer"]),
            (pushed, [], ["--include-path", "/push", "--include-path", "/write-to-online-store"]),
        ):
            with Server(repo, *options) as server:
                command = [arguments.schemathesis, "--config-file", str(folder / "schemathesis.toml"), "run"]
                command += [f"{server.url}/openapi.json", "--max-examples", str(arguments.examples), *asking]
                command += ["--seed", str(arguments.seed), "--generation-database", "none", "--no-color"]
                ran = subprocess.run(command, check=False, timeout=TIMEOUT_S, cwd=folder)
                found |= ran.returncode
    return found


if __name__ == "__main__":
    sys.exit(main())
