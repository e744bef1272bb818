"""The source of the registry that the configuration names, bounded in time and size.

The scheme of `registry.path` decides, or `registry_type: sql`:

    /data/registry.db               file
    https://host/registry.db        http
    s3://bucket/registry.db         object_store, with the extra s3
    gs://bucket/registry.db         object_store, with the extra gcs
    postgresql+psycopg://host/db    sql, with the extra sql, if registry_type is sql

What `stamp` and `read` promise is in `source`. The libraries of the extras are imported when a registry needs them, and
credentials come from where those libraries look for them, or from the URL.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from yummy_fast.config.repository import Repository
from yummy_fast.errors import ConfigError, RegistryError, how_to_install
from yummy_fast.sources.deadline import DeadlineRunner
from yummy_fast.sources.file import FileSource
from yummy_fast.sources.http import HttpSource
from yummy_fast.sources.object_store import ObjectSource
from yummy_fast.sources.source import MAX_REGISTRY_BYTES, Source
from yummy_fast.sources.sql import SqlSource

T = TypeVar("T")

ANSWER_TIMEOUT_S = 60.0
"""For a whole `stamp` or `read`. The sources' own timeouts are shorter; this one bounds what those do not."""


class BoundedSource:
    """A source that answers within ANSWER_TIMEOUT_S, and whose registry is neither empty nor too long."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.look_every_s = source.look_every_s
        self._source = source
        self._runner = DeadlineRunner(ANSWER_TIMEOUT_S)

    def stamp(self) -> Hashable:
        return self._run(self._source.stamp)

    def read(self) -> bytes:
        data = self._run(self._source.read)
        if not data:  # it would parse, as a registry without views; but the file is being written, or a bad copy
            raise RegistryError(f"{self.name}: the registry is empty")
        if len(data) > MAX_REGISTRY_BYTES:
            raise RegistryError.unreadable(self.name, f"longer than {MAX_REGISTRY_BYTES} bytes")
        return data

    def _run(self, call: Callable[[], T]) -> T:
        try:
            return self._runner.run(call)
        except TimeoutError as error:
            raise RegistryError.unreadable(self.name, str(error)) from None


def open_source(repository: Repository) -> Source:
    """The source that `registry:` describes; nothing is read yet. Raises ConfigError."""
    return BoundedSource(_source(repository))


def _source(repository: Repository) -> Source:
    path, registry = repository.registry_path, repository.registry
    if registry.get("registry_type", "file") == "sql":
        with _extra("sql", f"{repository.source}: registry.registry_type: sql"):
            return SqlSource(path, repository.project, registry.get("sqlalchemy_config_kwargs") or {})
    scheme, separator, _ = path.partition("://")
    if not separator:
        return FileSource(path)
    if scheme in ("http", "https"):
        return HttpSource(path)
    with _extra({"s3": "s3", "gs": "gcs"}[scheme], f"{repository.source}: registry: {scheme}://"):
        return ObjectSource(path, registry.get("s3_additional_kwargs") or {})


_EXTRAS = {"s3": ("s3fs",), "gcs": ("gcsfs",), "sql": ("sqlalchemy", "psycopg")}
"""Extra -> the modules that it installs. No extra has drivers for other databases than PostgreSQL."""


@contextmanager
def _extra(extra: str, what: str) -> Iterator[None]:
    """Turn an ImportError into a ConfigError that says which module `what`, a key of the file, needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        remedy = f": {how_to_install(extra)}" if error.name in _EXTRAS[extra] else ", which is not installed"
        raise ConfigError(f"{what} needs {error.name}{remedy}") from None
    except ImportError as error:  # it is installed, and does not fit what else is
        raise ConfigError(f"{what}: a library cannot be imported: {error}") from None
