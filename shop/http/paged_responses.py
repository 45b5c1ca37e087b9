"""Responses that are made in parts while they are sent: exports and reports of any length.

A thread makes one part, in a few short statements, and is free while the part is sent. So a response of a
million rows occupies the memory of one part, and a client that reads slowly holds no thread.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from shop.errors import Overloaded
from shop.http import languages, problems
from shop.lazy_texts import Text
from shop.lazy_texts import mark as _

MAX_CONCURRENT = 4
"""Of a process. Each has one thread at a time at most, and the rows of one part in memory."""
MAX_OF_ACCOUNT = 2
"""Of an account in a process, so that none of staff keeps all others from theirs."""
slots = threading.BoundedSemaphore(MAX_CONCURRENT)
ALL_TAKEN = _(
    "Other exports and reports are being made by this server; nothing was done. Try again in a moment."
)
OWN_TAKEN = _(
    "{most} exports and reports of this account are being made by this server; nothing was done. Try again "
    "once one of them is complete.",
    most=MAX_OF_ACCOUNT,
)
_mutex = threading.Lock()
_by_account: Counter[int] = Counter()


class PagedResponse(StreamingHttpResponse):
    """A streaming response whose parts `shop.http.pages` has made one by one; it holds a slot of its account.

    `close` releases the slot as well, if `release_slot` has not.
    """

    def __init__(self, parts: Iterator[str], *, account_id: int, **options: Any) -> None:
        super().__init__(parts, **options)
        self._account_id: int | None = account_id

    def release_slot(self) -> None:
        """Release the slot, once; blocks for no time."""
        with _mutex:
            account_id, self._account_id = self._account_id, None
        if account_id is not None:
            _release(account_id)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.release_slot()


def respond(
    parts: Iterator[str], *, account_id: int, content_type: str, filename: str = ""
) -> HttpResponseBase:
    """The response with these parts, as a download if it has a filename; 503 if too many are being made."""
    refusal = _acquire(account_id)
    if refusal:
        return problems.from_error(Overloaded(refusal)).to_django()
    headers = {"Cache-Control": "no-store"}
    if filename:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return PagedResponse(
        languages.iterate(parts),
        account_id=account_id,
        content_type=f"{content_type}; charset=utf-8",
        headers=headers,
    )


def _acquire(account_id: int) -> Text:
    """Take a slot for the account. Returns why there is none, "" if there is."""
    with _mutex:
        if _by_account[account_id] >= MAX_OF_ACCOUNT:
            return OWN_TAKEN
        if not slots.acquire(blocking=False):
            return ALL_TAKEN
        _by_account[account_id] += 1
        return ""


def _release(account_id: int) -> None:
    with _mutex:
        _by_account[account_id] -= 1
        if not _by_account[account_id]:
            del _by_account[account_id]
    slots.release()
