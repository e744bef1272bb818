"""Online stores: where stored features are read from.

Reading order: `online_store` (what a store has to do, and the table of stores), `redis` (Feast's Redis layout, one
round trip per request) with `redis_connection` (one connection, shared by all requests, and what each error reply means
to them), `redis_turns` (commands that wait for room on it), `redis_hash` (HMGET or HGETALL) and `resp` (commands as
bytes; `native` reads the replies); `sqlite` (Feast's local default).

A store hands on stored bytes. It must not decode Values, build answers, or know HTTP. Only `online_store` knows which
stores exist.
"""
