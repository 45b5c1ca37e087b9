"""Exports and reports of any length: a few at once, each written to a file before it is sent.

The thread that makes one is free before the first byte is sent, so a client that reads slowly holds none.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any
from weakref import WeakKeyDictionary

from django.conf import settings
from django.http import FileResponse
from django.http.response import HttpResponseBase

from foundation.errors import FirstcomeError, Overloaded, Rejected
from foundation.http import problems
from foundation.lazy_texts import mark

MAX_CONCURRENT = max(1, min(4, settings.WEB_THREADS // 16))
"""Of a process. Each has a thread while it is made, and its file until it is sent."""
MAX_OF_ACCOUNT = 2
"""Of an account in a process, so that none of staff keeps all others from theirs."""
MAX_BYTES = 256 * 2**20
"""Of a file, in the folder for temporary files: some 1,500,000 rows."""
ALL_TAKEN = mark(
    "Other exports and reports are being made by this server; nothing was done. Try again in a moment."
)
OWN_TAKEN = mark(
    "{most} exports and reports of this account are being made by this server; nothing was done. Try again "
    "once one of them is complete.",
    most=MAX_OF_ACCOUNT,
)
TOO_LARGE = mark(
    "This is larger than {size} MiB; nothing was made. Choose less by a filter.", size=MAX_BYTES // 2**20
)
_mutex = threading.Lock()
_open: "WeakKeyDictionary[IO[bytes], int]" = WeakKeyDictionary()
"""The files that are being written or sent, each with its account; one that was lost is gone from here."""


def respond(
    parts: Iterator[str],
    *,
    account_id: int,
    content_type: str,
    filename: str = "",
    before_parts: Callable[[], object] = lambda: None,
) -> HttpResponseBase:
    """The response with these parts, as a download if it has a filename; 503 if too many are open.

    `before_parts` is called unless the response is refused. If it or a part fails, nothing is
    sent, and the place is free again.
    """
    with _mutex:
        accounts = [account for other, account in _open.items() if not other.closed]
        own = accounts.count(account_id)
        if own >= MAX_OF_ACCOUNT or len(accounts) >= MAX_CONCURRENT:
            taken = OWN_TAKEN if own >= MAX_OF_ACCOUNT else ALL_TAKEN
            return problems.from_error(Overloaded(taken)).to_django()
        file: Any = TemporaryFile()  # noqa: SIM115 - the response closes it
        _open[file] = account_id
    try:
        before_parts()
        for part in parts:
            file.write(part.encode())
            if file.tell() > MAX_BYTES:
                raise Rejected(TOO_LARGE, code="export_too_large")
        file.seek(0)
    except BaseException as error:
        _open.pop(file)
        with suppress(OSError):
            file.close()
        if isinstance(error, FirstcomeError):
            return problems.from_error(error).to_django()
        raise
    return FileResponse(
        file,
        content_type=f"{content_type}; charset=utf-8",
        as_attachment=bool(filename),
        filename=filename,
        headers={"Cache-Control": "no-store"},
    )
