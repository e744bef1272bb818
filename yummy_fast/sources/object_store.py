"""A registry in an object store: S3, or GCS. The libraries for them are extras."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from yummy_fast.errors import RegistryError
from yummy_fast.sources import download
from yummy_fast.sources.source import MAX_BYTES

_STAMPS = ("ETag", "etag", "VersionId", "generation", "LastModified", "updated", "size")
"""What s3fs and gcsfs tell of an object that is another one when it changes."""
_ABOUT_S, _BODY_S = 15.0, 40.0
"""For what is asked about an object, and for its bytes, with all retries: these alone would take minutes."""


class ObjectSource:
    """A registry in S3 (s3fs) or GCS (gcsfs). Endpoints and credentials: as boto3 and Google's libraries find them."""

    look_every_s = 5.0

    def __init__(self, url: str, s3_additional_kwargs: Mapping[str, str]) -> None:
        """Raises ImportError."""
        self.name = url
        options: dict[str, Any] = {}
        if url.startswith("s3://"):
            from s3fs import S3FileSystem as FileSystem

            options = {
                # Feast's own variable; botocore knows AWS_ENDPOINT_URL and the rest by itself.
                "endpoint_url": os.environ.get("FEAST_S3_ENDPOINT_URL"),
                "s3_additional_kwargs": dict(s3_additional_kwargs),
                "config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 2}},
            }
        else:
            # Else gcsfs asks by gRPC, each time, what kind of bucket it is, and needs a permission for that.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            from gcsfs import GCSFileSystem as FileSystem

            logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises as well
        self._connect: Callable[[], Any] = lambda: FileSystem(
            skip_instance_cache=True, use_listings_cache=False, **options
        )
        self._fs: Any = None  # gcsfs asks for credentials when it is made: too early for a message of one line

    def _ask(self, method: str, within_s: float) -> Any:
        from fsspec.asyn import sync
        from fsspec.exceptions import FSTimeoutError

        try:
            if self._fs is None:
                self._fs = self._connect()
            # With an underscore, methods are coroutines: those can be told to stop.
            return sync(self._fs.loop, getattr(self._fs, f"_{method}"), self.name, timeout=within_s)
        except FileNotFoundError:
            raise RegistryError.unreadable(self.name, "there is no such object") from None
        except FSTimeoutError:
            raise RegistryError.unreadable(self.name, f"no answer within {within_s:g} s") from None
        except Exception as error:  # whatever botocore, aiohttp and google.auth raise
            raise RegistryError.unreadable(self.name, download.reason(error)) from None

    def stamp(self) -> Hashable:
        found = self._ask("info", _ABOUT_S)
        return tuple(str(found[name]) for name in _STAMPS if name in found)

    def read(self) -> bytes:
        if self._ask("size", _ABOUT_S) > MAX_BYTES:
            raise RegistryError.unreadable(self.name, f"longer than {MAX_BYTES} bytes")
        data: bytes = self._ask("cat_file", _BODY_S)
        return data
