"""The groups of settings: each setting is declared once, under names of its own, with a default that could be given."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

import pytest

from yummy_fast.config import kinds
from yummy_fast.config.settings import (
    GROUPS,
    IGNORED_FLAGS,
    IGNORED_SWITCHES,
    SETTINGS,
    Config,
    Group,
    Setting,
    setting,
)


def test_every_setting_has_a_flag_a_variable_and_a_key_of_its_own() -> None:
    for names in ([s.name for s in SETTINGS], [s.flag for s in SETTINGS], [s.variable for s in SETTINGS]):
        assert len(set(names)) == len(SETTINGS)
    letters = [setting.letter for setting in SETTINGS if setting.letter]
    assert len(set(letters)) == len(letters)
    assert not {setting.flag for setting in SETTINGS} & {*IGNORED_FLAGS, *IGNORED_SWITCHES}


def test_a_config_is_a_repository_and_the_groups() -> None:
    assert [field.name for field in fields(Config)] == ["repository", *GROUPS]
    assert len(set(GROUPS.values())) == len(GROUPS)


@pytest.mark.parametrize("declared", SETTINGS, ids=lambda setting: setting.name)
def test_every_default_is_a_value_that_could_be_given(declared: Setting) -> None:
    assert declared.kind.parse(str(declared.default)) == declared.default


@pytest.mark.parametrize("declared", SETTINGS, ids=lambda setting: setting.name)
def test_every_text_is_sentences(declared: Setting) -> None:
    assert re.fullmatch(r"[A-Z].*\.", declared.help), declared.help


def test_a_group_made_without_arguments_has_the_defaults() -> None:
    for group in GROUPS.values():
        made = group()
        assert [getattr(made, field) for field in group.settings()] == [s.default for s in group.settings().values()]


def test_a_declaration_is_all_that_a_setting_needs() -> None:
    @dataclass(frozen=True, slots=True)
    class Sweets(Group):
        """For this test."""

        title = "sweets"

        max_bytes: int = setting("--max-sweet-bytes", kinds.BYTES, 5, "Maximum size of a sweet.", letter="-s")
        shop: str = setting("--shop", kinds.FILE, "", "Where sweets come from.", name="sweet_shop")
        found: bool = True
        """Not a setting."""

    assert (Sweets().max_bytes, Sweets().shop) == (5, "")
    assert Sweets.settings() == {
        "max_bytes": Setting("max_sweet_bytes", "--max-sweet-bytes", "-s", kinds.BYTES, 5, "Maximum size of a sweet."),
        "shop": Setting("sweet_shop", "--shop", "", kinds.FILE, "", "Where sweets come from."),
    }
    size, shop = Sweets.settings().values()
    assert (size.variable, size.named_after_flag) == ("YUMMY_FAST_MAX_SWEET_BYTES", True)
    assert (shop.variable, shop.named_after_flag) == ("YUMMY_FAST_SHOP", False)
