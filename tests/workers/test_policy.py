"""What the supervisor decides, over children that are not processes and a clock that does as it is told.

That processes then do it, tests/system/test_supervisor.py shows.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.workers.fakes import DRAIN, WORKERS, FakeChild, World
from yummy_fast.native.owner import DESCRIPTION
from yummy_fast.server.drain import longest_drain_s
from yummy_fast.telemetry.exposition import merge
from yummy_fast.workers import policy
from yummy_fast.workers.child import State
from yummy_fast.workers.policy import END_S, GIVEN_UP, MAX_FAILURES, PAUSE_S, START_S, STEADY_S

DRAIN_S = longest_drain_s(DRAIN)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been logged since the last time."""
    caplog.set_level(logging.INFO, "yummy_fast")

    def take() -> list[str]:
        found = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
        caplog.clear()
        return found

    return take


@pytest.fixture
def world() -> World:
    return World()


def states(*children: FakeChild) -> list[State]:
    return [child.state for child in children]


# ------------------------------------------------------------------------------------------------------------ starting


def test_it_starts_the_workers_and_the_admin_process(said: Callable[[], list[str]]) -> None:
    world = World(has_admin=True)
    world.policy.advance()
    assert [(child.kind, child.slot) for child in world.started] == [("worker", 0), ("worker", 1), ("admin", 0)]
    first, second, admin = world.started
    world.ready(admin, first)
    assert said() == []
    world.ready(second)
    serving = "INFO serving project rides on http://127.0.0.1:6566 with 2 workers"
    assert said() == [serving, f"INFO hot path: {DESCRIPTION}"]
    assert states(*world.started) == [State.SERVING] * 3
    world.policy.advance()
    assert len(world.started) == 3


def test_what_no_worker_can_start_with_ends_the_server(world: World) -> None:
    world.policy.advance()
    first = world.workers[0]
    world.heard(first, "failed", error="registry.db: the registry is empty")
    world.end(first, code=2)
    assert (world.policy.exit_code, world.policy.fatal) == (2, "registry.db: the registry is empty")


def test_once_all_have_served_it_does_not(world: World, said: Callable[[], list[str]]) -> None:
    first, second = world.serve_for_long()
    world.end(first, code=-signal.SIGKILL)
    (successor,) = {*world.workers} - {second}
    said()
    world.heard(successor, "failed", error="registry.db: the registry is empty")
    world.end(successor, code=2)
    assert said() == ["ERROR worker 3 (102) ended: registry.db: the registry is empty"]
    assert (world.policy.exit_code, world.policy.fatal) == (None, "")
    assert world.fleet.deaths == 2


def test_a_worker_that_does_not_come_to_serving_at_the_start(world: World) -> None:
    world.policy.advance()
    first, second = world.workers
    world.ready(second)
    world.heard(first, "report", beat_at=world.now, at="registry.py:7 in read")
    world.pass_time(START_S - 1)
    assert world.policy.exit_code is None
    world.pass_time(1)
    assert world.policy.exit_code == 2
    assert world.policy.fatal == "worker 1 (100): it does not serve after 180 s, it is at registry.py:7 in read"


def test_a_start_is_no_standstill(world: World) -> None:
    """The loop does not turn while the registry is read."""
    world.policy.advance()
    first, second = world.workers
    world.pass_time(60, stuck=(first, second))
    world.ready(first, second)
    world.pass_time(1, stuck=(first, second))
    assert (first.signals, second.signals) == ([], [])


def test_a_worker_that_does_not_come_to_serving_later(world: World, said: Callable[[], list[str]]) -> None:
    first, second = world.serve_for_long()
    world.end(first)
    (successor,) = {*world.workers} - {second}
    said()
    world.pass_time(START_S)
    assert said() == ["ERROR killing worker 3 (102): it does not serve after 180 s"]
    assert successor.is_killed
    assert len(world.workers) == 2, "its death comes first"
    world.pass_time(10)
    world.end(successor, code=-signal.SIGKILL)
    assert said() == ["ERROR worker 3 (102) ended: it does not serve after 180 s"]
    assert world.policy.failures == 1, "it has not served, however long it lived"
    assert world.policy.exit_code is None


def test_what_is_missing_for_a_process_may_come_back(said: Callable[[], list[str]]) -> None:
    """However often it is tried in vain: no slot is lost."""
    world = World(has_admin=True)
    first, _ = world.serve()
    world.cannot_start = True
    world.end(first)
    said()
    world.pass_time(100)
    assert set(said()) == {"ERROR no new worker: cannot start a process: no processes"}
    assert world.policy.failures > world.policy.slots
    world.cannot_start = False
    world.pass_time(10)
    assert len(world.workers) == 2


