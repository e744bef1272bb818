"""Registries that Feast itself wrote to SQLite, PostgreSQL and S3. Not part of `make test`: they need Feast."""
