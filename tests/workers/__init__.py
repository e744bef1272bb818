"""Tests of `yummy_fast/workers`."""
