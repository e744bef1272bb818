"""Clients and their bytes: sockets and connections, bytes to requests, answers to bytes.

Reading order: `listeners` (listening sockets and TLS), `accept` (accepting connections), `connection` (one client: the
order of its answers, backpressure, deadlines), `http11` (HTTP/1.1 itself: bytes to requests, and response heads),
`tokens` (bearer tokens), `trace_headers` (X-Request-Id, traceparent and Server-Timing).

This package knows nothing of Feast. `server.app` passes in the function that answers requests (see `endpoints`).
"""
