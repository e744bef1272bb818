"""Which source a configuration names, and what bounds them all: bytes that are some and not too many, in time."""

from __future__ import annotations

import builtins
import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.harness import FileServer, eventually, refusal, source_of
from yummy_fast.errors import ConfigError, RegistryError, how_to_install
from yummy_fast.sources import open_source as module
from yummy_fast.sources.file import FileSource
from yummy_fast.sources.http import HttpSource
from yummy_fast.sources.object_store import ObjectSource
from yummy_fast.sources.open_source import BoundedSource
from yummy_fast.sources.sql import SqlSource


@pytest.mark.parametrize(
    ("registry", "kind", "name", "look_every_s"),
    [
        ("/data/r.db", FileSource, "/data/r.db", 1.0),
        ({"path": "/data/r.db", "registry_type": "file"}, FileSource, "/data/r.db", 1.0),
        ("http://h/r.db", HttpSource, "http://h/r.db", 5.0),
        ("https://me:secret@h/r.db?token=secret", HttpSource, "https://h/r.db", 5.0),
        ("s3://b/r.db", ObjectSource, "s3://b/r.db", 5.0),
        ("gs://b/r.db", ObjectSource, "gs://b/r.db", 5.0),
        ({"registry_type": "sql", "path": "sqlite:////r.sqlite"}, SqlSource, "sqlite:////r.sqlite", 5.0),
    ],
)
def test_the_source_of_a_registry(tmp_path: Path, registry: object, kind: type, name: str, look_every_s: float) -> None:
    source = source_of(tmp_path, registry)
    assert isinstance(source, BoundedSource)
    assert isinstance(source._source, kind)
    assert (source.name, source.look_every_s) == (name, look_every_s)


def test_an_empty_file_is_no_registry(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert refusal(FileSource(str(tmp_path / "empty.db"))) == "the registry is empty"


def test_a_registry_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.db").write_bytes(b"12345")
    source = FileSource(str(tmp_path / "long.db"))
    monkeypatch.setattr(module, "MAX_REGISTRY_BYTES", 4)
    assert refusal(source) == "the registry cannot be read: longer than 4 bytes"
    with FileServer({"/r.db": b"12345"}) as web:
        assert refusal(HttpSource(f"{web.url}/r.db")) == "the registry cannot be read: longer than 4 bytes"
    monkeypatch.setattr(module, "MAX_REGISTRY_BYTES", 5)
    assert BoundedSource(source).read() == b"12345"


def test_a_registry_that_dawdles_is_given_up_on_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte of the head now and then: no read takes long. The server is well again, but for this connection."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = source_of(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/r.db")
        ended = threading.Event()

        def dawdle(connection: socket.socket) -> None:
            with connection:
                while not ended.wait(0.01):
                    connection.sendall(b"H")

        assert refusal(source, "stamp") == "the registry cannot be read: no answer within 0.3 s"
        dawdling = threading.Thread(target=dawdle, args=(listener.accept()[0],), daemon=True)
        dawdling.start()
        answering = threading.Thread(target=_answer, args=(listener, b"one"), daemon=True)
        answering.start()
        # On a busy machine a good answer may take longer than patience lasts as well: then it is asked for again.
        assert eventually(source.read, "the registry", RegistryError) == b"one"
        ended.set()
        dawdling.join()
        listener.shutdown(socket.SHUT_RDWR)
        answering.join()


def _answer(listener: socket.socket, body: bytes) -> None:
    """Answer every connection with this body, until the listener is shut down."""
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize(
    ("registry", "module", "message"),
    [
        (
            "s3://b/r.db",
            "s3fs",
            f"registry: s3:// needs s3fs: {how_to_install('s3')}",
        ),
        (
            "gs://b/r.db",
            "gcsfs",
            f"registry: gs:// needs gcsfs: {how_to_install('gcs')}",
        ),
        (
            {"registry_type": "sql", "path": "postgresql://me:secret@h/d"},
            "sqlalchemy",
            f"registry.registry_type: sql needs sqlalchemy: {how_to_install('sql')}",
        ),
        (
            {"registry_type": "sql", "path": "mysql+pymysql://me:secret@h/d"},
            "pymysql",
            "registry.registry_type: sql needs pymysql, which is not installed",
        ),
    ],
)
def test_an_extra_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: object, module: str, message: str
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        relative = arguments[3:] and arguments[3]
        if name.partition(".")[0] == module and not relative:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError) as caught:
        source_of(tmp_path, registry)
    assert str(caught.value) == f"{tmp_path}/feature_store.yaml: {message}"


def test_an_extra_that_does_not_fit_is_not_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def broken(name: str, *arguments: Any, **named: Any) -> Any:
        relative = arguments[3:] and arguments[3]
        if name.partition(".")[0] == "s3fs" and not relative:
            raise ImportError("cannot import name 'spec' from 'fsspec'", name="fsspec")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(
        ConfigError, match=r"s3://: a library cannot be imported: cannot import name 'spec' from 'fsspec'$"
    ):
        source_of(tmp_path, "s3://b/r.db")
