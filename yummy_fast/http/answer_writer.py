"""Write one client's answers to its transport: small bodies whole, large ones in slices, streams piece by piece.

An `AnswerWriter` is given one answer after the other; `connection` decides which one is next. It holds what the client
has not read yet, and measures how much that is and how fast the client reads.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import Callable
from typing import Any

from yummy_fast.http.http11 import BodyStream, Clock, Request, Response, response_head, streamed_head

LARGE_BODY_BYTES = 64 << 10
"""Larger bodies are passed to the transport apart from the head: to copy both into one bytes object would cost more."""

SLICE_BYTES = 256 << 10
"""Of a larger body, the transport is given a slice whenever it has room. Given all of it, TLS would encrypt it in one
go and hold it twice.
"""

MUCH_BYTES = 64 << 10
"""While a client has more than this of its answers unread, no request of it begins. It is uvloop's high-water mark."""


class AnswerWriter:
    """Writes the answers to one client."""

    __slots__ = (
        "_below",
        "_body_bytes",
        "_chunked",
        "_clock",
        "_rest",
        "_stream",
        "_stream_ended",
        "_transport",
        "busy",
        "is_read",
        "paused",
        "read_bytes",
        "unsent_bytes",
    )

    def __init__(self, transport: Any, clock: Clock) -> None:
        """`transport`: an asyncio.Transport of uvloop's."""
        self._transport = transport
        self._clock = clock
        self._below: Any = None
        """With TLS, the transport that sends what `_transport` has encrypted; without, None."""
        if transport.get_extra_info("sslcontext") is not None:
            self._below = transport_below(transport)
            transport.set_write_buffer_limits(high=MUCH_BYTES)  # uvloop's is 512 KiB, on top of the one below
        self.busy = False
        """Whether the transport still lacks a part of the last answer. Then no other may be written."""
        self._rest: memoryview | None = None
        """What the transport had no room for of the body that is being written. Only while `paused`."""
        self._body_bytes = 0
        """The size of that body."""
        self._stream: BodyStream | None = None
        """Where the body that is being written comes from, if it comes piece by piece, and ..."""
        self._chunked = False
        """... whether its pieces are sent as chunks, and ..."""
        self._stream_ended: Callable[[], None] | None = None
        """... what is to be called after its last piece."""
        self.paused = False
        """Whether the client reads so slowly that the transport's buffer is full."""
        self.unsent_bytes = 0
        """How much was still to be sent at the last `measure`."""
        self.read_bytes = 0
        """How much less that was than at the `measure` before. If it was more, another answer was written, as is done
        when little is unread: the client counts as having read `unsent_bytes`.
        """
        self.is_read = True
        """Whether `unsent_bytes` became less between these two, or was 0 at the first."""

    # --------------------------------------------------------------------------------------------- answers

    @property
    def streams(self) -> bool:
        """Whether the body that is being written comes piece by piece."""
        return self._stream is not None

    def write(self, response: Response, request: Request, keep_alive: bool) -> None:
        """Write an answer whose body is there. Without `keep_alive`, its head says that the connection ends with it."""
        status, body, headers, _, _ = response
        size = len(body)
        transport = self._transport
        if keep_alive and status == 200 and request.trace is None and request.version == "1.1":
            head = b"%b%d\r\n\r\n" % (self._clock.heads.get(headers) or self._clock.usual_head(headers), size)
        else:
            head = response_head(response, self._clock.line, keep_alive, request.version)
        if request.method == b"HEAD":
            transport.write(head)
        elif size <= LARGE_BODY_BYTES:
            transport.write(head + body)
        elif size <= SLICE_BYTES:
            transport.writelines((head, body))
        else:
            view = memoryview(body)
            self._body_bytes = size
            self._rest = view[SLICE_BYTES:]  # before the write, which may call resume_writing()
            transport.writelines((head, view[:SLICE_BYTES]))
            self._write_rest()

    def _write_rest(self) -> None:
        """Write more of a body, as long as the transport has room."""
        while self._rest is not None and not self.paused:
            piece, rest = self._rest[:SLICE_BYTES], self._rest[SLICE_BYTES:]
            self._rest = rest or None
            if not self._transport.is_closing():
                self._transport.write(piece)
        self.busy = self._rest is not None or self._stream is not None

    def write_streamed(
        self, response: Response, stream: BodyStream, request: Request, keep_alive: bool, ended: Callable[[], None]
    ) -> None:
        """As `write`, for a body that comes piece by piece, out of `stream`. `ended` is called after the last piece.

        In HTTP/1.0, a stream of unknown length has no `keep_alive`: the end of the connection ends the body.
        """
        head, self._chunked = streamed_head(response, stream, self._clock.line, keep_alive, request.version)
        # Before the write, which may call pause_writing().
        self.busy, self._stream, self._stream_ended = True, stream, ended
        self._transport.write(head)
        if request.method == b"HEAD":
            self._drop_stream()
        else:
            stream.start(self)

    def stream_data(self, data: bytes) -> None:
        """As Sink.stream_data. What the client does not read is held by the transport, up to its high-water mark."""
        if self._transport.is_closing():
            return
        if self._chunked:
            self._transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._transport.write(data)

    def stream_end(self) -> None:
        """As Sink.stream_end."""
        ended = self._stream_ended
        self.busy, self._stream, self._stream_ended = False, None, None
        if self._chunked and not self._transport.is_closing():
            self._transport.write(b"0\r\n\r\n")
        if ended is not None:
            ended()

    def stream_lost(self) -> None:
        """As Sink.stream_lost. The connection is reset: in HTTP/1.0, an orderly close would end the body."""
        self.busy, self._stream, self._stream_ended = False, None, None
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def drop(self) -> None:
        """Write no more of the answer that is being written."""
        self._rest = None
        self._drop_stream()

    def _drop_stream(self) -> None:
        stream, self.busy, self._stream, self._stream_ended = self._stream, False, None, None
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """Let go of everything: the connection is lost."""
        self.drop()
        self._below = None

    # ------------------------------------------------------------------------- how the client reads them

    def pause(self) -> None:
        """The transport's buffer is full: the client reads slower than we write."""
        self.paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        """The transport has room again."""
        self.paused = False
        self._write_rest()
        if self._stream is not None:
            self._stream.resume()

    @property
    def held_bytes(self) -> int:
        """How much memory the answers take, without what a transport holds that is not full: see `buffered_bytes`."""
        held = self._body_bytes if self._rest is not None else 0  # all of it stays until the last slice is written
        if self.paused and (self._rest is None or self._below is not None):
            held += self.buffered_bytes  # otherwise slices of that body; with TLS, they are copies
        return held

    @property
    def buffered_bytes(self) -> int:
        """What the transports hold."""
        size: int = self._transport.get_write_buffer_size()
        if self._below is not None:
            size += self._below.get_write_buffer_size()
        return size

    def measure(self) -> None:
        """See how much the client has read since the last call. To be called once a second."""
        before = self.unsent_bytes
        unsent = self.unsent_bytes = self.buffered_bytes + (len(self._rest) if self._rest is not None else 0)
        self.read_bytes = before - unsent if before >= unsent else unsent
        self.is_read = not 0 < before <= unsent


def transport_below(transport: asyncio.BaseTransport) -> asyncio.Transport | None:
    """The transport of the socket, below uvloop's TLS transport.

    The get_write_buffer_size() of uvloop's TLS transport leaves out what it has encrypted and handed down: that is all
    of an answer that a client is slow to read, so the connection would seem idle, and be closed. No attribute leads
    down, so the transport is found among the objects that uvloop's SSLProtocol refers to.
    """
    found = gc.get_referents(transport.get_extra_info("uvloop.sslproto"))
    below: asyncio.Transport | None = next(
        (each for each in found if hasattr(each, "get_write_buffer_size") and each is not transport), None
    )
    return below
