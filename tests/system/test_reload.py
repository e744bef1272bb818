"""Reloading the registry under load: every answer is checked, and is of one version.

Version N of the registry has views `a_N` and `b_N` (so views are added, removed and renamed), whose one feature holds N
in the store; a view `always`, whose ttl and whose feature's type change with N; a view `typed`, whose join key's type
changes, and with it the key that it is stored under; and `sometimes`, which only even versions have. An answer tells by
its column names which version made it, and then everything else in it must fit.
"""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from tests import registries
from tests.harness import Answer, Client, FileServer, Server, Valkey, command_line, eventually, replace_file, request
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.keys import entity_key_header, feature_field, key_value_encoder, timestamp_field
from yummy_fast.feast_format.timestamps import encode_timestamp
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.feast_faults import AS_IN_FEAST

VERSIONS = 20
CLIENTS = 4
DRIVER = 7
RIDER = 8
STORED_UNDER = {ValueType.INT64: 3000, ValueType.INT32: 4000}
"""What `typed` holds for RIDER, by the type of the key."""
KEY_COLUMNS = {"driver_id": ValueType.INT64}


def rider_type(version: int) -> ValueType:
    return ValueType.INT64 if version % 3 else ValueType.INT32


def registry(version: int) -> bytes:
    driver = registries.entity("driver", "driver_id")
    ours = [registries.view(f"{letter}_{version}", ["driver"], KEY_COLUMNS, {"n": ValueType.INT64}) for letter in "ab"]
    declared = ValueType.INT64 if version % 3 else ValueType.DOUBLE  # the store holds an INT64 all along
    always = registries.view("always", ["driver"], KEY_COLUMNS, {"n": declared})
    always.spec.ttl.seconds = 60 if version % 2 else 0
    rider = registries.entity("rider", "rider_id", rider_type(version))
    typed = registries.view("typed", ["rider"], {"rider_id": rider_type(version)}, {"n": ValueType.INT64})
    views = [*ours, always, typed]
    if version % 2 == 0:
        views.append(registries.view("sometimes", ["driver"], KEY_COLUMNS, {"n": ValueType.INT64}))
    service = registries.service("svc", *map(registries.projection, views))
    return registries.serialised([driver, rider, *views, service], str(version))


@pytest.fixture
def folder(tmp_path: Path, own_valkey: Valkey) -> Path:
    """A repository whose data is an hour old, and whose registry is version 0."""
    key = entity_key_header(["driver_id"], 3) + key_value_encoder(ValueType.INT64, 3)(DRIVER)
    fields: list[bytes] = []
    for view, value in (
        *((f"{letter}_{version}", version) for letter in "ab" for version in range(VERSIONS + 1)),
        *(("always", 1000), ("sometimes", 2000)),
    ):
        fields += (feature_field(view, "n"), Value(int64_val=value).SerializeToString())
        fields += (timestamp_field(view), encode_timestamp(int(time.time()) - 3600))
    own_valkey.do("HSET", key + registries.PROJECT.encode(), *fields)
    for key_type, value in STORED_UNDER.items():
        key = entity_key_header(["rider_id"], 3) + key_value_encoder(key_type, 3)(RIDER)
        fields = [feature_field("typed", "n"), Value(int64_val=value).SerializeToString()]
        fields += [timestamp_field("typed"), encode_timestamp(int(time.time()))]
        own_valkey.do("HSET", key + registries.PROJECT.encode(), *fields)
    (tmp_path / "feature_store.yaml").write_text(
        f"project: {registries.PROJECT}\nregistry: registry.db\nyummy_fast: {{compat: strict}}\n"
        f"online_store: {{type: redis, connection_string: '127.0.0.1:{own_valkey.port}'}}\n"
    )
    (tmp_path / "registry.db").write_bytes(registry(0))
    return tmp_path


