"""The table of settings: no two of them have a name in common, and defaults are values that could be given."""

from __future__ import annotations

import pytest

from yummy_fast.config.feature_store_yaml import Config
from yummy_fast.config.settings import SETTINGS, Setting, split_address


def test_every_setting_has_a_flag_a_variable_and_a_key_of_its_own() -> None:
    for names in ([s.name for s in SETTINGS], [s.flag for s in SETTINGS], [s.variable for s in SETTINGS]):
        assert len(set(names)) == len(SETTINGS)
    letters = [setting.letter for setting in SETTINGS if setting.letter]
    assert len(set(letters)) == len(letters)
    assert {setting.name for setting in SETTINGS} <= set(Config.__dataclass_fields__)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_default_is_a_value_that_could_be_given(setting: Setting) -> None:
    assert setting.parse(str(setting.default)) == setting.default


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        (":8000", ("", 8000)),
        ("[::1]:0", ("::1", 0)),
        ("a.b:65535", ("a.b", 65535)),
    ],
)
def test_an_address_is_split_into_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "8000", "host", "host:", "::1:80", "host:x", "host:-1", "host:65536"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        split_address(text)
