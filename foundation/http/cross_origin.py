"""Browsers on other origins (CORS): pages of `CORS_ALLOWED_ORIGINS` may make calls and read the answers.

This wraps both lanes, and what is refused before one. Cookies are never allowed: calls have tokens.
"""

from django.conf import settings

from foundation.http import request_body
from foundation.http.messages import JSONResponse
from foundation.http.pages import rendering
from foundation.http.pages.rendering import Scope, Send
from foundation.http.request_body import Message, Receive
from foundation.http.traced_application import Application
from foundation.observability import logs

API_PATHS = "/api/"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Accept-Language, Idempotency-Key, If-None-Match, Prefer, X-Request-ID, "
    "Firstcome-Account"
)
EXPOSED_HEADERS = (
    "Location, Retry-After, ETag, Idempotency-Replayed, X-Request-ID, RateLimit, RateLimit-Policy, "
    "Deprecation, Sunset"
)
OF_BROWSERS = {b"origin", b"access-control-request-method"}
OF_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE"),
    (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
    (b"access-control-max-age", b"600"),
]
OF_ANSWER = [(b"access-control-expose-headers", EXPOSED_HEADERS.encode())]
Fields = list[tuple[bytes, bytes]]


async def answer(scope: Scope, receive: Receive, send: Send, respond: Application) -> None:
    """Answer a preflight of a call; have any other request answered by `respond`, and add to the headers of a
    call's answer which origin may read it.
    """
    origins = settings.CORS_ALLOWED_ORIGINS
    is_preflight = scope.get("method") == "OPTIONS"
    if not (origins or is_preflight) or not rendering.path_of(scope).startswith(API_PATHS):
        await respond(scope, receive, send)
        return
    given = dict(scope["headers"])
    # Browsers send none with a body, which might be taken for the next request.
    is_preflight = is_preflight and given.keys() >= OF_BROWSERS and not request_body.is_sent(given)
    origin = given.get(b"origin", b"")
    more: Fields = []
    if origin.decode("latin-1") in origins:
        more = [(b"access-control-allow-origin", origin), *(OF_PREFLIGHT if is_preflight else OF_ANSWER)]

    async def send_shared(message: Message) -> None:
        if message["type"] == "http.response.start" and origins:
            others = [pair for pair in message["headers"] if pair[0] != b"vary"]
            # A cache must tell origins apart.
            vary = [*(value for name, value in message["headers"] if name == b"vary"), b"Origin"]
            message = {**message, "headers": [*others, (b"vary", b", ".join(vary)), *more]}
        await send(message)

    if not is_preflight:
        await respond(scope, receive, send_shared)
        return
    response = JSONResponse(status=204)
    response.name_request(logs.choose_request_id(given.get(b"x-request-id", b"").decode("latin-1")))
    await response.send(send_shared, [])
