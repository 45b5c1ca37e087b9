"""`/metrics` for Prometheus, open to this machine and to requests with the token.

The web server answers it as a page; worker, issuer and beat do by `shop.operations.metrics_server`, with the
same rule of access.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from shop.errors import FirstcomeError, NotAllowed, NotAuthenticated
from shop.http import problems
from shop.http.pages import middleware
from shop.lazy_texts import mark as _
from shop.observability import gauges
from shop.observability.exposition import CONTENT_TYPE_LATEST, exposition
from shop.observability.reading import Source


@csrf_exempt
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics of all web processes (from `PROMETHEUS_MULTIPROC_DIR`), and the state gauges."""
    return respond(request, gauges.EVERYTHING)


@require_safe
def respond(request: HttpRequest, sources: frozenset[Source]) -> HttpResponse:
    """The metrics of this process with the gauges of these sources, or why the request may not read them."""
    if middleware.may_read_metrics(request):
        return HttpResponse(exposition(sources), content_type=CONTENT_TYPE_LATEST)
    if settings.METRICS_TOKEN:
        refusal: FirstcomeError = NotAuthenticated(_("Metrics need `Authorization: Bearer METRICS_TOKEN`."))
    else:
        refusal = NotAllowed(
            _("Metrics are open to this machine only; set METRICS_TOKEN to open them to others.")
        )
    return problems.from_error(refusal).to_django()
