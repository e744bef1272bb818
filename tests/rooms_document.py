"""Write what docs/architecture.md shows of the modules from their first lines: `make docs`.

Two things: docs/map.svg, the wings as the import contract of pyproject.toml stacks them, and the tables of modules and
libraries between the markers in docs/architecture.md. Neither has a text of its own, except what stands outside of the
program (OUTSIDE). tests/test_docs.py compares both with what is there.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "yummy_fast"
DOCUMENT = ROOT / "docs" / "architecture.md"
MAP = ROOT / "docs" / "map.svg"
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- end -->\n"
WINGS = (
    *("cli", "workers", "server", "diagnosis", "http", "features", "stores", "native", "feast_format", "sources"),
    *("telemetry", "config"),
)

# ------------------------------------------------------------------------------------------------ the tables of modules


def rooms() -> str:
    """A table for each wing: its modules, and the first line of each."""
    tables = [_table("the top of `yummy_fast/`", sorted(PACKAGE.glob("*.py")))]
    for wing in WINGS:
        caption = _first_line(PACKAGE / wing / "__init__.py")
        tables.append(f"\n### `{wing}/`\n\n{caption}\n\n{_table('module', sorted((PACKAGE / wing).glob('*.py')))}")
    return "\n" + "".join(tables) + _owners() + "\n"


def _owners() -> str:
    """A table of third-party libraries, and of the modules that may import them."""
    (allowed,) = (one["ignore_imports"] for one in _contracts() if one["name"] == "Third-party libraries have owners")
    owners: dict[str, list[str]] = {}
    for module, library in sorted(rule.split(" -> ") for rule in allowed):
        owners.setdefault(library, []).append(f"`{module.removeprefix('yummy_fast.').removesuffix('.*')}`")
    rows = "".join(f"| {library} | {', '.join(modules)} |\n" for library, modules in sorted(owners.items()))
    return f"\n### Libraries\n\n| library | known to |\n|---|---|\n{rows}"


def _contracts() -> list[dict[str, Any]]:
    contracts: list[dict[str, Any]]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return contracts


def _table(title: str, paths: list[Path]) -> str:
    rows = [
        f"| `{path.relative_to(PACKAGE).as_posix()}` | {_first_line(path)}{' *Pure.*' if _is_pure(path) else ''} |\n"
        for path in paths
        if path.name not in ("__init__.py", "__main__.py")
    ]
    return f"| {title} | what it does |\n|---|---|\n{''.join(rows)}"


def _is_pure(path: Path) -> bool:
    """Whether the contract of pure modules holds for this one, or for its wing."""
    (pure,) = (contract["source_modules"] for contract in _contracts() if contract["name"] == "Pure modules are pure")
    module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return module in pure or module.rpartition(".")[0] in pure


def _first_line(path: Path) -> str:
    caption = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(caption.partition("\n\n")[0].split())


def current() -> str:
    """The tables as they stand in the document."""
    return DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]


# -------------------------------------------------------------------------------------------------------------- the map

WIDTH, LEFT, RIGHT, TOP = 1000, 150, 850, 16
ROW, GAP = 42, 8
LINE, CHARACTER = 15, 6.6
OUTSIDE = {
    "cli": ("left", "flags, variables"),
    "http": ("left", "clients"),
    "server": ("right", "signals, probes"),
    "stores": ("right", "Redis, SQLite"),
    "telemetry": ("right", "scrapes, collectors"),
    "sources": ("right", "the registry"),
}
"""What a part has to do with outside of the program, and on which side of the map that stands."""


def map_svg() -> str:
    """The import contract as a picture: a stack in which a part may import from what is further down."""
    drawn, ends = zip(*_rows(_layers()), strict=True)
    height = f"{ends[-1] + TOP - GAP:g}"
    arrow = f"M {LEFT - 16} {TOP + 40} V {ends[-1] - 16:g}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif" font-size="12">\n'
        "<title>The parts of yummy-fast: each may import from the parts below it</title>\n"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>\n'
        f'<path d="{arrow}" stroke="#57606a" stroke-width="1.5" fill="none" marker-end="url(#head)"/>\n'
        f'<text transform="translate({LEFT - 24} {ends[-1] / 2 - 40:g}) rotate(-90)" text-anchor="middle"'
        f' fill="#57606a">imports point down</text>\n{"".join(drawn)}</svg>\n'
    )


def _layers() -> list[list[str]]:
    """The parts of the program as the contract between wings has them, from the top; `__main__` only imports `cli`."""
    (layers,) = (contract["layers"] for contract in _contracts() if contract.get("containers") == ["yummy_fast"])
    return [parts for layer in layers if (parts := layer.split(" | ")) != ["__main__"]]


def _rows(layers: Sequence[Sequence[str]]) -> Iterator[tuple[str, float]]:
    """Each layer as SVG, and where the next one begins."""
    y = float(TOP)
    for parts in layers:
        width = (RIGHT - LEFT - GAP * (len(parts) - 1)) / len(parts)
        texts = [_wrapped(_caption(part), width - (18 if len(parts) > 1 else 122)) for part in parts]
        height = ROW if len(parts) == 1 else 32 + LINE * max(map(len, texts))
        drawn = ""
        for place, (part, lines) in enumerate(zip(parts, texts, strict=True)):
            x = LEFT + place * (width + GAP)
            drawn += _box(part, lines, (x, y, width, height), beside=len(parts) == 1)
            if part in OUTSIDE:
                side, text = OUTSIDE[part]
                drawn += _outside(text, side, x if side == "left" else x + width, y + height / 2)
        y += height + GAP
        yield drawn, y


def _is_wing(part: str) -> bool:
    return (PACKAGE / part / "__init__.py").exists()


def _caption(part: str) -> str:
    return _first_line(PACKAGE / part / "__init__.py" if _is_wing(part) else PACKAGE / f"{part}.py").replace("`", "")


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, int(width / CHARACTER), break_on_hyphens=False)


def _box(part: str, lines: Sequence[str], at: tuple[float, float, float, float], *, beside: bool) -> str:
    """A box with a name, and the lines of its caption beside or below it."""
    x, y, width, height = at
    fill = "#ddf4ff" if _is_wing(part) else "#fff8c5" if part == "endpoints" else "#f6f8fa"
    name_y = y + (height / 2 + 5 if beside else 19)
    text_x = x + (116 if beside else 12)
    text_y = y + height / 2 + 4 - LINE / 2 * (len(lines) - 1) if beside else name_y + 18
    texts = "".join(
        f'<text x="{text_x:g}" y="{text_y + LINE * line:g}" fill="#1f2328">{escape(text)}</text>\n'
        for line, text in enumerate(lines)
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" fill="{fill}" stroke="#8c959f"/>\n'
        f'<text x="{x + 12:g}" y="{name_y:g}" font-size="13.5" font-weight="bold" fill="#0a3069">'
        f"{part}{'/' if _is_wing(part) else ''}</text>\n{texts}"
    )


def _outside(text: str, side: str, x: float, y: float) -> str:
    """A text beside the stack, and a dotted line from it to a box's edge."""
    away = -1 if side == "left" else 1
    anchor = "end" if side == "left" else "start"
    return (
        f'<path d="M {x + away * 26:g} {y:g} H {x + away * 2:g}" stroke="#57606a" stroke-dasharray="3 3"/>\n'
        f'<text x="{x + away * 32:g}" y="{y + 4:g}" text-anchor="{anchor}" font-style="italic" fill="#57606a">'
        f"{escape(text)}</text>\n"
    )


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + rooms() + END + rest.partition(END)[2])
    MAP.write_text(map_svg())
