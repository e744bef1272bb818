"""The native room, in C, and its twin in Python: replies of Redis to rows, and rows to the body of an answer.

Half of what a request costs in Python goes into objects that are thrown away at once: of a reply of 550 names and
values, 110 are looked at. So the inner loops are written in C as well. `owner` decides whether C or Python is used,
and is the only module that imports the C; `twin` is the reference, in Python, and serves where there was no compiler.
`powers_of_ten` makes a table for doubles. To read the C, begin with `native.h`.

The native room knows bytes only: RESP2, serialised Values and Timestamps, JSON. It must not know plans, stores or
settings.
"""
