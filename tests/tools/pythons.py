"""The tests on each Python that pyproject.toml claims: `make pythons`, or `make pythons PYTHONS="python3.12 ..."`.

Each Python gets an environment of its own (.venv-3.12), made as `make test` makes its one, and runs all tests but those
of whole processes (tests/system), which are the same code again. Without PYTHONS, those are tried that are on the PATH
as python3.11, python3.12 and so on. Which were skipped is said at the end; with none at all it fails.

It is run by whichever Python there is, and needs nothing that is not Python's own.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
"""As the classifiers in pyproject.toml."""


def version_of(python: str) -> str:
    """Such as 3.12; "" if that cannot be run: pyenv puts commands on the PATH that only say so."""
    path = shutil.which(python)
    if path is None:
        return ""
    asked = [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def found(given: list[str]) -> dict[str, str]:
    """The Pythons to test with, by version."""
    pythons: dict[str, str] = {}
    for python in given or [f"python{version}" for version in VERSIONS]:
        version = version_of(python)
        if given and version not in VERSIONS:
            raise SystemExit(f"{python}: expected one of Python {', '.join(VERSIONS)}, got {version or 'none'}")
        if version:
            pythons.setdefault(version, python)
    return pythons


def passes(version: str, python: str, tests: list[str]) -> bool:
    """Whether the tests pass there."""
    environment = f".venv-{version}"
    made = subprocess.run(
        ["make", f"{environment}/ready", f"VENV={environment}", f"PYTHON={python}"], cwd=ROOT, check=False
    )
    if made.returncode:
        return False
    command = [f"{environment}/bin/python", "-m", "pytest", "-q", *(tests or ["tests", "--ignore=tests/system"])]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", help="commands or paths; default: those on the PATH")
    parser.add_argument("--tests", nargs="+", default=[], help="for pytest; default: all but tests/system")
    arguments = parser.parse_args()
    outcomes = {}
    for version, python in sorted(found(arguments.pythons).items()):
        print(f"Python {version} ({python})", flush=True)
        outcomes[version] = passes(version, python, arguments.tests)
    for version in VERSIONS:
        print(f"Python {version}: {({True: 'passed', False: 'FAILED', None: 'skipped'})[outcomes.get(version)]}")
    if not outcomes:
        print("no Python to test with: expected one of them on the PATH, or PYTHONS=...", file=sys.stderr)
    return int(not outcomes or not all(outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
