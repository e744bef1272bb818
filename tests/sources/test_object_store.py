"""A registry in S3 or GCS: what was read, and whether it is another one now. Each test with each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import refusal, silent_server, source_of
from tests.ports import free_port
from tests.sources.conftest import Bucket
from yummy_fast.sources import object_store
from yummy_fast.sources.object_store import ObjectSource


def of_gcsfs(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What gcsfs has logged by itself. (google.auth misses the credentials, which an emulator needs not.)"""
    return [record.getMessage() for record in caplog.records if record.name.startswith("gcsfs")]


def test_an_object_is_read_and_its_stamp_tells_another(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put("a/r.db", b"one")
    registry: object = bucket.url("a/r.db")
    if bucket.scheme == "s3":
        registry = {"path": bucket.url("a/r.db"), "s3_additional_kwargs": {"RequestPayer": "requester"}}
    source = source_of(tmp_path, registry)
    assert source.name == bucket.url("a/r.db")
    first = source.stamp()
    assert source.read() == b"one"
    assert source.stamp() == first
    bucket.put("a/r.db", b"two")
    second = source.stamp()
    assert second != first
    assert source.read() == b"two"
    assert source.stamp() == second
    assert not of_gcsfs(caplog)


def test_another_generation_of_the_same_bytes_is_another_object(
    gcs_server: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 tells versions apart where a bucket keeps them."""
    for name, value in gcs_server.environment.items():
        monkeypatch.setenv(name, value)
    gcs_server.put("g/r.db", b"one")
    source = ObjectSource(gcs_server.url("g/r.db"), {})
    first = source.stamp()
    gcs_server.put("g/r.db", b"one")
    assert source.stamp() != first


@pytest.mark.parametrize("name", ["ETag", "etag", "VersionId", "generation", "LastModified", "updated", "size"])
def test_each_fact_about_an_object_that_can_change_is_in_the_stamp(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them may be all that has changed: the same time and size, and another generation."""
    info = dict.fromkeys(("ETag", "etag", "VersionId", "generation", "LastModified", "updated", "size"), 1)
    monkeypatch.setattr(ObjectSource, "_call", lambda self, method, timeout_s: info)
    source = ObjectSource("s3://registries/r.db", {})
    first = source.stamp()
    assert source.stamp() == first
    info[name] = 2
    assert source.stamp() != first


def test_an_object_that_is_not_there(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    bucket.put("empty.db", b"")
    assert refusal(ObjectSource(bucket.url("empty.db"), {})) == "the registry is empty"
    bucket.delete("empty.db")
    for url in (bucket.url("empty.db"), bucket.url("absent.db"), f"{bucket.scheme}://absent/r.db"):
        for method in ("stamp", "read"):
            assert refusal(ObjectSource(url, {}), method) == "the registry cannot be read: there is no such object"
    assert not of_gcsfs(caplog)


def test_a_store_that_is_not_there(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(bucket.endpoint, f"http://127.0.0.1:{free_port()}")
    if bucket.scheme == "gs":
        monkeypatch.setattr(object_store, "_INFO_TIMEOUT_S", 0.3)  # gcsfs goes on trying
    message = refusal(ObjectSource(bucket.url("a/r.db"), {}))
    expected = "Could not connect to the endpoint URL" if bucket.scheme == "s3" else "no answer within 0.3 s"
    assert message.startswith(f"the registry cannot be read: {expected}")
    assert "\n" not in message
    assert not of_gcsfs(caplog)


def test_a_store_that_says_nothing_is_given_up_on(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(object_store, "_INFO_TIMEOUT_S", 0.3)
    with silent_server() as port:
        monkeypatch.setenv(bucket.endpoint, f"http://127.0.0.1:{port}")
        source = ObjectSource(bucket.url("r.db"), {})
        assert refusal(source, "stamp") == "the registry cannot be read: no answer within 0.3 s"
    assert not of_gcsfs(caplog)


def test_an_object_that_is_too_long_is_not_fetched(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("long.db", b"12345")
    asked: list[str] = []
    ask = ObjectSource._call

    def noted(source: ObjectSource, method: str, timeout_s: float) -> object:
        asked.append(method)
        return ask(source, method, timeout_s)

    monkeypatch.setattr(ObjectSource, "_call", noted)
    monkeypatch.setattr(object_store, "MAX_REGISTRY_BYTES", 4)
    source = ObjectSource(bucket.url("long.db"), {})
    assert refusal(source) == "the registry cannot be read: longer than 4 bytes"
    assert asked == ["size"]
    monkeypatch.setattr(object_store, "MAX_REGISTRY_BYTES", 5)
    assert source.read() == b"12345"
