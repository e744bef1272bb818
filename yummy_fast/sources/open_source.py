"""Where registry bytes come from: a local file, http(s), S3, GCS, or the tables of Feast's SQL registry.

A source is read whole; what the bytes mean is `registry`'s business. `stamp` is the cheap question whether reading
would give something else: it is asked every few seconds, `read` only when it changed. Both block, and are called before
the loop runs or in a thread; neither takes longer than PATIENCE_S. Nothing is ever written, and nothing is made that
was not there.

The libraries for S3, GCS and SQL are extras, imported when a registry needs them. Credentials come from where those
libraries find them, or from the URL; `name`, which all messages use, has none in it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.sources.deadline import DeadlineRunner
from yummy_fast.sources.file import FileSource
from yummy_fast.sources.http import HttpSource
from yummy_fast.sources.object_store import ObjectSource
from yummy_fast.sources.source import MAX_BYTES, Source
from yummy_fast.sources.sql import SqlSource

T = TypeVar("T")

PATIENCE_S = 60.0
"""An answer that has not come by then does not come: more than all timeouts below allow, for what has none."""


class BoundedSource:
    """A source whose answer is waited for as long as PATIENCE_S, and is some bytes but not too many."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.look_every_s = source.look_every_s
        self._source = source
        self._patience = DeadlineRunner(PATIENCE_S)

    def stamp(self) -> Hashable:
        return self._ask(self._source.stamp)

    def read(self) -> bytes:
        data = self._ask(self._source.read)
        if not data:  # a valid message, of nothing: a file that is about to be written, or a torn copy
            raise RegistryError(f"{self.name}: the registry is empty")
        if len(data) > MAX_BYTES:
            raise RegistryError.unreadable(self.name, f"longer than {MAX_BYTES} bytes")
        return data

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return self._patience.wait_for(question)
        except TimeoutError as error:
            raise RegistryError.unreadable(self.name, str(error)) from None


def open_source(config: Config) -> Source:
    """The source that `registry:` describes; nothing is read yet. Raises ConfigError."""
    return BoundedSource(_source(config))


def _source(config: Config) -> Source:
    path = config.registry_path
    if config.registry.get("registry_type", "file") == "sql":
        with _extra("sql", f"{config.source}: registry.registry_type: sql"):
            return SqlSource(path, config.project, config.registry.get("sqlalchemy_config_kwargs") or {})
    scheme, separator, _ = path.partition("://")
    if not separator:
        return FileSource(path)
    if scheme in ("http", "https"):
        return HttpSource(path)
    with _extra({"s3": "s3", "gs": "gcs"}[scheme], f"{config.source}: registry: {scheme}://"):
        return ObjectSource(path, config.registry.get("s3_additional_kwargs") or {})


_EXTRAS = {"s3": ("s3fs",), "gcs": ("gcsfs",), "sql": ("sqlalchemy", "psycopg")}
"""What comes with each; drivers of other databases do not."""


@contextmanager
def _extra(extra: str, what: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        remedy = f": pip install 'yummy-fast[{extra}]'" if error.name in _EXTRAS[extra] else ", which is not installed"
        raise ConfigError(f"{what} needs {error.name}{remedy}") from None
