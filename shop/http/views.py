"""API views: REST framework's, for the OpenAPI document and for permissions; this replaces their dispatch.

A view's method that is a coroutine function runs on the event loop, and must not block it: it waits by
`shop.concurrency.event_loop`. Any other method runs in a thread of the pool. Calls of Django's test client
and `runserver`, which have no event loop, come by `shop.http.pages.middleware.dispatch_api_calls`.
"""

import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from inspect import iscoroutinefunction
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http.request import split_domain_port, validate_host
from django.urls import ResolverMatch, get_resolver
from django.urls.converters import UUIDConverter
from rest_framework.views import APIView

from shop.accounts import authentication, disabled_accounts
from shop.api_keys import key_memory
from shop.concurrency import event_loop
from shop.errors import NotAuthenticated
from shop.http import api_key_calls, problems
from shop.http.messages import ANONYMOUS, Request, Response
from shop.journal import journal
from shop.lazy_texts import mark as _
from shop.observability import logs, request_metrics
from shop.scopes import Resource, required_scope

__all__ = ["Request", "Response", "View"]
API_PREFIX = "/api/v1/"
# The most that is cached, because any client may send long ones.
MAX_HOST_LENGTH, MAX_CACHED_PATH_LENGTH = 260, 200
ANY_ID = UUID(int=0)
UUID_TEXT, LAST_UUID = re.compile(UUIDConverter.regex), re.compile(r"/<uuid:(\w+)>$")
# What Django's `SecurityMiddleware` and `XFrameOptionsMiddleware` send with pages.
PUBLIC_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
]
if settings.HTTPS:
    PUBLIC_HEADERS.append(("Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}"))
# No cache may store an account's own data, its tokens included: responses to requests with a token, and to
# requests that change something.
PUBLIC_METHODS = {"GET", "HEAD"}
PRIVATE_HEADERS = [*PUBLIC_HEADERS, ("Cache-Control", "no-store")]


async def answer_call(request: Request, refusal: Exception | None = None) -> Response:
    """Answer a call, with its request id in logs and its metrics counted. Raises nothing.

    `refusal` is why its body was not read; then no view is called.
    """
    began_at, view = time.perf_counter(), ""
    name = logs.choose_request_id(request.header("X-Request-ID"))
    with logs.bound_request(name), journal.acting(journal.unidentified(name)):
        try:
            if refusal:
                raise refusal
            if not is_allowed_host(request.header("Host") or ""):
                raise DisallowedHost
            match, arguments = find_with_arguments(request.path.removeprefix(request.mount))
            view = match.view_name
            # `shop.http.checks` checks that all API views are `View`s.
            response: Response = await match.func.view_class().answer(request, arguments)  # type: ignore[attr-defined]
        except Exception as error:
            response = problems.from_error(error, request.language)
    response.headers["X-Request-ID"] = name
    request_metrics.count_request(view, request.method, response.status_code, time.perf_counter() - began_at)
    if response.code:
        request_metrics.count_refusal(view, response.status_code, response.code)
    return response


def security_headers(request: Request) -> list[tuple[str, str]]:
    is_public = request.method in PUBLIC_METHODS and b"authorization" not in request.fields
    return PUBLIC_HEADERS if is_public else PRIVATE_HEADERS


@lru_cache(maxsize=1_024)
def _is_coroutine(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function)


def is_allowed_host(host: str) -> bool:
    return len(host) <= MAX_HOST_LENGTH and _is_allowed_host(host, tuple(settings.ALLOWED_HOSTS))


