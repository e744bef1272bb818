"""A registry in a local file, as `feast apply` writes it."""

from __future__ import annotations

import os
from typing import NamedTuple

from yummy_fast.errors import RegistryError
from yummy_fast.sources import download
from yummy_fast.sources.source import MAX_BYTES


class Stamp(NamedTuple):
    """What tells, without reading it, that a file is another one now."""

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
            with open(self.name, "rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise RegistryError.unreadable(self.name, download.reason(error)) from None
