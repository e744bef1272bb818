"""Tests of `yummy_fast/cli`."""
