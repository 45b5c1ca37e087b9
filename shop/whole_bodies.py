"""Request bodies: read before anything is decided, no larger than allowed, by a bounded number of threads.

An answer that comes early, such as 401, would make the server close the connection on a client that is
still sending; that client then sees a broken pipe instead of the answer. And bodies sent in chunks Django
takes for empty, because WSGI tells it no length: where the server marks the end they are given the one they
have, up to one byte past what is allowed (django ticket 35838).

granian's `wsgi.input` blocks its thread until the client has sent enough, for ever if need be. So a quarter
of the threads is kept free of bodies, and `shop.slow_bodies` ends what takes too long.

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
from shop.errors import BodyIncomplete, FirstcomeError, Overloaded
from shop.json_bodies import TooLarge

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}
REFUSED = "firstcome.refused"
"""In the environment of a request whose body is not taken: the error to answer by."""
UPLOAD = "firstcome.upload"
"""In the environment of a request whose body is read once it is known to come from staff."""
PLACE_SECONDS = 0.25
"""For a place among those that read: bodies that are there take microseconds."""

_places = threading.BoundedSemaphore(slow_bodies.MOST)


class Upload(BytesIO):
    """The body of an upload: empty until it is known to come from staff, and is fetched."""

    def __init__(self, environ: dict[str, Any], length: int) -> None:
        super().__init__()
        self._environ, self._input, self._length = environ, environ["wsgi.input"], length

    def fetch(self) -> None:
        """Read all of it. Raises `Overloaded`, `BodyIncomplete`."""
        thread = threading.get_ident()
        # While it reads, this thread works on nothing.
        worked_on = slow_bodies.handling.pop(thread)
        try:
            self.write(_read(self._environ, self._input, self._length, is_declared=True))
        finally:
            slow_bodies.handling[thread] = worked_on
        self.seek(0)


def read_first(application: Application) -> Application:
    """The application, with every body of an allowed length at hand before it begins."""

    def served(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            _take(environ)
        except (FirstcomeError, TooLarge) as error:
            environ[REFUSED] = error
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(), "0"
        thread = threading.get_ident()
        slow_bodies.handling[thread] = _caller(environ), time.monotonic()
        try:
            return application(environ, start_response)
        finally:
            del slow_bodies.handling[thread]

    return served


def _take(environ: dict[str, Any]) -> None:
    """Put the body into the environment. Raises `TooLarge`, `Overloaded`, `BodyIncomplete`."""
    declared, most = environ.get("CONTENT_LENGTH"), settings.MAX_BODY_BYTES
    if declared:
        length = int(declared) if declared.isdigit() else 0
    else:
        may_have_body = environ.get("wsgi.input_terminated") and environ["REQUEST_METHOD"] in WITH_BODY
        length = most + 1 if may_have_body else 0
    if declared and length > most:
        _leave_to_staff(environ, length)
    elif length:
        body = _read(environ, environ["wsgi.input"], length, is_declared=bool(declared))
        if len(body) > most:
            raise TooLarge
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), declared or str(len(body))


def _leave_to_staff(environ: dict[str, Any], length: int) -> None:
    """Leave an upload unread, or raise `TooLarge` where none may be as large."""
    most = settings.UPLOADS.get(environ["PATH_INFO"], 0)
    if length > most:
        raise TooLarge(f"The upload is larger than {most // 2**20} MiB." if most else None)
    environ[UPLOAD] = environ["wsgi.input"] = Upload(environ, length)


def _read(environ: dict[str, Any], input: Any, length: int, *, is_declared: bool) -> bytes:
    """Read so much, or all there is where the length was not declared."""
    if not (_places.acquire(blocking=False) or _wait_for_place()):
        raise Overloaded("Too many bodies are on their way here; nothing was done.")
    thread, began_at = threading.get_ident(), time.monotonic()
    slow_bodies.reading[thread] = _caller(environ), began_at
    try:
        body: bytes = input.read(length)
    finally:
        del slow_bodies.reading[thread]
        _places.release()
    is_late = time.monotonic() - began_at >= slow_bodies.BODY_SECONDS
    if len(body) < length and (is_declared or is_late):
        raise BodyIncomplete("The request's body did not arrive in time, or not whole; nothing was done.")
    return body


def _wait_for_place() -> bool:
    """Whether one became free soon; not waited for while all are taken by bodies that are slow already."""
    before = time.monotonic() - PLACE_SECONDS
    are_slow = all(began_at < before for _, began_at in list(slow_bodies.reading.values()))
    return not are_slow and _places.acquire(timeout=PLACE_SECONDS)


def _caller(environ: dict[str, Any]) -> slow_bodies.Caller:
    return environ.get("REMOTE_ADDR", ""), environ.get("SERVER_PORT", "")
