"""Tests of `yummy_fast/features`."""
