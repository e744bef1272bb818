"""Text to settings: feature_store.yaml, flags and environment variables become one frozen `Config`.

Reading order: `settings` (all that can be set, and `Config`), `feature_store_yaml` (which of several values decides),
`repository` (Feast's own keys), `kinds` (what values look like), `variables` ($NAME in the text).

Pure: it reads neither files nor environment variables; `sources.yaml_text` hands it both. It must not know what its
settings are used for.
"""
