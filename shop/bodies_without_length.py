"""Request bodies sent in chunks, which Django takes for empty: WSGI tells it no length.

A server that marks the end of the input says so in `wsgi.input_terminated`; the body is then read here,
up to one byte past what is allowed, and given the length it has. Longer ones are refused as any other
that is too large (django ticket 35838).
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}


def measured(application: Application) -> Application:
    """The application, with a length for every body."""

    def served(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        has_length = bool(environ.get("CONTENT_LENGTH"))
        if not has_length and environ.get("wsgi.input_terminated") and environ["REQUEST_METHOD"] in WITH_BODY:
            body = environ["wsgi.input"].read(settings.MAX_BODY_BYTES + 1)
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return application(environ, start_response)

    return served
