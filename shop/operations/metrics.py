"""`/metrics` for Prometheus, open to this machine and to requests with the token."""

import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView

from shop.errors import FirstcomeError, NotAllowed, NotAuthenticated
from shop.http import client_address, problems
from shop.observability import gauges


@csrf_exempt
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics of all worker processes (from `PROMETHEUS_MULTIPROC_DIR`), and the database's gauges."""
    if client_address.is_local(request) or _has_token(request):
        answer = ExportToDjangoView(request)
        answer.content += gauges.exposition()
        return answer
    if settings.METRICS_TOKEN:
        refusal: FirstcomeError = NotAuthenticated("Metrics need `Authorization: Bearer METRICS_TOKEN`.")
    else:
        refusal = NotAllowed(
            "Metrics are open to this machine only; set METRICS_TOKEN to open them to others."
        )
    return problems.from_error(refusal).to_django()


def _has_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "").encode("latin-1", "replace")
    wanted = f"Bearer {settings.METRICS_TOKEN}".encode()
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(given, wanted)
