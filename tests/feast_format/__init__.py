"""Tests of `yummy_fast/feast_format`."""
