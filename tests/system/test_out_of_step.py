"""One frame too many among Redis's replies, which look all alike: it must not give everybody the rows of others.

`python -m tests.system.test_out_of_step` prints how many rows were wrong before it was noticed.
"""

from __future__ import annotations

import random
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.faults import FEATURES, VIEW, hash_of, key_of, start_valkey, trips_of
from tests.harness import Proxy, Server, eventually, repository
from yummy_fast.feast_format.keys import feature_field, timestamp_field
from yummy_fast.stores.resp import render_command

DRIVERS = 400
CLIENTS = 8
OTHER = DRIVERS + 1
"""The driver whose row comes too many."""


class Load:
    """Clients that ask without a pause, and count."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self.right = self.wrong = self.errors = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def _ask(self, number: int) -> None:
        dice = random.Random(number)
        with self._server.client() as client:
            while not self._stop.is_set():
                drivers = [dice.randrange(DRIVERS) for _ in range(dice.choice((1, 1, 3)))]
                answer = client.ask("/get-online-features", {"features": FEATURES, "entities": {"driver_id": drivers}})
                rows: Any = answer.columns["trips"] if answer.status == 200 else []
                wrong = sum(found != trips_of(driver) for found, driver in zip(rows, drivers, strict=False))
                with self._lock:
                    self.right += len(rows) - wrong
                    self.wrong += wrong
                    self.errors += answer.status != 200
                    assert answer.status in (200, 503), answer

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def slip(folder: Path, times: int) -> Load:
    """Let a frame slip in so often, under load. Returns what the clients counted."""
    with start_valkey(folder) as valkey, Proxy(valkey.port) as proxy:
        valkey.pipeline([("HSET", key_of(driver), *hash_of(driver)) for driver in range(DRIVERS)])
        held = hash_of(OTHER)
        stored = dict(zip(held[::2], held[1::2], strict=True))
        names = (feature_field(VIEW, "trips"), feature_field(VIEW, "nick"), timestamp_field(VIEW))
        frame = render_command(*map(stored.__getitem__, names))  # a reply looks as a command does
        repository(folder / "repository", "redis", f"127.0.0.1:{proxy.port}")
        with Server(folder / "repository") as server, Load(server) as load:
            for _ in range(times):
                right, mark = load.right, len(server.lines)
                eventually(lambda right=right: True if load.right > right + 50 else None, "right rows")  # type: ignore[misc]
                proxy.inject(frame)
                server.wait_for("connection lost: .*(out of step|to no command)", after=mark)
                server.wait_for("connected again", after=mark)
        return load


def test_a_frame_too_many_is_noticed_before_it_does_much_harm(tmp_path: Path) -> None:
    load = slip(tmp_path, 5)
    assert load.right > 200
    assert load.errors > 0
    assert load.wrong <= 5 * 40, "what is asked within ten milliseconds, and was sent by then"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        found = slip(Path(name), 40)
    print(f"40 frames too many: {found.wrong} rows wrong, {found.right} right, {found.errors} errors")
