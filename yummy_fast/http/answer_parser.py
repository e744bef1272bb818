r"""The answer of another server, for `forward`: from its bytes, cut anywhere, to its status, headers and body.

`http11` has the server's side of the protocol: requests in, answers out. Here one answer comes in, and `feed` returns
each piece of its body as it comes:

    HTTP/1.1 100 Continue\r\n\r\n                       an interim answer: skipped
    HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel     status 200, length 5, and b"hel"
    loHTTP/1.1 404 ...                                  b"lo"; the answer is complete, and the rest is discarded

httptools (llhttp) does the parsing. Nothing here does I/O: `forward` owns the socket, and decides which headers the
client gets. The head has a limit; the body has none, because the parser keeps nothing of it. A body in a transfer
coding other than chunked is refused: `forward` sends no TE, so only chunked may come (RFC 9110 10.1.4), and a client
that got the bytes of `Transfer-Encoding: gzip` without that header could not read them.
"""

from __future__ import annotations

import httptools

from yummy_fast.http.http11 import WITHOUT_BODY, is_number


class AnswerError(ValueError):
    """Another server has sent what is not an answer of HTTP/1.1, a head that is too long, or a transfer coding."""


class AnswerParser:
    """Parses the answer of another server to one request.

    Interim answers (100 Continue) are skipped. Bytes after the answer are discarded: no second request was sent, and
    the client must not get those bytes as a part of the body (RFC 9112 6.3).
    """

    def __init__(self, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._head_bytes_left = max_head_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._framed = False
        self._codings: list[bytes] = []
        """The values of Transfer-Encoding. A tab after "chunked" stays, so that the value is refused: llhttp allows
        only spaces there, and would take the chunks for content.
        """
        self._is_coded = False
        """Whether the body has a transfer coding other than chunked."""
        self.status = 0
        """0 until the head is complete."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case."""
        self.length: int | None = None
        """The value of Content-Length, if that is the length of the body; else None."""
        self.complete = False
        """Whether the whole answer has come."""

    def feed(self, data: bytes) -> bytes:
        """The part of the body that is in `data`. Raises AnswerError."""
        if not self.status:
            # No more than the limit leaves is fed, so that the limit holds for a head that comes in one read, too.
            start, data = data[: self._head_bytes_left], data[self._head_bytes_left :]
            self._head_bytes_left -= len(start)
            self._feed(start)
            if data and not self.status:
                raise AnswerError(f"the head of the answer is longer than {self._max_head_bytes} bytes")
        if data:
            self._feed(data)
        if self._is_coded:
            raise AnswerError("its answer has a transfer coding other than chunked")
        piece = b"".join(self._pieces)
        self._pieces.clear()
        return piece

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            if not self.complete and not self._is_coded:
                raise AnswerError("what came is no answer of HTTP/1.1") from None

    def feed_end(self) -> None:
        """The server has closed the connection in order, which ends a body without length or chunks: RFC 9112 6.3."""
        if self.status and not self._framed:
            self.complete = True

    def close(self) -> None:
        """Break the reference cycle, as `http11.RequestParser.close` does."""
        del self._parser

    def on_message_begin(self) -> None:
        if not self.status:
            self.headers.clear()
            self._codings.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # otherwise the header is in a trailer, or follows the answer
            name = name.lower()
            self.headers.append((name, value.strip(b" \t")))
            if name == b"transfer-encoding":
                self._codings.append(value.rstrip(b" ").lower())

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self.status:
            return
        self.status = status
        found = dict(self.headers)
        self._framed = b"transfer-encoding" in found or b"content-length" in found or status in WITHOUT_BODY
        self._is_coded = status not in WITHOUT_BODY and self._codings not in ([], [b"chunked"])
        has_length = status not in WITHOUT_BODY and b"transfer-encoding" not in found
        if has_length and is_number(found.get(b"content-length", b"")):
            self.length = int(found[b"content-length"])

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.status > 0
