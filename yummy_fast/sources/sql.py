"""A registry in a database, as Feast's SqlRegistry keeps it: the project's rows, put together to one Registry message.

The tables are those of feast/infra/registry/sql.py (Feast 0.67.0). Nothing is written, and no table is made. What is
read is one moment, so that a `feast apply` that is under way is seen up to some point; Feast itself writes each object
in a transaction of its own.

It is a source among those of `sources`, and the only one that has to know what a registry consists of. SQLAlchemy is
imported when there is one; databases are told to be quick where their drivers can be.
"""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from google.protobuf.message import DecodeError

from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.sources import download

if TYPE_CHECKING:
    import sqlalchemy


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

_TIMEOUTS = {
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
    """A `sources.Source`: Feast's `registry_type: sql`."""

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
                patience = _TIMEOUTS.get(self._dialect, {})
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
                        feature_view_proto=bytes(blob or b""),
                    )
            if _PROJECTS in present:
                for (project,) in self._rows(connection, _PROJECTS, "project_id", of_project=False):
                    registry.projects.add().spec.name = project
        registry.last_updated.seconds = newest
        if newest:  # a database has no version_id: this stands in for it in `check`
            registry.version_id = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest))
        return registry.SerializeToString(deterministic=True)

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
            raise RegistryError.unreadable(self.name, text) from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise RegistryError.unreadable(self.name, type(error).__name__) from None
        finally:
            if self._dialect == "sqlite":
                self._engine.dispose()  # kept open, it would go on reading a file that another took the place of
