"""Local files: where a relative path leads, and a registry in a file, as `feast apply` writes it.

Feast empties the file and writes it again, so a reader may find nothing, or a part. `open_source` refuses an empty
registry, and server/reload.py reads again if the stamp has moved meanwhile.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from yummy_fast.errors import RegistryError
from yummy_fast.sources import download
from yummy_fast.sources.source import MAX_REGISTRY_BYTES


def find_path(path: str, repository: str, beside: str) -> str:
    """A relative path as Feast takes it, from the repository's folder; failing that, from the file's own.

    The second is for `-f some/where/feature_store.yaml`, where Feast would look in the current folder only.
    """
    if (Path(repository) / path).exists() or not (Path(beside) / path).exists():
        return str(Path(repository) / path)
    return str(Path(beside) / path)


PIECE_BYTES = 1 << 20
"""What is read at once of a file that has grown since it was opened."""


class Stamp(NamedTuple):
    """The state of a file. It changes when the file is written (time, size) or replaced by another (inode)."""

    modified_ns: int
    bytes: int
    inode: int


class FileSource:
    """A registry in a local file, as `feast apply` writes it."""

    look_every_s = 1.0

    def __init__(self, path: str) -> None:
        self.name = path

    def stamp(self) -> Stamp:
        try:
            found = os.stat(self.name)
        except OSError as error:
            raise RegistryError.unreadable(self.name, download.reason(error)) from None
        return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)

    def read(self) -> bytes:
        try:
            with open(self.name, "rb", buffering=0) as file:
                # read() makes room for all that it may return, and the limit is a quarter of a gigabyte.
                size = os.fstat(file.fileno()).st_size
                pieces = [file.read(min(size, MAX_REGISTRY_BYTES) + 1)]
                while pieces[-1] and sum(map(len, pieces)) <= MAX_REGISTRY_BYTES:
                    pieces.append(file.read(PIECE_BYTES))
                return b"".join(pieces)
        except OSError as error:
            raise RegistryError.unreadable(self.name, download.reason(error)) from None
