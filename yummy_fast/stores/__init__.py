"""Online stores: where stored features are read from.

Reading order: `online_store` (what a store has to do, and the table of stores), `redis` (Feast's Redis layout, one
round trip per request) with `redis_connection` (one connection, shared by all requests), `redis_hash` (HMGET or
HGETALL, and the fields out of a reply) and `resp` (commands and replies as bytes); `sqlite` (Feast's local default).

A store hands on stored bytes. It must not decode Values, build answers, or know HTTP. Only `online_store` knows which
stores exist.
"""
