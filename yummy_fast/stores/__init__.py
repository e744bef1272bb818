"""Online stores: where stored features are read from, and written to.

Reading order: `online_store` (what a store has to do, and the table of stores), `redis` (Feast's Redis layout, one
round trip per request) with `connection_string`, `redis_link` (keeps the connection to one node) and
`redis_credentials`, `redis_connection` (one connection, shared by all requests), `redis_pending` (what waits there for
its replies, and what each error reply means to it), `redis_turns` (commands that wait for room on it), `redis_hash`
(HMGET or HGETALL) and `resp` (commands as bytes; `native` reads the replies). `redis_rows` writes rows.

For several nodes: `redis_slots` (which slot has a key, and what a redirection says), `redis_shards` (which nodes have a
slot, and which of them is asked), `redis_shares` (a fetch whose keys are at several; it follows MOVED and ASK),
`redis_writes` (the same for rows that are written), `redis_nodes` (links to all nodes) with `redis_topology` (of a
cluster) and `redis_sentinel`. A cache of rows: `row_cache` (which rows may be kept, and served),
`redis_cached` (fetches through it) and `redis_tracking` (Redis says which keys have changed). `sqlite` is Feast's local
default.

No part of serving: `survey` and `redis_survey` for `check`; `looks` with `redis_looks`, `redis_cluster_looks` and
`sqlite_looks` for `explain` and `doctor`.

A store hands on stored bytes. It must not decode Values, build answers, or know HTTP. Only `online_store` knows which
stores exist.
"""
