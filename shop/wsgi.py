"""The web process's entry: what granian serves."""

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
get_wsgi_application()

from django.conf import settings  # noqa: E402 - Django has to be set up first
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.db import connections  # noqa: E402
from django.db.backends.base.base import BaseDatabaseWrapper  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from shop import calls, checks, clock, problems, processors, slow_bodies  # noqa: E402
from shop.whole_bodies import read_first  # noqa: E402


class _Connection:
    """A thread's connection to the database, open or not, for as long as there is the thread.

    Left to itself it would stay open until garbage is collected, for its parts know one another: threads end
    when they are idle, and those of the next burst would find no connection left.
    """

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper = connections["default"]

    def __del__(self) -> None:
        if self._connection.connection is not None:
            self._connection.connection.close()

    def look_after(self) -> None:
        """As Django does; within a transaction it is a test's, which the end of a request doesn't end."""
        if self._connection.connection is not None and not self._connection.in_atomic_block:
            self._connection.close_if_unusable_or_obsolete()


class _Thread(threading.local):
    """What a thread has."""

    def __init__(self) -> None:
        self.connection = _Connection()


_thread = _Thread()


class Handler(WSGIHandler):
    """Django's handler, less what calls of the API don't need between the server and the middlewares.

    Its signals look after every connection and cache at each request's beginning and end, which took a
    quarter of a null call. What calls have is a connection, looked after if it is open; their answers are
    whole, and given to the server as such.
    """

    _middleware_chain: Callable[[HttpRequest], HttpResponse]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        # Taken by every thread, for each closes what it has taken when it ends.
        connection = _thread.connection
        if environ.get("SCRIPT_NAME") or not environ["PATH_INFO"].startswith(calls.PATH):
            return super().__call__(environ, start_response)
        try:
            response = self._middleware_chain(self.request_class(environ))
        except LookupError:
            # Middlewares answer for all that comes after the request is made: its charset is none.
            response = problems.bad_request(HttpRequest())
        finally:
            connection.look_after()
        headers = [*response.items(), *calls.HEADERS]
        if "HTTP_AUTHORIZATION" in environ or environ["REQUEST_METHOD"] not in calls.PUBLIC_METHODS:
            headers.append(calls.NOT_STORED)
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        return [response.content]


# Before anything is served: it ends a process whose host's clock is wrong.
clock.start()
application = read_first(Handler())
slow_bodies.watch()

# Views are loaded now rather than by the first request. What is loaded stays: looking through all of it for
# garbage stopped the process for 50 ms each time, with rows locked.
_ = get_resolver().url_patterns
checks.refuse_what_is_ignored()
gc.collect()
gc.freeze()
gc.set_threshold(10_000)
if settings.WEB_OWN_PROCESSOR:
    processors.keep_to_one()