# ---------------------------------------------------------------------------------------------------- workers that end


def test_a_worker_that_has_served_for_long_is_replaced_at_once(world: World) -> None:
    first, second = world.serve_for_long()
    world.end(first, code=1)
    assert len(world.workers) == 2
    assert second in world.workers
    assert world.policy.failures == 0


def until_started(world: World) -> float:
    """Wait until a second worker was started; how long that took."""
    begun = world.now
    while len(world.workers) < 2:
        world.pass_time(0.25)
    return world.now - begun


def test_pauses_double_up_to_a_limit_and_a_steady_worker_ends_them(world: World) -> None:
    _, survivor = world.serve()
    pauses = []
    for _ in range(8):
        dying = next(worker for worker in world.workers if worker is not survivor)
        world.end(dying, code=1)
        pauses.append(until_started(world))
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert world.policy.exit_code is None, "one serves"
    world.pass_time(60)
    assert world.policy.failures == 8, "the survivor was started before, and proves nothing"
    (starting,) = {*world.workers} - {survivor}
    world.ready(starting)
    world.pass_time(STEADY_S)
    assert world.policy.failures == 0
    world.end(survivor, code=1)
    assert len(world.workers) == 2


def test_those_that_die_together_count_as_one(world: World) -> None:
    world.policy.advance()
    world.end(*world.workers, code=7)
    assert world.policy.failures == 1
    until_started(world)
    world.end(*world.workers, code=7)
    assert world.policy.failures == 2


def test_it_gives_up_on_instant_deaths(world: World) -> None:
    for number in range(1, MAX_FAILURES + 1):
        assert world.policy.exit_code is None, number
        world.policy.advance()
        until_started(world)
        world.end(*world.workers, code=7)
    assert world.policy.exit_code == GIVEN_UP
    assert (world.policy.failures, world.policy.failed_by) == (MAX_FAILURES, "exit code 7")


def test_a_child_that_has_closed_its_channel_is_killed_if_it_does_not_end(world: World) -> None:
    first, _ = world.serve()
    world.policy.closed(first)
    assert world.policy.wait_s() <= END_S
    world.pass_time(END_S - 1)
    assert not first.is_killed
    world.pass_time(1)
    assert first.is_killed
    assert first.kill_reason == "it has not ended in time"


def test_nothing_gives_a_child_more_time(world: World) -> None:
    """Neither that it closes its channel while it drains, nor that it is told again."""
    first, _ = world.serve()
    world.policy._drain(first, "drain")
    world.pass_time(DRAIN_S - 2)
    world.policy.closed(first)
    world.policy.stop()
    world.pass_time(2)
    assert first.is_killed


def test_the_numbers_of_a_worker_that_has_ended_stay_in_the_sums(world: World) -> None:
    first, second = world.serve()
    world.heard(first, "report", beat_at=world.now, metrics={"yummy_fast_rows_total": [[["svc"], 7]]})
    world.heard(first, "final_metrics", metrics={"yummy_fast_rows_total": [[["svc"], 8]]})
    world.heard(second, "final_metrics", metrics={"yummy_fast_rows_total": [[["svc"], 1]]})
    world.end(first)
    world.end(second)
    assert merge(world.fleet.snapshots())["yummy_fast_rows_total"] == [[["svc"], 9]]


def test_the_admin_process_is_started_anew(said: Callable[[], list[str]]) -> None:
    world = World(has_admin=True)
    world.serve()
    admin = world.fleet.admin
    assert admin is not None
    world.ready(admin)
    world.pass_time(STEADY_S + 1)
    said()
    world.end(admin, code=-signal.SIGKILL)
    assert said() == ["ERROR admin (102) ended: killed by SIGKILL"]
    assert world.fleet.admin not in (None, admin)
    assert world.fleet.deaths == 0, "it is no worker"
    world.ready(world.started[-1])
    assert said() == []


# ---------------------------------------------------------------------------------------------------- workers that hang


