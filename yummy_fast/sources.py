"""Where registry bytes come from.

A source is read whole; what the bytes mean is `registry`'s business. Only local files so far.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from yummy_fast.errors import RegistryError


class Stamp(NamedTuple):
    """What tells, without reading it, that a file is another one now."""

    modified_ns: int
    bytes: int
    inode: int


class FileSource:
    """A registry in a local file, as `feast apply` writes it."""

    def __init__(self, path: str) -> None:
        self.name = path

    def stamp(self) -> Stamp | None:
        """The file's present state; None while it is not there (Feast replaces it when it writes)."""
        try:
            found = os.stat(self.name)
        except OSError:
            return None
        return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)

    def read(self) -> bytes:
        """The whole file. Raises RegistryError naming it."""
        try:
            with open(self.name, "rb") as file:
                return file.read()
        except OSError as error:
            raise RegistryError(f"{self.name}: the registry cannot be read: {error.strerror}") from None
