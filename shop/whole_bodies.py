"""Request bodies, read before anything is decided.

An answer that comes early, such as 401, would make the server close the connection on a client that is
still sending; that client then sees a broken pipe instead of the answer. And bodies sent in chunks Django
takes for empty, because WSGI tells it no length: where the server marks the end they are given the one they
have, up to one byte past what is allowed (django ticket 35838).
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}


def read_first(application: Application) -> Application:
    """The application, with every body of an allowed length at hand before it begins."""

    def served(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = _length(environ)
        if length:
            body = environ["wsgi.input"].read(length)
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = environ.get("CONTENT_LENGTH") or str(len(body))
        return application(environ, start_response)

    return served


def _length(environ: dict[str, Any]) -> int:
    """How much to read. A body that declares itself too large is left alone, and refused for it."""
    declared = environ.get("CONTENT_LENGTH")
    if declared:
        return int(declared) if declared.isdigit() and int(declared) <= settings.MAX_BODY_BYTES else 0
    may_have_body = environ.get("wsgi.input_terminated") and environ["REQUEST_METHOD"] in WITH_BODY
    return settings.MAX_BODY_BYTES + 1 if may_have_body else 0
