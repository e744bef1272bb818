"""The formats of log lines, text for people and JSON for machines; and the sampled access log.

A JSON line is one object with `time` (UTC), `level`, `logger` and `message`. It has `exception` if there is one, and a
line of the access log has its fields as keys of their own:

    {"time": "2026-11-23T10:15:00.123Z", "level": "INFO", "logger": "yummy_fast.access", "message": "POST /get-...",
     "method": "POST", "path": "/get-online-features", "status": 200, "bytes": 5012, "duration_ms": 1.204, ...}

The access log has a line for a random share of the requests: the status and size of the answer, the duration, and the
feature service. No line contains what was asked for or answered: no entity key and no value; of the target only the
path, and of the headers only the ids of the request (see `trace_headers`).

In a terminal, lines are coloured by their level, and those of the access log by the status of the answer.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from yummy_fast.errors import YummyError
from yummy_fast.http.http11 import CLIENT_LEFT, Request, Response, ResponseOrCoroutine, split_target
from yummy_fast.http.trace_headers import log_fields, log_text
from yummy_fast.telemetry.stderr_log import ACCESS, StderrLog

logger = logging.getLogger(ACCESS)

TEXT = "%(asctime)s %(levelname)s %(message)s"
MAX_PATH_CHARS = 200
"""Longer paths are cut. The paths of our endpoints have about 20 characters; others are as long as a client likes."""


def set_up_logging(level: str, form: str, *, coloured: bool = False) -> None:
    """Log to standard error: messages of at least `level`, in the format `form`, "text" or "json".

    `coloured` is for text that a terminal shows.
    """
    handler = StderrLog()
    text = ColouredFormatter(TEXT) if coloured else logging.Formatter(TEXT)
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)  # otherwise Python prints warnings: as text, and waits until they are read


def stderr_logs() -> list[StderrLog]:
    """The handler that `set_up_logging` has made; none in a test that logs elsewhere."""
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, StderrLog)]


def lines_dropped() -> int:
    """How many lines of this process's log were not written."""
    return sum(log.dropped for log in stderr_logs())


def utc_text(seconds: float) -> str:
    """A time in seconds since the epoch as ISO 8601 in UTC, to the millisecond: "2026-11-23T10:15:00.123Z"."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_RED, _GREEN, _YELLOW, _CYAN, _DIM = 31, 32, 33, 36, 2
"""Parameters of SGR, the escape sequence that sets colours (ECMA-48, 8.3.117)."""


class ColouredFormatter(logging.Formatter):
    """Formats records as text for a terminal, in colours."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.name == ACCESS:
            colour = (_GREEN, _CYAN, _YELLOW, _RED)[min(max(record.fields["status"] // 100, 2), 5) - 2]  # type: ignore[attr-defined]
        else:
            colour = _RED if record.levelno >= logging.ERROR else _YELLOW if record.levelno >= logging.WARNING else _DIM
        return f"\x1b[{colour}m{text}\x1b[0m"


class JsonFormatter(logging.Formatter):
    """Formats each record as one line with a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": utc_text(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def log_sample(
    handle: Callable[[Request], ResponseOrCoroutine], share: float
) -> Callable[[Request], ResponseOrCoroutine]:
    """`handle`, with a line in the access log for a random `share` (0 to 1) of its requests."""
    draw = random.random

    def sampled(request: Request) -> ResponseOrCoroutine:
        return logged(request) if draw() < share else handle(request)

    async def logged(request: Request) -> Response:
        began = time.perf_counter()
        try:
            answer = handle(request)
            response = answer if isinstance(answer, Response) else await answer
        except GeneratorExit:
            _log(request, CLIENT_LEFT, 0, "", began)
            raise
        except YummyError as error:
            _log(request, error.status, len(error.body()), "", began)
            raise
        except Exception:
            _log(request, 500, 0, "", began)
            raise
        _log(request, response.status, len(response.body), response.service, began)
        return response

    return sampled


def _log(request: Request, status: int, size: int, service: str, began: float) -> None:
    path = split_target(request.url)[0][:MAX_PATH_CHARS].decode("ascii", "backslashreplace")
    method = request.method.decode("ascii", "backslashreplace")
    duration_ms = round((time.perf_counter() - began) * 1000, 3)
    logger.info(
        "%s %s %d, %d bytes in %.3f ms%s%s",
        method,
        path,
        status,
        size,
        duration_ms,
        service and f", {service}",
        log_text(request.trace),
        extra={
            "fields": {
                "method": method,
                "path": path,
                "status": status,
                "bytes": size,
                "duration_ms": duration_ms,
                "feature_service": service or None,
                **log_fields(request.trace),
            }
        },
    )
