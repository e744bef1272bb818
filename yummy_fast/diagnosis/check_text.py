"""What `check` has found, as JSON for programs and as text for people.

The text has no commands of a store; `commands` in the JSON has what a store will be sent. Pure: `cli` prints it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yummy_fast.config.settings import Config
from yummy_fast.diagnosis.check import Need, request_for
from yummy_fast.diagnosis.findings import Finding, moment
from yummy_fast.errors import RequestError
from yummy_fast.feast_format.registry import DUMMY_JOIN_KEY, FeatureView
from yummy_fast.features.catalog import Catalog, Compiled
from yummy_fast.features.plan import Plan

Describe = Callable[[Any], list[str]]
"""`OnlineStore.describe`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store answered to `OnlineStore.ping`."""

    reachable: bool
    text: str


def as_json(
    config: Config,
    registry_name: str,
    catalog: Catalog[object],
    describe: Describe,
    answer: Answer,
    findings: Sequence[Finding],
    hot_path: str,
) -> dict[str, Any]:
    """Everything, for programs. The text is made from it."""
    repository, registry = config.repository, catalog.registry
    return {
        "configuration": repository.source,
        "project": repository.project,
        "registry": registry_name,
        "registry_version": registry.version,
        "entity_key_serialization_version": repository.key_version,
        "hot_path": hot_path,
        "online_store": {
            "type": repository.online_store["type"],
            "reachable": answer.reachable,
            "answer": answer.text,
        },
        "feature_views": len(registry.views),
        "materialized": {
            view.name: None if view.materialized_until_s is None else moment(view.materialized_until_s)
            for view in sorted(registry.views.values(), key=lambda view: view.name)
            if isinstance(view, FeatureView)
        },
        "broken_views": [{"name": name, "error": str(error)} for name, error in catalog.broken_views()],
        "collisions": catalog.collisions,
        "feature_services": [
            _service(config, name, compiled, describe, full_names=catalog.needs_full_names(name))
            for name, compiled in sorted(catalog.services(), key=lambda pair: pair[0])
        ],
        "findings": [
            {"name": finding.name, "problem": finding.is_problem, "text": finding.text} for finding in findings
        ],
    }


def _service(
    config: Config,
    name: str,
    compiled: Compiled[object] | RequestError,
    describe: Describe,
    *,
    full_names: bool,
) -> dict[str, Any]:
    if isinstance(compiled, RequestError):
        return {"name": name, "error": str(compiled)}
    plan = compiled.plan
    needed = request_for(plan)
    return {
        "name": name,
        "features": plan.feature_count,
        "feature_views": sum(len(lookup.views) for lookup in plan.lookups if not lookup.is_pushed),
        "keys_per_row": len(plan.lookups),
        "entities": _types(needed.entities),
        "request_data": _types(needed.request_data),
        "full_feature_names": full_names,
        "reads": list(_reads(plan)),
        "commands": [
            f"{'pushed' if lookup.is_pushed else ', '.join(name for _, name in lookup.join_keys)}: {command}"
            for lookup, command in zip(plan.lookups, describe(compiled.prepared), strict=True)
        ],
        "curl": curl(config, needed.body(name, full_names=full_names)),
    }


def _types(needs: Sequence[Need]) -> dict[str, str]:
    return {need.name: need.type for need in needs}


def _reads(plan: Plan) -> Iterator[str]:
    """What is read from the store for each row, in words."""
    pushed = dict(plan.pushed)  # lookups that are read twice, and answered once
    for number, lookup in enumerate(plan.lookups):
        if lookup.is_pushed:
            continue
        names = ", ".join(name for join_key, name in lookup.join_keys if join_key != DUMMY_JOIN_KEY)
        features = "1 feature" if len(lookup.features) == 1 else f"{len(lookup.features)} features"
        views = "1 view" if len(lookup.views) == 1 else f"{len(lookup.views)} views"
        twice = ", as materialized and as pushed" if number in pushed else ""
        yield f"{features} of {views} {f'by {names}' if names else 'without entities'}{twice}"


def curl(config: Config, body: Mapping[str, object]) -> str:
    """A command line that asks a server with this configuration."""
    address = config.address
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address.host, address.host)  # noqa: S104
    host = f"[{host}]" if ":" in host and host[0] != "[" else host
    where = "localhost" if address.uds else f"{host}:{address.port}"
    parts = ["curl", "-s"]
    parts += ["--unix-socket", address.uds] if address.uds else []
    parts += ["-H", "Authorization: Bearer TOKEN"] if config.auth.tokens else []
    parts += ["--cert", "CLIENT_CERTIFICATE", "--key", "ITS_KEY"] if config.tls.client_ca else []
    parts += [f"{'https' if config.tls.cert else 'http'}://{where}/get-online-features"]
    return shlex.join([*parts, "-d", json.dumps(body, ensure_ascii=False)])


# ----------------------------------------------------------------------------------------------------------- for people


def lines(found: Mapping[str, Any], sample: Sequence[str] = ()) -> Iterator[str]:
    """The text of what `as_json` returns. `sample`: lines about a sample of the store, to stand before the findings."""
    online_store = found["online_store"]
    state = "answers" if online_store["reachable"] else "DOES NOT ANSWER"
    yield f"configuration  {found['configuration']}"
    yield f"project        {found['project']}"
    yield f"registry       {found['registry']} (version {found['registry_version'] or 'unknown'})"
    yield f"entity keys    serialization version {found['entity_key_serialization_version']}"
    yield f"hot path       {found['hot_path']}"
    yield f"online store   {online_store['type']}, {state}: {online_store['answer']}"
    yield f"feature views  {found['feature_views']}"
    if found["materialized"]:
        yield ""
        width = max(map(len, ("feature view", *found["materialized"])))
        yield f"{'feature view':<{width}}  materialized until"
        yield f"{'-' * width}  {'-' * 20}"
        for name, until in found["materialized"].items():
            yield f"{name:<{width}}  {until or 'never'}"
    for service in found["feature_services"]:
        yield ""
        yield f"feature service {service['name']}"
        if "error" in service:
            yield f"  CANNOT BE SERVED: {' '.join(service['error'].split())}"
            continue
        yield f"  features      {service['features']}"
        yield f"  entities      {_words(service['entities'])}"
        if service["request_data"]:
            yield f"  request data  {_words(service['request_data'])}"
        if service["full_feature_names"]:
            yield '  full names    only: requests need "full_feature_names": true'
        yield f"  reads         {'; '.join(service['reads']) or 'nothing'}"
        yield f"  try           {service['curl']}"
    if sample:
        yield ""
        yield from sample
    yield ""
    problems = [finding["text"] for finding in found["findings"] if finding["problem"]]
    for text in problems:
        yield f"PROBLEM  {text}"
    for finding in found["findings"]:
        if not finding["problem"]:
            yield f"note     {finding['text']}"
    if not problems:
        yield "No problem was found." if online_store["reachable"] else "The online store was not looked into."


def _words(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in types.items()) or "none"
