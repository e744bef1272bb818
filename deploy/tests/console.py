"""The commands of a document, run one after the other in one shell, and what the document says that they print.

A block marked `console` has them: a line that begins with `$ ` is a command, one with `> ` goes on with it, and what
follows is its output, in which `[...]` stands for anything. Blocks of other kinds are not run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools import ROOT

from tests.harness import NOT_INHERITED

FEAST = Path(os.environ.get("FEAST_BIN", ROOT / ".venv-feast" / "bin"))
END = "-- end of output --"
Step = tuple[str, str]
"""A command, and what it is to print."""


def commands(document: Path) -> list[Step]:
    found: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            command, output = found.pop() if found and not line.startswith("$ ") else ("", "")
            if line.startswith("$ "):
                command = line.removeprefix("$ ")
            elif line.startswith(">"):
                command += "\n" + line.removeprefix(">").removeprefix(" ")
            else:
                output += line + "\n"
            found.append((command, output))
    return found


def pattern(output: str) -> str:
    """What is printed, as a regular expression: `[...]` is anything, over several lines if it has a line of its own."""
    lines = output.strip("\n").split("\n")
    anything = r"[\s\S]*"
    return "\n".join(anything if line == "[...]" else ".*".join(map(re.escape, line.split("[...]"))) for line in lines)


def environment(programs: Path, **variables: str) -> dict[str, str]:
    """What the commands of a page see: the folder of programs first, and no settings from the shell of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*NOT_INHERITED, "PYTHON"))}
    # Feast need not wait for a server far away.
    return {
        **kept,
        "PATH": f"{programs}:{kept['PATH']}",
        "FEAST_USAGE": "False",
        "FEAST_TELEMETRY": "False",
        **variables,
    }


def different_outputs(
    steps: list[Step], folder: Path, environment: Mapping[str, str], addresses: Mapping[str, str], limit_s: int = 600
) -> list[str]:
    """Run the commands. The steps that print something else than they should, with what they printed.

    `addresses` has what stands there instead of the ports of the page. What is left in the background is stopped.
    """

    def here(text: str) -> str:
        for address, instead in addresses.items():
            text = re.sub(rf"\b{re.escape(address)}\b", instead, text)
        return text

    script = "set -m\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n"
    script += "".join(f"{here(command)}\necho; echo '{END}'\n" for command, _ in steps)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit_s,
        check=False,
    )
    printed = [text.strip("\n") for text in done.stdout.split(END)]
    different = [
        f"$ {command}\n{text}"
        for (command, output), text in zip(steps, printed, strict=False)
        if not re.fullmatch(pattern(here(output)), text)
    ]
    if len(printed) != len(steps) + 1:
        different.append(f"the shell ended early:\n{done.stdout}")
    return different
