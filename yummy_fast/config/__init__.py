"""Text to settings: feature_store.yaml, flags and environment variables become one frozen `Config`.

Reading order: `feature_store_yaml` (Feast's file, and which of several values decides), `settings` (the table of what
can be set beyond Feast's own keys).

It reads no files: the text comes from `sources.yaml_text`. It must not know what its settings are used for.
"""
