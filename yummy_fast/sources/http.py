"""A registry behind an http or https URL.

Its stamp is the pair of ETag and Last-Modified. To ask for it costs a conditional GET with those of the last answer:

    GET /registry.db                            304 Not Modified: the stamp is the old one
    If-None-Match: "5f1e-62a"                   200 and another ETag: the stamp is new, and the body is not read

Not a HEAD, because a URL that was signed for GET refuses it. From a server that sends neither of the two headers, the
stamp is None.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from yummy_fast.errors import RegistryError
from yummy_fast.sources import download
from yummy_fast.sources.source import MAX_REGISTRY_BYTES


class HttpSource:
    """A registry behind a URL."""

    look_every_s = 5.0

    def __init__(self, url: str) -> None:
        self.name = download.without_secrets(url)
        self._url = url
        self._validators: tuple[str, str] | None = None
        """ETag and Last-Modified of the last 200."""

    def stamp(self) -> Hashable:
        etag, modified = self._validators or ("", "")
        conditions = {"If-None-Match": etag, "If-Modified-Since": modified}
        self._get({name: value for name, value in conditions.items() if value}, want_body=False)
        return self._validators

    def read(self) -> bytes:
        return self._get({}, want_body=True)

    def _get(self, headers: Mapping[str, str], *, want_body: bool) -> bytes:
        try:
            reply = download.get(self._url, MAX_REGISTRY_BYTES, headers, want_body=want_body)
        except OSError as error:
            raise RegistryError.unreadable(self.name, download.reason(error)) from None
        if reply.status == 200:
            etag, modified = reply.headers.get("ETag", ""), reply.headers.get("Last-Modified", "")
            self._validators = (etag, modified) if etag or modified else None
        return reply.body
