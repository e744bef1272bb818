"""Object stores to test with: S3 is moto's server, GCS is gcp-storage-emulator. Each is started once.

A test that asks for `bucket` runs once with each, and puts objects into it by the vendor's own library, as Feast does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.harness import GcsEmulator


@dataclass(frozen=True)
class Bucket:
    """A bucket `registries` in an object store."""

    scheme: str
    put: Callable[[str, bytes], object]
    delete: Callable[[str], object]
    environment: Mapping[str, str]
    """What leads clients there."""
    endpoint: str
    """The variable that names the server."""

    def url(self, name: str) -> str:
        return f"{self.scheme}://registries/{name}"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Bucket]:
    """moto's server."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "FEAST_S3_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="registries")
    yield Bucket(
        scheme="s3",
        put=lambda name, data: client.put_object(Bucket="registries", Key=name, Body=data),
        delete=lambda name: client.delete_object(Bucket="registries", Key=name),
        environment=environment,
        endpoint="FEAST_S3_ENDPOINT_URL",
    )
    client.close()
    server.stop()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[Bucket]:
    """The emulator."""
    from google.cloud.storage import Client

    with GcsEmulator() as gcs, pytest.MonkeyPatch.context() as patch:
        for name, value in gcs.environment.items():
            patch.setenv(name, value)
        with contextlib.closing(Client()) as client:
            patch.undo()
            found = client.get_bucket("registries")
            yield Bucket(
                scheme="gs",
                put=lambda name, data: found.blob(name).upload_from_string(data),
                delete=lambda name: found.blob(name).delete(),
                environment=gcs.environment,
                endpoint="STORAGE_EMULATOR_HOST",
            )


@pytest.fixture(params=["s3", "gcs"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket of each object store in turn; the environment points clients at it."""
    made: Bucket = request.getfixturevalue(f"{request.param}_server")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made
