"""Browsers on other origins (CORS): pages of `CORS_ALLOWED_ORIGINS` may make calls and read the answers.

This wraps both lanes, and what is refused before one. Cookies are never allowed: calls have tokens.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from shop.http.pages import pages
from shop.http.pages.pages import Scope, Send
from shop.observability import logs

API_PATHS = "/api/"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Accept-Language, Idempotency-Key, If-None-Match, Prefer, X-Request-ID, "
    "Firstcome-Account"
)
EXPOSED_HEADERS = (
    "Location, Retry-After, ETag, Idempotency-Replayed, X-Request-ID, RateLimit, RateLimit-Policy, "
    "Deprecation, Sunset"
)
OF_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE"),
    (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
    (b"access-control-max-age", b"600"),
]
OF_ANSWER = [(b"access-control-expose-headers", EXPOSED_HEADERS.encode())]
Fields = list[tuple[bytes, bytes]]


async def answer(scope: Scope, send: Send, respond: Callable[[Send], Awaitable[None]]) -> None:
    """Answer a preflight of a call; have any other request answered by `respond`, and add to the headers of a
    call's answer which origin may read it.
    """
    is_preflight = scope.get("method") == "OPTIONS"
    if not (settings.CORS_ALLOWED_ORIGINS or is_preflight) or not pages.path_of(scope).startswith(API_PATHS):
        await respond(send)
        return
    given = dict(scope["headers"])
    is_preflight = is_preflight and b"origin" in given and b"access-control-request-method" in given
    origin = given.get(b"origin", b"")
    is_allowed = origin.decode("latin-1") in settings.CORS_ALLOWED_ORIGINS
    more: Fields = [(b"access-control-allow-origin", origin)] if is_allowed else []
    more += (OF_PREFLIGHT if is_preflight else OF_ANSWER) if is_allowed else []

    async def send_shared(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and settings.CORS_ALLOWED_ORIGINS:
            message = {**message, "headers": [*_varying(message["headers"]), *more]}
        await send(message)

    if not is_preflight:
        await respond(send_shared)
        return
    name = logs.choose_request_id(given.get(b"x-request-id", b"").decode("latin-1"))
    headers = [(b"x-request-id", name.encode())]
    await send_shared({"type": "http.response.start", "status": 204, "headers": headers})
    await send_shared({"type": "http.response.body", "body": b""})


def _varying(headers: Fields) -> Fields:
    """The headers, which say that a cache must tell origins apart."""
    vary = b", ".join([*(value for name, value in headers if name == b"vary"), b"Origin"])
    return [*(pair for pair in headers if pair[0] != b"vary"), (b"vary", vary)]
