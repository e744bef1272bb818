"""Tests of `yummy_fast/server`."""
