"""A second opinion: the same random requests to Feast's own server and to ours (run.py). Not run by pytest."""
