"""What is wrong with a repository or its store: said before requests meet it, and to those who wonder about a null.

Three commands, and what they are made of:

- `check` asks what requests will ask, and says what they would meet. `stored_keys` (what a key in a store says of
  itself), `check` (from configuration, registry and a look into the store to findings), `check_text` (findings as text
  and JSON), `check_run` (asks).
- `explain` says why a feature of one entity is null. `question` (what is asked about, and the key that is looked up),
  `ideas` (the other keys that the row may be under), `causes` (from what was found to the cause), `explain` (asks the
  store, and in which order), `report` (the text).
- `doctor` does so for a sample of the store, without a key: `census` (what the sample has, and what is wrong with it),
  `doctor` (takes it).

`feature_table` and `ask_server` are `get`: features as a table. Nothing here serves requests, and `server` imports it
only when somebody asks. What asks the store is `check_run`, `explain` and `doctor`; the others but `ask_server` are
pure. Nothing here writes to a store, or shows a stored value to who has not asked for values.
"""
