"""Feast's own SDK as a client of ours (run.py). Not run by pytest."""
