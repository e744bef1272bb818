"""What a request means: from its JSON to entity keys, from rows to the JSON of its answer.

Reading order, as a request goes: `query` (the body of a request), `plan` (what a feature service was compiled to),
`binding` (entities to entity keys) with `entities` and `collection_values` (JSON values to typed ones), `vectors` (rows
to the body of the answer) with `statuses`, `json_text` and `timestamp_text`. Compiled before: `catalog` (all plans of a
registry) from `views` (which views a request uses). On-demand feature views: `transforms` and `python_values`.
`value_sampling` counts statuses and ages of the values that were served. Large requests: `large_answers` and
`large_values`, in `steps` that `slices` interrupts.

Nearly all of it is pure. It must not know sockets, stores or HTTP: rows come in as bytes, answers leave as bytes.
"""
