"""Serves from registries that Feast itself wrote to SQLite, PostgreSQL, S3, GCS; each must give the corpus's answers.

    python tests/registries_sql/run.py [--feast-python .venv-feast/bin/python] [--only sqlite,postgresql,s3,gs]

Per registry: Feast applies the corpus's objects there, one by one; `yummy-fast serve` reads them; every recorded case
of the corpus is asked (tests/conformance); then Feast applies one more service, which must be served without a signal.
PostgreSQL is a cluster of its own, made in a temporary folder and thrown away (Debian: postgresql; it refuses to run as
root, so root becomes `nobody` for it). S3 is moto's server, GCS is gcp-storage-emulator. Feast's venv needs boto3,
google-cloud-storage and psycopg besides feast[redis].
The last line is 'N passed, M failed', the exit code 1 if any failed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this is run as a script

from tests.differential.servers import running  # noqa: E402
from tests.harness import CORPUS, GcsEmulator, Server, Valkey, eventually, repository  # noqa: E402
from tests.ports import free_port  # noqa: E402

replay: Any = importlib.import_module("tests.conformance.replay")

NEW_SERVICE = {"feature_service": "svc_new", "entities": {"driver_id": [1002]}}
SECRET = "secret"


@contextmanager
def sqlite(folder: Path) -> Iterator[dict[str, str]]:
    """A database that Feast makes."""
    yield {"registry_type": "sql", "path": f"sqlite:///{folder}/registry.sqlite"}


@contextmanager
def postgresql(folder: Path) -> Iterator[dict[str, str]]:
    """A throwaway cluster on a free port."""
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if found is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    programs = Path(found).resolve().parent
    home, password = folder / "cluster", folder / "password"
    home.mkdir()
    password.write_text(SECRET)
    become: list[str] = []
    if os.getuid() == 0:
        for path in (folder.parent, folder):
            path.chmod(0o755)  # mkdtemp lets nobody else in
        for path in (home, password):
            shutil.chown(path, "nobody", "nogroup")
        become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    options = ["--username=feast", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"]
    subprocess.run(
        [*become, str(programs / "initdb"), "-D", str(home), *options], check=True, stdout=subprocess.DEVNULL
    )
    port = free_port()
    command = [
        *become,
        str(programs / "postgres"),
        "-D",
        str(home),
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "-k",
        str(home),
    ]
    with running("postgres", [*command, "-F"], port, folder):
        url = f"postgresql://feast:{SECRET}@127.0.0.1:{port}/postgres"
        eventually(lambda: _connects(url), "PostgreSQL")
        yield {"registry_type": "sql", "path": url}


def _connects(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError as error:  # it listens before it serves
        raise OSError(str(error)) from None
    return True


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """A bucket of moto's. Feast and we find it by the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "FEAST_S3_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="registries")
        yield {"path": "s3://registries/corpus/registry.db"}
    finally:
        server.stop()


@contextmanager
def gs(folder: Path) -> Iterator[dict[str, str]]:
    """A bucket of an emulator's. Feast and we find it by the environment."""
    with GcsEmulator() as gcs:
        os.environ |= gcs.environment
        yield {"path": "gs://registries/corpus/registry.db"}


KINDS: dict[str, Callable[[Path], AbstractContextManager[dict[str, str]]]] = {
    "sqlite": sqlite,
    "postgresql": postgresql,
    "s3": s3,
    "gs": gs,
}


def check(kind: str, folder: Path, feast_python: str, valkey: Valkey) -> tuple[int, int]:
    """Passed and failed."""

    def feast(*arguments: str | Path) -> None:
        command = [feast_python, "-W", "ignore", Path(__file__).with_name("feast_writes.py"), folder, *arguments]
        subprocess.run(command, check=True, timeout=120)

    with KINDS[kind](folder) as registry:
        repository(folder, "redis", f"127.0.0.1:{valkey.port}")
        (folder / "registry.db").unlink()
        path = folder / "feature_store.yaml"
        path.write_text(path.read_text().replace("registry: registry.db", f"registry: {json.dumps(registry)}"))
        feast(CORPUS / "redis" / "registry.db")
        endpoint = {name: os.environ[name] for name in os.environ if name.startswith(("FEAST_S3", "AWS_"))}
        with Server(folder, environment=endpoint) as server:
            failures = [failure for case in _cases() if (failure := _ask(server, case)) is not None]
            feast("--copy-service", "svc_subset", "svc_new")
            server.wait_for("registry reloaded")
            answer = server.ask("/get-online-features", NEW_SERVICE)
            if answer.status != 200:
                failures.append(f"after the reload: {answer}")
            if SECRET in server.log:
                failures.append("there is a password in the log")
    for failure in failures:
        print(f"{kind}: {failure}")
    return len(_cases()) + 2 - len(failures), len(failures)


def _cases() -> list[dict[str, Any]]:
    with open(CORPUS / "cases.jsonl", encoding="utf-8") as lines:
        return [case for case in map(json.loads, lines) if case["store"] == "redis"]


def _ask(server: Server, case: dict[str, Any]) -> str | None:
    asked = case["request"]
    head = [f"{asked['method']} {asked['path']} HTTP/1.1", "host: localhost"]
    head += [f"{header}: {value}" for header, value in asked["headers"].items()]
    body = (asked["body"] or "").encode()
    if asked["body"] is not None:
        head.append(f"content-length: {len(body)}")
    with server.client() as client:
        client.send("\r\n".join([*head, "", ""]).encode() + body)
        answer = client.answer(asked["method"])
    found = replay.difference(case, answer.status, answer.headers.get("content-type", ""), answer.body.decode())
    return None if found is None else f"{case['id']}: {found}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    parser.add_argument("--only", default=",".join(KINDS), help="(default: %(default)s)")
    arguments = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="registries-") as temporary, Valkey() as valkey:
        valkey.load("redis")
        for kind in arguments.only.split(","):
            folder = Path(temporary) / kind
            folder.mkdir()
            good, bad = check(kind, folder, arguments.feast_python, valkey)
            print(f"{kind}: {good} passed, {bad} failed", flush=True)
            passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
