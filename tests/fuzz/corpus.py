"""The inputs that the fuzzers kept: in the repository as a file of hexadecimal lines each, for libFuzzer as a folder.

python tests/fuzz/corpus.py NAME FOLDER    write corpus_NAME.txt anew, from a folder that libFuzzer minimised (-merge=1)
"""

from __future__ import annotations

import sys
from pathlib import Path


def unpack(name: str, folder: Path) -> None:
    """Put the inputs of corpus_NAME.txt into a folder, beside what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(_file(name).read_text().split()):
        (folder / f"kept-{number}").write_bytes(bytes.fromhex(line))


def keep(name: str, folder: Path) -> None:
    inputs = sorted(file.read_bytes().hex() for file in folder.iterdir())
    _file(name).write_text("".join(f"{one}\n" for one in inputs if one))


def _file(name: str) -> Path:
    return Path(__file__).with_name(f"corpus_{name}.txt")


if __name__ == "__main__":
    keep(sys.argv[1], Path(sys.argv[2]))
