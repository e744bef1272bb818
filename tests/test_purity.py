"""Pure modules have no state of their own: what they hold at module level does not change.

Which modules are pure is said by the import contract "Pure modules are pure" in pyproject.toml, which also keeps them
from files, sockets, clocks, event loops and logs. Tables may be dictionaries, but are declared as a Mapping, so that
mypy refuses whoever would change them. A memo belongs in an object, which has an owner and a bound.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

CACHES = {"yummy_fast.feast_format.values"}
"""Modules whose functools.cache holds one entry for each of Feast's types, and no more; and whose lru_cache is bounded
in number and in bytes."""

READ_ONLY = ("Mapping[", "Sequence[", "frozenset[", "Final", "TypeAlias")


def pure_modules() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["name"] == "Pure modules are pure"]
    names: list[str] = []
    for name in contract["source_modules"]:
        module = importlib.import_module(name)
        names.append(name)
        names += [f"{name}.{found.name}" for found in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    return [name for name in names if not name.endswith("._proto")]


def assigned(body: list[ast.stmt]) -> Iterator[str]:
    """The names that statements of a module or of a class assign to."""
    for statement in body:
        match statement:
            case ast.Assign(targets=targets):
                for target in targets:
                    yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def is_mutable(value: Any) -> bool:
    owner = getattr(value, "__self__", None)  # of a bound method such as cycle(...).__next__
    return (
        isinstance(value, dict | list | set | bytearray)
        or hasattr(value, "__next__")
        or (owner is not None and not isinstance(owner, ModuleType) and hasattr(owner, "__next__"))
        or hasattr(value, "appendleft")
    )


def state_of(module: ModuleType, source: str, *, caches: bool = False) -> list[str]:
    """The names under which a module has something that may change."""
    tree = ast.parse(source)
    found = ["global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    scopes: list[tuple[Mapping[str, Any], list[ast.stmt]]] = [(vars(module), tree.body)]
    scopes += [(vars(getattr(module, node.name)), node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
    for names, body in scopes:
        types = {name: str(annotation) for name, annotation in names.get("__annotations__", {}).items()}
        changeable = (name for name in assigned(body) if name in names and is_mutable(names[name]))
        found += (name for name in changeable if not types.get(name, "").startswith(READ_ONLY))
        if not caches:
            functions = (node.name for node in body if isinstance(node, ast.FunctionDef))
            found += (name for name in functions if hasattr(names.get(name), "cache_info"))
    return found


@pytest.mark.parametrize("name", pure_modules())
def test_a_pure_module_has_no_state(name: str) -> None:
    module = importlib.import_module(name)
    assert state_of(module, inspect.getsource(module), caches=name in CACHES) == []


def test_there_are_pure_modules() -> None:
    names = pure_modules()
    assert "yummy_fast.features.vectors" in names
    assert "yummy_fast.feast_format.keys" in names
    assert len(names) == len(set(names)) > 15


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("known = {}", ["known"]),
        ("known: dict[int, int] = {}", ["known"]),
        ("table: Mapping[int, int] = {1: 2}", []),
        ("names = ['a']", ["names"]),
        ("names: Sequence[str] = ['a']", []),
        ("turn = cycle((1, 2)).__next__", ["turn"]),
        ("numbers = count()", ["numbers"]),
        ("queue = deque()", ["queue"]),
        ("class A:\n    shared = []", ["shared"]),
        ("class A:\n    def __init__(self) -> None:\n        self.own = []", []),
        ("@cache\ndef f(x: int) -> int:\n    return x", ["f"]),
        ("n = 0\ndef f() -> None:\n    global n\n    n += 1", ["global"]),
        ("pack = Struct('<q').pack\nlimit = (1, 2)\nkeys = frozenset((1,))", []),
    ],
)
def test_what_counts_as_state(source: str, names: list[str]) -> None:
    """This test's own eyes."""
    module = ModuleType("made_up")
    imports = (
        "from __future__ import annotations\nfrom collections import deque\nfrom functools import cache\n"
        "from itertools import count, cycle\nfrom struct import Struct\n"
    )
    exec(imports + source, vars(module))
    assert state_of(module, imports + source) == names
