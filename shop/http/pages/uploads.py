"""Uploads: bodies larger than others, which arrive once their sender is known to be permitted staff."""

from collections.abc import Callable, Mapping
from io import IOBase
from typing import Any

from shop.http import request_body

UPLOAD_KEY = "firstcome.upload"
"""The key in the WSGI environment, which is `request.META`, of a body that is an `Upload`."""


class Upload(IOBase):
    """The body of an upload, received while it is read: a thread waits for it, and memory has a part."""

    def __init__(self, permissions: tuple[str, ...], receive: Callable[[], Mapping[str, Any]]) -> None:
        self.permissions = permissions
        self._receive, self._rest, self._is_whole = receive, b"", False

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or all; fewer at the end. Raises `BodyIncomplete`."""
        while not self._is_whole and not 0 <= size <= len(self._rest):
            message = self._receive()
            if message["type"] == "http.disconnect":
                raise request_body.incomplete_error()
            self._rest += message.get("body", b"")
            self._is_whole = not message.get("more_body", False)
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        return data
