"""`--shadow URL`: a share of the requests goes to a Feast server as well, and the answers are compared.

The client has its answer first. Then the request and the answer wait in a queue for a thread, which asks Feast and
compares. Nothing waits for that thread: if the queue is full, by entries or by bytes, a request is dropped and counted.
Without --shadow, none of this exists, and no request costs anything for it.

Differences are counted by what differs, and logged by the names of columns: no line has a value or an entity key. Of
differences that are alike, one a minute is logged. A row that is written between the two reads is a difference as well,
which does not come again.

Feast gets the body and Authorization of the request. Answers 503 and 504 of this server are not compared: they say
something of the store, or of time. The thread shares the interpreter with the event loop, so what is large is left out.
"""

from __future__ import annotations

import http.client
import logging
import queue
import random
import threading
from typing import NamedTuple

from yummy_fast.config.settings import Shadow as Options
from yummy_fast.diagnosis.ask_server import LongAnswerError, ServerLink, why
from yummy_fast.diagnosis.differences import OUTCOMES, PARTS, Answer, compare_answers
from yummy_fast.errors import YummyError
from yummy_fast.http.connection import Handle
from yummy_fast.http.http11 import Request, Response, ResponseOrCoroutine
from yummy_fast.http.trace_headers import log_text
from yummy_fast.telemetry.metrics import Metrics
from yummy_fast.telemetry.once_log import OnceLog

logger = logging.getLogger("yummy_fast")

PATH = b"/get-online-features"
MAX_WAITING = 100
"""Requests that wait to be compared."""
MAX_WAITING_BYTES = 16 << 20
"""Of these requests and their answers."""
MAX_BYTES = 1 << 20
"""A request is not compared whose body and answer have more, or whose answer of Feast has."""
TIMEOUT_S = 10.0
"""How long Feast may take. Meanwhile requests wait in the queue, or are dropped."""
LOG_PERIOD_S = 60.0
STOP_S = 1.0
"""How long the end of the server waits for the thread."""

UNANSWERED, DROPPED, TOO_LARGE = "unanswered", "dropped", "too_large"


class _Waiting(NamedTuple):
    request: Request
    answer: Answer
    service: str
    size: int


class Shadow:
    """Compares a share of the answers of one process with those of a Feast server."""

    def __init__(self, options: Options, compat: str, metrics: Metrics) -> None:
        """Raises ConfigError for what is no URL."""
        self._link = ServerLink(options.url, "--shadow", timeout_s=TIMEOUT_S, max_answer_bytes=MAX_BYTES)
        self._share = options.share
        self._is_strict = compat == "strict"
        self._outcomes = metrics.shadow_outcomes
        self._parts = metrics.shadow_differences
        # All series are there from the start: a rate needs a sample from before the first difference. Each number has
        # one thread that changes it: "dropped" and "too_large" the event loop's, the others the one that compares.
        self._outcomes.update(dict.fromkeys((*OUTCOMES, UNANSWERED, DROPPED, TOO_LARGE), 0))
        self._parts.update(dict.fromkeys(PARTS, 0))
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._put_bytes = 0
        """Of all that was ever put into the queue. Only the event loop's thread changes it."""
        self._taken_bytes = 0
        """Of all that was ever compared. Only the other thread changes it."""
        self._closing = False
        self._log = OnceLog(logger, period_s=LOG_PERIOD_S)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def follow(self, handle: Handle) -> Handle:
        """`handle`, with a comparison of a random share of its requests for features."""
        draw, share = random.random, self._share

        def followed(request: Request) -> ResponseOrCoroutine:
            if request.url == PATH and draw() < share and request.method == b"POST":
                return self._followed(handle, request)
            return handle(request)

        return followed

    async def _followed(self, handle: Handle, request: Request) -> Response:
        try:
            outcome = handle(request)
            response = outcome if isinstance(outcome, Response) else await outcome
        except YummyError as error:
            if error.status not in (503, 504):
                self._offer(request, Answer(error.status, error.body()), "")
            raise
        except Exception:  # a bug, which is answered by a 500
            self._offer(request, Answer(500, b""), "")
            raise
        self._offer(request, Answer(response.status, response.body), response.service)
        return response

    def _offer(self, request: Request, answer: Answer, service: str) -> None:
        size = len(request.body) + len(answer.body)
        if size > MAX_BYTES:
            self._outcomes[TOO_LARGE] += 1
        elif self._queue.qsize() >= MAX_WAITING or self._put_bytes - self._taken_bytes + size > MAX_WAITING_BYTES:
            self._outcomes[DROPPED] += 1
        else:
            self._put_bytes += size
            self._queue.put(_Waiting(request, answer, service, size))

    def close(self) -> None:
        """End the thread, and what it waits for. What has not been compared is forgotten."""
        self._closing = True
        self._queue.put(None)
        self._link.end()
        self._thread.join(STOP_S)

    # ------------------------------------------------------------------------------------------------ the other thread

    def _run(self) -> None:
        while (waiting := self._queue.get()) is not None and not self._closing:
            try:
                self._compare(waiting)
            except Exception:  # the next one has to be compared
                self._log.log(
                    logging.ERROR, "shadow: an answer was not compared, because of a server bug", exc_info=True
                )
            self._taken_bytes += waiting.size
        self._link.close()

    def _compare(self, waiting: _Waiting) -> None:
        request = waiting.request
        headers = {"Authorization": request.authorization.decode("latin-1")} if request.authorization else {}
        try:
            theirs = self._link.ask(request.body, headers)
        except LongAnswerError:
            self._outcomes[UNANSWERED] += 1
            self._log.log(logging.WARNING, "shadow: %s answers more than %d bytes", self._link.name, MAX_BYTES)
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self._closing:
                self._outcomes[UNANSWERED] += 1
                self._log.log(logging.WARNING, "shadow: %s does not answer: %s", self._link.name, why(error))
            return
        if self._closing:
            return
        is_strict = request.compat.lower() == b"strict" if request.compat else self._is_strict
        compared = compare_answers(theirs, waiting.answer, with_statuses=not is_strict)
        self._outcomes[compared.outcome] += 1
        for part in {difference.part for difference in compared.differences}:
            self._parts[part] += 1
        service = f"feature service {waiting.service}: " if waiting.service else ""
        for difference in compared.differences:
            self._log.log(
                logging.WARNING,
                "shadow: Feast's answer is another one: %s%s%s",
                service,
                difference.text,
                log_text(request.trace),
                key=f"{waiting.service} {difference.part} {difference.column or difference.text}",
            )
