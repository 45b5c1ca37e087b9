"""Calls of the API: what stands between Django and a view's method, and no more than that.

Sessions, messages and the like are for pages; REST framework makes a second request object, negotiates and
renders a response like a template. Together they took more of a coupon's time than all that is done for it.
Views here are REST framework's, for the OpenAPI document and for permissions; how a call gets to them is
this module.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.urls import ResolverMatch, get_resolver
from rest_framework import exceptions
from rest_framework.views import APIView

from shop import authentication, json_bodies, problems, whole_bodies
from shop.tokens import Account

NOT_READ = object()
ANYBODY = AnonymousUser()
JSON = "application/json; charset=utf-8"
PATH = "/api/v1/"
# Of those that are remembered, for anybody may send long ones.
LONGEST_HOST, LONGEST_PATH = 260, 200
# What Django's `SecurityMiddleware` and `XFrameOptionsMiddleware` send with pages; the server's handler sends
# them with calls.
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
]
# What is an account's own, its tokens among it, stays out of every cache: whatever is asked for with a token,
# and whatever is not only read.
PUBLIC_METHODS = {"GET", "HEAD"}
NOT_STORED = ("Cache-Control", "no-store")
if settings.HTTPS:
    HEADERS.append(("Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}"))


def straight(handler: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that takes calls of the API straight to their view, and hands on what isn't one.

    A request whose body was not taken goes no further.
    """

    def answered(request: HttpRequest) -> HttpResponse:
        refusal = request.META.get(whole_bodies.REFUSED)
        if refusal is not None:
            return problems.of(refusal)
        return _answer(request) if request.path_info.startswith(PATH) else handler(request)

    return answered


def _answer(request: HttpRequest) -> HttpResponse:
    try:
        host, path = request.META.get("HTTP_HOST", ""), request.path_info
        if len(host) > LONGEST_HOST or not _is_ours(host, tuple(settings.ALLOWED_HOSTS)):
            request.get_host()
        find = _found if len(path) <= LONGEST_PATH else _found.__wrapped__
        match = find(settings.ROOT_URLCONF, path)
        request.resolver_match = match
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
    except Exception as error:
        return problems.of(error)
    return response


@lru_cache(maxsize=1_024)
def _is_ours(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether `get_host` would let the host by: every call comes to one of the same few."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


@lru_cache(maxsize=1_024)
def _found(urls: str, path: str) -> ResolverMatch:
    """The view at a path: most calls go to the same few. Raises `Http404`."""
    return get_resolver(urls).resolve(path)


class Request:
    """One call: who makes it, and what came with it."""

    __slots__ = ("_data", "_http", "user")

    def __init__(self, http: HttpRequest, user: Account | AnonymousUser) -> None:
        self.user = user
        self._http = http
        self._data: Any = NOT_READ

    @property
    def data(self) -> Any:
        """The JSON value of the body; an empty body is `{}`. Raises what can't be read."""
        if self._data is NOT_READ:
            self._data = json_bodies.read(self._http)
        return self._data

    @property
    def body(self) -> bytes:
        return self._http.body

    @property
    def method(self) -> str | None:
        return self._http.method

    @property
    def path(self) -> str:
        return self._http.path

    @property
    def headers(self) -> Mapping[str, str]:
        return self._http.headers

    def header(self, name: str) -> str | None:
        """One of them but `Content-Type` and `Content-Length`, without the table that Django makes of all."""
        value: str | None = self._http.META.get(f"HTTP_{name.upper().replace('-', '_')}")
        return value

    @property
    def query_params(self) -> Mapping[str, str]:
        return self._http.GET

    @property
    def META(self) -> Mapping[str, Any]:  # noqa: N802 - Django's name
        return self._http.META

    def build_absolute_uri(self) -> str:
        """This call's own address, for lists to lead on from."""
        return self._http.build_absolute_uri()


class Response(HttpResponse):
    """A JSON value as a response; None has no body."""

    def __init__(self, data: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        if data is None:
            super().__init__(status=status, headers=dict(headers or {}))
            del self["Content-Type"]
        else:
            super().__init__(json_bodies.dump(data), status=status, content_type=JSON)
            for name, value in (headers or {}).items():
                self[name] = value


# Without a docstring, for the OpenAPI document would tell it of every call.
class View(APIView):
    # One address of the API. Its methods take a `Request` and return a response, or raise.

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            call = Request(request, self._caller(request))
            for permission in self.permission_classes:
                if not permission().has_permission(call, self):  # type: ignore[arg-type]
                    raise exceptions.NotAuthenticated
            return self._method(request)(call, *args, **kwargs)
        except Exception as error:
            return problems.handle(error, {"request": request, "view": self})

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        """Which methods there are."""
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    def _caller(self, request: HttpRequest) -> Account | AnonymousUser:
        if not self.authentication_classes:
            return ANYBODY
        return authentication.account_of(request) or ANYBODY

    def _method(self, request: HttpRequest) -> Any:
        name = (request.method or "").lower()
        method = getattr(self, name, None) if name in self.http_method_names else None
        if method is None:
            raise exceptions.MethodNotAllowed(request.method or "")
        return method
