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
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from google.protobuf.message import DecodeError

from yummy_fast import download
from yummy_fast._proto import registry_pb2 as messages
from yummy_fast.config import Config
from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.patience import Patience

if TYPE_CHECKING:
    import sqlalchemy

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
        """The whole registry, never empty. Raises RegistryError naming it."""


class PatientSource:
    """A source whose answer is waited for as long as PATIENCE_S."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.look_every_s = source.look_every_s
        self._source = source
        self._patience = Patience(PATIENCE_S)

    def stamp(self) -> Hashable:
        return self._ask(self._source.stamp)

    def read(self) -> bytes:
        return self._ask(self._source.read)

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return self._patience.wait_for(question)
        except TimeoutError as error:
            raise _unreadable(self.name, str(error)) from None


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


def _unreadable(name: str, reason: str) -> RegistryError:
    return RegistryError(f"{name}: the registry cannot be read: {reason}")


def _whole(name: str, data: bytes) -> bytes:
    """Nothing at all is a valid message, of nothing: a file that is about to be written, or a torn copy."""
    if not data:
        raise RegistryError(f"{name}: the registry is empty")
    if len(data) > MAX_BYTES:
        raise _unreadable(name, f"longer than {MAX_BYTES} bytes")
    return data


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
            raise _unreadable(self.name, download.reason(error)) from None
        return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)

    def read(self) -> bytes:
        try:
            with open(self.name, "rb") as file:
                return _whole(self.name, file.read(MAX_BYTES + 1))
        except OSError as error:
            raise _unreadable(self.name, download.reason(error)) from None


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
        return _whole(self.name, self._get({}, want_body=True))

    def _get(self, headers: Mapping[str, str], *, want_body: bool) -> bytes:
        try:
            reply = download.get(self._url, MAX_BYTES, headers, want_body=want_body)
        except OSError as error:
            raise _unreadable(self.name, download.reason(error)) from None
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
            raise _unreadable(self.name, "there is no such object") from None
        except FSTimeoutError:
            raise _unreadable(self.name, f"no answer within {within_s:g} s") from None
        except Exception as error:  # whatever botocore, aiohttp and google.auth raise
            raise _unreadable(self.name, download.reason(error)) from None

    def stamp(self) -> Hashable:
        found = self._ask("info", _ABOUT_S)
        return tuple(str(found[name]) for name in _STAMPS if name in found)

    def read(self) -> bytes:
        if self._ask("size", _ABOUT_S) > MAX_BYTES:
            raise _unreadable(self.name, f"longer than {MAX_BYTES} bytes")
        return _whole(self.name, self._ask("cat_file", _BODY_S))


# ----------------------------------------------------------------------------------------------------------------- sql


class _Table(NamedTuple):
    """A table of feast/infra/registry/sql.py, and where its rows go in a Registry."""

    name: str
    key: str
    proto: str
    field: str
    message: Any
    required: bool = True
    """False for what Feast had not always: an older database may be without it."""


_TABLES = (
    _Table("entities", "entity_name", "entity_proto", "entities", messages.Entity),
    _Table("feature_views", "feature_view_name", "feature_view_proto", "feature_views", messages.FeatureView),
    _Table(
        *("stream_feature_views", "feature_view_name", "feature_view_proto"),
        *("stream_feature_views", messages.StreamFeatureView),
    ),
    _Table(
        *("on_demand_feature_views", "feature_view_name", "feature_view_proto"),
        *("on_demand_feature_views", messages.OnDemandFeatureView),
    ),
    _Table("label_views", "feature_view_name", "feature_view_proto", "label_views", messages.LabelView, False),
    _Table(
        *("feature_services", "feature_service_name", "feature_service_proto"),
        *("feature_services", messages.FeatureService),
    ),
)
_HISTORY = "feature_view_version_history"
_PROJECTS = "projects"

_FRESH_S = 3
"""Feast's timestamps are whole seconds: a change so recent may be followed by another one under the same timestamp."""

_PATIENCE = {
    # libpq's; a database that is gone without a word must not hold the next look up for ever.
    "postgresql": {
        "connect_timeout": 5,
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    },
    "mysql": {"connect_timeout": 5, "read_timeout": 10},
    "mariadb": {"connect_timeout": 5, "read_timeout": 10},
    "sqlite": {"timeout": 5},
}
"""Arguments of the drivers' `connect`: psycopg and psycopg2, pymysql and mysqlclient, sqlite3."""
_PATIENT_DRIVERS = ("psycopg", "psycopg2", "pymysql", "mysqldb", "pysqlite")