def version_of(answer: Answer) -> int:
    """The version that made an answer to BY_SERVICE, once all of it has been found to be that version's."""
    assert answer.status == 200, answer
    names = answer.json["metadata"]["feature_names"]
    version = next(int(name.removeprefix("a_").removesuffix("__n")) for name in names if name.startswith("a_"))
    expected = {
        "driver_id": (DRIVER, "PRESENT"),
        "rider_id": (RIDER, "PRESENT"),
        f"a_{version}__n": (version, "PRESENT"),
        f"b_{version}__n": (version, "PRESENT"),
        "always__n": (1000, "OUTSIDE_MAX_AGE" if version % 2 else "PRESENT"),
        "typed__n": (STORED_UNDER[rider_type(version)], "PRESENT"),
    }
    if version % 2 == 0:
        expected["sometimes__n"] = (2000, "PRESENT")
    cells = {
        name: (result["values"][0], result["statuses"][0])
        for name, result in zip(names, answer.json["results"], strict=True)
    }
    assert cells == expected
    return version


BY_SERVICE = request(
    "/get-online-features",
    {
        "feature_service": "svc",
        "entities": {"driver_id": [DRIVER], "rider_id": [RIDER]},
        "full_feature_names": True,
    },
)
BY_NAME = request("/get-online-features", {"features": ["sometimes:n"], "entities": {"driver_id": [DRIVER]}})


class Caller:
    """Asks until it is told to stop, on one connection, and checks every answer."""

    def __init__(self, server: Server, stop: threading.Event) -> None:
        self.versions: list[int] = []
        self.errors: list[BaseException] = []
        self._client = server.client()
        self._stop = stop
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._client.send(BY_SERVICE + BY_NAME)
                self.versions.append(version_of(self._client.answer()))
                by_name = self._client.answer()  # this view comes and goes: Feast's answer either way
                if by_name.status == 200:
                    assert by_name.columns["n"] == [2000]
                else:
                    assert (by_name.status, b"FeatureViewNotFoundException" in by_name.body) == (404, True)
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._client.socket.close()


def test_no_error_and_no_mixture_through_twenty_reloads(folder: Path) -> None:
    stop = threading.Event()
    with Server(folder, "-r", "0") as server:
        callers = [Caller(server, stop) for _ in range(CLIENTS)]
        try:
            for version in range(1, VERSIONS + 1):
                replace_file(folder / "registry.db", registry(version))
                mark = len(server.lines)
                server.send_signal(signal.SIGHUP)
                server.wait_for("INFO registry reloaded: project rides", after=mark)
        finally:
            stop.set()
            for caller in callers:
                caller.thread.join()
        assert [caller.errors for caller in callers] == [[]] * CLIENTS
        with server.client() as client:
            client.send(BY_SERVICE)
            assert version_of(client.answer()) == VERSIONS
    for caller in callers:
        assert caller.versions == sorted(caller.versions), "nobody goes back"
        assert len(set(caller.versions)) > VERSIONS / 2
    assert sum(len(caller.versions) for caller in callers) > 200


def test_requests_in_flight_finish_with_the_version_they_began_with(folder: Path) -> None:
    """Many requests of one connection, across a reload: old answers, then new ones."""
    with Server(folder, "-r", "0") as server, server.client() as client:
        replace_file(folder / "registry.db", registry(1))
        server.send_signal(signal.SIGHUP)
        versions: list[int] = []
        while versions[-1:] != [1]:
            client.send(BY_SERVICE * 50)
            versions += (version_of(client.answer()) for _ in range(50))
        assert versions == sorted(versions)


def test_a_change_behind_a_url_is_served(folder: Path) -> None:
    with FileServer({"/registry.db": registry(0)}) as web:
        path = folder / "feature_store.yaml"
        url = web.url.replace("://", "://me:secret@") + "/registry.db?token=secret"
        path.write_text(path.read_text().replace("registry.db", url))
        with Server(folder, "-r", "1") as server:
            web.files["/registry.db"] = registry(1)
            server.wait_for("registry reloaded")
            with server.client() as client:
                client.send(BY_SERVICE)
                assert version_of(client.answer()) == 1
            web.files.clear()
            where = f"{web.url}/registry.db"
            line = server.wait_for(r"ERROR (.*)")[1]
            unreadable = f"{where}: the registry cannot be read: HTTP status 404"
            assert line == f"registry not reloaded, the previous one stays in use: {unreadable}"
            web.files["/registry.db"] = registry(1)
            server.wait_for(f"INFO registry unchanged: {where}")
        assert "secret" not in server.log
        check = command_line("-c", folder, "check")
        assert f"registry       {where} (version 1)" in check.out
        assert (check.code, check.err) == (1, "")
        assert "secret" not in check.out


