"""Answers the calls of `table` on the event loop: authentication, the view's coroutine, problems, metrics."""

import time
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http.request import split_domain_port, validate_host

from accounts.api_keys import calls, key_memory
from accounts.tokens import authentication, disabled_accounts
from accounts.tokens.authentication import BearerToken
from foundation import journal
from foundation.errors import NotAuthenticated
from foundation.http import problems
from foundation.http.messages import ANONYMOUS, BurstRequest, JSONResponse
from foundation.http.views import require_few_values
from foundation.observability import logs, request_metrics
from foundation.values import GivenValues
from shop.burst.table import Call

# The most that is cached, because any client may send long ones.
MAX_HOST_LENGTH = 260
# What Django's `SecurityMiddleware` and `XFrameOptionsMiddleware` send with pages.
PUBLIC_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
if settings.HTTPS:
    PUBLIC_HEADERS.append((b"strict-transport-security", b"max-age=%d" % settings.SECURE_HSTS_SECONDS))
PRIVATE_HEADERS = [*PUBLIC_HEADERS, (b"cache-control", b"no-store")]


async def answer_call(request: BurstRequest, found: tuple[Call, GivenValues]) -> JSONResponse:
    """Answer a call, with its request id in logs and its metrics counted. Raises nothing."""
    call, arguments = found
    began_at = time.perf_counter()
    view = call.name
    name = logs.choose_request_id(request.header("X-Request-ID"))
    with logs.bound_request(name), journal.acting(journal.unidentified(name)):
        try:
            host = request.header("Host") or ""
            if len(host) > MAX_HOST_LENGTH or not is_allowed_host(host, tuple(settings.ALLOWED_HOSTS)):
                view = ""
                raise DisallowedHost
            response = await _answer(request, call, arguments)
        except Exception as error:
            response = problems.from_error(error, request.language)
    response.name_request(name)
    call.view.add_limit(request, response.headers)
    request_metrics.count_request(view, request.method, response.status_code, time.perf_counter() - began_at)
    if response.code:
        request_metrics.count_refusal(view, response.status_code, response.code)
    return response


async def _answer(request: BurstRequest, call: Call, arguments: GivenValues) -> JSONResponse:
    view = call.view()
    authorization = request.header("Authorization") or ""
    if (secret := key_memory.secret_in(authorization)) is not None:
        request.user = await calls.authenticate(request, secret, scope=view.required_scopes(request.method))
    elif authorization and BearerToken in view.authentication_classes:
        if disabled_accounts.CACHED.is_due():
            await disabled_accounts.refresh()
        request.user = await authentication.find_account(authorization) or ANONYMOUS
    for permission in view.permission_classes:
        if not permission().has_permission(request, view):  # type: ignore[arg-type]
            raise NotAuthenticated(problems.NO_CREDENTIALS)
    if request.query:
        view.refuse_unknown_parameters(request)
    require_few_values(request)
    return await call.handler(view, request, **arguments)


@lru_cache(maxsize=1_024)
def is_allowed_host(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether `get_host` would accept the host; cached, because nearly all calls use the same few hosts."""
    domain, _port = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)
