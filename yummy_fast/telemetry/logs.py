"""What log lines look like: text for people, JSON for machines; and the sampled access log.

A line of JSON is one object with `time` (UTC), `level`, `logger` and `message`, `exception` where there is one, and for
the access log its fields one by one.

The access log tells of a share of the requests, drawn at random: how they were answered, how long that took, and for
which feature service. What was asked for and what was answered is in no line: no entity key, no value, of the target
only the path, and of the headers only what the client calls the request (`trace`).
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

logger = logging.getLogger("yummy_fast.access")

TEXT = "%(asctime)s %(levelname)s %(message)s"
MAX_PATH_CHARS = 200
"""Of a target that somebody made up; ours have 20."""


def set_up_logging(level: str, form: str) -> None:
    """Log to standard error, from `level` on, as "text" or "json"."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if form == "json":
        logging.captureWarnings(True)  # or Python writes them as text


def utc_text(seconds: float) -> str:
    """A moment in seconds since the epoch, as JSON of ours has it: ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

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
    """`handle`, with a line in the log for a `share` of its requests, 0 to 1."""
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
    named = (service and f", {service}") + log_text(request.trace)
    logger.info(
        *("%s %s %d, %d bytes in %.3f ms%s", method, path, status, size, duration_ms, named),
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