def test_a_worker_whose_loop_does_not_turn_is_killed(world: World, said: Callable[[], list[str]]) -> None:
    stuck, other = world.serve()
    said()
    world.heard(stuck, "report", beat_at=world.now, at="views.py:7 in forever")
    world.pass_time(30, stuck=(stuck,))
    assert said() == []
    world.pass_time(1, stuck=(stuck,))
    why = "its event loop has not turned for 31 s, it is at views.py:7 in forever"
    assert said() == [f"ERROR killing worker 1 (100): {why}"]
    assert (stuck.signals, other.signals) == ([signal.SIGKILL], [])
    world.pass_time(5, stuck=(stuck,))
    assert said() == [], "once is enough"
    world.end(stuck, code=-signal.SIGKILL)
    assert said() == [f"ERROR worker 1 (100) ended: {why}"]
    assert len(world.workers) == 2
    assert world.fleet.deaths == 1


def test_an_old_report_does_not_make_a_heart_stop(world: World) -> None:
    """It lay in the channel while the supervisor was stopped."""
    worker, _ = world.serve()
    world.pass_time(5)
    world.heard(worker, "report", beat_at=world.now - 100)
    assert worker.beat_at == world.now


def test_never_to_be_killed(said: Callable[[], list[str]]) -> None:
    world = World(replace(WORKERS, timeout_s=0))
    workers = world.serve()
    world.pass_time(1000, stuck=tuple(workers))
    assert [worker.signals for worker in workers] == [[], []]


def test_a_supervisor_that_was_away_blames_nobody(world: World) -> None:
    serving, starting = world.serve()[0], None
    world.end(world.workers[1], code=1)
    world.pass_time(1)
    starting = next(worker for worker in world.workers if worker is not serving)
    world.now += 3600
    world.policy.advance()
    assert (serving.signals, starting.signals) == ([], [])
    world.pass_time(30)
    assert starting.signals == []
    world.pass_time(31, stuck=(serving,))
    assert serving.is_killed


def test_a_late_tick_is_no_absence(world: World) -> None:
    stuck, _ = world.serve()
    world.pass_time(30, stuck=(stuck,))
    world.now += PAUSE_S - 0.1
    world.policy.advance()
    assert stuck.is_killed


# ----------------------------------------------------------------------------------------------- workers to be replaced


def test_a_rolling_restart_is_one_after_the_other(world: World, said: Callable[[], list[str]]) -> None:
    first, second = world.serve()
    said()
    world.policy.restart_all()
    world.policy.advance()
    assert said() == ["INFO rolling restart of 2 workers"]
    third = world.workers[-1]
    assert len(world.workers) == 3, "one successor, and no more"
    assert (first.commands, second.commands) == ([], [])
    world.ready(third)
    assert said() == ["INFO worker 3 (102) takes over from worker 1 (100)"]
    assert states(first, second, third) == [State.DRAINING, State.SERVING, State.SERVING]
    assert first.commands == ["drain"]
    world.pass_time(5)
    assert len(world.workers) == 3, "the next one waits until the one before has ended"
    world.end(first)
    assert said() == ["INFO worker 1 (100) has ended"]
    fourth = world.workers[-1]
    assert states(second, third, fourth) == [State.SERVING, State.SERVING, State.STARTING]
    world.ready(fourth)
    world.end(second)
    world.pass_time(5)
    assert world.workers == [third, fourth]
    assert world.fleet.deaths == 0


def test_a_worker_that_dies_before_its_successor_serves(world: World, said: Callable[[], list[str]]) -> None:
    """The successor is then one of the wanted workers: nothing is left to drain, and no third one is needed."""
    first, second = world.serve_for_long()
    world.heard(first, "retire")
    world.policy.advance()
    successor = world.workers[-1]
    world.end(first, code=-signal.SIGKILL)
    world.pass_time(2)
    assert world.workers == [second, successor]
    said()
    world.ready(successor)
    assert said() == ["INFO worker 3 (102) serves"]
    assert states(second, successor) == [State.SERVING, State.SERVING]


def test_a_worker_that_dies_while_it_waits_for_a_successor(world: World) -> None:
    first, second = world.serve_for_long()
    world.policy.restart_all()
    world.end(second, code=-signal.SIGKILL)
    replacement = world.workers[-1]
    assert replacement.replaces is None
    world.ready(replacement)
    world.policy.advance()
    successor = world.workers[-1]
    assert successor.replaces is first
    world.ready(successor)
    world.end(first)
    world.pass_time(5)
    assert world.workers == [replacement, successor]


def test_a_worker_that_dies_while_another_is_replaced(world: World) -> None:
    """Its own replacement does not wait for the restart."""
    first, second = world.serve_for_long()
    world.heard(first, "retire")
    world.policy.advance()
    world.end(second, code=1)
    assert states(*world.workers) == [State.SERVING, State.STARTING, State.STARTING]


