"""The ASGI application with a span for each request, for processes that record traces.

A request starts a trace, whatever its `traceparent` says: otherwise a client would decide what is recorded
and sent to the collector, and could add to others' traces.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from django.http import Http404
from django.urls import resolve

from foundation.http.pages.rendering import Scope, Send
from foundation.http.request_body import Message, Receive
from foundation.observability import request_metrics, tracing

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
# Called every few seconds by load balancers and scrapers; files are Django's. Streams last for hours.
UNTRACED = ("/healthz", "/readyz", "/metrics", "/static/", "/favicon.ico")


def traced(application: Application) -> Application:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or path.startswith(UNTRACED):
            await application(scope, receive, send)
            return

        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                request_id = dict(message["headers"]).get(b"x-request-id", b"")
                tracing.annotate({"firstcome.request_id": request_id.decode("latin-1")})
                tracing.record_response(message["status"], fails_from=500)
            await send(message)

        method = scope["method"] if scope["method"] in request_metrics.METHODS else "_OTHER"
        route = _route(path)
        attributes = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope["http_version"],
        } | ({"url.path": route, "http.route": route} if route else {})
        with tracing.continued(f"{method} {route}" if route else method, "", attributes, kind="server"):
            await application(scope, receive, record)

    return answer


def _route(path: str) -> str:
    """The pattern of the path, such as `/api/v1/orders/<uuid:order_id>`; empty for a path without a view."""
    with suppress(Http404):
        return f"/{resolve(path).route}"
    return ""
