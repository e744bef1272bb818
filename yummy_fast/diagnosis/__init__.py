"""What is wrong with a repository or its store, said before requests meet it.

Reading order: `stored_keys` (what the keys of a store say of themselves), `check` (from configuration, registry and a
look into the store to findings), `check_text` (findings as text and JSON), `check_run` (asks, and prints).

Nothing here serves requests. Only `check_run` asks the store; the others are pure.
"""
