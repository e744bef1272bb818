"""Sources of registries: what was read, and whether it is another one now.

Each against the real thing, where there is one: S3 is moto's server, GCS is gcp-storage-emulator, written to by
Google's own library, as Feast does.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import FileServer, GcsEmulator, free_port, refusal, silent_server, source_of
from yummy_fast.errors import ConfigError, RegistryError
from yummy_fast.sources import download, object_store
from yummy_fast.sources import open_source as sources
from yummy_fast.sources import sql as sql_registry
from yummy_fast.sources.file import FileSource
from yummy_fast.sources.http import HttpSource
from yummy_fast.sources.object_store import ObjectSource
from yummy_fast.sources.source import Source
from yummy_fast.sources.sql import SqlSource

# --------------------------------------------------------------------------------------------------------------- file


def test_a_file_is_read_whole_and_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"\x00\xff" * 100_000)
    source = FileSource(str(path))
    assert source.read() == b"\x00\xff" * 100_000
    assert source.name == str(path)


@pytest.mark.parametrize(("name", "reason"), [("absent.db", "No such file or directory"), (".", "Is a directory")])
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(RegistryError) as caught:
        FileSource(path).read()
    assert str(caught.value) == f"{path}: the registry cannot be read: {reason}"


def test_an_absent_file_has_no_stamp(tmp_path: Path) -> None:
    source = FileSource(str(tmp_path / "absent.db"))
    assert refusal(source, "stamp") == "the registry cannot be read: No such file or directory"


def test_an_empty_file_is_no_registry(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert refusal(FileSource(str(tmp_path / "empty.db"))) == "the registry is empty"


def test_a_registry_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.db").write_bytes(b"12345")
    monkeypatch.setattr(sources, "MAX_REGISTRY_BYTES", 4)
    assert refusal(FileSource(str(tmp_path / "long.db"))) == "the registry cannot be read: longer than 4 bytes"
    with FileServer({"/r.db": b"12345"}) as web:
        assert refusal(HttpSource(f"{web.url}/r.db")) == "the registry cannot be read: longer than 4 bytes"


def test_an_untouched_file_keeps_its_stamp(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"one")
    source = FileSource(str(path))
    first = source.stamp()
    source.read()
    assert source.stamp() == first


def test_the_stamp_tells_a_later_write_of_the_same_size(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"one")
    source = FileSource(str(path))
    first = source.stamp()
    modified = path.stat().st_mtime_ns + 1_000_000_000
    path.write_bytes(b"two")
    os.utime(path, ns=(modified, modified))
    assert source.stamp() != first


def test_the_stamp_tells_another_size_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"one")
    source = FileSource(str(path))
    first, modified = source.stamp(), path.stat().st_mtime_ns
    path.write_bytes(b"three")
    os.utime(path, ns=(modified, modified))
    assert source.stamp() != first


def test_the_stamp_tells_a_file_moved_into_its_place(tmp_path: Path) -> None:
    path, other = tmp_path / "registry.db", tmp_path / "new.db"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    source = FileSource(str(path))
    first, modified = source.stamp(), path.stat().st_mtime_ns
    os.utime(other, ns=(modified, modified))
    other.replace(path)
    assert source.stamp() != first


# ------------------------------------------------------------------------------------------------------------- http(s)


def test_http_is_asked_with_what_it_said_last(tmp_path: Path) -> None:
    with FileServer({"/r.db": b"one"}) as web:
        source = source_of(tmp_path, web.url.replace("://", "://me:secret@") + "/r.db?signature=secret")
        assert source.name == f"{web.url}/r.db"
        first = source.stamp()
        assert first is not None
        assert source.read() == b"one"
        assert source.stamp() == first
        assert web.asked[0].headers["If-None-Match"] is None
        assert web.asked[-1].headers["If-None-Match"] == first[0]  # type: ignore[index]  # its own affair, but for this
        assert {asked.path for asked in web.asked} == {"/r.db?signature=secret"}
        assert {asked.headers["Authorization"] for asked in web.asked} == {"Basic bWU6c2VjcmV0"}
        web.files["/r.db"] = b"two"
        second = source.stamp()
        assert second != first
        assert source.stamp() == second
        assert source.read() == b"two"


def test_http_without_validators_can_only_be_read() -> None:
    with FileServer({"/r.db": b"one"}, validators=False) as web:
        source = HttpSource(f"{web.url}/r.db")
        assert source.stamp() is None
        assert source.read() == b"one"
        assert source.stamp() is None


def test_http_that_goes_wrong_says_how() -> None:
    with FileServer({"/r.db": b"one", "/empty.db": b""}) as web:
        url = web.url.replace("://", "://me:secret@")
        assert refusal(HttpSource(f"{url}/empty.db")) == "the registry is empty"
        for method in ("stamp", "read"):
            assert refusal(HttpSource(f"{url}/absent.db"), method) == "the registry cannot be read: HTTP status 404"
        web.missing = 4
        assert refusal(HttpSource(f"{url}/r.db")) == "the registry cannot be read: cut off after 3 of 7 bytes"
    assert refusal(HttpSource(f"{url}/r.db")) == "the registry cannot be read: Connection refused"
    assert refusal(HttpSource("http://no-such-host.invalid/")).startswith("the registry cannot be read: ")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/a/file@home?x.db", "/a/file@home?x.db"),
        ("https://h:1/a/r.db", "https://h:1/a/r.db"),
        ("https://me:secret@h/r.db?token=secret#secret", "https://h/r.db"),
        ("postgresql://me:se@cr/e?t@h/d", "postgresql://h/d"),
        ("postgresql://me:secret@h/d?password=secret&host=x", "postgresql://h/d"),
        ("postgresql://h/d?user=a@b&password=secret", "postgresql://b"),
        ("s3://bucket/a@b&c", "s3://bucket/a@b&c"),
    ],
)
def test_names_hold_no_secrets(url: str, name: str) -> None:
    assert download.without_secrets(url) == name


# ------------------------------------------------------------------------------------------------------------- s3, gs


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of moto's S3 server, with a bucket `registries`; the environment leads everybody there."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEAST_S3_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="registries")
        yield client
    server.stop()


def test_s3(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket="registries", Key="a/r.db", Body=b"one")
    source = source_of(
        tmp_path, {"path": "s3://registries/a/r.db", "s3_additional_kwargs": {"RequestPayer": "requester"}}
    )
    assert source.name == "s3://registries/a/r.db"
    first = source.stamp()
    assert source.read() == b"one"
    assert source.stamp() == first
    s3.put_object(Bucket="registries", Key="a/r.db", Body=b"two")
    assert source.stamp() != first
    assert source.read() == b"two"


def test_s3_that_goes_wrong_says_how(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put_object(Bucket="registries", Key="empty.db", Body=b"")
    assert refusal(ObjectSource("s3://registries/empty.db", {})) == "the registry is empty"
    for url in ("s3://registries/absent.db", "s3://absent/r.db"):
        for method in ("stamp", "read"):
            assert refusal(ObjectSource(url, {}), method) == "the registry cannot be read: there is no such object"
    monkeypatch.setenv("FEAST_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    message = refusal(ObjectSource("s3://registries/a/r.db", {}))
    assert message.startswith("the registry cannot be read: Could not connect to the endpoint URL")
    assert "\n" not in message


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """The emulator's bucket `registries`, as Google's library has it; the environment leads everybody there."""
    from google.cloud.storage import Client

    with GcsEmulator() as gcs, pytest.MonkeyPatch.context() as patch:
        for name, value in gcs.environment.items():
            patch.setenv(name, value)
        with contextlib.closing(Client()) as client:
            yield client.get_bucket("registries")


def of_gcsfs(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What gcsfs has logged by itself. (google.auth misses the credentials, which an emulator needs not.)"""
    return [record.getMessage() for record in caplog.records if record.name.startswith("gcsfs")]


