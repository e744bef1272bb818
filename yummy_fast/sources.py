"""Where registry bytes come from: a local file, http(s), S3, GCS, or the tables of Feast's SQL registry.

A source is read whole; what the bytes mean is `registry`'s business. `stamp` is the cheap question whether reading
would give something else: it is asked every few seconds, `read` only when it changed. Both block, and are called before
the loop runs or in a thread; neither takes longer than PATIENCE_S. Nothing is ever written, and nothing is made that
was not there.

The libraries for S3, GCS and SQL are extras, imported when a registry needs them. Credentials come from where those
libraries find them, or from the URL; `name`, which all messages use, has none in it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from yummy_fast import download
from yummy_fast.config import Config
from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.patience import Patience
from yummy_fast.sql_registry import SqlSource

T = TypeVar("T")

MAX_BYTES = 256 << 20
"""A longer registry is refused: 2,000 views of 50 features take 5 MB."""
PATIENCE_S = 60.0
"""An answer that has not come by then does not come: more than all timeouts below allow, for what has none."""


class Source(Protocol):
    """One registry, somewhere."""

    name: str
    """Where, for messages. No secrets in it."""
    look_every_s: float
    """How often to ask for the stamp: what a look costs there decides."""

    def stamp(self) -> Hashable:
        """What changes when the registry does; None where only reading tells. Raises RegistryError naming it."""

    def read(self) -> bytes:
        """The whole registry. Raises RegistryError naming it."""


class PatientSource:
    """A source whose answer is waited for as long as PATIENCE_S, and is some bytes but not too many."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.look_every_s = source.look_every_s
        self._source = source
        self._patience = Patience(PATIENCE_S)

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
    return PatientSource(_source(config))


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


# --------------------------------------------------------------------------------------------------------------- file


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


# ------------------------------------------------------------------------------------------------------------- http(s)


class HttpSource:
    """A registry behind a URL. A look is a conditional GET: HEAD is refused where a URL was signed for GET."""

    look_every_s = 5.0

    def __init__(self, url: str) -> None:
        self.name = download.without_secrets(url)
        self._url = url
        self._validators: tuple[str, str] | None = None
        """ETag and Last-Modified, as they were seen last."""

    def stamp(self) -> Hashable:
        etag, modified = self._validators or ("", "")
        asked = {"If-None-Match": etag, "If-Modified-Since": modified}
        self._get({name: value for name, value in asked.items() if value}, want_body=False)
        return self._validators

    def read(self) -> bytes:
        return self._get({}, want_body=True)

    def _get(self, headers: Mapping[str, str], *, want_body: bool) -> bytes:
        try:
            reply = download.get(self._url, MAX_BYTES, headers, want_body=want_body)
        except OSError as error:
            raise RegistryError.unreadable(self.name, download.reason(error)) from None
        if reply.status == 200:
            etag, modified = reply.headers.get("ETag", ""), reply.headers.get("Last-Modified", "")
            self._validators = (etag, modified) if etag or modified else None
        return reply.body


# ------------------------------------------------------------------------------------------------------------ s3, gs

_STAMPS = ("ETag", "etag", "VersionId", "generation", "LastModified", "updated", "size")
"""What s3fs and gcsfs tell of an object that is another one when it changes."""
_ABOUT_S, _BODY_S = 15.0, 40.0
"""For what is asked about an object, and for its bytes, with all retries: these alone would take minutes."""


class ObjectSource:
    """A registry in S3 (s3fs) or GCS (gcsfs). Endpoints and credentials: as boto3 and Google's libraries find them."""

    look_every_s = 5.0

    def __init__(self, url: str, s3_additional_kwargs: Mapping[str, str]) -> None:
        """Raises ImportError."""
        self.name = url
        options: dict[str, Any] = {}
        if url.startswith("s3://"):
            from s3fs import S3FileSystem as FileSystem

            options = {
                # Feast's own variable; botocore knows AWS_ENDPOINT_URL and the rest by itself.
                "endpoint_url": os.environ.get("FEAST_S3_ENDPOINT_URL"),
                "s3_additional_kwargs": dict(s3_additional_kwargs),
                "config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 2}},
            }
        else:
            # Else gcsfs asks by gRPC, each time, what kind of bucket it is, and needs a permission for that.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            from gcsfs import GCSFileSystem as FileSystem

            logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises as well
        self._connect: Callable[[], Any] = lambda: FileSystem(
            skip_instance_cache=True, use_listings_cache=False, **options
        )
        self._fs: Any = None  # gcsfs asks for credentials when it is made: too early for a message of one line

    def _ask(self, method: str, within_s: float) -> Any:
        from fsspec.asyn import sync
        from fsspec.exceptions import FSTimeoutError

        try:
            if self._fs is None:
                self._fs = self._connect()
            # With an underscore, methods are coroutines: those can be told to stop.
            return sync(self._fs.loop, getattr(self._fs, f"_{method}"), self.name, timeout=within_s)
        except FileNotFoundError:
            raise RegistryError.unreadable(self.name, "there is no such object") from None
        except FSTimeoutError:
            raise RegistryError.unreadable(self.name, f"no answer within {within_s:g} s") from None
        except Exception as error:  # whatever botocore, aiohttp and google.auth raise
            raise RegistryError.unreadable(self.name, download.reason(error)) from None

    def stamp(self) -> Hashable:
        found = self._ask("info", _ABOUT_S)
        return tuple(str(found[name]) for name in _STAMPS if name in found)

    def read(self) -> bytes:
        if self._ask("size", _ABOUT_S) > MAX_BYTES:
            raise RegistryError.unreadable(self.name, f"longer than {MAX_BYTES} bytes")
        data: bytes = self._ask("cat_file", _BODY_S)
        return data
