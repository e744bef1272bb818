"""Write docs/errors.md from the tree of errors: `make docs`. tests/test_docs.py compares the two.

What a class means is the first sentence of its docstring. Status codes, headers and bodies are asked of an error of
each class, so that they are what a client gets. A class whose errors bring their status along has those that the code
raises it with.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from yummy_fast import errors
from yummy_fast.errors import YummyError

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "errors.md"

_HEAD = """\
# Errors

This file is written by `make docs` from yummy_fast/errors.py.

What a client gets instead of features. `<why>` stands for a text for people: it says where the mistake is and what was
expected, or what failed. Decide by the status code; the texts change ([stability.md](stability.md)). The bodies have
Feast's shapes, so that Feast's SDK raises Feast's exceptions from them:

| body | what it is |
|---|---|
| a JSON string | the message |
| a JSON string that holds JSON again | the name of a Feast exception, which the SDK raises, and the message |
| an object with `detail` | as FastAPI has it: a text, or for a 422 a list of the places in the body |

Of a 5xx, the class is the `error.type` of the [span](observability.md#tracing).
[troubleshooting.md](troubleshooting.md) has the commands that tell the cause of a 502, 503 or 404,
[compatibility.md](compatibility.md#errors) what Feast answers where this server has something else, and
[reliability.md](reliability.md#limits) each limit.
"""

_TAIL = """
Anything else is a fault of the server's: 500 with the text `Internal Server Error`, and a traceback in the log.

## What ends the start

With one line on standard error, and exit code 2. A registry that goes bad while the server runs ends nothing: the
earlier one is served, and the line is in the log.

| class | what it means |
|---|---|
"""

_PLACEHOLDERS: Mapping[str, Any] = {
    "message": "<why>",
    "reason": "<why>",
    "what": "POST <path>",
    "feast_class": "<Feast's exception>",
    "details": [{"type": "<kind>", "loc": ["body", "<key>"], "msg": "<why>", "input": "<what came>"}],
    "allow": "GET",
}
NOT_ANSWERS = {"YummyError", "ConfigError", "RegistryError", "InexactNumberError"}
"""Those that no client gets: the root, those of the start, and one that is always handled inside."""
_RAISED_BY = {"_refuse": "ProtocolError", "_refuse_later": "ProtocolError"}
"""Methods of the HTTP parser whose first argument is the status of the error that they make."""


def meaning(kind: type[YummyError]) -> str:
    """The first sentence of what the class says of itself."""
    first = re.match(r".+?\.(?=\s|$)", inspect.getdoc(kind) or "", re.DOTALL)
    assert first is not None, f"{kind.__name__} has no docstring"
    return " ".join(first[0].split())


def classes() -> dict[str, type[YummyError]]:
    """All classes of errors, in the order of the file."""
    found = vars(errors).items()
    return {name: kind for name, kind in found if inspect.isclass(kind) and issubclass(kind, YummyError)}


@cache
def raised_statuses() -> Mapping[str, set[int]]:
    """The statuses that stand first in the calls of each class, anywhere in the program."""
    found: dict[str, set[int]] = {}
    for path in (ROOT / "yummy_fast").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if isinstance(node.args[0].value, int):
                    found.setdefault(_RAISED_BY.get(called, called), set()).add(node.args[0].value)
    return found


def parameters(kind: type[YummyError]) -> list[str]:
    """What an error of the class is made of, without the class itself."""
    return list(inspect.signature(kind.__init__).parameters)[1:]


def statuses(name: str, kind: type[YummyError]) -> set[int]:
    return raised_statuses()[name] if "status" in parameters(kind) else {example(kind, 0).status}


def example(kind: type[YummyError], status: int) -> YummyError:
    """An error of a class, with placeholders for what differs from one to the next."""
    names = parameters(kind)
    given = {name: _PLACEHOLDERS[name] for name in names if name in _PLACEHOLDERS}
    if "status" in names:
        given["status"] = status
    if status == 404:
        given.pop("allow", None)  # which belongs to the 405
    message = ("<why>",) if "args" in names else ()
    return kind(*message, **given)


def rows() -> Iterator[str]:
    answered = [(name, kind) for name, kind in classes().items() if name not in NOT_ANSWERS]
    found = [(status, name, kind) for name, kind in answered for status in sorted(statuses(name, kind))]
    for status, name, kind in sorted(found, key=lambda each: each[0]):
        error = example(kind, status)
        lines = error.headers.decode().splitlines()
        headers = ", ".join(f"`{line.partition(':')[0]}`" for line in lines)
        yield f"| {status} | `{name}` | {meaning(kind)} | {headers} | `{error.body().decode()}` |\n"


def text() -> str:
    """The document."""
    table = "\n| status | class | what it means | headers | body |\n|---|---|---|---|---|\n" + "".join(rows())
    of_start = "".join(
        f"| `{kind.__name__}` | {meaning(kind)} |\n" for kind in (errors.ConfigError, errors.RegistryError)
    )
    return _HEAD + table + _TAIL + of_start


if __name__ == "__main__":
    DOCUMENT.write_text(text())
