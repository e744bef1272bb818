"""Fuzzers, not run with the tests: each says how."""
