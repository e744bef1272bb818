"""Records the repository of this folder and Feast's answers to the requests of cases.py, with Feast itself.

    python -m tests.conformance.feast_is_wrong.record [--feast-python .venv-feast/bin/python]

Writes feature_store.yaml, registry.db, store.jsonl (a line for each Redis key, in hex) and answers.jsonl (a line for
each request: Feast's status and body) beside this file, and into sqlite/ the same with online_store.db in place of
store.jsonl. Run it from the root, after a change of repository.py or of cases.py, or for another version of Feast.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import redis

from tests.conformance.feast_is_wrong.cases import REQUESTS
from tests.differential.servers import feast_server, valkey

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    feast_python = parser.parse_args().feast_python
    with tempfile.TemporaryDirectory(prefix="feast-is-wrong-") as name:
        folder = Path(name)
        with valkey(folder) as port:
            record(feast_python, folder / "redis", HERE, "--redis-port", str(port))
            with redis.Redis(port=port) as client, (HERE / "store.jsonl").open("w") as lines:
                for key in sorted(client.keys()):
                    fields = sorted(client.hgetall(key).items())
                    row = {"key": key.hex(), "hash": {field.hex(): value.hex() for field, value in fields}}
                    lines.write(json.dumps(row) + "\n")
            yaml = HERE / "feature_store.yaml"
            yaml.write_text(yaml.read_text().replace(f"localhost:{port}", "localhost:6379"))
        record(feast_python, folder / "sqlite", HERE / "sqlite")
        shutil.copyfile(folder / "sqlite" / "online_store.db", HERE / "sqlite" / "online_store.db")


def record(feast_python: str, repository: Path, into: Path, *options: str) -> None:
    """Have Feast make the repository, and answer the requests; write both into a folder."""
    # Feast pickles functions with the name of their file: let it be one without a folder.
    run = "import runpy; runpy.run_path('repository.py', run_name='__main__')"
    utc = {**os.environ, "TZ": "UTC"}  # Feast writes the times of SQLite in local time
    subprocess.run([feast_python, "-c", run, str(repository), *options], check=True, cwd=HERE, env=utc)
    answers = []
    with feast_server(feast_python, repository / "feature_store.yaml") as feast_port:
        for case, query in REQUESTS.items():
            connection = http.client.HTTPConnection("127.0.0.1", feast_port, timeout=30)
            headers = {"content-type": "application/json"}
            connection.request("POST", "/get-online-features", json.dumps(query), headers)
            response = connection.getresponse()
            answers.append({"case": case, "status": response.status, "body": response.read().decode()})
            connection.close()
    into.mkdir(exist_ok=True)
    text = (repository / "feature_store.yaml").read_text()
    (into / "feature_store.yaml").write_text(text.replace(f"{repository}/", ""))
    shutil.copyfile(repository / "registry.db", into / "registry.db")
    (into / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))


if __name__ == "__main__":
    main()
