"""Clients and their bytes: sockets and connections, bytes to requests, answers to bytes.

Reading order: `listeners` (listening sockets and TLS), `accept` (accepting connections), `descriptors` (the limit on
open files), `connection` (one client: the order of its answers, backpressure, deadlines, limits on requests in flight),
`answer_writer` (the bytes of its answers, and what it has not read of them), `http11` (HTTP/1.1 itself: bytes to
requests, the limits on the sizes of heads and bodies, response heads), `tokens` (bearer tokens), `trace_headers`
(X-Request-Id, traceparent and Server-Timing). What a Feast server beside this one answers: `forward`, with
`answer_parser`.

This package knows nothing of Feast. `server.app` passes in the function that answers requests (see `endpoints`).
"""
