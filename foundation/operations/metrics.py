"""`/metrics` for Prometheus, open to this machine and to requests with the token.

The web server answers it as a page. Worker, issuer and beat serve it on a port of their own, by
prometheus_client's server in a thread of each, with the same rule of access.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.multiprocess import MultiProcessCollector
from structlog import get_logger

from foundation.errors import FirstcomeError, NotAllowed, NotAuthenticated
from foundation.http import problems
from foundation.http.pages import middleware
from foundation.lazy_texts import mark
from foundation.observability import gauges, process_metrics
from foundation.observability.gauges import Source
from foundation.repeated_work import start_once
from foundation.values import Values

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

log = get_logger(__name__)


@csrf_exempt
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics of all web processes (from `PROMETHEUS_MULTIPROC_DIR`), and the state gauges."""
    return respond(request, gauges.EVERYTHING)


@require_safe
def respond(request: HttpRequest, sources: frozenset[Source]) -> HttpResponse:
    """The metrics of this process with the gauges of these sources, or why the request may not read them.

    Takes some seconds at most, whatever the systems that it reads do.
    """
    if middleware.may_read_metrics(request):
        # What this process has counted, with all processes of its folder.
        process_metrics.sample()
        counted = MultiProcessCollector(None) if "PROMETHEUS_MULTIPROC_DIR" in os.environ else REGISTRY
        text = generate_latest(counted) + gauges.cached_exposition(sources)
        return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
    if settings.METRICS_TOKEN:
        refusal: FirstcomeError = NotAuthenticated(
            mark("Metrics need `Authorization: Bearer METRICS_TOKEN`.")
        )
    else:
        refusal = NotAllowed(
            mark("Metrics are open to this machine only; set METRICS_TOKEN to open them to others.")
        )
    return problems.from_error(refusal).to_django()


def start_server(sources: frozenset[Source]) -> None:
    """Serve `/metrics` with the gauges of these sources on `METRICS_HOST`, if there is a `METRICS_PORT`.

    Raises nothing: that the port is taken is logged.
    """
    host = settings.METRICS_HOST
    port = settings.METRICS_PORT
    if not port:
        return
    try:
        server = make_server(host, port, partial(_answer, sources), ThreadingWSGIServer, _RequestHandler)
    except OSError as error:
        log.error("metrics are not served", host=host, port=port, error=error)
        return
    start_once("metrics server", server.serve_forever)


def _answer(
    sources: frozenset[Source], environment: Values, start_response: "StartResponse"
) -> Iterable[bytes]:
    request = WSGIRequest(environment)
    is_metrics = request.path_info == middleware.METRICS_PATH
    response = respond(request, sources) if is_metrics else problems.not_found(request)
    response.headers["Content-Length"] = str(len(response.content))
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [] if request.method == "HEAD" else [response.content]


class _RequestHandler(WSGIRequestHandler):
    """wsgiref's, which would wait for silent clients for ever, and log scrapes and broken connections."""

    timeout = 10.0

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""
