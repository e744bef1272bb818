"""feature_store.yaml, flags and environment: who wins, what is refused, and that messages name file and key."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.harness import FileServer
from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.config.settings import SETTINGS
from yummy_fast.errors import ConfigError
from yummy_fast.sources.yaml_text import load_config

MINIMAL = "project: rides\nregistry: data/registry.db\n"


def load(folder: Path, text: str, *, flags: dict[str, str] | None = None, **environ: str) -> Config:
    (folder / "feature_store.yaml").write_text(text)
    return load_config(chdir=str(folder), flags=flags, environ=environ)


def refusal(folder: Path, text: str, **environ: str) -> str:
    """What is said of `text`, without the file's path in front."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, flags=None, **environ)
    source = str(folder / "feature_store.yaml")
    assert str(caught.value).startswith(source), "the message names the file"
    return str(caught.value).removeprefix(source)


# ------------------------------------------------------------------------------------------------------- Feast's keys


def test_a_minimal_file_gets_feasts_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert (config.project, config.key_version, config.versioning) == ("rides", 3, False)
    assert config.registry_path == str(tmp_path / "data/registry.db")
    assert config.online_store == {"type": "sqlite"}
    assert (config.host, config.port, config.registry_ttl_sec, config.keep_alive_timeout) == ("127.0.0.1", 6566, 60, 30)
    assert config.source == str(tmp_path / "feature_store.yaml")


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
def test_an_online_store_may_be_short(tmp_path: Path, text: str, store: dict[str, str]) -> None:
    assert load(tmp_path, MINIMAL + text).online_store == store


def test_a_registry_block(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "project: rides\nregistry: {path: /r.db, registry_type: file, cache_ttl_seconds: 5, unknown: 1,"
        " enable_online_feature_view_versioning: true}",
    )
    assert (config.registry_path, config.versioning) == ("/r.db", True)


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
def test_a_registry_elsewhere(tmp_path: Path, registry: str, path: str) -> None:
    assert load(tmp_path, f"project: rides\nregistry: {registry}").registry_path == path


