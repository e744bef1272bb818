"""feature_store.yaml, flags and environment: which value wins, what is refused, and that messages name file and key.

No file is read here: the text is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from yummy_fast.config.feature_store_yaml import YamlText, parse_config
from yummy_fast.config.settings import GROUPS, SETTINGS, Config, Setting
from yummy_fast.errors import ConfigError

MINIMAL = "project: rides\nregistry: data/registry.db\n"


Texts = Mapping[str, str]


def parse(text: str, environ: Texts | None = None, *, flags: Texts | None = None, metrics: bool = False) -> Config:
    yaml_text = YamlText(text, "fs.yaml", ("/repo", "/beside"))
    return parse_config(yaml_text, flags or {}, environ or {}, find_path=lambda path: f"/found/{path}", metrics=metrics)


def refusal(text: str, environ: Texts | None = None) -> str:
    """What is said of `text`, without the file's name in front."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ)
    assert str(caught.value).startswith("fs.yaml"), "the message names the file"
    return str(caught.value).removeprefix("fs.yaml")


def value_of(config: Config, name: str) -> object:
    """What a setting has become, wherever its group keeps it."""
    (found,) = (
        getattr(getattr(config, group_name), field)
        for group_name, group in GROUPS.items()
        for field, setting in group.settings().items()
        if setting.name == name
    )
    return found


# ----------------------------------------------------------------------------------------------------------- the text


def test_a_minimal_file_gets_feasts_defaults() -> None:
    config = parse(MINIMAL)
    assert config.repository.project == "rides"
    assert config.repository.registry_path == "/found/data/registry.db"
    assert (config.repository.source, config.repository.folders) == ("fs.yaml", ("/repo", "/beside"))
    assert (config.address.host, config.address.port) == ("127.0.0.1", 6566)
    assert (config.features.registry_ttl_s, config.timeouts.keep_alive_s) == (60, 30)
    assert (config.workers.count, config.limits.max_connections) == (1, 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": expected keys and values, such as `project: my_project`"),
        ("- a", ": expected keys and values, such as `project: my_project`"),
        ("project: a\0b", ": not YAML: unacceptable character #x0000: special characters are not allowed in \"<unicode "
         "string>\", position 10"),
        ("project: a\n  b: c", ", line 2, column 4: not YAML: mapping values are not allowed here"),
        ("a: !!python/none x",
         ", line 1, column 4: not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/none'"),
        ("project: p\nx: 2024-13-45\n", ": this YAML cannot be read"),
        ("[" * 3000, ": this YAML cannot be read"),
        (MINIMAL + "online_store: null",
         ": online_store: expected a type; a repository without online store serves nothing"),
        (MINIMAL + "yummy_fast: 1", ": yummy_fast: expected keys and values, got 1"),
        (MINIMAL + "yummy_fast: {port: many}", ": yummy_fast.port: expected a port number, got 'many'"),
        (MINIMAL + "yummy_fast: {port: true}", ": yummy_fast.port: expected a port number, got True"),
        (MINIMAL + "yummy_fast: {port: 65536}", ": yummy_fast.port: expected a port number, got 65536"),
    ],
    ids=lambda value: value[:40],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_file_and_key(text: str, message: str) -> None:
    assert refusal(text) == message


def test_an_unknown_setting_is_named_with_those_there_are() -> None:
    message = refusal(MINIMAL + "yummy_fast: {prot: 1}")
    assert message.startswith(": yummy_fast.prot: no such setting; expected one of: ")
    assert all(setting.name in message for setting in SETTINGS)


# ------------------------------------------------------------------------------------------------------- variables


def test_variables_are_expanded_before_the_text_is_yaml() -> None:
    assert parse("$ALL", {"ALL": MINIMAL}).repository.project == "rides"


def test_what_came_out_of_a_variable_is_not_expanded_again() -> None:
    text = MINIMAL + "online_store: {type: redis, connection_string: '$HOST,password=${PASSWORD}'}"
    store = parse(text, {"HOST": "h:1", "PASSWORD": "pa$word"}).repository.online_store
    assert store["connection_string"] == "h:1,password=pa$word"


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
def test_a_variable_that_is_not_set_is_named_where_its_value_is_used(text: str, message: str) -> None:
    assert refusal(text, {"HOST": "h"}) == f": {message}: there is no such environment variable"


def test_a_variable_that_is_not_set_is_no_matter_where_nothing_uses_it() -> None:
    text = (
        "project: rides # for $NOBODY\nregistry: {path: r.db, of_ours: $NOPE}\nprovider: $NOPE\n"
        "offline_store: {type: file, password: '${NOPE}'}\nyummy_fast: {port: $NOPE, host: $NOPE}"
    )
    assert parse(text, {"YUMMY_FAST_HOST": "h"}, flags={"port": "1"}).address.port == 1


def test_a_variable_that_is_not_set_is_named_where_its_braces_break_the_yaml() -> None:
    message = refusal(MINIMAL + "online_store: {type: redis, connection_string: ${NOPE}:1}")
    assert message.startswith(", line 3, column ")
    assert message.endswith("; there are no environment variables for ${NOPE}")


# -------------------------------------------------------------------------------------------------------- settings


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() -> None:
    text = MINIMAL + "yummy_fast: {port: 3}"
    assert parse(text, {"YUMMY_FAST_PORT": "2"}, flags={"port": "1"}).address.port == 1
    assert parse(text, {"YUMMY_FAST_PORT": "2"}).address.port == 2
    assert parse(text).address.port == 3
    assert parse(MINIMAL).address.port == 6566


