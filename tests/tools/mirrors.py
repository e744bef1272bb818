"""Which tests are a module's own: tests/ mirrors yummy_fast/, so `stores/resp.py` has tests/stores/test_resp.py.

A module with a long test file may have several: test_redis_faults.py is `stores/redis.py`'s as well.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "yummy_fast"


def modules() -> list[str]:
    """All modules with code of our own, as `stores/resp.py`."""
    found = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
    return [module for module in found if "_proto/" not in module and not module.endswith("__init__.py")]


def tests_of(module: str) -> list[str]:
    """The test files of that module's own, as paths from the root; none if it has none."""
    wing, stem = (ROOT / "tests" / module).parent, Path(module).stem
    others = {Path(other).stem for other in modules() if Path(other).parent == Path(module).parent}
    return [
        path.relative_to(ROOT).as_posix()
        for path in sorted(wing.glob(f"test_{stem}*.py"))
        if path.stem == f"test_{stem}"
        or (path.stem.startswith(f"test_{stem}_") and _longest(path.stem, others) == stem)
    ]


def _longest(test: str, modules: set[str]) -> str:
    """Of several modules that a test's name begins with, `redis` and `redis_hash`, the one that is meant."""
    return max((module for module in modules if f"{test}_".startswith(f"test_{module}_")), key=len, default="")
