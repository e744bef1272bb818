"""Tests of `yummy_fast/http`."""
