"""Several serving processes on one address: how they are started, watched, replaced and stopped.

Reading order: `supervisor` (the process that forks the others, and has no threads), `policy` (which processes it
starts, replaces and kills, and when), `child` (the states of a forked process), `fleet` (all of them as one
server), `channel` (the messages), `worker` (what runs in a forked process).

A server with one process uses nothing of this. This package must not know requests, plans or stores: a worker serves by
calling `server.app.serve`, and what the supervisor knows of it is what the worker reports.
"""
