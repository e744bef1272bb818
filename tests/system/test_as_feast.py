"""The image's other name: what Feast's Helm chart and operator run, run by a symlink that is called `feast`.

`--metrics`, which both may add, opens port 8000 as in Feast, so tests/test_cli.py has it.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.harness import Client, Process, Valkey, inherited_environment, repository

BODY = {"features": ["driver_stats:trips"], "entities": {"driver_id": [1001]}}


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        server.load("redis")
        yield server


@pytest.fixture
def feast(tmp_path: Path) -> Path:
    """As the image has it: a link to the script that pip makes of the entry point."""
    script = tmp_path / "yummy-fast"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom yummy_fast.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    (tmp_path / "feast").symlink_to("yummy-fast")
    return tmp_path / "feast"


def base64_yaml(tmp_path: Path, valkey: Valkey) -> dict[str, str]:
    """FEATURE_STORE_YAML_BASE64, by which Feast's chart gives a server its configuration."""
    folder = repository(tmp_path / "elsewhere", "redis", f"127.0.0.1:{valkey.port}")
    text = (folder / "feature_store.yaml").read_text().replace("registry.db", str(folder / "registry.db"))
    return {
        "FEATURE_STORE_YAML_BASE64": base64.b64encode(text.encode()).decode(),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


@pytest.mark.parametrize(
    "line",
    [
        "--log-level INFO serve -h 0.0.0.0",
        "--log-level INFO serve -h 0.0.0.0 --workers 2 --worker-connections 1000 --max-requests 1000 "
        "--max-requests-jitter 50 --keep-alive-timeout 30 --registry_ttl_sec 60",
        "serve -h 0.0.0.0 --no-access-log -r 5 -t http",
    ],
)
def test_the_command_lines_of_the_chart_and_the_operator(
    line: str, feast: Path, valkey: Valkey, tmp_path: Path
) -> None:
    with Process([feast, *line.split(), "-p", "0"], base64_yaml(tmp_path, valkey)) as process:
        port = int(process.wait_for(r"serving .* on http://0\.0\.0\.0:(\d+)")[1])
        with Client(port) as client:
            assert client.ask("/get-online-features", BODY).columns["trips"]
            assert client.ask("/health").status == 200
        assert process.stop() == 0


def test_the_operators_line_with_tls(feast: Path, valkey: Valkey, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    trusts = ssl.create_default_context()
    authority.configure_trust(trusts)
    line: list[str | Path] = [
        "serve",
        "-h",
        "0.0.0.0",
        "--key",
        tmp_path / "tls.key",
        "--cert",
        tmp_path / "tls.crt",
        "-p",
        "0",
    ]
    with Process([feast, "--log-level", "INFO", *line], base64_yaml(tmp_path, valkey)) as process:
        port = int(process.wait_for(r"serving .* on https://0\.0\.0\.0:(\d+)")[1])
        with Client(port, trusts, host="localhost") as client:
            assert client.ask("/get-online-features", BODY).status == 200


@pytest.mark.parametrize(
    "line", ["apply", "-c repo materialize 2026-01-01 2026-01-02", "--log-level INFO serve_registry", "init x", "ui"]
)
def test_the_other_commands_are_feasts(line: str, feast: Path) -> None:
    done = subprocess.run(
        [os.fspath(feast), *line.split()],
        env={**inherited_environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "feastdev/feature-server" in done.stderr
