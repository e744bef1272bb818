"""Every exception that a request or an operator may see, and the HTTP answer that belongs to it.

    YummyError
    ├── ConfigError                   feature_store.yaml, flags, environment    at start: one line, exit 2
    ├── RegistryError                 unreadable, or it makes no sense          at start: as above; later: the old stays
    ├── ProtocolError                 bytes that are not HTTP as we speak it    its own status, connection closed
    ├── LimitError                    more than we do for one, or for all       413; 503, 504 with Retry-After
    ├── RequestError                  the caller's mistake                      400
    │   ├── NotFoundError             no such view, service or request data     404
    │   ├── CollisionError            two features under one name               400
    │   ├── ViewUnavailableError      a function that cannot be loaded          400
    │   ├── TokenError                no token that is accepted                 401
    │   ├── ValidationError           the body has not the shape of a request   422
    │   ├── UnreadableBodyError       the body cannot even be read as JSON      400
    │   ├── InexactNumberError        a number that parsing has changed         400, if it is the last word
    │   └── RouteError                no such path, or not with this method     404; 405 with Allow
    ├── TransformError                a function of the user's that fails       500, with the view's name
    └── StoreError                    the online store's fault                  502
        ├── CorruptValueError         what it holds is no Value                502
        ├── StoreUnavailableError     no connection                             503, Retry-After
        │   └── StoreRefusedError     it is loading, busy, or we have no right  503, Retry-After
        └── StoreTimeoutError         no answer in time                         504, Retry-After

The bodies keep Feast's three shapes (feast/rest_error_handler.py and FastAPI's own, Feast 0.67.0), so that Feast's
clients raise the right exception from them:
- a JSON string: the message;
- a JSON string that itself holds JSON, {"module", "class", "message"}: a Feast exception, imported by name over there;
- {"detail": ...}: validation and routing.

An exception outside this tree that reaches the HTTP side is our bug: 500, a traceback in the log, and nothing of it in
the answer.
"""

from __future__ import annotations

import json
from typing import Any, Self


def _json(value: object) -> bytes:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:  # a NaN that the caller sent, in what we quote of it: JSON has none
        value = json.loads(json.dumps(value), parse_constant=str)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


class ShutdownRequested(SystemExit):
    """The process was told to end before it had anything to serve: no error, and none of a user's sys.exit()."""


class YummyError(Exception):
    """The root. `status` is the HTTP status of the answer, `headers` the extra head lines it needs."""

    status: int = 500
    headers: bytes = b""

    def body(self) -> bytes:
        """The answer's body: the message as a JSON string."""
        return _json(str(self))


class ConfigError(YummyError):
    """The configuration cannot be used. The message names the file and the key."""


class RegistryError(YummyError):
    """The registry cannot be used. The message names where it was read from."""

    @classmethod
    def unreadable(cls, name: str, reason: str) -> Self:
        """For a registry of which there are no bytes."""
        return cls(f"{name}: the registry cannot be read: {reason}")


class ProtocolError(YummyError):
    """The bytes on a connection are not a request we accept; the connection is closed after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class LimitError(YummyError):
    """A request that is too large (413), one too many (503), or one that takes too long (504)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        if status >= 500:
            self.headers = b"retry-after: 1\r\n"

    def body(self) -> bytes:
        return _json({"detail": str(self)})


MAX_MESSAGE_CHARS = 20_000
"""Of what is quoted in an answer: a name may be as long as a body. Feast quotes all of it."""


class RequestError(YummyError):
    """The caller's mistake. The message says where, what was expected and what came."""

    status = 400
    feast_class: str = ""

    def fresh_copy(self) -> Self:
        """A copy, to raise. An error that is kept would hold the frames it goes through, and they what keeps it."""
        copy = type(self).__new__(type(self), *self.args)
        copy.__dict__.update(self.__dict__)
        return copy

    def body(self) -> bytes:
        message = str(self)
        if len(message) > MAX_MESSAGE_CHARS:
            message = f"{message[:MAX_MESSAGE_CHARS]} [...]"
        if not self.feast_class:
            return _json(message)
        # Encoded twice, with Feast's separators inside: the remote SDK parses the string, then imports the class.
        return _json(json.dumps({"module": "feast.errors", "class": self.feast_class, "message": message}))


class NotFoundError(RequestError):
    """A view, service or piece of request data that is not there, under the name of Feast's exception for it."""

    status = 404

    def __init__(self, feast_class: str, message: str) -> None:
        super().__init__(message)
        self.feast_class = feast_class


class CollisionError(RequestError):
    """Several requested features would come under one name (Feast answers 500, with this class)."""

    feast_class = "FeatureNameCollisionError"


class ViewUnavailableError(RequestError):
    """An on-demand view whose function cannot be used."""


class ValidationError(RequestError):
    """The body is not a request. `details` are FastAPI's: a list of {"type", "loc", "msg", "input"[, "ctx"]}."""

    status = 422

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details))
        self.details = details

    def body(self) -> bytes:
        try:
            return _json({"detail": self.details})
        except RecursionError:  # what we quote of the request is nested deeper than can be written
            return _json({"detail": [{**detail, "input": None} for detail in self.details]})


class UnreadableBodyError(RequestError):
    """Bytes that are no text, or JSON that nobody's parser goes through: FastAPI's words for it, then ours."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"There was an error parsing the body: {reason}")

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class InexactNumberError(RequestError):
    """A number in the body is beyond 64 bits, so what it was parsed to may not be what it says. Parse it exactly."""


class TokenError(RequestError):
    """No bearer token, or none that is accepted. The text is Feast's for every such case."""

    status = 401
    headers = b"www-authenticate: Bearer\r\n"

    def __init__(self) -> None:
        super().__init__("Invalid or expired access token")

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class RouteError(RequestError):
    """No endpoint under this path (404), or not with this method (405; `allow` lists those there are)."""

    def __init__(self, status: int, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.status = status
        if allow:
            self.headers = b"allow: %b\r\n" % allow.encode()

    def body(self) -> bytes:
        return _json({"detail": str(self)})


class TransformError(YummyError):
    """A function of the user's raised, or returned what cannot be answered. The log has the rest."""

    status = 500


class StoreError(YummyError):
    """The online store answered with something that is no answer."""

    status = 502


class CorruptValueError(StoreError):
    """Stored bytes that are no serialised Value or Timestamp."""


class StoreUnavailableError(StoreError):
    """The online store cannot be reached."""

    status = 503
    headers = b"retry-after: 1\r\n"


class StoreRefusedError(StoreUnavailableError):
    """The online store answers, and refuses: everything for now, or us."""


class StoreTimeoutError(StoreError):
    """The online store did not answer in time."""

    status = 504
    headers = b"retry-after: 1\r\n"
