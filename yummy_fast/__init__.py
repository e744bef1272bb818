"""yummy-fast: a feature server for Feast repositories.

Start reading at `endpoints.py`: one request, from its body to the body of its answer. docs/architecture.md has the map.
"""

__version__ = "0.1.0"
