"""Feast's own keys: what is read of them, what is refused, and that messages name file and key."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
import yaml

from yummy_fast.config.repository import Repository, asks_for_metrics, parse_repository, used_keys
from yummy_fast.errors import ConfigError

MINIMAL = "project: rides\nregistry: data/registry.db\n"
FOLDERS = ("/repo", "/beside")


def parse(text: str) -> Repository:
    return parse_repository(yaml.safe_load(text), "fs.yaml", FOLDERS, lambda path: str(PurePosixPath("/found", path)))


def test_a_minimal_file_gets_feasts_defaults() -> None:
    found = parse(MINIMAL)
    assert (found.project, found.key_version) == ("rides", 3)
    assert (found.versioning, found.serve_materializing) == (False, False)
    assert (found.registry, found.registry_path) == ({"path": "data/registry.db"}, "/found/data/registry.db")
    assert found.online_store == {"type": "sqlite"}
    assert (found.source, found.folders) == ("fs.yaml", FOLDERS)


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ("online_store: redis", {"type": "redis"}),
        ("online_store: {path: a.db}", {"type": "sqlite", "path": "a.db"}),
        (
            "online_store: {type: redis, connection_string: 'h:1,ssl=true'}",
            {"type": "redis", "connection_string": "h:1,ssl=true"},
        ),
    ],
)
def test_an_online_store_may_be_short(text: str, store: dict[str, str]) -> None:
    assert parse(MINIMAL + text).online_store == store


def test_a_registry_block() -> None:
    text = "project: rides\nregistry: {path: /r.db, registry_type: file, cache_ttl_seconds: 5, unknown: 1"
    found = parse(f"{text}, enable_online_feature_view_versioning: true}}")
    assert (found.registry_path, found.versioning, found.serve_materializing) == ("/r.db", True, False)
    found = parse(f"{text}, serve_features_while_materializing: true}}")
    assert (found.registry_path, found.versioning, found.serve_materializing) == ("/r.db", False, True)


@pytest.mark.parametrize(
    ("registry", "path"),
    [
        ("s3://bucket/a/r.db", "s3://bucket/a/r.db"),
        ("gs://bucket/r.db", "gs://bucket/r.db"),
        ("https://me:secret@host/r.db?key=x", "https://me:secret@host/r.db?key=x"),
        ("{path: s3://b/r.db, registry_store_type: S3RegistryStore}", "s3://b/r.db"),
        ("{path: /r.db, registry_store_type: feast.infra.registry.file.FileRegistryStore}", "/r.db"),
        ("{registry_type: sql, path: 'postgresql://h/d'}", "postgresql+psycopg://h/d"),
        ("{registry_type: sql, path: 'postgresql+psycopg2://h/d'}", "postgresql+psycopg2://h/d"),
        ("{registry_type: sql, path: 'a://w', read_path: 'postgresql://r/d'}", "postgresql+psycopg://r/d"),
        ("{registry_type: sql, path: 'sqlite:///r.db', read_path: null}", "sqlite:///r.db"),
    ],
)
def test_a_registry_elsewhere(registry: str, path: str) -> None:
    assert parse(f"project: rides\nregistry: {registry}").registry_path == path


def test_unknown_keys_are_feasts_business() -> None:
    assert parse(MINIMAL + "provider: local\nflags: {a: 1}\nno_such_key: 1\n").project == "rides"


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_the_version_of_keys(version: int) -> None:
    """Feast takes 0, and writes the keys of 1 (feast/infra/key_encoding_utils.py)."""
    assert parse(MINIMAL + f"entity_key_serialization_version: {version}").key_version == version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registry: r.db", "project: expected a name of letters, digits and underscores that does not begin with an "
         "underscore, got None"),
        *(
            (f"project: {name}\nregistry: r.db", "project: expected a name of letters, digits and underscores that "
             f"does not begin with an underscore, got {shown}")
            for name, shown in (("a-b", "'a-b'"), ("_a", "'_a'"), ("7", "7"), ("''", "''"), ("'a b'", "'a b'"))
        ),
        ("project: a", "registry: expected a path, or keys with a `path` among them, got None"),
        ("project: a\nregistry: [secret]",
         "registry: expected a path, or keys with a `path` among them, got a list"),
        ("project: a\nregistry: {registry_type: file}", "registry.path: expected a path or URL, got nothing"),
        ("project: a\nregistry: ''", "registry.path: expected a path or URL, got nothing"),
        ("project: a\nregistry: {path: 5}", "registry.path: expected a path or URL, got 5"),
        ("project: a\nregistry: {path: null}", "registry.path: expected a path or URL, got None"),
        ("project: a\nregistry: {registry_type: sql, path: x}",
         "registry.path: expected a database URL, such as postgresql://host/database"),
        ("project: a\nregistry: {registry_type: sql, path: 'a://b', read_path: x}",
         "registry.read_path: expected a database URL, such as postgresql://host/database"),
        ("project: a\nregistry: {registry_type: snowflake.registry, path: x}",
         "registry.registry_type: this server reads registries of type file and sql, not 'snowflake.registry'"),
        ("project: a\nregistry: {registry_type: null, path: x}", "registry.registry_type: expected a name, got None"),
        ("project: a\nregistry: {registry_store_type: AzureRegistryStore, path: x}",
         "registry.registry_store_type: expected FileRegistryStore or S3RegistryStore or GCSRegistryStore, got "
         "'AzureRegistryStore'"),
        ("project: a\nregistry: hdfs://me:secret@h/r.db",
         "registry.path: expected a file's path, or a URL with s3, gs, http, https, got hdfs://"),
        ("project: a\nregistry: file:///r.db",
         "registry.path: expected a file's path, or a URL with s3, gs, http, https, got file://"),
        *(
            (f"project: a\nregistry: {{path: x, cache_ttl_seconds: {given}}}",
             f"registry.cache_ttl_seconds: expected a whole number of seconds, got {shown}")
            for given, shown in (("'5'", "'5'"), ("5.0", "5.0"), ("true", "True"), ("null", "None"))
        ),
        ("project: a\nregistry: {path: x, cache_mode: 1}", "registry.cache_mode: expected sync or thread, got 1"),
        ("project: a\nregistry: {path: x, s3_additional_kwargs: secret}",
         "registry.s3_additional_kwargs: expected keys and values, got str"),
        (MINIMAL + "online_store: null",
         "online_store: expected a type; a repository without online store serves nothing"),
        *(
            (MINIMAL + f"entity_key_serialization_version: {given}",
             f"entity_key_serialization_version: expected 3, 2 or 1, got {shown}")
            for given, shown in (("'3'", "'3'"), ("true", "True"), ("4", "4"), ("-1", "-1"), ("null", "None"))
        ),
        ("project: a\nregistry: {path: x, enable_online_feature_view_versioning: 'yes'}",
         "registry.enable_online_feature_view_versioning: expected true or false, got 'yes'"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_file_and_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == f"fs.yaml: {message}"


@pytest.mark.parametrize("auth", ["auth: {type: oidc}", "auth: {type: kubernetes}", "auth: oidc"])
def test_a_repository_that_asks_for_authentication_is_refused(auth: str) -> None:
    with pytest.raises(ConfigError, match=r"^fs\.yaml: auth\.type: this server checks no tokens"):
        parse(MINIMAL + auth)


@pytest.mark.parametrize("auth", ["auth: {type: no_auth}", "auth: no_auth", "auth: null", "auth: {}"])
def test_a_repository_that_asks_for_no_authentication_is_served(auth: str) -> None:
    assert parse(MINIMAL + auth).project == "rides"


def test_the_keys_that_are_used() -> None:
    """Those that nothing here reads may hold variables that are not set."""
    text = MINIMAL + "provider: $A\noffline_store: $B\nonline_store: redis\n"
    assert used_keys(yaml.safe_load(text)) == {
        "project": "rides", "registry": "data/registry.db", "online_store": "redis"
    }  # fmt: skip
    registry = {"path": "r.db", "cache_mode": "sync", "of_ours": "$C"}
    assert used_keys({"registry": registry}) == {"registry": {"path": "r.db", "cache_mode": "sync"}}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("a: 1", False),
        ("feature_server: {metrics: {enabled: true}}", True),
        ("feature_server: {metrics: {enabled: false}}", False),
        ("feature_server: {metrics: {enabled: 'no'}}", False),
        ("feature_server: {metrics: {enabled: 1}}", False),
        ("feature_server: {metrics: {}}", False),
        ("feature_server: {metrics: true}", False),
        ("feature_server: [1]", False),
    ],
)
def test_metrics_are_asked_for_by_true_and_nothing_else(text: str, asked: bool) -> None:
    assert asks_for_metrics(yaml.safe_load(text)) is asked


# ------------------------------------------------------------------------------------------- what is only worth saying


def notices(text: str) -> list[tuple[str, bool]]:
    return [tuple(notice) for notice in parse(MINIMAL + text).notices]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("online_config: {type: redis}", "online_config", "online_store"),
        ("online-store: {type: redis}", "online-store", "online_store"),
        ("onlinestore: {type: redis}", "onlinestore", "online_store"),
        ("offline_config: {type: dask}", "offline_config", "offline_store"),
        ("feature-server: {enabled: true}", "feature-server", "feature_server"),
        ("entity_key_serialisation_version: 2", "entity_key_serialisation_version", "entity_key_serialization_version"),
        ("yummy-fast: {port: 1}", "yummy-fast", "yummy_fast"),
    ],
)
def test_a_key_that_is_nearly_one(text: str, key: str, meant: str) -> None:
    """Feast takes any key at the top (extra="allow") and ignores it: the store is then SQLite."""
    said = f"fs.yaml: {key}: Feast knows no such key and ignores it; did you mean {meant}?"
    assert notices(text) == [(said, True)]


def test_a_key_that_is_nearly_one_beside_the_right_one() -> None:
    said = "fs.yaml: online_config: Feast knows no such key and ignores it; online_store is used"
    assert notices("online_store: redis\nonline_config: {type: sqlite}") == [(said, False)]


def test_keys_that_are_not_near_to_any() -> None:
    keys = "tags: {a: b}\ndescription: x\nowner: me\nonline: true\n5: x\nbatch_engine_config: local\nprovider: local"
    assert notices(keys) == []


def test_a_missing_key_whose_near_miss_is_there() -> None:
    with pytest.raises(ConfigError, match=r"registry: .*; there is 'registery', which is probably meant"):
        parse("project: rides\nregistery: r.db")
    with pytest.raises(ConfigError, match=r"project: .*; there is 'Project', which is probably meant"):
        parse("Project: rides\nregistry: r.db")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_old_versions_of_keys_are_warned_of(version: int) -> None:
    """As Feast does: RepoConfig.__init__."""
    ((said, is_problem),) = notices(f"entity_key_serialization_version: {version}")
    assert said.startswith("fs.yaml: entity_key_serialization_version: versions below 3 are deprecated")
    assert not is_problem


@pytest.mark.parametrize(
    ("block", "keys"),
    [
        ("{type: local, enabled: true, metrics: {enabled: true}}", []),
        ("{type: local, audit_logging: {enabled: true, sink: stdout}}", ["audit_logging"]),
        ("{type: local, audit_logging: {enabled: false}, feature_logging: {}}", []),
        ("{type: local, feature_logging: {enabled: true}}", ["feature_logging"]),
        ("{type: local, metrics: {enabled: true, audit_logging: true}}", ["metrics.audit_logging"]),
        ("{type: local, metrics: {enabled: true, audit_logging: false}}", []),
        ("{type: mcp, mcp_enabled: true}", ["mcp_enabled"]),
        ("{type: mcp, mcp_enabled: false}", []),
        (
            "{type: local, offline_push_batching_enabled: true, offline_push_batching_batch_size: 100}",
            ["offline_push_batching_enabled", "offline_push_batching_batch_size"],
        ),
        ("{type: local, offline_push_batching_enabled: false}", []),
        ("5", []),
    ],
)
def test_keys_of_feature_server_that_do_nothing_here(block: str, keys: list[str]) -> None:
    said = notices(f"feature_server: {block}")
    assert [text.partition(" has no effect: ")[0] for text, _ in said] == [
        f"fs.yaml: feature_server.{key}" for key in keys
    ]
    assert not any(is_problem for _, is_problem in said)


@pytest.mark.parametrize("name", ["zürich", "проект", "特征", "Ünder_1"])
def test_a_project_may_have_any_letters(name: str) -> None:
    """feast/repo_operations.py is_valid_name: what \\w is in Unicode."""
    assert parse(f"project: {name}\nregistry: r.db").project == name


@pytest.mark.parametrize("name", ["_zürich", "zü rich", "zü-rich", "zü.rich"])
def test_a_project_that_feast_refuses(name: str) -> None:
    """Hyphens too: as RepoConfig is written, it does not know the store when it looks, and takes it for SQLite."""
    with pytest.raises(ConfigError, match=f"fs.yaml: project: .*{name}"):
        parse(f"project: {name}\nregistry: r.db")


@pytest.mark.parametrize(
    "block", ["{registry_type: snowflake.registry, account: a}", "{registry_type: remote, path: h}"]
)
def test_a_registry_of_another_type_is_named_first(block: str) -> None:
    """And not the path that it has none of."""
    with pytest.raises(ConfigError, match=r"^fs.yaml: registry.registry_type: this server reads registries of type"):
        parse(f"project: rides\nregistry: {block}")


def test_the_class_of_a_store_for_its_type() -> None:
    store = "online_store: {type: feast.infra.online_stores.redis.RedisOnlineStore, connection_string: 'h:1'}"
    assert parse(MINIMAL + store).online_store["type"] == "redis"


@pytest.mark.parametrize("nothing", ["null", "none", "'Null'"])
def test_no_online_store(nothing: str) -> None:
    with pytest.raises(ConfigError, match=r"fs.yaml: online_store: .*without online store"):
        parse(MINIMAL + f"online_store: {nothing}")