BROKEN = {
    "bytes": (b"\xff\xff\xff no registry", "not a Feast registry (15 bytes that do not parse)"),
    "truncated": (registry(0)[:-1], f"not a Feast registry ({len(registry(0)) - 1} bytes that do not parse)"),
    "empty": (b"", "the registry is empty"),
    "missing": (None, "the registry cannot be read: No such file or directory"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_registry_that_is_none_at_the_start_is_one_line(folder: Path, kind: str) -> None:
    data, message = BROKEN[kind]
    (folder / "registry.db").unlink()
    if data is not None:
        (folder / "registry.db").write_bytes(data)
    for command in ("serve", "check"):
        outcome = command_line("-c", folder, command)
        assert outcome == (2, "", f"yummy-fast: {folder}/registry.db: {message}\n")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_registry_that_breaks_changes_nothing_and_is_said_once(folder: Path, kind: str) -> None:
    data, message = BROKEN[kind]
    path = folder / "registry.db"
    with Server(folder, "-r", "1") as server, server.client() as client:
        if data is None:
            path.unlink()
        else:
            replace_file(path, data)
        said = f"ERROR registry not reloaded, the previous one stays in use: {path}: {message}"
        assert server.wait_for(r"ERROR .*")[0] == said
        client.send(BY_SERVICE)
        assert version_of(client.answer()) == 0
        mark = len(server.lines)
        server.send_signal(signal.SIGHUP)  # who asks is told again
        assert server.wait_for(r"ERROR .*", after=mark)[0] == said
        replace_file(path, registry(1))  # a later version, or an older one: whatever is there now
        server.wait_for("registry reloaded")
        client.send(BY_SERVICE)
        assert version_of(client.answer()) == 1
        mark = len(server.lines)
        replace_file(path, registry(0))
        server.wait_for("registry reloaded", after=mark)
        client.send(BY_SERVICE)
        assert version_of(client.answer()) == 0
        errors = [entry for entry in server.lines if "ERROR" in entry]
        assert len(errors) == 2


def test_the_client_knows_nothing_of_a_reload(folder: Path) -> None:
    """The connection stays, and so does what is pipelined on it."""
    with Server(folder) as server, Client(server.port) as client:
        client.send(BY_SERVICE)
        assert version_of(client.answer()) == 0
        replace_file(folder / "registry.db", registry(2))
        server.wait_for("registry reloaded")
        client.send(BY_SERVICE)
        assert version_of(client.answer()) == 2


def test_what_is_answered_as_wrongly_as_by_feast_is_said_when_it_is_new(folder: Path) -> None:
    """The views of a join key come to disagree about its type; then another view comes."""
    items = [registries.entity("driver", "driver_id")]
    number = registries.view("number", ["driver"], {"driver_id": ValueType.INT64}, {"n": ValueType.INT64})
    text = registries.view("text", ["driver"], {"driver_id": ValueType.STRING}, {"t": ValueType.INT64})
    other = registries.view("other", ["driver"], {"driver_id": ValueType.INT64}, {"o": ValueType.INT64})
    both = registries.service("both", registries.projection(number), registries.projection(text))
    file = folder / "registry.db"
    replace_file(file, registries.serialised([*items, number], "1"))
    with Server(folder, "--compat", "feast", "--workers", "2") as server:
        assert AS_IN_FEAST not in server.log
        changes: tuple[list[registries.Item], ...] = ([text, both], [text, both, other])
        for reloads, more in enumerate(changes, 1):
            replace_file(file, registries.serialised([*items, number, *more], str(reloads)))
            count = 2 * reloads  # a line of each worker
            eventually(lambda: server.log.count("registry reloaded") == count or None, "both have reloaded")  # noqa: B023
        (said,) = [line for line in server.lines if AS_IN_FEAST in line]
    assert "driver_id in feature service both (INT64 in number, STRING in text)" in said