def test_a_worker_that_drains_is_not_replaced_again(world: World, said: Callable[[], list[str]]) -> None:
    first, _ = world.serve()
    world.heard(first, "retire")
    world.policy.advance()
    world.ready(world.workers[-1])
    said()
    world.policy.restart_all()
    assert said() == ["INFO rolling restart of 2 workers"]


def test_a_successor_that_cannot_start_changes_nothing(world: World, said: Callable[[], list[str]]) -> None:
    first, second = world.serve()
    world.policy.restart_all()
    world.policy.advance()
    successor = world.workers[-1]
    said()
    world.heard(successor, "failed", error="registry.db: the registry is empty")
    world.end(successor, code=2)
    assert said() == [
        "ERROR worker 3 (102) cannot take over from worker 1 (100), which stays: registry.db: the registry is empty"
    ]
    world.pass_time(60)
    assert world.workers == [first, second]
    assert (first.commands, second.commands) == ([], [])


def test_one_rolling_restart_at_a_time(world: World, said: Callable[[], list[str]]) -> None:
    world.serve()
    ignored = ["WARNING SIGUSR2 ignored: workers are being replaced already, or the server is stopping"]
    world.policy.restart_all()
    said()
    world.policy.restart_all()
    assert said() == ignored
    world.policy.advance()
    world.policy._to_replace.clear()  # the last successor is starting
    world.policy.restart_all()
    assert said() == ignored


def test_a_worker_that_got_sigterm_is_replaced_once(world: World, said: Callable[[], list[str]]) -> None:
    first, second = world.serve()
    said()
    for _ in range(2):
        world.heard(first, "retire")
    assert said() == ["INFO worker 1 (100) got SIGTERM: replacing it"]
    world.policy.advance()
    world.ready(world.workers[-1])
    said()
    world.heard(first, "retire")  # while it drains
    assert said() == []
    world.end(first)
    world.pass_time(5)
    assert len(world.started) == 3
    assert second in world.workers


def test_a_worker_that_has_grown_too_large_is_replaced_once(said: Callable[[], list[str]]) -> None:
    world = World(replace(WORKERS, max_rss_mb=100))
    first, second = world.serve()
    said()
    first.rss_mb = 100
    second.rss_mb = 101
    world.pass_time(STEADY_S)
    assert said() == []
    world.pass_time(3)
    assert said() == [
        "WARNING worker 2 (101) has 101 MB of resident memory, above --worker-max-rss-mb: replacing it",
    ]
    successor = world.workers[-1]
    assert successor.replaces is second
    world.ready(successor)
    world.end(second)
    world.pass_time(20)
    assert world.workers == [first, successor]


def test_a_worker_that_is_ready_too_late_drains_all_the_same(world: World, said: Callable[[], list[str]]) -> None:
    """`ready` and `drain` have crossed."""
    world.serve()
    world.policy.restart_all()
    world.policy.advance()
    successor = world.workers[-1]
    world.policy.stop()
    world.policy.advance()
    said()
    world.ready(successor)
    assert successor.state is State.DRAINING
    assert said() == []


def test_no_more_children_than_slots(world: World) -> None:
    """Those that do not end are in the way; it goes on when they have been killed."""
    world.serve()
    for _ in range(world.policy.slots):
        for worker in world.fleet.serving():
            world.policy._drain(worker, "drain")
        world.policy.advance()
        world.ready(*[worker for worker in world.workers if worker.state is State.STARTING])
    assert len(world.workers) == world.policy.slots
    assert sorted(worker.slot for worker in world.workers) == list(range(world.policy.slots))
    world.end(world.workers[0])
    assert len(world.workers) == world.policy.slots


# ------------------------------------------------------------------------------------------------------------ stopping


def test_it_stops_when_all_have_drained_and_the_admin_process_last(said: Callable[[], list[str]]) -> None:
    world = World(drain=replace(DRAIN, delay_s=5), has_admin=True)
    first, second = world.serve()
    admin = world.started[2]
    world.ready(admin)
    said()
    world.policy.stop()
    assert said() == ["INFO stopping in 5 s: 2 workers"]
    assert (first.commands, second.commands, admin.commands) == (["unready"], ["unready"], [])
    assert not world.fleet.ready().good
    world.pass_time(4.9)
    assert world.listens
    world.pass_time(0.1)
    assert not world.listens
    assert (first.commands, second.commands, admin.commands) == (["unready", "stop"], ["unready", "stop"], [])
    world.end(first)
    assert admin.commands == []
    world.end(second)
    assert said() == ["INFO worker 1 (100) has ended", "INFO worker 2 (101) has ended"]
    assert (admin.commands, world.policy.exit_code) == (["stop"], None)
    world.end(admin)
    assert world.policy.exit_code == 0
    assert len(world.started) == 3, "nothing is started any more"


