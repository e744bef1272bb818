"""What `yummy-fast check` finds: everything that requests would meet, from what is known before there are any.

The configuration says what in it does nothing; the registry, which services and views cannot be served as they are; a
`Survey` of the store, whether it holds what the registry promises. A finding that makes answers null, wrong or
impossible is a problem, and then `check` ends with exit code 1; the others are only worth knowing.

Pure: `check_run` asks the store. What a survey shows is said of the keys that were looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from yummy_fast.config.repository import Repository
from yummy_fast.diagnosis.findings import Finding, without_rows
from yummy_fast.diagnosis.stored_keys import known_join_keys, read_entity_key
from yummy_fast.feast_format.keys import entity_key_header
from yummy_fast.feast_format.registry import DUMMY_JOIN_KEY, FeatureView, Registry
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.feast_faults import AS_IN_FEAST, faults_but_key_types, key_type_conflicts
from yummy_fast.features.plan import Plan
from yummy_fast.features.views import stored_name
from yummy_fast.stores.survey import Survey


def of_configuration(repository: Repository, store_notices: Iterable[str]) -> Iterator[Finding]:
    """What the file says that does not do what its author wants."""
    yield from (Finding("configuration", notice.text, notice.is_problem) for notice in repository.notices)
    yield from (Finding("configuration", text, is_problem=False) for text in store_notices)


def of_registry(catalog: Catalog[object], where: str, *, strict: bool, versioning: bool) -> Iterator[Finding]:
    """What the registry says that cannot be served, or not as it seems. `where` is the registry's name.

    `strict`: --compat strict. `versioning`: registry.enable_online_feature_view_versioning.
    """
    registry = catalog.registry
    if not registry.views:
        others = ", ".join(registry.other_projects) or "none"
        yield Finding(
            "no_views",
            f"{where}: no feature views in project {registry.project}; the registry's other projects: {others}",
        )
    for _, error in catalog.broken_views():
        yield Finding("broken_view", f"{where}: {error}")
    broken = {name: " ".join(str(error).split()) for name, error in catalog.broken_services()}
    for name, why in sorted(broken.items()):
        yield Finding("broken_service", f"{where}: feature service {name} cannot be served: {why}")
    for pair in catalog.collisions:
        text = f"{where}: hash collision: these features share one Redis field; rename one: {pair}"
        yield Finding("collision", text)
    for name in sorted(registry.services):
        if catalog.needs_full_names(name) and name not in broken:
            yield Finding(
                "full_names",
                f"{where}: feature service {name}: two of its features have the same name, so requests get 400 unless "
                'they say "full_feature_names": true',
            )
    yield from _of_feast(registry, where, strict=strict, versioning=versioning)


def _of_feast(registry: Registry, where: str, *, strict: bool, versioning: bool) -> Iterator[Finding]:
    """What is answered wrongly because Feast answers so; and join keys of different types, which `strict` can read."""
    for conflict in key_type_conflicts(registry):
        service = f"feature service {conflict.service}: " if conflict.service else ""
        effect = (
            "With --compat strict each view is read by its own type"
            if strict
            else "The type is part of the key, and the one value that a request has is converted to one of them: "
            "features of the other views are null. Declare one type, or use --compat strict, which reads each view by "
            "its own"
        )
        yield Finding(
            "join_key_type",
            f"{where}: {service}join key {conflict.name} has different types: {conflict.declared()}. {effect}",
            is_problem=bool(conflict.service) and not strict,
        )
    for fault in () if strict else faults_but_key_types(registry, versioning=versioning):
        yield Finding("as_in_feast", f"{where}: {AS_IN_FEAST}: {fault}", is_problem=False)


def of_store(
    registry: Registry, survey: Survey, where: str, registry_name: str, *, key_version: int, versioning: bool
) -> Iterator[Finding]:
    """What the store lacks, or holds otherwise than it is looked up. `where` is the file's name."""
    yield from _mode(survey, where)
    yield from (
        Finding(
            "not_permitted",
            f"{survey.address}: the user may not run {command}: {what} was not checked",
            is_problem=False,
        )
        for command, what in survey.refused
    )
    known = known_join_keys(registry)
    keys = [read_entity_key(key, known) for key in survey.keys]
    # What is no entity key is a key of another project whose name ends as this one's.
    versions = Counter(key.versions for key in keys if key is not None)
    pushed = entity_key_header([], 3)  # of views without entities: see `features.pushed_rows`
    if not versions and pushed not in survey.keys and not survey.refused and registry.views:
        yield _no_keys(registry, survey, where)
    others: Counter[int] = Counter()
    for found, count in versions.items():
        if max(key_version, 1) not in found:  # to Feast, 0 is another word for 1
            others[max(found)] += count
    for written, count in sorted(others.items()):
        yield Finding(
            "key_version",
            f"{survey.address}{survey.place}: {count} of {versions.total()} keys of project {registry.project} that "
            f"were looked at have serialization version {written}, and entity_key_serialization_version in {where} is "
            f"{key_version}, so they are never found. Set it to {written}, or materialize again",
        )
    for view in sorted(registry.views.values(), key=lambda each: each.name):
        if isinstance(view, FeatureView) and view.online and view.materialized_until_s is None:
            name = stored_name(view.name, view.version if versioning else 0)
            if name in survey.views:
                continue  # somebody wrote it all the same: Feast's write_to_online_store, or a push
            finding = without_rows(view)
            yield finding._replace(text=f"{registry_name}: {finding.text}")


