"""Liveness by `/healthz`, and readiness by `/readyz`, which checks the systems that the process needs.

The checks run at the same time, each in a thread of its own: the response comes within two seconds, however
long a system that is down blocks its caller.
"""

from collections.abc import Callable
from concurrent.futures import wait
from functools import partial

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from structlog import get_logger

from foundation import clock
from foundation.db import server_state
from foundation.operations import system_state
from foundation.repeated_work import start_once

log = get_logger(__name__)
CHECK_TIMEOUT_SECONDS = 1.5

_are_migrated = False


@csrf_exempt
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Return 200 while the process answers at all."""
    return JsonResponse({"status": "alive"})


@csrf_exempt
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Return 200 when all checks pass, else 503 with the names of those that fail."""
    results = {name: start_once(f"readyz {name}", partial(_passes, name)) for name in CHECKS}
    wait(results.values(), timeout=CHECK_TIMEOUT_SECONDS)
    down = [name for name, result in results.items() if not (result.done() and result.result())]
    if down:
        return JsonResponse({"status": "not_ready", "down": down}, status=503, headers={"Retry-After": "1"})
    return JsonResponse({"status": "ready", "down": down})


def _passes(name: str) -> bool:
    try:
        return CHECKS[name]()
    except Exception as error:
        log.warning("not ready", part=name, error=error)
        return False


def _has_no_pending_migrations() -> bool:
    """Whether all migrations are applied; once true, it is not checked again by this process."""
    global _are_migrated
    if not _are_migrated:
        _are_migrated = not system_state.pending_migrations()
    return _are_migrated


CHECKS: dict[str, Callable[[], bool]] = {
    "database": server_state.is_up,
    "clock": clock.is_measured,
    "redis": system_state.is_redis_up,
    "broker": system_state.is_broker_up,
    "migrations": _has_no_pending_migrations,
}
