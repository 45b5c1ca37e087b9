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
from prometheus_client import Counter

REFUSALS = Counter(
    "firstcome_http_refusals",
    "Requests that were refused, by the code of the problem.",
    ["view", "status", "code"],
)
UNNAMED_VIEW = "<unnamed view>"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
INVALID_METHOD = "<invalid method>"
ADMIN = "admin"
METHOD_NOT_ALLOWED = 405


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
    """Count a request by the status and the duration of its response.

    A client can send any method to any page, and each new pair of labels takes 6 KB of the shared folder for
    good: methods that a view refuses count as one, and so do the durations of all the admin's pages.
    """
    if method not in METHODS or status == METHOD_NOT_ALLOWED:
        method = INVALID_METHOD
    view = view or UNNAMED_VIEW
    _response_counter(view, method, status).inc()
    _latency_histogram(view, method).observe(seconds)


def count_refusal(view: str, status: int, code: str) -> None:
    """Count a problem response by the view that refused, or none, its status and its code."""
    _refusal_counter(view or UNNAMED_VIEW, status, code).inc()


def written() -> tuple[Any, ...]:
    """The metrics that this module writes."""
    found = _metrics()
    return (
        found.responses_by_status_view_method,
        found.requests_latency_by_view_method,
        found.exceptions_by_type,
    )


@lru_cache
def _metrics() -> Any:
    return Metrics.get_instance()


@lru_cache(maxsize=4_096)
def _response_counter(view: str, method: str, status: int) -> Any:
    return _metrics().responses_by_status_view_method.labels(status=str(status), view=view, method=method)


@lru_cache(maxsize=4_096)
def _refusal_counter(view: str, status: int, code: str) -> Any:
    return REFUSALS.labels(view, str(status), code)


@lru_cache(maxsize=1_024)
def _latency_histogram(view: str, method: str) -> Any:
    namespace, _, _ = view.rpartition(":")
    return _metrics().requests_latency_by_view_method.labels(
        view=ADMIN if namespace == ADMIN else view, method=method
    )