def test_unknown_keys_are_feasts_business(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "provider: local\nflags: {a: 1}\nno_such_key: 1\n").project == "rides"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_version_of_keys(tmp_path: Path, version: int) -> None:
    assert load(tmp_path, MINIMAL + f"entity_key_serialization_version: {version}").key_version == version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registry: r.db", ": project: expected a name of letters, digits and underscores that does not begin with an "
         "underscore, got None"),
        *(
            (f"project: {name}\nregistry: r.db", ": project: expected a name of letters, digits and underscores that "
             f"does not begin with an underscore, got {shown}")
            for name, shown in (("a-b", "'a-b'"), ("_a", "'_a'"), ("7", "7"), ("''", "''"), ("'a b'", "'a b'"))
        ),
        ("project: a", ": registry: expected a path, or keys with a `path` among them, got None"),
        ("project: a\nregistry: [secret]",
         ": registry: expected a path, or keys with a `path` among them, got a list"),
        ("project: a\nregistry: {registry_type: file}", ": registry.path: expected a path or URL, got nothing"),
        ("project: a\nregistry: ''", ": registry.path: expected a path or URL, got nothing"),
        ("project: a\nregistry: {path: 5}", ": registry.path: expected a path or URL, got 5"),
        ("project: a\nregistry: {path: null}", ": registry.path: expected a path or URL, got None"),
        ("project: a\nregistry: {registry_type: sql, path: x}",
         ": registry.path: expected a database URL, such as postgresql://host/database"),
        ("project: a\nregistry: {registry_type: sql, path: 'a://b', read_path: x}",
         ": registry.read_path: expected a database URL, such as postgresql://host/database"),
        ("project: a\nregistry: {registry_type: snowflake.registry, path: x}",
         ": registry.registry_type: this server reads registries of type file and sql, not 'snowflake.registry'"),
        ("project: a\nregistry: {registry_type: null, path: x}", ": registry.registry_type: expected a name, got None"),
        ("project: a\nregistry: {registry_store_type: AzureRegistryStore, path: x}",
         ": registry.registry_store_type: expected FileRegistryStore or S3RegistryStore or GCSRegistryStore, got "
         "'AzureRegistryStore'"),
        ("project: a\nregistry: hdfs://me:secret@h/r.db",
         ": registry.path: expected a file's path, or a URL with s3, gs, http, https, got hdfs://"),
        ("project: a\nregistry: file:///r.db",
         ": registry.path: expected a file's path, or a URL with s3, gs, http, https, got file://"),
        *(
            (f"project: a\nregistry: {{path: x, cache_ttl_seconds: {given}}}",
             f": registry.cache_ttl_seconds: expected a whole number of seconds, got {shown}")
            for given, shown in (("'5'", "'5'"), ("5.0", "5.0"), ("true", "True"), ("null", "None"))
        ),
        ("project: a\nregistry: {path: x, cache_mode: 1}", ": registry.cache_mode: expected sync or thread, got 1"),
        ("project: a\nregistry: {path: x, s3_additional_kwargs: secret}",
         ": registry.s3_additional_kwargs: expected keys and values, got str"),
        (MINIMAL + "online_store: null",
         ": online_store: expected a type, or keys with a `type` among them"),
        (MINIMAL + "entity_key_serialization_version: '3'",
         ": entity_key_serialization_version: expected 3, 2 or 1, got '3'"),
        (MINIMAL + "entity_key_serialization_version: true",
         ": entity_key_serialization_version: expected 3, 2 or 1, got True"),
        (MINIMAL + "entity_key_serialization_version: 4",
         ": entity_key_serialization_version: expected 3, 2 or 1, got 4"),
        ("project: a\nregistry: {path: x, enable_online_feature_view_versioning: 'yes'}",
         ": registry.enable_online_feature_view_versioning: expected true or false, got 'yes'"),
        ("", ": expected keys and values, such as `project: my_project`"),
        ("- a", ": expected keys and values, such as `project: my_project`"),
        ("project: a\0b", ": not YAML: unacceptable character #x0000: special characters are not allowed in \"<unicode "
         "string>\", position 10"),
        ("project: a\n  b: c", ", line 2, column 4: not YAML: mapping values are not allowed here"),
        ("a: !!python/none x",
         ", line 1, column 4: not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/none'"),
        (MINIMAL + "yummy_fast: 1", ": yummy_fast: expected keys and values, got 1"),
        (MINIMAL + "yummy_fast: {port: many}", ": yummy_fast.port: expected a port number, got 'many'"),
        (MINIMAL + "yummy_fast: {port: true}", ": yummy_fast.port: expected a port number, got True"),
        (MINIMAL + "yummy_fast: {port: 65536}", ": yummy_fast.port: expected a port number, got 65536"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message


def test_an_unknown_setting_is_named_with_those_there_are(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "yummy_fast: {prot: 1}")
    assert message.startswith(": yummy_fast.prot: no such setting; there are: ")
    assert all(setting.name in message for setting in SETTINGS)


# ------------------------------------------------------------------------------------------------ finding the file


def test_the_file_may_come_in_base64(tmp_path: Path) -> None:
    encoded = base64.b64encode(MINIMAL.encode()).decode()
    config = load_config(chdir=str(tmp_path), environ={"FEATURE_STORE_YAML_BASE64": encoded})
    assert (config.project, config.source) == ("rides", "FEATURE_STORE_YAML_BASE64")
    assert config.registry_path == str(tmp_path / "data/registry.db")


@pytest.mark.parametrize("encoded", ["not base64!", base64.b64encode(b"\xff\xfe").decode()])
def test_base64_that_is_none_is_named_and_not_quoted(encoded: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environ={"FEATURE_STORE_YAML_BASE64": encoded})
    assert str(caught.value) == "FEATURE_STORE_YAML_BASE64: expected the file's text in base64"


def test_the_path_of_the_file_comes_from_the_argument_then_the_environment_then_the_folder(tmp_path: Path) -> None:
    for name in ("given", "environment", "feature_store"):
        (tmp_path / f"{name}.yaml").write_text(f"project: {name}\nregistry: r.db")
    environ = {"FEAST_FS_YAML_FILE_PATH": str(tmp_path / "environment.yaml")}
    given = str(tmp_path / "given.yaml")
    assert load_config(chdir=str(tmp_path), feature_store_yaml=given, environ=environ).project == "given"
    assert load_config(chdir=str(tmp_path), environ=environ).project == "environment"
    assert load_config(chdir=str(tmp_path), environ={}).project == "feature_store"
    assert load_config(environ={"FEATURE_REPO_DIR_ENV_VAR": str(tmp_path)}).project == "feature_store"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(chdir=str(tmp_path), environ={})
    assert str(caught.value) == f"{tmp_path}/feature_store.yaml: cannot be read: No such file or directory"


def test_the_file_may_lie_behind_a_url(tmp_path: Path) -> None:
    with FileServer({"/fs.yaml": MINIMAL.encode(), "/none.yaml": b"\xff"}) as web:
        url = web.url.replace("://", "://me:secret@")
        config = load_config(chdir=str(tmp_path), feature_store_yaml=f"{url}/fs.yaml?token=secret", environ={})
        assert (config.project, config.source) == ("rides", f"{web.url}/fs.yaml")
        assert config.registry_path == str(tmp_path / "data/registry.db")
        assert web.asked[0].headers["Authorization"] == "Basic bWU6c2VjcmV0"
        for path, reason in (("absent.yaml", "HTTP status 404"), ("none.yaml", "not UTF-8 text")):
            with pytest.raises(ConfigError) as caught:
                load_config(feature_store_yaml=f"{url}/{path}", environ={})
            assert str(caught.value) == f"{web.url}/{path}: cannot be read: {reason}"
    with pytest.raises(ConfigError) as caught:
        load_config(feature_store_yaml=f"{url}/fs.yaml", environ={})
    assert str(caught.value) == f"{web.url}/fs.yaml: cannot be read: Connection refused"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_bytes(b"project: \xff")
    with pytest.raises(ConfigError) as caught:
        load_config(chdir=str(tmp_path), environ={})
    assert str(caught.value) == f"{tmp_path}/feature_store.yaml: cannot be read: not UTF-8 text"


def test_a_relative_registry_is_the_repositorys_and_else_lies_beside_the_file(tmp_path: Path) -> None:
    repo, beside = tmp_path / "repo", tmp_path / "beside"
    repo.mkdir()
    beside.mkdir()
    (beside / "fs.yaml").write_text("project: rides\nregistry: r.db")

    def found() -> str:
        return load_config(chdir=str(repo), feature_store_yaml=str(beside / "fs.yaml"), environ={}).registry_path

    assert found() == str(repo / "r.db"), "neither is there yet: where Feast would look"
    (beside / "r.db").touch()
    assert found() == str(beside / "r.db")
    (repo / "r.db").touch()
    assert found() == str(repo / "r.db")


# ------------------------------------------------------------------------------------------------------- variables


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$HOST:1", "h:1"),
        ("${HOST}:1", "h:1"),
        ("$$HOST", "$h"),
        ("${HOST", "${HOST"),
        ("${NEST}", "$HOST"),
        ("${PASSWORD}", "pa$word"),
        ("$é", "$é"),
    ],
)
def test_variables_are_expanded_once(tmp_path: Path, text: str, expanded: str) -> None:
    config = load(
        tmp_path, MINIMAL + f"online_store: {{type: redis, connection_string: '{text}'}}",
        HOST="h", NEST="$HOST", PASSWORD="pa$word",
    )  # fmt: skip
    assert config.online_store["connection_string"] == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("project: ${NOPE}\nregistry: r.db", "project: ${NOPE}"),
        ("project: a\nregistry: ${NOPE}/r.db", "registry: ${NOPE}"),
        ("project: a\nregistry: {path: s3://$NOPE/r.db}", "registry.path: $NOPE"),
        ("project: a\nregistry: {path: r.db, cache_ttl_seconds: '${NOPE}'}", "registry.cache_ttl_seconds: ${NOPE}"),
        ("project: a\nregistry: {path: r.db, s3_additional_kwargs: {a: $NOPE}}",
         "registry.s3_additional_kwargs.a: $NOPE"),
        (MINIMAL + "online_store: $NOPE", "online_store: $NOPE"),
        (MINIMAL + "online_store: {type: redis, connection_string: '${HOST}:1,password=${NOPE}'}",
         "online_store.connection_string: ${NOPE}"),
        (MINIMAL + "online_store: {type: redis, connection_string: $HOSTS}", "online_store.connection_string: $HOSTS"),
        (MINIMAL + "online_store: {type: redis, connection_string: '${}'}", "online_store.connection_string: ${}"),
        (MINIMAL + "online_store: {type: x, nodes: [a, $NOPE]}", "online_store.nodes[1]: $NOPE"),
        (MINIMAL + "entity_key_serialization_version: $NOPE", "entity_key_serialization_version: $NOPE"),
        (MINIMAL + "yummy_fast: {port: $NOPE}", "yummy_fast.port: $NOPE"),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_set_is_named_where_its_value_is_used(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text, HOST="h") == f": {message}: there is no such environment variable"