def test_without_a_delay_it_stops_now(world: World) -> None:
    first, second = world.serve()
    world.policy.stop()
    world.policy.advance()
    assert states(first, second) == [State.DRAINING] * 2
    world.end(first, second)
    assert world.policy.exit_code == 0


def test_what_does_not_stop_in_time_is_killed(world: World, said: Callable[[], list[str]]) -> None:
    first, second = world.serve()
    world.policy.stop()
    world.policy.advance()
    world.end(first)
    said()
    world.pass_time(DRAIN_S + 5)
    assert said() == ["ERROR killing worker 2 (101): it has not ended in time"]
    world.end(second, code=-signal.SIGKILL)
    assert said() == ["INFO worker 2 (101) has ended"]
    assert (world.policy.exit_code, world.fleet.deaths) == (0, 0)


def test_an_admin_process_that_does_not_stop_is_killed() -> None:
    world = World(has_admin=True)
    workers = world.serve()
    admin = world.started[2]
    world.policy.stop()
    world.policy.advance()
    world.end(*workers)
    world.pass_time(END_S)
    assert admin.is_killed
    world.end(admin, code=-signal.SIGKILL)
    assert world.policy.exit_code == 0


def test_a_second_signal_ends_it(world: World, said: Callable[[], list[str]]) -> None:
    world.serve()
    world.policy.stop()
    said()
    world.policy.stop()
    assert world.policy.exit_code == 0
    assert said() == ["WARNING a second signal to stop: killing 2 workers"]


def test_while_it_stops_nothing_is_replaced(said: Callable[[], list[str]]) -> None:
    world = World(replace(WORKERS, max_rss_mb=100), replace(DRAIN, delay_s=60))
    first, second = world.serve()
    world.policy.stop()
    world.policy.advance()
    said()
    first.rss_mb = 101
    world.pass_time(2 * STEADY_S)
    world.heard(first, "retire")  # systemd sends SIGTERM to all processes
    world.policy.restart_all()
    world.end(second, code=1)
    assert said() == [
        "WARNING SIGUSR2 ignored: workers are being replaced already, or the server is stopping",
        "INFO worker 2 (101) has ended",
    ]
    assert world.workers == [first]


# -------------------------------------------------------------------------------------------------------------- reloads


def test_a_reload_goes_to_the_workers_that_serve_and_is_counted(world: World) -> None:
    first, second = world.serve()
    world.policy.restart_all()
    world.policy.advance()
    successor = world.workers[-1]
    world.heard(first, "report", beat_at=world.now, reloads=0, reload_error="", status={"registry": {"version": "1"}})
    world.heard(first, "reload")
    assert (first.commands, second.commands, successor.commands) == (["reload"], ["reload"], [])
    assert world.fleet.view()["reloads"] == {
        "worker 1 (100)": {"sent": 1, "done": 0, "error": "", "registry": {"version": "1"}},
        "worker 2 (101)": {"sent": 1, "done": 0, "error": "", "registry": None},
    }


# ---------------------------------------------------------------------------------------------------------------- waits


def test_how_long_nothing_has_to_be_done(world: World) -> None:
    world.serve()
    assert world.policy.wait_s() == policy.TICK_S
    world.now += 0.75
    assert world.policy.wait_s() == 0.25
    world.now += 5
    assert world.policy.wait_s() == 0


def test_it_wakes_up_when_a_child_is_to_be_killed(world: World) -> None:
    first, _ = world.serve()
    world.policy.closed(first)
    world.now = first.kill_at - 0.75
    world.policy.advance()  # a tick
    assert world.policy.wait_s() == 0.75


def test_it_wakes_up_when_the_next_child_may_start(world: World) -> None:
    first, _ = world.serve()
    world.end(first, code=1)
    assert world.policy.wait_s() == 0.25


def test_it_wakes_up_when_the_workers_are_to_drain() -> None:
    world = World(drain=replace(DRAIN, delay_s=0.5))
    world.serve()
    world.policy.stop()
    assert world.policy.wait_s() == 0.5
