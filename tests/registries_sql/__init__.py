"""Registries that Feast itself wrote to SQLite, PostgreSQL, S3 and GCS. Not part of `make test`: they need Feast."""
