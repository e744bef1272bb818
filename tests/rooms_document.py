"""Write the list of modules in docs/architecture.md from their first lines: `make docs`.

tests/test_docs.py compares the two.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "yummy_fast"
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- end -->\n"
WINGS = ("workers", "server", "http", "features", "stores", "feast_format", "sources", "telemetry", "config")


def rooms() -> str:
    """A table for each wing: its modules, and the first line of each."""
    tables = [_table("the top of `yummy_fast/`", sorted(PACKAGE.glob("*.py")))]
    for wing in WINGS:
        caption = _first_line(PACKAGE / wing / "__init__.py")
        tables.append(f"\n### `{wing}/`\n\n{caption}\n\n{_table('module', sorted((PACKAGE / wing).glob('*.py')))}")
    return "\n" + "".join(tables) + "\n"


def _table(title: str, paths: list[Path]) -> str:
    rows = [
        f"| `{path.relative_to(PACKAGE).as_posix()}` | {_first_line(path)} |\n"
        for path in paths
        if path.name not in ("__init__.py", "__main__.py")
    ]
    return f"| {title} | what it does |\n|---|---|\n{''.join(rows)}"


def _first_line(path: Path) -> str:
    caption = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(caption.partition("\n\n")[0].split())


def current() -> str:
    """The list as it stands in the document."""
    return DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + rooms() + END + rest.partition(END)[2])
