"""The bytes of clients: sockets in, requests out; answers in, bytes out.

Reading order: `listeners` (where clients connect, and TLS), `accept` (taking connections), `connection` (one client:
the order of its answers, backpressure, deadlines), `http11` (HTTP/1.1 itself: requests in, response heads out),
`tokens` (bearer tokens), `trace_headers` (X-Request-Id, traceparent and Server-Timing).

This wing knows nothing of Feast: what a request asks for is the business of `endpoints`, which it calls by a function
that it was given.
"""
