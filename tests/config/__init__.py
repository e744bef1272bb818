"""Tests of `yummy_fast/config`."""
