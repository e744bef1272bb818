"""A registry elsewhere than in a file breaks: at the start it is one line, later it changes nothing.

Every kind of source with everything that can be wrong in it, by a server of its own: the message is the whole of what
an operator gets, so all of it is compared. S3 is moto's server, GCS an emulator, SQL a SQLite database with the columns
of Feast's that are read; PostgreSQL is in tests/registries_sql, a file in test_reload.py.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests import registries
from tests.harness import FileServer, GcsEmulator, Server, Valkey, command_line
from yummy_fast.cli.main import main
from yummy_fast.feast_format.values import ValueType
from yummy_fast.sources.sql import _TABLES

SERVICE = "svc"
DRIVER = registries.entity("driver", "driver_id")


def view_of(version: int) -> Any:
    return registries.view("stats", ["driver"], {"driver_id": ValueType.INT64}, {f"n_{version}": ValueType.INT64})


def registry(version: int) -> bytes:
    view = view_of(version)
    return registries.serialised([DRIVER, view, registries.service(SERVICE, registries.projection(view))], str(version))


def version_of(server: Server) -> int:
    """Which version answers."""
    answer = server.ask("/get-online-features", {"feature_service": SERVICE, "entities": {"driver_id": [1]}})
    assert answer.status == 200, answer
    return int(answer.json["metadata"]["feature_names"][1].removeprefix("n_"))


class Place(Protocol):
    """Where a registry lies."""

    setting: object
    """What `registry:` says."""
    name: str
    """How messages call it."""
    environment: Mapping[str, str]

    def put(self, version: int) -> None:
        """The registry of this version, whole."""

    def spoil(self, how: str) -> str:
        """Make it "broken", "truncated", "empty" or "missing"; what is said of it."""


class BlobPlace:
    """Whatever keeps the registry as one sequence of bytes, or None."""

    environment: Mapping[str, str]

    def __init__(self, name: str, write: Callable[[bytes | None], None], missing: str) -> None:
        self.setting: object = name
        self.name = name
        self.environment = {}
        self._write = write
        self._missing = missing

    def put(self, version: int) -> None:
        self._write(registry(version))

    def spoil(self, how: str) -> str:
        data, said = {
            "broken": (b"\xff\xff\xff no registry", "not a Feast registry (15 bytes that do not parse)"),
            "truncated": (registry(0)[:-1], f"not a Feast registry ({len(registry(0)) - 1} bytes that do not parse)"),
            "empty": (b"", "the registry is empty"),
            "missing": (None, f"the registry cannot be read: {self._missing}"),
        }[how]
        self._write(data)
        return said


class SqlPlace:
    """Rows, of which one goes bad, or whose table goes."""

    environment: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.name = f"sqlite:///{path}"
        self.setting: object = {"registry_type": "sql", "path": self.name}
        self._path = path

    def _do(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as connection, connection:
            for statement, values in statements:
                connection.execute(statement, values)

    def put(self, version: int) -> None:
        view = view_of(version)
        rows = {
            "entities": ("driver", DRIVER),
            "feature_views": ("stats", view),
            "feature_services": (SERVICE, registries.service(SERVICE, registries.projection(view))),
        }
        for table in _TABLES:
            self._do(
                (f"DROP TABLE IF EXISTS {table.name}", ()),
                (
                    f"CREATE TABLE {table.name} ({table.key} TEXT, project_id TEXT, last_updated_timestamp BIGINT, "
                    f"{table.proto} BLOB)",
                    (),
                ),
            )
            if table.name in rows:
                name, message = rows[table.name]
                blob = message.SerializeToString()
                self._do((f"INSERT INTO {table.name} VALUES (?, ?, 1, ?)", (name, registries.PROJECT, blob)))

    def spoil(self, how: str) -> str:
        if how == "missing":
            self._do(("DROP TABLE feature_views", ()))
            return "not a Feast registry: there is no table feature_views"
        whole = view_of(0).SerializeToString()
        blob = {"broken": b"\xff\xff\xff no registry", "truncated": whole[:-1], "empty": b""}[how]
        self._do(("UPDATE feature_views SET feature_view_proto = ?", (blob,)))
        return f"feature_views stats: not a Feast object ({len(blob)} bytes)"


@contextlib.contextmanager
def in_web(folder: Path) -> Iterator[Place]:
    with FileServer({}) as web:

        def write(data: bytes | None) -> None:
            web.files.pop("/r.db", None)
            if data is not None:
                web.files["/r.db"] = data

        place = BlobPlace(f"{web.url}/r.db", write, "HTTP status 404")
        place.setting = place.name.replace("://", "://me:secret@") + "?token=secret"
        yield place


@contextlib.contextmanager
def in_s3(folder: Path) -> Iterator[Place]:
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    keys: dict[str, Any] = {"aws_access_key_id": "testing", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
    client.create_bucket(Bucket="registries")

    def write(data: bytes | None) -> None:
        if data is None:
            client.delete_object(Bucket="registries", Key="r.db")
        else:
            client.put_object(Bucket="registries", Key="r.db", Body=data)

    place = BlobPlace("s3://registries/r.db", write, "there is no such object")
    place.environment = {
        "FEAST_S3_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        **{name.upper(): value for name, value in keys.items()},
    }
    try:
        yield place
    finally:
        client.close()
        moto.stop()


@contextlib.contextmanager
def in_gcs(folder: Path) -> Iterator[Place]:
    from google.cloud.storage import Client

    with GcsEmulator() as gcs, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", gcs.environment["STORAGE_EMULATOR_HOST"])
        with contextlib.closing(Client()) as client:
            bucket = client.get_bucket("registries")

            def write(data: bytes | None) -> None:
                if data is None:
                    bucket.delete_blob("r.db")
                else:
                    bucket.blob("r.db").upload_from_string(data)

            place = BlobPlace("gs://registries/r.db", write, "there is no such object")
            place.environment = gcs.environment
            yield place


@contextlib.contextmanager
def in_sql(folder: Path) -> Iterator[Place]:
    yield SqlPlace(folder / "registry.sqlite")


KINDS = {"http": in_web, "s3": in_s3, "gs": in_gcs, "sql": in_sql}


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with KINDS[request.param](tmp_path_factory.mktemp(request.param)) as place:
        yield place


@pytest.fixture
def folder(place: Place, tmp_path: Path, valkey: Valkey) -> Path:
    """A repository whose registry lies there, in version 1."""
    config = {
        "project": registries.PROJECT,
        "registry": place.setting,
        "online_store": {"type": "redis", "connection_string": f"127.0.0.1:{valkey.port}"},
    }
    (tmp_path / "feature_store.yaml").write_text(json.dumps(config))
    place.put(1)
    return tmp_path


WRONG = ("broken", "truncated", "empty", "missing")


@pytest.mark.parametrize("how", WRONG)
def test_at_the_start_it_is_one_line(
    place: Place, folder: Path, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"yummy-fast: {place.name}: {place.spoil(how)}\n"
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["check", "--chdir", str(folder)])
    assert (ended.value.code, *capsys.readouterr()) == (2, "", said)
    if how == "missing":  # a process takes a second or two; it reads as `check` does
        code, out, err = command_line("--chdir", folder, "serve", "-p", "0", environment=place.environment)
        assert (code, out, err[-len(said) :]) == (2, "", said)
        assert "Traceback" not in err


def test_later_it_changes_nothing_and_is_said(place: Place, folder: Path) -> None:
    """One server through all of it; between, the registry of another version is served, be it newer or older."""
    with Server(folder, "-r", "1", environment=place.environment) as server:
        before = version_of(server)
        for how, after in zip(WRONG, (3, 2, 5, 4), strict=True):
            mark = len(server.lines)
            said = place.spoil(how)
            server.send_signal(signal.SIGHUP)
            if isinstance(place, SqlPlace) and how == "missing":
                said = "the registry cannot be read: no such table: feature_views"  # it knew that there was one
            line = server.wait_for(r"ERROR .*", after=mark)[0]
            assert line == f"ERROR registry not reloaded, the previous one stays in use: {place.name}: {said}"
            assert version_of(server) == before
            mark = len(server.lines)
            place.put(after)
            server.send_signal(signal.SIGHUP)
            server.wait_for("INFO registry reloaded: project rides, 1 feature views, 1 feature services", after=mark)
            assert version_of(server) == after
            before = after
        mark = len(server.lines)
        place.put(1)  # and without a signal
        server.wait_for("INFO registry reloaded", after=mark)
        assert version_of(server) == 1
        assert "secret" not in server.log
