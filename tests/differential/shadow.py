"""Compares with Feast's own server by `yummy-fast compare` and by `--shadow`, and checks what both say.

    python tests/differential/shadow.py --requests 300 --seed 1 [--feast-python .venv-feast/bin/python]

The requests are those of traffic.py, good, odd and wrong. The second opinion on two answers is that of run.py, which
compares them on its own: `compare` and `--shadow` must find the same, whatever it is. Then the same is asked of a
server of ours whose store is empty, which must be found out, and its log may have no value.

The last line is 'N passed, M failed', the exit code 1 if any failed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this is run as a script

from tests.differential.run import Answer, Link, difference  # noqa: E402
from tests.differential.servers import build_repository, feast_server, valkey, yummy_server  # noqa: E402
from tests.differential.traffic import PATH, Asked, Traffic  # noqa: E402

AT_A_TIME = 50
"""Requests that are sent before the shadow is waited for: fewer than its queue has room for."""
CAUGHT_UP_S = 60.0
TIMEOUT_S = 300.0
OUTCOMES = ("same", "different", "feast_failed")


def expected(asked: Asked, theirs: Answer, ours: Answer) -> str:
    """What run.py says of two answers, in the words of `compare`, which of an error looks at the status alone."""
    if theirs.status >= 500:
        return "feast_failed"
    if theirs.status == ours.status != 200:
        return "same"
    return "same" if difference(asked, theirs, ours) is None else "different"


def requests(traffic: Traffic) -> Iterator[Asked]:
    """Those that are the body of a request for features."""
    return (asked for asked in traffic if asked.method == "POST" and asked.path == PATH and asked.query is not None)


def shadowed(port: int) -> dict[str, int]:
    """What the shadow of a server has counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as answer:
        text = answer.read().decode()
    found = re.findall(r'^yummy_fast_shadow_requests_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {outcome: int(float(count)) for outcome, count in found}


def caught_up(port: int, sent: int) -> dict[str, int]:
    """What the shadow has counted, once that is `sent` requests."""
    until = time.monotonic() + CAUGHT_UP_S
    while sum((counts := shadowed(port)).values()) < sent and time.monotonic() < until:
        time.sleep(0.05)
    return counts


def compared(yummy: str, config: Path, feast_port: int, lines: Path) -> tuple[int, dict[str, Any]]:
    """The exit code and the findings of `yummy-fast compare`."""
    command = [*yummy.split(), "--feature-store-yaml", str(config), "compare", str(lines), "--json", "--values"]
    command += ["--against", f"http://127.0.0.1:{feast_port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode not in (0, 1):
        return done.returncode, {"error": done.stderr}
    return done.returncode, json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--feast-python", default=str(ROOT / ".venv-feast" / "bin" / "python"), metavar="PYTHON")
    parser.add_argument("--yummy", default=str(Path(sys.executable).with_name("yummy-fast")), metavar="COMMAND")
    arguments = parser.parse_args()
    failures: list[str] = []
    passed = 0

    def check(is_good: bool, what: str) -> None:
        nonlocal passed
        if is_good:
            passed += 1
        else:
            failures.append(what)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shadow-")))
        redis_port = stack.enter_context(valkey(folder))
        config = build_repository(
            arguments.feast_python, folder / "repository", redis_port, "--seed", str(arguments.seed)
        )
        feast_port = stack.enter_context(feast_server(arguments.feast_python, config))
        shadow = ["--shadow", f"http://127.0.0.1:{feast_port}", "--shadow-share", "1"]
        yummy_port = stack.enter_context(yummy_server(arguments.yummy, config, *shadow))
        links = [Link(feast_port), Link(yummy_port)]
        for link in links:
            stack.callback(link.close)
        manifest = json.loads((config.parent / "manifest.json").read_text(encoding="utf-8"))
        traffic = Traffic(manifest, random.Random(f"shadow/{arguments.seed}"))
        wanted: Counter[str] = Counter()
        bodies = []
        for number, asked in enumerate(islice(requests(traffic), arguments.requests), 1):
            theirs, ours = (link.ask(asked) for link in links)
            wanted[expected(asked, theirs, ours)] += 1
            bodies.append(asked.body or "")
            if number % AT_A_TIME == 0:
                caught_up(yummy_port, number)
        counts = caught_up(yummy_port, len(bodies))
        for outcome in OUTCOMES:
            what = f"{counts[outcome]} requests are {outcome} to --shadow, {wanted[outcome]} to run.py"
            check(counts[outcome] == wanted[outcome], what)
        check(wanted["same"] > len(bodies) / 3, "less than a third of the answers are the same")
        lines = folder / "requests.jsonl"
        lines.write_text("".join(f"{body}\n" for body in bodies), encoding="utf-8")
        code, found = compared(arguments.yummy, config, feast_port, lines)
        check(code == int(wanted["different"] > 0), f"the exit code of compare is {code}: {found.get('error')}")
        for outcome in OUTCOMES:
            what = f"{found.get(outcome)} requests are {outcome} to compare, {wanted[outcome]} to run.py"
            check(found.get(outcome) == wanted[outcome], what)
        code, found = compared(arguments.yummy, config, feast_port, Path("/dev/null"))
        check(code == 2, "no requests are no error")

        # The same repository on an empty store: what Feast reads is not there.
        (folder / "of-empty").mkdir()
        empty_port = stack.enter_context(valkey(folder / "of-empty"))
        empty = Path(shutil.copytree(config.parent, folder / "empty")) / config.name
        empty.write_text(empty.read_text().replace(f":{redis_port}", f":{empty_port}"))
        log = empty.parent / "yummy-fast.log"
        blind_port = stack.enter_context(yummy_server(arguments.yummy, empty, *shadow))
        blind = Link(blind_port)
        stack.callback(blind.close)
        good = [traffic.good() for _ in range(AT_A_TIME)]
        for query in good:
            blind.ask(Asked("", "POST", PATH, {"content-type": "application/json"}, json.dumps(query), query))
        counts = caught_up(blind_port, len(good))
        check(counts["different"] > len(good) / 4, f"an empty store is found out by {counts}")
        text = log.read_text()
        check("shadow: Feast's answer is another one: " in text, f"no difference is logged: {text[-300:]}")
        check(not re.search(r"row \d+: ", text), "the log has values")
        lines.write_text("".join(f"{json.dumps(query)}\n" for query in good), encoding="utf-8")
        code, found = compared(arguments.yummy, empty, feast_port, lines)
        check(code == 1, f"the exit code of compare is {code}: {found.get('error')}")
        check(found.get("different") == counts["different"], f"compare says {found.get('different')}: {counts}")
    print(f"run.py says {dict(wanted)}")
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
