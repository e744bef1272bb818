"""`yummy-fast doctor`: take a sample of the store, and say what is wrong with it.

The sample is bounded by a number of keys and by time, and taken in small steps (`stores.looks`), so a Redis that serves
does not notice it: a SCAN of 100 keys at a time, then a few commands for each hash that is read. What the sample shows
is for `census` to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from yummy_fast.config.repository import Repository
from yummy_fast.diagnosis import census
from yummy_fast.diagnosis.census import Census
from yummy_fast.diagnosis.findings import Finding
from yummy_fast.diagnosis.stored_keys import known_join_keys, read_key
from yummy_fast.feast_format.registry import FeatureView, Registry
from yummy_fast.stores.looks import Looks, StoredHash


@dataclass(frozen=True, slots=True)
class Examination:
    """A sample, and what is wrong with it."""

    census: Census
    findings: Sequence[Finding]
    took_s: float

    def as_json(self) -> dict[str, Any]:
        """The numbers of the sample, for programs."""
        return {**census.as_json(self.census), "took_s": round(self.took_s, 3)}


def examine(
    registry: Registry,
    repository: Repository,
    looks: Looks,
    *,
    max_keys: int,
    time_s: float,
    strict: bool,
    now: datetime,
) -> Examination:
    """Look at no more than `max_keys` keys, for about `time_s` at most. Raises StoreUnavailableError."""
    began = time.monotonic()
    key_version = max(repository.key_version, 1)  # to Feast, 0 is another word for 1
    names = [name for name, view in registry.views.items() if isinstance(view, FeatureView)]
    scan = looks.scan(db=looks.db, views=names, max_keys=max_keys, time_s=time_s / 2)
    known = known_join_keys(registry)
    keys = {key: read_key(key, known) for key in scan.keys}
    own = [key for key, read in keys.items() if read is not None and read.project == registry.project]
    hashes = looks.read_many(own)
    taken = census.take(
        registry,
        kind=looks.kind,
        versioning=repository.versioning,
        key_version=key_version,
        keys=keys,
        hashes=_until(hashes, began + time_s),
        complete=scan.complete,
        now=now,
    )
    if next(hashes, None) is not None:  # the time was over before all were read
        taken.complete = False
    findings = census.judge(
        taken,
        registry,
        key_version=key_version,
        address=looks.address,
        db=looks.db,
        databases=looks.databases(),
        strict=strict,
    )
    return Examination(taken, findings, time.monotonic() - began)


def _until(hashes: Iterator[tuple[bytes, StoredHash]], deadline: float) -> Iterator[tuple[bytes, StoredHash]]:
    for one in hashes:
        yield one
        if time.monotonic() > deadline:
            return