def test_a_variable_that_is_not_set_is_no_matter_where_nothing_uses_it(tmp_path: Path) -> None:
    text = (
        "project: rides # for $NOBODY\nregistry: {path: r.db, of_ours: $NOPE}\nprovider: $NOPE\n"
        "offline_store: {type: file, password: '${NOPE}'}\nyummy_fast: {port: $NOPE, host: $NOPE}"
    )
    assert load(tmp_path, text, flags={"port": "1"}, YUMMY_FAST_HOST="h").port == 1


def test_a_variable_that_is_not_set_is_named_where_its_braces_break_the_yaml(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "online_store: {type: redis, connection_string: ${NOPE}:1}")
    assert message.startswith(", line 3, column ")
    assert message.endswith("; there are no environment variables for ${NOPE}")


def test_variables_are_expanded_before_the_text_is_yaml(tmp_path: Path) -> None:
    assert load(tmp_path, "$ALL", ALL=MINIMAL).project == "rides"


# -------------------------------------------------------------------------------------------------------- settings


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path: Path) -> None:
    text = MINIMAL + "yummy_fast: {port: 3}"
    assert load(tmp_path, text, flags={"port": "1"}, YUMMY_FAST_PORT="2").port == 1
    assert load(tmp_path, text, YUMMY_FAST_PORT="2").port == 2
    assert load(tmp_path, text).port == 3
    assert load(tmp_path, MINIMAL).port == 6566


