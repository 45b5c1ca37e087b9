"""The ASGI application: calls of the table go to the burst lane, everything else to Django.

The event loop itself answers `/healthz`: a process whose threads are all busy is alive.
"""

from functools import partial
from io import BytesIO

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import Error as DatabaseFailure

from accounts.api_keys import calls, key_memory
from accounts.signing_in import password_hashing, password_pages
from accounts.tokens import authentication
from foundation import scopes
from foundation.account import TokenInvalid
from foundation.concurrency import event_loop
from foundation.errors import FirstcomeError, Unavailable
from foundation.http import client_address, compression, json_format, problems, request_body, views
from foundation.http.messages import BurstRequest, JSONResponse
from foundation.http.pages import rendering
from foundation.http.pages.rendering import Scope, Send
from foundation.http.request_body import Headers, Receive
from foundation.observability import logs, request_metrics
from foundation.rates import rate_limits, throttling
from foundation.values import Values
from shop.burst import lane, table

WITHOUT_ACCOUNT = {views.API_PREFIX + path for path in ("auth/token", "auth/refresh", "users")}
"""Calls that look at no access token."""
HASHING = {views.API_PREFIX + path for path in ("auth/token", "users")}
"""Calls that hash a password: with `BURST=0` they wait for their turn before they take a thread."""
SIGNED_BY_SENDER = views.API_PREFIX + "webhooks/"
"""The calls of gateways, which are many from one address and have a signature of their body."""


SEPARATORS = {b"cookie": b"; ", b"idempotency-key": b"\n"}
"""Between headers of one name; others have a comma. Two keys are none: no key has a line feed."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; refusals and errors of API calls become problem responses."""
    if scope["type"] != "http":
        raise RuntimeError(f"This application serves HTTP, not {scope['type']}.")
    fields = _headers_by_name(scope)
    path = rendering.path_of(scope)
    try:
        if path.startswith(views.API_PREFIX):
            await _answer_call(scope, path, fields, receive, send)
        elif path == "/healthz" and scope["method"] in views.PUBLIC_METHODS:
            # As `foundation.operations.health.healthz` responds, by its name in shop/urls.py.
            await request_body.read(fields, receive)
            name = logs.choose_request_id(fields.get(b"x-request-id", b"").decode("latin-1"))
            request_metrics.count_request("shop.operations.health.healthz", scope["method"], 200, 0.0)
            response = JSONResponse({"status": "alive"}, headers={"X-Request-ID": name})
            await response.send(send, lane.PUBLIC_HEADERS)
        elif scope["method"] == "POST" and password_pages.PATHS.fullmatch(path):
            await password_pages.serve(scope, fields, receive, send)
        else:
            await rendering.serve_page(scope, fields, receive, send)
    except (FirstcomeError, SuspiciousOperation, DatabaseFailure) as refusal:
        # A refused query or body, no thread for a page, or no database to look up who signs in.
        await _refuse(scope, fields, refusal, send)


async def _answer_call(scope: Scope, path: str, fields: Headers, receive: Receive, send: Send) -> None:
    """Read a call, and have the lane answer that it belongs to."""
    request = BurstRequest(
        scope["method"],
        scope["path"],
        fields,
        b"",
        query=scope["query_string"],
        peer=scope["client"][0] if scope.get("client") else "",
        scheme=scope.get("scheme", "http"),
    )
    names_no_account = b"authorization" not in fields or path in WITHOUT_ACCOUNT
    is_counted = names_no_account and request.method not in views.PUBLIC_METHODS
    if is_counted and not path.startswith(SIGNED_BY_SENDER):
        rate_limits.ANONYMOUS.count(throttling.network_of_address(client_address.from_request(request)))
    request.body = await request_body.read(fields, receive)
    if request.query:
        _parsed = request.query_params
    if request.body:
        json_format.require_utf_8(request.header("Content-Type") or "")
    found = table.find(request.method, path.removeprefix(views.API_PREFIX)) if settings.BURST else None
    if found is None:
        if not request.body:
            fields = {name: value for name, value in fields.items() if name != b"content-type"}
        render = partial(rendering.render, scope, fields, BytesIO(request.body))
        if path in HASHING:
            address = client_address.from_request(request)
            page = await password_hashing.run_in_turn(render, address=address)
        else:
            page = await event_loop.run_in_thread(render, **await _thread_share(path, request))
        await rendering.send_page(page, send)
        return
    response = await lane.answer_call(request, found)
    if request.method == "GET":
        await compression.compress_for(request, response)
    is_private = views.is_private(request.method, has_authorization=b"authorization" in fields)
    await response.send(send, lane.PRIVATE_HEADERS if is_private else lane.PUBLIC_HEADERS)


async def _thread_share(path: str, request: BurstRequest) -> Values:
    """The shares of the pool of threads that a call in Django's lane counts against, before it is let in.

    The shop's own programs make many calls at once: they may hold half of the threads, each account a
    quarter, and a long queue. Calls of one kind by others hold half as well, and an account has few. Raises
    `TokenInvalid` for an unknown key: it takes no thread.
    """
    authorization = request.header("Authorization") or ""
    group = path.removeprefix(views.API_PREFIX).partition("/")[0]
    if secret := key_memory.secret_in(authorization):
        key = await calls.find_key(secret)
        acting_for = request.header(scopes.ACCOUNT_HEADER) or ""
        if calls.ACCOUNT_NUMBER.fullmatch(acting_for):
            return {"group": group, "owner": int(acting_for)}
        return {"group": "staff", "member": key.maker_id}
    scheme, _space, raw = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        return {"group": group}
    try:
        account = await authentication.verify(raw.strip())
    except (TokenInvalid, Unavailable):
        return {"group": group}
    if account.is_staff:
        return {"group": "staff", "member": account.id}
    return {"group": group, "owner": account.id}


async def _refuse(scope: Scope, fields: Headers, refusal: Exception, send: Send) -> None:
    response = problems.before_a_lane(refusal, fields)
    request_metrics.count_request("", scope["method"], response.status_code, 0.0)
    request_metrics.count_refusal("", response.status_code, response.code)
    await response.send(send, lane.PRIVATE_HEADERS)


def _headers_by_name(scope: Scope) -> dict[bytes, bytes]:
    pairs: list[tuple[bytes, bytes]] = scope["headers"]
    fields = dict(pairs)
    if len(fields) < len(pairs):
        fields = {}
        for name, value in pairs:
            separator = SEPARATORS.get(name, b",")
            fields[name] = fields[name] + separator + value if name in fields else value
    if b"host" not in fields and scope.get("server"):
        fields[b"host"] = "{}:{}".format(*scope["server"]).encode()
    return fields
