"""Request metrics for Prometheus: the most useful ones of django-prometheus.

Its own middlewares write seventeen values per request into the shared files; this writes three, under the
same names, so that dashboards for django-prometheus still work.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django_prometheus.middleware import Metrics

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestMetricsMiddleware:
    """Counts requests by view, method and status, their duration, and their exceptions."""

    def __init__(self, handler: Callable[[HttpRequest], HttpResponse]) -> None:
        self._handler = handler
        _metrics()  # so that the metrics are exposed before the first request

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began_at = time.perf_counter()
        response = self._handler(request)
        view = request.resolver_match.view_name if request.resolver_match else ""
        count_request(view, request.method, response.status_code, time.perf_counter() - began_at)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        _metrics().exceptions_by_type.labels(type=type(exception).__name__).inc()


def count_request(view: str, method: str | None, status: int, seconds: float) -> None:
    """Count a request by the status and the duration of its response."""
    view, method = view or "<unnamed view>", method if method in METHODS else "<invalid method>"
    _response_counter(view, method, status).inc()
    _latency_histogram(view, method).observe(seconds)


@lru_cache
def _metrics() -> Any:
    return Metrics.get_instance()


@lru_cache(maxsize=4_096)
def _response_counter(view: str, method: str, status: int) -> Any:
    return _metrics().responses_by_status_view_method.labels(status=str(status), view=view, method=method)


@lru_cache(maxsize=1_024)
def _latency_histogram(view: str, method: str) -> Any:
    return _metrics().requests_latency_by_view_method.labels(view=view, method=method)
