"""Request metrics for Prometheus, under the names of django-prometheus, for which there are dashboards."""

import math
import time
from collections.abc import Callable
from functools import lru_cache

from django.http import HttpRequest, HttpResponse
from prometheus_client import Counter, Histogram

LATENCY_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25, 50, 75, math.inf)
RESPONSES = Counter(
    "django_http_responses_total_by_status_view_method",
    "Responses by status, view, method.",
    ["status", "view", "method"],
)
LATENCIES = Histogram(
    "django_http_requests_latency_seconds_by_view_method",
    "Request processing time by view.",
    ["view", "method"],
    buckets=LATENCY_BOUNDS,
)
REFUSALS = Counter(
    "firstcome_http_refusals",
    "Requests that were refused, by the code of the problem.",
    ["view", "status", "code"],
)
UNNAMED_VIEW = "<unnamed view>"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestMetricsMiddleware:
    def __init__(self, handler: Callable[[HttpRequest], HttpResponse]) -> None:
        self._handler = handler

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began_at = time.perf_counter()
        response = self._handler(request)
        match = request.resolver_match
        # Of a view of the API its class, as the burst lane has it.
        api_view = getattr(match.func, "view_class", None) if match else None
        view = (
            f"{api_view.__module__}.{api_view.__qualname__}" if api_view else match.view_name if match else ""
        )
        count_request(view, request.method, response.status_code, time.perf_counter() - began_at)
        if code := getattr(response, "problem_code", ""):
            count_refusal(view, response.status_code, code)
        return response


def count_request(view: str, method: str | None, status: int, seconds: float) -> None:
    """Count a request by the status and the duration of its response.

    Each new pair of labels takes 6 KB for good: methods that a view refuses count as one, and so do the
    durations of all the admin's pages.
    """
    if method not in METHODS or status == 405:
        method = "<invalid method>"
    view = view or UNNAMED_VIEW
    _response_counter(status, view, method).inc()
    _latency_histogram(view, method).observe(seconds)


def count_refusal(view: str, status: int, code: str) -> None:
    _refusal_counter(view or UNNAMED_VIEW, status, code).inc()


_response_counter = lru_cache(maxsize=4_096)(RESPONSES.labels)
_refusal_counter = lru_cache(maxsize=4_096)(REFUSALS.labels)


@lru_cache(maxsize=1_024)
def _latency_histogram(view: str, method: str) -> Histogram:
    return LATENCIES.labels("admin" if view.rpartition(":")[0] == "admin" else view, method)
