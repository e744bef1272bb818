"""Where the registry's bytes and the text of feature_store.yaml come from.

Reading order: `source` (what a registry source promises), `open_source` (the source that a configuration names), one
module for each kind of registry: `file`, `http`, `object_store` (S3, GCS), `sql`; `yaml_text` (feature_store.yaml).
`download` fetches one file over HTTP, `deadline` gives up on calls that may never return.

Everything here blocks, and is called before the event loop runs or in a thread. No module but `sql`, which has to put a
Registry together, knows what the bytes mean.
"""
