"""The native room, in C, and its twin in Python: replies of Redis to rows, and rows to the body of an answer.

Half of what a request costs in Python is objects that are made to be thrown away: of a reply of 550 names and values,
110 are looked at. So the two inner loops are written in C as well. `owner` says which of the two is used, and is the
only one who imports it; `twin` is the reference, in Python, and serves where there was no compiler. `native.h` is where
to begin to read the C.

It knows bytes only: RESP2, serialised Values and Timestamps, JSON. It must not know plans, stores or settings.
"""