@lru_cache(maxsize=1_024)
def _is_allowed_host(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether `get_host` would accept the host; cached, because nearly all calls use the same few hosts."""
    domain, _port = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


def find_with_arguments(path: str) -> tuple[ResolverMatch, Mapping[str, Any]]:
    """The view at a path, and its arguments, which for a path that ends in a UUID are not those of the match.

    Paths with ids would fill the cache of `find_view`: they share one match. Raises `Http404`.
    """
    if len(path) > MAX_CACHED_PATH_LENGTH:
        match = find_view.__wrapped__(settings.ROOT_URLCONF, path)
        return match, match.kwargs
    collection, _slash, last = path.rpartition("/")
    by_any_id = _find_by_any_id(settings.ROOT_URLCONF, collection) if UUID_TEXT.fullmatch(last) else None
    if by_any_id is not None:
        match, name = by_any_id
        return match, {**match.kwargs, name: UUID(last)}
    match = find_view(settings.ROOT_URLCONF, path)
    return match, match.kwargs


@lru_cache(maxsize=1_024)
def _find_by_any_id(urls: str, collection: str) -> tuple[ResolverMatch, str] | None:
    """The match of a UUID below this path and the argument's name; None if the view takes it otherwise."""
    match = get_resolver(urls).resolve(f"{collection}/{ANY_ID}")
    route = LAST_UUID.search(match.route)
    return (match, route[1]) if route else None


@lru_cache(maxsize=1_024)
def find_view(urls: str, path: str) -> ResolverMatch:
    """The view at a path, cached, because most calls go to the same few. Raises `Http404`."""
    return get_resolver(urls).resolve(path)


# Without a docstring, because the OpenAPI document would repeat it for every call.
class View(APIView):
    # One path of the API. Its methods take a `Request` and return a response, or raise.

    # Django requires all methods of a view to be of one kind; its own dispatch is not used here.
    view_is_async = False
    # What the view is about, for the scopes of API keys; `shop.http.checks` refuses a view that doesn't say.
    resource: Resource | None = None
    # The scopes that its calls by a method need besides.
    further_scopes: Mapping[str, str] = {}

    async def answer(self, request: Request, arguments: Mapping[str, Any]) -> Response:
        method = self._find_method(request.method)
        if method is None:
            return problems.method_not_allowed(request.method, self.allowed_methods, request.language)
        authorization = request.header("Authorization")
        secret = key_memory.secret_in(authorization) if authorization else None
        if secret is not None:
            # A view without authentication takes no key either. Its methods may be asked for without a scope.
            scope = None if request.method == "OPTIONS" else self.required_scopes(request.method)
            request.user = await api_key_calls.authenticate(request, secret, scope=scope)
        elif authorization and self.authentication_classes:
            if disabled_accounts.CACHED.is_due():
                await disabled_accounts.refresh()
            request.user = authentication.account_from_header(authorization) or ANONYMOUS
        for permission in self.permission_classes:
            if not permission().has_permission(request, self):  # type: ignore[arg-type]
                raise NotAuthenticated(_("Authentication credentials were not provided."))
        if _is_coroutine(method.__func__):
            request.require_few_values()
            response: Response = await method(request, **arguments)
            return response
        call = partial(method, request, **arguments)
        if request.user.is_staff:
            # The shop's own programs make many calls at once: they may hold half of the threads, each account
            # a quarter, and a long queue.
            return await event_loop.run_in_thread(call, group="staff", member=request.user.pk)
        return await event_loop.run_in_thread(call, group=type(self).__name__, owner=request.user.pk)

    @classmethod
    def required_scopes(cls, method: str) -> str:
        """The scopes that a key needs for such a call, between spaces; empty if no key may make it."""
        scope = required_scope(cls.resource or Resource.NONE, method)
        return f"{scope} {cls.further_scopes.get(method, '')}".strip()

    def options(self, request: Request, **arguments: Any) -> Response:  # type: ignore[override]
        """Respond with the methods that the view has."""
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    def _find_method(self, method: str) -> Any:
        """What answers this method, None if the view doesn't have it. HEAD is answered as GET."""
        name = method.lower()
        if name == "head" and not hasattr(self, "head"):
            name = "get"
        return getattr(self, name, None) if name in self.http_method_names else None
