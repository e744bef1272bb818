"""Data for deploy/compose.yaml, and clients that ask for it. It needs nothing but the image of yummy-fast.

    data.py write FOLDER HOST:PORT     writes feature_store.yaml and registry.db, then rows every five seconds
    data.py ask HOST:PORT              asks for features ten times a second, and prints what is not answered with 200

The registry and the rows are what `feast apply` and `feast materialize` would have written. Real data is written by
Feast; this stands in for it, so that the dashboard has something to show.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import sys
import time
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from yummy_fast.feast_format._proto.registry_pb2 import Registry
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.values import ValueType
from yummy_fast.stores.resp import render_command

PROJECT = "compose"
VIEWS = {"trips": ("today", "per_week"), "ratings": ("stars", "count")}
DRIVERS = range(1001, 1011)


def registry() -> bytes:
    """One entity, two feature views, and a feature service of both."""
    message = Registry(registry_schema_version="1", version_id="compose")
    message.projects.add().spec.name = PROJECT
    entity = message.entities.add().spec
    entity.name, entity.join_key, entity.project, entity.value_type = "driver", "driver_id", PROJECT, ValueType.INT64
    service = message.feature_services.add().spec
    service.name, service.project = "ranking", PROJECT
    for name, features in VIEWS.items():
        view = message.feature_views.add().spec
        view.name, view.project, view.online = name, PROJECT, True
        view.entities.append("driver")
        view.ttl.seconds = 3600
        view.entity_columns.add(name="driver_id", value_type=ValueType.INT64)
        projection = service.features.add(feature_view_name=name)
        for feature in features:
            view.features.add(name=feature, value_type=ValueType.INT64)
            projection.feature_columns.add(name=feature, value_type=ValueType.INT64)
    return message.SerializeToString()


def rows() -> bytes:
    """The commands that write all rows anew."""
    now = Timestamp()
    now.GetCurrentTime()
    header, encode = entity_key_header(["driver_id"], 3), key_value_encoder(ValueType.INT64, 3)
    commands = []
    for driver in DRIVERS:
        fields = []
        for view, features in VIEWS.items():
            for feature in features:
                fields += [feature_field(view, feature), Value(int64_val=random.randrange(100)).SerializeToString()]
            fields += [timestamp_field(view), now.SerializeToString()]
        commands.append(render_command(b"HSET", header + encode(driver) + PROJECT.encode(), *fields))
    return b"".join(commands)


def write(folder: Path, store: str) -> None:
    (folder / "feature_store.yaml").write_text(
        f"project: {PROJECT}\nregistry: registry.db\nentity_key_serialization_version: 3\n"
        f"online_store: {{type: redis, connection_string: '{store}'}}\n"
    )
    host, _, port = store.rpartition(":")
    while True:
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(rows())
            read = 0
            while read < len(DRIVERS):  # a reply of one line per command
                data = connection.recv(1 << 16)
                if not data:
                    raise SystemExit(f"{store} closed the connection")
                read += data.count(b"\n")
        if not (folder / "registry.db").exists():  # last, since it says that all else is there
            (folder / "registry.db").write_bytes(registry())
            print(f"written: {folder}", flush=True)
        time.sleep(5)


def ask(server: str) -> None:
    client = http.client.HTTPConnection(server, timeout=5)
    while True:
        drivers = random.sample(range(1001, 1013), random.choice((1, 1, 1, 5)))  # two of them are not stored
        body = json.dumps({"feature_service": "ranking", "entities": {"driver_id": drivers}})
        try:
            client.request("POST", "/get-online-features", body)
            with client.getresponse() as answer:
                text = answer.read().decode()
            if answer.status != 200:
                print(answer.status, text, flush=True)
        except (OSError, http.client.HTTPException) as error:
            print(repr(error), flush=True)
            client.close()
        time.sleep(0.1)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder, store]:
            write(Path(folder), store)
        case ["ask", server]:
            ask(server)
        case _:
            raise SystemExit(__doc__)