def test_an_empty_variable_is_not_set() -> None:
    config = parse(MINIMAL, {"YUMMY_FAST_HOST": "", "YUMMY_FAST_PORT": ""})
    assert (config.address.host, config.address.port) == ("127.0.0.1", 6566)


OTHER_VALUES = {
    "a path": "some/path",
    "an address": "localhost",
    "a port number": "1234",
    "HOST:PORT, such as 127.0.0.1:8000": "localhost:1234",
    "a mode of three octal digits that lets the owner read and write": "600",
    "DEBUG, INFO, WARNING, ERROR or CRITICAL": "error",
    "text or json": "json",
    "feast or strict": "strict",
    "auto, hmget or hgetall": "hgetall",
    "true or false": "true",
    "a number from 0 to 1": "0.125",
}
"""By what is expected: a value that is not the default. All else are numbers."""


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_arrives_from_its_flag_its_variable_and_its_key(setting: Setting) -> None:
    given = OTHER_VALUES.get(setting.kind.expected, "7")
    value = setting.kind.parse(given)
    assert value != setting.default
    # TLS needs its other files as well.
    files = {"tls_key": "YUMMY_FAST_KEY", "tls_cert": "YUMMY_FAST_CERT"} if setting.name.startswith("tls_") else {}
    others = {variable: "x.pem" for name, variable in files.items() if name != setting.name}
    if setting.name == "ui":
        others["YUMMY_FAST_ADMIN"] = "127.0.0.1:8081"
    for config in (
        parse(MINIMAL, others, flags={setting.name: given}),
        parse(MINIMAL, {**others, setting.variable: given}),
        parse(MINIMAL + f"yummy_fast: {{{setting.name}: '{given}'}}", others),
    ):
        assert value_of(config, setting.name) == value


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
        ("otel", "yes", "--otel: expected true or false, got 'yes'"),
    ],
)
def test_a_flag_out_of_its_range_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(MINIMAL, flags={name: value})
    assert str(caught.value) == message


def test_a_variable_out_of_its_range_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^YUMMY_FAST_PORT: expected a port number, got 'x'$"):
        parse(MINIMAL, {"YUMMY_FAST_PORT": "x"})


@pytest.mark.parametrize("one", ["tls_key", "tls_cert"])
def test_tls_needs_both_of_its_files(one: str) -> None:
    with pytest.raises(ConfigError, match=r"^--key and --cert go together: TLS needs both$"):
        parse(MINIMAL, flags={one: "x.pem"})


def test_client_certificates_need_tls() -> None:
    with pytest.raises(ConfigError, match=r"^--client-ca needs --key and --cert: "):
        parse(MINIMAL, flags={"tls_client_ca": "x.pem"})


# ----------------------------------------------------------------------------------------------------------- admin


@pytest.mark.parametrize(
    ("text", "metrics", "address", "reload"),
    [
        ("", False, "", False),
        ("", True, ":8000", False),
        ("feature_server: {metrics: {enabled: true}}", False, ":8000", False),
        ("feature_server: {metrics: {enabled: false}}", False, "", False),
        ("feature_server: {metrics: {enabled: 'no'}}", False, "", False),
        ("yummy_fast: {admin: '[::1]:9'}", False, "[::1]:9", True),
        ("yummy_fast: {admin: ':9'}", True, ":9", True),
        ("yummy_fast: {admin: ':9'}\nfeature_server: {metrics: {enabled: true}}", False, ":9", True),
    ],
)
def test_where_the_admin_listener_is(text: str, metrics: bool, address: str, reload: bool) -> None:
    """Feast's own switches open Feast's port, at every address; so nothing can be changed there."""
    admin = parse(f"{MINIMAL}\n{text}\n", metrics=metrics).admin
    assert (admin.address, admin.reload) == (address, reload)


@pytest.mark.parametrize("address", ["8000", "host", "host:", "host:x", "host:65536", "::1:80", "[::1]", "h:-1"])
def test_no_address_for_an_admin_listener(address: str) -> None:
    message = refusal(MINIMAL + f"\nyummy_fast: {{admin: '{address}'}}\n")
    assert message == f": yummy_fast.admin: expected HOST:PORT, such as 127.0.0.1:8000, got {address!r}"


def test_in_a_terminal_requests_are_logged() -> None:
    """Unless a setting says otherwise."""
    text = YamlText(MINIMAL, "fs.yaml", ("/repo", "/beside"))

    def share(flags: Texts, environ: Texts, *, on_terminal: bool) -> float:
        config = parse_config(text, flags, environ, find_path=str, on_terminal=on_terminal)
        return config.telemetry.access_log_sample

    assert share({}, {}, on_terminal=True) == 1
    assert share({}, {}, on_terminal=False) == 0
    assert share({"access_log_sample": "0"}, {}, on_terminal=True) == 0
    assert share({}, {"YUMMY_FAST_ACCESS_LOG_SAMPLE": "0.5"}, on_terminal=True) == 0.5


def test_what_asked_for_the_metrics_is_known() -> None:
    in_file = MINIMAL + "feature_server: {metrics: {enabled: true}}"
    assert parse(in_file).admin.key == "fs.yaml: feature_server.metrics"
    assert parse(in_file, metrics=True).admin.key == "--metrics"
    assert parse(in_file, flags={"admin": ":1"}).admin.key == "--admin"