def _mode(survey: Survey, where: str) -> Iterator[Finding]:
    if survey.mode in ("cluster", "sentinel"):
        what = "a node of a Redis Cluster" if survey.mode == "cluster" else "a Redis Sentinel, which holds no data"
        yield Finding(
            "redis_type",
            f"{where}: online_store.redis_type: it says {survey.expected_mode}, and {survey.address} is {what}: set "
            f"redis_type: redis_{survey.mode}, as for Feast, or give the address of a single Redis",
        )


def _no_keys(registry: Registry, survey: Survey, where: str) -> Finding:
    looked = "" if survey.complete else f" among the {survey.looked_at} that were looked at"
    elsewhere = ", ".join(f"{number} ({count} keys)" for number, count in survey.databases.items())
    hint = f"; there are keys in database {elsewhere}: is db= right?" if elsewhere else ""
    return Finding(
        "other_db" if elsewhere else "wrong_redis",
        f"{survey.address}{survey.place}: no key of project {registry.project}{looked}: every feature is null. Compare "
        f"project and online_store in {where} with those of the writer, or run `feast materialize`{hint}",
    )


# ------------------------------------------------------------------------------------------------- what can be asked


class Need(NamedTuple):
    """Something that a request for a service must send, and an example of a value."""

    name: str
    type: str
    example: object


class Request(NamedTuple):
    """What a request for a feature service must send."""

    entities: list[Need]
    request_data: list[Need]

    def body(self, service: str, *, full_names: bool) -> dict[str, object]:
        """The JSON of a request of one row, with examples of values."""
        columns = {need.name: [need.example] for need in (*self.entities, *self.request_data)}
        body: dict[str, object] = {"feature_service": service, "entities": columns}
        return {**body, "full_feature_names": True} if full_names else body


def request_for(plan: Plan) -> Request:
    """What a plan needs, by name."""
    pairs = {pair for lookup in plan.lookups for pair in lookup.join_keys}
    names = sorted({name for join_key, name in pairs if join_key != DUMMY_JOIN_KEY})
    fields = {field.name: field.type for computed in plan.computed for field in computed.view.request_data}
    return Request(
        entities=[_need(name, plan.types.get(name, ValueType.UNKNOWN)) for name in names],
        request_data=[_need(name, kind) for name, kind in sorted(fields.items())],
    )


_EXAMPLES: Mapping[str, object] = {
    "STRING": "a",
    "BYTES": "YQ==",
    "BOOL": True,
    "DOUBLE": 1.5,
    "FLOAT": 1.5,
    "UUID": "123e4567-e89b-12d3-a456-426614174000",
    "TIME_UUID": "d50e5ed0-0a5c-11ec-9a03-0242ac130003",
    "DECIMAL": "1.5",
    "JSON": "{}",
    "MAP": {"a": 1},
    "STRUCT": {"a": 1},
}
"""An example of a value of each type; of all others, 1 is one."""


def _need(name: str, kind: ValueType) -> Need:
    scalar = kind.name.removesuffix("_LIST").removesuffix("_SET")
    example = _EXAMPLES.get(scalar, 1)
    return Need(name, kind.name if kind else "any type", [example] if scalar != kind.name else example)
