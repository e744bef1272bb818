"""`yummy-fast check`: ask the store what requests will ask it, look into it, and make findings of all there is.

Every feature view and every feature service is read once, for an entity that is not there: so a table that is missing,
or a right that the user does not have, is found here and not by the first request. What the findings are is in `check`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

from yummy_fast.config.settings import Config
from yummy_fast.diagnosis import check, check_text
from yummy_fast.diagnosis.check_text import Answer
from yummy_fast.diagnosis.findings import Finding
from yummy_fast.diagnosis.report import printable
from yummy_fast.errors import RequestError, StoreError, StoreUnavailableError
from yummy_fast.feast_format.keys import entity_key_header
from yummy_fast.feast_format.registry import FeatureView
from yummy_fast.features.catalog import Catalog, Compiled
from yummy_fast.features.views import stored_name
from yummy_fast.native import owner
from yummy_fast.stores.online_store import OnlineStore


class Checked:
    """What `check` has found."""

    def __init__(
        self,
        config: Config,
        registry_name: str,
        catalog: Catalog[object],
        store: OnlineStore[object],
        of_sample: Sequence[Finding] | None = None,
    ) -> None:
        """Ask and look, which takes some seconds at most.

        `of_sample`: what `doctor` has found in a larger sample than is looked at otherwise.
        """
        self.answer, of_store = asyncio.run(_of_store(config, registry_name, catalog, store, of_sample))
        findings = [
            *check.of_configuration(config.repository, store.notices),
            *check.of_registry(
                catalog,
                registry_name,
                strict=config.features.compat == "strict",
                versioning=config.repository.versioning,
            ),
            *of_store,
        ]
        self.has_problems = any(finding.is_problem for finding in findings)
        self.found = check_text.as_json(
            config, registry_name, catalog, store.describe, self.answer, findings, owner.DESCRIPTION
        )

    def lines(self, sample: Sequence[str] = ()) -> Iterator[str]:
        """For people. `sample`: lines about a sample of the store."""
        return map(printable, check_text.lines(self.found, sample))


async def _of_store(
    config: Config,
    registry_name: str,
    catalog: Catalog[object],
    store: OnlineStore[object],
    of_sample: Sequence[Finding] | None,
) -> tuple[Answer, list[Finding]]:
    repository = config.repository
    findings = [*of_sample] if of_sample is not None else await _of_survey(config, registry_name, catalog, store)
    try:
        answer = Answer(reachable=True, text=await store.ping())
    except StoreError as error:
        return Answer(reachable=False, text=str(error)), [each for each in findings if each.name == "redis_type"]
    await store.open()
    try:
        unreadable = await _unreadable(catalog, store)
        findings += [Finding("unreadable", f"{repository.source}: online_store: {text}") for text in unreadable]
        cache = store.cache()
        if cache:
            megabytes = cache["limit_bytes"] >> 20
            answer = replace(answer, text=f"{answer.text}; a cache of {megabytes} MB for each worker")
        if "problem" in cache:
            text = (
                f"{repository.source}: yummy_fast.cache_mb: {cache['problem']}; requests are answered without the cache"
            )
            findings.append(Finding("cache", text))
    finally:
        await store.close()
    return answer, findings


async def _of_survey(
    config: Config, registry_name: str, catalog: Catalog[object], store: OnlineStore[object]
) -> list[Finding]:
    repository, registry = config.repository, catalog.registry
    names = [
        stored_name(view.name, view.version if repository.versioning else 0)
        for view in registry.views.values()
        if isinstance(view, FeatureView)
    ]
    try:
        survey = await store.survey(names)
    except StoreUnavailableError:
        return []  # `ping` says it too
    found = check.of_store(
        registry,
        survey,
        repository.source,
        registry_name,
        key_version=repository.key_version,
        versioning=repository.versioning,
    )
    return list(found)


async def _unreadable(catalog: Catalog[object], store: OnlineStore[object]) -> list[str]:
    """Feature views and services that cannot be read, and why. A service is named if all of its views can be."""
    found: list[str] = []
    bad_views: set[str] = set()
    for view in sorted(catalog.registry.views.values(), key=lambda view: view.name):
        if not isinstance(view, FeatureView) or not view.features or not view.online:
            continue
        try:
            compiled = catalog.plan_for(None, [f"{view.name}:{field.name}" for field in view.features], True)
            await _read_nothing(compiled, store)
        except RequestError:  # those who ask for it get to know
            continue
        except StoreError as error:
            bad_views.update(_views(compiled))
            found.append(f"feature view {view.name} cannot be read: {error}")
    for name, service in sorted(catalog.services(), key=lambda pair: pair[0]):
        if isinstance(service, RequestError) or _views(service) & bad_views:
            continue
        try:
            await _read_nothing(service, store)
        except StoreError as error:
            found.append(f"feature service {name} cannot be read: {error}")
    return found


def _views(compiled: Compiled[object]) -> set[str]:
    """What a plan reads, by the names that the store has for it."""
    return {view for lookup in compiled.plan.lookups for view in lookup.views}


async def _read_nothing(compiled: Compiled[object], store: OnlineStore[object]) -> None:
    """Read what a request would, of an entity that is not there: its key ends before the values. Raises StoreError."""
    lookups = compiled.plan.lookups
    keys = [
        [entity_key_header([] if lookup.is_pushed else [join_key for join_key, _ in lookup.join_keys], 3)]
        for lookup in lookups
    ]
    await store.fetch(compiled.prepared, keys)
