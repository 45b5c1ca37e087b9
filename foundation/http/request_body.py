"""Request bodies: read completely before anything is decided, and of a bounded size.

A body that is still arriving holds no thread, only the bytes that have arrived, whose total in a process is
bounded too. `foundation.http.serving` ends a body that takes too long: it is seen as incomplete.
"""

from collections.abc import Callable, Coroutine, Mapping
from io import IOBase
from typing import Any

from django.conf import settings

from foundation.errors import BodyIncomplete, Overloaded
from foundation.http.json_format import TooLarge
from foundation.lazy_texts import mark

Headers = Mapping[bytes, bytes]
"""A request's headers, by their names in small letters."""
Message = dict[str, Any]
"""Of ASGI, such as a part of a body."""
Receive = Callable[[], Coroutine[Any, Any, Message]]
MAX_UNFINISHED_BYTES = 32 * 2**20
"""Bytes of bodies that are still arriving, in this process."""
UPLOAD_KEY = "firstcome.upload"
"""The key in `request.META` of a body that is an `Upload`."""

_unfinished_bytes = 0


def declared_length(fields: Headers) -> int | None:
    """The length in bytes that the request declares, 0 without a body; None for a chunked body."""
    declared = fields.get(b"content-length")
    if declared is not None:
        return int(declared) if declared.isdigit() else 0
    return None if b"transfer-encoding" in fields else 0


def is_sent(fields: Headers) -> bool:
    """Whether a body follows the headers, however long it is."""
    return fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields


async def read(fields: Headers, receive: Receive, *, most: int = settings.MAX_BODY_BYTES) -> bytes:
    """Read the whole body of a call or page; `fields` are its headers by lower-case name.

    Raises `TooLarge` past `most` bytes, `Overloaded` if too many bytes are arriving at this process, and
    `BodyIncomplete` if the body breaks off or is late.
    """
    length = declared_length(fields)
    if length == 0:
        return b""
    if length is not None and length > most:
        raise TooLarge(most=most)
    global _unfinished_bytes
    parts: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise incomplete_error()
            part = message.get("body", b"")
            if size + len(part) > most:
                raise TooLarge(most=most)
            if not message.get("more_body", False):
                return b"".join([*parts, part]) if parts else part
            parts.append(part)
            size += len(part)
            _unfinished_bytes += len(part)
            if _unfinished_bytes > MAX_UNFINISHED_BYTES:
                raise Overloaded(mark("Too many request bodies are being received; nothing was done."))
    finally:
        _unfinished_bytes -= size


class Upload(IOBase):
    """The body of an upload, received while it is read: a thread waits for it, and memory has a part."""

    def __init__(self, permissions: tuple[str, ...], receive: Callable[[], Message]) -> None:
        self.permissions = permissions
        self._receive = receive
        self._rest = b""
        self._is_whole = False

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or all; fewer at the end. Raises `BodyIncomplete`."""
        while not self._is_whole and not 0 <= size <= len(self._rest):
            message = self._receive()
            if message["type"] == "http.disconnect":
                raise incomplete_error()
            self._rest += message.get("body", b"")
            self._is_whole = not message.get("more_body", False)
        end = len(self._rest) if size < 0 else size
        data = self._rest[:end]
        self._rest = self._rest[end:]
        return data


def incomplete_error() -> BodyIncomplete:
    return BodyIncomplete(
        mark("The request's body did not arrive in time, or is incomplete; nothing was done.")
    )
