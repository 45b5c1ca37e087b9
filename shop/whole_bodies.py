"""Request bodies: read before anything is decided, no larger than allowed, by a bounded number of threads.

An answer that comes early, such as 401, would make the server close the connection on a client that is
still sending; that client then sees a broken pipe instead of the answer. And bodies sent in chunks Django
takes for empty, because WSGI tells it no length: where the server marks the end they are given the one they
have, up to one byte past what is allowed (django ticket 35838).

granian's `wsgi.input` blocks its thread until the client has sent enough, for ever if need be. So bodies
hold a quarter of the threads at most (`shop.threads`), and `shop.slow_bodies` ends what takes too long.

A body that is refused is left unread, and the request goes on with the refusal in its environment:
`shop.calls` answers by it, before anything else looks at the request.
"""

import threading
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings

from shop import slow_bodies
from shop.configuration import UploadPage
from shop.errors import BodyIncomplete, FirstcomeError, Overloaded
from shop.json_bodies import TooLarge
from shop.slow_bodies import Caller

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}
REFUSED = "firstcome.refused"
"""In the environment of a request whose body is not taken: the error to answer by."""
UPLOAD = "firstcome.upload"
"""In the environment of a request whose body is read once it is known to come from staff who may send it."""
PLACE_SECONDS = 0.25
"""For a place among those that read: bodies that are there take microseconds."""

PAUSE_SECONDS = 0.005


class Upload(BytesIO):
    """The body of an upload: empty until it is known to come from staff who may send it, and is fetched."""

    def __init__(self, page: UploadPage, source: Any, length: int, caller: Caller) -> None:
        super().__init__()
        self.page = page
        self._source, self._length, self._caller = source, length, caller

    def fetch(self) -> None:
        """Read all of it. Raises `Overloaded`, `BodyIncomplete`."""
        thread = threading.get_ident()
        # While it reads, this thread works on nothing.
        worked_on = slow_bodies.handling.pop(thread)
        try:
            self.write(_read(self._source, self._length, self._caller, is_declared=True))
        finally:
            slow_bodies.handling[thread] = worked_on
        self.seek(0)


def read_first(application: Application) -> Application:
    """The application, with every body of an allowed length at hand before it begins."""

    def served(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        caller = environ.get("REMOTE_ADDR", ""), environ.get("SERVER_PORT", "")
        try:
            _take(environ, caller)
        except (FirstcomeError, TooLarge) as error:
            environ[REFUSED] = error
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(), "0"
        thread = threading.get_ident()
        slow_bodies.handling[thread] = caller, time.monotonic()
        try:
            return application(environ, start_response)
        finally:
            del slow_bodies.handling[thread]

    return served


def _take(environ: dict[str, Any], caller: Caller) -> None:
    """Put the body into the environment. Raises `TooLarge`, `Overloaded`, `BodyIncomplete`."""
    declared, most = environ.get("CONTENT_LENGTH"), settings.MAX_BODY_BYTES
    if declared:
        length = int(declared) if declared.isdigit() else 0
    else:
        may_have_body = environ.get("wsgi.input_terminated") and environ["REQUEST_METHOD"] in WITH_BODY
        length = most + 1 if may_have_body else 0
    if declared and length > most:
        _leave_to_staff(environ, length, caller)
    elif length:
        body = _read(environ["wsgi.input"], length, caller, is_declared=bool(declared))
        if len(body) > most:
            raise TooLarge
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), declared or str(len(body))


def _leave_to_staff(environ: dict[str, Any], length: int, caller: Caller) -> None:
    """Leave an upload unread, or raise `TooLarge` where none may be as large."""
    page = settings.UPLOADS.get(environ["PATH_INFO"])
    if page is None:
        raise TooLarge
    if length > page.most_bytes:
        raise TooLarge(f"The upload is larger than {page.most_bytes // 2**20} MiB.")
    environ[UPLOAD] = environ["wsgi.input"] = Upload(page, environ["wsgi.input"], length, caller)


def _read(source: Any, length: int, caller: Caller, *, is_declared: bool) -> bytes:
    """Read so much, or all there is where the length was not declared."""
    reading = slow_bodies.reading
    # Two threads that look at once may both go on: the bound need not be exact, and a lock costs every call.
    if len(reading) >= slow_bodies.MOST and not _is_place_soon():
        raise Overloaded("Too many bodies are on their way here; nothing was done.")
    thread, began_at = threading.get_ident(), time.monotonic()
    reading[thread] = caller, began_at
    try:
        body: bytes = source.read(length)
    finally:
        del reading[thread]
    # In chunks, one that was ended can't be distinguished from a whole one: slow ones are not taken.
    is_slow = time.monotonic() - began_at >= slow_bodies.CROWDED_SECONDS
    if len(body) < length and (is_declared or is_slow):
        raise BodyIncomplete("The request's body did not arrive in time, or not whole; nothing was done.")
    return body


def _is_place_soon() -> bool:
    """Whether a place becomes free soon: never while all are taken by bodies that are slow already."""
    deadline = time.monotonic() + PLACE_SECONDS
    while len(slow_bodies.reading) >= slow_bodies.MOST:
        now = time.monotonic()
        times = [began_at for _, began_at in list(slow_bodies.reading.values())]
        if now > deadline or all(now - began_at > PLACE_SECONDS for began_at in times):
            return False
        time.sleep(PAUSE_SECONDS)
    return True
