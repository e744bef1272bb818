"""Checks that yummy_fast/feast_format/_proto is what its .proto files say, by writing it anew. Part of `make check`."""

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    sources = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("yummy_fast/feast_format/_proto/*.proto"))
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *sources], cwd=ROOT, check=True)
        for written in sorted(Path(folder).rglob("*_pb2.py*")):
            committed = ROOT / written.relative_to(folder)
            if not committed.exists() or not filecmp.cmp(written, committed, shallow=False):
                stale.append(committed.relative_to(ROOT).as_posix())
    if not sources or stale:
        print(f"generated code is not current: {stale or 'no .proto found'}; run `make proto`")
        return 1
    print("generated code is current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
