"""Tests of `yummy_fast/telemetry`."""
