"""Tests of the whole server: a real process, real sockets, a real Valkey."""