def test_gcs(bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blob = bucket.blob("a/r.db")
    blob.upload_from_string(b"one")
    source = source_of(tmp_path, "gs://registries/a/r.db")
    assert source.name == "gs://registries/a/r.db"
    seen = [source.stamp()]
    assert source.read() == b"one"
    assert source.stamp() == seen[0]
    blob.upload_from_string(b"two")
    seen.append(source.stamp())
    assert source.read() == b"two"
    blob.upload_from_string(b"two")  # another generation of the same bytes
    seen.append(source.stamp())
    assert len(set(seen)) == 3
    assert not of_gcsfs(caplog)


def test_gcs_that_goes_wrong_says_how(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blob = bucket.blob("r.db")
    blob.upload_from_string(b"")
    assert refusal(ObjectSource("gs://registries/r.db", {})) == "the registry is empty"
    blob.delete()
    for url in ("gs://registries/r.db", "gs://registries/absent.db", "gs://absent/r.db"):
        for method in ("stamp", "read"):
            assert refusal(ObjectSource(url, {}), method) == "the registry cannot be read: there is no such object"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(object_store, "_INFO_TIMEOUT_S", 0.3)  # gcsfs goes on trying
    message = refusal(ObjectSource("gs://registries/a/r.db", {}))
    assert message == "the registry cannot be read: no answer within 0.3 s"
    assert not of_gcsfs(caplog)


def test_a_registry_that_is_no_answer_is_given_up_on(
    s3: Any, bucket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each library's own timeout, or ours around it, ends the wait for a server that says nothing."""
    monkeypatch.setattr(download, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(object_store, "_INFO_TIMEOUT_S", 0.3)
    monkeypatch.setitem(sql_registry._TIMEOUTS["postgresql"], "connect_timeout", 2)  # libpq takes no less
    with silent_server() as port:
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("FEAST_S3_ENDPOINT_URL", url)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        reasons: list[tuple[Source, str]] = [
            (HttpSource(f"{url}/r.db"), "timed out"),
            (ObjectSource("s3://registries/r.db", {}), "no answer within 0.3 s"),
            (ObjectSource("gs://registries/r.db", {}), "no answer within 0.3 s"),
            (
                SqlSource(f"postgresql+psycopg://me:secret@127.0.0.1:{port}/d", "rides", {}),
                "connection timeout expired",
            ),
        ]
        for source, reason in reasons:
            assert refusal(source, "stamp") == f"the registry cannot be read: {reason}"
    assert not of_gcsfs(caplog)


def test_a_registry_that_dawdles_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte of the head now and then: no read takes long. What was given up on is not begun a second time."""
    monkeypatch.setattr(sources, "ANSWER_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        source = source_of(tmp_path, f"http://127.0.0.1:{port}/r.db")
        ended = threading.Event()

        def dawdle(connection: socket.socket) -> None:
            with connection:
                while not ended.wait(0.01):
                    connection.sendall(b"H")

        threads: list[threading.Thread] = []
        for _ in range(2):
            assert refusal(source, "stamp") == "the registry cannot be read: no answer within 0.3 s"
            if not threads:
                threads.append(threading.Thread(target=dawdle, args=(listener.accept()[0],)))
                threads[0].start()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
        ended.set()
        threads[0].join()
        listener.settimeout(20)
        answering = threading.Thread(target=_answer, args=(listener, b"one"))
        answering.start()
        assert source.read() == b"one"
        answering.join()


def _answer(listener: socket.socket, body: bytes) -> None:
    with listener.accept()[0] as connection:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize(
    ("registry", "module", "message"),
    [
        ("s3://b/r.db", "s3fs", "registry: s3:// needs s3fs: pip install 'yummy-fast[s3]'"),
        ("gs://b/r.db", "gcsfs", "registry: gs:// needs gcsfs: pip install 'yummy-fast[gcs]'"),
        (
            {"registry_type": "sql", "path": "postgresql://me:secret@h/d"},
            "sqlalchemy",
            "registry.registry_type: sql needs sqlalchemy: pip install 'yummy-fast[sql]'",
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
