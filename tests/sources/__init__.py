"""Tests of `yummy_fast/sources`."""
