"""What a registry source is: `stamp`, the cheap question whether the registry has changed, and `read`.

Every source keeps these promises, and server/reload.py relies on them:

- `stamp` does not read the registry. It costs a stat, a request whose body is not read, or a SELECT that counts. While
  the stamp stays the same, so does the registry; a new stamp means "read it", and the bytes may then be the old ones.
  None means that only reading can show a change.
- `read` returns all of the registry: the bytes of one serialised feast.core.Registry. Whether they parse is not the
  source's concern.
- A writer may be at work between two calls. So the caller asks for the stamp before and after it reads, and reads again
  if the two differ.
- Both raise RegistryError, with a text that begins with `name` and says why. `name` holds no credentials.
- Both block, and are called before the event loop runs or in a thread, by one thread at a time.
- Nothing is written, and nothing is created that does not exist.

How long a call may take, and how long a registry may be, is bounded in `open_source`, for all sources alike.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

MAX_REGISTRY_BYTES = 256 << 20
"""A longer registry is refused. 2,000 views of 50 features take 5 MB."""


class Source(Protocol):
    """One registry. The promises are in the caption of this file."""

    name: str
    """What messages call the registry: its path or URL, without credentials."""
    look_every_s: float
    """How often to ask for the stamp: the more a stamp costs this kind of source, the less often."""

    def stamp(self) -> Hashable:
        """A value that changes when the registry does; None if only reading it can show a change."""

    def read(self) -> bytes:
        """The whole registry."""
