"""The ASGI application: API calls go to `shop.http.views`, everything else to Django.

The event loop itself answers `/healthz`: a process whose threads are all busy is alive.
"""

from collections.abc import Iterable, Mapping

from django.db import Error as DatabaseFailure

from shop.errors import FirstcomeError
from shop.http import client_address, languages, problems, request_body, views
from shop.http.messages import Request, Response
from shop.http.pages import pages
from shop.http.pages.pages import Scope, Send
from shop.http.request_body import Receive
from shop.observability import logs, request_metrics
from shop.rates import anonymous_calls

WITHOUT_ACCOUNT = {views.API_PREFIX + path for path in ("auth/token", "auth/refresh", "users")}
"""Calls that look at no `Authorization`; their bodies are short."""
SIGNED_BY_SENDER = views.API_PREFIX + "webhooks/"
"""The calls of gateways, which are many from one address and have a signature of their body."""
Headers = list[tuple[bytes, bytes]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; refusals and errors of API views become problem responses."""
    if scope["type"] != "http":
        raise RuntimeError(f"This application serves HTTP, not {scope['type']}.")
    fields = _headers_by_name(scope)
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    try:
        if path.startswith(views.API_PREFIX):
            call, refusal = await _read_call(scope, path, fields, receive)
            response = await views.answer_call(call, refusal)
            is_private = refusal or views.security_headers(call) is views.PRIVATE_HEADERS
            await _send_response(send, response, _PRIVATE_HEADERS if is_private else _PUBLIC_HEADERS)
        elif path == "/healthz" and scope["method"] in views.PUBLIC_METHODS:
            # As `shop.operations.health.healthz` responds.
            await request_body.read(fields, receive)
            name = logs.choose_request_id(fields.get(b"x-request-id", b"").decode("latin-1"))
            request_metrics.count_request("shop.operations.health.healthz", scope["method"], 200, 0.0)
            response = Response({"status": "alive"}, headers={"X-Request-ID": name})
            await _send_response(send, response, _PUBLIC_HEADERS)
        else:
            await pages.kept_pages.get(path, pages.serve_page)(scope, fields, receive, send)
    except (FirstcomeError, DatabaseFailure) as refusal:
        # A refused body, no thread for a page, or no database to look up who signs in.
        language = languages.choose(fields.get(b"accept-language", b"").decode("latin-1"))
        response = problems.from_error(refusal, language)
        request_metrics.count_refusal("", response.status_code, response.code)
        await _send_response(send, response, _PRIVATE_HEADERS)


def _encode_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]


_PUBLIC_HEADERS = _encode_headers(views.PUBLIC_HEADERS)
_PRIVATE_HEADERS = _encode_headers(views.PRIVATE_HEADERS)


async def _read_call(
    scope: Scope, path: str, fields: Mapping[bytes, bytes], receive: Receive
) -> tuple[Request, Exception | None]:
    """Return the call, and why its body was refused, if it was."""
    call = Request(
        scope["method"],
        scope["path"],
        fields,
        b"",
        query=scope["query_string"],
        peer=scope["client"][0] if scope.get("client") else "",
        scheme=scope.get("scheme", "http"),
        mount=scope.get("root_path", ""),
    )
    names_no_account = b"authorization" not in fields or path in WITHOUT_ACCOUNT
    is_counted = names_no_account and call.method not in views.PUBLIC_METHODS
    try:
        if is_counted and not path.startswith(SIGNED_BY_SENDER):
            anonymous_calls.count(client_address.from_request(call))
        call.body = await request_body.read(fields, receive)
    except FirstcomeError as refusal:
        return call, refusal
    return call, None


async def _send_response(send: Send, response: Response, headers: Headers) -> None:
    headers = [*_encode_headers(response.headers.items()), *headers]
    if response.status_code not in (204, 304):
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _headers_by_name(scope: Scope) -> dict[bytes, bytes]:
    pairs: list[tuple[bytes, bytes]] = scope["headers"]
    fields = dict(pairs)
    if len(fields) < len(pairs):
        fields = {}
        for name, value in pairs:
            separator = b"; " if name == b"cookie" else b","
            fields[name] = fields[name] + separator + value if name in fields else value
    if b"host" not in fields and scope.get("server"):
        fields[b"host"] = "{}:{}".format(*scope["server"]).encode()
    return fields
