"""Commands of Feast's that this program does not have, such as `feast apply`.

An image of ours has the program under the name `feast` as well, so that a deployment that says `feast serve` can take
it. Whoever runs another of Feast's commands in that image is told where it is; argparse would only list ours. A word
that is neither Feast's nor ours is left to argparse.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from yummy_fast.errors import ConfigError

_FEAST_COMMANDS = (
    *("apply", "configuration", "data-sources", "dbt", "delete", "demo-notebooks", "endpoint", "entities"),
    *("feature-services", "feature-views", "features", "get-historical-features", "get-online-features", "init"),
    *("label-views", "listen", "materialize", "materialize-incremental", "mcp", "mlflow", "monitor"),
    *("on-demand-feature-views", "permissions", "plan", "projects", "registry", "registry-dump", "saved-datasets"),
    *("serve_lineage", "serve_offline", "serve_registry", "serve_transformations", "stream-feature-views", "teardown"),
    *("ui", "validate", "validation-references"),
)
"""All commands of Feast 0.67.0 but `serve`. Who runs our image as `feast` may come to them."""


def refuse(arguments: Sequence[str]) -> None:
    """Say of a command line of Feast's, such as `feast -c repo apply`, whose it is. Raises ConfigError."""
    words = iter(arguments)
    for word in words:
        if word in ("-c", "--chdir", "-f", "--feature-store-yaml", "--log-level"):
            next(words, None)
        elif not word.startswith("-"):
            if word in _FEAST_COMMANDS:
                raise ConfigError(
                    f"{word}: this program serves features, and Feast does the rest: run `feast {word}` in Feast's own "
                    "image, feastdev/feature-server"
                )
            return
