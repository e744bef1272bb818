"""Tests of `yummy_fast/stores`, one file per module; tests/contract has what holds for every store."""
