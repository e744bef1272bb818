"""Watch the registry; compile a new catalog and swap it in.

The file is looked at every second (its modification time, size and inode), and read anyway every --registry_ttl_sec and
on SIGHUP. Reading and compiling happen in a thread; the swap is one assignment, and requests in flight keep the plan
that they hold. A registry that cannot be read or makes no sense is logged, and the catalog that there is stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from yummy_fast.catalog import Catalog
from yummy_fast.errors import RegistryError, YummyError
from yummy_fast.sources import FileSource, Stamp

logger = logging.getLogger("yummy_fast")

LOOK_EVERY_S = 1.0


class Reloader:
    """Keeps a catalog up to date."""

    def __init__(
        self,
        source: FileSource,
        data: bytes,
        compile_catalog: Callable[[bytes], Catalog],
        swap: Callable[[Catalog], None],
        ttl_s: int,
    ) -> None:
        """`data` is what the present catalog was compiled from. `compile_catalog` is called in a thread."""
        self._source = source
        self._data = data
        self._compile = compile_catalog
        self._swap = swap
        self._ttl_s = ttl_s
        self._wanted = asyncio.Event()

    def reload_now(self) -> None:
        """Read the registry without waiting for a sign of change."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        stamp = self._source.stamp()
        read_at = loop.time()
        while True:
            try:
                # Not wait_for(): in Python 3.11 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(LOOK_EVERY_S if self._ttl_s else None):
                    await self._wanted.wait()
                changed = True
            except TimeoutError:
                changed = False
            self._wanted.clear()
            seen = self._source.stamp()
            if not changed and (seen is None or seen == stamp) and loop.time() - read_at < self._ttl_s:
                continue
            stamp, read_at = _newer(stamp, seen), loop.time()
            await self._reload()

    async def _reload(self) -> None:
        try:
            data = await asyncio.to_thread(self._source.read)
            if data == self._data:
                return
            if not data:  # Feast truncates the file, then writes it
                raise RegistryError(f"{self._source.name}: the file is empty")
            catalog = await asyncio.to_thread(self._compile, data)
        except YummyError as error:
            logger.error("registry not reloaded, the one before stays: %s", error)
            return
        except Exception:
            logger.exception("registry not reloaded, the one before stays: %s does not compile", self._source.name)
            return
        self._data = data
        self._swap(catalog)
        logger.warning("registry reloaded: %s", describe(catalog))


def _newer(before: Stamp | None, seen: Stamp | None) -> Stamp | None:
    return before if seen is None else seen


def describe(catalog: Catalog) -> str:
    """A line about a catalog, for the log."""
    registry = catalog.registry
    return f"project {registry.project}, {len(registry.views)} feature views, {len(registry.services)} feature services"
