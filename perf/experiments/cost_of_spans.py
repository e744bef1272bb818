"""Question: what does a request cost with --otel, and what if it is not sampled?

One server, 1 x 50 of `ints`, at a fixed rate over one connection, eight requests at a time. What counts is the CPU time
of its process, with the thread that sends the spans. The collector is in this process, and drops what it gets.

Asked on 2026-11-23; Python 3.11.2, opentelemetry-sdk 1.45.2, 1,000 requests/s on one of two shared cores that others
kept busy (load average 5: the ratios count, a quiet machine needs less than half of each), two rounds, us and MB:

    off                              222   195   46
    off, with a traceparent          197   225   46
    on, the caller does not sample   243   245   52
    on, the caller samples           750   625   56
    on, 1 % of the traces            223   227   52

Asking the sampler first, before anything is kept of a request, halved what the third and the last cost. A span of the
SDK's takes 35 us to make and as much to encode (97 with its eleven attributes, 19 for each phase below it). Phases as
events of one span would save a third of all; ReadableSpan, made without a tracer, a fifth.

Verdict: phases are spans, because that is what viewers draw, and made by the tracer, because ReadableSpan is not meant
for users of the SDK. A busy server samples. Ask again when the SDK is cheaper, or when every request is needed.

    python perf/experiments/cost_of_spans.py
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
import peers
import procfs
import rivals

BATCH = 8
PARENT = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0{}\r\n"
ONE_PERCENT = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
VARIANTS: dict[str, tuple[list[str], str, dict[str, str]]] = {
    "off": ([], "", {}),
    "off, with a traceparent": ([], PARENT.format(1), {}),
    "on, the caller does not sample": (["--otel"], PARENT.format(0), {}),
    "on, the caller samples": (["--otel"], PARENT.format(1), {}),
    "on, 1 % of the traces": (
        ["--otel"],
        "",
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    ),
}


class Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def measure(
    command: list[str], environment: dict[str, str], fields: str, rate: int, seconds: float
) -> tuple[float, int]:
    """CPU of a request in us, and the resident memory afterwards in MB."""
    server = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | environment, start_new_session=True
    )
    try:
        os.sched_setaffinity(server.pid, {rivals.SERVER_CORE})
        assert server.stderr is not None
        line = next(line for line in server.stderr if " on http" in line and "serving" in line)
        port = int(re.search(r":(\d+)$", line.strip())[1])  # type: ignore[index]
        body = json.dumps({"feature_service": data.service_name(50), "entities": {"entity": [12]}})
        head = f"POST /get-online-features HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as client:
            answers = client.makefile("rb")

            def ask(batches: int) -> None:
                due = time.perf_counter()
                for _ in range(batches):
                    client.sendall((head + body).encode() * BATCH)
                    for _ in range(BATCH):
                        assert answers.readline().startswith(b"HTTP/1.1 200")
                        size = 0
                        while (field := answers.readline()) != b"\r\n":
                            if field.lower().startswith(b"content-length:"):
                                size = int(field.split(b":")[1])
                        answers.read(size)
                    due += BATCH / rate
                    time.sleep(max(0.0, due - time.perf_counter()))

            ask(rate // BATCH)
            before = procfs.cpu_s(server.pid)
            batches = int(rate * seconds) // BATCH
            ask(batches)
            used = procfs.cpu_s(server.pid) - before
        pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
        return used / (batches * BATCH) * 1e6, pages * os.sysconf("SC_PAGE_SIZE") >> 20
    finally:
        server.terminate()
        server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=7170, help="Redis's")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.sched_setaffinity(0, {rivals.LOAD_CORE})
    ints = data.SETS["ints"]
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name, peers.redis(options.port, rivals.LOAD_CORE, Path(name)):
        data.write_repository(ints, Path(name), options.port)
        data.fill(ints, options.port)
        command = [sys.executable, "-m", "yummy_fast", "serve", "--chdir", name, "--port", "0"]
        for _ in range(options.rounds):
            for title, (flags, fields, environment) in VARIANTS.items():
                environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
                cost = measure([*command, *flags], environment, fields, options.rate, options.seconds)
                print(f"{title:32} {cost[0]:6.0f} us of CPU a request, {cost[1]} MB", flush=True)


if __name__ == "__main__":
    main()