@pytest.mark.parametrize(
    ("name", "value", "settled"),
    [
        ("port", "0", 0),
        ("port", "65535", 65535),
        ("registry_ttl_sec", "0", 0),
        ("log_level", "WARNING", "warning"),
        ("redis_read", "hgetall", "hgetall"),
    ],
)
def test_settings_are_read(tmp_path: Path, name: str, value: str, settled: object) -> None:
    assert getattr(load(tmp_path, MINIMAL, flags={name: value}), name) == settled


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "65536", "--port: expected a port number, got '65536'"),
        ("port", "-1", "--port: expected a port number, got '-1'"),
        ("registry_ttl_sec", "-1", "--registry_ttl_sec: expected a whole number of seconds, 0 or more, got '-1'"),
        ("keep_alive_timeout", "0", "--keep-alive-timeout: expected a whole number of seconds, 1 or more, got '0'"),
        ("header_timeout", "1.5", "--header-timeout: expected a whole number of seconds, 1 or more, got '1.5'"),
        ("max_body_bytes", "", "--max-body-bytes: expected a whole number of bytes, 1 or more, got ''"),
        ("log_level", "loud", "--log-level: expected DEBUG, INFO, WARNING, ERROR or CRITICAL, got 'loud'"),
        ("redis_read", "get", "--redis-read: expected auto, hmget or hgetall, got 'get'"),
    ],
)
def test_a_flag_out_of_its_range_is_named(tmp_path: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, MINIMAL, flags={name: value})
    assert str(caught.value) == message


