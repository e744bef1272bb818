"""A registry in a database, as Feast's SqlRegistry keeps it: the project's rows, put together as one Registry message.

The tables are those of feast/infra/registry/sql.py (Feast 0.67.0): one for each kind of object, with a row for each
object and a column for the serialised message. The source's stamp has, for each table, the number of the project's rows
and their newest last_updated_timestamp (for versions, created_timestamp); and the time, if that is recent (`_FRESH_S`).

All tables are read in one snapshot. If `feast apply` runs meanwhile, the snapshot may hold only some of its objects,
because Feast writes each object in a transaction of its own. Nothing is written, and no table is created.

This is the only source that has to know what a registry consists of. SQLAlchemy, an extra, is imported only
if a registry is in a database. Drivers of databases get timeouts, if they accept them.
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
    """A table of feast/infra/registry/sql.py, and the repeated field of a Registry that its rows go to."""

    name: str
    key: str
    """The column with the object's name."""
    proto: str
    """The column with the serialised message."""
    field: str
    message: Any
    required: bool = True
    """False for a table that is new in Feast: an older database may not have it."""


_TABLES = (
    _Table(
        name="entities",
        key="entity_name",
        proto="entity_proto",
        field="entities",
        message=messages.Entity,
    ),
    _Table(
        name="feature_views",
        key="feature_view_name",
        proto="feature_view_proto",
        field="feature_views",
        message=messages.FeatureView,
    ),
    _Table(
        name="stream_feature_views",
        key="feature_view_name",
        proto="feature_view_proto",
        field="stream_feature_views",
        message=messages.StreamFeatureView,
    ),
    _Table(
        name="on_demand_feature_views",
        key="feature_view_name",
        proto="feature_view_proto",
        field="on_demand_feature_views",
        message=messages.OnDemandFeatureView,
    ),
    _Table(
        name="label_views",
        key="feature_view_name",
        proto="feature_view_proto",
        field="label_views",
        message=messages.LabelView,
        required=False,
    ),
    _Table(
        name="feature_services",
        key="feature_service_name",
        proto="feature_service_proto",
        field="feature_services",
        message=messages.FeatureService,
    ),
)
_HISTORY = "feature_view_version_history"
_PROJECTS = "projects"

_FRESH_S = 3
"""While the last change is this recent, the stamp changes every second.

Feast's timestamps are whole seconds. Two changes at 12:00:00.2 and 12:00:00.8 have the same one, so a stamp taken
between the two changes would stay the same after the later one.
"""

_TIMEOUTS = {
    # libpq's. Without them, a database whose machine is gone would block a call for many minutes.
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
_DRIVERS_WITH_TIMEOUTS = ("psycopg", "psycopg2", "pymysql", "mysqldb", "pysqlite")
"""The drivers that know these arguments. Other drivers would refuse the arguments."""


class SqlSource:
    """A registry in a database: Feast's `registry_type: sql`."""

    look_every_s = 5.0

    def __init__(self, url: str, project: str, options: Mapping[str, Any]) -> None:
        """`options` are Feast's sqlalchemy_config_kwargs. Raises ImportError, ConfigError."""
        import sqlalchemy

        self.name = download.without_secrets(url)
        self._project = project
        self._present: tuple[str, ...] | None = None
        """The registry's tables that exist; None if they have to be listed again."""
        try:
            parsed = sqlalchemy.make_url(url)
        except sqlalchemy.exc.ArgumentError:
            raise ConfigError(f"{self.name}: registry.path: SQLAlchemy cannot read this database URL") from None
        self._password = str(parsed.password or "")
        self._dialect = parsed.get_backend_name()
        if self._dialect == "sqlite" and parsed.database and not parsed.database.startswith("file:"):
            # As a URI with mode=ro, because SQLite would otherwise create a file that does not exist.
            database = "file:" + quote(os.path.abspath(parsed.database))
            parsed = parsed.set(database=database).update_query_dict({"mode": "ro", "uri": "true"})
        timeouts: Mapping[str, Any] = {}
        try:
            if parsed.get_driver_name() in _DRIVERS_WITH_TIMEOUTS:
                timeouts = _TIMEOUTS.get(self._dialect, {})
            connect_args = {**timeouts, **options.get("connect_args", {})}
            self._engine = sqlalchemy.create_engine(
                parsed, **{"pool_pre_ping": True, **options, "connect_args": connect_args}
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
            for each in _TABLES:
                if each.name not in present:
                    continue
                field = getattr(registry, each.field)
                for name, project, updated, blob in self._rows(
                    connection, each.name, each.key, "project_id", "last_updated_timestamp", each.proto
                ):
                    message = self._parsed(each.message, blob, f"{each.name} {name}")
                    message.spec.project = project  # as Feast does: the project in the blob may be empty
                    field.append(message)
                    newest = max(newest, updated)
            if _HISTORY in present:
                columns = ("feature_view_name", "version_number", "feature_view_type", "feature_view_proto")
                for name, number, view_type, blob in self._rows(connection, _HISTORY, *columns):
                    registry.feature_view_version_history.records.add(
                        feature_view_name=name,
                        project_id=self._project,
                        version_number=number,
                        feature_view_type=view_type,
                        feature_view_proto=bytes(blob or b""),
                    )
            if _PROJECTS in present:
                for (project,) in self._rows(connection, _PROJECTS, "project_id", of_project=False):
                    registry.projects.add().spec.name = project
            registry.last_updated.seconds = newest
            if newest:  # `check` prints a version_id; a database has none, but it has the time of the last change
                registry.version_id = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest))
        return registry.SerializeToString(deterministic=True)

    def _parsed(self, message: Any, blob: Any, what: str) -> Any:
        data = bytes(blob or b"")  # psycopg2 gives a memoryview
        try:
            if data:  # empty bytes would parse as a message without fields
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
        """The registry's tables that exist. Raises RegistryError if the database holds no Feast registry."""
        if self._present is None:
            import sqlalchemy

            existing = set(sqlalchemy.inspect(connection).get_table_names())
            for each in _TABLES:
                if each.required and each.name not in existing:
                    raise RegistryError(f"{self.name}: not a Feast registry: there is no table {each.name}")
            names = (*(each.name for each in _TABLES), _HISTORY, _PROJECTS)
            self._present = tuple(name for name in names if name in existing)
        return self._present

    @contextmanager
    def _snapshot(self) -> Iterator[sqlalchemy.Connection]:
        """For the dialects below, a connection that sees the database at one moment. For PostgreSQL it cannot write."""
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
            self._present = None  # a table may have been dropped
            # Only the first line of SQLAlchemy's text, because the others quote the statement.
            text = download.reason(error.orig if isinstance(error.orig, Exception) else error)
            if self._password:
                text = text.replace(self._password, "***")
            raise RegistryError.unreadable(self.name, text) from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise RegistryError.unreadable(self.name, type(error).__name__) from None
        except (TypeError, ValueError, OverflowError, OSError) as error:  # such as text for a number, or year 1e18
            raise RegistryError.unreadable(
                self.name, f"a row holds a value that Feast never writes ({type(error).__name__})"
            ) from None
        finally:
            if self._dialect == "sqlite":
                self._engine.dispose()  # an open connection would read the old file after it was replaced
