"""POST /-/explain: why a feature is null, for the admin listener.

    {"about": "stats:trips", "entities": {"driver_id": 1001}}     what `yummy-fast explain` takes
    {..., "values": true}                                         with the stored values, which are left out otherwise

It runs in a thread of the admin listener, with connections to the store of its own, and so beside the event loop. One
question at a time: the next one gets 503. `diagnosis` is imported when the first one comes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from yummy_fast.config.settings import Config
from yummy_fast.errors import ConfigError, RegistryError, RequestError, StoreError, YummyError
from yummy_fast.feast_format.registry import Registry, parse_registry
from yummy_fast.sources.download import without_secrets
from yummy_fast.sources.open_source import open_source

if TYPE_CHECKING:
    from yummy_fast.stores.looks import Looks

Explained = tuple[int, dict[str, Any]]
"""The status and the JSON of an answer."""


def read_registry(config: Config) -> Registry:
    """The registry as its source has it now. Raises RegistryError."""
    repository = config.repository
    data = open_source(repository).read()
    return parse_registry(data, repository.project, without_secrets(repository.registry_path))


class Explaining:
    """Answers questions."""

    def __init__(
        self, config: Config, registry: Callable[[], Registry | None], open_looks: Callable[[], Looks]
    ) -> None:
        """
        - `registry`: the one that is served; where it returns None, the registry is read from its source.
        - `open_looks`: a new way into the store. Raises ConfigError if it cannot be looked into.
        """
        self._config = config
        self._registry = registry
        self._open_looks = open_looks
        self._lock = threading.Lock()

    def __call__(self, body: bytes) -> Explained:
        if not self._lock.acquire(blocking=False):
            return 503, {"detail": "another question is being answered; ask again"}
        try:
            return 200, self._answer(body)
        except (RequestError, ConfigError) as error:
            return 400, {"detail": str(error)}
        except (RegistryError, StoreError) as error:
            return 503, {"detail": str(error)}
        except YummyError as error:
            return error.status, {"detail": str(error)}
        finally:
            self._lock.release()

    def _answer(self, body: bytes) -> dict[str, Any]:
        about, entities, values = _read(body)
        from yummy_fast.diagnosis.explain import explain
        from yummy_fast.diagnosis.question import ask

        repository = self._config.repository
        registry = self._registry() or read_registry(self._config)
        question = ask(registry, about, entities, key_version=repository.key_version, versioning=repository.versioning)
        looks = self._open_looks()
        try:
            return explain(question, looks, datetime.now(UTC)).as_json(values=values)
        finally:
            looks.close()


def _read(body: bytes) -> tuple[str, dict[str, Any], bool]:
    """The question. Raises RequestError."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise RequestError('expected JSON such as {"about": "stats:trips", "entities": {"driver_id": 1001}}')
    about, entities, values = asked.get("about"), asked.get("entities", {}), asked.get("values", False)
    if not isinstance(about, str) or not about:
        raise RequestError("about: expected VIEW or VIEW:FEATURE")
    if not isinstance(entities, dict):
        raise RequestError("entities: expected an object of join keys and values, one value each")
    if not isinstance(values, bool):
        raise RequestError("values: expected true or false")
    return about, entities, values
