"""What is wrong with a repository or its store: found before there are requests, and explained for a null.

Five commands, and what they are made of:

- `check` asks the store what requests will ask, and says what would go wrong. `stored_keys` (what a key in a store
  says of itself), `findings` (one finding), `check` (from configuration, registry and a look into the store to
  findings), `check_text` (findings as text and JSON), `check_run` (asks the store).
- `explain` says why a feature of one entity is null. `question` (what is asked about, and the key that is looked up),
  `ideas` (the other keys that may have the row), `causes` (from what was found to the cause), `explain` (asks the
  store, and in which order), `report` (the text).
- `doctor` finds such causes in a sample of the store, without a key: `census` (what the sample has, and what is wrong
  with it), `doctor` (takes the sample).
- `compare` finds where the answers of two servers differ: `differences` (of two answers), `made_requests` (for people
  who have no requests), `compare` (of all answers), `ask_server` (asks a server).
- `get` shows features as a table: `feature_table`, and `ask_server` for a URL.

No answer with features needs this package: `server` imports it for `--shadow`, for POST /-/explain, and for `get` and
`compare` without a URL. `check_run`, `explain` and `doctor` ask the store, `ask_server` a server; the others are pure.
Nothing here writes to a store, or shows a stored value to people who have not asked for values.
"""
