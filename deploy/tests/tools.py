"""The programs that the tests of deploy/ need and no Python package has: prometheus, promtool, kubectl.

`make deploy-check` runs this before the tests. What is on the PATH is used. What is not is taken from Debian's packages
(apt-get download) and unpacked into .deploy-tools, without root and without installing anything. A program that cannot
be had ends the run with a line that names it: no test is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".deploy-tools"
PACKAGES = {
    "kubectl": "kubernetes-client",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
}
"""The Debian package of each program. systemd's must be installed: they need its libraries."""


def tool(name: str) -> str:
    """The path of a program."""
    path = os.pathsep.join((os.environ.get("PATH", ""), str(FOLDER / "usr" / "bin")))
    found = shutil.which(name, path=path)
    if found is None:
        raise SystemExit(f"{name} is missing: `make deploy-check` gets it, or install Debian's {PACKAGES[name]}")
    return found


def get_tools() -> None:
    for name, package in PACKAGES.items():
        if shutil.which(name) is None and not (FOLDER / "usr" / "bin" / name).exists():
            print(f"{name} from Debian's {package} ...", flush=True)
            FOLDER.mkdir(exist_ok=True)
            subprocess.run(["apt-get", "download", "-qq", package], cwd=FOLDER, check=True)
            for archive in FOLDER.glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", archive, FOLDER], check=True)
                archive.unlink()
        tool(name)


if __name__ == "__main__":
    get_tools()
