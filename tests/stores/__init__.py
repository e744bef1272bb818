"""Tests of the online stores, one file per store."""
