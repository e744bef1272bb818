"""More is asked than the store can answer: what it can is answered, others are told at once, and it is over at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

from tests.faults import FEATURES, trips_of
from tests.harness import Server, eventually, request
from tests.overload import ROWS_PER_S, limited_server, play


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with limited_server(tmp_path_factory.mktemp("overload")) as server:
        yield server


def test_what_was_given_up_does_not_keep_the_store_from_others(server: Server) -> None:
    """60 requests of 4,000 rows on one connection, each given up after a millisecond."""
    body = {"features": FEATURES, "entities": {"driver_id": list(range(4_000))}}
    began = time.monotonic()
    with server.client() as attacker, server.client() as client:
        attacker.send(request("/get-online-features", body, "", "X-Request-Timeout-Ms: 1") * 60)
        assert {attacker.answer().status for _ in range(60)} <= {503, 504}
        assert time.monotonic() - began < 5

        def answered(driver: int) -> bool | None:
            answer = client.ask("/get-online-features", {"features": FEATURES, "entities": {"driver_id": [driver]}})
            assert answer.status in (200, 503), answer
            return answer.columns["trips"] == [trips_of(driver)] or None if answer.status == 200 else None

        # The first waits for what was on the wire, half a second's worth at the most. On a starved machine, which
        # answers less in that time, it is refused until there is less.
        after = time.monotonic()
        eventually(lambda: answered(0), "the first answer")
        assert time.monotonic() - after < 2
        for driver in range(1, 20):
            asked = time.monotonic()
            assert answered(driver)
            assert time.monotonic() - asked < 0.3


@pytest.mark.parametrize("mix", [((100, 60),), ((1, 500), (100, 55))], ids=str)
def test_three_times_what_the_store_can_answer(server: Server, mix: tuple[tuple[int, float], ...]) -> None:
    outcome = play(server.port, mix, 4.0)
    assert outcome.goodput >= 0.8 * ROWS_PER_S, outcome
    assert outcome.back_s < 1, outcome
    errors = [sample for sample in outcome.samples if sample.status != 200]
    refused, asked = (sum(sample.rows for sample in samples) for samples in (errors, outcome.samples))
    assert refused > asked / 3, outcome
    assert statistics.median(sample.took_s for sample in errors) < 0.05, outcome
    assert max(sample.took_s for sample in outcome.samples) < 1.2, outcome


def test_long_requests_do_not_make_short_ones_late(server: Server) -> None:
    outcome = play(server.port, ((1, 300), (2_000, 3)), 4.0)
    short = [sample for sample in outcome.samples if sample.rows == 1]
    assert {sample.status for sample in short} == {200}, outcome
    # What Redis answers in a tenth of the timeout is on the wire before them, and a turn.
    assert statistics.median(sample.took_s for sample in short[len(short) // 2 :]) < 0.25, outcome
