"""Request bodies: read completely before anything is decided, and of a bounded size.

A body that is still arriving holds no thread, only the bytes that have arrived; the total of those bytes in a
process is bounded too. So slow senders cost the other clients of a process nothing. `shop.server.connections`
ends a body that takes too long: the application then sees it as incomplete.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings

from shop.errors import BodyIncomplete, Overloaded
from shop.http.json_format import TooLarge
from shop.lazy_texts import mark as _

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
MAX_UNFINISHED_BYTES = 32 * 2**20
"""Bytes of bodies that are still arriving, in this process."""

_unfinished_bytes = 0


def declared_length(fields: Mapping[bytes, bytes]) -> int | None:
    """The length in bytes that the request declares, 0 without a body; None for a chunked body."""
    declared = fields.get(b"content-length")
    if declared is not None:
        return int(declared) if declared.isdigit() else 0
    return None if b"transfer-encoding" in fields else 0


async def read(
    fields: Mapping[bytes, bytes], receive: Receive, *, most: int = settings.MAX_BODY_BYTES
) -> bytes:
    """Read the whole body of a call or page; `fields` are its headers by lower-case name.

    Raises `TooLarge` past `most` bytes, `Overloaded` if too many bytes are arriving at this process, and
    `BodyIncomplete` if the body breaks off or is late.
    """
    length = declared_length(fields)
    if length == 0:
        return b""
    if length is not None and length > most:
        raise TooLarge(most=most)
    return await _receive_all(receive, most)


async def _receive_all(receive: Receive, most: int) -> bytes:
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
                raise Overloaded(_("Too many request bodies are being received; nothing was done."))
    finally:
        _unfinished_bytes -= size


def incomplete_error() -> BodyIncomplete:
    """The refusal of a body that breaks off or is late."""
    return BodyIncomplete(_("The request's body did not arrive in time, or is incomplete; nothing was done."))
