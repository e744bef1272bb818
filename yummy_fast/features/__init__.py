"""What a request means: from its JSON to entity keys, from rows to the JSON of its answer.

Reading order, as a request goes: `query` (the body of a request), `plan` (what a feature service was compiled to),
`binding` (entities to entity keys) with `entities` and `collection_values` (JSON values to typed ones), `vectors` (rows
to the body of the answer) with `statuses`, `pushed_rows`, `json_text` and `timestamp_text`. `catalog` has compiled all
plans of a registry before, with `views` (which views a request uses) and `spelling` (what a wrong name may mean).
`transforms` and `python_values` compute on-demand feature views. `value_sampling` counts statuses and ages of served
values. `large_answers` and `large_values` write large answers in `steps`, between which `slices` pauses.

A push: `write_query` (its body), `writes` (its columns, checked against the schema of each view and bound to rows) with
`stored_values`, `usual_values` and `event_times` (JSON values to stored bytes), and `written` (the rows). For a whole
registry: `openapi` (its document) and `feast_faults` (what Feast answers wrongly).

This package must not know sockets, stores or HTTP: rows come in as bytes, answers leave as bytes. All modules are pure
but `slices`, `transforms` and `value_sampling`.
"""
