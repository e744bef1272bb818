"""Reads and writes features with Feast's own SDK through our server, and checks that it is the same as without it.

    python tests/sdk/run.py --requests 200 --seed 1 [--feast-python .venv-feast/bin/python]

Builds a repository as the differential tests do, starts both servers on it, and leaves the rest to client.py, which
runs in Feast's venv, where the SDK is. The last line is 'N passed, M failed', the exit code 1 if any failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this is run as a script

from tests.differential.servers import build_repository, feast_server, valkey, yummy_server  # noqa: E402

TIMEOUT_S = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    parser.add_argument("--yummy", default=str(Path(sys.executable).with_name("yummy-fast")), metavar="COMMAND")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sdk-")))
        redis_port = stack.enter_context(valkey(folder))
        config = build_repository(
            arguments.feast_python, folder / "repository", redis_port, "--seed", str(arguments.seed)
        )
        feast_port = stack.enter_context(feast_server(arguments.feast_python, config))
        yummy_port = stack.enter_context(
            yummy_server(arguments.yummy, config, "--forward-to", f"http://127.0.0.1:{feast_port}")
        )
        command = [arguments.feast_python, "-W", "ignore", str(Path(__file__).with_name("client.py"))]
        options = ["--feast-port", str(feast_port), "--yummy-port", str(yummy_port), "--seed", str(arguments.seed)]
        command += [str(config.parent), *options, "--requests", str(arguments.requests)]
        return subprocess.run(command, check=False, timeout=TIMEOUT_S).returncode


if __name__ == "__main__":
    sys.exit(main())