class SqlSource:
    """A registry in a database, `registry_type: sql`: the project's rows, put together to one Registry message.

    All rows are read in one snapshot, so that a `feast apply` that is under way is seen up to some moment; Feast itself
    writes each object in a transaction of its own.
    """

    look_every_s = 5.0

    def __init__(self, url: str, project: str, options: Mapping[str, Any]) -> None:
        """`options` are Feast's sqlalchemy_config_kwargs. Raises ImportError, ConfigError."""
        import sqlalchemy

        self.name = download.without_secrets(url)
        self._project = project
        self._present: tuple[str, ...] | None = None
        """The tables that there are."""
        try:
            parsed = sqlalchemy.make_url(url)
        except sqlalchemy.exc.ArgumentError:
            raise ConfigError(f"{self.name}: registry.path: not a database URL as SQLAlchemy takes it") from None
        self._password = str(parsed.password or "")
        self._dialect = parsed.get_backend_name()
        if self._dialect == "sqlite" and parsed.database and not parsed.database.startswith("file:"):
            database = "file:" + quote(os.path.abspath(parsed.database))  # else it would be made where it is not
            parsed = parsed.set(database=database).update_query_dict({"mode": "ro", "uri": "true"})
        patience: Mapping[str, Any] = {}
        try:
            if parsed.get_driver_name() in _PATIENT_DRIVERS:
                patience = _PATIENCE.get(self._dialect, {})
            connect = {**patience, **options.get("connect_args", {})}
            self._engine = sqlalchemy.create_engine(
                parsed, **{"pool_pre_ping": True, **options, "connect_args": connect}
            )
        except sqlalchemy.exc.NoSuchModuleError:
            raise ConfigError(f"{self.name}: registry.path: SQLAlchemy has no dialect {parsed.drivername}") from None
        except TypeError as error:
            raise ConfigError(f"registry.sqlalchemy_config_kwargs: {download.reason(error)}") from None

    def stamp(self) -> Hashable:
        from sqlalchemy import column, func, literal, select, table, union_all

        with self._snapshot() as connection:
            counts = []
            for name in self._tables(connection):
                time_column = "created_timestamp" if name == _HISTORY else "last_updated_timestamp"
                counted = table(name, column("project_id"), column(time_column))
                counts.append(
                    select(literal(name), func.count(), func.max(counted.c[time_column])).where(
                        counted.c.project_id == self._project
                    )
                )
            rows = sorted(tuple(row) for row in connection.execute(union_all(*counts)))
        newest = max((row[2] or 0 for row in rows), default=0)
        return (*rows, int(time.time()) if abs(time.time() - newest) < _FRESH_S else None)

    def read(self) -> bytes:
        registry = messages.Registry(registry_schema_version="1")
        with self._snapshot() as connection:
            self._present = None  # Feast may have been upgraded since
            present = self._tables(connection)
            newest = 0
            for kind in _TABLES:
                if kind.name not in present:
                    continue
                found = getattr(registry, kind.field)
                for name, project, updated, blob in self._rows(
                    connection, kind.name, kind.key, "project_id", "last_updated_timestamp", kind.proto
                ):
                    message = self._parsed(kind.message, blob, f"{kind.name} {name}")
                    message.spec.project = project  # as Feast does: the blob's own may be blank
                    found.append(message)
                    newest = max(newest, updated)
            if _HISTORY in present:
                columns = ("feature_view_name", "version_number", "feature_view_type", "feature_view_proto")
                for name, number, kind_name, blob in self._rows(connection, _HISTORY, *columns):
                    registry.feature_view_version_history.records.add(
                        feature_view_name=name,
                        project_id=self._project,
                        version_number=number,
                        feature_view_type=kind_name,
                        feature_view_proto=bytes(blob),
                    )
            if _PROJECTS in present:
                for (project,) in self._rows(connection, _PROJECTS, "project_id", of_project=False):
                    registry.projects.add().spec.name = project
        registry.last_updated.seconds = newest
        if newest:  # a database has no version_id: this stands in for it in `check`
            registry.version_id = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest))
        return _whole(self.name, registry.SerializeToString(deterministic=True))

    def _parsed(self, message: Any, blob: Any, what: str) -> Any:
        data = bytes(blob or b"")  # psycopg2 gives a memoryview
        try:
            if data:  # nothing at all is a valid message, of nothing
                return message.FromString(data)
        except DecodeError:
            pass
        raise RegistryError(f"{self.name}: {what}: not a Feast object ({len(data)} bytes)")

    def _rows(
        self, connection: sqlalchemy.Connection, name: str, *columns: str, of_project: bool = True
    ) -> Iterator[Any]:
        from sqlalchemy import column, select, table

        source = table(name, *map(column, columns), *({column("project_id")} if "project_id" not in columns else ()))
        query = select(*(source.c[each] for each in columns)).order_by(*(source.c[each] for each in columns[:2]))
        if of_project:
            query = query.where(source.c.project_id == self._project)
        return iter(connection.execute(query))

    def _tables(self, connection: sqlalchemy.Connection) -> tuple[str, ...]:
        """Those of the registry's tables that there are. Raises RegistryError if it is none of Feast's."""
        if self._present is None:
            import sqlalchemy

            there = set(sqlalchemy.inspect(connection).get_table_names())
            for kind in _TABLES:
                if kind.required and kind.name not in there:
                    raise RegistryError(f"{self.name}: not a Feast registry: there is no table {kind.name}")
            names = (*(kind.name for kind in _TABLES), _HISTORY, _PROJECTS)
            self._present = tuple(name for name in names if name in there)
        return self._present

    @contextmanager
    def _snapshot(self) -> Iterator[sqlalchemy.Connection]:
        """A connection that sees one moment, and cannot write where the database can be told so."""
        import sqlalchemy

        try:
            with self._engine.connect() as connection:
                if self._dialect in ("postgresql", "mysql", "mariadb"):
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")
                if self._dialect == "postgresql":
                    connection = connection.execution_options(postgresql_readonly=True)
                    connection.exec_driver_sql("SET LOCAL statement_timeout = 10000")
                elif self._dialect == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # sqlite3 begins no transaction for a SELECT
                yield connection
                connection.rollback()
        except sqlalchemy.exc.DBAPIError as error:
            self._present = None  # one of them may have gone
            # Of SQLAlchemy's own text, the first line is all: the rest quotes the statement.
            text = download.reason(error.orig if isinstance(error.orig, Exception) else error)
            if self._password:
                text = text.replace(self._password, "***")
            raise _unreadable(self.name, text) from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise _unreadable(self.name, type(error).__name__) from None
        finally:
            if self._dialect == "sqlite":
                self._engine.dispose()  # kept open, it would go on reading a file that another took the place of
