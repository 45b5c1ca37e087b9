"""Responses that are made in parts while they are sent: exports and reports of any length.

A thread makes one part, in a few short statements, and is free while the part is sent. So a response of a
million rows occupies the memory of one part, and a client that reads slowly holds no thread.
"""

import threading
from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from shop.errors import Overloaded
from shop.http import languages, problems
from shop.lazy_texts import mark as _

MAX_CONCURRENT = 4
"""Of a process. Each has one thread at a time at most, and the rows of one part in memory."""
slots = threading.BoundedSemaphore(MAX_CONCURRENT)
ALL_TAKEN = _(
    "Other exports and reports are being made by this server; nothing was done. Try again in a moment."
)


class PagedResponse(StreamingHttpResponse):
    """A streaming response whose parts `shop.http.pages` has made one by one; `close` frees its slot."""

    def __init__(self, parts: Iterator[str], **options: Any) -> None:
        super().__init__(parts, **options)
        self._holds_slot = True

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._holds_slot:
                self._holds_slot = False
                slots.release()


def respond(parts: Iterator[str], *, content_type: str, filename: str = "") -> HttpResponseBase:
    """The response with these parts, as a download if it has a filename; 503 if too many are being made."""
    if not slots.acquire(blocking=False):
        return problems.from_error(Overloaded(ALL_TAKEN)).to_django()
    headers = {"Cache-Control": "no-store"}
    if filename:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return PagedResponse(
        languages.iterate(parts), content_type=f"{content_type}; charset=utf-8", headers=headers
    )
