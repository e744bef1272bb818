r"""Every exception that a request or an operator may see, and its HTTP answer; `LimitError` says where each limit is.

    YummyError
    ├── ConfigError                   feature_store.yaml, flags, environment    at start: one line, exit 2
    ├── RegistryError                 unreadable or inconsistent registry       at start: as above; reload: keep the old
    ├── ProtocolError                 bytes that are no HTTP we accept          its own status, connection closed
    │   └── ContentCodingError        a body that is compressed                 415 with Accept-Encoding
    ├── LimitError                    a limit on size, number or time           413; 503, 504 with Retry-After
    ├── RequestError                  the caller's mistake                      400
    │   ├── NotFoundError             no such view, service or request data     404
    │   ├── PushSourceError           no such push source                       422
    │   ├── ReadOnlyError             nothing may be written here, or by whom   403
    │   ├── FeastOnlyError            what only Feast's own server answers      501
    │   ├── CollisionError            two features under one name               400
    │   ├── ViewUnavailableError      its function cannot be loaded             400
    │   ├── TokenError                no bearer token, or an unknown one        401
    │   ├── ValidationError           JSON that does not have a request's shape 422
    │   ├── UnreadableBodyError       a body that is not JSON                   400
    │   ├── InexactNumberError        a number that parsing has rounded         400, unless exact parsing succeeds
    │   └── RouteError                unknown path, or wrong method for it      404; 405 with Allow
    ├── TransformError                a user's function failed                  500, with the view's name
    ├── ForwardError                  Feast's server did not answer             502, 504
    └── StoreError                    the online store failed                   502
        ├── CorruptValueError         a stored value cannot be decoded          502
        ├── StoreUnavailableError     no connection to it                       503, Retry-After
        │   ├── StoreRefusedError     it is loading, busy, or denies access     503, Retry-After
        │   └── StoreOverloadedError  more is asked of it than it can answer    503, Retry-After
        ├── StoreTimeoutError         no reply in time                          504, Retry-After
        └── UnknownOutcomeError       rows were sent, and may have been stored  504

The bodies keep Feast's three shapes (feast/rest_error_handler.py and FastAPI's own, Feast 0.67.0), so that Feast's
clients raise the right exception from them:
- a JSON string, which is the message: "entities.driver_id[3]: expected an integer";
- a JSON string that itself holds JSON, which names the Feast exception for the client to import and raise:
  "{\"module\": \"feast.errors\", \"class\": \"FeatureViewNotFoundException\", \"message\": ...}";
- a JSON object, for validation and routing: {"detail":"Not Found"}.

An exception outside this tree that reaches the HTTP side is our bug: the answer is "Internal Server Error" (500), and
the traceback goes to the log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self


def _json(value: object) -> bytes:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:  # the answer quotes a NaN or Infinity that the caller sent, which JSON does not have
        value = json.loads(json.dumps(value), parse_constant=str)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


class ShutdownRequested(SystemExit):
    """A signal ended the process before it served. A class of its own, to distinguish it from a user's sys.exit()."""


class YummyError(Exception):
    """The root. `status` is the HTTP status of the answer; `headers` are head lines that the answer needs besides."""

    status: int = 500
    headers: bytes = b""

    def body(self) -> bytes:
        """The answer's body: the message as a JSON string."""
        return _json(str(self))


class ConfigError(YummyError):
    """The configuration is invalid. The message names the file and the key."""


class RegistryError(YummyError):
    """The registry cannot be used. The message names where it was read from."""

    @classmethod
    def unreadable(cls, name: str, reason: str) -> Self:
        """An error for a registry source that returned no bytes. `name` is the path or URL that was read."""
        return cls(f"{name}: the registry cannot be read: {reason}")


class ProtocolError(YummyError):
    """The bytes on a connection are no request that we accept. The connection is closed after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class ContentCodingError(ProtocolError):
    """The body has a Content-Encoding. The header of the answer says what is taken: RFC 9110 12.5.3."""

    headers = b"accept-encoding: identity\r\n"

    def __init__(self) -> None:
        super().__init__(415, "Unsupported Media Type: Content-Encoding: expected none; send the body uncompressed")


class LimitError(YummyError):
    """The request is too large (413), there are too many at once (503), or it takes too long (504).

    The last two pass, and their answers say when to ask again. A request that is too large will be so later, too: none
    of the limits on size depends on what else the server does.

    Limits are enforced where what they limit is at hand: the size of a head or body in `http.http11`; connections,
    requests in flight and time in `http.connection`; the structure of a body, features and columns in `features.query`;
    rows and cells in `endpoints`; the answer's bytes in `features.large_answers`; commands that wait in
    `stores.redis_connection`. `config.settings` declares those that can be set.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        if status >= 500:
            self.headers = b"retry-after: 1\r\n"

    def body(self) -> bytes:
        return _json({"detail": str(self)})


MAX_MESSAGE_CHARS = 20_000
"""Longer messages are cut: they quote names from the request, and a name may be as long as a body. Feast cuts none."""


