"""A registry in an object store: S3 (read with s3fs), or GCS (with gcsfs). The two libraries are extras.

Its stamp is what the store says about the object: ETag, version, time of the last change, size. Both libraries keep
copies of what they have listed, and share instances; all of that is off here, so that each call asks the store.

Endpoints and credentials come from where botocore and Google's libraries look for them, and from Feast's own variable,
FEAST_S3_ENDPOINT_URL.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from yummy_fast.errors import RegistryError
from yummy_fast.sources import download
from yummy_fast.sources.source import MAX_REGISTRY_BYTES

_STAMPS = ("ETag", "etag", "VersionId", "generation", "LastModified", "updated", "size")
"""What changes with an object, as s3fs and gcsfs call it."""
_INFO_TIMEOUT_S, _BODY_TIMEOUT_S = 15.0, 40.0
"""For facts about an object, and for its bytes. All retries are included: without a limit they would take minutes."""


class ObjectSource:
    """A registry in S3 or GCS."""

    look_every_s = 5.0

    def __init__(self, url: str, s3_additional_kwargs: Mapping[str, str]) -> None:
        """Raises ImportError."""
        self.name = url
        options: dict[str, Any] = {}
        if url.startswith("s3://"):
            from s3fs import S3FileSystem as FileSystem

            options = {
                # Feast's own variable; botocore reads AWS_ENDPOINT_URL and the others itself.
                "endpoint_url": os.environ.get("FEAST_S3_ENDPOINT_URL"),
                "s3_additional_kwargs": dict(s3_additional_kwargs),
                "config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 2}},
            }
        else:
            # Otherwise gcsfs asks each time, over gRPC, what kind of bucket it is, which needs another permission.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            from gcsfs import GCSFileSystem as FileSystem

            logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs a traceback of what it raises
        self._connect: Callable[[], Any] = lambda: FileSystem(
            skip_instance_cache=True, use_listings_cache=False, **options
        )
        # Made in the first call: gcsfs's constructor looks for credentials, and a failure must become a RegistryError.
        self._fs: Any = None

    def _call(self, method: str, timeout_s: float) -> Any:
        from fsspec.asyn import sync
        from fsspec.exceptions import FSTimeoutError

        try:
            if self._fs is None:
                self._fs = self._connect()
            # The methods whose names begin with an underscore are coroutines, which a timeout can cancel.
            return sync(self._fs.loop, getattr(self._fs, f"_{method}"), self.name, timeout=timeout_s)
        except FileNotFoundError:
            raise RegistryError.unreadable(self.name, "there is no such object") from None
        except FSTimeoutError:
            raise RegistryError.unreadable(self.name, f"no answer within {timeout_s:g} s") from None
        except Exception as error:  # whatever botocore, aiohttp and google.auth raise
            raise RegistryError.unreadable(self.name, download.reason(error)) from None

    def stamp(self) -> Hashable:
        found = self._call("info", _INFO_TIMEOUT_S)
        return tuple(str(found[name]) for name in _STAMPS if name in found)

    def read(self) -> bytes:
        if self._call("size", _INFO_TIMEOUT_S) > MAX_REGISTRY_BYTES:
            raise RegistryError.unreadable(self.name, f"longer than {MAX_REGISTRY_BYTES} bytes")
        data: bytes = self._call("cat_file", _BODY_TIMEOUT_S)
        return data
