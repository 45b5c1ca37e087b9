"""Responses that are made in parts while they are sent: exports and reports of any length.

A thread makes one part, in a few short statements, and is free while the part is sent. So a response of a
million rows occupies the memory of one part, and a client that reads slowly holds no thread.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
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
ALL_TAKEN = _(
    "Other exports and reports are being made by this server; nothing was done. Try again in a moment."
)
OWN_TAKEN = _(
    "{most} exports and reports of this account are being made by this server; nothing was done. Try again "
    "once one of them is complete.",
    most=MAX_OF_ACCOUNT,
)
SAME_TAKEN = _(
    "This server is reading such figures for this account already; nothing was done. Try again once they "
    "are shown."
)
_mutex = threading.Lock()
_taken: "weakref.WeakSet[StreamedResponse]" = weakref.WeakSet()
"""A response that is lost without being closed, as by an error in a middleware, leaves it as well."""


class StreamedResponse(StreamingHttpResponse):
    """A streaming response whose parts `pages` has made one by one; it holds a slot of its account.

    `close` releases the slot as well, if `release_slot` has not.
    """

    def __init__(self, parts: Iterator[str], *, account_id: int, once: str = "", **options: Any) -> None:
        super().__init__(parts, **options)
        self.account_id = account_id
        self.once = once

    def take_slot(self) -> Text:
        """Take a slot of the account. Returns why there is none, "" if there is."""
        with _mutex:
            own = [other for other in _taken if other.account_id == self.account_id]
            if self.once and any(other.once == self.once for other in own):
                return SAME_TAKEN
            if len(own) >= MAX_OF_ACCOUNT:
                return OWN_TAKEN
            if len(_taken) >= MAX_CONCURRENT:
                return ALL_TAKEN
            _taken.add(self)
            return ""

    def release_slot(self) -> None:
        """Release the slot, if it is taken; blocks for no time."""
        with _mutex:
            _taken.discard(self)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.release_slot()


def respond(
    parts: Iterator[str],
    *,
    account_id: int,
    content_type: str,
    filename: str = "",
    once: str = "",
    before_parts: Callable[[], object] = lambda: None,
) -> HttpResponseBase:
    """The response with these parts, as a download if it has a filename; 503 if too many are being made.

    Of those with the same `once`, an account has one at a time in this process.

    `before_parts` is called unless the response is refused; if it fails, the slot is free again.
    """
    headers = {"Cache-Control": "no-store"}
    if filename:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response = StreamedResponse(
        languages.iterate(parts),
        account_id=account_id,
        once=once,
        content_type=f"{content_type}; charset=utf-8",
        headers=headers,
    )
    if refusal := response.take_slot():
        return problems.from_error(Overloaded(refusal)).to_django()
    try:
        before_parts()
    except BaseException:
        response.release_slot()
        raise
    return response


def taken_slots() -> int:
    """How many responses hold a slot in this process."""
    return len(_taken)


def release_all() -> None:
    """Release every slot, for tests that end with open responses."""
    with _mutex:
        _taken.clear()