def test_a_variable_out_of_its_range_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^YUMMY_FAST_PORT: expected a port number, got 'x'$"):
        load(tmp_path, MINIMAL, YUMMY_FAST_PORT="x")


@pytest.mark.parametrize("one", ["tls_key", "tls_cert"])
def test_tls_needs_both_of_its_files(tmp_path: Path, one: str) -> None:
    with pytest.raises(ConfigError, match=r"^--key and --cert go together: TLS needs both$"):
        load(tmp_path, MINIMAL, flags={one: "x.pem"})


@pytest.mark.parametrize("auth", ["auth: {type: oidc}", "auth: {type: kubernetes}", "auth: oidc"])
def test_a_repository_that_asks_for_authentication_is_refused(tmp_path: Path, auth: str) -> None:
    (tmp_path / "feature_store.yaml").write_text(f"project: p\nregistry: r.db\nonline_store: redis\n{auth}\n")
    with pytest.raises(ConfigError, match=r"feature_store\.yaml: auth\.type: this server checks no tokens"):
        load_config(chdir=str(tmp_path), environ={})


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text("project: p\nregistry: r.db\nonline_store: redis\n")
    assert load_config(chdir=str(tmp_path), environ={"YUMMY_FAST_HOST": "", "YUMMY_FAST_PORT": ""}).host == "127.0.0.1"


@pytest.mark.parametrize("text", ["project: p\nx: 2024-13-45\n", "[" * 3000], ids=["no date", "brackets"])
def test_yaml_that_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "feature_store.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(chdir=str(tmp_path), environ={})


# -------------------------------------------------------------------------------------------------------- admin


@pytest.mark.parametrize(
    ("text", "address", "reload"),
    [
        ("", "", False),
        ("feature_server: {metrics: {enabled: true}}", ":8000", False),
        ("feature_server: {metrics: {enabled: false}}", "", False),
        ("feature_server: {metrics: true}", "", False),
        ("feature_server: [1]", "", False),
        ("yummy_fast: {admin: '[::1]:9'}", "[::1]:9", True),
        ("yummy_fast: {admin: ':9'}\nfeature_server: {metrics: {enabled: true}}", ":9", True),
    ],
)
def test_where_the_admin_listener_is(tmp_path: Path, text: str, address: str, reload: bool) -> None:
    """Feast's own switch opens Feast's port, at every address; so nothing can be changed there."""
    config = load(tmp_path, f"{MINIMAL}\n{text}\n")
    assert (config.admin, config.admin_reload) == (address, reload)


def test_feasts_metrics_flag(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text(MINIMAL)
    config = load_config(chdir=str(tmp_path), environ={}, metrics=True)
    assert (config.admin, config.admin_reload) == (":8000", False)


@pytest.mark.parametrize("address", ["8000", "host", "host:", "host:x", "host:65536", "::1:80", "[::1]", "h:-1"])
def test_no_address_for_an_admin_listener(tmp_path: Path, address: str) -> None:
    message = refusal(tmp_path, MINIMAL + f"\nyummy_fast: {{admin: '{address}'}}\n")
    assert message == f": yummy_fast.admin: expected HOST:PORT, such as 127.0.0.1:8000, got {address!r}"
