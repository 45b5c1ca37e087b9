"""The small web server by which worker, issuer and beat expose their metrics, in a thread of each."""

import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from prometheus_client.exposition import ThreadingWSGIServer
from structlog import get_logger

from shop.http import problems
from shop.http.pages import middleware
from shop.observability import process_metrics
from shop.observability.reading import Source
from shop.operations import metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

log = get_logger(__name__)
CONNECTION_SECONDS = 10.0
"""From a connection's start until it is shut down, whatever it is doing."""
MAX_CONNECTIONS = 16
"""Further ones are closed at once: a thread and a descriptor each would be taken from the process's work."""


def start_server(sources: frozenset[Source]) -> None:
    """Sample this process from now on, and serve `/metrics` with the gauges of these sources.

    It listens on `METRICS_PORT` of `METRICS_HOST`, and without a port not at all. Returns at once and raises
    nothing: that the port is taken is logged.
    """
    process_metrics.start_sampling()
    if settings.METRICS_PORT:
        threading.Thread(target=_serve, args=(sources,), name="metrics server", daemon=True).start()


def _serve(sources: frozenset[Source]) -> None:
    host, port = settings.METRICS_HOST, settings.METRICS_PORT
    answer = partial(_answer, sources)
    try:
        server = make_server(host, port, answer, _Server, _RequestHandler)
    except OSError as error:
        log.error("metrics are not served", host=host, port=port, error=str(error))
        return
    server.serve_forever()


def _answer(
    sources: frozenset[Source], environment: dict[str, Any], start_response: "StartResponse"
) -> Iterable[bytes]:
    request = WSGIRequest(environment)
    if request.path_info == middleware.METRICS_PATH:
        response = metrics.respond(request, sources)
    else:
        response = problems.not_found(request)
    response.headers["Content-Length"] = str(len(response.content))
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [] if request.method == "HEAD" else [response.content]


class _Server(ThreadingWSGIServer):
    """Has few connections, each for a short time, so that slow clients can't stop the process."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A timeout of the socket would begin anew with every byte.
        timer = threading.Timer(CONNECTION_SECONDS, _shut_down, [request])
        timer.daemon = True
        try:
            timer.start()
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what is no fault of the connection, as any other error."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("a request for metrics failed", exc_info=error)


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _RequestHandler(WSGIRequestHandler):
    """wsgiref's, which would log each scrape."""

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""
