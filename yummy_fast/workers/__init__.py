"""Several serving processes on one address: how they are started, watched, replaced and stopped.

Reading order: `supervisor` (the process that watches; it forks and has no threads), `child` (what it knows of each
process that it has forked), `channel` (the messages between the two), `worker` (what runs in a forked process).

A server without `--workers` never opens this wing. It must not know requests, plans or stores: a worker serves by
calling `server.app.serve`, and what the supervisor knows of it is what the worker reports.
"""
