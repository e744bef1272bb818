"""Feast's bytes: the formats of Feast 0.67.0, read and written without Feast.

Reading order: `keys` (entity keys and field names), `values` (stored Values), `timestamps` (event timestamps),
`registry` (the registry's records). `_proto/` has the messages, compiled from our own `.proto` files; `wire_format`
writes fields without them.

This package is pure: bytes in, Python objects out, or the reverse. It must not know stores, plans or requests. (Its
name is not `feast`, because a search for that name would also find Feast itself.)
"""
