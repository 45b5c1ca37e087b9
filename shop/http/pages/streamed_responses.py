"""Responses that are made in parts while they are sent: exports and reports of any length.

A thread makes one part and is free while that is sent, so a client that reads slowly holds none.
"""

import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation

from shop.errors import Overloaded
from shop.http import problems
from shop.lazy_texts import ENGLISH, mark as _

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
_mutex = threading.Lock()
_open: "weakref.WeakSet[StreamedResponse]" = weakref.WeakSet()
"""A response that is lost without being closed, as by an error in a middleware, leaves it as well."""


class StreamedResponse(StreamingHttpResponse):
    """A streaming response whose parts `pages` has made one by one; open until it is closed or released."""

    def __init__(self, parts: Iterator[str], *, account_id: int, **options: Any) -> None:
        language = translation.get_language() or ENGLISH

        def make_part() -> str | None:
            # Not across `yield`: the thread makes other responses until the next part.
            with translation.override(language):
                return next(parts, None)

        super().__init__(iter(make_part, None), **options)
        if isinstance(parts, Generator):
            self._resource_closers.append(parts.close)  # type: ignore[attr-defined]
        self.account_id = account_id

    def release(self) -> None:
        """Leave the place to another response; blocks for no time."""
        with _mutex:
            _open.discard(self)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.release()


def respond(
    parts: Iterator[str],
    *,
    account_id: int,
    content_type: str,
    filename: str = "",
    before_parts: Callable[[], object] = lambda: None,
) -> HttpResponseBase:
    """The response with these parts, as a download if it has a filename; 503 if too many are being made.

    `before_parts` is called unless the response is refused; if it fails, its place is free again.
    """
    headers = {"Cache-Control": "no-store"}
    if filename:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response = StreamedResponse(
        parts, account_id=account_id, content_type=f"{content_type}; charset=utf-8", headers=headers
    )
    with _mutex:
        own = sum(other.account_id == account_id for other in _open)
        if own >= MAX_OF_ACCOUNT or len(_open) >= MAX_CONCURRENT:
            taken = OWN_TAKEN if own >= MAX_OF_ACCOUNT else ALL_TAKEN
            return problems.from_error(Overloaded(taken)).to_django()
        _open.add(response)
    try:
        before_parts()
    except BaseException:
        response.release()
        raise
    return response
