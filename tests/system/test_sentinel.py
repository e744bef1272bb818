"""A master that sentinels watch over: the recorded answers, and a checked load while the master changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import BINARIES, Watched, corpus, frozen, until
from tests.conformance.test_conformance import cases_of, check_case
from tests.harness import Server, command_line, run, silent_server
from tests.stores.cluster_load import (
    DRIVERS,
    Load,
    cluster_repository,
    key,
    make_store,
    opened,
    records,
    soon,
    stored_key,
)


@pytest.fixture(params=BINARIES)
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A master, two replicas, three sentinels: to do anything to."""
    with Watched(binary=request.param) as started:
        started.write(records())
        yield started


@pytest.fixture
def watched_valkeys() -> Iterator[Watched]:
    """As watched, of Valkeys only."""
    with Watched() as started:
        started.write(records())
        yield started


def test_recorded_answers_through_sentinels(watched: Watched, tmp_path: Path) -> None:
    """One sentinel hangs, and one is dead; the first two of the list."""
    watched.write(corpus("redis"))
    watched.sentinels[0].kill()
    with silent_server() as silent, frozen(watched.sentinels[1]):
        addresses = f"127.0.0.1:{silent},{watched.addresses}"
        with Server(cluster_repository(tmp_path / "r", addresses, "redis_sentinel")) as server:
            with server.client() as client:
                differences = [
                    (case, difference) for case in cases_of("redis") if (difference := check_case(client, case))
                ]
            assert not differences
            assert server.ask("/readyz").status == 200
        checked = command_line("check", "--chdir", tmp_path / "r")
        assert "answers: master mymaster, 2 replicas" in checked.out


def test_looking_around_in_the_master(watched_valkeys: Watched, tmp_path: Path) -> None:
    """The master is the one that the sentinels name, and `check` sees its keys."""
    store = make_store(tmp_path / "r", watched_valkeys.addresses, redis_type="redis_sentinel")
    watched_valkeys.sentinels[0].kill()
    watched_valkeys.master.do("CONFIG", "RESETSTAT")
    with contextlib.closing(store.looks()) as looks:
        assert looks.exist([stored_key(0), b"other"], 0) == [True, False]
    assert b"cmdstat_exists:calls=2," in watched_valkeys.master.do("INFO", "commandstats")
    survey = run(store.survey(["many", "other"]))
    assert survey.keys
    assert set(survey.keys) <= set(map(key, range(DRIVERS)))
    assert survey.views == frozenset(["many"])
    assert survey.expected_mode == "redis_sentinel"


def test_a_name_that_no_sentinel_knows(watched_valkeys: Watched, tmp_path: Path) -> None:
    folder = cluster_repository(tmp_path / "r", watched_valkeys.addresses, "redis_sentinel")
    path = folder / "feature_store.yaml"
    path.write_text(path.read_text().replace("  redis_type", "  sentinel_master: other\n  redis_type"))
    checked = command_line("check", "--chdir", folder)
    assert checked.code == 2
    assert "no sentinel names a master 'other'" in checked.err


def test_sentinels_that_know_too_few_others(watched_valkeys: Watched, tmp_path: Path) -> None:
    addresses = f"{watched_valkeys.addresses},min_other_sentinels=3"
    checked = command_line("check", "--chdir", cluster_repository(tmp_path / "r", addresses, "redis_sentinel"))
    assert checked.code == 2
    assert "it knows 2 other sentinels" in checked.err


# ------------------------------------------------------------------------------------------------ the master changes


def loaded(tmp_path: Path, watched: Watched, action: Callable[[Load], object], **settings: Any) -> Load:
    """A load while `action` is done in a thread of its own, and until answers are right again."""

    async def loading() -> Load:
        async with opened(make_store(tmp_path / "r", watched.addresses, "redis_sentinel", **settings)) as store:
            await soon(lambda: sum(node["connected"] for node in store.nodes()) == 2)
            async with Load(store) as load:
                await asyncio.to_thread(action, load)
                await load.wait_until_right()
            return load

    return run(loading())


def wait_for_another(watched: Watched, before: int, load: Load) -> None:
    """Until the sentinels name another master, and the store reads from it."""
    until(lambda: watched.master.port != before, "another master")
    name = f"127.0.0.1:{watched.master.port}"
    until(
        lambda: any(
            node["node"] == name and node["role"] == "primary" and node["usable"] for node in load.store.nodes()
        ),
        "the store to follow",
    )


def test_killed_master(watched: Watched, tmp_path: Path) -> None:
    before = watched.master

    def kill(load: Load) -> None:
        before.kill()
        wait_for_another(watched, before.port, load)

    load = loaded(tmp_path, watched, kill, store_timeout_ms=2000)
    assert not load.failed
    assert load.store.state.replica_reads > 0


def test_frozen_master(watched_valkeys: Watched, tmp_path: Path) -> None:
    before = watched_valkeys.master

    def freeze(load: Load) -> None:
        with frozen(before):
            wait_for_another(watched_valkeys, before.port, load)

    load = loaded(tmp_path, watched_valkeys, freeze, store_timeout_ms=2000)
    assert not load.failed


def test_sentinel_failover(watched: Watched, tmp_path: Path) -> None:
    """By hand: the old connection stays open, and the old master says for a while that it is one."""
    before = watched.master

    def fail_over(load: Load) -> None:
        watched.sentinels[0].do("SENTINEL", "FAILOVER", watched.NAME)
        wait_for_another(watched, before.port, load)

    load = loaded(tmp_path, watched, fail_over)
    assert not load.failed


def test_an_old_master_that_comes_back_empty_is_not_asked(watched_valkeys: Watched, tmp_path: Path) -> None:
    """It calls itself master for ten seconds, and answers that nothing is there: the load would see it."""
    watched = watched_valkeys
    before = watched.master

    def kill_and_bring_back(load: Load) -> None:
        before.kill()
        wait_for_another(watched, before.port, load)
        back = watched.start_node(port=before.port)
        assert back.do("ROLE")[0] == b"master"
        asked = load.asked
        until(lambda: back.do("ROLE")[0] == b"slave" or load.asked > asked + 2000, "the sentinels to notice")
        until(lambda: load.asked > asked + 1000, "a load")

    load = loaded(tmp_path, watched, kill_and_bring_back, store_timeout_ms=2000)
    assert not load.failed