class RequestError(YummyError):
    """The caller's mistake. The message says where, what was expected and what came."""

    status = 400
    feast_class: str = ""

    def fresh_copy(self) -> Self:
        """A copy to raise, for an error that is kept and raised again and again.

        `raise` attaches a traceback to an error. A kept error would keep alive the frames of the request that raised it
        last, and form a reference cycle with whatever keeps it, because one of those frames refers to that.
        """
        copy = type(self).__new__(type(self), *self.args)
        copy.__dict__.update(self.__dict__)
        return copy

    def body(self) -> bytes:
        message = str(self)
        if len(message) > MAX_MESSAGE_CHARS:
            message = f"{message[:MAX_MESSAGE_CHARS]} [...]"
        if not self.feast_class:
            return _json(message)
        # JSON within a JSON string, the inner one with Feast's separators. Feast's remote client parses the string and
        # then imports the class.
        return _json(json.dumps({"module": "feast.errors", "class": self.feast_class, "message": message}))


class NotFoundError(RequestError):
    """A view, service or piece of request data does not exist. `feast_class` names Feast's exception for that."""

    status = 404

    def __init__(self, feast_class: str, message: str) -> None:
        super().__init__(message)
        self.feast_class = feast_class


class PushSourceError(RequestError):
    """No view is written by this push source."""

    status = 422
    feast_class = "PushSourceNotFoundException"


class ReadOnlyError(RequestError):
    """Nothing can be written here, or not with this token."""

    status = 403
    feast_class = "FeastPermissionError"


class FeastOnlyError(RequestError):
    """Only Feast's own feature server answers this, and there is none to forward it to."""

    status = 501
    feast_class = "FeastError"  # so that Feast's SDK raises an error with this message

    def __init__(self, what: str) -> None:
        super().__init__(
            f"This server does not answer {what}. Run Feast's own feature server beside it, and start it with "
            "--forward-to and the URL of that"
        )


class CollisionError(RequestError):
    """Several requested features would have the same name in the answer (Feast answers 500, with this class)."""

    feast_class = "FeatureNameCollisionError"


class ViewUnavailableError(RequestError):
    """The function of a requested on-demand view cannot be loaded."""


class ValidationError(RequestError):
    """The body is JSON, but no request. `details` are as FastAPI's: {"type", "loc", "msg", "input"[, "ctx"]} each."""

    status = 422

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details))
        self.details = details

    def body(self) -> bytes:
        try:
            return _json({"detail": self.details})
        except RecursionError:  # the quoted part of the request is nested deeper than json.dumps can write
            return _json({"detail": [{**detail, "input": None} for detail in self.details]})


class UnreadableBodyError(RequestError):
    """The body is not UTF-8, or no parser gets through its JSON. FastAPI's message, followed by our reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"There was an error parsing the body: {reason}")

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class InexactNumberError(RequestError):
    """A number in the body exceeds 64 bits, so the parser may have rounded it. The body is then parsed exactly."""


class TokenError(RequestError):
    """The request has no bearer token, or an unknown one. Feast has this text for every such case."""

    status = 401
    headers = b"www-authenticate: Bearer\r\n"

    def __init__(self) -> None:
        super().__init__("Invalid or expired access token")

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class RouteError(RequestError):
    """There is no endpoint at this path (404), or it has other methods (405; `allow` lists them)."""

    def __init__(self, status: int, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.status = status
        if allow:
            self.headers = b"allow: %b\r\n" % allow.encode()

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class TransformError(YummyError):
    """A user's function raised, or its result cannot be used. The log has the traceback."""

    status = 500


class ForwardError(YummyError):
    """Feast's own server has not answered a request that was forwarded to it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StoreError(YummyError):
    """The online store failed: its reply to the request's commands is an error, or makes no sense."""

    status = 502
    reply: str = ""
    """The text of an error reply, for the store alone: it may name keys and hosts."""
    refused: Sequence[tuple[int, str]] = ()
    """For the store alone: which commands of a write were refused, by their numbers, and with which replies."""


class CorruptValueError(StoreError):
    """Stored bytes cannot be decoded as a Value or Timestamp."""


class StoreUnavailableError(StoreError):
    """There is no connection to the online store."""

    status = 503
    headers = b"retry-after: 1\r\n"


class StoreRefusedError(StoreUnavailableError):
    """The online store refuses commands: all of them for now (LOADING, BUSY), or ours (NOAUTH, NOPERM)."""


class StoreOverloadedError(StoreUnavailableError):
    """So much waits for the online store that this request would not be answered in time."""


class StoreTimeoutError(StoreError):
    """The online store did not reply in time."""

    status = 504
    headers = b"retry-after: 1\r\n"


def how_to_install(extra: str) -> str:
    """How to install an extra of this package, for messages. It works from a clone or a wheel, so without an index."""
    return f"in a clone, pip install '.[{extra}]'; with a wheel, pip install 'FILE.whl[{extra}]'"


class UnknownOutcomeError(StoreError):
    """Rows were sent to the online store, and it did not say whether it has them. Nothing is sent twice."""

    status = 504

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: the rows that were sent may have been written, or may not")
